package calendar

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dcib/dcib/internal/document"
)

// What a window in one line looks like, for the one who wrote something else.
const wantText = `a window such as "Fri 21:00–Sat 05:00", "Mon-Fri 08:00-12:00", "daily 01:00-02:30" or "2026-12-24 18:00–2026-12-27 06:00"`

var (
	dashes = strings.NewReplacer("–", "-", "—", "-", "..", "-")

	weeklyText = lazily(`^([A-Za-z][A-Za-z, -]*?) ?(\d{1,2}:\d{2}) ?- ?(?:([A-Za-z]+) )?(\d{1,2}:\d{2})$`)
	onceText   = lazily(`^(\d{4}-\d{2}-\d{2})[ T](\d{1,2}:\d{2}) ?- ?(?:(\d{4}-\d{2}-\d{2})[ T])?(\d{1,2}:\d{2})$`)
	daysText   = lazily(`^(\d{4}-\d{2}-\d{2})(?: ?- ?(\d{4}-\d{2}-\d{2}))?$`)
	lengthText = lazily(`(?i)^P?(?:(\d{1,6})W)?(?:(\d{1,6})D)?T?(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,6})S)?$`)
)

// lazily returns a pattern that is made when it is first used: a hook that reads no pets is
// spared them.
func lazily(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}

// errShape states that a text is no window at all.
var errShape = errors.New("cannot read it")

// parseText reads a weekly or a one-off window from one line. The error, unless it is
// errShape, is a clause that follows the text: "ends before it starts".
func parseText(text string) (Window, error) {
	plain := dashes.Replace(strings.Join(strings.Fields(text), " "))
	if len(plain) > 200 {
		return Window{}, errShape
	}
	w := Window{text: strings.TrimSpace(text)}
	if m := weeklyText().FindStringSubmatch(plain); m != nil {
		return w, w.weekly(m[1], m[2], m[3], m[4])
	}
	if m := onceText().FindStringSubmatch(plain); m != nil {
		return w, w.once(m[1], m[2], m[3], m[4])
	}
	if daysText().MatchString(plain) {
		days, err := parseDays(text)
		if err != nil {
			return Window{}, err
		}
		w.starts, w.nominal = dates{days.First}, days.Last.Sub(days.First)+24*time.Hour
		return w, w.tooLong()
	}
	return Window{}, errShape
}

func (w *Window) tooLong() error {
	if w.length() > maxLength {
		return fmt.Errorf("is longer than %d days", maxLength/(24*time.Hour))
	}
	return nil
}

func (w *Window) weekly(days, start, endDay, end string) error {
	on, first, err := parseWeekdays(days)
	if err != nil {
		return err
	}
	at, err := parseClock(start, false)
	if err != nil {
		return err
	}
	until, err := parseClock(end, true)
	if err != nil {
		return err
	}
	w.starts, w.nominal = weekly{on, at}, until-at
	switch last, ok := parseWeekday(endDay); {
	case endDay == "" && w.nominal <= 0:
		w.nominal += 24 * time.Hour
	case endDay == "":
	case !ok:
		return fmt.Errorf("has the day %s, wanted Mon, Tue, Wed, Thu, Fri, Sat or Sun", document.Quote(endDay))
	case first < 0:
		return errors.New("starts on several days, wanted no day at its end, or one window for each")
	default:
		w.nominal += time.Duration((last-first+7)%7) * 24 * time.Hour
		if w.nominal <= 0 {
			// The end of the day before next week's would fit, and is hardly ever meant.
			next := time.Weekday((first + 1) % 7).String()[:3]
			return fmt.Errorf("ends on the day that it starts on, and not after its start, wanted %s %s, or a rule with a duration", next, end)
		}
	}
	return nil
}

func (w *Window) once(startDay, start, endDay, end string) error {
	first, err := parseDate(startDay)
	if err != nil {
		return err
	}
	last := first
	if endDay != "" {
		if last, err = parseDate(endDay); err != nil {
			return err
		}
	}
	at, err := parseClock(start, false)
	if err != nil {
		return err
	}
	until, err := parseClock(end, true)
	if err != nil {
		return err
	}
	if endDay == "" && until <= at {
		last = last.Add(24 * time.Hour)
	}
	w.starts, w.nominal = dates{first.Add(at)}, last.Add(until).Sub(first.Add(at))
	if w.nominal <= 0 {
		return errors.New("ends before it starts")
	}
	return w.tooLong()
}

// parseWeekdays reads "Fri", "Mon,Wed", "Mon-Fri", "daily". only is the day when it is one
// alone, else -1.
func parseWeekdays(text string) (on [7]bool, only int, err error) {
	if strings.EqualFold(text, "daily") {
		return [7]bool{true, true, true, true, true, true, true}, -1, nil
	}
	n := 0
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, ok := parseWeekday(from)
		last := first
		if isRange && ok {
			last, ok = parseWeekday(to)
		}
		if !ok {
			return on, -1, fmt.Errorf("has the day %s, wanted Mon, Tue, Wed, Thu, Fri, Sat, Sun or daily", document.Quote(strings.TrimSpace(part)))
		}
		for day := first; ; day = (day + 1) % 7 {
			if on[day] {
				return on, -1, fmt.Errorf("has %s twice", time.Weekday(day))
			}
			on[day], only = true, day
			if n++; day == last {
				break
			}
		}
	}
	if n > 1 {
		only = -1
	}
	return on, only, nil
}

// parseWeekday reads a day's English name, or its first three letters.
func parseWeekday(text string) (day int, ok bool) {
	text = strings.TrimSpace(text)
	for day := time.Sunday; day <= time.Saturday; day++ {
		if name := day.String(); strings.EqualFold(text, name) || strings.EqualFold(text, name[:3]) {
			return int(day), true
		}
	}
	return 0, false
}

// parseClock reads a time of day as a duration since midnight; 24:00 is one only where
// something ends.
func parseClock(text string, end bool) (time.Duration, error) {
	hour, minute, _ := strings.Cut(text, ":")
	h, errH := strconv.Atoi(hour)
	m, errM := strconv.Atoi(minute)
	if errH != nil || errM != nil || len(minute) != 2 || h < 0 || m < 0 || h > 24 || m > 59 || h == 24 && (m > 0 || !end) {
		last := "23:59"
		if end {
			last = "24:00"
		}
		return 0, fmt.Errorf("has the time %s, wanted 00:00 to %s", text, last)
	}
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute, nil
}

// The years in which dates may lie.
const (
	firstYear = 1970
	lastYear  = 2200
)

func parseDate(text string) (time.Time, error) {
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("has the date %s, which is no day of the calendar", text)
	}
	return day, checkYear(day)
}

func checkYear(t time.Time) error {
	if t.Year() < firstYear || t.Year() > lastYear {
		return fmt.Errorf("has the year %d, wanted %d to %d", t.Year(), firstYear, lastYear)
	}
	return nil
}

// parseDays reads a date, or a first and a last one.
func parseDays(text string) (Days, error) {
	m := daysText().FindStringSubmatch(dashes.Replace(strings.Join(strings.Fields(text), " ")))
	if m == nil {
		return Days{}, errShape
	}
	first, err := parseDate(m[1])
	last := first
	if err == nil && m[2] != "" {
		last, err = parseDate(m[2])
	}
	if err == nil && last.Before(first) {
		err = errors.New("ends before it starts")
	}
	return Days{first, last}, err
}

// farLength is longer than any bound on a length. Each part of a length is cut to it, so that no
// sum of parts overflows a time.Duration.
const farLength = 1000 * 24 * time.Hour

// parseLength reads "8h", "1d12h", "90m" or RFC 5545's "PT8H", "P1D": days and weeks are by
// the clock, the rest is exact. A part longer than farLength is returned as farLength.
func parseLength(text string) (nominal, exact time.Duration, ok bool) {
	m := lengthText().FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return 0, 0, false
	}
	part := func(i int, unit time.Duration) time.Duration {
		n, _ := strconv.Atoi(m[i]) // digits, or nothing
		return time.Duration(min(n, int(farLength/unit)+1)) * unit
	}
	nominal = part(1, 7*24*time.Hour) + part(2, 24*time.Hour)
	exact = part(3, time.Hour) + part(4, time.Minute) + part(5, time.Second)
	return nominal, exact, nominal+exact > 0 || strings.ContainsAny(m[0], "0123456789")
}

// parseMoment reads a wall-clock time: "2026-01-25 04:00", "2026-01-25T04:00",
// "20260125T040000", or a date, which is its midnight.
func parseMoment(text string) (time.Time, error) {
	text = strings.TrimSpace(text)
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02T15:04:05", "20060102T150405", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, checkYear(t)
		}
	}
	return time.Time{}, errShape
}

package calendar

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/teambition/rrule-go"

	"github.com/dcib/dcib/internal/document"
	"github.com/dcib/dcib/internal/wallclock"
)

// recurrence starts by a rule of RFC 5545, section 3.3.10, on wall-clock times; the zone's rules come
// in afterwards. The library reads a rule, and no more: where it counts, weeks are cut at DTSTART
// (BYSETPOS), BYWEEKNO alone is every day of the week, the last week of a year is not that of RFC
// 5545, BYDAY=MO,1TU is empty, and a rule that never happens takes it to the year 9999.
type recurrence struct {
	option rrule.ROption // without COUNT and UNTIL; what DTSTART implies is written out
	start  time.Time     // DTSTART
	until  time.Time     // the last start, if not zero
	times  []time.Duration
}

var (
	rulePart   = regexp.MustCompile(`^[A-Z]+=[-+,A-Z0-9]+$`)
	ruleBlanks = regexp.MustCompile(`\s*([,;=])\s*`) // that some programs write
)

// newRecurrence reads a rule such as "FREQ=MONTHLY;BYDAY=-1SU" whose DTSTART is start, a
// wall-clock time. startCounts states that DTSTART is the first of COUNT also where the rule does not
// have it. untilUTC returns the wall-clock time of an UNTIL in UTC. The error is a clause that follows
// the rule: "has no FREQ".
func newRecurrence(rule string, start time.Time, startCounts bool, untilUTC func(time.Time) time.Time) (*recurrence, error) {
	rule = strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(rule)), "RRULE:")
	rule = ruleBlanks.ReplaceAllString(rule, "$1")
	rest, until, seen := []string{}, "", map[string]bool{}
	for part := range strings.SplitSeq(strings.TrimSuffix(rule, ";"), ";") {
		name, value, _ := strings.Cut(part, "=")
		switch {
		case !rulePart.MatchString(part):
			return nil, fmt.Errorf("has the part %s, wanted NAME=VALUE;… as in FREQ=WEEKLY;BYDAY=FR", document.Quote(part))
		case seen[name]:
			return nil, fmt.Errorf("has %s twice", name)
		case name == "UNTIL":
			until = value
		case name == "DTSTART" || name == "BYEASTER" || name == "TZID":
			return nil, fmt.Errorf("has %s, which is no part of a rule", name)
		default:
			rest = append(rest, part)
		}
		seen[name] = true
	}
	if !seen["FREQ"] {
		return nil, errors.New("has no FREQ, wanted FREQ=DAILY, WEEKLY, MONTHLY or YEARLY")
	}
	option, err := rrule.StrToROption(strings.Join(rest, ";"))
	if err != nil {
		return nil, fmt.Errorf("is no rule of RFC 5545: %w", err)
	}
	option.Dtstart = start
	if err := refuseOption(option, seen); err != nil {
		return nil, err
	}
	r := &recurrence{option: *option, start: start}
	if until != "" {
		if r.until, err = parseUntil(until, untilUTC); err != nil {
			return nil, err
		}
	}
	count := option.Count
	r.option.Count = 0
	r.spellOut()
	// Every occurrence of a counted rule is known now; of any other, whether there is one.
	next := r.from(start, start.Add(horizon))
	last, ok := next()
	if !ok {
		return r, errNever
	}
	if startCounts && !last.Equal(start) && count > 0 {
		if count--; count == 0 {
			return r, errNever
		}
	}
	for range count - 1 {
		at, ok := next()
		if !ok {
			return nil, fmt.Errorf("does not happen %d times within 50 years", option.Count)
		}
		last = at
	}
	if count > 0 {
		r.until = last
	}
	return r, nil
}

// errNever states that a rule has no occurrence.
var errNever = errors.New("never happens")

// refuseOption says what of a rule is out of bounds. Some of it RFC 5545 allows, but not
// for what has a length of hours; some of it the library does not stand.
func refuseOption(o *rrule.ROption, seen map[string]bool) error {
	if o.Freq > rrule.DAILY {
		return fmt.Errorf("has FREQ=%s, wanted DAILY, WEEKLY, MONTHLY or YEARLY", o.Freq)
	}
	if seen["INTERVAL"] && (o.Interval < 1 || o.Interval > maxInterval) {
		return fmt.Errorf("has INTERVAL=%d, wanted 1 to %d", o.Interval, maxInterval)
	}
	if seen["COUNT"] && (o.Count < 1 || o.Count > maxCount) {
		return fmt.Errorf("has COUNT=%d, wanted 1 to %d", o.Count, maxCount)
	}
	if seen["COUNT"] && seen["UNTIL"] {
		return errors.New("has both COUNT and UNTIL, wanted at most one")
	}
	if max(1, len(o.Byhour))*max(1, len(o.Byminute))*max(1, len(o.Bysecond)) > maxDaily {
		return fmt.Errorf("starts more than %d times in a day", maxDaily)
	}
	for _, day := range o.Byweekday {
		n := max(day.N(), -day.N())
		switch {
		case n > 0 && o.Freq != rrule.MONTHLY && o.Freq != rrule.YEARLY || n > 0 && len(o.Byweekno) > 0:
			return fmt.Errorf("has BYDAY=%s, which counts days of a month or a year: wanted FREQ=MONTHLY or YEARLY without BYWEEKNO", day.String())
		case n > 5 && (o.Freq == rrule.MONTHLY || len(o.Bymonth) > 0):
			return fmt.Errorf("has BYDAY=%s, but a month has at most 5 of them", day.String())
		}
	}
	switch {
	case len(o.Byweekno) > 0 && o.Freq != rrule.YEARLY:
		return errors.New("has BYWEEKNO, wanted it with FREQ=YEARLY only")
	case len(o.Byyearday) > 0 && o.Freq != rrule.YEARLY:
		return errors.New("has BYYEARDAY, wanted it with FREQ=YEARLY only")
	case len(o.Bymonthday) > 0 && o.Freq == rrule.WEEKLY:
		return errors.New("has BYMONTHDAY, wanted it not with FREQ=WEEKLY")
	}
	if _, err := rrule.NewRRule(*o); err != nil {
		return fmt.Errorf("is no rule of RFC 5545: %w", err)
	}
	return nil
}

// parseUntil reads UNTIL: a date, which is still in, or a time on the clock, or in UTC.
func parseUntil(text string, utc func(time.Time) time.Time) (time.Time, error) {
	if t, err := time.Parse(rrule.DateFormat, text); err == nil {
		return t.Add(24*time.Hour - 1), nil
	}
	if t, err := time.Parse(rrule.LocalDateTimeFormat, text); err == nil {
		return t, nil
	}
	if t, err := time.Parse(rrule.DateTimeFormat, text); err == nil {
		return utc(t), nil
	}
	return time.Time{}, fmt.Errorf("has UNTIL=%s, wanted 20261231, 20261231T180000 or 20261231T180000Z", text)
}

// spellOut writes down what DTSTART says about the occurrences. (RFC 5545, section 3.3.10: missing
// parts are taken from DTSTART.)
func (r *recurrence) spellOut() {
	o := &r.option
	o.Interval = max(1, o.Interval)
	switch noDays := len(o.Byyearday)+len(o.Bymonthday)+len(o.Byweekday) == 0; {
	case !noDays || o.Freq == rrule.DAILY:
	case o.Freq == rrule.WEEKLY || len(o.Byweekno) > 0:
		o.Byweekday = []rrule.Weekday{weekdays[r.start.Weekday()]}
	default:
		if o.Freq == rrule.YEARLY && len(o.Bymonth) == 0 {
			o.Bymonth = []int{int(r.start.Month())}
		}
		o.Bymonthday = []int{r.start.Day()}
	}
	if len(o.Byhour) == 0 {
		o.Byhour = []int{r.start.Hour()}
	}
	if len(o.Byminute) == 0 {
		o.Byminute = []int{r.start.Minute()}
	}
	if len(o.Bysecond) == 0 {
		o.Bysecond = []int{r.start.Second()}
	}
	for _, hour := range o.Byhour {
		for _, minute := range o.Byminute {
			for _, second := range o.Bysecond {
				r.times = append(r.times, time.Duration(hour)*time.Hour+time.Duration(minute)*time.Minute+time.Duration(second)*time.Second)
			}
		}
	}
	slices.Sort(r.times)
	r.times = slices.Compact(r.times)
}

var weekdays = [7]rrule.Weekday{rrule.SU, rrule.MO, rrule.TU, rrule.WE, rrule.TH, rrule.FR, rrule.SA}

func (r *recurrence) daily() int { return len(r.times) }

func (r *recurrence) from(first, limit time.Time) func() (time.Time, bool) {
	if first.Before(r.start) {
		first = r.start
	}
	if !r.until.IsZero() && r.until.Before(limit) {
		limit = r.until
	}
	n := r.intervals(first)
	var set, left []time.Time // of the interval that is counted now: all, and those that come next
	return func() (time.Time, bool) {
		for {
			for len(left) > 0 && left[0].Before(first) {
				left = left[1:]
			}
			if len(left) > 0 {
				at := left[0]
				if at.After(limit) {
					return time.Time{}, false
				}
				left = left[1:]
				return at, true
			}
			begin := r.interval(n)
			if begin.After(limit) {
				return time.Time{}, false
			}
			if later, skip := r.skip(begin); skip {
				n = max(n+1, r.intervals(later))
				continue
			}
			set = r.expand(begin, set[:0])
			left = set
			n++
		}
	}
}

// intervals returns how many whole intervals lie between that of DTSTART and that of a time.
func (r *recurrence) intervals(at time.Time) int {
	const day = 24 * time.Hour
	begin := r.interval(0)
	switch r.option.Freq {
	case rrule.DAILY:
		return int(at.Sub(begin)/day) / r.option.Interval
	case rrule.WEEKLY:
		return int(at.Sub(begin)/(7*day)) / r.option.Interval
	case rrule.MONTHLY:
		return ((at.Year()-begin.Year())*12 + int(at.Month()) - int(begin.Month())) / r.option.Interval
	default:
		return (at.Year() - begin.Year()) / r.option.Interval
	}
}

// interval returns the beginning of the nth interval after that of DTSTART: of a day, a week, a month
// or a year. (RFC 5545, section 3.3.10: a set of recurrence instances starts at the beginning of the
// interval.)
func (r *recurrence) interval(n int) time.Time {
	n *= r.option.Interval
	begin := wallclock.Midnight(r.start)
	switch r.option.Freq {
	case rrule.DAILY:
		return begin.AddDate(0, 0, n)
	case rrule.WEEKLY:
		return begin.AddDate(0, 0, 7*n-(weekday(begin)-r.option.Wkst.Day()+7)%7)
	case rrule.MONTHLY:
		return time.Date(begin.Year(), begin.Month()+time.Month(n), 1, 0, 0, 0, 0, time.UTC)
	default:
		return time.Date(begin.Year()+n, 1, 1, 0, 0, 0, 0, time.UTC)
	}
}

// skip reports whether an interval lies in a month that does not count, and where to go on.
func (r *recurrence) skip(begin time.Time) (later time.Time, skip bool) {
	if r.option.Freq < rrule.WEEKLY || len(r.option.Bymonth) == 0 || slices.Contains(r.option.Bymonth, int(begin.Month())) {
		return time.Time{}, false
	}
	later = time.Date(begin.Year(), begin.Month()+1, 1, 0, 0, 0, 0, time.UTC)
	return later, r.option.Freq == rrule.DAILY || !begin.AddDate(0, 0, 6).After(later.AddDate(0, 0, -1))
}

// expand appends the starts of the interval that begins at begin to set.
func (r *recurrence) expand(begin time.Time, set []time.Time) []time.Time {
	o := &r.option
	end := begin
	switch o.Freq {
	case rrule.DAILY:
		end = begin.AddDate(0, 0, 1)
	case rrule.WEEKLY:
		end = begin.AddDate(0, 0, 7)
	case rrule.MONTHLY:
		end = begin.AddDate(0, 1, 0)
	default:
		end = begin.AddDate(1, 0, 0)
	}
	for day := begin; day.Before(end); day = day.Add(24 * time.Hour) {
		if len(o.Bymonth) > 0 && !slices.Contains(o.Bymonth, int(day.Month())) {
			day = time.Date(day.Year(), day.Month()+1, 0, 0, 0, 0, 0, time.UTC) // no day of this month
			continue
		}
		if !r.has(day) {
			continue
		}
		for _, at := range r.times {
			set = append(set, day.Add(at))
		}
	}
	if len(o.Bysetpos) == 0 {
		return set
	}
	var picked []time.Time
	for _, pos := range o.Bysetpos {
		if pos < 0 {
			pos += len(set) + 1
		}
		if pos > 0 && pos <= len(set) {
			picked = append(picked, set[pos-1])
		}
	}
	return sortDates(picked)
}

// has reports whether a day of a month that counts is one of the rule's.
func (r *recurrence) has(day time.Time) bool {
	o := &r.option
	if len(o.Bymonthday) > 0 {
		_, _, d := day.Date()
		if !fits(o.Bymonthday, d, daysIn(day)) {
			return false
		}
	}
	if len(o.Byyearday) > 0 && !fits(o.Byyearday, day.YearDay(), yearDays(day.Year())) {
		return false
	}
	if len(o.Byweekno) > 0 {
		if week, of := weekNumber(day, o.Wkst.Day()); !fits(o.Byweekno, week, of) {
			return false
		}
	}
	if len(o.Byweekday) == 0 {
		return true
	}
	on := weekday(day)
	return slices.ContainsFunc(o.Byweekday, func(w rrule.Weekday) bool {
		switch n := w.N(); {
		case w.Day() != on:
			return false
		case n == 0:
			return true
		case o.Freq == rrule.YEARLY && len(o.Bymonth) == 0:
			return nth(n, day.YearDay(), yearDays(day.Year()))
		default:
			return nth(n, day.Day(), daysIn(day))
		}
	})
}

// fits reports whether numbers have n, or that number counted from the end of so many.
func fits(numbers []int, n, of int) bool {
	return slices.Contains(numbers, n) || slices.Contains(numbers, n-of-1)
}

// nth reports whether a day is the nth of its day of the week in a month or a year of so many days;
// a negative n is counted from the end.
func nth(n, day, of int) bool {
	if n < 0 {
		n, day = -n, of+1-day
	}
	return (day-1)/7+1 == n
}

// weekday returns the day of the week as rules count it: Monday is 0.
func weekday(day time.Time) int { return (int(day.Weekday()) + 6) % 7 }

// weekNumber returns in which week a day lies, and how many weeks that week's year has. Week 1 is the
// first that has four days in the year (RFC 5545, section 3.3.10). first is the day on which weeks
// begin.
func weekNumber(day time.Time, first int) (week, of int) {
	// A week belongs to the year in which its fourth day lies.
	fourth := day.AddDate(0, 0, 3-(weekday(day)-first+7)%7)
	last := yearDays(fourth.Year()) - fourth.YearDay() // days of the year after it
	week = (fourth.YearDay()-1)/7 + 1
	return week, week + last/7
}

func daysIn(month time.Time) int {
	return time.Date(month.Year(), month.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

func yearDays(year int) int { return time.Date(year, 12, 31, 0, 0, 0, 0, time.UTC).YearDay() }

// sortDates sorts starts and drops what is there twice.
func sortDates(at []time.Time) dates {
	slices.SortFunc(at, time.Time.Compare)
	return slices.CompactFunc(at, time.Time.Equal)
}

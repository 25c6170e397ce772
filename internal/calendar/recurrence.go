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
)

// recurrence starts by a rule of RFC 5545, section 3.3.10. The library counts in UTC; that
// makes its times wall-clock times, and the zone's rules come in afterwards.
type recurrence struct {
	option rrule.ROption // without COUNT and UNTIL; what DTSTART implies is written out
	start  time.Time     // DTSTART
	until  time.Time     // the last start, if not zero
}

var rulePart = regexp.MustCompile(`^[A-Z]+=[-+,A-Z0-9]+$`)

// newRecurrence reads a rule such as "FREQ=MONTHLY;BYDAY=-1SU" whose DTSTART is start, a
// wall-clock time. untilUTC gives the wall-clock time of an UNTIL in UTC. The error is a
// clause that follows the rule: "has no FREQ".
func newRecurrence(rule string, start time.Time, untilUTC func(time.Time) time.Time) (*recurrence, error) {
	rule = strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(rule)), "RRULE:")
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
		return nil, errors.New("never happens")
	}
	for range count - 1 {
		at, ok := next()
		if !ok {
			return nil, fmt.Errorf("does not happen %d times within 50 years", count)
		}
		last = at
	}
	if count > 0 {
		r.until = last
	}
	return r, nil
}

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

// spellOut writes down what DTSTART says about the occurrences, so that counting may begin
// elsewhere. (RFC 5545, section 3.3.10: missing parts are taken from DTSTART.)
func (r *recurrence) spellOut() {
	o := &r.option
	o.Interval = max(1, o.Interval)
	if len(o.Byweekno)+len(o.Byyearday)+len(o.Bymonthday)+len(o.Byweekday) == 0 {
		switch o.Freq {
		case rrule.YEARLY:
			if len(o.Bymonth) == 0 {
				o.Bymonth = []int{int(r.start.Month())}
			}
			o.Bymonthday = []int{r.start.Day()}
		case rrule.MONTHLY:
			o.Bymonthday = []int{r.start.Day()}
		case rrule.WEEKLY:
			o.Byweekday = []rrule.Weekday{weekdays[r.start.Weekday()]}
		}
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
}

var weekdays = [7]rrule.Weekday{rrule.SU, rrule.MO, rrule.TU, rrule.WE, rrule.TH, rrule.FR, rrule.SA}

func (r *recurrence) daily() int {
	return len(r.option.Byhour) * len(r.option.Byminute) * len(r.option.Bysecond)
}

func (r *recurrence) from(first, limit time.Time) func() (time.Time, bool) {
	if first.Before(r.start) {
		first = r.start
	}
	if !r.until.IsZero() && r.until.Before(limit) {
		limit = r.until
	}
	none := func() (time.Time, bool) { return time.Time{}, false }
	if limit.Before(first) {
		return none
	}
	option := r.option
	option.Dtstart = r.anchor(first)
	rule, err := rrule.NewRRule(option)
	if err != nil {
		return none // it was tried when the rule was read
	}
	next := rule.Iterator()
	return func() (time.Time, bool) {
		for {
			at, ok := next()
			switch {
			case !ok || at.After(limit):
				return none()
			case !at.Before(first):
				return at, true
			}
		}
	}
}

// anchor gives a day on which counting may begin instead of DTSTART: the same day of the
// week, at the beginning of a month or a year, a whole number of intervals later and not
// after first. The library counts from DTSTART one by one, which takes the longer the
// older a rule is.
func (r *recurrence) anchor(first time.Time) time.Time {
	const day = 24 * time.Hour
	step := r.option.Interval
	begin := midnight(r.start)
	days := int(first.Sub(begin) / day)
	switch r.option.Freq {
	case rrule.DAILY:
		return begin.AddDate(0, 0, days/step*step)
	case rrule.WEEKLY:
		// Weeks begin on any day (WKST), and BYSETPOS counts in whole ones: an interval early.
		return begin.AddDate(0, 0, max(0, days/(7*step)-1)*7*step)
	case rrule.MONTHLY:
		months := (first.Year()-begin.Year())*12 + int(first.Month()) - int(begin.Month())
		return time.Date(begin.Year(), begin.Month()+time.Month(months/step*step), 1, 0, 0, 0, 0, time.UTC)
	default:
		years := first.Year() - begin.Year()
		return time.Date(begin.Year()+years/step*step, 1, 1, 0, 0, 0, 0, time.UTC)
	}
}

// sortDates sorts starts and drops what is there twice.
func sortDates(at []time.Time) dates {
	slices.SortFunc(at, time.Time.Compare)
	return slices.CompactFunc(at, time.Time.Equal)
}

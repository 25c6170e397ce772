package calendar

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/teambition/rrule-go"

	"github.com/dcib/dcib/internal/document"
	"github.com/dcib/dcib/internal/wallclock"
)

// ParseCalendar reads an .ics calendar (RFC 5545): each event is a window. Times without a
// zone are in zone. The error is a document.Problems; there are no windows then.
//
// An event that is cancelled, does not block time (TRANSP:TRANSPARENT) or was revised is none, and
// only what says so is read of it. One that replaces an occurrence of another (RECURRENCE-ID) does so.
func ParseCalendar(text []byte, zone *time.Location) ([]Window, error) {
	if len(text) > MaxBytes {
		return nil, document.Problems{{Line: 1, Says: fmt.Sprintf("the calendar is %d bytes long", len(text)), Want: fmt.Sprintf("at most %d", MaxBytes)}}
	}
	if !utf8.Valid(text) {
		return nil, document.Problems{{Line: 1, Says: "the calendar is not in UTF-8"}}
	}
	events, problems := splitEvents(text)
	windows, more := readEvents(events, zone)
	problems = append(problems, more...)
	if len(events) == 0 && len(problems) == 0 {
		problems = document.Problems{{Line: 1, Says: "the calendar has no events", Want: "VEVENTs"}}
	}
	if len(problems) > 0 {
		return nil, problems.Err()
	}
	return windows, nil
}

// is reports whether a property has one of the values that RFC 5545 enumerates for it, which are
// compared without case (section 2).
func (e *event) is(name, value string) bool { return strings.EqualFold(e.text(name), value) }

// key is what revisions of an event have in common: its UID and, where it replaces an occurrence
// of a series, which one.
type key struct {
	uid string
	at  time.Time // a moment, or the midnight in UTC of a date
	day bool
	one bool // it replaces an occurrence
}

// readEvents makes windows of events. Of the revisions of one event only the last counts (RFC 5545,
// section 3.8.7.4; RFC 5546, section 2.1.5): it has the highest SEQUENCE and, of those, the latest
// DTSTAMP. Events that have both in common are all read.
func readEvents(events []*event, zone *time.Location) (windows []Window, problems document.Problems) {
	keys := make([]key, len(events))
	at := make([]*stamp, len(events)) // the occurrence that an event replaces
	last := map[key]*event{}
	for i, e := range events {
		var problem *document.Problem
		if at[i], problem = e.readReplaces(); problem == nil {
			problem = e.readRevision()
		}
		if problem != nil {
			problems = append(problems, *problem)
			continue
		}
		k := key{uid: e.text("UID")}
		if s := at[i]; s != nil {
			k.at, k.day, k.one = s.wall, s.day, true
			if !s.day {
				k.at = wallclock.Instant(s.wall, cmp.Or(s.zone, zone)).UTC()
			}
		}
		keys[i] = k
		if l := last[k]; l == nil || e.revision.compare(l.revision) > 0 {
			last[k] = e
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	current := func(i int) bool {
		return keys[i].uid == "" || events[i].revision.compare(last[keys[i]].revision) == 0
	}
	counts := func(i int) bool {
		return current(i) && !events[i].is("STATUS", "CANCELLED") && !events[i].is("TRANSP", "TRANSPARENT")
	}
	made := make([]*Window, len(events))
	add := func(i int) {
		w, problem := events[i].read(zone)
		switch {
		case problem != nil:
			problems = append(problems, *problem)
		case w.length() > 0: // else it is a reminder: it blocks no time
			made[i] = &w
		}
	}
	series := map[string][]*Window{} // of events with a UID that replace no occurrence
	for i := range events {
		if at[i] != nil || !counts(i) {
			continue
		}
		if add(i); made[i] != nil && keys[i].uid != "" {
			series[keys[i].uid] = append(series[keys[i].uid], made[i])
		}
	}
	for i, e := range events {
		if at[i] == nil || !counts(i) || superseded(e, *at[i], last[key{uid: keys[i].uid}], series[keys[i].uid], zone) {
			continue
		}
		add(i)
	}
	for i := range events {
		if at[i] == nil || !current(i) {
			continue
		}
		for _, w := range series[keys[i].uid] {
			if err := w.exclude(*at[i], zone); err != nil {
				problems = append(problems, document.At(events[i].properties["RECURRENCE-ID"][0].line, "RECURRENCE-ID", err.Error(), ""))
				break
			}
		}
	}
	for _, w := range made {
		if w != nil {
			w.not, w.notDays = sortDates(w.not), sortDates(w.notDays)
			windows = append(windows, *w)
		}
	}
	return windows, problems
}

// superseded reports whether an event that replaces an occurrence at a time is older than its series,
// which is cancelled or does not have that occurrence any more. Where both have the same SEQUENCE it is
// not: some programs write an EXDATE for each occurrence that is replaced.
func superseded(e *event, at stamp, all *event, series []*Window, floating *time.Location) bool {
	if all == nil || e.text("UID") == "" || e.revision.sequence > all.revision.sequence {
		return false
	}
	if all.is("STATUS", "CANCELLED") {
		return true
	}
	has := func(w *Window) bool { return w.has(at, floating) }
	return e.revision.sequence < all.revision.sequence && len(series) > 0 && !slices.ContainsFunc(series, has)
}

// revision orders the revisions of an event.
type revision struct {
	sequence int
	stamp    time.Time // DTSTAMP
}

func (r revision) compare(other revision) int {
	return cmp.Or(cmp.Compare(r.sequence, other.sequence), r.stamp.Compare(other.stamp))
}

// readRevision reads SEQUENCE and DTSTAMP. A DTSTAMP that is no time in UTC is not heeded.
func (e *event) readRevision() *document.Problem {
	if ps := e.properties["SEQUENCE"]; len(ps) > 0 {
		var err error
		if e.revision.sequence, err = strconv.Atoi(e.text("SEQUENCE")); err != nil || e.revision.sequence < 0 {
			return new(document.At(ps[0].line, "SEQUENCE", "is "+document.Quote(ps[0].Value), "a number from 0 on"))
		}
	}
	e.revision.stamp, _ = time.Parse(rrule.DateTimeFormat, e.text("DTSTAMP"))
	return nil
}

// readReplaces reads which occurrence of a series an event replaces; nil is none.
func (e *event) readReplaces() (*stamp, *document.Problem) {
	ps := e.properties["RECURRENCE-ID"]
	switch {
	case len(ps) == 0:
		return nil, nil
	case len(ps) > 1:
		return nil, new(document.At(ps[1].line, "RECURRENCE-ID", "is there twice in the event", "it once"))
	case len(ps[0].ICalParameters["RANGE"]) > 0:
		return nil, new(document.At(ps[0].line, "RECURRENCE-ID", "has a RANGE, which is not supported", "single occurrences"))
	}
	stamps, err := ps[0].stamps()
	if err == nil && len(stamps) != 1 {
		err = errors.New("is not one time")
	}
	if err != nil {
		return nil, new(document.At(ps[0].line, "RECURRENCE-ID", err.Error(), ""))
	}
	return &stamps[0], nil
}

// stamp is a date or a time in a calendar.
type stamp struct {
	wall time.Time
	day  bool           // a date alone
	zone *time.Location // nil: whatever the reader's is
}

// in returns the stamp by the clock of DTSTART's zone. A date stays what it is, and so does a time without
// a zone: RFC 5545 wants all times of an event in one form (section 3.8.2.2), so it is by that clock.
func (s stamp) in(zone, floating *time.Location) time.Time {
	if s.day || s.zone == nil || s.zone == zone {
		return s.wall
	}
	return wallclock.Of(wallclock.Instant(s.wall, s.zone), cmp.Or(zone, floating))
}

// asDay returns the date that a time stands for where whole days are meant: midnight as it is written,
// or by the clock of the reader's zone. ok is false for other times.
func (s stamp) asDay(floating *time.Location) (day stamp, ok bool) {
	for _, wall := range []time.Time{s.wall, s.in(floating, floating)} {
		if wallclock.Midnight(wall).Equal(wall) {
			return stamp{wall: wall, day: true}, true
		}
	}
	return s, false
}

// errWithinDay states that a time does not go with whole days.
var errWithinDay = errors.New("is a time within a day and DTSTART a date, wanted a date")

// has reports whether a window starts at a time, or on a date. What exclude refuses it has.
func (w *Window) has(s stamp, floating *time.Location) bool {
	if w.days {
		var ok bool
		if s, ok = s.asDay(floating); !ok {
			return true
		}
	}
	first := s.in(w.zone, floating)
	limit := first
	if s.day {
		limit = first.Add(24*time.Hour - 1)
	}
	next := w.starts.from(first, limit)
	for at, ok := next(); ok; at, ok = next() {
		if !w.excluded(at) {
			return true
		}
	}
	return false
}

// exclude takes a start, or a day, out of a window.
func (w *Window) exclude(s stamp, floating *time.Location) error {
	if w.days {
		var ok bool
		if s, ok = s.asDay(floating); !ok {
			return errWithinDay
		}
	}
	if s.day {
		w.notDays = append(w.notDays, s.wall)
	} else {
		w.not = append(w.not, s.in(w.zone, floating))
	}
	return nil
}

// read makes a window of an event.
func (e *event) read(floating *time.Location) (w Window, problem *document.Problem) {
	fail := func(line int, name, says, want string) (Window, *document.Problem) {
		return Window{}, new(document.At(line, name, says, want))
	}
	if len(e.properties["RECURRENCE-ID"]) > 0 {
		// It is one occurrence. Some programs write the rule of its series beside it.
		for _, name := range []string{"RRULE", "RDATE", "EXDATE", "EXRULE"} {
			delete(e.properties, name)
		}
	}
	for _, name := range []string{"DTSTART", "DTEND", "DURATION", "RRULE"} {
		if ps := e.properties[name]; len(ps) > 1 {
			return fail(ps[1].line, name, "is there twice in the event", "it once")
		}
	}
	if ps := e.properties["EXRULE"]; len(ps) > 0 {
		return fail(ps[0].line, "EXRULE", "is not supported", "EXDATE")
	}
	if len(e.properties["DTSTART"]) == 0 {
		return fail(e.line, "the event", "has no DTSTART", "one")
	}
	p := e.properties["DTSTART"][0]
	stamps, err := p.stamps()
	if err == nil && len(stamps) != 1 {
		err = errors.New("is not one time")
	}
	if err != nil {
		return fail(p.line, "DTSTART", err.Error(), "")
	}
	start := stamps[0]
	w.zone, w.days = start.zone, start.day
	w.text = cmp.Or(shorten(e.text("SUMMARY")), "event") + " (" + start.String() + ")"
	if problem := e.readLength(&w, start, floating); problem != nil {
		return Window{}, problem
	}
	if w.starts, problem = e.readStarts(start, floating); problem != nil {
		return Window{}, problem
	}
	for _, p := range e.properties["EXDATE"] {
		stamps, err := p.stamps()
		if err != nil {
			return fail(p.line, "EXDATE", err.Error(), "")
		}
		for _, s := range stamps {
			if err := w.exclude(s, floating); err != nil {
				return fail(p.line, "EXDATE", err.Error(), "")
			}
		}
	}
	w.not, w.notDays = sortDates(w.not), sortDates(w.notDays)
	return w, nil
}

// readLength finds how long an event is. DTEND is where the clock stands at the end of each
// occurrence; the hours of DURATION are exact, its days by the clock.
func (e *event) readLength(w *Window, start stamp, floating *time.Location) *document.Problem {
	line := e.line
	switch ends, lengths := e.properties["DTEND"], e.properties["DURATION"]; {
	case len(ends) > 0:
		line = ends[0].line
		stamps, err := ends[0].stamps()
		if err == nil && len(stamps) != 1 {
			err = errors.New("is not one time")
		}
		if err == nil && stamps[0].day != start.day {
			err = errors.New("is a date and DTSTART a time, or the other way round")
		}
		if err != nil {
			return new(document.At(line, "DTEND", err.Error(), ""))
		}
		w.nominal = stamps[0].in(start.zone, floating).Sub(start.wall)
		if len(lengths) > 0 {
			// RFC 5545 has one of them; some programs write both, the length as nothing.
			zone := cmp.Or(start.zone, floating)
			passes := wallclock.Instant(start.wall.Add(w.nominal), zone).Sub(wallclock.Instant(start.wall, zone))
			nominal, exact, ok := parseLength(lengths[0].Value)
			if length := nominal + exact; !ok || length != 0 && length != w.nominal && length != passes {
				return new(document.At(lengths[0].line, "DURATION", "is another length than DTEND has", "one of them"))
			}
		}
	case len(lengths) > 0:
		line = lengths[0].line
		var ok bool
		if w.nominal, w.exact, ok = parseLength(lengths[0].Value); !ok {
			return new(document.At(line, "DURATION", "is "+document.Quote(lengths[0].Value), "a length such as PT8H"))
		}
	case start.day:
		w.nominal = 24 * time.Hour
	default:
		return new(document.At(line, "the event", "has no end", "DTEND or DURATION"))
	}
	if w.length() == 0 && start.day {
		w.nominal = 24 * time.Hour // the day that it ends on, as many programs write it
	}
	if w.length() < 0 {
		return new(document.At(line, "the event", "ends before it has begun", "an end after its start"))
	}
	if err := w.tooLong(); err != nil {
		return new(document.At(line, "the event", err.Error(), ""))
	}
	return nil
}

// readStarts finds when an event happens.
func (e *event) readStarts(start stamp, floating *time.Location) (series, *document.Problem) {
	at := []time.Time{start.wall}
	for _, p := range e.properties["RDATE"] {
		stamps, err := p.stamps()
		if err != nil {
			return nil, new(document.At(p.line, "RDATE", err.Error(), ""))
		}
		for _, s := range stamps {
			if start.day {
				var ok bool
				if s, ok = s.asDay(floating); !ok {
					return nil, new(document.At(p.line, "RDATE", errWithinDay.Error(), ""))
				}
			}
			at = append(at, s.in(start.zone, floating))
		}
	}
	rules := e.properties["RRULE"]
	if len(rules) == 0 {
		return sortDates(at), nil
	}
	zone := cmp.Or(start.zone, floating)
	rule, err := newRecurrence(rules[0].Value, start.wall, true, func(t time.Time) time.Time { return wallclock.Of(t, zone) })
	if errors.Is(err, errNever) {
		// DTSTART is the first occurrence all the same.
		return sortDates(at), nil
	}
	if err != nil {
		return nil, new(document.At(rules[0].line, "RRULE", document.Quote(rules[0].Value)+" "+err.Error(), ""))
	}
	// DTSTART is the first occurrence, whether the rule says so or not.
	return both{rule, sortDates(at)}, nil
}

// both is two series in one.
type both struct{ a, b series }

func (s both) daily() int { return s.a.daily() + s.b.daily() }

func (s both) from(first, limit time.Time) func() (time.Time, bool) {
	nextA, nextB := s.a.from(first, limit), s.b.from(first, limit)
	a, okA := nextA()
	b, okB := nextB()
	return func() (at time.Time, ok bool) {
		switch {
		case okA && (!okB || a.Before(b)):
			at, ok = a, true
			a, okA = nextA()
		case okB:
			at, ok = b, true
			if okA && a.Equal(b) {
				a, okA = nextA()
			}
			b, okB = nextB()
		}
		return at, ok
	}
}

// stamps reads the dates or times of a property. The error is a clause: "is …".
func (p property) stamps() ([]stamp, error) {
	var zone *time.Location
	for name, values := range p.ICalParameters {
		switch value := strings.Join(values, ","); strings.ToUpper(name) {
		case "TZID":
			if zone = p.zones.of(value); zone == nil {
				return nil, fmt.Errorf("is in the zone %s, wanted %s, or a VTIMEZONE of that name", document.Quote(value), wantZone)
			}
		case "VALUE":
			if v := strings.ToUpper(value); v != "DATE" && v != "DATE-TIME" {
				return nil, fmt.Errorf("is a %s, wanted dates or times", document.Quote(value))
			}
		}
	}
	var stamps []stamp
	for text := range strings.SplitSeq(p.Value, ",") {
		s := stamp{zone: zone}
		var err error
		text = strings.TrimSpace(text)
		switch len(text) {
		case 0:
			continue // no date
		case len(rrule.DateFormat), len(rrule.DateFormat) + 1: // some programs write a Z after a date
			s.day, s.zone = true, nil
			s.wall, err = time.Parse(rrule.DateFormat, strings.TrimSuffix(text, "Z"))
		case len(rrule.DateTimeFormat):
			s.zone = time.UTC
			s.wall, err = time.Parse(rrule.DateTimeFormat, text)
		default:
			s.wall, err = time.Parse(rrule.LocalDateTimeFormat, text)
		}
		if err != nil {
			return nil, fmt.Errorf("is %s, wanted a date such as 20261224, or a time such as 20261224T180000", document.Quote(text))
		}
		if err := checkYear(s.wall); err != nil {
			return nil, err
		}
		if stamps = append(stamps, s); len(stamps) > maxCount {
			return nil, fmt.Errorf("has more than %d dates", maxCount)
		}
	}
	return stamps, nil
}

func (s stamp) String() string {
	if s.day {
		return s.wall.Format(time.DateOnly)
	}
	return s.wall.Format("2006-01-02 15:04")
}

// shorten makes a summary fit a line.
func shorten(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r < ' ' || r == ' ' }), " ")
	if r := []rune(text); len(r) > 40 {
		return string(slices.Concat(r[:40], []rune("…")))
	}
	return text
}

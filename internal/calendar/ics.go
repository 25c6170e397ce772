package calendar

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	ics "github.com/arran4/golang-ical"
	"github.com/teambition/rrule-go"

	"github.com/dcib/dcib/internal/document"
)

// ParseCalendar reads an .ics calendar (RFC 5545): each event is a window. Times without a
// zone are in zone. The error is a document.Problems; there are no windows then.
//
// An event that is cancelled or does not block time (TRANSP:TRANSPARENT) is none. One that
// replaces an occurrence of another (RECURRENCE-ID) does so.
func ParseCalendar(text []byte, zone *time.Location) ([]Window, error) {
	if len(text) > MaxBytes {
		return nil, document.Problems{{Line: 1, Says: fmt.Sprintf("the calendar is %d bytes long", len(text)), Want: fmt.Sprintf("at most %d", MaxBytes)}}
	}
	if !utf8.Valid(text) {
		return nil, document.Problems{{Line: 1, Says: "the calendar is not in UTF-8"}}
	}
	events, problems := splitEvents(text)
	var windows []Window
	type moved struct {
		*event
		at stamp
	}
	masters, replaced := map[string]int{}, []moved{}
	for _, e := range events {
		w, id, err := e.read(zone)
		if err != nil {
			problems = append(problems, *err)
			continue
		}
		if id != nil {
			replaced = append(replaced, moved{e, *id})
		}
		if e.text("STATUS") == "CANCELLED" || e.text("TRANSP") == "TRANSPARENT" {
			continue
		}
		if id == nil && e.text("UID") != "" {
			masters[e.text("UID")] = len(windows)
		}
		windows = append(windows, w)
	}
	for _, m := range replaced {
		if i, ok := masters[m.text("UID")]; ok {
			windows[i].exclude(m.at, zone)
		}
	}
	if len(events) == 0 && len(problems) == 0 {
		problems = document.Problems{{Line: 1, Says: "the calendar has no events", Want: "VEVENTs"}}
	}
	if len(problems) > 0 {
		return nil, problems.Err()
	}
	return windows, nil
}

// property is a line of an event.
type property struct {
	*ics.BaseProperty
	line int
}

// event is a VEVENT.
type event struct {
	line       int
	properties map[string][]property
}

func (e *event) text(name string) string {
	if ps := e.properties[name]; len(ps) > 0 {
		return strings.TrimSpace(ps[0].Value)
	}
	return ""
}

// splitEvents finds the events in a calendar. The library reads single lines here, not the
// whole: it does not say in which line something was wrong.
func splitEvents(text []byte) (events []*event, problems document.Problems) {
	var open []string // components that have begun
	var current *event
	add := func(line int, says, want string) {
		problems = append(problems, document.Problem{Line: line, Says: says, Want: want})
	}
	lines := unfold(text)
	for _, l := range lines {
		p, err := ics.ParseProperty(ics.ContentLine(l.text))
		if err != nil || p == nil {
			add(l.number, "is "+document.Quote(l.text), "NAME:value, as in an .ics file")
			return events, problems
		}
		name, value := strings.ToUpper(p.IANAToken), strings.ToUpper(strings.TrimSpace(p.Value))
		switch {
		case name == "BEGIN":
			if len(open) == 0 && value != "VCALENDAR" {
				add(l.number, "begins with "+document.Quote(value), "BEGIN:VCALENDAR")
				return events, problems
			}
			open = append(open, value)
			if value == "VEVENT" && current == nil {
				current = &event{line: l.number, properties: map[string][]property{}}
				events = append(events, current)
			}
		case name == "END":
			if len(open) == 0 || open[len(open)-1] != value {
				add(l.number, "ends "+document.Quote(value)+", which is not what was begun last", "")
				return events, problems
			}
			if open = open[:len(open)-1]; value == "VEVENT" {
				current = nil
			}
		case len(open) == 0:
			add(l.number, "is "+document.Quote(l.text), "BEGIN:VCALENDAR")
			return events, problems
		case open[len(open)-1] == "VEVENT":
			current.properties[name] = append(current.properties[name], property{p, l.number})
		}
	}
	if len(open) > 0 {
		add(lines[len(lines)-1].number, "the calendar ends within "+open[len(open)-1], "END:"+open[len(open)-1])
	}
	if len(lines) == 0 {
		add(1, "the calendar is empty", "BEGIN:VCALENDAR")
	}
	if len(events) > maxEntries {
		add(events[maxEntries].line, fmt.Sprintf("the calendar has %d events", len(events)), fmt.Sprintf("at most %d", maxEntries))
		return events[:maxEntries], problems
	}
	return events, problems
}

type contentLine struct {
	text   string
	number int
}

// unfold puts lines together that go on with a blank (RFC 5545, section 3.1).
func unfold(text []byte) []contentLine {
	var lines []contentLine
	number := 0
	for raw := range bytes.SplitSeq(text, []byte("\n")) {
		number++
		raw = bytes.TrimSuffix(raw, []byte("\r"))
		switch {
		case len(lines) > 0 && len(raw) > 0 && (raw[0] == ' ' || raw[0] == '\t'):
			lines[len(lines)-1].text += string(raw[1:])
		case len(bytes.TrimSpace(raw)) > 0:
			lines = append(lines, contentLine{string(raw), number})
		}
	}
	return lines
}

// stamp is a date or a time in a calendar.
type stamp struct {
	wall time.Time
	day  bool           // a date alone
	zone *time.Location // nil: whatever the reader's is
}

// in gives the stamp by the clock of another zone; a date stays what it is.
func (s stamp) in(zone, floating *time.Location) time.Time {
	if s.day || s.zone == zone {
		return s.wall
	}
	return wallOf(instant(s.wall, cmp.Or(s.zone, floating)), cmp.Or(zone, floating))
}

// exclude takes a start, or a day, out of a window.
func (w *Window) exclude(s stamp, floating *time.Location) {
	if s.day {
		w.notDays = append(w.notDays, s.wall)
	} else {
		w.not = append(w.not, s.in(w.zone, floating))
	}
}

// read makes a window of an event. replaces is the occurrence of another event that it
// takes the place of.
func (e *event) read(floating *time.Location) (w Window, replaces *stamp, problem *document.Problem) {
	fail := func(line int, name, says, want string) (Window, *stamp, *document.Problem) {
		return Window{}, nil, new(document.At(line, name, says, want))
	}
	for _, name := range []string{"DTSTART", "DTEND", "DURATION", "RRULE", "RECURRENCE-ID"} {
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
	w.zone = start.zone
	w.text = cmp.Or(shorten(e.text("SUMMARY")), "event") + " (" + start.String() + ")"
	if problem := e.readLength(&w, start, floating); problem != nil {
		return Window{}, nil, problem
	}
	if w.starts, problem = e.readStarts(start, floating); problem != nil {
		return Window{}, nil, problem
	}
	for _, p := range e.properties["EXDATE"] {
		stamps, err := p.stamps()
		if err != nil {
			return fail(p.line, "EXDATE", err.Error(), "")
		}
		for _, s := range stamps {
			w.exclude(s, floating)
		}
	}
	if ps := e.properties["RECURRENCE-ID"]; len(ps) > 0 {
		if len(ps[0].ICalParameters["RANGE"]) > 0 {
			return fail(ps[0].line, "RECURRENCE-ID", "has a RANGE, which is not supported", "single occurrences")
		}
		stamps, err := ps[0].stamps()
		if err == nil && len(stamps) != 1 {
			err = errors.New("is not one time")
		}
		if err != nil {
			return fail(ps[0].line, "RECURRENCE-ID", err.Error(), "")
		}
		replaces = &stamps[0]
	}
	return w, replaces, nil
}

// readLength finds how long an event is. DTEND is where the clock stands at the end of each
// occurrence; the hours of DURATION are exact, its days by the clock.
func (e *event) readLength(w *Window, start stamp, floating *time.Location) *document.Problem {
	line := e.line
	switch ends, lengths := e.properties["DTEND"], e.properties["DURATION"]; {
	case len(ends) > 0 && len(lengths) > 0:
		return new(document.At(lengths[0].line, "DURATION", "is there beside DTEND", "one of them"))
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
	if w.length() <= 0 {
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
			at = append(at, s.in(start.zone, floating))
		}
	}
	rules := e.properties["RRULE"]
	if len(rules) == 0 {
		return sortDates(at), nil
	}
	zone := cmp.Or(start.zone, floating)
	rule, err := newRecurrence(rules[0].Value, start.wall, func(t time.Time) time.Time { return wallOf(t, zone) })
	if err != nil {
		return nil, new(document.At(rules[0].line, "RRULE", document.Quote(rules[0].Value)+" "+err.Error(), ""))
	}
	// DTSTART is the first occurrence, whether the rule says so or not.
	return both{rule, sortDates(at)}, nil
}

// both is two series in one.
type both struct{ a, b series }

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
			if zone = zoneOf(value); zone == nil {
				return nil, fmt.Errorf("is in the zone %s, wanted %s", document.Quote(value), wantZone)
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
		case len(rrule.DateFormat):
			s.day, s.zone = true, nil
			s.wall, err = time.Parse(rrule.DateFormat, text)
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

// zoneOf finds the zone of a TZID; some programs write a path of their own before its name.
func zoneOf(tzid string) *time.Location {
	parts := strings.Split(strings.Trim(tzid, `"/`), "/")
	for i := range parts {
		if zone := loadZone(strings.Join(parts[i:], "/")); zone != nil {
			return zone
		}
		if !strings.HasPrefix(tzid, "/") {
			break
		}
	}
	return nil
}

// shorten makes a summary fit a line.
func shorten(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r < ' ' || r == ' ' }), " ")
	if r := []rune(text); len(r) > 40 {
		return string(slices.Concat(r[:40], []rune("…")))
	}
	return text
}

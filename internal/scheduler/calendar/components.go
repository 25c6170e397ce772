package calendar

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	ics "github.com/arran4/golang-ical"

	"github.com/dcib/dcib/internal/document"
)

// property is a line of an event.
type property struct {
	*ics.BaseProperty
	line  int
	zones *zones
}

// event is a VEVENT.
type event struct {
	line       int
	properties map[string][]property
	revision   revision
}

func (e *event) text(name string) string {
	if ps := e.properties[name]; len(ps) > 0 {
		return strings.TrimSpace(ps[0].Value)
	}
	return ""
}

// read are the properties that count, and with them BEGIN and END. All others are passed over, whatever
// programs write in them.
var read = map[string]bool{
	"BEGIN": true, "END": true, "UID": true, "SEQUENCE": true, "DTSTAMP": true, "SUMMARY": true, "STATUS": true, "TRANSP": true,
	"DTSTART": true, "DTEND": true, "DURATION": true, "RRULE": true, "RDATE": true, "EXDATE": true, "EXRULE": true, "RECURRENCE-ID": true,
	"TZID": true, "TZOFFSETFROM": true, "TZOFFSETTO": true,
}

// splitEvents finds the events in a calendar. The library reads single lines here, not the
// whole: it does not say in which line something was wrong. There are no events where the calendar is
// cut off or a line is none: what follows from that is no problem of its own.
func splitEvents(text []byte) (events []*event, problems document.Problems) {
	var open []string              // components that have begun
	var current, observance *event // the VEVENT, and the part of a VTIMEZONE, that has begun
	var tzid string                // of the VTIMEZONE that has begun
	var observances []*event       // of the VTIMEZONE that has begun
	known := &zones{map[string][]*event{}, map[string]*time.Location{}}
	fail := func(line int, says, want string) ([]*event, document.Problems) {
		return nil, document.Problems{{Line: line, Says: says, Want: want}}
	}
	lines := unfold(text)
	for _, l := range lines {
		end := strings.IndexAny(l.text, ":;")
		if end < 1 {
			return fail(l.number, "is "+document.Quote(l.text), "NAME:value, as in an .ics file")
		}
		name := strings.ToUpper(strings.TrimSpace(l.text[:end]))
		if len(open) == 0 && name != "BEGIN" {
			return fail(l.number, "is "+document.Quote(l.text), "BEGIN:VCALENDAR")
		}
		if !read[name] {
			continue
		}
		p, err := ics.ParseProperty(ics.ContentLine(l.text))
		if err != nil || p == nil {
			return fail(l.number, "is "+document.Quote(l.text), "NAME:value, as in an .ics file")
		}
		value := strings.ToUpper(strings.TrimSpace(p.Value))
		within := ""
		if len(open) > 0 {
			within = open[len(open)-1]
		}
		switch {
		case name == "BEGIN":
			if len(open) == 0 && value != "VCALENDAR" {
				return fail(l.number, "begins with "+document.Quote(value), "BEGIN:VCALENDAR")
			}
			open = append(open, value)
			switch {
			case value == "VEVENT" && current == nil:
				current = &event{line: l.number, properties: map[string][]property{}}
				events = append(events, current)
			case value == "VTIMEZONE":
				tzid, observances = "", nil
			case value != "STANDARD" && value != "DAYLIGHT":
				observance = nil
			case within == "VTIMEZONE":
				observance = &event{line: l.number, properties: map[string][]property{}}
				observances = append(observances, observance)
			}
		case name == "END":
			if within != value {
				return fail(l.number, "ends "+document.Quote(value)+", which is not what was begun last", "")
			}
			open = open[:len(open)-1]
			switch value {
			case "VEVENT":
				current = nil
			case "VTIMEZONE":
				known.described[tzid] = observances
			}
		case within == "VEVENT" && current != nil:
			current.properties[name] = append(current.properties[name], property{p, l.number, known})
		case within == "VTIMEZONE" && name == "TZID":
			tzid = strings.TrimSpace(p.Value)
		case observance != nil && len(open) > 1 && open[len(open)-2] == "VTIMEZONE":
			observance.properties[name] = append(observance.properties[name], property{p, l.number, known})
		}
	}
	switch {
	case len(lines) == 0:
		return fail(1, "the calendar is empty", "BEGIN:VCALENDAR")
	case len(open) > 0:
		return fail(lines[len(lines)-1].number, "the calendar ends within "+open[len(open)-1], "END:"+open[len(open)-1])
	case len(events) > maxEntries:
		return fail(events[maxEntries].line, fmt.Sprintf("the calendar has %d events", len(events)), fmt.Sprintf("at most %d", maxEntries))
	}
	return events, nil
}

type contentLine struct {
	text   string
	number int
}

// unfold puts lines together that go on with a blank (RFC 5545, section 3.1).
func unfold(text []byte) []contentLine {
	var lines []contentLine
	number := 0
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // a byte order mark
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

package calendar

import (
	"cmp"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/teambition/rrule-go"
)

// zoneNames has the names of the IANA database that comes with Go, one a line, in order. A machine may
// have others, such as localtime, which mean something else on each.
//
//go:embed zonenames.txt
var zoneNames string

var knownZones = sync.OnceValue(func() map[string]bool {
	known := map[string]bool{}
	for name := range strings.FieldsSeq(zoneNames) {
		known[name] = true
	}
	return known
})

// Zone returns the zone of that name in the IANA database; nil when there is none. Names that only the
// database of this machine has are none.
func Zone(name string) *time.Location {
	if !knownZones()[name] {
		return nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil
	}
	return zone
}

// zones are the zones that the times of one .ics calendar may name.
type zones struct {
	described map[string][]*event // the STANDARD and DAYLIGHT parts of each VTIMEZONE
	made      map[string]*time.Location
}

// of finds the zone of a TZID: a zone of the IANA database, also behind a path that some programs
// write before its name; a zone by its Windows name; one that the calendar describes in a VTIMEZONE; or an
// offset such as UTC+01.
// It returns nil when there is none of them.
func (z *zones) of(tzid string) *time.Location {
	name := strings.Trim(strings.TrimSpace(tzid), `"`)
	if zone, ok := z.made[name]; ok {
		return zone
	}
	parts := strings.Split(strings.Trim(name, "/"), "/")
	zone := Zone(strings.Join(parts, "/"))
	for i := 1; zone == nil && i < len(parts) && strings.HasPrefix(name, "/"); i++ {
		zone = Zone(strings.Join(parts[i:], "/"))
	}
	if zone == nil && windowsZones[name] != "" {
		zone = Zone(windowsZones[name])
	}
	if zone == nil && len(z.described[name]) > 0 {
		zone = makeZone(name, z.described[name])
	}
	if offset, ok := strings.CutPrefix(name, "UTC"); ok && zone == nil {
		zone = fixedZone(name, offset)
	}
	z.made[name] = zone
	return zone
}

// transition is when the clock of a zone gets another offset.
type transition struct {
	at     int64 // in seconds since 1970, in UTC
	offset int   // from then on, in seconds
}

const (
	maxTransitions = 2000           // of one part of a VTIMEZONE
	maxOffset      = 16 * time.Hour // see wallclock.Instant
)

// makeZone makes a zone of a VTIMEZONE (RFC 5545, section 3.6.5); nil when its parts cannot be read.
func makeZone(name string, parts []*event) *time.Location {
	var changes []transition
	first, begin := 0, time.Time{} // the offset before the first change
	for _, part := range parts {
		from, okFrom := parseOffset(part.text("TZOFFSETFROM"))
		to, okTo := parseOffset(part.text("TZOFFSETTO"))
		at, ok := part.observed(from)
		if !okFrom || !okTo || !ok {
			return nil
		}
		for _, wall := range at {
			changes = append(changes, transition{wall.Unix() - int64(from/time.Second), int(to / time.Second)})
			if begin.IsZero() || wall.Before(begin) {
				first, begin = int(from/time.Second), wall
			}
		}
	}
	slices.SortFunc(changes, func(a, b transition) int { return cmp.Compare(a.at, b.at) })
	changes = slices.CompactFunc(changes, func(a, b transition) bool { return a.at == b.at })
	zone, err := time.LoadLocationFromTZData(name, tzif(first, changes))
	if err != nil {
		return nil
	}
	return zone
}

// observed returns the wall-clock times, by the clock before the change, at which a part of a
// VTIMEZONE begins to count.
func (e *event) observed(from time.Duration) (at []time.Time, ok bool) {
	start, err := time.Parse(rrule.LocalDateTimeFormat, e.text("DTSTART"))
	if err != nil {
		return nil, false
	}
	at = []time.Time{start}
	for _, p := range e.properties["RDATE"] {
		for text := range strings.SplitSeq(p.Value, ",") {
			date, err := time.Parse(rrule.LocalDateTimeFormat, strings.TrimSpace(text))
			if err != nil || len(at) > maxTransitions {
				return nil, false
			}
			at = append(at, date)
		}
	}
	if rule := e.text("RRULE"); rule != "" {
		// Windows writes rules that begin in 1601. No window is that old.
		r, err := newRecurrence(rule, start, true, func(t time.Time) time.Time { return t.Add(from) })
		if err != nil || r.option.Freq != rrule.YEARLY {
			return at, errors.Is(err, errNever)
		}
		next := r.from(time.Date(firstYear-1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(lastYear+1, 1, 1, 0, 0, 0, 0, time.UTC))
		for wall, ok := next(); ok; wall, ok = next() {
			if at = append(at, wall); len(at) > maxTransitions {
				return nil, false
			}
		}
	}
	return at, true
}

// parseOffset reads an offset from UTC such as +0100 or -023030.
func parseOffset(text string) (time.Duration, bool) {
	digits := strings.TrimLeft(text, "+-")
	n, err := strconv.Atoi(digits)
	if len(text) != len(digits)+1 || err != nil {
		return 0, false
	}
	switch len(digits) {
	case 4:
		n *= 100
	case 6:
	default:
		return 0, false
	}
	offset := time.Duration(n/10000)*time.Hour + time.Duration(n/100%100)*time.Minute + time.Duration(n%100)*time.Second
	if text[0] == '-' {
		offset = -offset
	}
	return offset, offset.Abs() <= maxOffset
}

// fixedZone makes a zone of an offset such as +01 or -03:30; nil where it is none.
func fixedZone(name, offset string) *time.Location {
	digits := strings.Replace(offset, ":", "", 1)
	if len(digits) == len("+01") {
		digits += "00"
	}
	seconds, ok := parseOffset(digits)
	if !ok {
		return nil
	}
	return time.FixedZone(name, int(seconds/time.Second))
}

// tzif writes a zone in the format that Go makes zones of (RFC 8536, version 2).
func tzif(first int, changes []transition) []byte {
	// The first type is that before all changes; no change is to it, so Go takes it for that.
	offsets := []int{first}
	var times, types []byte
	for _, c := range changes {
		i := slices.Index(offsets[1:], c.offset) + 1
		if i == 0 {
			i = len(offsets)
			offsets = append(offsets, c.offset)
		}
		times = binary.BigEndian.AppendUint64(times, uint64(c.at))
		types = append(types, byte(i))
	}
	var infos, names []byte
	for _, offset := range offsets {
		infos = binary.BigEndian.AppendUint32(infos, uint32(int32(offset)))
		infos = append(infos, 0, byte(len(names)))
		sign, abs := '+', offset
		if offset < 0 {
			sign, abs = '-', -offset
		}
		names = fmt.Appendf(names, "%c%02d%02d\x00", sign, abs/3600, abs/60%60)
	}
	header := func(counts ...int) []byte {
		h := append([]byte("TZif2"), make([]byte, 15)...)
		for _, n := range counts {
			h = binary.BigEndian.AppendUint32(h, uint32(n))
		}
		return h
	}
	// Of version 1 there is a header alone.
	return slices.Concat(header(0, 0, 0, 0, 0, 0), header(0, 0, 0, len(changes), len(offsets), len(names)), times, types, infos, names, []byte("\n\n"))
}

package calendar

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/internal/document"
	"github.com/dcib/dcib/internal/wallclock"
)

// Bounds on what is read, so that no one's text can hurt who reads it.
const (
	MaxBytes   = 8 << 20 // the whole text
	maxPets    = 20_000
	maxKeys    = 100  // of a mapping
	maxEntries = 1000 // of a pet's windows, exceptions or traits; events of a calendar
	maxStay    = 31 * 24 * time.Hour
	maxReturn  = 7 * 24 * time.Hour
)

var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// Parse reads pets from YAML, in the format of docs/reference/pets.md. Empty text is no
// pets. The error is a document.Problems with all that was found; then there are no pets, so
// that a caller keeps the ones it had.
func Parse(text []byte) ([]*Pet, error) {
	root, problems := document.Parse(text, MaxBytes)
	if root == nil {
		return nil, problems.Err()
	}
	r := reader{zones: map[string]*time.Location{}}
	pets := r.root(root)
	if err := r.Problems.Err(); err != nil {
		return nil, err
	}
	return pets, nil
}

// ParseWindow reads one entry of a pet's windows, for a pet in zone: a line of text, or a
// mapping in YAML. An .ics calendar has a window for each of its events. The error is a
// Problems.
func ParseWindow(text string, zone *time.Location) ([]Window, error) {
	root, problems := document.Parse([]byte(text), MaxBytes)
	if root == nil && problems == nil {
		problems = document.Problems{{Line: 1, Says: "is empty", Want: wantText}}
	}
	if problems != nil {
		return nil, problems.Err()
	}
	r := reader{zones: map[string]*time.Location{}}
	windows := r.window("window", root, zone)
	if err := r.Problems.Err(); err != nil {
		return nil, err
	}
	return windows, nil
}

// reader walks the YAML and collects what is wrong with it.
type reader struct {
	document.Reader
	zones map[string]*time.Location
}

func (r *reader) root(node *yaml.Node) []*Pet {
	zone := time.UTC
	var list *yaml.Node
	r.Mapping("", node, maxKeys, func(key string, keyNode, value *yaml.Node) {
		switch key {
		case "zone":
			zone = r.zone("zone", value)
		case "pets":
			list = value
		default:
			r.Add(keyNode, key, "is not known here", "zone or pets")
		}
	})
	if list == nil {
		return nil
	}
	var pets []*Pet
	taken := map[string]string{}
	for i, item := range r.Sequence("pets", list, maxPets) {
		pet := r.pet(fmt.Sprintf("pets[%d]", i), item, zone)
		pets = append(pets, pet)
		for what, value := range map[string]string{"name": pet.Name, "member": pet.Member, "node": pet.Node} {
			if value == "" {
				continue
			}
			if first, ok := taken[what+" "+value]; ok {
				r.Add(item, path(i, pet), fmt.Sprintf("has the %s %s, as has %s", what, value, first), "another")
			}
			taken[what+" "+value] = path(i, pet)
		}
	}
	return pets
}

func path(i int, pet *Pet) string {
	if pet.Name == "" {
		return fmt.Sprintf("pets[%d]", i)
	}
	return "pets." + pet.Name
}

func (r *reader) pet(at string, node *yaml.Node, zone *time.Location) *Pet {
	pet := &Pet{Zone: zone, Line: node.Line}
	parts := map[string]*yaml.Node{}
	named := false
	for i := 0; node.Kind == yaml.MappingNode && i < len(node.Content) && !named; i += 2 {
		if node.Content[i].Value == "name" {
			named = true
			if pet.Name = r.name(at+".name", node.Content[i+1]); pet.Name != "" {
				at = "pets." + pet.Name
			}
		}
	}
	r.Mapping(at, node, maxKeys, func(key string, keyNode, value *yaml.Node) {
		switch key {
		case "name":
		case "member", "node", "traits", "zone", "windows", "exceptions", "min-share", "empty-by", "unmovable":
			parts[key] = value
		default:
			r.Add(keyNode, at+"."+key, "is not known here", "name, member, node, traits, zone, windows, exceptions, min-share, empty-by or unmovable")
		}
	})
	if !named && node.Kind == yaml.MappingNode {
		r.Add(node, at, "has no name", "a name, such as gpu-1")
	}
	pet.Member = pet.Name
	if n := parts["member"]; n != nil {
		pet.Member = r.name(at+".member", n)
	}
	if n := parts["node"]; n != nil {
		pet.Node = r.name(at+".node", n)
	}
	if n := parts["zone"]; n != nil {
		pet.Zone = r.zone(at+".zone", n)
	}
	if n := parts["traits"]; n != nil {
		for i, item := range r.Sequence(at+".traits", n, maxEntries) {
			pet.Traits = append(pet.Traits, r.name(fmt.Sprintf("%s.traits[%d]", at, i), item))
		}
	}
	if n := parts["windows"]; n != nil {
		for i, item := range r.Sequence(at+".windows", n, maxEntries) {
			pet.Windows = append(pet.Windows, r.window(fmt.Sprintf("%s.windows[%d]", at, i), item, pet.Zone)...)
		}
		if len(pet.Windows) > maxEntries {
			r.Add(n, at+".windows", fmt.Sprintf("are %d with the events of calendars", len(pet.Windows)), fmt.Sprintf("at most %d", maxEntries))
		}
	}
	if n := parts["exceptions"]; n != nil {
		for i, item := range r.Sequence(at+".exceptions", n, maxEntries) {
			pet.Exceptions = append(pet.Exceptions, r.days(fmt.Sprintf("%s.exceptions[%d]", at, i), item))
		}
	}
	if n := parts["min-share"]; n != nil {
		pet.MinShare = r.duration(at+".min-share", n, maxStay)
	}
	if n := parts["empty-by"]; n != nil {
		pet.EmptyBy = r.emptyBy(at+".empty-by", n)
	}
	if n := parts["unmovable"]; n != nil {
		const want = "refuse or stop"
		switch v := r.Text(at+".unmovable", n, want); v {
		case "stop":
			pet.StopUnmovable = true
		case "refuse", "":
		default:
			r.Add(n, at+".unmovable", "is "+document.Quote(v), want)
		}
	}
	return pet
}

// window reads an entry of windows.
func (r *reader) window(at string, node *yaml.Node, zone *time.Location) []Window {
	if node.Kind != yaml.MappingNode {
		text := r.Text(at, node, wantText)
		if text == "" {
			return nil
		}
		w, err := parseText(text)
		switch {
		case errors.Is(err, errShape):
			r.Add(node, at, "is "+document.Quote(text), wantText)
		case err != nil:
			r.Add(node, at, document.Quote(text)+" "+err.Error(), "")
		}
		return []Window{w}
	}
	parts := map[string]*yaml.Node{}
	r.Mapping(at, node, maxKeys, func(key string, keyNode, value *yaml.Node) {
		switch key {
		case "rrule", "dtstart", "duration", "ics":
			parts[key] = value
		default:
			r.Add(keyNode, at+"."+key, "is not known here", "rrule, dtstart and duration, or ics")
		}
	})
	if ics := parts["ics"]; ics != nil {
		if len(parts) > 1 {
			r.Add(node, at, "has more than the calendar", "ics alone")
		}
		return r.calendar(at+".ics", ics, zone)
	}
	if w, ok := r.rule(at, node, parts, zone); ok {
		return []Window{w}
	}
	return nil
}

// calendar reads an .ics calendar that stands in the YAML.
func (r *reader) calendar(at string, node *yaml.Node, zone *time.Location) []Window {
	text := r.Text(at, node, "the text of an .ics calendar")
	if text == "" {
		return nil
	}
	if plain := strings.TrimSpace(text); !strings.Contains(plain, "\n") && !strings.HasPrefix(strings.ToUpper(plain), "BEGIN:") {
		// A path or an address: the one who reads the pets has neither.
		r.Add(node, at, "is "+document.Quote(plain), `the text of the .ics file itself, behind "ics: |", from BEGIN:VCALENDAR to END:VCALENDAR`)
		return nil
	}
	windows, err := ParseCalendar([]byte(text), zone)
	var problems document.Problems
	errors.As(err, &problems)
	for _, p := range problems {
		// The lines of a literal block begin below its |.
		line := node.Line
		if node.Style&yaml.LiteralStyle != 0 {
			line += p.Line
		}
		r.Problems = append(r.Problems, document.At(line, strings.TrimSpace(at+" "+p.Path), p.Says, p.Want))
	}
	return windows
}

// rule reads a window that is a rule of RFC 5545.
func (r *reader) rule(at string, node *yaml.Node, parts map[string]*yaml.Node, zone *time.Location) (Window, bool) {
	const (
		wantRule     = "a rule such as FREQ=MONTHLY;BYDAY=-1SU"
		wantStart    = "the first start, such as 2026-01-25 04:00"
		wantDuration = "a length such as 8h, 1d12h or PT8H"
	)
	before := len(r.Problems)
	get := func(key, want string) string {
		if parts[key] == nil {
			r.Add(node, at, "has no "+key, want)
			return ""
		}
		return r.Text(at+"."+key, parts[key], want)
	}
	rule, from, length := get("rrule", wantRule), get("dtstart", wantStart), get("duration", wantDuration)
	if len(r.Problems) > before {
		return Window{}, false
	}
	start, err := parseMoment(from)
	switch {
	case errors.Is(err, errShape):
		r.Add(parts["dtstart"], at+".dtstart", "is "+document.Quote(from), wantStart)
	case err != nil:
		r.Add(parts["dtstart"], at+".dtstart", err.Error(), "")
	}
	w := Window{text: fmt.Sprintf("%s from %s for %s", rule, from, length)}
	var ok bool
	if w.nominal, w.exact, ok = parseLength(length); !ok || w.length() <= 0 || w.length() > maxLength {
		r.Add(parts["duration"], at+".duration", "is "+document.Quote(length), wantDuration+", at most 31d")
	}
	if len(r.Problems) > before {
		return Window{}, false
	}
	starts, err := newRecurrence(rule, start, false, func(t time.Time) time.Time { return wallclock.Of(t, zone) })
	if err != nil {
		r.Add(parts["rrule"], at+".rrule", document.Quote(rule)+" "+err.Error(), "")
		return Window{}, false
	}
	w.starts = starts
	return w, true
}

func (r *reader) days(at string, node *yaml.Node) Days {
	const want = "a date such as 2026-12-25, or 2026-12-24–2027-01-02"
	text := r.Text(at, node, want)
	if text == "" {
		return Days{}
	}
	days, err := parseDays(text)
	switch {
	case errors.Is(err, errShape):
		r.Add(node, at, "is "+document.Quote(text), want)
	case err != nil:
		r.Add(node, at, document.Quote(text)+" "+err.Error(), "")
	}
	return days
}

func (r *reader) duration(at string, node *yaml.Node, most time.Duration) time.Duration {
	want := fmt.Sprintf("a length such as 2h or 30m, at most %dd", most/(24*time.Hour))
	text := r.Text(at, node, want)
	if text == "" {
		return 0
	}
	if strings.Trim(text, "0") == "" {
		return 0 // no time needs no unit
	}
	nominal, exact, ok := parseLength(text)
	if !ok || nominal+exact > most {
		r.Add(node, at, "is "+document.Quote(text), want)
		return 0
	}
	return nominal + exact
}

func (r *reader) emptyBy(at string, node *yaml.Node) Deadline {
	const want = "how long before a window, such as 30m, or a time of day, such as 18:00"
	text := r.Text(at, node, want)
	if strings.Contains(text, ":") {
		clock, err := parseClock(text, false)
		if err != nil {
			r.Add(node, at, "is "+document.Quote(text), want)
		}
		return Deadline{Clock: clock, OnClock: true}
	}
	return Deadline{Before: r.duration(at, node, maxReturn)}
}

func (r *reader) name(at string, node *yaml.Node) string {
	const want = "a name of at most 63 letters, digits, dots, hyphens and underscores"
	text := r.Text(at, node, want)
	if text != "" && (len(text) > 63 || !names.MatchString(text)) {
		r.Add(node, at, "is "+document.Quote(text), want)
		return ""
	}
	return text
}

func (r *reader) zone(at string, node *yaml.Node) *time.Location {
	text := r.Text(at, node, wantZone)
	if text == "" {
		return time.UTC
	}
	zone, ok := r.zones[text]
	if !ok {
		zone = Zone(text)
		r.zones[text] = zone
	}
	if zone == nil {
		r.Add(node, at, "is "+document.Quote(text), wantZone)
		return time.UTC
	}
	return zone
}

const wantZone = "a zone of the IANA database, such as Europe/Berlin"

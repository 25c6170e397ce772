package calendar_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dcib/dcib/internal/document"
	"github.com/dcib/dcib/internal/scheduler/calendar"
)

func TestParse(t *testing.T) {
	pets, err := calendar.Parse([]byte(`zone: Europe/Berlin
pets:
- name: gpu-1
  member: node3
  node: k8s-3
  traits: [gpu, fast-disk]
  zone: America/New_York
  windows: [Fri 21:00–Sat 05:00]
  exceptions: [2026-12-25]
  min-share: 2h
  empty-by: 18:00
  unmovable: stop
- name: gpu-2
`))
	require.NoError(t, err)
	require.Len(t, pets, 2)
	p := pets[0]
	assert.Equal(t, []string{"gpu-1", "node3", "k8s-3", "America/New_York"}, []string{p.Name, p.Member, p.Node, p.Zone.String()})
	assert.Equal(t, []string{"gpu", "fast-disk"}, p.Traits)
	assert.Equal(t, "Fri 21:00–Sat 05:00", p.Windows[0].String())
	assert.Equal(t, "2026-12-25", p.Exceptions[0].String())
	assert.Equal(t, 2*time.Hour, p.MinShare)
	assert.Equal(t, calendar.Deadline{Clock: 18 * time.Hour, OnClock: true}, p.EmptyBy)
	assert.True(t, p.StopUnmovable)
	assert.Equal(t, 3, p.Line)
	assert.Equal(t, []string{"gpu-2", "Europe/Berlin"}, []string{pets[1].Member, pets[1].Zone.String()})

	for _, empty := range []string{"", "# nothing\n", "pets:\n", "pets: []", "zone: UTC"} {
		pets, err := calendar.Parse([]byte(empty))
		require.NoError(t, err, empty)
		assert.Empty(t, pets)
	}
}

// What is wrong is named with its line, and nothing of the set is taken.
func TestRefusals(t *testing.T) {
	window := func(w string) string { return "pets:\n- name: p\n  windows:\n  - " + w + "\n" }
	for name, c := range map[string]struct {
		text string
		says []string
	}{
		"not UTF-8":             {"pets: \xff", []string{"line 1: the text is not in UTF-8"}},
		"not YAML":              {"pets:\n- name: a\n  b: [\n", []string{"the text is not YAML"}},
		"two documents":         {"pets: []\n---\npets: []\n", []string{"line 2: a second YAML document begins"}},
		"text":                  {"gpu-1", []string{`line 1: the text is "gpu-1", wanted a mapping`}},
		"unknown key":           {"pet: []", []string{"line 1: pet is not known here, wanted zone or pets"}},
		"unknown part":          {"pets:\n- name: p\n  widnows: []", []string{"line 3: pets.p.widnows is not known here"}},
		"no list":               {"pets: {p: 1}", []string{"line 1: pets is a mapping, wanted a list"}},
		"alias":                 {"pets:\n- &a {name: p}\n- *a", []string{"line 2: pets.p is a YAML alias", "line 3: pets[1] is a YAML alias"}},
		"merge":                 {"pets:\n- {name: p, <<: {zone: UTC}}", []string{"line 2: pets.p.<< is a YAML merge key"}},
		"twice":                 {"pets:\n- name: p\n  name: q", []string{"line 3: pets.p.name is there twice"}},
		"no name":               {"pets:\n- member: a", []string{"line 2: pets[0] has no name"}},
		"bad name":              {"pets:\n- name: a b", []string{`line 2: pets[0].name is "a b"`}},
		"same name":             {"pets:\n- name: p\n  member: a\n- name: p\n  member: b", []string{"line 4: pets.p has the name p, as has pets.p"}},
		"same member":           {"pets:\n- name: p\n- name: q\n  member: p", []string{"line 3: pets.q has the member p, as has pets.p"}},
		"zone":                  {"pets:\n- name: p\n  zone: Europe/Berlln", []string{`line 3: pets.p.zone is "Europe/Berlln", wanted a zone of the IANA database`}},
		"local zone":            {"zone: Local", []string{`line 1: zone is "Local"`}},
		"zone elsewhere":        {"zone: ../../etc/passwd", []string{`line 1: zone is "../../etc/passwd"`}},
		"no windows":            {window("wednesday"), []string{`line 4: pets.p.windows[0] is "wednesday", wanted a window such as`}},
		"empty window":          {window(`""`), []string{"line 4: pets.p.windows[0] is empty"}},
		"no such day":           {window("Fry 21:00-22:00"), []string{`line 4: pets.p.windows[0] "Fry 21:00-22:00" has the day "Fry"`}},
		"no such day, end":      {window("Fri 21:00-Sun. 22:00"), []string{`line 4: pets.p.windows[0] is`}},
		"day twice":             {window("Mon-Wed,Tue 21:00-22:00"), []string{"has Tuesday twice"}},
		"hour":                  {window("Fri 25:00–Sat 05:00"), []string{`line 4: pets.p.windows[0] "Fri 25:00–Sat 05:00" has the time 25:00, wanted 00:00 to 23:59`}},
		"start at 24:00":        {window("Fri 24:00–Sat 05:00"), []string{"has the time 24:00"}},
		"minute":                {window("Fri 21:00–22:60"), []string{"has the time 22:60, wanted 00:00 to 24:00"}},
		"the day's own end":     {window("Fri 21:00–Fri 05:00"), []string{"ends on the day that it starts on, and not after its start, wanted Sat 05:00"}},
		"nothing long":          {window("Sat 21:00–Sat 21:00"), []string{"ends on the day that it starts on, and not after its start, wanted Sun 21:00"}},
		"several days, one end": {window("Mon,Tue 21:00-Wed 05:00"), []string{"starts on several days"}},
		"once, backwards":       {window("2026-12-24 18:00-2026-12-23 06:00"), []string{"ends before it starts"}},
		"once, too long":        {window("2026-01-01 18:00-2026-12-23 06:00"), []string{"is longer than 31 days"}},
		"no such date":          {window("2026-02-29 18:00-19:00"), []string{"has the date 2026-02-29, which is no day of the calendar"}},
		"year":                  {window("9999-02-28 18:00-19:00"), []string{"has the year 9999"}},
		"rule alone":            {window("rrule: FREQ=DAILY"), []string{"line 4: pets.p.windows[0] has no dtstart", "has no duration"}},
		"no rule":               {window("{rrule: every day, dtstart: 2026-01-01, duration: 1h}"), []string{`line 4: pets.p.windows[0].rrule "every day" has the part "EVERY DAY"`}},
		"no freq":               {window("{rrule: BYDAY=MO, dtstart: 2026-01-01, duration: 1h}"), []string{"has no FREQ"}},
		"hourly":                {window("{rrule: FREQ=HOURLY, dtstart: 2026-01-01, duration: 1h}"), []string{"has FREQ=HOURLY, wanted DAILY, WEEKLY, MONTHLY or YEARLY"}},
		"easter":                {window("{rrule: FREQ=YEARLY;BYEASTER=1, dtstart: 2026-01-01, duration: 1h}"), []string{"has BYEASTER"}},
		"no such part":          {window("{rrule: FREQ=DAILY;BYMOON=1, dtstart: 2026-01-01, duration: 1h}"), []string{"BYMOON"}},
		"never":                 {window("{rrule: FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30, dtstart: 2026-01-01, duration: 1h}"), []string{"never happens"}},
		"over":                  {window("{rrule: FREQ=DAILY;UNTIL=20250101, dtstart: 2026-01-01, duration: 1h}"), []string{"never happens"}},
		"until":                 {window("{rrule: FREQ=DAILY;UNTIL=2027, dtstart: 2026-01-01, duration: 1h}"), []string{"has UNTIL=2027, wanted 20261231"}},
		"count":                 {window("{rrule: FREQ=DAILY;COUNT=0, dtstart: 2026-01-01, duration: 1h}"), []string{"has COUNT=0"}},
		"count and until":       {window("{rrule: FREQ=DAILY;COUNT=2;UNTIL=20270101, dtstart: 2026-01-01, duration: 1h}"), []string{"has both COUNT and UNTIL"}},
		"count too far":         {window("{rrule: FREQ=YEARLY;COUNT=90, dtstart: 2026-01-01, duration: 1h}"), []string{"does not happen 90 times within 50 years"}},
		"interval":              {window("{rrule: FREQ=DAILY;INTERVAL=0, dtstart: 2026-01-01, duration: 1h}"), []string{"has INTERVAL=0"}},
		"53rd Monday":           {window("{rrule: FREQ=MONTHLY;BYDAY=53MO, dtstart: 2026-12-01, duration: 1h}"), []string{"a month has at most 5"}},
		"first Monday, weekly":  {window("{rrule: FREQ=WEEKLY;BYDAY=1MO, dtstart: 2026-12-01, duration: 1h}"), []string{"counts days of a month or a year"}},
		"every minute":          {window("{rrule: \"FREQ=DAILY;BYHOUR=1,2,3,4,5;BYMINUTE=1,2,3,4,5,6\", dtstart: 2026-12-01, duration: 1h}"), []string{"starts more than 24 times in a day"}},
		"dtstart":               {window("{rrule: FREQ=DAILY, dtstart: tomorrow, duration: 1h}"), []string{`line 4: pets.p.windows[0].dtstart is "tomorrow"`}},
		"duration":              {window("{rrule: FREQ=DAILY, dtstart: 2026-01-01, duration: long}"), []string{`windows[0].duration is "long"`}},
		"no duration":           {window("{rrule: FREQ=DAILY, dtstart: 2026-01-01, duration: 0h}"), []string{`windows[0].duration is "0h"`}},
		"too long":              {window("{rrule: FREQ=DAILY, dtstart: 2026-01-01, duration: 32d}"), []string{`windows[0].duration is "32d"`}},
		"duration, wraps":       {window("{rrule: FREQ=DAILY, dtstart: 2026-01-01, duration: 30501w}"), []string{`windows[0].duration is "30501w"`, "at most 31d"}},
		"duration, parts":       {window("{rrule: FREQ=DAILY, dtstart: 2026-01-01, duration: 999999w999999d999999h}"), []string{"at most 31d"}},
		"stay, wraps":           {"pets:\n- name: p\n  min-share: 999999w", []string{`line 3: pets.p.min-share is "999999w"`, "at most 31d"}},
		"return, wraps":         {"pets:\n- name: p\n  empty-by: 20000w", []string{`line 3: pets.p.empty-by is "20000w"`, "at most 7d"}},
		"ics":                   {"pets:\n- name: p\n  windows:\n  - ics: |\n      BEGIN:VCALENDAR\n      BEGIN:VEVENT\n      END:VEVENT\n      END:VCALENDAR\n", []string{"line 6: pets.p.windows[0].ics the event has no DTSTART"}},
		"a path for a calendar": {window("ics: calendar.ics"), []string{`line 4: pets.p.windows[0].ics is "calendar.ics", wanted the text of the .ics file itself, behind "ics: |", from BEGIN:VCALENDAR to END:VCALENDAR`}},
		"an address for one":    {window("ics: 'https://example.org/a.ics'"), []string{`ics is "https://example.org/a.ics", wanted the text of the .ics file itself`}},
		"no stay":               {"pets:\n- name: p\n  min-share: 0x", []string{`line 3: pets.p.min-share is "0x"`}},
		"no duration, bare":     {window("{rrule: FREQ=DAILY, dtstart: 2026-01-01, duration: 0}"), []string{`windows[0].duration is "0"`}},
		"ics and a rule":        {window("{ics: x, rrule: FREQ=DAILY}"), []string{"has more than the calendar"}},
		"window of parts":       {window("{weekly: Mon}"), []string{"line 4: pets.p.windows[0].weekly is not known here"}},
		"exception":             {"pets:\n- name: p\n  exceptions: [christmas, 2026-02-30, 2026-02-02–2026-02-01]", []string{`line 3: pets.p.exceptions[0] is "christmas"`, "exceptions[1]", "exceptions[2]"}},
		"stay":                  {"pets:\n- name: p\n  min-share: 40d", []string{`line 3: pets.p.min-share is "40d"`}},
		"return":                {"pets:\n- name: p\n  empty-by: 24:30", []string{`line 3: pets.p.empty-by is "24:30"`}},
		"return, soon":          {"pets:\n- name: p\n  empty-by: soon", []string{`line 3: pets.p.empty-by is "soon"`}},
		"immovable":             {"pets:\n- name: p\n  unmovable: kill", []string{`line 3: pets.p.unmovable is "kill", wanted refuse or stop`}},
		"all at once": {"zone: Nowhere\npets:\n- name: p\n  windows:\n  - Fri 25:00-26:00\n  - Mon 01:00-02:00\n  - x\n- nam: q\n", []string{
			"line 1: zone", "line 5: pets.p.windows[0]", "line 7: pets.p.windows[2]", "line 8: pets[1].nam", "line 8: pets[1] has no name"}},
	} {
		t.Run(name, func(t *testing.T) {
			pets, err := calendar.Parse([]byte(c.text))
			require.Error(t, err)
			assert.Empty(t, pets)
			var problems document.Problems
			require.ErrorAs(t, err, &problems)
			for _, says := range c.says {
				assert.Contains(t, err.Error(), says)
			}
			assert.Less(t, len(err.Error()), 4096, "a status line must stay readable")
		})
	}
}

// No number of weeks, days or hours beyond the bound is taken for a short length.
func TestLengthsDoNotOverflow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.SampledFrom([]string{"w", "d", "h", "m", "s"}).Draw(t, "unit")
		n := rapid.IntRange(0, 999_999).Draw(t, "n")
		seconds := map[string]int{"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}[unit] * n
		text := fmt.Sprintf("pets: [{name: p, min-share: %d%s}]", n, unit)
		_, err := calendar.Parse([]byte(text))
		if fits := seconds <= 31*86400; fits != (err == nil) {
			t.Fatalf("%s: %v", text, err)
		}
	})
}

// No time at all needs no unit.
func TestZero(t *testing.T) {
	for _, zero := range []string{"0", "0h", "0m", "PT0S", "00"} {
		pets, err := calendar.Parse(fmt.Appendf(nil, "pets: [{name: p, min-share: %s, empty-by: %s}]", zero, zero))
		require.NoError(t, err, zero)
		assert.Zero(t, pets[0].MinShare)
		assert.Zero(t, pets[0].EmptyBy)
	}
	for _, bad := range []string{"1", "90", "-0", "0.0", "P", "PT", "0 0"} {
		_, err := calendar.Parse(fmt.Appendf(nil, "pets: [{name: p, min-share: %s}]", bad))
		assert.Error(t, err, bad)
	}
}

func TestParseWindow(t *testing.T) {
	for _, text := range []string{"Fri 21:00-Sat 05:00", `"Fri 21:00–Sat 05:00"`, "{rrule: FREQ=DAILY, dtstart: 2026-01-01 04:00, duration: 1h}", "2026-12-24"} {
		windows, err := calendar.ParseWindow(text, time.UTC)
		require.NoError(t, err, text)
		assert.Len(t, windows, 1)
	}
	for _, text := range []string{"", "[a]", "Fri", "{a: b}"} {
		_, err := calendar.ParseWindow(text, time.UTC)
		assert.Error(t, err, text)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("zone: Europe/Berlin\npets:\n- name: p\n  windows: [Fri 21:00–Sat 05:00, 2026-12-24]\n  empty-by: 18:00\n  exceptions: [2026-12-25]\n")
	f.Add("pets:\n- name: p\n  windows:\n  - {rrule: FREQ=YEARLY;BYWEEKNO=20, dtstart: 2026-01-01, duration: 1h}\n")
	f.Fuzz(func(t *testing.T, text string) {
		pets, err := calendar.Parse([]byte(text))
		if err != nil && (err.Error() == "" || pets != nil) {
			t.Fatal("a refusal without a reason, or with pets")
		}
		for _, p := range pets {
			use(t, p)
		}
	})
}

func FuzzWindow(f *testing.F) {
	for _, text := range []string{"Fri 21:00–Sat 05:00", "Mon..Wed,Fri 22:00-02:00", "daily 00:00-24:00", "2026-12-24 18:00–2026-12-27 06:00", "2026-12-24",
		"{rrule: FREQ=MONTHLY;BYDAY=-1SU;BYSETPOS=1, dtstart: 2026-01-25 04:00, duration: P1DT2H}",
		"{rrule: FREQ=YEARLY;BYWEEKNO=-53;BYDAY=MO;WKST=SU;COUNT=3, dtstart: 20260125T040000, duration: 6h}"} {
		f.Add(text)
	}
	zone, err := time.LoadLocation("America/New_York")
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, text string) {
		windows, err := calendar.ParseWindow(text, zone)
		if err == nil {
			use(t, &calendar.Pet{Zone: zone, Windows: windows})
		}
	})
}

func FuzzCalendar(f *testing.F) {
	f.Add(ics("UID:a\nDTSTART;TZID=Europe/Berlin:20260501T210000\nDTEND;TZID=Europe/Berlin:20260502T050000\nRRULE:FREQ=WEEKLY;COUNT=4\nEXDATE:20260508T190000Z",
		"UID:a\nRECURRENCE-ID:20260515T190000Z\nDTSTART:20260516T120000\nDURATION:PT2H", "DTSTART;VALUE=DATE:20260501\nRDATE:20260601"))
	f.Add(zoned("Mine", centralEurope, "UID:a\nSEQUENCE:1\nDTSTART;TZID=Mine:20260328T210000\nDTEND;TZID=GMT Standard Time:20260328T220000\nRRULE:FREQ=WEEKLY;BYSETPOS=-1;BYDAY=MO,FR\nEXDATE:"))
	f.Add(ics("DTSTART;VALUE=DATE:20260310\nRRULE:FREQ=DAILY;COUNT=3\nEXDATE:20260311T000000Z\nBEGIN:VEVENT\nEND:VEVENT\nX_Y:1"))
	f.Fuzz(func(t *testing.T, text string) {
		windows, err := calendar.ParseCalendar([]byte(text), time.UTC)
		if err == nil {
			use(t, &calendar.Pet{Zone: time.UTC, Windows: windows})
		}
	})
}

// use asks whatever was accepted for what comes next; that has to make sense.
func use(t *testing.T, p *calendar.Pet) {
	t.Helper()
	now := day(t, "2026-12-30")
	span, ok := p.Span(now)
	if !ok {
		return
	}
	if !span.Start.Before(span.End) || span.EmptyBy.After(span.Start) || !span.End.After(now) || len(span.Windows) == 0 {
		t.Fatalf("%+v", span)
	}
	for _, w := range span.Windows {
		if strings.TrimSpace(w) == "" || strings.Contains(w, "\n") {
			t.Fatalf("a window is called %q", w)
		}
	}
}

// manyPets returns pets with ten rules each, of all kinds.
func manyPets(b testing.TB, n int) []*calendar.Pet {
	var text strings.Builder
	text.WriteString("pets:\n")
	zones := []string{"Europe/Berlin", "America/New_York", "Asia/Tokyo", "Australia/Lord_Howe"}
	for i := range n {
		fmt.Fprintf(&text, "- name: p%d\n  zone: %s\n  min-share: 1h\n  empty-by: 15m\n  windows:\n", i, zones[i%len(zones)])
		for r := range 6 {
			fmt.Fprintf(&text, "  - %s %02d:15-%02d:45\n", []string{"Mon", "Tue,Thu", "Wed-Fri", "Sat", "Sun", "daily"}[r], (i+r)%24, (i+r+5)%24)
		}
		fmt.Fprintf(&text, "  - {rrule: FREQ=MONTHLY;BYDAY=-1SU, dtstart: 2016-01-31 04:%02d, duration: 6h}\n", i%60)
		fmt.Fprintf(&text, "  - {rrule: FREQ=WEEKLY;INTERVAL=2;BYDAY=MO;WKST=SU, dtstart: 2011-01-03 20:%02d, duration: 6h}\n", i%60)
		fmt.Fprintf(&text, "  - {rrule: FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=24, dtstart: 2001-12-24 20:%02d, duration: 2d}\n", i%60)
		text.WriteString("  - 2026-08-01 10:00–2026-08-03 10:00\n")
	}
	pets, err := calendar.Parse([]byte(text.String()))
	require.NoError(b, err)
	return pets
}

// BenchmarkNext finds the next transition of 10,000 pets with ten rules each.
func BenchmarkNext(b *testing.B) {
	pets := manyPets(b, 10_000)
	now := day(b, "2026-05-05").Add(10*time.Hour + 7*time.Minute)
	for b.Loop() {
		for _, p := range pets {
			if _, ok := p.Next(now); !ok {
				b.Fatal(p.Name)
			}
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/parse")
}

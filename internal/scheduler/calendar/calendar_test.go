package calendar_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/scheduler/calendar"
)

// pet reads one pet; lines are what stands below its name.
func pet(t testing.TB, lines ...string) *calendar.Pet {
	t.Helper()
	text := "pets:\n- name: p\n"
	for _, line := range lines {
		text += "  " + strings.ReplaceAll(line, "\n", "\n  ") + "\n"
	}
	pets, err := calendar.Parse([]byte(text))
	require.NoError(t, err, text)
	require.Len(t, pets, 1)
	return pets[0]
}

// day is midnight UTC.
func day(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.DateOnly, text)
	require.NoError(t, err)
	return at
}

// show returns spans with the offsets that the clocks have.
func show(spans []calendar.Span) []string {
	lines := []string{}
	for _, s := range spans {
		const layout = "Mon 2006-01-02 15:04 -0700"
		line := s.Start.Format(layout) + " to " + s.End.Format(layout)
		if !s.EmptyBy.Equal(s.Start) {
			line = s.EmptyBy.Format(layout) + " for " + line
		}
		lines = append(lines, line)
	}
	return lines
}

// What clocks do, on the rules of real zones.
func TestRealZones(t *testing.T) {
	for name, c := range map[string]struct {
		zone, window string
		from, to     string
		want         []string
	}{
		"over midnight": {"Europe/Berlin", "Fri 21:00–Sat 05:00", "2026-05-08", "2026-05-10", []string{
			"Fri 2026-05-08 21:00 +0200 to Sat 2026-05-09 05:00 +0200"}},
		"the night is an hour shorter": {"Europe/Berlin", "Sat 21:00–05:00", "2026-03-28", "2026-03-30", []string{
			"Sat 2026-03-28 21:00 +0100 to Sun 2026-03-29 05:00 +0200"}},
		"starts in the gap: when it ends": {"Europe/Berlin", "Sun 02:30–05:00", "2026-03-29", "2026-03-30", []string{
			"Sun 2026-03-29 03:00 +0200 to Sun 2026-03-29 05:00 +0200"}},
		"ends in the gap: when it ends": {"Europe/Berlin", "Sun 01:00–02:30", "2026-03-29", "2026-03-30", []string{
			"Sun 2026-03-29 01:00 +0100 to Sun 2026-03-29 03:00 +0200"}},
		"wholly in the gap: not at all": {"Europe/Berlin", "Sun 02:10–02:50", "2026-03-28", "2026-04-04", []string{}},
		"ends in the overlap: the first time": {"Europe/Berlin", "Sat 21:00–Sun 02:30", "2026-10-24", "2026-10-26", []string{
			"Sat 2026-10-24 21:00 +0200 to Sun 2026-10-25 02:30 +0200"}},
		"starts in the overlap: the first time": {"Europe/Berlin", "Sun 02:30–03:30", "2026-10-25", "2026-10-26", []string{
			"Sun 2026-10-25 02:30 +0200 to Sun 2026-10-25 03:30 +0100"}},
		"wholly in the overlap: once": {"Europe/Berlin", "Sun 02:10–02:50", "2026-10-25", "2026-10-26", []string{
			"Sun 2026-10-25 02:10 +0200 to Sun 2026-10-25 02:50 +0200"}},
		"New York changes on other days": {"America/New_York", "Sun 01:30–02:30", "2026-03-08", "2026-03-09", []string{
			"Sun 2026-03-08 01:30 -0500 to Sun 2026-03-08 03:00 -0400"}},
		"New York, the hour that comes twice": {"America/New_York", "Sun 00:30–01:30", "2026-11-01", "2026-11-02", []string{
			"Sun 2026-11-01 00:30 -0400 to Sun 2026-11-01 01:30 -0400"}},
		"Lord Howe's gap of half an hour": {"Australia/Lord_Howe", "Sun 02:10–02:45", "2026-10-03", "2026-10-05", []string{
			"Sun 2026-10-04 02:30 +1100 to Sun 2026-10-04 02:45 +1100"}},
		"Lord Howe's overlap of half an hour": {"Australia/Lord_Howe", "Sun 01:15–01:45", "2026-04-04", "2026-04-06", []string{
			"Sun 2026-04-05 01:15 +1100 to Sun 2026-04-05 01:45 +1100"}},
		"Apia had no 30 December 2011: what goes over its end is left": {"Pacific/Apia", "Fri 21:00–Sat 05:00", "2011-12-28", "2012-01-03", []string{
			"Sat 2011-12-31 00:00 +1400 to Sat 2011-12-31 05:00 +1400"}},
		"Apia had no 30 December 2011: what was on it is not": {"Pacific/Apia", "Fri 09:00–17:00", "2011-12-28", "2012-01-03", []string{}},
		"Casablanca goes back for Ramadan": {"Africa/Casablanca", "Sun 02:30–03:30", "2026-02-15", "2026-02-16", []string{
			"Sun 2026-02-15 02:30 +0100 to Sun 2026-02-15 03:30 +0000"}},
		"Casablanca goes forward after Ramadan": {"Africa/Casablanca", "Sun 02:30–04:00", "2026-03-22", "2026-03-23", []string{
			"Sun 2026-03-22 03:00 +0100 to Sun 2026-03-22 04:00 +0100"}},
		"over the year's end": {"UTC", "Thu 22:00–Fri 06:00", "2026-12-31", "2027-01-01", []string{
			"Thu 2026-12-31 22:00 +0000 to Fri 2027-01-01 06:00 +0000"}},
		"the whole day is as long as it is": {"Europe/Berlin", "Sun 00:00–24:00", "2026-10-25", "2026-10-26", []string{
			"Sun 2026-10-25 00:00 +0200 to Mon 2026-10-26 00:00 +0100"}},
		"over several days": {"UTC", "Fri 18:00 - Mon 06:00", "2026-05-09", "2026-05-10", []string{
			"Fri 2026-05-08 18:00 +0000 to Mon 2026-05-11 06:00 +0000"}},
		"several days, each its own": {"UTC", "Mon..Wed,Fri 22:00-02:00", "2026-05-11", "2026-05-17", []string{
			"Mon 2026-05-11 22:00 +0000 to Tue 2026-05-12 02:00 +0000",
			"Tue 2026-05-12 22:00 +0000 to Wed 2026-05-13 02:00 +0000",
			"Wed 2026-05-13 22:00 +0000 to Thu 2026-05-14 02:00 +0000",
			"Fri 2026-05-15 22:00 +0000 to Sat 2026-05-16 02:00 +0000"}},
		"an end that is no later is on the next day": {"UTC", "Fri 21:00–21:00", "2026-05-09", "2026-05-10", []string{
			"Fri 2026-05-08 21:00 +0000 to Sat 2026-05-09 21:00 +0000"}},
		"an end that is no later is on the next day, once": {"UTC", "2026-05-08 21:00–21:00", "2026-05-09", "2026-05-10", []string{
			"Fri 2026-05-08 21:00 +0000 to Sat 2026-05-09 21:00 +0000"}},
		"an end on the day that it starts on": {"UTC", "Fri 21:00–Fri 22:00", "2026-05-08", "2026-05-10", []string{
			"Fri 2026-05-08 21:00 +0000 to Fri 2026-05-08 22:00 +0000"}},
		"days over the week's end": {"UTC", "saturday-mon 8:00-9:00", "2026-05-09", "2026-05-16", []string{
			"Sat 2026-05-09 08:00 +0000 to Sat 2026-05-09 09:00 +0000",
			"Sun 2026-05-10 08:00 +0000 to Sun 2026-05-10 09:00 +0000",
			"Mon 2026-05-11 08:00 +0000 to Mon 2026-05-11 09:00 +0000"}},
		"once": {"Europe/Berlin", "2026-12-24 18:00–2026-12-27 06:00", "2026-01-01", "2028-01-01", []string{
			"Thu 2026-12-24 18:00 +0100 to Sun 2026-12-27 06:00 +0100"}},
		"once, over midnight": {"UTC", "2028-02-28 23:00–01:00", "2028-01-01", "2029-01-01", []string{
			"Mon 2028-02-28 23:00 +0000 to Tue 2028-02-29 01:00 +0000"}},
		"whole days": {"Europe/Berlin", "2026-12-24–2026-12-26", "2026-01-01", "2028-01-01", []string{
			"Thu 2026-12-24 00:00 +0100 to Sun 2026-12-27 00:00 +0100"}},
		"leap days": {"UTC", "{rrule: FREQ=YEARLY, dtstart: 2024-02-29 20:00, duration: 8h}", "2025-01-01", "2033-01-01", []string{
			"Tue 2028-02-29 20:00 +0000 to Wed 2028-03-01 04:00 +0000",
			"Sun 2032-02-29 20:00 +0000 to Mon 2032-03-01 04:00 +0000"}},
		"the last Sunday of the month": {"Europe/Berlin", "{rrule: FREQ=MONTHLY;BYDAY=-1SU, dtstart: 2026-01-25 04:00, duration: 6h}", "2026-03-01", "2026-05-01", []string{
			"Sun 2026-03-29 04:00 +0200 to Sun 2026-03-29 10:00 +0200",
			"Sun 2026-04-26 04:00 +0200 to Sun 2026-04-26 10:00 +0200"}},
		"the 31st, where there is one": {"UTC", "{rrule: FREQ=MONTHLY, dtstart: 2020-01-31 04:00, duration: 1h}", "2026-02-01", "2026-06-01", []string{
			"Tue 2026-03-31 04:00 +0000 to Tue 2026-03-31 05:00 +0000",
			"Sun 2026-05-31 04:00 +0000 to Sun 2026-05-31 05:00 +0000"}},
		"hours are exact": {"Europe/Berlin", "{rrule: FREQ=DAILY;COUNT=2, dtstart: 2026-03-28T22:00, duration: PT8H}", "2026-01-01", "2027-01-01", []string{
			"Sat 2026-03-28 22:00 +0100 to Sun 2026-03-29 07:00 +0200",
			"Sun 2026-03-29 22:00 +0200 to Mon 2026-03-30 06:00 +0200"}},
		"days are by the clock": {"Europe/Berlin", "{rrule: FREQ=YEARLY;COUNT=1, dtstart: 2026-03-28T22:00, duration: P1D}", "2026-01-01", "2027-01-01", []string{
			"Sat 2026-03-28 22:00 +0100 to Sun 2026-03-29 22:00 +0200"}},
		"until, in UTC": {"Europe/Berlin", "{rrule: FREQ=DAILY;UNTIL=20260502T200000Z, dtstart: 2026-05-01T22:00, duration: 1h}", "2026-01-01", "2027-01-01", []string{
			"Fri 2026-05-01 22:00 +0200 to Fri 2026-05-01 23:00 +0200",
			"Sat 2026-05-02 22:00 +0200 to Sat 2026-05-02 23:00 +0200"}},
		"until a day, which is in": {"Europe/Berlin", "{rrule: FREQ=DAILY;UNTIL=20260502, dtstart: 2026-05-01T22:00, duration: 1h}", "2026-05-02", "2027-01-01", []string{
			"Sat 2026-05-02 22:00 +0200 to Sat 2026-05-02 23:00 +0200"}},
		"the first of each week, counted in whole ones": {"UTC", "{rrule: 'FREQ=WEEKLY;BYDAY=MO,FR;BYSETPOS=1', dtstart: 2026-01-07 10:00, duration: 1h}", "2026-05-08", "2026-05-12", []string{
			"Mon 2026-05-11 10:00 +0000 to Mon 2026-05-11 11:00 +0000"}},
		"every second week": {"UTC", "{rrule: FREQ=WEEKLY;INTERVAL=2;BYDAY=MO;WKST=SU, dtstart: 2020-01-06 10:00, duration: 1h}", "2026-05-01", "2026-06-01", []string{
			"Mon 2026-05-04 10:00 +0000 to Mon 2026-05-04 11:00 +0000",
			"Mon 2026-05-18 10:00 +0000 to Mon 2026-05-18 11:00 +0000"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := pet(t, "zone: "+c.zone, "windows:", "- "+c.window)
			assert.Equal(t, c.want, show(p.Between(day(t, c.from), day(t, c.to))))
		})
	}
}

func TestOneSpanOfSeveralWindows(t *testing.T) {
	from, to := day(t, "2026-05-04"), day(t, "2026-05-11") // a week from Monday
	for name, c := range map[string]struct {
		lines []string
		want  []string
	}{
		"overlap": {[]string{"windows:", "- Mon 10:00-12:00", "- Mon 11:00-14:00"}, []string{
			"Mon 2026-05-04 10:00 +0000 to Mon 2026-05-04 14:00 +0000"}},
		"touch": {[]string{"windows:", "- Mon 12:00-14:00", "- Mon 10:00-12:00"}, []string{
			"Mon 2026-05-04 10:00 +0000 to Mon 2026-05-04 14:00 +0000"}},
		"one within the other": {[]string{"windows:", "- Mon 10:00-18:00", "- Mon 12:00-14:00"}, []string{
			"Mon 2026-05-04 10:00 +0000 to Mon 2026-05-04 18:00 +0000"}},
		"a minute apart": {[]string{"windows:", "- Mon 10:00-12:00", "- Mon 12:01-14:00"}, []string{
			"Mon 2026-05-04 10:00 +0000 to Mon 2026-05-04 12:00 +0000",
			"Mon 2026-05-04 12:01 +0000 to Mon 2026-05-04 14:00 +0000"}},
		"too short to share": {[]string{"min-share: 2h", "windows:", "- Mon 10:00-12:00", "- Mon 13:59-14:30"}, []string{
			"Mon 2026-05-04 10:00 +0000 to Mon 2026-05-04 14:30 +0000"}},
		"long enough to share": {[]string{"min-share: 2h", "windows:", "- Mon 10:00-12:00", "- Mon 14:00-14:30"}, []string{
			"Mon 2026-05-04 10:00 +0000 to Mon 2026-05-04 12:00 +0000",
			"Mon 2026-05-04 14:00 +0000 to Mon 2026-05-04 14:30 +0000"}},
		"empty some time before": {[]string{"empty-by: 30m", "windows:", "- Mon 10:00-12:00"}, []string{
			"Mon 2026-05-04 09:30 +0000 for Mon 2026-05-04 10:00 +0000 to Mon 2026-05-04 12:00 +0000"}},
		"empty by a time of day": {[]string{"empty-by: 18:00", "windows:", "- Mon 21:00-23:00", "- Wed 03:00-05:00", "- Fri 18:00-19:00"}, []string{
			"Mon 2026-05-04 18:00 +0000 for Mon 2026-05-04 21:00 +0000 to Mon 2026-05-04 23:00 +0000",
			"Tue 2026-05-05 18:00 +0000 for Wed 2026-05-06 03:00 +0000 to Wed 2026-05-06 05:00 +0000",
			"Fri 2026-05-08 18:00 +0000 to Fri 2026-05-08 19:00 +0000"}},
		"the time to be empty by is within a window before": {[]string{"empty-by: 1h", "windows:", "- Mon 10:00-12:00", "- Mon 12:30-14:00"}, []string{
			"Mon 2026-05-04 09:00 +0000 for Mon 2026-05-04 10:00 +0000 to Mon 2026-05-04 14:00 +0000"}},
		"exceptions take the day a window starts on": {[]string{"exceptions: [2026-05-05, 2026-05-07–2026-05-09]", "windows:", "- Mon-Fri 22:00-06:00"}, []string{
			"Mon 2026-05-04 22:00 +0000 to Tue 2026-05-05 06:00 +0000",
			"Wed 2026-05-06 22:00 +0000 to Thu 2026-05-07 06:00 +0000"}},
		"no window": {[]string{"traits: [gpu]"}, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, show(pet(t, c.lines...).Between(from, to)))
		})
	}
}

func TestNext(t *testing.T) {
	p := pet(t, "zone: Europe/Berlin", "windows:", "- Fri 21:00–Sat 05:00")
	at := day(t, "2026-05-04")
	var seen []string
	for range 4 {
		next, ok := p.Next(at)
		require.True(t, ok)
		require.True(t, next.At.After(at))
		seen = append(seen, fmt.Sprint(next.Opens, " ", next.At.Format("Mon 02 15:04")))
		at = next.At
	}
	assert.Equal(t, []string{"true Fri 08 21:00", "false Sat 09 05:00", "true Fri 15 21:00", "false Sat 16 05:00"}, seen)

	_, ok := pet(t, "windows: [2020-01-01]").Next(at)
	assert.False(t, ok, "what is over does not come back")
	_, ok = pet(t).Next(at)
	assert.False(t, ok)
}

func TestSkipNext(t *testing.T) {
	p := pet(t, "min-share: 3h", "windows:", "- Mon 10:00-12:00", "- Mon 14:00-16:00", "- Wed 10:00-12:00")
	monday := day(t, "2026-05-04")
	skip, skipped, ok := p.SkipNext(monday)
	require.True(t, ok)
	assert.Equal(t, []string{"Mon 2026-05-04 10:00 +0000 to Mon 2026-05-04 16:00 +0000"}, show([]calendar.Span{skipped}), "what plan shows as one is skipped as one")
	p.Skips = append(p.Skips, skip)
	span, ok := p.Span(monday)
	require.True(t, ok)
	assert.Equal(t, "Wed 2026-05-06 10:00", span.Start.Format("Mon 2006-01-02 15:04"))

	// Within a window the next is skipped, not this one.
	skip, _, ok = p.SkipNext(span.Start.Add(time.Minute))
	require.True(t, ok)
	assert.Equal(t, "Mon 2026-05-11 10:00", skip.From.Format("Mon 2006-01-02 15:04"))
	_, _, ok = pet(t, "windows: [2026-05-04]").SkipNext(monday)
	assert.False(t, ok)
}

// A pet that is never shared is not looked at for ever.
func TestAlways(t *testing.T) {
	p := pet(t, "windows:", "- daily 00:00-24:00")
	now := day(t, "2026-05-04")
	for range 3 {
		span, ok := p.Span(now)
		require.True(t, ok)
		assert.True(t, span.Start.Before(now) && span.End.After(now.AddDate(1, 0, 0)), "%s", show([]calendar.Span{span}))
		now = now.AddDate(0, 0, 100)
	}
}

// A stretch that goes on further than the calendar looks says so at that end, and only there.
func TestOpenStretches(t *testing.T) {
	now := day(t, "2026-05-05")
	for name, c := range map[string]struct {
		pet        *calendar.Pet
		days       int
		start, end bool
		shown      string // what is known of it
	}{
		"always":               {pet(t, "windows: [daily 00:00-24:00]"), 7, true, true, ""},
		"always, in full":      {pet(t, "windows: [daily 00:00-24:00]"), 400, true, true, ""},
		"always, by min-share": {pet(t, "windows: [daily 00:00-23:00]", "min-share: 2h"), 400, true, true, ""},
		"from a day on":        {pet(t, "windows: [{rrule: FREQ=DAILY, dtstart: 2026-05-01 00:00, duration: 1d}]"), 30, false, true, "2026-05-01"},
		"until a day":          {pet(t, "windows: [{rrule: FREQ=DAILY;UNTIL=20260601, dtstart: 2020-05-01 00:00, duration: 1d}]"), 400, true, false, "2026-06-02"},
		"long, and looked for": {pet(t, "windows: [{rrule: FREQ=DAILY;COUNT=600, dtstart: 2025-08-01 00:00, duration: 1d}]"), 7, false, false, "2025-08-01"},
		"windows often":        {crowd(t, 60), 400, true, true, ""},
		"a week":               {pet(t, "windows: [2026-05-04–2026-05-10]"), 400, false, false, "2026-05-04"},
	} {
		t.Run(name, func(t *testing.T) {
			spans := c.pet.Between(now, now.AddDate(0, 0, c.days))
			require.Len(t, spans, 1, show(spans))
			s := spans[0]
			assert.Equal(t, []bool{c.start, c.end}, []bool{s.StartOpen, s.EndOpen}, show(spans))
			assert.False(t, c.end && s.End.Before(now.AddDate(0, 0, c.days)), show(spans))
			known := ""
			switch {
			case !c.start:
				known = s.Start.Format(time.DateOnly)
			case !c.end:
				known = s.End.Format(time.DateOnly)
			}
			assert.Equal(t, c.shown, known)
		})
	}
}

// crowd is a pet of so many windows that start each hour and leave no gap.
func crowd(t testing.TB, windows int) *calendar.Pet {
	t.Helper()
	var text strings.Builder
	text.WriteString("windows:")
	for i := range windows {
		fmt.Fprintf(&text, "\n- {rrule: 'FREQ=DAILY;BYHOUR=0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23', dtstart: '2020-01-01 00:%02d', duration: 1m}", i%60)
	}
	return pet(t, text.String())
}

// How far a pet can be shown has a bound where its windows start often.
func TestMaxDays(t *testing.T) {
	assert.Equal(t, 400, pet(t, "windows: [daily 00:00-24:00]").MaxDays())
	assert.Equal(t, 400, crowd(t, 250).MaxDays())
	assert.Equal(t, 104, crowd(t, 1000).MaxDays())
}

// A reserved window has one beginning, from wherever within it one looks.
func TestOneBeginning(t *testing.T) {
	for _, p := range []*calendar.Pet{
		pet(t, "min-share: 20h", "windows:", "- Mon-Sat 09:00-18:00", "- 2026-01-05–2026-01-20"),
		pet(t, "windows:", "- {rrule: FREQ=DAILY;COUNT=50, dtstart: 2026-01-05, duration: 24h}"),
		pet(t, "min-share: 9h", "empty-by: 6h", "windows:", "- {rrule: FREQ=DAILY;COUNT=50, dtstart: 2026-01-05 06:00, duration: 10h}"),
	} {
		spans := p.Between(day(t, "2026-01-01"), day(t, "2026-03-01"))
		require.NotEmpty(t, spans)
		for _, span := range spans {
			for at := span.Start; at.Before(span.End); at = at.Add(7 * time.Hour) {
				got, ok := p.Span(at)
				require.True(t, ok)
				require.Equal(t, show([]calendar.Span{span}), show([]calendar.Span{got}))
			}
		}
	}
}

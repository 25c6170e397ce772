package simulate_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/scheduler/calendar"
	"github.com/dcib/dcib/internal/scheduler/decide"
	"github.com/dcib/dcib/internal/scheduler/leadtime"
	"github.com/dcib/dcib/internal/scheduler/simulate"
)

var zones = []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Tokyo"}

// manyPets returns pets with two nights a week, some of them touching a third, and a rule.
func manyPets(t testing.TB, n int) []*calendar.Pet {
	t.Helper()
	var text strings.Builder
	text.WriteString("pets:\n")
	for i := range n {
		fmt.Fprintf(&text, "- name: p%d\n  zone: %s\n  empty-by: %dm\n  windows:\n", i, zones[i%len(zones)], i%3*10)
		fmt.Fprintf(&text, "  - %s %02d:30-%02d:00\n", time.Weekday(i%7), 12+i%11, (21+i%11)%24)
		fmt.Fprintf(&text, "  - %s 05:15-%02d:45\n", time.Weekday((i+3)%7), 6+i%5)
		if i%4 == 0 {
			fmt.Fprintf(&text, "  - {rrule: FREQ=MONTHLY;BYMONTHDAY=15, dtstart: 2020-01-15 06:00, duration: 20h}\n  min-share: 4h\n")
		}
	}
	pets, err := calendar.Parse([]byte(text.String()))
	require.NoError(t, err)
	return pets
}

func year(pets []*calendar.Pet) simulate.Run {
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return simulate.Run{
		Pets: pets, From: from, To: from.AddDate(1, 0, 0),
		Model: simulate.DefaultModel(), Lead: leadtime.Defaults(), Schedule: decide.Defaults(),
	}
}

// TestYear simulates a year of 1,000 pets: no window is missed and none is served twice, and
// the one who is late has a reason.
func TestYear(t *testing.T) {
	t.Parallel()
	run := year(manyPets(t, 1000))
	run.Model.Change = 24 * time.Hour
	result := simulate.Simulate(run)
	require.Len(t, result.Pets, 1000)
	for i, p := range result.Pets {
		checkWindows(t, run, i, p)
		require.Equal(t, run.To.Sub(run.From), p.Shared+p.Reserved+p.Underway)
		for n, r := range p.Returns {
			var wrong string // said at the end only: there are 100,000 of them
			switch {
			case r.Drains > 1:
				wrong = "drained twice"
			case r.Late > 0 && r.Why == "":
				wrong = "late without a reason"
			case r.Late > 0:
			case r.Empty.IsZero() && n < len(p.Returns)-1:
				wrong = "missed"
			case r.Empty.After(r.Window.EmptyBy):
				wrong = "late, and not called so"
			case r.Drains == 0 && !r.Empty.IsZero() && (n == 0 || r.Empty.After(p.Returns[n-1].Window.End)):
				wrong = "no one drained it"
			}
			if wrong != "" {
				t.Fatalf("%s: %+v", wrong, r)
			}
		}
	}
	total := result.Total()
	t.Logf("%+v", total)
	assert.Zero(t, total.Unexplained)
	assert.Zero(t, total.Missed)
	assert.Less(t, float64(total.Late), 0.1*float64(total.Windows))
	assert.Greater(t, total.Shared, 0.7*(total.Shared+total.Reserved+total.Underway))
	assert.Greater(t, total.Moves, total.Drains)
}

// checkWindows goes through the year's days, without the calendar: each window of the two
// nights is in a reserved window that was served.
func checkWindows(t *testing.T, run simulate.Run, i int, p simulate.Pet) {
	zone := run.Pets[i].Zone
	served := p.Returns
	n := 0
	for day := run.From.AddDate(0, 0, 1); day.Before(run.To.AddDate(0, 0, -2)); day = day.AddDate(0, 0, 1) {
		var start, end time.Time
		at := func(hour, minute int) time.Time {
			return time.Date(day.Year(), day.Month(), day.Day(), hour, minute, 0, 0, zone)
		}
		switch int(day.Weekday()) {
		case i % 7:
			start, end = at(12+i%11, 30), at(21+i%11, 0)
		case (i + 3) % 7:
			start, end = at(5, 15), at(6+i%5, 45)
		default:
			continue
		}
		for n < len(served) && !served[n].Window.End.After(start) {
			n++
		}
		require.Less(t, n, len(served), "%s: no window on %s", p.Name, day)
		require.False(t, served[n].Window.Start.After(start), "%s: no window on %s", p.Name, day)
		// The clock may show the end twice.
		require.False(t, served[n].Window.End.Before(end.Add(-time.Hour)), "%s: no window on %s", p.Name, day)
	}
}

// A cluster where much goes wrong: what is given up is late, and says so.
func TestTroubles(t *testing.T) {
	run := year(manyPets(t, 20))
	run.Model.Fails = 0.7
	result := simulate.Simulate(run)
	total := result.Total()
	assert.Positive(t, total.Missed)
	assert.Zero(t, total.Unexplained)
	for _, l := range result.Late() {
		assert.NotEmpty(t, l.Why)
	}
	assert.Equal(t, result, simulate.Simulate(run), "the same again")
	run.Model.Seed++
	assert.NotEqual(t, result, simulate.Simulate(run))
}

// The run begins in the middle of a window.
func TestBeginsLate(t *testing.T) {
	pets, err := calendar.Parse([]byte("pets:\n- name: p\n  windows: [2026-01-01]\n- name: idle\n"))
	require.NoError(t, err)
	run := year(pets)
	run.From = run.From.Add(time.Hour)
	result := simulate.Simulate(run)
	late := result.Late()
	require.Len(t, late, 1)
	assert.Contains(t, late[0].Why, "the run began when the drain was due already")
	assert.Greater(t, late[0].Late, time.Hour)
	assert.Equal(t, run.To.Sub(run.From), result.Pets[1].Shared)

	var out bytes.Buffer
	require.NoError(t, result.Write(&out, 5))
	assert.Regexp(t, `late returns +1\n`, out.String())
	assert.Regexp(t, `2026-01-01 00:00 \+0000 +1h\d+m\d+s +p +the run began`, out.String())
}

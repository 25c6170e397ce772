package decide_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dcib/dcib/internal/scheduler/decide"
)

var (
	now     = time.Date(2026, 5, 8, 12, 0, 0, 0, time.UTC)
	options = decide.Defaults()
)

func in(d time.Duration) time.Time { return now.Add(d) }

// window opens in some time, for four hours; the pet has to be empty at its start.
func window(opens time.Duration) decide.Window {
	return decide.Window{EmptyBy: in(opens), Start: in(opens), End: in(opens + 4*time.Hour)}
}

func failed(n int, ago time.Duration) decide.Failure {
	return decide.Failure{Count: n, Last: in(-ago), Error: "no space"}
}

func TestDecide(t *testing.T) {
	const lead = 15 * time.Minute
	for name, c := range map[string]struct {
		facts decide.Facts
		leave bool
		do    decide.Verb
		wake  time.Duration // from now; zero: never
		why   string
		alert string
	}{
		"no window":                {decide.Facts{State: decide.Shared}, false, "share", 0, "no window comes", ""},
		"far":                      {decide.Facts{State: decide.Shared, Window: window(time.Hour)}, false, "share", 45 * time.Minute, "its next window opens Fri 8 May 13:00:00 UTC; a drain begins Fri 8 May 12:45:00 UTC", ""},
		"just in time":             {decide.Facts{State: decide.Shared, Window: window(lead)}, false, "drain", lead, "its drain is given 15m0s: because", ""},
		"at it":                    {decide.Facts{State: decide.Draining, Window: window(time.Minute), For: in(time.Minute)}, false, "drain", time.Minute, "", ""},
		"late":                     {decide.Facts{State: decide.Draining, Window: window(-time.Minute), For: in(-time.Minute)}, false, "drain", 239 * time.Minute, "its window is open", "it is late: it had to be empty by Fri 8 May 11:59:00 UTC"},
		"done":                     {decide.Facts{State: decide.Drained, Window: window(time.Minute), For: in(time.Minute)}, false, "keep-drained", 241 * time.Minute, "", ""},
		"its own":                  {decide.Facts{State: decide.Drained, Window: window(-time.Hour)}, false, "keep-drained", 3 * time.Hour, "its window is open", ""},
		"woke up late":             {decide.Facts{State: decide.Shared, Window: window(-3 * time.Hour)}, false, "drain", time.Hour, "its window is open", "it is late"},
		"over":                     {decide.Facts{State: decide.Drained, Window: window(20 * time.Hour)}, false, "undrain", 20*time.Hour - lead, "its next window", ""},
		"over before done":         {decide.Facts{State: decide.Draining, For: in(-5 * time.Hour), Window: window(20 * time.Hour)}, false, "undrain", 20*time.Hour - lead, "", ""},
		"over, no other":           {decide.Facts{State: decide.Drained}, false, "undrain", 0, "no window comes", ""},
		"coming back":              {decide.Facts{State: decide.Returning, Window: window(20 * time.Hour)}, false, "undrain", 20*time.Hour - lead, "", ""},
		"back and forth":           {decide.Facts{State: decide.Returning, Window: window(lead)}, false, "drain", lead, "", ""},
		"the lead has shrunk":      {decide.Facts{State: decide.Drained, Window: window(time.Hour), For: in(time.Hour)}, false, "keep-drained", 5 * time.Hour, "it was drained for the window", ""},
		"window moved":             {decide.Facts{State: decide.Drained, Window: window(time.Hour), For: in(30 * time.Minute)}, false, "undrain", 45 * time.Minute, "", ""},
		"window moved a bit":       {decide.Facts{State: decide.Drained, Window: window(time.Hour), For: in(30 * time.Minute), MinShare: time.Hour}, false, "keep-drained", 5 * time.Hour, "within its minimum share time of 1h0m0s", ""},
		"gap too short to share":   {decide.Facts{State: decide.Drained, Window: window(75 * time.Minute), MinShare: time.Hour}, false, "keep-drained", 315 * time.Minute, "minimum share time", ""},
		"gap long enough to share": {decide.Facts{State: decide.Drained, Window: window(76 * time.Minute), MinShare: time.Hour}, false, "undrain", time.Minute, "", ""},
		"is shared, min share":     {decide.Facts{State: decide.Shared, Window: window(16 * time.Minute), MinShare: time.Hour}, false, "share", time.Minute, "", ""},
		"foreign, own":             {decide.Facts{State: decide.Foreign, Window: window(-time.Hour)}, false, "keep-drained", 3 * time.Hour, "", ""},
		"foreign, over":            {decide.Facts{State: decide.Foreign, Window: window(20 * time.Hour)}, false, "share", 20*time.Hour - lead, "", ""},
		"held reserved":            {decide.Facts{State: decide.Shared, Hold: &decide.Hold{State: "reserved", Until: in(time.Hour), By: "ann"}}, false, "drain", time.Hour, `ann holds it "reserved" until Fri 8 May 13:00:00 UTC`, ""},
		"held reserved, is":        {decide.Facts{State: decide.Drained, Hold: &decide.Hold{State: "reserved", By: "ann"}}, false, "keep-drained", 0, `ann holds it "reserved"`, ""},
		"held shared":              {decide.Facts{State: decide.Shared, Window: window(-time.Hour), Hold: &decide.Hold{State: "shared", Until: in(time.Hour)}}, false, "share", time.Hour, "", ""},
		"held shared, drained":     {decide.Facts{State: decide.Drained, Window: window(-time.Hour), Hold: &decide.Hold{State: "shared", Until: in(time.Hour)}}, false, "undrain", time.Hour, "", ""},
		"held paused":              {decide.Facts{State: decide.Draining, Window: window(-time.Hour), Hold: &decide.Hold{State: "paused", Until: in(time.Hour)}}, false, "wait", time.Hour, "", ""},
		"hold is over":             {decide.Facts{State: decide.Drained, Window: window(20 * time.Hour), Hold: &decide.Hold{State: "reserved", Until: now}}, false, "undrain", 20*time.Hour - lead, "", ""},
		"failed just now":          {decide.Facts{State: decide.Draining, Window: window(10 * time.Minute), FailedFor: in(10 * time.Minute), Drain: failed(1, 5*time.Second)}, false, "wait", 10 * time.Second, "to drain it is tried again Fri 8 May 12:00:10 UTC", "draining it failed 1 times, last: no space"},
		"failed before":            {decide.Facts{State: decide.Draining, Window: window(10 * time.Minute), FailedFor: in(10 * time.Minute), Drain: failed(1, 15*time.Second)}, false, "drain", 10 * time.Minute, "", "draining it failed 1 times"},
		"failed for another":       {decide.Facts{State: decide.Draining, Window: window(10 * time.Minute), FailedFor: in(-time.Hour), Drain: failed(9, 0)}, false, "drain", 10 * time.Minute, "", ""},
		"not late: goes on":        {decide.Facts{State: decide.Draining, Window: window(10 * time.Minute), FailedFor: in(10 * time.Minute), Drain: failed(9, time.Hour)}, false, "drain", 10 * time.Minute, "", "failed 9 times"},
		"given up, undone":         {decide.Facts{State: decide.Draining, Window: window(-time.Hour), FailedFor: in(-time.Hour), Drain: failed(6, time.Hour)}, false, "undrain", 3 * time.Hour, "given up after 6 tries", "no space; it was given up"},
		"given up, left":           {decide.Facts{State: decide.Draining, Window: window(-time.Hour), FailedFor: in(-time.Hour), Drain: failed(6, time.Hour)}, true, "wait", 3 * time.Hour, "given up after 6 tries", "it was given up"},
		"given up, was undone":     {decide.Facts{State: decide.Shared, Window: window(-time.Hour), FailedFor: in(-time.Hour), Drain: failed(6, time.Hour)}, false, "wait", 3 * time.Hour, "given up after 6 tries", "it was given up"},
		"kept: not given up":       {decide.Facts{State: decide.Draining, Window: window(-time.Hour), FailedFor: in(-time.Hour), Drain: failed(99, time.Hour), Kept: []string{"c1"}}, false, "drain", 3 * time.Hour, "its window is open", "draining it failed 99 times, last: no space"},
		"undoing fails":            {decide.Facts{State: decide.Returning, Window: window(20 * time.Hour), Undrain: failed(99, time.Minute)}, false, "wait", 4 * time.Minute, "to undrain it is tried again", "bringing back what was moved failed 99 times, last: no space"},
		"not empty":                {decide.Facts{State: decide.Drained, Window: window(-time.Hour), For: in(-time.Hour), Running: []string{"web"}}, false, "drain", 3 * time.Hour, "its window is open", "it is not empty: it was drained and web runs there; it is drained again"},
		"not empty, too early":     {decide.Facts{State: decide.Drained, Window: window(time.Minute), For: in(time.Minute), Running: []string{"web", "db"}}, false, "drain", time.Minute, "", "it is not empty: it was drained and web, db run there"},
		"not empty, held reserved": {decide.Facts{State: decide.Drained, Hold: &decide.Hold{State: "reserved", By: "ann"}, Running: []string{"web"}}, false, "drain", 0, "", "it is not empty"},
		"not empty, given up":      {decide.Facts{State: decide.Drained, Window: window(-time.Hour), FailedFor: in(-time.Hour), Drain: failed(6, time.Hour), Running: []string{"web"}}, false, "wait", 3 * time.Hour, "given up", "no space; it was given up"},
		"not empty, shared":        {decide.Facts{State: decide.Drained, Window: window(20 * time.Hour), Running: []string{"web"}}, false, "undrain", 20*time.Hour - lead, "", ""},
		"foreign, not empty":       {decide.Facts{State: decide.Foreign, Window: window(-time.Hour), Running: []string{"a", "b", "c", "d"}}, false, "keep-drained", 3 * time.Hour, "", "evacuated by another than this scheduler and a, b, c and 1 more run there; move them away, or restore the member"},
		"restored by hand":         {decide.Facts{State: decide.Foreign, Window: window(-time.Hour), Running: []string{"web"}, Restored: true}, false, "keep-drained", 3 * time.Hour, "", "an operator restored it and web runs there; run action drain"},
		"foreign, shared":          {decide.Facts{State: decide.Foreign, Window: window(20 * time.Hour), Running: []string{"web"}}, false, "share", 20*time.Hour - lead, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := c.facts
			f.Now, f.Lead, f.LeadWhy = now, lead, "because"
			o := options
			o.KeepFailed = c.leave
			d := decide.Decide(f, o)
			assert.Equal(t, c.do, d.Do, d.Why)
			if c.wake == 0 {
				assert.True(t, d.RequeueAt.IsZero(), "%s", d.RequeueAt)
			} else {
				assert.Equal(t, in(c.wake), d.RequeueAt)
			}
			assert.Contains(t, d.Why, c.why)
			assert.Contains(t, d.Alert, c.alert)
			assert.Equal(t, c.alert == "", d.Alert == "", d.Alert)
			assert.Equal(t, c.alert == "", d.Kind == "", d.Kind)
		})
	}
}

// Whatever the facts: it is said why, waking is in the future, and until then time alone
// changes nothing.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		minutes := func(label string, low, high int) time.Duration {
			return time.Duration(rapid.IntRange(low, high).Draw(t, label)) * time.Minute
		}
		f := decide.Facts{
			Now:      now,
			State:    rapid.SampledFrom([]decide.State{"shared", "draining", "drained", "returning", "foreign"}).Draw(t, "state"),
			Lead:     minutes("lead", 0, 120),
			MinShare: minutes("min share", 0, 300),
		}
		if rapid.Bool().Draw(t, "has a window") {
			f.Window.Start = in(minutes("start", -100, 400))
			f.Window.EmptyBy = f.Window.Start.Add(-minutes("return", 0, 60))
			f.Window.End = in(max(f.Window.Start.Sub(now), 0) + minutes("end", 1, 100))
		}
		if rapid.Bool().Draw(t, "for it") {
			f.For = f.Window.Start
		}
		if rapid.Bool().Draw(t, "held") {
			f.Hold = &decide.Hold{State: rapid.SampledFrom([]decide.HoldState{"reserved", "shared", "paused"}).Draw(t, "want"), Until: in(minutes("until", -10, 100))}
		}
		if rapid.Bool().Draw(t, "failed") {
			f.FailedFor = f.Window.Start
			f.Drain = failed(rapid.IntRange(0, 9).Draw(t, "drains"), minutes("ago", 0, 6))
			f.Undrain = failed(rapid.IntRange(0, 9).Draw(t, "undrains"), minutes("ago", 0, 6))
		}
		f.Running = rapid.SliceOfN(rapid.SampledFrom([]string{"web", "db"}), 0, 5).Draw(t, "running")
		o := options
		o.KeepFailed = rapid.Bool().Draw(t, "leave")
		d := decide.Decide(f, o)
		require.NotEmpty(t, d.Why)
		require.Equal(t, d.Alert == "", d.Kind == "")
		if d.Do == decide.KeepDrained && len(f.Running) > 0 {
			require.Equal(t, decide.NotEmpty, d.Kind, "a pet that is not empty while it is reserved is never silent")
		}
		require.True(t, d.RequeueAt.IsZero() || d.RequeueAt.After(now), "%s", d.RequeueAt)
		if d.Do == decide.Wait {
			require.True(t, d.Alert != "" || f.Hold != nil)
		}
		if f.State == decide.Shared || f.State == decide.Foreign {
			require.NotEqual(t, decide.Undrain, d.Do, "only what this scheduler drained is undone")
		}
		later := f
		until := d.RequeueAt
		if until.IsZero() {
			until = in(10000 * time.Hour)
		}
		if end := f.Window.End; !end.IsZero() && end.Before(until) {
			until = end // the window is another then
		}
		later.Now = now.Add(time.Duration(rapid.Int64Range(0, int64(until.Sub(now))-1).Draw(t, "later")))
		require.Equal(t, d.Do, decide.Decide(later, o).Do, "at %s, to wake at %s: %s", later.Now, d.RequeueAt, d.Why)
	})
}

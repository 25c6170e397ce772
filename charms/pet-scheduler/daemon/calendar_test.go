//go:build cgo && libsqlite3

package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/scheduler/calendar"
	"github.com/dcib/dcib/internal/scheduler/store"
)

// configure returns all units the same options.
func (u *units) configure(change func(*control.Config)) {
	for n := range u.configs {
		change(&u.configs[n])
		require.NoError(u.t, u.configs[n].Write(u.dirs[n]))
	}
}

// pet waits until a pet is as it has to be.
func (u *units) pet(n int, name string, is func(control.Pet) bool) (p control.Pet) {
	u.t.Helper()
	require.Eventually(u.t, func() bool {
		pets, err := u.client(n).Pets(context.Background())
		if err != nil {
			return false
		}
		for _, p = range pets {
			if p.Name == name {
				return is(p)
			}
		}
		return false
	}, within, 50*time.Millisecond, "%+v", &p)
	return p
}

func state(wanted string) func(control.Pet) bool {
	return func(p control.Pet) bool { return p.State == wanted }
}

// places returns where each instance runs.
func (u *units) places() (lines []string) {
	all, err := u.lxd.Instances(context.Background())
	require.NoError(u.t, err)
	for _, i := range all {
		lines = append(lines, fmt.Sprint(i.Ref, i.Member, i.Running))
	}
	slices.Sort(lines)
	return lines
}

// upcomingDrains is a window that opens in the next minutes, within the lead of a pet that was never
// drained.
func soon() string {
	start := time.Now().UTC().Add(3 * time.Minute)
	return start.Format("2006-01-02 15:04") + "–" + start.Add(time.Hour).Format("2006-01-02 15:04")
}

// A pet that is taken out of the list gets back what its calendar took; what an operator
// ordered stays.
func TestPetThatIsNoneAnyMore(t *testing.T) {
	u := newUnits(t, 1)
	before := u.places()
	pets := fmt.Sprintf("pets:\n- {name: big, member: m1, windows: [%q]}\n", soon())
	u.configure(func(c *control.Config) { c.Pets, c.LeadMax = pets, time.Hour })
	u.pet(0, "big", state("drained"))
	u.configure(func(c *control.Config) { c.Pets = "# none" })
	require.Eventually(t, func() bool {
		runs, err := u.client(0).History(t.Context(), "big", 0)
		return err == nil && len(runs) == 2 && runs[0].Kind == store.Undrain && runs[0].State == store.Done
	}, within, 50*time.Millisecond)
	assert.Equal(t, before, u.places())
	left, err := u.client(0).Pets(t.Context())
	require.NoError(t, err)
	assert.Empty(t, left, "it is shown no longer than it takes")

	u.run(0, control.Request{Pet: "m1", Kind: store.Drain})
	u.configure(func(c *control.Config) { c.Pets = "pets:\n- {name: other, member: m3}\n" })
	u.pet(0, "other", state("shared"))
	members, err := u.lxd.Members(t.Context())
	require.NoError(t, err)
	for _, m := range members {
		assert.Equal(t, m.Name == "m1", m.Status == drain.Evacuated, m.Name)
	}
}

func TestCalendar(t *testing.T) {
	ctx := t.Context()
	u := newUnits(t, 1)
	c := u.client(0)
	before := u.places()
	u.configure(func(c *control.Config) {
		c.Pets = fmt.Sprintf("pets:\n- name: big\n  member: m1\n  windows: [%q]\n- name: m3\n  windows: [daily 00:00-24:00]\n", soon())
		c.LeadMax = time.Hour
	})
	require.NoError(t, u.lxd.Evacuate(ctx, "m3", func(string) {}))

	p := u.pet(0, "big", state("drained"))
	assert.True(t, p.Begin.Before(time.Now()))
	assert.Contains(t, p.Why, "its window opens")
	on := u.pet(0, "m3", state("foreign"))
	assert.Contains(t, on.Why, "its window is open")
	var runs []store.Run
	require.Eventually(t, func() bool {
		var err error
		runs, err = c.History(ctx, "", 0)
		return err == nil && len(runs) > 0
	}, within, 50*time.Millisecond)
	require.Len(t, runs, 1, "what an operator evacuated is left alone")
	assert.Equal(t, "m1", runs[0].Member)
	assert.True(t, runs[0].Calendar)
	assert.True(t, runs[0].Window.Equal(p.Start))
	assert.Equal(t, 3, runs[0].Instances)

	// The window is left out: what was moved comes back.
	skipped, err := c.SkipNext(ctx, control.Skip{Pet: "big"})
	require.NoError(t, err)
	assert.True(t, skipped.Start.Equal(p.Start))
	u.pet(0, "big", state("shared"))

	// An operator wants it.
	require.NoError(t, c.Hold(ctx, control.Hold{Pet: "big", State: "reserved"}))
	u.pet(0, "big", state("drained"))
	require.NoError(t, c.Release(ctx, "big"))
	u.pet(0, "big", state("shared"))

	// By an action it stays so, against the calendar; the other action ends that.
	run := u.run(0, control.Request{Pet: "m1", Kind: store.Drain, Stay: true})
	assert.Equal(t, "big", run.Pet)
	p = u.pet(0, "big", state("drained"))
	require.NotNil(t, p.Hold)
	assert.Equal(t, "reserved", p.Hold.State)
	u.run(0, control.Request{Pet: "big", Kind: store.Undrain, Stay: true})
	p = u.pet(0, "big", state("shared"))
	assert.Nil(t, p.Hold)

	w, err := c.AddWindow(ctx, control.Window{Pet: "big", Window: soon()})
	require.NoError(t, err)
	plan, err := c.Plan(ctx, "big", 1)
	require.NoError(t, err)
	assert.Empty(t, plan, "it lies within what was skipped")
	require.NoError(t, c.RemoveWindow(ctx, w.ID))
	assert.ErrorContains(t, c.RemoveWindow(ctx, w.ID), "no action added one of that id")
	_, err = c.AddWindow(ctx, control.Window{Pet: "big", Window: "Fri 25:00–Sat 05:00"})
	assert.ErrorContains(t, err, "25:00")
	_, err = c.AddWindow(ctx, control.Window{Pet: "small", Window: "Fri 21:00–Sat 05:00"})
	assert.ErrorContains(t, err, `cannot find pet "small": the pets are: big, m3`)
	assert.ErrorContains(t, c.Hold(ctx, control.Hold{Pet: "big", State: "more"}), "expected reserved, shared or paused")

	// What cannot be read keeps the old set in force.
	u.configure(func(c *control.Config) { c.Pets = "pets: [" })
	require.NoError(t, c.Hold(ctx, control.Hold{Pet: "big", State: "reserved"}))
	u.pet(0, "big", state("drained"))
	require.NoError(t, c.Release(ctx, "big"))
	u.pet(0, "big", state("shared"))
	require.NoError(t, u.lxd.Restore(ctx, "m3", func(string) {}))
	assert.Equal(t, before, u.places())
}

// An instance that can neither move nor be stopped takes no pet from its owner: the others leave for
// the window, it runs on and is named, and all come back.
func TestOneInstanceKeepsNoOthersInAWindow(t *testing.T) {
	u := newUnits(t, 1)
	u.lxd.Find(drain.Ref{Project: "default", Name: "c2"}).LocalDevices = []string{"gpu gpu0"}
	before := u.places()
	u.configure(func(c *control.Config) {
		c.Pets = fmt.Sprintf("pets:\n- name: big\n  member: m1\n  windows: [%q]\n", soon())
		c.LeadMax = time.Hour
	})
	p := u.pet(0, "big", func(p control.Pet) bool { return p.Alert != "" })
	assert.Contains(t, p.Alert, "the others have moved, these run on: c2: is tied to this member by gpu gpu0")
	assert.Equal(t, "draining", p.State)
	on := map[string]bool{}
	for _, place := range u.places() {
		on[place] = true
	}
	assert.True(t, on["c2m1true"], "%v", on)
	for _, place := range []string{"c1m1true", "c1m1false", "c3m1false"} {
		assert.False(t, on[place], place)
	}
	runs, err := u.client(0).History(t.Context(), "big", 0)
	require.NoError(t, err)
	assert.Equal(t, store.Failed, runs[0].State)
	assert.Equal(t, 2, runs[0].Moved)

	_, err = u.client(0).SkipNext(t.Context(), control.Skip{Pet: "big"})
	require.NoError(t, err)
	u.pet(0, "big", state("shared"))
	assert.Equal(t, before, u.places())
}

// A drain begins when it is due and not when an operator happens to look next.
func TestOnTime(t *testing.T) {
	u := newUnits(t, 1)
	const lead = time.Second
	starts := map[string]time.Time{}
	text := "pets:\n"
	for n, pet := range []string{"m1", "m2"} {
		start := time.Now().UTC().Add(8*time.Second + time.Duration(n)*2500*time.Millisecond).Truncate(time.Second)
		starts[pet] = start
		text += fmt.Sprintf("- name: %s\n  windows:\n  - ics: |\n      BEGIN:VCALENDAR\n      BEGIN:VEVENT\n      UID:x\n      DTSTART:%s\n      DTEND:%s\n      END:VEVENT\n      END:VCALENDAR\n",
			pet, start.Format("20060102T150405Z"), start.Add(time.Hour).Format("20060102T150405Z"))
	}
	u.configure(func(c *control.Config) { c.Pets, c.LeadMin, c.LeadMax = text, lead, lead })
	for pet, start := range starts {
		var runs []store.Run
		require.Eventually(t, func() bool {
			var err error
			runs, err = u.client(0).History(t.Context(), pet, 0)
			return err == nil && len(runs) == 1
		}, within, 50*time.Millisecond)
		assert.WithinDuration(t, start.Add(-lead), runs[0].Started, 2*orderPollInterval, pet)
	}
}

// A drain that fails is tried again, and the calendar knows for how long it lasted.
func TestPast(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC) }
	w := at(0).AddDate(0, 0, 1)
	p := runHistory{ended: []store.Run{
		{Kind: store.Drain, State: store.Failed, Window: w.AddDate(0, 0, 7), Started: at(50), Ended: at(51), Note: "no capacity", Calendar: true},
		{Kind: store.Drain, State: store.Failed, Window: w.AddDate(0, 0, 7), Started: at(40), Ended: at(41), Note: "other", Calendar: true},
		{Kind: store.Undrain, State: store.Done, Started: at(30), Ended: at(31)},
		{Kind: store.Drain, State: store.Done, Window: w, Started: at(20), Ended: at(22), Instances: 4},
		{Kind: store.Drain, State: store.Failed, Window: w, Started: at(10), Ended: at(11)},
	}}
	drains := p.drains()
	require.Len(t, drains, 1)
	assert.Equal(t, 12*time.Minute, drains[0].Took)
	assert.Equal(t, 4, drains[0].Instances)
	f := p.failures(store.Drain, func(store.Run) bool { return true })
	assert.Equal(t, 2, f.Count)
	assert.Equal(t, "no capacity", f.Error)
	assert.Equal(t, at(51), f.Last)
	assert.Zero(t, p.failures(store.Undrain, func(store.Run) bool { return true }).Count)
}

// What cannot move keeps a pet from being emptied, unless the pet states that it may be stopped.
func TestImmovable(t *testing.T) {
	u := newUnits(t, 1)
	on := func(name string) *drain.Instance { return u.lxd.Find(drain.Ref{Project: "default", Name: name}) }
	on("c1").LocalDevices = []string{"gpu gpu0"}
	on("c2").Architecture = "s390x"
	on("other").LocalDevices = []string{"gpu gpu0"} // is elsewhere
	before := u.places()
	order := func(pet, what string) store.Run {
		u.configure(func(c *control.Config) {
			c.Pets = fmt.Sprintf("pets:\n- name: %s\n  member: m1\n  unmovable: %s\n", pet, what)
		})
		u.pet(0, pet, state("shared"))
		return u.run(0, control.Request{Pet: pet, Kind: store.Drain, Stay: true})
	}
	run := order("precious", "refuse")
	assert.Equal(t, store.Failed, run.State)
	assert.Contains(t, run.Note, "c1: is tied to this member by gpu gpu0; force=true, or unmovable: stop of its pet,")
	assert.Contains(t, run.Note, "c2: no other member is Online, takes instances and runs s390x; force=true, or unmovable: stop of its pet,")
	assert.Equal(t, before, u.places(), "nothing was stopped or moved")

	run = order("big", "stop")
	assert.Equal(t, store.Done, run.State, run.Note)
	assert.Equal(t, drain.Evacuated, u.lxd.Status("m1"))
	assert.Subset(t, u.places(), []string{"c1m1false", "c2m1false"})
	run = u.run(0, control.Request{Pet: "big", Kind: store.Undrain, Stay: true})
	assert.Equal(t, store.Done, run.State, run.Note)
	assert.Equal(t, before, u.places())
}

// A plan has a bound where windows start very often: the daemon has other work.
func TestPlanHasABound(t *testing.T) {
	var text strings.Builder
	text.WriteString("pets:\n- {name: rare, windows: [daily 01:00-02:00]}\n- name: often\n  windows:\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "  - {rrule: 'FREQ=DAILY;BYHOUR=0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23', dtstart: '2020-01-01 00:%02d', duration: 1m}\n", i%60)
	}
	pets, err := calendar.Parse([]byte(text.String()))
	require.NoError(t, err)
	require.NoError(t, checkPlanDays(pets[0], 400))
	require.NoError(t, checkPlanDays(pets[1], 104))
	err = checkPlanDays(pets[1], 105)
	require.EqualError(t, err, "cannot plan: days is 105: expected at most 104, since the windows of pet often start very often")
	require.ErrorAs(t, err, &badRequest{})
}

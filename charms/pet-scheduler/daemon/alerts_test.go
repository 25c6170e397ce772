//go:build cgo && libsqlite3

package daemon

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/scheduler/calendar"
	"github.com/dcib/dcib/internal/scheduler/decide"
	"github.com/dcib/dcib/internal/scheduler/store"
)

// shown waits until a unit's hooks are told what is wanted, "pet kind" for each alert.
func (u *units) shown(n int, wanted ...string) {
	u.t.Helper()
	var got []string
	require.Eventually(u.t, func() bool {
		list, err := control.ReadAlerts(u.dirs[n])
		got = []string{}
		for _, a := range list {
			got = append(got, a.Pet+" "+a.Kind)
		}
		return err == nil && assert.ObjectsAreEqual(wanted, got) || len(wanted)+len(got) == 0
	}, within, 20*time.Millisecond, "wanted %v, shown %v", wanted, &got)
}

// open is a window that is open.
func open() string {
	start := time.Now().UTC().Add(-2 * time.Minute)
	return start.Format("2006-01-02 15:04") + "–" + start.Add(time.Hour).Format("2006-01-02 15:04")
}

// A pet that is late, and one that is not empty although it is reserved, show on every unit for as
// long as it lasts.
func TestAlertsAreShown(t *testing.T) {
	u := newUnits(t, 2)
	ref := func(name string) drain.Ref { return drain.Ref{Project: "default", Name: name} }
	u.lxd.mu.Lock()
	u.lxd.Find(ref("c1")).LocalDevices = []string{"gpu gpu0"}
	u.lxd.Find(ref("c2")).LocalDevices = []string{"gpu gpu0"}
	u.lxd.Find(ref("c3")).LocalDevices = []string{"gpu gpu0"}
	u.lxd.mu.Unlock()
	u.configure(func(c *control.Config) {
		c.Pets = fmt.Sprintf("pets:\n- {name: big, member: m1, windows: [%q]}\n", open())
	})
	for n := range u.dirs {
		u.shown(n, "big late")
	}
	p := u.pet(1, "big", func(p control.Pet) bool { return p.Alert != "" })
	assert.Equal(t, "late", p.AlertKind)
	assert.Contains(t, p.Alert, "c1", "it names the instance")

	u.lxd.mu.Lock()
	for _, name := range []string{"c1", "c2", "c3"} {
		u.lxd.Find(ref(name)).LocalDevices = nil
	}
	u.lxd.mu.Unlock()
	for n := range u.dirs {
		u.shown(n)
	}

	// An operator moves an instance to the drained pet: it is drained again, and said meanwhile.
	before, err := u.client(0).History(t.Context(), "big", 0)
	require.NoError(t, err)
	u.pet(0, "big", state("drained"))
	require.NoError(t, u.lxd.Stop(t.Context(), ref("c1")))
	require.NoError(t, u.lxd.Move(t.Context(), ref("c1"), "m1", false))
	require.NoError(t, u.lxd.Start(t.Context(), ref("c1"), "m1"))
	require.Eventually(t, func() bool {
		runs, err := u.client(0).History(t.Context(), "big", 0)
		return err == nil && len(runs) == len(before)+1 && runs[0].Kind == store.Drain && runs[0].State == store.Done
	}, within, 50*time.Millisecond)
	u.lxd.mu.Lock()
	assert.NotEqual(t, "m1", u.lxd.Find(ref("c1")).Member)
	u.lxd.mu.Unlock()

	// A pet that was evacuated by another, with an instance left running on it, is the operator's.
	u.lxd.mu.Lock()
	u.lxd.Add("left", "m3", true)
	for _, name := range []string{"c1", "c2", "c3"} {
		u.lxd.Find(ref(name)).Member = "m2"
	}
	u.lxd.SetStatus("m3", drain.Evacuated)
	u.lxd.mu.Unlock()
	u.configure(func(c *control.Config) {
		c.Pets += fmt.Sprintf("- {name: m3, windows: [%q]}\n", open())
	})
	for n := range u.dirs {
		u.shown(n, "m3 not-empty")
	}
	p = u.pet(0, "m3", state("foreign"))
	assert.Equal(t, "not-empty", p.AlertKind)
	assert.Contains(t, p.Alert, "left runs there")
	u.lxd.mu.Lock()
	u.lxd.Delete(ref("left"))
	u.lxd.mu.Unlock()
	for n := range u.dirs {
		u.shown(n)
	}
}

func TestAlertsOf(t *testing.T) {
	t0, t1 := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), time.Date(2026, 5, 1, 13, 0, 0, 0, time.UTC)
	late := store.Alert{Pet: "big", Kind: "late", Text: "it is late", Since: t0}
	is := func(name string, kind decide.Kind, text string) due {
		return due{pet: &calendar.Pet{Name: name}, Decision: decide.Decision{Kind: kind, Alert: text}}
	}
	away := unseen{errors.New("cannot reach LXD: read 10.0.0.1:4711: reset")}
	for name, c := range map[string]struct {
		before []store.Alert
		pets   []due
		err    error
		want   []store.Alert
	}{
		"begins":              {nil, []due{is("big", "late", "it is late"), is("ok", "", "")}, nil, []store.Alert{{Pet: "big", Kind: "late", Text: "it is late", Since: t1}}},
		"goes on":             {[]store.Alert{late}, []due{is("big", "late", "later")}, nil, []store.Alert{{Pet: "big", Kind: "late", Text: "later", Since: t0}}},
		"over":                {[]store.Alert{late}, []due{is("big", "", "")}, nil, nil},
		"is a pet no more":    {[]store.Alert{late}, []due{}, nil, nil},
		"not seen":            {[]store.Alert{late}, nil, away, []store.Alert{{Kind: "lxd", Text: away.Error(), Since: t1}, late}},
		"still not seen":      {[]store.Alert{{Kind: "lxd", Text: "port 1", Since: t0}, late}, nil, away, []store.Alert{{Kind: "lxd", Text: "port 1", Since: t0}, late}},
		"seen, another wrong": {[]store.Alert{late}, []due{is("big", "late", "it is late")}, errors.New("cannot take the pets"), []store.Alert{{Kind: "other", Text: "cannot take the pets", Since: t1}, late}},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, c.want, alertsOf(c.before, c.pets, c.err, t1)) })
	}
}

// A machine whose clock was lost does not drain by it.
func TestClock(t *testing.T) {
	assert.NoError(t, clockError(time.Now()))
	assert.ErrorContains(t, clockError(time.Unix(3600, 0)), "the clock of this machine shows 1970-01-01: set it")
	assert.Error(t, clockError(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)))
}

// While LXD cannot be reached that is said, and not with each try.
func TestWhatLastsIsFewLines(t *testing.T) {
	u := newUnits(t, 1)
	u.configure(func(c *control.Config) { c.Pets = "pets:\n- {name: big, member: m1}\n" })
	u.pet(0, "big", state("shared"))
	u.away.Store(true)
	_, err := u.client(0).Order(t.Context(), control.Request{Pet: "m2", Kind: store.Drain})
	require.NoError(t, err)
	u.shown(0, " lxd")
	tries, lines := u.asked.Load(), u.lines.Load()
	require.Eventually(t, func() bool { return u.asked.Load() >= tries+5 }, within, 50*time.Millisecond)
	assert.LessOrEqual(t, u.lines.Load()-lines, int64(4), "for %d tries", u.asked.Load()-tries)
	u.away.Store(false)
	u.shown(0)
	require.Eventually(t, func() bool {
		runs, err := u.client(0).History(t.Context(), "m2", 0)
		return err == nil && len(runs) == 1
	}, within, 50*time.Millisecond, "the order waited")
}

// A window that an action added, and that is long over, is forgotten; one to come is not.
func TestWindowsThatAreOverAreForgotten(t *testing.T) {
	u := newUnits(t, 1)
	u.configure(func(c *control.Config) { c.Pets = "pets:\n- {name: big, member: m1}\n" })
	u.pet(0, "big", state("shared"))
	for _, window := range []string{"2025-01-01 10:00–2025-01-01 12:00", "2060-01-01 10:00–2060-01-01 12:00", "Fri 21:00–Sat 05:00"} {
		_, err := u.client(0).AddWindow(t.Context(), control.Window{Pet: "big", Window: window})
		require.NoError(t, err)
	}
	u.pet(0, "big", func(p control.Pet) bool { return len(p.Windows) == 3 })
	u.stop(0)
	u.start(0) // who begins to act forgets what is over
	p := u.pet(0, "big", func(p control.Pet) bool { return len(p.Windows) == 2 })
	for _, w := range p.Windows {
		assert.NotContains(t, w.Window, "2025")
	}
}

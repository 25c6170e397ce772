package direct_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/profile"
)

func (s *site) action(unit, name string, params map[string]any) (map[string]string, string) {
	s.t.Helper()
	tools, commit := s.juju.Hook(unit)
	tools.Params = params
	e := event(unit)
	e.Hook, e.Action = "", name
	require.NoError(s.t, s.charm().Run(context.Background(), e, tools))
	commit()
	return tools.Results, tools.Failure
}

// hooks runs a hook of every unit.
func (s *site) hooks() {
	s.t.Helper()
	for n := range s.lxd.Instances {
		s.hook("sub/" + strings.TrimPrefix(n, "juju-"))
	}
}

// boot has LXD start a unit's instance, and the unit run its first hook there.
func (s *site) boot(n int) {
	s.lxd.Instances[fmt.Sprint("juju-", n)].LastUsedAt = s.lxd.Clock()
	s.started[fmt.Sprint("sub/", n)] += "+"
	s.hook(fmt.Sprint("sub/", n))
}

func wants(line ...string) profile.Profile {
	p := profile.Profile{Config: map[string]string{}}
	for _, l := range line {
		key, value, _ := strings.Cut(l, "=")
		p.Config[key] = value
	}
	return p
}

// threeWaiting is a site of three units, each with something that waits for a restart.
func threeWaiting(t *testing.T) *site {
	s := newSite(t)
	s.juju.AddUnit("sub/2", "")
	s.lxd.Add("juju-2", model, "web/2")
	s.hook("sub/0")
	s.wanted = wants("security.nesting=true")
	s.hook("sub/0")
	s.hooks()
	for n := range 3 {
		s.started[fmt.Sprint("sub/", n)] = "A"
		assert.Contains(t, s.hook(fmt.Sprint("sub/", n)), "restart needed for security.nesting: juju run sub/leader apply-restart")
	}
	s.lxd.Writes = nil
	return s
}

// One after another is restarted, each when the one before is back; the action's own
// instance comes last, after the action.
func TestApplyRestart(t *testing.T) {
	s := threeWaiting(t)
	pauses := 0
	s.pause = func() {
		pauses++
		switch pauses {
		case 1:
			assert.Equal(t, []string{"juju-1"}, s.lxd.Restarts())
		case 2:
			s.hook("sub/2") // others' hooks change nothing
		case 3:
			assert.Equal(t, []string{"juju-1"}, s.lxd.Restarts(), "its unit is not back")
			s.started["sub/1"] = "B"
			s.hook("sub/1")
		case 4:
			assert.Equal(t, []string{"juju-1", "juju-2"}, s.lxd.Restarts())
			s.started["sub/2"] = "B"
			s.hook("sub/2")
		}
		require.Less(t, pauses, 9)
	}
	results, failure := s.action("sub/0", "apply-restart", map[string]any{"batch": 1.0, "wait-healthy": "300s"})
	require.Empty(t, failure)
	assert.Equal(t, "juju-1 juju-2", results["restarted"])
	assert.Equal(t, "this unit's own instance juju-0 restarts in a minute", results["next"])
	assert.True(t, s.rebooted)
	assert.Equal(t, []string{"juju-1", "juju-2"}, s.lxd.Restarts())
	for n := 1; n <= 2; n++ {
		assert.Equal(t, "active: in force: security.nesting=true", s.hook(fmt.Sprint("sub/", n)))
		assert.NotContains(t, s.lxd.Instances[fmt.Sprint("juju-", n)].Config, "user.dcib.restart.sub", "the notes go")
	}
	// No other restart begins before that is over.
	_, failure = s.action("sub/1", "apply-restart", map[string]any{"batch": 1.0, "wait-healthy": "300s"})
	assert.Contains(t, failure, "cannot restart: another request is restarting instance juju-0: try again when it is back; if none is: lxc config unset juju-0 user.dcib.restart.sub")
	s.boot(0)
	assert.Equal(t, "active: in force: security.nesting=true", s.hook("sub/0"))
	s.rebooted = false
	results, failure = s.action("sub/0", "apply-restart", map[string]any{"batch": 1.0, "wait-healthy": "300s"})
	assert.Empty(t, failure)
	assert.Empty(t, results["restarted"]+results["next"])
	assert.False(t, s.rebooted)

	for n := range 3 {
		s.leaving[fmt.Sprint("sub/", n)] = true
	}
	s.hooks()
	for _, i := range s.lxd.Instances {
		for key := range i.Config {
			assert.False(t, strings.HasPrefix(key, "user.dcib."), key)
		}
	}
}

// While LXD restarts an instance, the leader's hook does not update the profile that it has.
func TestAProfileIsNotWrittenDuringARestart(t *testing.T) {
	s := threeWaiting(t)
	one := s.lxd.Instances["juju-1"]
	one.Config["user.dcib.restart.sub"] = fmt.Sprintf("r %d %d 1 A", one.LastUsedAt.UnixNano(), s.lxd.Clock().UnixNano())
	s.wanted = wants("security.nesting=false")
	assert.Contains(t, s.hook("sub/0"), "waiting: waiting for the restart of instance juju-1")
	assert.Empty(t, s.lxd.Writes)
	s.boot(1)
	s.hook("sub/0")
	assert.Equal(t, "false", s.lxd.Profiles["dcib-shop-web"].Config["security.nesting"])
}

// A failure stops it: no other instance is restarted.
func TestApplyRestartStops(t *testing.T) {
	t.Run("no unit comes back", func(t *testing.T) {
		s := threeWaiting(t)
		s.pause = func() {}
		_, failure := s.action("sub/0", "apply-restart", map[string]any{"batch": 1.0, "wait-healthy": "30s"})
		assert.Equal(t, "juju-1 is not back 30s after the restart of its instance juju-1: look at it, then request the restart again", failure)
		assert.Equal(t, []string{"juju-1"}, s.lxd.Restarts())
		assert.False(t, s.rebooted)
	})
	t.Run("LXD refuses", func(t *testing.T) {
		s := threeWaiting(t)
		s.lxd.Refuse = func(what string) error {
			if what == "restart instance juju-1" {
				return errors.New("it will not stop")
			}
			return nil
		}
		_, failure := s.action("sub/0", "apply-restart", map[string]any{"batch": 2.0, "wait-healthy": "30s"})
		assert.Equal(t, "LXD refused: instance juju-1: it will not stop", failure)
		assert.Empty(t, s.lxd.Restarts())
	})
	t.Run("a batch, without waiting", func(t *testing.T) {
		s := threeWaiting(t)
		_, failure := s.action("sub/0", "apply-restart", map[string]any{"batch": 2.0, "wait-healthy": "0"})
		assert.Empty(t, failure)
		assert.Equal(t, []string{"juju-1", "juju-2"}, s.lxd.Restarts())
	})
	t.Run("another application's request", func(t *testing.T) {
		s := threeWaiting(t)
		db := s.lxd.Add("juju-9", model, "db/0")
		db.Config["user.dcib.restart.db-profile"] = fmt.Sprintf("r %d 0 1 ", db.LastUsedAt.UnixNano())
		pauses := 0
		s.pause = func() {
			if pauses++; pauses == 5 {
				assert.Empty(t, s.lxd.Restarts())
				db.LastUsedAt = s.lxd.Clock()
				db.Config["user.dcib.started.db-profile"] = "B"
			}
		}
		_, failure := s.action("sub/0", "apply-restart", map[string]any{"batch": 2.0, "wait-healthy": "0"})
		assert.Empty(t, failure)
		assert.Equal(t, []string{"juju-1", "juju-2"}, s.lxd.Restarts())

		s.boot(0)
		db.Config["user.dcib.restart.db-profile"] = fmt.Sprintf("r2 %d 0 1 B", db.LastUsedAt.UnixNano())
		s.wanted = wants("security.nesting=false")
		s.hook("sub/0")
		_, failure = s.action("sub/0", "apply-restart", map[string]any{"batch": 1.0, "wait-healthy": "5s"})
		assert.Contains(t, failure, "cannot restart: not yet: juju-1 (juju-9 is being restarted)")
	})
	t.Run("a batch of none", func(t *testing.T) {
		_, failure := threeWaiting(t).action("sub/0", "apply-restart", map[string]any{"batch": 0.0, "wait-healthy": "0"})
		assert.Contains(t, failure, "parameter batch is 0")
	})
}

// The last profile that was fully applied comes back, and stays until the options change.
func TestRollback(t *testing.T) {
	s := newSite(t)
	rollback := func() string { _, failure := s.action("sub/0", "rollback", nil); return failure }
	const none = "cannot roll back: no other profile was fully applied on every instance before"
	assert.Equal(t, none, rollback())
	s.hook("sub/0")
	assert.Equal(t, none, rollback())
	s.hook("sub/1")
	content := func() string { return s.lxd.Profiles["dcib-shop-web"].Config["limits.memory"] }

	// What waits for a restart is not fully applied.
	s.wanted = wants("limits.memory=2GiB", "security.nesting=true")
	s.hooks()
	s.wanted = wants("limits.memory=3GiB", "security.nesting=true")
	s.hooks()
	assert.Empty(t, rollback())
	assert.Equal(t, "1GiB", content())
	for _, unit := range []string{"sub/0", "sub/1"} {
		assert.Contains(t, s.hook(unit), "active: rolled back, until the options change; in force: limits.memory=1GiB")
		results, _ := s.action(unit, "diff", nil)
		assert.Equal(t, "until the options change", results["rolled-back"])
	}
	assert.Equal(t, "1GiB", content(), "it stays")

	// Also when another program changes it.
	s.lxd.Profiles["dcib-shop-web"].Config["limits.memory"] = "9GiB"
	s.hook("sub/0")
	assert.Equal(t, "1GiB", content())
	assert.Contains(t, s.juju.Units["sub/0"].Log, "INFO restore profile dcib-shop-web, which another program has changed")

	for n := range 2 {
		s.boot(n)
	}
	s.wanted = wants("limits.memory=4GiB")
	s.hooks()
	assert.Equal(t, "4GiB", content())
	assert.Equal(t, "active: in force: limits.memory=4GiB", s.hook("sub/1"))

	// What is fully applied itself is rolled back to the one before, and there again.
	assert.Empty(t, rollback())
	assert.Equal(t, "1GiB", content())
	assert.Empty(t, rollback())
	assert.Equal(t, "4GiB", content())

	// What the options say then counts, also when they say the same.
	s.wanted = wants("limits.memory=1GiB")
	assert.Equal(t, "active: in force: limits.memory=1GiB", s.hook("sub/0"))
	s.wanted = wants("limits.memory=4GiB")
	assert.Equal(t, "active: in force: limits.memory=4GiB", s.hook("sub/0"))

	_, failure := s.action("sub/1", "rollback", nil)
	assert.Equal(t, "cannot do this on sub/1, which is not the leader: run it on sub/leader", failure)
	s.lxd.Refuse = func(string) error { return errors.New("forbidden in project default") }
	assert.Contains(t, rollback(), "refused to write profile dcib-shop-web: forbidden in project default")
}

// Two applications on one instance have notes of their own.
func TestTwoApplicationsOnOneInstance(t *testing.T) {
	s := newSite(t)
	s.hook("sub/0")
	s.juju.AddUnit("other/0", "")
	s.juju.Leaders["sub"] = "other/0" // whom the site asks who leads
	s.hook("other/0")
	config := func() map[string]string { return s.lxd.Instances["juju-0"].Config }
	assert.Contains(t, config(), "user.dcib.attached.sub")
	assert.Contains(t, config(), "user.dcib.attached.other")
	s.leaving["other/0"] = true
	s.hook("other/0")
	assert.Contains(t, config(), "user.dcib.attached.sub")
	assert.NotContains(t, config(), "user.dcib.attached.other")
	assert.Contains(t, fmt.Sprint(s.lxd.Instances["juju-0"].Profiles), "dcib-shop-web]")
}

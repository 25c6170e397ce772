package broker_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/relation/lxdprofile"
	"github.com/dcib/dcib/internal/testkit/crash"
)

// wide is a policy that allows what needs a restart.
const wide = "keys: [limits.*, security.*]\ndevices: [unix-char, gpu]\nhost-paths: [/dev/kvm]"

func (c *cluster) policy(text string) {
	c.juju.Config["lxd-cluster"] = map[string]any{"profile-policy": text}
}

func (a *asker) answer() lxdprofile.ProfileStatus {
	answer, err := lxdprofile.DecodeProfileStatus(a.relation.Databags["lxd-cluster"])
	require.NoError(a.c.t, err)
	return answer
}

// askRestart does what the action apply-restart of the other side does.
func (a *asker) askRestart(r lxdprofile.Restart) {
	a.relation.Databags[a.app]["restart"] = r.Encode()["restart"]
}

// untimed is a progress without the time of a failure.
func untimed(p lxdprofile.Progress) lxdprofile.Progress {
	p.Failed = ""
	return p
}

// boot has a unit say that its instance has been started again.
func (a *asker) boot(i int) {
	a.claims[i].Started += "+"
	a.say(i)
}

// What needs a restart is named until the instance was started again, by any program.
func TestWhatNeedsARestart(t *testing.T) {
	c := newCluster(t)
	c.policy(wide)
	a := c.ask(shop, "web", 2, "limits.memory=1GiB", "security.nesting=true").settle()
	assert.Equal(t, []string{"config.security.nesting"}, a.state(0).Restart)

	c.lxd.Instances["juju-web-0"].LastUsedAt = c.lxd.Clock()
	c.hook()
	assert.Empty(t, a.state(0).Restart)
	assert.Equal(t, []string{"config.security.nesting"}, a.state(1).Restart)
	c.lxd.Instances["juju-web-1"].LastUsedAt = c.lxd.Clock()

	a.want("limits.memory=2GiB", "security.nesting=true")
	c.hook()
	assert.Empty(t, a.state(0).Restart, "a live change needs none")

	a.want("limits.memory=2GiB", "security.privileged=true")
	c.hook()
	for i := range 2 {
		assert.Equal(t, []string{"config.security.nesting", "config.security.privileged"}, a.state(i).Restart, "what is taken out needs it, too")
	}
	c.lxd.Writes = nil
	c.hook()
	assert.Empty(t, c.lxd.Writes)

	c.lxd.Instances["juju-web-0"].StatusCode = api.Stopped
	c.hook()
	assert.Empty(t, a.state(0).Restart, "what is stopped starts with it")
}

func TestRestartOneAfterAnother(t *testing.T) {
	c := newCluster(t)
	c.policy(wide)
	a := c.ask(shop, "web", 3, "security.nesting=true").settle()
	db := c.ask(shop, "db", 1, "security.nesting=true").settle()
	c.lxd.Writes = nil
	a.askRestart(lxdprofile.Restart{ID: "r1", Batch: 1, WaitHealthy: lxdprofile.Duration(60 * time.Second)})
	for i := range 3 {
		c.hook()
		want := []string{"juju-web-0", "juju-web-1", "juju-web-2"}[:i+1]
		require.Equal(t, want, c.lxd.Restarts())
		assert.Equal(t, lxdprofile.Progress{ID: "r1", State: lxdprofile.Running, Message: fmt.Sprintf("waiting for sub-web/%d to be back", i)}, a.answer().Restart)
		c.hook() // no unit is back yet
		require.Equal(t, want, c.lxd.Restarts())
		a.boot(i)
	}
	c.hook()
	assert.Equal(t, lxdprofile.Progress{ID: "r1", State: lxdprofile.Done}, a.answer().Restart)
	c.hook()
	for i := range 3 {
		assert.Empty(t, a.state(i).Restart)
		assert.NotContains(t, c.lxd.Instances[a.claims[i].Instance].Config, "user.dcib.restart.0", "the notes go")
	}
	assert.Equal(t, []string{"config.security.nesting"}, db.state(0).Restart, "who did not ask is not restarted")

	// The same request is over, also when there is something to restart again.
	a.want("security.nesting=false")
	c.hook()
	assert.NotEmpty(t, a.state(0).Restart)
	assert.Len(t, c.lxd.Restarts(), 3)
	a.askRestart(lxdprofile.Restart{ID: "r2", Batch: 2, WaitHealthy: lxdprofile.Duration(60 * time.Second)})
	c.hook()
	assert.Equal(t, []string{"juju-web-0", "juju-web-1"}, c.lxd.Restarts()[3:])
	c.juju.Unrelate(a.relation)
	c.hook()
	for _, i := range c.lxd.Instances {
		assert.NotContains(t, i.Config, "user.dcib.restart.0")
		assert.NotContains(t, i.Config, "user.dcib.attached.0")
	}
}

func TestARestartIsStopped(t *testing.T) {
	t.Run("no unit comes back", func(t *testing.T) {
		c := newCluster(t)
		c.policy(wide)
		a := c.ask(shop, "web", 2, "security.nesting=true").settle()
		a.askRestart(lxdprofile.Restart{ID: "r1", Batch: 1, WaitHealthy: lxdprofile.Duration(60 * time.Second)})
		c.hook()
		c.lxd.Now = c.lxd.Now.Add(2 * time.Minute)
		c.hook()
		assert.Equal(t, lxdprofile.Failed, a.answer().Restart.State)
		assert.Equal(t, "sub-web/0 is not back 1m0s after the restart of its instance juju-web-0: look at it, then request the restart again", a.answer().Restart.Message)
		for range 3 {
			c.hook()
		}
		assert.Equal(t, []string{"juju-web-0"}, c.lxd.Restarts())
	})
	t.Run("LXD will not", func(t *testing.T) {
		c := newCluster(t)
		c.policy(wide)
		a := c.ask(shop, "web", 2, "security.nesting=true").settle()
		c.lxd.Refuse = func(what string) error {
			if strings.HasPrefix(what, "restart") {
				return errors.New("The instance will not stop")
			}
			return nil
		}
		a.askRestart(lxdprofile.Restart{ID: "r1", Batch: 1, WaitHealthy: lxdprofile.Duration(60 * time.Second)})
		c.hook()
		assert.Equal(t, lxdprofile.Progress{ID: "r1", State: lxdprofile.Failed, Message: "LXD refused: instance juju-web-0: The instance will not stop"}, untimed(a.answer().Restart))
		assert.Equal(t, lxdprofile.Applied, a.state(0).State)
	})
	t.Run("LXD will not restart one of a batch", func(t *testing.T) {
		c := newCluster(t)
		c.policy(wide)
		a := c.ask(shop, "web", 3, "security.nesting=true").settle()
		c.lxd.Refuse = func(what string) error {
			if what == "restart instance juju-web-0" {
				return errors.New("The instance will not stop")
			}
			return nil
		}
		a.askRestart(lxdprofile.Restart{ID: "r1", Batch: 2, WaitHealthy: lxdprofile.Duration(60 * time.Second)})
		c.hook()
		assert.Equal(t, lxdprofile.Progress{ID: "r1", State: lxdprofile.Failed, Message: "LXD refused: instance juju-web-0: The instance will not stop"}, untimed(a.answer().Restart))
		c.hook()
		assert.Empty(t, c.lxd.Restarts())
	})
	t.Run("not a request", func(t *testing.T) {
		c := newCluster(t)
		a := c.ask(shop, "web", 1, "limits.memory=1GiB").settle()
		for _, r := range []lxdprofile.Restart{{ID: "r1"}, {ID: "a b", Batch: 1}, {ID: "r2", Batch: -1}} {
			a.askRestart(r)
			c.hook()
			assert.Equal(t, lxdprofile.Failed, a.answer().Restart.State)
		}
	})
}

// LXD gives up on a restart now and then although the instance has been told to shut down: no container
// is left standing still because of that.
func TestLXDGivesUpOnARestart(t *testing.T) {
	for name, states := range map[string][]api.StatusCode{
		"it is on its way down": {api.Running},
		"it has stopped":        {api.Stopped},
		"again":                 {api.Running, api.Running, api.Stopped},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				c.policy(wide)
				a := c.ask(shop, "web", 1, "security.nesting=true").settle()
				c.lxd.GivesUp = states
				a.askRestart(lxdprofile.Restart{ID: "r1", Batch: 1})
				c.hook()
				assert.Equal(t, api.Running, c.lxd.Instances["juju-web-0"].StatusCode)
				assert.Equal(t, lxdprofile.Progress{ID: "r1", State: lxdprofile.Done}, a.answer().Restart)
				assert.Empty(t, a.state(0).Restart)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.policy(wide)
		a := c.ask(shop, "web", 1, "security.nesting=true").settle()
		c.lxd.GivesUp = slices.Repeat([]api.StatusCode{api.Running}, 100)
		a.askRestart(lxdprofile.Restart{ID: "r1", Batch: 1})
		c.hook()
		assert.Equal(t, lxdprofile.Failed, a.answer().Restart.State)
		assert.Contains(t, a.answer().Restart.Message, "LXD refused: instance juju-web-0: Failed shutting down instance")
		assert.Greater(t, len(c.lxd.GivesUp), 90, "it is not asked for ever")
	})
}

// A container that does not shut down holds a hook for ten seconds, not for two minutes. What LXD
// restarts is not changed meanwhile, and a later hook sees what became of it.
func TestARestartDoesNotHoldAHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.policy(wide)
		a := c.ask(shop, "web", 2, "security.nesting=true").settle()
		c.lxd.Writes = nil
		c.lxd.Hangs = map[string]bool{"juju-web-0": true}
		a.askRestart(lxdprofile.Restart{ID: "r1", Batch: 1, WaitHealthy: lxdprofile.Duration(60 * time.Second)})
		began := time.Now()
		c.hook()
		assert.LessOrEqual(t, time.Since(began), 15*time.Second)
		assert.Equal(t, lxdprofile.Progress{ID: "r1", State: lxdprofile.Running, Message: "LXD restarts sub-web/0"}, a.answer().Restart)

		began = time.Now()
		a.want("security.nesting=true", "limits.memory=1GiB")
		a.askRestart(lxdprofile.Restart{ID: "r1", Batch: 1, WaitHealthy: lxdprofile.Duration(60 * time.Second)})
		c.hook()
		c.hook()
		assert.Less(t, time.Since(began), time.Second)
		assert.Equal(t, []string{"juju-web-0"}, c.lxd.Restarts(), "no other, and not again")
		assert.NotContains(t, c.lxd.Profiles["dcib-shop-web"].Config, "limits.memory", "an update would end the restart half-way")

		c.lxd.Restarted("juju-web-0")
		a.boot(0)
		c.hook()
		assert.Equal(t, []string{"juju-web-0", "juju-web-1"}, c.lxd.Restarts())
		assert.Equal(t, "1GiB", c.lxd.Profiles["dcib-shop-web"].Config["limits.memory"])
		a.boot(1)
		c.hook()
		assert.Equal(t, lxdprofile.Done, a.answer().Restart.State)
		assert.Empty(t, c.lxd.Disturbed)
	})
}

// An instance that LXD has stopped, and not started again, is started by a later hook.
func TestAnInstanceIsNotLeftStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.policy(wide)
		a := c.ask(shop, "web", 1, "security.nesting=true").settle()
		c.lxd.Hangs = map[string]bool{"juju-web-0": true}
		a.askRestart(lxdprofile.Restart{ID: "r1", Batch: 1})
		c.hook()
		c.lxd.Stuck("juju-web-0")
		c.lxd.Instances["juju-web-0"].StatusCode = api.Stopped
		c.hook()
		assert.Equal(t, api.Stopped, c.lxd.Instances["juju-web-0"].StatusCode, "LXD may be about to start it")
		c.lxd.Now = c.lxd.Now.Add(time.Minute)
		c.hook()
		assert.Equal(t, api.Running, c.lxd.Instances["juju-web-0"].StatusCode)
		assert.Equal(t, lxdprofile.Done, a.answer().Restart.State)
	})
}

// What never shuts down fails the request, and the relation's next one has to wait, whatever it
// sends in between.
func TestOneFailedRestartAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.policy(wide)
		a := c.ask(shop, "web", 1, "security.nesting=true").settle()
		c.lxd.Writes = nil
		c.lxd.Hangs = map[string]bool{"juju-web-0": true}
		a.askRestart(lxdprofile.Restart{ID: "r1", Batch: 1, WaitHealthy: lxdprofile.Duration(60 * time.Second)})
		for range 2 {
			c.hook()
			assert.Equal(t, lxdprofile.Running, a.answer().Restart.State)
			c.lxd.Now = c.lxd.Now.Add(4 * time.Minute)
			c.lxd.Stuck("juju-web-0")
		}
		c.hook()
		assert.Equal(t, []string{"juju-web-0", "juju-web-0"}, c.lxd.Restarts(), "LXD is asked twice")
		assert.Equal(t, lxdprofile.Failed, a.answer().Restart.State)
		assert.Contains(t, a.answer().Restart.Message, "LXD has not restarted instance juju-web-0 of sub-web/0 within 3m0s")

		a.askRestart(lxdprofile.Restart{ID: "a b", Batch: 1})
		c.hook()
		for _, id := range []string{"r2", "r3"} {
			a.askRestart(lxdprofile.Restart{ID: id, Batch: 1})
			c.hook()
			assert.Contains(t, a.answer().Restart.Message, "because the last request failed")
			assert.Equal(t, lxdprofile.Running, a.answer().Restart.State)
		}
		assert.Len(t, c.lxd.Restarts(), 2)
		c.lxd.Now = c.lxd.Now.Add(5 * time.Minute)
		c.lxd.Hangs = nil
		c.hook()
		assert.Len(t, c.lxd.Restarts(), 3)
		assert.Equal(t, lxdprofile.Progress{ID: "r3", State: lxdprofile.Done}, a.answer().Restart)
	})
}

// Two subordinates on one application, and another application's unit beside: never two
// instances of an application at once.
func TestNeverTwoOfOneApplication(t *testing.T) {
	c := newCluster(t)
	c.policy(wide)
	web := c.ask(shop, "web", 2, "security.nesting=true").settle()
	other := c.ask(shop, "web", 0, "security.syscalls.intercept.mknod=true")
	other.name, other.app = "sub-other", other.app+"other"
	c.juju.Unrelate(other.relation)
	other.relation = c.juju.Relate("lxd-cluster:lxd-profile", other.app+":lxd-profile")
	other.relation.ID = 9
	other.want("security.syscalls.intercept.mknod=true")
	for i := range 2 {
		other.add(i)
		other.claims[i].Instance = web.claims[i].Instance
		other.say(i)
	}
	other.settle()
	c.lxd.Writes = nil
	web.askRestart(lxdprofile.Restart{ID: "r1", Batch: 1, WaitHealthy: lxdprofile.Duration(600 * time.Second)})
	other.askRestart(lxdprofile.Restart{ID: "r1", Batch: 1, WaitHealthy: lxdprofile.Duration(600 * time.Second)})
	c.hook()
	assert.Equal(t, []string{"juju-web-0"}, c.lxd.Restarts())
	assert.Equal(t, "not yet: sub-other/1 (juju-web-0 is being restarted)", other.answer().Restart.Message)
	web.boot(0)
	other.boot(0)
	c.hook()
	assert.Equal(t, []string{"juju-web-0", "juju-web-1"}, c.lxd.Restarts())
	web.boot(1)
	other.boot(1)
	c.hook()
	c.hook()
	assert.Equal(t, []string{"juju-web-0", "juju-web-1"}, c.lxd.Restarts(), "once for both")
	assert.Equal(t, lxdprofile.Done, web.answer().Restart.State)
	assert.Equal(t, lxdprofile.Done, other.answer().Restart.State)
}

// Whichever hook is killed at any point, no instance is restarted twice, and never two at once.
func TestCrashesInRestarts(t *testing.T) {
	crashtest.Check(t, func(run *crashtest.Run) any {
		c := newCluster(run)
		c.policy(wide)
		a := c.ask(shop, "web", 3, "security.nesting=true")
		for range 3 { // undisturbed
			c.hook()
			a.proveIfAsked()
		}
		c.lxd.Writes = nil
		c.lxd.Gate = run.Gate
		began := c.lxd.Now
		run.Always = func() {
			away := map[string]bool{}
			for i, claim := range a.claims {
				if c.lxd.Instances[claim.Instance].LastUsedAt.After(began) && a.claims[i].Started == "" {
					away[claim.Instance] = true
				}
			}
			require.LessOrEqual(run, len(away), 1, "%v at once", away)
			for _, claim := range a.claims {
				again := slices.DeleteFunc(c.lxd.Restarts(), func(name string) bool { return name != claim.Instance })
				require.LessOrEqual(run, len(again), 1, "restarted twice")
			}
		}
		a.askRestart(lxdprofile.Restart{ID: "r1", Batch: 1, WaitHealthy: lxdprofile.Duration(6000 * time.Second)})
		for range 12 {
			_ = crashtest.Hook(run, c.juju, c.charm(), c.event())
			// A note without a restart is taken for one that is under way, for some minutes.
			c.lxd.Now = c.lxd.Now.Add(4 * time.Minute)
			for i := range a.claims {
				if a.claims[i].Started == "" && c.lxd.Instances[a.claims[i].Instance].LastUsedAt.After(began) {
					a.boot(i)
				}
			}
		}
		require.Equal(run, []string{"juju-web-0", "juju-web-1", "juju-web-2"}, c.lxd.Restarts())
		return a.answer().Restart
	}, crashtest.Late, crashtest.Lost)
}

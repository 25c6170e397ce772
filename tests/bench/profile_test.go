//go:build box

package bench

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/tests/testbed"
)

// TestProfile changes the profile of an application of ten units: how long until the kernel
// holds all ten containers to the new limit, what Juju takes for one hook, and how often LXD's
// profile was written for it.
//
// Juju 4 looks for changes in a model the less often the longer it has been quiet there, from
// every 0.1 to every 10 seconds (juju 4.1-beta2, internal/changestream/stream/stream.go). The
// option is set in one model and the broker is in another: so a hook is timed in both, in the
// broker's after as long a silence as it has before the change.
func TestProfile(t *testing.T) {
	const units = 10
	box := testbed.New(t, "bench")
	box.DCIB(t, 25*time.Minute, "up")
	dir := t.TempDir()
	testbed.Run(t, testbed.PackTime, filepath.Join(box.Repo, "bin/dcib"), "pack", "--out", dir, filepath.Join(box.Repo, "tests/charms/idle"))
	box.Juju(t, "deploy", "-m", "machines", filepath.Join(dir, "idle.charm"), "idle", "-n", fmt.Sprint(units), "--base", "ubuntu@24.04")
	ask := box.Machines(t, "metal", app)[app+"/0"]
	box.StartAddressless(t, ask, "machines")
	box.WaitActive(t, "machines", "idle", units)
	set := func(mib int) {
		box.Juju(t, "config", "-m", "machines", "lxd-profile-sub", fmt.Sprintf("profile=config: {limits.memory: %dMiB}", mib))
	}
	box.Juju(t, "deploy", "-m", "machines", filepath.Join(box.Repo, "dist/lxd-profile-sub.charm"), "--base", "ubuntu@24.04")
	set(300)
	box.Juju(t, "consume", "-m", "machines", "admin/metal.lxd-profiles")
	box.Juju(t, "integrate", "-m", "machines", "lxd-profile-sub", "idle")
	box.Juju(t, "integrate", "-m", "machines", "lxd-profile-sub:lxd-profile", "lxd-profiles")
	var limits []testbed.Limit
	for _, container := range box.Machines(t, "machines", "idle") {
		limits = append(limits, testbed.LimitOf(t, container, "memory"))
	}
	inForce := func(mib int) (bool, string) {
		for _, limit := range limits {
			if is := limit.Read(t); is != int64(mib)<<20 {
				return false, fmt.Sprintf("%s: %d", limit.File, is)
			}
		}
		return true, ""
	}
	box.Eventually(t, 10*time.Minute, "the limit in every container", func() (bool, string) { return inForce(300) })

	brokers := ""
	for name, unit := range box.Status(t, "metal").Applications[app].Units {
		if unit.Leader {
			brokers = name
		}
	}
	quiet := func() (leader string) {
		box.Eventually(t, 5*time.Minute, "quiet", func() (bool, string) {
			for _, u := range box.Status(t, "machines").Applications["idle"].Units {
				for name, sub := range u.Subordinates {
					if sub.Agent.Current != "idle" || sub.Workload.Current != "active" {
						return false, name + " " + sub.Agent.Current + " " + sub.Workload.Message
					}
					if sub.Leader {
						leader = name
					}
				}
			}
			return leader != "", "no leader"
		})
		return leader
	}
	var rests []time.Duration
	for round, mib := range []int{400, 350, 420, 380, 440} {
		// What one hook takes: an option that changes nothing.
		time.Sleep(silence)
		box.Juju(t, "config", "-m", "metal", app, fmt.Sprintf("ceph-osd-replication-count=%d", 3+(round+1)%2))
		woken := ended(t, box, "metal", brokers, time.Now())
		box.WaitActive(t, "metal", app, 3)
		since := time.Now()
		leader := quiet()
		box.Juju(t, "config", "-m", "machines", "lxd-profile-sub", fmt.Sprintf("cephfs-user=u%d", round))
		latency := ended(t, box, "machines", leader, time.Now())

		quiet()
		time.Sleep(silence - time.Since(since))
		box.Inside(t, ask, "lxc monitor --type lifecycle --format json </dev/null >/tmp/events 2>&1 & echo $! >/tmp/monitor")
		set(mib)
		begin := time.Now()
		box.Await(t, 3*time.Minute, 20*time.Millisecond, "the new limit in every container", func() (bool, string) { return inForce(mib) })
		total := time.Since(begin)
		// LXD says so when it is done, which is after the kernel has it; and if there were
		// another write, it would come before all is quiet.
		quiet()
		box.Eventually(t, time.Minute, "LXD to say that the profile was written", func() (bool, string) {
			events := box.Inside(t, ask, "cat /tmp/events")
			return strings.Contains(events, "profile-updated"), events
		})
		box.Inside(t, ask, "kill $(cat /tmp/monitor)")
		writes := 0
		for line := range strings.Lines(box.Inside(t, ask, "cat /tmp/events")) {
			var event struct {
				Metadata struct{ Action string }
			}
			if json.Unmarshal([]byte(line), &event) == nil && event.Metadata.Action == "profile-updated" {
				writes++
			}
		}
		wrote := lastLogged(t, box, "metal", "write profile dcib-")
		rests = append(rests, total-woken)
		t.Logf("round %d: %d containers held to %d MiB %.2f s after the command; a hook that does nothing takes %.2f s in the broker's model: "+
			"%.2f s beyond it; and %.2f s here: %.2f s; the broker wrote after %.2f s; profile writes: %d",
			round+1, units, mib, total.Seconds(), woken.Seconds(), (total - woken).Seconds(),
			latency.Seconds(), (total - latency).Seconds(), wrote.Sub(begin).Seconds(), writes)
		require.Equal(t, 1, writes, "profile writes for %d units", units)
	}
	slices.Sort(rests)
	require.LessOrEqual(t, rests[len(rests)/2], 2*time.Second, "the median of what it takes beyond one hook")
	box.DCIB(t, 5*time.Minute, "down")
}

// silence is how long nothing happens in the broker's model before it is woken.
const silence = 10 * time.Second

// ended gives how long after a moment a unit of the model has ended a config-changed hook.
func ended(t *testing.T, box testbed.Box, model, unit string, since time.Time) (after time.Duration) {
	t.Helper()
	box.Eventually(t, time.Minute, unit+" to run a hook", func() (bool, string) {
		log := box.Juju(t, "debug-log", "-m", model, "--replay", "--no-tail", "--ms", "--date", "--utc", "--include", "unit-"+strings.ReplaceAll(unit, "/", "-"))
		for line := range strings.Lines(log) {
			if _, at, ok := stamp(line); ok && at.After(since) && strings.Contains(line, `ran "config-changed" hook`) {
				after = at.Sub(since)
				return true, ""
			}
		}
		return false, ""
	})
	return after
}

// lastLogged gives when a unit of the model last logged that it begins a step.
func lastLogged(t *testing.T, box testbed.Box, model, step string) time.Time {
	t.Helper()
	var last time.Time
	for line := range strings.Lines(box.Juju(t, "debug-log", "-m", model, "--replay", "--no-tail", "--ms", "--date", "--utc")) {
		if _, at, ok := stamp(line); ok && strings.Contains(line, step) {
			last = at
		}
	}
	require.False(t, last.IsZero(), "no unit of %s logged %q", model, step)
	return last
}

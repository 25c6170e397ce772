//go:build box

package bench

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/tests/testbed"
)

// TestProfile changes the profile of an application of ten units: how long until the kernel
// holds all ten containers to the new limit, what Juju takes for one hook on the same units,
// and how often LXD's profile was written for it.
//
// The change goes through two hooks, each in a model of its own, so each part is told apart. The
// second is called for by the first, see charms/lxd-cluster/notify.
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

	broker, _ := box.Leader(t, "metal", app)
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
	var rests, ours []time.Duration
	for round, mib := range []int{400, 350, 420, 380, 440} {
		// What one hook takes: an option that changes nothing, on the same ten units.
		leader := quiet()
		box.Juju(t, "config", "-m", "machines", "lxd-profile-sub", fmt.Sprintf("cephfs-user=u%d", round))
		began := time.Now()
		latency := hook(t, box, "machines", leader, "config-changed", began).ended.Sub(began)

		quiet()
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
		asked := hook(t, box, "machines", leader, "config-changed", begin)
		wrote := logged(t, box, "metal", broker, "write profile dcib-", asked.began)
		rests, ours = append(rests, total-latency), append(ours, begin.Add(total).Sub(asked.began))
		t.Logf("round %d: %d containers held to %d MiB %.2f s after the command, %.2f s beyond a hook that does nothing (%.2f s): "+
			"Juju begins the hook that asks after %.2f s, which takes %.2f s, the broker writes %.2f s later, and LXD has all in force %.2f s after that; profile writes: %d",
			round+1, units, mib, total.Seconds(), (total - latency).Seconds(), latency.Seconds(),
			asked.began.Sub(begin).Seconds(), asked.ended.Sub(asked.began).Seconds(), wrote.Sub(asked.ended).Seconds(),
			begin.Add(total).Sub(wrote).Seconds(), writes)
		require.Equal(t, 1, writes, "profile writes for %d units", units)
	}
	slices.Sort(rests)
	slices.Sort(ours)
	t.Logf("median: %.2f s beyond one hook; %.2f s from where the hook that asks begins", rests[len(rests)/2].Seconds(), ours[len(ours)/2].Seconds())
	require.LessOrEqual(t, rests[len(rests)/2], 2*time.Second, "the median of what it takes beyond one hook")
	require.LessOrEqual(t, ours[len(ours)/2], 2*time.Second, "the median of what both hooks, the way between them and LXD take")
	box.DCIB(t, 5*time.Minute, "down")
}

// logged returns when a unit first logged a line after a moment.
func logged(t *testing.T, box testbed.Box, model, unit, line string, since time.Time) (when time.Time) {
	t.Helper()
	box.Eventually(t, time.Minute, unit+" to log "+line, func() (bool, string) {
		for said := range strings.Lines(box.Juju(t, "debug-log", "-m", model, "--replay", "--no-tail", "--ms", "--date", "--utc")) {
			who, at, ok := stamp(said)
			if ok && !at.Before(since) && who == "unit-"+strings.ReplaceAll(unit, "/", "-")+":" && strings.Contains(said, line) {
				when = at
				return true, ""
			}
		}
		return false, ""
	})
	return when
}

// run is one run of a hook.
type run struct{ began, ended time.Time }

// hook returns a unit's first run of a hook that ended after a moment, by Juju's log.
func hook(t *testing.T, box testbed.Box, model, unit, name string, since time.Time) (r run) {
	t.Helper()
	begins := fmt.Sprintf("running %s hook", name)
	whose := regexp.MustCompile(`namespace_id:` + unit + `\b`)
	ends := fmt.Sprintf("ran %q hook", name)
	box.Eventually(t, time.Minute, unit+" to run "+name, func() (bool, string) {
		r = run{}
		log := box.Juju(t, "debug-log", "-m", model, "--replay", "--no-tail", "--ms", "--date", "--utc")
		for line := range strings.Lines(log) {
			who, at, ok := stamp(line)
			switch {
			case !ok || at.Before(since):
			case strings.Contains(line, begins) && whose.MatchString(line):
				r.began = at
			case strings.Contains(line, ends) && who == "unit-"+strings.ReplaceAll(unit, "/", "-")+":" && !r.began.IsZero():
				r.ended = at
				return true, ""
			}
		}
		return false, ""
	})
	return r
}

package drain_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/drain"
	draintest "github.com/dcib/dcib/internal/testkit/drain"
)

// drained is a cluster whose member pet was drained of web, on b, and db, on c, which ran.
func drained(t *testing.T) (*draintest.LXD, drain.Drainer) {
	t.Helper()
	lxd := draintest.New("pet", "b", "c")
	lxd.Add("web", "pet", true)
	lxd.Add("db", "pet", true)
	d := drainer(lxd)
	_, err := d.Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	require.Equal(t, "b", lxd.Find(ref("web")).Member)
	require.Equal(t, "c", lxd.Find(ref("db")).Member)
	return lxd, d
}

// stops counts how often an instance was stopped.
func stops(lxd *draintest.LXD, name string) int {
	n := 0
	for _, call := range lxd.Calls {
		if call == "stop "+name || call == "relocate "+name {
			n++
		}
	}
	return n
}

// An instance that cannot come back runs on where it is, and is not stopped again for each attempt.
func TestFailedReturnLeavesTheInstanceRunning(t *testing.T) {
	for _, inOne := range []bool{false, true} {
		t.Run(fmt.Sprintf("in one: %t", inOne), func(t *testing.T) {
			lxd, d := drained(t)
			lxd.Relocates = inOne
			now := noon
			d.Now = func() time.Time { return now }
			lxd.Fail = func(call string, r drain.Ref) error {
				if call == "move" && r.Name == "web" {
					return errors.New("volume already exists\non target")
				}
				return nil
			}
			web := lxd.Find(ref("web"))
			waits := func(min time.Duration) {
				t.Helper()
				before := stops(lxd, "web")
				for range 3 {
					_, err := d.Undrain(t.Context(), "pet")
					require.EqualError(t, err, "cannot bring all back to pet yet: the others are there, run undrain again later: "+
						"web: stays on b and runs: its move back failed (volume already exists on target), and it is tried again after "+now.Add(min).Format("2006-01-02 15:04 UTC"))
					require.True(t, web.Running)
					require.Equal(t, before, stops(lxd, "web"))
				}
			}

			_, err := d.Undrain(t.Context(), "pet")
			require.ErrorContains(t, err, "web: is still on b")
			require.True(t, web.Running, "it runs on where it is")
			require.Equal(t, "pet", lxd.Find(ref("db")).Member, "the others are back")
			require.Equal(t, drain.Online, lxd.Status("pet"))
			waits(5 * time.Minute)
			for _, next := range []time.Duration{10, 20, 40, 80, 160, 320, 360, 360} {
				now = now.Add(6 * time.Hour)
				before := stops(lxd, "web")
				_, err = d.Undrain(t.Context(), "pet")
				require.ErrorContains(t, err, "web: is still on b")
				require.Greater(t, stops(lxd, "web"), before, "it is tried again")
				require.True(t, web.Running)
				waits(next * time.Minute)
			}

			// An operator who asks for it does not wait.
			d.RetryNow, lxd.Fail = true, nil
			_, err = d.Undrain(t.Context(), "pet")
			require.NoError(t, err)
			require.Equal(t, "pet", web.Member)
			require.True(t, web.Running)
			require.Empty(t, lxd.Journal)
		})
	}
}

// What is known to keep an instance from coming back is reported before anything is stopped.
func TestReturnBlockersAreReportedBeforeAnyStop(t *testing.T) {
	for name, c := range map[string]struct {
		capacity drain.Capacity
		why      string
	}{
		"no pool":   {drain.Capacity{Pools: map[string]int64{"other": -1}}, "web: stays on b: pet has no storage pool local"},
		"no bridge": {drain.Capacity{Pools: map[string]int64{"local": -1}, HostResources: map[string]bool{}}, "web: stays on b: pet has no bridge br0"},
	} {
		t.Run(name, func(t *testing.T) {
			lxd, d := drained(t)
			web := lxd.Find(ref("web"))
			web.Requirements, web.HostDevices = drain.Requirements{Pool: "local"}, []drain.HostDevice{{Device: "nic eth0", Resource: "bridge br0"}}
			lxd.Capacity = map[string]drain.Capacity{"pet": c.capacity}
			before := stops(lxd, "web")
			_, err := d.Undrain(t.Context(), "pet")
			require.ErrorContains(t, err, c.why)
			require.Equal(t, before, stops(lxd, "web"))
			require.True(t, web.Running)
			require.Equal(t, "pet", lxd.Find(ref("db")).Member)

			lxd.Capacity = map[string]drain.Capacity{"pet": {Pools: map[string]int64{"local": -1}, HostResources: map[string]bool{"bridge br0": true}}}
			_, err = d.Undrain(t.Context(), "pet")
			require.NoError(t, err)
			require.Equal(t, "pet", web.Member)
			require.True(t, web.Running)
		})
	}
}

// The free space of a pool that was too full is checked before an instance is stopped for it again.
func TestFullPoolIsCheckedBeforeARetry(t *testing.T) {
	lxd, d := drained(t)
	now := noon
	d.Now = func() time.Time { return now }
	web := lxd.Find(ref("web"))
	web.Requirements = drain.Requirements{Pool: "local", Disk: 2 << 30}
	pool := func(free int64) {
		lxd.Capacity = map[string]drain.Capacity{"pet": {Pools: map[string]int64{"local": free}}}
	}
	pool(1 << 30) // what it may use is not what it uses: it may go well
	lxd.Fail = func(call string, r drain.Ref) error {
		if call == "move" && r.Name == "web" {
			return errors.New("no space left on device")
		}
		return nil
	}
	_, err := d.Undrain(t.Context(), "pet")
	require.ErrorContains(t, err, "no space left on device")
	before := stops(lxd, "web")
	now = now.Add(99 * time.Hour)
	d.RetryNow = false
	_, err = d.Undrain(t.Context(), "pet")
	require.ErrorContains(t, err, "web: stays on b and runs: its move back failed (no space left on device), and pet has 1GiB free in pool local")
	require.Equal(t, before, stops(lxd, "web"))
	pool(3 << 30)
	lxd.Fail = nil
	_, err = d.Undrain(t.Context(), "pet")
	require.NoError(t, err)
	require.Equal(t, "pet", web.Member)
}

// Nothing is concluded about an instance on a member that is Offline; the others come back.
func TestUndrainWhileAMemberIsOffline(t *testing.T) {
	for _, skips := range []bool{true, false} {
		t.Run(fmt.Sprintf("restore can skip instances: %t", skips), func(t *testing.T) {
			lxd, d := drained(t)
			lxd.RestoresWithoutInstances = skips
			d.RetryNow = true
			lxd.SetStatus("b", drain.Offline)
			plan := drain.PlanUndrain(observe(t, lxd), "pet")
			require.NoError(t, plan.Err())
			require.Contains(t, plan.String(), "web: is on b, whose LXD does not answer: it comes back once it does")
			for range 2 {
				_, err := d.Undrain(t.Context(), "pet")
				require.ErrorContains(t, err, "pet")
				db := lxd.Find(ref("db"))
				require.Equal(t, "pet", db.Member)
				require.True(t, db.Running)
				if skips {
					require.ErrorContains(t, err, "web: is on b")
					require.Equal(t, drain.Online, lxd.Status("pet"))
					require.NotContains(t, lxd.Calls, "restore pet")
				}
				require.Equal(t, 1, stops(lxd, "db"), "it comes back once")
			}
			lxd.SetStatus("b", drain.Online)
			_, err := d.Undrain(t.Context(), "pet")
			require.NoError(t, err)
			web := lxd.Find(ref("web"))
			require.Equal(t, "pet", web.Member)
			require.True(t, web.Running, "it ran all the time")
			require.Empty(t, web.Origin)
			require.Empty(t, lxd.Journal)
			require.Equal(t, drain.Online, lxd.Status("pet"))
		})
	}
}

// A drain for a window that opens before an undrain has completed resumes from there.
func TestDrainAfterAnIncompleteUndrain(t *testing.T) {
	lxd, d := drained(t)
	lxd.RestoresWithoutInstances = true
	lxd.SetStatus("b", drain.Offline)
	_, err := d.Undrain(t.Context(), "pet")
	require.ErrorContains(t, err, "web: is on b")
	_, err = d.Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	require.Equal(t, drain.Evacuated, lxd.Status("pet"))
	require.Equal(t, "c", lxd.Find(ref("db")).Member)
	require.True(t, lxd.Find(ref("db")).Running)

	lxd.SetStatus("b", drain.Online)
	_, err = d.Undrain(t.Context(), "pet")
	require.NoError(t, err)
	for _, name := range []string{"web", "db"} {
		require.Equal(t, "pet", lxd.Find(ref(name)).Member)
		require.True(t, lxd.Find(ref(name)).Running)
	}
}

// A member whose LXD does not report the state of its instances is not drained or undrained.
func TestUnobservedInstancesBlockTheMember(t *testing.T) {
	view := drain.View{
		Members:   []drain.Member{{Name: "pet", Status: drain.Online}, {Name: "b", Status: drain.Online}},
		Instances: []drain.Instance{{Ref: ref("web"), Member: "pet", Unobserved: true}},
	}
	const why = "its LXD does not report the state of web"
	require.ErrorContains(t, drain.PlanDrain(view, "pet", true).Err(), why)
	require.ErrorContains(t, drain.PlanUndrain(view, "pet").Err(), why)
	require.ErrorContains(t, drain.PlanRemoval(view, "pet").Err(), why)
}

// TestLXDOrClientLostAtEachCall kills the LXD of a member, or the client, before each call of a drain and
// of an undrain, and restarts it once that has failed. No instance is lost, what ran runs, and all are on
// their member in the end.
func TestLXDOrClientLostAtEachCall(t *testing.T) {
	type loss struct {
		what string
		at   func(*draintest.LXD)
		back func(*draintest.LXD)
	}
	offline := func(member string) loss {
		status := drain.Online
		return loss{"LXD on " + member, func(lxd *draintest.LXD) {
			status = lxd.Status(member)
			lxd.SetStatus(member, drain.Offline)
		}, func(lxd *draintest.LXD) {
			if lxd.Status(member) == drain.Offline {
				lxd.SetStatus(member, status)
			}
		}}
	}
	killed := loss{"the client", func(lxd *draintest.LXD) { lxd.CallsLeft = 0 }, func(lxd *draintest.LXD) { lxd.CallsLeft = -1 }}
	for _, lost := range []loss{offline("pet"), offline("b"), offline("c"), killed} {
		for _, verb := range []string{"drain", "undrain"} {
			for _, slots := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s during %s, slots %t", lost.what, verb, slots), func(t *testing.T) {
					for at := 1; ; at++ {
						require.Less(t, at, 500)
						lxd := draintest.New("pet", "b", "c")
						for n := range 4 {
							lxd.Add(fmt.Sprintf("c%d", n), "pet", n != 3)
						}
						lxd.Instance[0].CloudInitID, lxd.Instance[0].Frozen = "first", true
						lxd.Instance[1].CloudInitID = "second"
						lxd.Instance[3].CloudInitID = "fourth"
						lxd.Relocates = slots
						d := drainer(lxd)
						d.RetryNow = true
						if slots {
							d.Limiter = drain.NewMoveLimiter(1, 0)
						}
						run := func(verb string) error {
							if verb == "drain" {
								_, err := d.Drain(t.Context(), "pet", false)
								return err
							}
							_, err := d.Undrain(t.Context(), "pet")
							return err
						}
						if verb == "undrain" {
							require.NoError(t, run("drain"))
						}
						first, hit := 0, false
						lxd.BeforeCall = func(calls int) {
							if first == 0 {
								first = calls
							}
							if calls-first+1 == at {
								hit = true
								lost.at(lxd)
							}
						}
						err := run(verb)
						lxd.BeforeCall = nil
						if !hit {
							require.NoError(t, err)
							break
						}
						lost.back(lxd)
						for try := 0; ; try++ {
							if err = run(verb); err == nil {
								break
							}
							require.Less(t, try, 3, "%s at %d: %v", verb, at, err)
						}
						if verb == "drain" {
							require.NoError(t, run("undrain"))
						}
						require.Len(t, lxd.Instance, 4)
						for n, i := range lxd.Instance {
							require.Equal(t, "pet", i.Member, "%s at %d: %s\n%s", verb, at, i.Ref, strings.Join(lxd.Calls, "\n"))
							require.Equal(t, n != 3, i.Running, "%s at %d: %s\n%s", verb, at, i.Ref, strings.Join(lxd.Calls, "\n"))
							require.Equal(t, n == 0, i.Frozen, "%s at %d: %s\n%s", verb, at, i.Ref, strings.Join(lxd.Calls, "\n"))
							require.Equal(t, []string{"first", "second", "", "fourth"}[n], i.CloudInitID, "%s at %d: %s\n%s", verb, at, i.Ref, strings.Join(lxd.Calls, "\n"))
						}
						if slots && lost.what == killed.what {
							for _, boot := range lxd.Starts {
								require.Contains(t, []string{"c0 first", "c1 second", "c2 "}, boot, "%s at %d\n%s", verb, at, strings.Join(lxd.Calls, "\n"))
							}
						}
						require.Empty(t, lxd.Journal)
					}
				})
			}
		}
	}
}

package drain_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dcib/dcib/internal/drain"
	draintest "github.com/dcib/dcib/internal/testkit/drain"
)

var onBr0 = []drain.HostDevice{{Device: "nic eth0", Resource: "bridge br0"}}

// bridged is a cluster of those members; the hosts of some have the bridge br0.
func bridged(members []string, with ...string) *draintest.LXD {
	lxd := draintest.New(members...)
	lxd.Capacity = map[string]drain.Capacity{}
	for _, name := range members {
		lxd.Capacity[name] = drain.Capacity{HostResources: map[string]bool{}}
	}
	for _, name := range with {
		lxd.Capacity[name].HostResources["bridge br0"] = true
	}
	return lxd
}

func observeWithCapacity(t require.TestingT, lxd *draintest.LXD) drain.View {
	view, err := drain.ObserveWithCapacity(context.Background(), lxd, lxd, "pet")
	require.NoError(t, err)
	return view
}

// An instance on a bridge of the host moves to a member that has the bridge, with or without a limiter,
// and back; LXD's evacuation, which would stop it, has nothing left to do.
func TestInstancesOnAHostBridgeMove(t *testing.T) {
	for _, slots := range []bool{true, false} {
		t.Run(fmt.Sprintf("slots=%t", slots), func(t *testing.T) {
			lxd := bridged([]string{"pet", "b", "c"}, "pet", "b")
			for _, policy := range []string{"", "auto", "migrate"} {
				i := lxd.Add("web"+policy, "pet", true)
				i.HostDevices, i.Evacuate = onBr0, policy
			}
			lxd.Add("idle", "pet", false).HostDevices = onBr0
			lxd.Instance[0].Requirements.Memory = gib // more than is free
			for name, capacity := range lxd.Capacity {
				capacity.Memory = 2 * gib
				lxd.Capacity[name] = capacity
			}
			for n := range 3 {
				lxd.Add(fmt.Sprintf("b%d", n), "b", true) // else c would not have the fewest
			}
			d := drainer(lxd)
			if slots {
				d.Limiter = drain.NewMoveLimiter(1, 0)
			}
			plan := drain.PlanDrain(observeWithCapacity(t, lxd), "pet", false)
			require.NoError(t, plan.Err())
			require.Contains(t, plan.String(), "warning web: moves to another member, which may be too full for all that its limits let it use: b has 0B of memory free; not to c, which has no bridge br0")
			require.Contains(t, plan.String(), "okay    webauto: stops, moves to another member and starts there; not to c, which has no bridge br0")
			require.Contains(t, plan.String(), "okay    idle: moves to another member, stopped as it is; not to c")

			report, err := d.Drain(t.Context(), "pet", false)
			require.NoError(t, err)
			require.Equal(t, []string{"web: pet → b (running)", "webauto: pet → b (running)", "webmigrate: pet → b (running)", "idle: pet → b (stopped)"}, moves(report))
			require.Equal(t, "evacuate pet", lxd.Calls[len(lxd.Calls)-1], "nothing is left to do after it")
			_, err = d.Undrain(t.Context(), "pet")
			require.NoError(t, err)
			for _, i := range lxd.Instance {
				require.Equal(t, i.Name[0] != 'b', i.Member == "pet", i.Name)
				require.Equal(t, i.Name != "idle", i.Running, i.Name)
			}
		})
	}
}

// Where no other member has the bridge, or could be asked for it, the instance cannot move, and the reason
// names device, bridge and members.
func TestHostBridgeThatNoOtherMemberHas(t *testing.T) {
	lxd := bridged([]string{"pet", "b", "c"}, "pet")
	lxd.Capacity["c"] = drain.Capacity{}
	lxd.Add("web", "pet", true).HostDevices = onBr0
	_, err := drainer(lxd).Drain(t.Context(), "pet", false)
	require.ErrorContains(t, err, "web: nic eth0 uses bridge br0 of the host, and b has no bridge br0, c could not be asked whether it has bridge br0; force=true")
	require.Empty(t, lxd.Calls)
	_, err = drainer(lxd).DrainForRemoval(t.Context(), "pet")
	require.ErrorContains(t, err, "b has no bridge br0")
	require.Empty(t, lxd.Calls)

	_, err = drainer(lxd).Drain(t.Context(), "pet", true)
	require.NoError(t, err)
	require.Equal(t, "pet", lxd.Find(ref("web")).Member)
	require.False(t, lxd.Find(ref("web")).Running)
	_, err = drainer(lxd).Undrain(t.Context(), "pet")
	require.NoError(t, err)
	require.True(t, lxd.Find(ref("web")).Running)
}

func TestRemovalWithAHostBridge(t *testing.T) {
	lxd := bridged([]string{"pet", "b", "c"}, "pet", "c")
	lxd.Add("web", "pet", true).HostDevices = onBr0
	lxd.Add("idle", "pet", false).HostDevices = onBr0
	lxd.Add("busy", "c", true)
	_, err := drainer(lxd).DrainForRemoval(t.Context(), "pet")
	require.NoError(t, err)
	for _, i := range lxd.Instance {
		require.Equal(t, "c", i.Member)
		require.Equal(t, i.Name != "idle", i.Running)
	}
}

// No ephemeral instance is left to an evacuation that would stop, and thereby delete, it.
func TestEphemeralInstanceOnAHostBridge(t *testing.T) {
	lxd := bridged([]string{"pet", "b"}, "pet", "b")
	runner := lxd.Add("runner", "pet", true)
	runner.HostDevices, runner.Ephemeral, runner.LiveMovable = onBr0, true, true
	require.Equal(t, []drain.Ref{ref("runner")}, observeWithCapacity(t, lxd).DeletedByEvacuation("pet"))
	_, err := drainer(lxd).Drain(t.Context(), "pet", false)
	require.ErrorContains(t, err, "runner: is ephemeral")
	_, err = drainer(lxd).DrainForRemoval(t.Context(), "pet")
	require.ErrorContains(t, err, "is ephemeral")
	require.Empty(t, lxd.Calls)

	// LXD moves what is on a bridge that it manages.
	lxd.Capacity["pet"] = drain.Capacity{HostResources: lxd.Capacity["pet"].HostResources, ManagedResources: lxd.Capacity["pet"].HostResources}
	require.Empty(t, observeWithCapacity(t, lxd).DeletedByEvacuation("pet"))
}

// A plan never moves an instance to a member that lacks what its devices use.
func TestTargetsHaveTheHostResources(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := []string{"pet", "b", "c", "d"}
		things := []string{"bridge br0", "bridge br1", "gpu 10de:1eb8"}
		lxd := bridged(members)
		for _, m := range members {
			for _, thing := range things {
				if m == "pet" || rapid.Bool().Draw(t, m+" has "+thing) {
					lxd.Capacity[m].HostResources[thing] = true
				}
			}
		}
		for n := range rapid.IntRange(1, 6).Draw(t, "instances") {
			i := lxd.Add(fmt.Sprintf("c%d", n), "pet", rapid.Bool().Draw(t, "runs"))
			i.Evacuate = rapid.SampledFrom([]string{"", "auto", "stop"}).Draw(t, "evacuate")
			i.LiveMovable = rapid.Bool().Draw(t, "live")
			for _, thing := range things {
				if rapid.IntRange(0, 2).Draw(t, "uses "+thing) == 0 {
					i.HostDevices = append(i.HostDevices, drain.HostDevice{Device: "device " + thing, Resource: thing})
				}
			}
		}
		d := drainer(lxd)
		if rapid.Bool().Draw(t, "slots") {
			d.Limiter = drain.NewMoveLimiter(1, 0)
		}
		_, err := d.Drain(t.Context(), "pet", true)
		require.NoError(t, err)
		for _, i := range lxd.Instance {
			for _, use := range i.HostDevices {
				require.True(t, lxd.Capacity[i.Member].HostResources[use.Resource], "%s on %s", i.Ref, i.Member)
			}
		}
	})
}

// Instances that are moved before an evacuation run, and are in their group, wherever the client is killed
// and the move is resumed or undone; no record of it is left.
func TestMoveBeforeEvacuationKilledAtEachCall(t *testing.T) {
	for _, undone := range []bool{false, true} {
		for life := range 40 {
			lxd := bridged([]string{"pet", "b", "c"}, "pet", "b")
			lxd.Member[1].Groups = []string{"web"}
			lxd.Add("web", "pet", true).HostDevices = onBr0
			lxd.Add("idle", "pet", false).HostDevices = onBr0
			lxd.Add("free", "pet", true)
			lxd.Instance[0].Group = "web"
			d := drainer(lxd)
			move := func() error { return d.MoveBeforeEvacuation(t.Context(), observeWithCapacity(t, lxd), "pet") }
			view := observeWithCapacity(t, lxd)
			lxd.CallsLeft = life
			_ = d.MoveBeforeEvacuation(t.Context(), view, "pet")
			lxd.CallsLeft = -1
			home := "b"
			if undone {
				if len(lxd.Journal) == 0 {
					continue // it had not begun, or was over
				}
				_, err := d.Undrain(t.Context(), "pet")
				require.NoError(t, err)
				home = "pet"
			} else {
				require.NoError(t, move())
			}
			require.Empty(t, lxd.Journal)
			require.Zero(t, lxd.Evacuations)
			for _, i := range lxd.Instance {
				require.Equal(t, i.Name != "idle", i.Running, "%s after %d calls", i.Ref, life)
				if i.Name != "free" {
					require.Equal(t, home, i.Member, "%s after %d calls", i.Ref, life)
				}
			}
			require.Equal(t, "web", lxd.Instance[0].Group, "after %d calls", life)
		}
	}
}

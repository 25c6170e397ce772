package drain_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/drain"
	draintest "github.com/dcib/dcib/internal/testkit/drain"
)

const gib = 1 << 30

// An instance that no other member can run within its limits is not moved, and nothing is changed; the
// reason names what each has, and the parameter that overrides it.
func TestCapacityElsewhere(t *testing.T) {
	for name, test := range map[string]struct {
		needs   drain.Requirements
		verdict drain.Verdict
		says    string
	}{
		"all there":    {drain.Requirements{Memory: 4 * gib, CPUs: 4, Pool: "local", Disk: 10 * gib}, drain.Okay, "stops, moves to another member and starts there"},
		"no limits":    {drain.Requirements{}, drain.Okay, ""},
		"memory":       {drain.Requirements{Memory: 64 * gib}, drain.Error, "b has 32GiB of memory, not 64GiB, c has 16GiB of memory, not 64GiB; force=true moves it all the same"},
		"processors":   {drain.Requirements{CPUs: 16}, drain.Error, "b has 8 processors, not 16, c has 4 processors, not 16; force=true"},
		"pool":         {drain.Requirements{Pool: "fast"}, drain.Error, "b has no storage pool fast, c has no storage pool fast; force=true"},
		"one lacks it": {drain.Requirements{Memory: 20 * gib, CPUs: 8}, drain.Warning, "b has 12GiB of memory free, c has"},
		"memory free":  {drain.Requirements{Memory: 14 * gib}, drain.Warning, "may be too full for all that its limits let it use: b has 12GiB of memory free, c has 8GiB of memory free"},
		"pool's space": {drain.Requirements{Pool: "local", Disk: 200 * gib}, drain.Warning, "b has 100GiB free in pool local, c has 50GiB free in pool local"},
	} {
		t.Run(name, func(t *testing.T) {
			lxd := draintest.New("pet", "b", "c")
			lxd.Add("c1", "pet", true).Requirements = test.needs
			lxd.Capacity = map[string]drain.Capacity{
				"b": {Memory: 32 * gib, FreeMemory: 12 * gib, CPUs: 8, Pools: map[string]int64{"local": 100 * gib}},
				"c": {Memory: 16 * gib, FreeMemory: 8 * gib, CPUs: 4, Pools: map[string]int64{"local": 50 * gib}},
			}
			view, err := drain.ObserveWithCapacity(t.Context(), lxd, lxd, "pet")
			require.NoError(t, err)
			plan := drain.PlanDrain(view, "pet", false)
			require.Equal(t, test.verdict, plan.Items[0].Verdict, plan.Items[0].Reason)
			require.Contains(t, plan.Items[0].Reason, test.says)

			_, err = drainer(lxd).Drain(t.Context(), "pet", false)
			if test.verdict == drain.Error {
				require.ErrorContains(t, err, test.says)
				require.Empty(t, lxd.Calls)
				require.Empty(t, lxd.Journal)
				_, err = drainer(lxd).Drain(t.Context(), "pet", true)
			}
			require.NoError(t, err)
			require.NotEqual(t, "pet", lxd.Find(ref("c1")).Member)
			require.True(t, lxd.Find(ref("c1")).Running)
		})
	}
}

// A stopped instance requires a pool, and no memory.
func TestCapacityForStoppedInstances(t *testing.T) {
	lxd := draintest.New("pet", "b")
	lxd.Add("c1", "pet", false).Requirements = drain.Requirements{Memory: 64 * gib, Pool: "local"}
	lxd.Capacity = map[string]drain.Capacity{"b": {Memory: gib, Pools: map[string]int64{"local": -1}}}
	_, err := drainer(lxd).Drain(t.Context(), "pet", false)
	require.NoError(t, err)

	lxd = draintest.New("pet", "b")
	lxd.Add("c1", "pet", false).Requirements.Pool = "local"
	lxd.Capacity = map[string]drain.Capacity{"b": {Pools: map[string]int64{}}}
	_, err = drainer(lxd).Drain(t.Context(), "pet", false)
	require.ErrorContains(t, err, "b has no storage pool local")
}

// Each instance goes where it fits, though another member has fewer instances.
func TestCapacityDecidesTheTarget(t *testing.T) {
	lxd := draintest.New("pet", "b", "c")
	lxd.Add("small", "pet", true).Requirements.Memory = gib
	lxd.Add("large", "pet", true).Requirements.Memory = 20 * gib
	lxd.Add("busy", "b", true)
	lxd.Add("busier", "b", true)
	lxd.Capacity = map[string]drain.Capacity{"b": {Memory: 32 * gib, FreeMemory: 24 * gib}, "c": {Memory: 16 * gib, FreeMemory: 16 * gib}}
	d := drainer(lxd)
	d.Limiter = drain.NewMoveLimiter(1, 0)
	_, err := d.Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	require.Equal(t, "b", lxd.Find(ref("large")).Member)
	require.Equal(t, "c", lxd.Find(ref("small")).Member)
}

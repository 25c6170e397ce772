package drain_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dcib/dcib/internal/drain"
	draintest "github.com/dcib/dcib/internal/testkit/drain"
)

// crowded is a cluster whose members have that many GiB and processors, with three plain instances on pet.
func crowded(pet, others int64) *draintest.LXD {
	lxd := draintest.New("pet", "b", "c")
	capacity := func(n int64) drain.Capacity {
		return drain.Capacity{Memory: n * gib, FreeMemory: n * gib, CPUs: int(n), Pools: map[string]int64{"local": 100 * gib}, HostResources: map[string]bool{}}
	}
	lxd.Capacity = map[string]drain.Capacity{"pet": capacity(pet), "b": capacity(others), "c": capacity(others)}
	lxd.Capacity["pet"].HostResources["bridge br0"] = true
	lxd.Capacity["pet"].Pools["no such"] = 100 * gib // elsewhere
	for n := range 3 {
		lxd.Add(fmt.Sprintf("plain%d", n), "pet", true)
	}
	return lxd
}

// extremes are the options that the owner of an instance can set, each at its extreme. Ended is true
// where the pet becomes empty if its operator allows to stop the instance.
var extremes = map[string]struct {
	set   func(*drain.Instance)
	ended bool
}{
	"limits.cpu":                {func(i *drain.Instance) { i.Requirements.CPUs = math.MaxInt32 }, true},
	"limits.memory":             {func(i *drain.Instance) { i.Requirements.Memory = math.MaxInt64 }, true},
	"size of its root":          {func(i *drain.Instance) { i.Requirements.Pool, i.Requirements.Disk = "local", math.MaxInt64 }, true},
	"pool of its root":          {func(i *drain.Instance) { i.Requirements.Pool = "no such" }, false},
	"cluster.evacuate=stop":     {func(i *drain.Instance) { i.Evacuate = "stop" }, true},
	"cluster.evacuate=migrate":  {func(i *drain.Instance) { i.Evacuate = "migrate" }, true},
	"cluster.evacuate, unknown": {func(i *drain.Instance) { i.Evacuate = "never" }, true},
	"migration.stateful":        {func(i *drain.Instance) { i.LiveMovable = true }, true},
	"live-migrate with a device": {func(i *drain.Instance) {
		i.LiveMovable, i.Evacuate, i.LocalDevices = true, "live-migrate", []string{"gpu gpu"}
	}, true},
	"ephemeral":                   {func(i *drain.Instance) { i.Ephemeral = true }, false},
	"ephemeral and tied":          {func(i *drain.Instance) { i.Ephemeral, i.LocalDevices = true, []string{"gpu gpu"} }, false},
	"a device":                    {func(i *drain.Instance) { i.LocalDevices = []string{"disk data"} }, true},
	"many devices":                {func(i *drain.Instance) { i.LocalDevices = strings.Split(strings.Repeat("disk d,", 1000), ",") }, true},
	"a bridge that is nowhere":    {func(i *drain.Instance) { i.HostDevices = onBr0 }, true},
	"the same, and migrate":       {func(i *drain.Instance) { i.HostDevices, i.Evacuate = onBr0, "migrate" }, false},
	"architecture":                {func(i *drain.Instance) { i.Architecture = "s390x" }, true},
	"name":                        {func(i *drain.Instance) { i.Name = strings.Repeat("\n", 63) }, true},
	"volatile.evacuate.origin":    {func(i *drain.Instance) { i.Origin = "pet" }, true},
	"volatile.last_state.power":   {func(i *drain.Instance) { i.ShouldRun = false }, true},
	"volatile.uuid of another":    {func(i *drain.Instance) { i.ID = "id-plain0-0" }, true},
	"no volatile.uuid":            {func(i *drain.Instance) { i.ID = "" }, true},
	"boot.autostart, after stop":  {func(i *drain.Instance) { i.Running, i.ShouldRun = false, true }, true},
	"project of the default name": {func(i *drain.Instance) { i.Project = "" }, true},
}

// No instance keeps a pet from its owner: whatever the instance's owner sets, the others leave for a
// window, and where the operator allows to stop it, all do but what would be lost. It is named, and runs
// on.
func TestNoInstanceKeepsTheOthersFromMoving(t *testing.T) {
	for name, extreme := range extremes {
		for _, stop := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, stop=%t", name, stop), func(t *testing.T) {
				lxd := crowded(16, 16)
				odd := lxd.Add("odd", "pet", true)
				extreme.set(odd)
				ran := odd.Running
				for _, i := range lxd.Instance {
					i.MayStop = stop
				}
				d := drainer(lxd)
				d.Limiter, d.Partial = drain.NewMoveLimiter(1, 0), true
				before := observeWithCapacity(t, lxd)
				plan := drain.PlanDrain(before, "pet", false)
				require.NoError(t, plan.Startable(true))
				report, err := d.Drain(t.Context(), "pet", false)
				for _, i := range lxd.Instance {
					if i != odd {
						require.NotEqual(t, "pet", i.Member, "%s", i.Ref)
						require.True(t, i.Running, "%s", i.Ref)
					}
				}
				if stop && extreme.ended {
					require.NoError(t, err)
				}
				if err == nil {
					require.Equal(t, drain.Evacuated, lxd.Status("pet"))
					require.False(t, odd.Member == "pet" && odd.Running)
				} else {
					require.ErrorIs(t, err, drain.ErrPartial)
					require.ErrorContains(t, err, odd.Ref.String())
					require.Equal(t, "pet", odd.Member)
					require.Equal(t, ran, odd.Running)
					require.Equal(t, drain.Online, lxd.Status("pet"))
					require.Equal(t, "manual", lxd.Member[0].Scheduler, "nothing new is placed there")
					require.Equal(t, []drain.Ref{odd.Ref}, observe(t, lxd).KeptRunning("pet"))
				}
				require.Len(t, report.Moves, 4)

				_, err = d.Undrain(t.Context(), "pet")
				require.NoError(t, err)
				require.Empty(t, lxd.Journal)
				for _, i := range lxd.Instance {
					require.Equal(t, "pet", i.Member, "%s", i.Ref)
					require.Equal(t, i != odd || ran, i.Running, "%s", i.Ref)
				}
			})
		}
	}
}

// What keeps a pet from being empty is evaluated again each time, and the drain completes once it can.
func TestPartialDrainIsResumed(t *testing.T) {
	lxd := crowded(16, 16)
	lxd.Instance[0].Evacuate = "stop"
	tied := lxd.Add("tied", "pet", true)
	tied.LocalDevices = []string{"disk data"}
	d := drainer(lxd)
	d.Partial = true
	for range 3 {
		_, err := d.Drain(t.Context(), "pet", false)
		require.ErrorIs(t, err, drain.ErrPartial)
		require.ErrorContains(t, err, "cannot drain pet: the others have moved, these run on: tied: is tied to this member by disk data; force=true")
	}
	require.Zero(t, lxd.Evacuations)
	require.False(t, lxd.Find(ref("plain0")).Running, "what says so is stopped all the same")
	lxd.Add("new", "pet", true)
	tied.LocalDevices = nil
	_, err := d.Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	require.Equal(t, drain.Evacuated, lxd.Status("pet"))
	_, err = d.Undrain(t.Context(), "pet")
	require.NoError(t, err)
	for _, i := range lxd.Instance {
		require.Equal(t, "pet", i.Member)
		require.True(t, i.Running, "%s", i.Ref)
	}

	tied.LocalDevices = []string{"disk data"}
	d.Partial = false
	calls := len(lxd.Calls)
	_, err = d.Drain(t.Context(), "pet", false)
	require.ErrorContains(t, err, "nothing was changed")
	require.Len(t, lxd.Calls, calls)
}

// A failure of the others' moves is reported as in any drain.
func TestPartialDrainThatFails(t *testing.T) {
	lxd := crowded(16, 16)
	lxd.Add("tied", "pet", true).LocalDevices = []string{"disk data"}
	lxd.Fail = func(call string, r drain.Ref) error {
		if call == "move" && r.Name == "plain1" {
			return errors.New("pool is full")
		}
		return nil
	}
	d := drainer(lxd)
	d.Partial = true
	_, err := d.Drain(t.Context(), "pet", false)
	require.ErrorContains(t, err, "plain1: is still on pet: ")
	require.ErrorContains(t, err, "pool is full")
	require.NotContains(t, err.Error(), "tied")
	for _, i := range lxd.Instance {
		require.True(t, i.Running, "%s", i.Ref)
	}
}

// A limit above what the member has requires no more than that elsewhere; a limit that the member has and
// no other member has needs force, or the pet's operator to allow it.
func TestLimitsRequireNoMoreThanTheMemberHas(t *testing.T) {
	for _, c := range []struct {
		here, there int64
		verdict     drain.Verdict
	}{{16, 16, drain.Okay}, {8, 16, drain.Okay}, {64, 16, drain.Error}} {
		lxd := crowded(c.here, c.there)
		odd := lxd.Add("odd", "pet", true)
		odd.Requirements = drain.Requirements{Memory: math.MaxInt64, CPUs: math.MaxInt32}
		item := drain.PlanDrain(observeWithCapacity(t, lxd), "pet", false).Items[3]
		require.Equal(t, c.verdict, item.Verdict, item.Reason)
		if c.verdict != drain.Error {
			continue
		}
		odd.MayStop = true
		item = drain.PlanDrain(observeWithCapacity(t, lxd), "pet", false).Items[3]
		require.Equal(t, drain.Warning, item.Verdict)
		require.Contains(t, item.Reason, "moves to another member, as the pet's unmovable says, though none can run it")
		// It goes, and where it cannot start there it is no failure, and runs again at home.
		lxd.Fail = func(call string, r drain.Ref) error {
			if call == "start" && odd.Member != "pet" && r == odd.Ref {
				return errors.New("cannot allocate memory")
			}
			return nil
		}
		d := drainer(lxd)
		d.Limiter = drain.NewMoveLimiter(1, 0)
		_, err := d.Drain(t.Context(), "pet", false)
		require.NoError(t, err)
		require.False(t, odd.Running)
		_, err = d.Undrain(t.Context(), "pet")
		require.NoError(t, err)
		require.Equal(t, "pet", odd.Member)
		require.True(t, odd.Running)
	}
}

// drawn sets options that an instance's owner can set.
func drawn(t *rapid.T, i *drain.Instance) {
	keys := []string{"plain"}
	for name := range extremes {
		if !strings.HasPrefix(name, "name") && !strings.HasPrefix(name, "project") && !strings.HasPrefix(name, "volatile.uuid") {
			keys = append(keys, name)
		}
	}
	for range 2 {
		if key := rapid.SampledFrom(slices.Sorted(slices.Values(keys))).Draw(t, "key"); key != "plain" {
			extremes[key].set(i)
		}
	}
}

// The options of one instance change nothing in the plan of another, and the same view has the same plan.
func TestPlansOfInstancesAreIndependent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lxd := crowded(rapid.Int64Range(1, 64).Draw(t, "pet"), rapid.Int64Range(1, 64).Draw(t, "others"))
		for n := range rapid.IntRange(0, 5).Draw(t, "instances") {
			i := lxd.Add(fmt.Sprintf("c%d", n), rapid.SampledFrom([]string{"pet", "pet", "b"}).Draw(t, "on"), rapid.Bool().Draw(t, "runs"))
			i.MayStop = rapid.Bool().Draw(t, "may stop")
			drawn(t, i)
		}
		force := rapid.Bool().Draw(t, "force")
		plans := func() (map[drain.Ref]drain.Item, map[drain.Ref]drain.Item) {
			view := observeWithCapacity(t, lxd)
			items, leaving := map[drain.Ref]drain.Item{}, map[drain.Ref]drain.Item{}
			plan := drain.PlanDrain(view, "pet", force)
			require.Equal(t, plan, drain.PlanDrain(view, "pet", force), "the same view has the same plan")
			for _, item := range plan.Items {
				items[item.Ref] = item
			}
			for _, item := range drain.PlanRemoval(view, "pet").Items {
				leaving[item.Ref] = item
			}
			return items, leaving
		}
		before, leavingBefore := plans()
		victim := rapid.SampledFrom(lxd.Instance).Draw(t, "instance")
		drawn(t, victim)
		after, leavingAfter := plans()
		for ref, item := range before {
			if ref != victim.Ref {
				require.Equal(t, item, after[ref])
				require.Equal(t, leavingBefore[ref], leavingAfter[ref])
			}
		}

		// What a plan came to is planned again as it is: nothing is left to do.
		d := drainer(lxd)
		d.Limiter, d.Partial = drain.NewMoveLimiter(1, 0), true
		if _, err := d.Drain(context.Background(), "pet", force); err != nil {
			require.ErrorIs(t, err, drain.ErrPartial)
			calls := len(lxd.Calls)
			_, again := d.Drain(context.Background(), "pet", force)
			require.ErrorIs(t, again, drain.ErrPartial)
			require.Len(t, lxd.Calls, calls)
			return
		}
		require.True(t, drain.PlanDrain(observeWithCapacity(t, lxd), "pet", force).Done)
	})
}

// Wherever it is killed, a drain for a window ends with all moved but the instances that it names, and its
// undrain with everything as it was.
func TestPartialDrainKilledAtEachCall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lxd := crowded(rapid.Int64Range(1, 64).Draw(t, "pet"), rapid.Int64Range(1, 64).Draw(t, "others"))
		if rapid.Bool().Draw(t, "b has the bridge") {
			lxd.Capacity["b"].HostResources["bridge br0"] = true
		}
		lxd.Member[0].Groups, lxd.Member[1].Groups = []string{"gpu"}, []string{"gpu"}
		lxd.Relocates = rapid.Bool().Draw(t, "in one")
		stop := rapid.Bool().Draw(t, "stop")
		for n := range rapid.IntRange(1, 4).Draw(t, "instances") {
			i := lxd.Add(fmt.Sprintf("c%d", n), "pet", rapid.Bool().Draw(t, "runs"))
			i.Group = rapid.SampledFrom([]string{"", "gpu"}).Draw(t, "group")
			drawn(t, i)
			i.Origin = "" // another's mark is another test's
		}
		before := map[drain.Ref]drain.Instance{}
		for _, i := range lxd.Instance {
			i.MayStop, i.ShouldRun = stop, i.Running
			before[i.Ref] = *i
		}
		d := drainer(lxd)
		d.Limiter, d.Partial = drain.NewMoveLimiter(1, 0), true
		killed := func(action func() error) (err error) {
			for try := 0; ; try++ {
				require.Less(t, try, 30, "it never ends: %s", err)
				lxd.CallsLeft = -1
				if try < 20 {
					lxd.CallsLeft = rapid.IntRange(0, 40).Draw(t, "life")
				}
				if err = action(); err == nil || errors.Is(err, drain.ErrPartial) {
					lxd.CallsLeft = -1
					return err
				}
			}
		}
		err := killed(func() error { _, err := d.Drain(context.Background(), "pet", false); return err })
		for _, i := range lxd.Instance {
			was := before[i.Ref]
			switch {
			case i.Member == "pet" && i.Running:
				require.ErrorIs(t, err, drain.ErrPartial)
				require.ErrorContains(t, err, i.Ref.String())
			case i.Member != "pet":
				require.Equal(t, was.Running, i.Running, "%s", i.Ref)
			}
			require.Equal(t, was.Group, i.Group, "%s", i.Ref)
		}
		require.Equal(t, err == nil, lxd.Status("pet") == drain.Evacuated)
		require.Len(t, lxd.Instance, len(before))

		require.NoError(t, killed(func() error { _, err := d.Undrain(context.Background(), "pet"); return err }))
		require.Empty(t, lxd.Journal)
		require.Empty(t, lxd.Member[0].Scheduler)
		for _, i := range lxd.Instance {
			was := before[i.Ref]
			require.Equal(t, was.Member, i.Member, "%s", i.Ref)
			require.Equal(t, was.Running, i.Running, "%s", i.Ref)
			require.Equal(t, was.Group, i.Group, "%s", i.Ref)
			require.Empty(t, i.Origin, "%s", i.Ref)
		}
	})
}

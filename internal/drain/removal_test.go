package drain_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dcib/dcib/internal/drain"
	draintest "github.com/dcib/dcib/internal/testkit/drain"
)

func TestRemoval(t *testing.T) {
	lxd := draintest.New("pet", "b", "c")
	lxd.Add("runs", "pet", true)
	lxd.Add("stopped", "pet", false)
	_, err := drainer(lxd).DrainForRemoval(t.Context(), "pet")
	require.NoError(t, err)
	for _, i := range lxd.Instance {
		require.NotEqual(t, "pet", i.Member)
		require.Equal(t, i.Name == "runs", i.Running, i.Name)
	}
	view := observe(t, lxd)
	require.True(t, drain.PlanRemoval(view, "pet").Done)
	require.ElementsMatch(t, []drain.Ref{ref("runs"), ref("stopped")}, view.ForeignOrigins("pet"))
	t.Run("and again is no error", func(t *testing.T) {
		_, err := drainer(lxd).DrainForRemoval(t.Context(), "pet")
		require.NoError(t, err)
	})
}

// The member is removed, whatever capacity the others have.
func TestRemovalIgnoresCapacity(t *testing.T) {
	lxd := draintest.New("pet", "b")
	lxd.Add("large", "pet", true).Requirements.Memory = 2 << 30
	lxd.Capacity = map[string]drain.Capacity{"b": {Memory: 1 << 30}}
	_, err := drainer(lxd).DrainForRemoval(t.Context(), "pet")
	require.NoError(t, err)
	require.Equal(t, "b", lxd.Find(ref("large")).Member)
}

func TestRemovalThatIsImpossibleChangesNothing(t *testing.T) {
	for want, tie := range map[string]func(*draintest.LXD, *drain.Instance){
		"tied to this member by disk data": func(_ *draintest.LXD, i *drain.Instance) { i.LocalDevices = []string{"disk data"} },
		"its cluster.evacuate is stop":     func(_ *draintest.LXD, i *drain.Instance) { i.Evacuate = "stop" },
		"is ephemeral":                     func(_ *draintest.LXD, i *drain.Instance) { i.Ephemeral = true },
		"no other member is Online":        func(l *draintest.LXD, _ *drain.Instance) { l.SetStatus("b", drain.Offline) },
	} {
		t.Run(want, func(t *testing.T) {
			lxd := draintest.New("pet", "b")
			lxd.Add("free", "pet", true)
			tie(lxd, lxd.Add("kept", "pet", true))
			_, err := drainer(lxd).DrainForRemoval(t.Context(), "pet")
			require.ErrorContains(t, err, "kept")
			require.ErrorContains(t, err, want)
			require.Empty(t, lxd.Calls, "nothing was stopped")
		})
	}
}

// A stopped instance with local devices stays after a drain; a member that is removed must not take it
// along.
func TestRemovalKeepsAStoppedInstanceWithLocalDevices(t *testing.T) {
	lxd := draintest.New("pet", "b")
	lxd.Add("kept", "pet", false).LocalDevices = []string{"disk data"}
	_, err := drainer(lxd).DrainForRemoval(t.Context(), "pet")
	require.ErrorContains(t, err, "kept")
}

func TestRemovalAfterAnOperatorsEvacuation(t *testing.T) {
	lxd := draintest.New("pet", "b")
	lxd.Add("runs", "pet", true)
	lxd.SetStatus("b", drain.Offline)
	require.NoError(t, lxd.EvacuateByHand("pet")) // stops it and finds no place
	lxd.SetStatus("b", drain.Online)
	_, err := drainer(lxd).DrainForRemoval(t.Context(), "pet")
	require.NoError(t, err)
	require.Equal(t, "b", lxd.Find(ref("runs")).Member)
	require.True(t, lxd.Find(ref("runs")).Running)
}

// Wherever it is killed, a removal that is resumed ends with the member empty and all running that ran.
func TestRemovalKilledAtEachCall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lxd := draintest.New("pet", "b", "c")
		ran := map[drain.Ref]bool{}
		for n := range rapid.IntRange(0, 5).Draw(t, "instances") {
			i := lxd.Add(fmt.Sprintf("c%d", n), rapid.SampledFrom([]string{"pet", "pet", "b"}).Draw(t, "on"), rapid.Bool().Draw(t, "runs"))
			ran[i.Ref] = i.Running
		}
		if rapid.Bool().Draw(t, "evacuated") {
			require.NoError(t, lxd.EvacuateByHand("pet"))
			arrived := lxd.Add("arrived", "pet", true)
			ran[arrived.Ref] = true
		}
		for range rapid.IntRange(0, 8).Draw(t, "kills") {
			lxd.CallsLeft = rapid.IntRange(0, 30).Draw(t, "life")
			_, _ = drainer(lxd).DrainForRemoval(t.Context(), "pet")
		}
		lxd.CallsLeft = -1
		_, err := drainer(lxd).DrainForRemoval(t.Context(), "pet")
		require.NoError(t, err)
		require.Len(t, lxd.Instance, len(ran))
		for _, i := range lxd.Instance {
			require.NotEqual(t, "pet", i.Member)
			require.Equal(t, ran[i.Ref], i.Running, "%s", i.Ref)
		}
	})
}

package drain_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/drain"
	draintest "github.com/dcib/dcib/internal/testkit/drain"
)

// A plan says by which method each instance moves, and why; what stays, or keeps the plan from being
// applied, has none.
func TestPlansNameTheMethod(t *testing.T) {
	for name, test := range map[string]struct {
		set     func(*drain.Instance)
		drain   drain.Method
		reason  string
		undrain drain.Method
	}{
		"runs":         {func(*drain.Instance) {}, drain.StopAndMove, "LXD cannot move it while it runs", drain.StopAndMove},
		"frozen":       {func(i *drain.Instance) { i.Frozen = true }, drain.StopAndMove, "LXD cannot move it while it runs", drain.StopAndMove},
		"stopped":      {func(i *drain.Instance) { i.Running = false }, drain.StoppedMove, "it does not run", drain.StoppedMove},
		"live":         {func(i *drain.Instance) { i.LiveMovable = true }, drain.LiveMove, "LXD can move it while it runs", drain.LiveMove},
		"live stopped": {func(i *drain.Instance) { i.LiveMovable, i.Running = true, false }, drain.StoppedMove, "it does not run", drain.StoppedMove},
		"stays":        {func(i *drain.Instance) { i.Evacuate = "stop" }, "", "", ""},
		"cannot move":  {func(i *drain.Instance) { i.LocalDevices = []string{"disk data"} }, "", "", ""},
		"ephemeral":    {func(i *drain.Instance) { i.Ephemeral = true }, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			lxd := draintest.New("pet", "b")
			test.set(lxd.Add("c1", "pet", true))
			view := observe(t, lxd)
			plan := drain.PlanDrain(view, "pet", false)
			require.Equal(t, test.drain, plan.Items[0].Method)
			require.Equal(t, test.reason, plan.Items[0].MethodReason)
			if plan.Err() != nil {
				return
			}
			removal := drain.PlanRemoval(view, "pet")
			require.Equal(t, test.drain, removal.Items[0].Method)
			_, err := drainer(lxd).Drain(t.Context(), "pet", false)
			require.NoError(t, err)
			undrain := drain.PlanUndrain(observe(t, lxd), "pet")
			require.Equal(t, test.undrain, undrain.Items[0].Method)
		})
	}
}

// A run that resumes plans the same method as the one that has stopped the instance.
func TestAStoppedInstanceKeepsItsMethodInThePlan(t *testing.T) {
	lxd := draintest.New("pet", "b")
	c1 := lxd.Add("c1", "pet", true)
	lxd.Fail = func(call string, _ drain.Ref) error {
		if call != "move" {
			return nil
		}
		lxd.CallsLeft = 0
		return draintest.ErrKilled
	}
	d := drainer(lxd)
	d.Limiter = drain.NewMoveLimiter(1, 0)
	_, err := d.Drain(t.Context(), "pet", false)
	require.ErrorIs(t, err, draintest.ErrKilled)
	require.False(t, c1.Running)
	require.Equal(t, "pet", c1.Member)

	lxd.CallsLeft, lxd.Fail = -1, nil
	plan := drain.PlanDrain(observe(t, lxd), "pet", false)
	require.Equal(t, drain.StopAndMove, plan.Items[0].Method)
	require.Contains(t, plan.String(), "okay    c1: stops, moves to another member and starts there")
	_, err = d.Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	require.Equal(t, "b", c1.Member)
	require.True(t, c1.Running)
}

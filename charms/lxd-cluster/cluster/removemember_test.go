package cluster

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
)

// removing runs the action on the first unit, after what it observed.
func (m *model) removing(ctx context.Context, member string, force bool) (map[string]string, error) {
	const unit = "lxd-cluster/0"
	tools, _ := m.juju.Hook(unit)
	w := m.charm().Env(hooktool.Event{Unit: unit}, tools)
	f, err := Observe(ctx, hooktool.Event{Hook: "update-status", Unit: unit}, w)
	if err != nil {
		return nil, err
	}
	return RemoveMember(ctx, f, w, charm.Call{Params: map[string]any{"member": member, "force": force}, Progress: func(string, ...any) {}})
}

// LXD shows no member as online for some seconds when the member has died that led its database,
// and with a dead member from time to time since a round of heartbeats takes longer: what it says
// of a member then is waited for.
func TestRemoveMemberWaitsForHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := formed(t, 3)
		silence := func(looks int, after func()) {
			for n := range 3 {
				m.lxds["lxd-cluster/0"].setStatus(hostOf(n), "Offline")
			}
			m.lxds["lxd-cluster/0"].onLook = func() {
				// Meanwhile its database may not answer.
				looks--
				m.lxds["lxd-cluster/0"].stuck = looks == 2
				if looks == 0 {
					after()
				}
			}
		}
		alive := func(numbers ...int) func() {
			return func() {
				for _, n := range numbers {
					m.lxds["lxd-cluster/0"].setStatus(hostOf(n), "Online")
				}
			}
		}

		silence(5, alive(0, 1))
		results, err := m.removing(t.Context(), hostOf(2), true)
		require.NoError(t, err)
		require.Equal(t, hostOf(2), results["member"])
		require.Len(t, *m.lxds["lxd-cluster/0"].members, 2)

		// One that is there after all is not removed.
		silence(5, alive(0, 1))
		_, err = m.removing(t.Context(), hostOf(1), true)
		require.ErrorContains(t, err, "only an offline member can be removed")
		require.Len(t, *m.lxds["lxd-cluster/0"].members, 2)

		// It ends.
		silence(1000000, alive())
		start := time.Now()
		_, err = m.removing(t.Context(), hostOf(1), true)
		require.ErrorContains(t, err, "LXD has no heartbeats, not even of 0-host")
		require.Less(t, time.Since(start), 2*heartbeatTimeout)
		require.Len(t, *m.lxds["lxd-cluster/0"].members, 2)

		// And with the action.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = m.removing(ctx, hostOf(1), true)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

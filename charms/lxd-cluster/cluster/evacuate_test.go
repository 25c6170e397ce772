package cluster

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/lxd"
	draintest "github.com/dcib/dcib/internal/testkit/drain"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

// changeState runs evacuate or restore on the first unit.
func (m *model) changeState(t *testing.T, name string, params map[string]any) *hooktooltest.Tools {
	t.Helper()
	c := m.charm()
	c.Actions = map[string]charm.Action[Facts, Env]{"evacuate-member": Evacuate, "restore-member": Restore}
	tools, _ := m.juju.Hook("lxd-cluster/0")
	tools.Params = params
	require.NoError(t, c.Run(t.Context(), hooktool.Event{Action: name, Unit: "lxd-cluster/0"}, tools))
	return tools
}

func on(member string) map[string]any { return map[string]any{"member": member} }

func TestEvacuateAndRestore(t *testing.T) {
	m := formed(t, 3)
	tied := m.inside().Add("tied", hostOf(1), true)
	tied.LocalDevices = []string{"gpu gpu"}

	did := m.changeState(t, "evacuate-member", on(hostOf(1)))
	require.Empty(t, did.Failure)
	require.Equal(t, map[string]string{
		"member": "1-host", "status": "evacuated", "instances": "1",
		"moved":   "a1 from 1-host to 0-host\nb1 from 1-host to 2-host\nstopped1 from 1-host to 0-host",
		"stopped": "tied",
	}, did.Results)
	require.NotEmpty(t, did.Progress)

	did = m.changeState(t, "evacuate-member", on(hostOf(1)))
	require.Empty(t, did.Failure, "again is no error")
	require.Equal(t, map[string]string{"member": "1-host", "status": "evacuated", "instances": "1", "stopped": "tied"}, did.Results)
	require.Equal(t, 1, m.inside().Evacuations)

	did = m.changeState(t, "restore-member", on(hostOf(1)))
	require.Empty(t, did.Failure)
	require.Equal(t, map[string]string{
		"member": "1-host", "status": "online", "instances": "4",
		"moved": "a1 from 0-host to 1-host\nb1 from 2-host to 1-host\nstopped1 from 0-host to 1-host",
	}, did.Results)
	requireKept(t, m.inside(), 10)
}

// An evacuation whose operation LXD has lost is judged by what LXD shows.
func TestAnOperationIsLostAndItsWorkDone(t *testing.T) {
	m := formed(t, 3)
	for _, verb := range []string{"evacuate", "restore"} {
		m.inside().LostError = fmt.Errorf("cannot %s: %w", verb, lxd.ErrOperationLost)
		did := m.changeState(t, verb+"-member", on(hostOf(1)))
		require.Empty(t, did.Failure)
		require.NotEmpty(t, did.Results["moved"])
		m.inside().LostError = nil
	}
	m.inside().LostError = errors.New("no more disk")
	require.Contains(t, m.changeState(t, "evacuate-member", on(hostOf(1))).Failure, "no more disk")
}

func TestEvacuateAndRestoreRefuse(t *testing.T) {
	m := formed(t, 2)
	refuses := func(verb, member, says string) {
		t.Helper()
		did := m.changeState(t, verb+"-member", on(member))
		require.Contains(t, did.Failure, says)
		require.Contains(t, did.Failure, "cannot "+verb)
		require.Empty(t, did.Results)
		require.Zero(t, m.inside().Evacuations)
	}
	for _, verb := range []string{"evacuate", "restore"} {
		refuses(verb, "nowhere", "its members are 0-host, 1-host")
		for by, says := range map[string]string{
			"pet-scheduler/3": "juju run pet-scheduler/leader undrain pet=1-host",
			"lxd-cluster/1":   "unit lxd-cluster/1 is leaving",
		} {
			record := drain.Record{Phase: drain.Drained, By: by}
			require.NoError(t, m.inside().Write(t.Context(), hostOf(1), nil, &record))
			refuses(verb, hostOf(1), says)
			require.NoError(t, m.inside().Write(t.Context(), hostOf(1), &record, nil))
		}
		m.lxds["lxd-cluster/0"].setStatus(hostOf(1), "Offline")
		refuses(verb, hostOf(1), "it is Offline")
		m.lxds["lxd-cluster/0"].setStatus(hostOf(1), "Online")
	}
	m.lxds["lxd-cluster/0"].setStatus(hostOf(1), "Evacuated")
	refuses("evacuate", hostOf(0), "no other member is Online")
	m.lxds["lxd-cluster/0"].setStatus(hostOf(1), "Online")

	m.inside().Add("brief", hostOf(1), true).Ephemeral = true
	refuses("evacuate", hostOf(1), "delete its ephemeral instances brief")

	alone := newModel(t.TempDir)
	alone.add(0)
	require.Contains(t, alone.changeState(t, "evacuate-member", on("0-host")).Failure, "in no cluster")
}

// What LXD would stop for its bridge of the host is moved to a member that has the bridge, and comes
// back with the others; nothing ephemeral is left to LXD to delete.
func TestWhatIsOnABridgeOfTheHostIsEvacuatedToo(t *testing.T) {
	m := formed(t, 3)
	has := drain.Capacity{HostResources: map[string]bool{"bridge br0": true}}
	m.inside().Capacity = map[string]drain.Capacity{hostOf(1): has, hostOf(2): has, hostOf(0): {HostResources: map[string]bool{}}}
	for _, name := range []string{"a1", "stopped1"} {
		m.inside().Find(drain.Ref{Project: "default", Name: name}).HostDevices = []drain.HostDevice{{Device: "nic eth0", Resource: "bridge br0"}}
	}
	runner := m.inside().Add("runner", hostOf(1), true)
	runner.Ephemeral, runner.LiveMovable, runner.HostDevices = true, true, []drain.HostDevice{{Device: "nic eth0", Resource: "bridge br0"}}
	did := m.changeState(t, "evacuate-member", on(hostOf(1)))
	require.Contains(t, did.Failure, "delete its ephemeral instances runner")
	require.Zero(t, m.inside().Evacuations)
	m.inside().Delete(runner.Ref)

	fails := true
	m.inside().Fail = func(call string, i drain.Ref) error {
		if fails && call == "move" && i.Name == "a1" {
			return errors.New("no space left")
		}
		return nil
	}
	did = m.changeState(t, "evacuate-member", on(hostOf(1)))
	require.Contains(t, did.Failure, "no space left")
	require.Zero(t, m.inside().Evacuations, "LXD would stop it")
	require.True(t, m.inside().Find(drain.Ref{Project: "default", Name: "a1"}).Running)

	fails = false
	did = m.changeState(t, "evacuate-member", on(hostOf(1)))
	require.Empty(t, did.Failure)
	require.Contains(t, did.Results["moved"], "a1 from 1-host to 2-host")
	require.NotContains(t, did.Results, "stopped")
	require.Equal(t, "0", did.Results["instances"])
	did = m.changeState(t, "restore-member", on(hostOf(1)))
	require.Empty(t, did.Failure)
	requireKept(t, m.inside(), 9)
	require.Equal(t, "3", did.Results["instances"])
}

// An evacuation that was killed before LXD had begun with it is carried on with, undone by restore,
// or taken over by a drain.
func TestAnEvacuationThatWasKilledEarly(t *testing.T) {
	for _, next := range []string{"evacuate", "restore", "drain"} {
		t.Run(next, func(t *testing.T) {
			m := formed(t, 3)
			has := drain.Capacity{HostResources: map[string]bool{"bridge br0": true}}
			m.inside().Capacity = map[string]drain.Capacity{hostOf(1): has, hostOf(2): has, hostOf(0): {HostResources: map[string]bool{}}}
			a1 := m.inside().Find(drain.Ref{Project: "default", Name: "a1"})
			a1.HostDevices = []drain.HostDevice{{Device: "nic eth0", Resource: "bridge br0"}}
			view, err := drain.ObserveWithCapacity(t.Context(), m.inside(), m.inside(), hostOf(1))
			require.NoError(t, err)
			m.inside().Fail = func(call string, i drain.Ref) error {
				if call == "move" {
					m.inside().CallsLeft = 0
				}
				return nil
			}
			d := drain.Drainer{Cluster: m.inside(), Journal: m.inside(), By: "lxd-cluster/0"}
			require.ErrorIs(t, d.MoveBeforeEvacuation(t.Context(), view, hostOf(1)), draintest.ErrKilled)
			m.inside().Fail, m.inside().CallsLeft = nil, -1
			require.False(t, a1.Running)
			require.Len(t, m.inside().Journal, 1)

			if next == "drain" {
				d.By = "pet-scheduler/0"
				_, err := d.Drain(t.Context(), hostOf(1), false)
				require.NoError(t, err)
				require.Contains(t, m.changeState(t, "evacuate-member", on(hostOf(1))).Failure, "pet-scheduler/0 has drained it")
				_, err = d.Undrain(t.Context(), hostOf(1))
				require.NoError(t, err)
			} else {
				did := m.changeState(t, next+"-member", on(hostOf(1)))
				require.Empty(t, did.Failure)
			}
			require.Empty(t, m.inside().Journal)
			require.True(t, a1.Running)
			if next == "evacuate" {
				require.Equal(t, hostOf(2), a1.Member)
				require.Empty(t, m.changeState(t, "restore-member", on(hostOf(1))).Failure)
			}
			require.Equal(t, hostOf(1), a1.Member)
			requireKept(t, m.inside(), 9)
		})
	}
}

func TestAnEvacuationThatFailsSaysHowItIs(t *testing.T) {
	m := formed(t, 2)
	m.inside().Fail = func(call string, i drain.Ref) error {
		if call == "move" && i.Name == "b1" {
			return errors.New("no space left")
		}
		return nil
	}
	did := m.changeState(t, "evacuate-member", on(hostOf(1)))
	require.Contains(t, did.Failure, "no space left")
	require.Contains(t, did.Failure, "run the action again")
	require.Equal(t, "online", did.Results["status"])
	require.Equal(t, fmt.Sprintf("a1 from %s to %s", hostOf(1), hostOf(0)), did.Results["moved"])
	require.Equal(t, "b1", did.Results["stopped"])
}

// What LXD lists as evacuated or as restored need not be.
func TestWhatLXDLeftHalfDoneIsNoSuccess(t *testing.T) {
	m := formed(t, 3)
	inside := m.inside()
	m.lxds["lxd-cluster/0"].setStatus(hostOf(1), "Evacuated") // as when LXD died in an evacuation
	did := m.changeState(t, "evacuate-member", on(hostOf(1)))
	require.Contains(t, did.Failure, "cannot evacuate all of 1-host")
	require.Contains(t, did.Failure, "still run there: a1, b1: run restore-member member=1-host")
	require.Equal(t, "evacuated", did.Results["status"])
	require.Zero(t, inside.Evacuations)

	require.Empty(t, m.changeState(t, "restore-member", on(hostOf(1))).Failure)
	require.Empty(t, m.changeState(t, "evacuate-member", on(hostOf(1))).Failure)
	m.lxds["lxd-cluster/0"].setStatus(hostOf(1), "Online") // as when LXD died in a restore
	did = m.changeState(t, "restore-member", on(hostOf(1)))
	require.Contains(t, did.Failure, "LXD left these elsewhere: a1, b1, stopped1: move each back (lxc move NAME --target 1-host)")
}

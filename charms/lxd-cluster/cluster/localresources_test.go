package cluster

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

var someResources = []string{"instance web", "instance db", "image 0123456789abcdef", "profile default", "network lxdbr1", "pool default", "project lab"}

func TestWipeOnJoinEmptiesAMachineAndJoins(t *testing.T) {
	m := newModel(t.TempDir)
	m.add(0)
	full := m.add(1, someResources...)
	m.lxds[full].local.Pools, m.lxds[full].pools = []string{"default"}, map[string]Pool{"default": {Name: "default", Driver: "zfs"}}
	m.settle(6)
	require.Equal(t, "blocked", m.juju.Units[full].Status)
	message := m.juju.Units[full].Message
	for _, way := range []string{"instance web, instance db, image 0123456789ab, profile default", "move it away", "remove this unit", "juju config lxd-cluster wipe-on-join=true"} {
		require.Contains(t, message, way)
	}
	require.Zero(t, m.lxds[full].effects)
	require.Empty(t, m.w.issued, "and it asked for no token")

	m.juju.Config["lxd-cluster"]["wipe-on-join"] = true
	m.settle(5)
	require.Equal(t, "active", m.juju.Units[full].Status, m.juju.Units[full].Message)
	require.Empty(t, m.lxds[full].local.Resources)
	require.Contains(t, m.juju.Units[full].Log, "INFO delete instance web, for option wipe-on-join")
}

func TestWipeOnJoinLosesNothingInVain(t *testing.T) {
	force := func(m *model) { m.juju.Config["lxd-cluster"]["wipe-on-join"] = true }
	t.Run("on the bootstrap unit", func(t *testing.T) {
		m := newModel(t.TempDir)
		force(m)
		unit := m.add(0, someResources...)
		m.settle(4)
		require.Equal(t, "active", m.juju.Units[unit].Status)
		require.Len(t, m.lxds[unit].local.Resources, len(someResources))
	})
	t.Run("on the bootstrap unit, when another unit was in a cluster already", func(t *testing.T) {
		m := newModel(t.TempDir)
		force(m)
		unit := m.add(0, someResources...)
		require.NoError(t, m.hook(unit), "names itself")
		other := m.add(1)
		m.lxds[other].local.Listens = "10.0.0.2:8443"
		require.NoError(t, m.lxds[other].Bootstrap(t.Context(), "theirs"))
		require.NoError(t, m.hook(other))
		m.settle(4)
		require.Equal(t, "blocked", m.juju.Units[unit].Status)
		require.Len(t, m.lxds[unit].local.Resources, len(someResources))
	})
	t.Run("in another cluster", func(t *testing.T) {
		m := newModel(t.TempDir)
		force(m)
		m.add(0)
		m.settle(3)
		unit := m.add(1, someResources...)
		m.lxds[unit].local.Listens = "10.0.0.2:8443"
		require.NoError(t, m.lxds[unit].Bootstrap(t.Context(), "theirs"))
		before := m.lxds[unit].effects
		m.settle(4)
		require.Contains(t, m.juju.Units[unit].Message, "in another cluster already")
		require.Equal(t, before, m.lxds[unit].effects)
	})
	t.Run("of another version", func(t *testing.T) {
		m := newModel(t.TempDir)
		force(m)
		m.add(0)
		unit := m.add(1, someResources...)
		m.lxds[unit].local.Version = "6.4"
		m.settle(4)
		require.Contains(t, m.juju.Units[unit].Message, "has LXD 6.4")
		require.Zero(t, m.lxds[unit].effects)
	})
	t.Run("before there is a token", func(t *testing.T) {
		m := newModel(t.TempDir)
		force(m)
		m.add(0)
		m.settle(3)
		unit := m.add(1, someResources...)
		for range 3 {
			require.NoError(t, m.hook(unit))
		}
		require.Contains(t, m.juju.Units[unit].Message, "waiting for a join token")
		require.Zero(t, m.lxds[unit].effects)
	})
	t.Run("that LXD will not let go of", func(t *testing.T) {
		m := newModel(t.TempDir)
		force(m)
		m.add(0)
		unit := m.add(1, someResources...)
		web := LocalResource{Kind: kindInstance, Name: "web"}
		m.lxds[unit].refuses = map[LocalResource]string{web: "Instance is protected"}
		m.settle(5)
		require.Equal(t, "blocked", m.juju.Units[unit].Status)
		require.Contains(t, m.juju.Units[unit].Message, "cannot delete instance web, for option wipe-on-join: LXD refuses: Instance is protected")
		require.False(t, m.lxds[unit].local.Clustered)
		delete(m.lxds[unit].refuses, web)
		m.settle(3)
		require.Equal(t, "active", m.juju.Units[unit].Status)
	})
}

func TestWipeOnJoinSurvivesCrashes(t *testing.T) {
	crashes(t, 2, anyFault, func(c crashing) {
		unit := c.add(2, someResources[2:]...)
		c.settle(3)
		require.Zero(c.run, c.lxds[unit].effects)
		c.juju.Config["lxd-cluster"]["wipe-on-join"] = true
		c.settle(6)
		require.True(c.run, c.lxds[unit].local.Clustered)
	})
}

func TestResourcesHaveTheirPlace(t *testing.T) {
	require.Equal(t, "instance web", LocalResource{Kind: kindInstance, Name: "web"}.String())
	require.Equal(t, "volume data (pool fast, project lab)", LocalResource{kindVolume, "lab", "fast", "data"}.String())
	require.True(t, slices.IsSortedFunc([]string{kindInstance, kindProfile, kindVolume, kindPool, kindProject}, func(a, b string) int {
		return slices.Index(kinds, a) - slices.Index(kinds, b)
	}), "what is used comes after what uses it")
}

// What Juju leaves on a machine where it placed a container before there was a cluster: the unit that
// forms the cluster keeps it, another unit does not join, and says how it goes.
func TestContainersThatJujuPlacedBeforeTheClusterWasFormed(t *testing.T) {
	placed := func(machine string) []string {
		return []string{"instance juju-3b1f0c-" + machine + "-lxd-0", "instance juju-3b1f0c-" + machine + "-lxd-1", "image 0123456789abcdef", "profile default", "profile juju-metal-3b1f0c", "network lxdbr0", "pool default"}
	}
	m := newModel(t.TempDir)
	first := m.add(0, placed("0")...)
	m.lxds[first].local.Pools, m.lxds[first].local.Networks["lxdbr0"] = []string{"default"}, true
	second := m.add(1, placed("1")...)
	m.settle(6)
	require.Equal(t, "active", m.juju.Units[first].Status, m.juju.Units[first].Message)
	require.True(t, m.lxds[first].local.Clustered)
	require.Len(t, m.lxds[first].local.Resources, 7, "all is kept")
	require.Equal(t, []string{"default"}, m.lxds[first].local.Pools, "and serves")

	unit := m.juju.Units[second]
	require.Equal(t, "blocked", unit.Status)
	require.Contains(t, unit.Message, "instance juju-3b1f0c-1-lxd-0")
	require.Contains(t, unit.Message, "(Juju's own: juju remove-machine 1/lxd/0 1/lxd/1)")
	require.Contains(t, unit.Message, "wipe-on-join=true")
	require.Zero(t, m.lxds[second].effects)
	require.Empty(t, m.w.issued)

	for name, machine := range map[string]string{
		"juju-3b1f0c-0-lxd-1": "0/lxd/1", "juju-3b1f0c-0-lxd-1-lxd-2": "0/lxd/1/lxd/2", "juju-3b1f0c-7": "", "web": "", "juju-x-0-lxd-1": "", "": "",
	} {
		require.Equal(t, machine, jujuMachine(name), name)
	}
}

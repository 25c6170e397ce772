package cluster

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// auto returns a model with option bridge=auto and a machine for each value of own, which says
// whether it has a bridge br0 of its own.
func auto(t *testing.T, own ...bool) *model {
	t.Helper()
	m := newModel(t.TempDir)
	m.juju.Config["lxd-cluster"]["bridge"] = "auto"
	for n, has := range own {
		unit := m.add(n)
		if has {
			m.lxds[unit].local.Networks["br0"] = false
		}
	}
	return m
}

func (m *model) eth0(unit string) map[string]string {
	return m.lxds[unit].local.Profiles["dcib"].Devices["eth0"]
}

var onBr0 = map[string]string{"type": "nic", "name": "eth0", "nictype": "bridged", "parent": "br0"}

func TestAutoTakesBr0WhereEveryMachineHasIt(t *testing.T) {
	m := auto(t, true, true, true)
	m.settle(9)
	require.Equal(t, onBr0, m.eth0("lxd-cluster/2"))
	require.NotContains(t, m.lxds["lxd-cluster/0"].local.Networks, "lxdbr0", "nothing is made that is not used")
	for _, unit := range m.units() {
		require.Equal(t, "active", m.juju.Units[unit].Status)
		require.NotContains(t, m.juju.Units[unit].Message, "reach")
	}
}

func TestAutoTakesLxdbr0WhereAMachineHasNoBr0(t *testing.T) {
	for name, own := range map[string][]bool{"the coordinator": {false, true, true}, "another": {true, true, false}, "all": {false, false, false}} {
		m := auto(t, own...)
		m.settle(9)
		require.Equal(t, map[string]string{"type": "nic", "name": "eth0", "network": "lxdbr0"}, m.eth0("lxd-cluster/1"), name)
		require.Contains(t, m.juju.Units["lxd-cluster/0"].Message, "instances on different members cannot reach each other over lxdbr0: use br0 of the machines, or a network of type ovn (option bridge)", name)
		for _, unit := range m.units() {
			require.Equal(t, "active", m.juju.Units[unit].Status, name)
		}
	}
}

// A bridge of that name that LXD manages is on that machine alone, with its own subnet.
func TestAutoDoesNotTakeABr0OfLXD(t *testing.T) {
	m := auto(t, true, true)
	m.lxds["lxd-cluster/0"].local.Networks["br0"] = true
	m.settle(6)
	require.Equal(t, "lxdbr0", m.eth0("lxd-cluster/1")["network"])
}

// The cluster is not founded before each unit has said whether its machine has br0.
func TestAutoWaitsForEachUnit(t *testing.T) {
	m := auto(t, true, true)
	late := "lxd-cluster/1"
	m.juju.Units[late].Starting = true
	for range 3 {
		require.NoError(t, m.hook("lxd-cluster/0"))
	}
	require.Zero(t, m.w.clusters)
	require.Equal(t, "waiting", m.juju.Units["lxd-cluster/0"].Status)
	require.Contains(t, m.juju.Units["lxd-cluster/0"].Message, "lxd-cluster/1 has not reported yet whether its machine has br0")
	require.Contains(t, m.juju.Units["lxd-cluster/0"].Message, "juju config lxd-cluster bridge=br0")

	t.Run("but not when it is said", func(t *testing.T) {
		other := auto(t, true, true)
		other.juju.Units[late].Starting = true
		other.juju.Config["lxd-cluster"]["bridge"] = "br0"
		for range 3 {
			require.NoError(t, other.hook("lxd-cluster/0"))
		}
		require.Equal(t, 1, other.w.clusters)
	})
	m.juju.Units[late].Starting = false
	m.settle(6)
	require.Equal(t, onBr0, m.eth0(late))

	t.Run("nor where the coordinator's machine has none", func(t *testing.T) {
		other := auto(t, false, true)
		other.juju.Units[late].Starting = true
		for range 3 {
			require.NoError(t, other.hook("lxd-cluster/0"))
		}
		require.Equal(t, 1, other.w.clusters)
	})
}

// What was decided stays: for a cluster that had the old default, and when machines come that
// are otherwise.
func TestAutoKeepsTheBridgeOfACluster(t *testing.T) {
	m := auto(t, true, true)
	m.juju.Config["lxd-cluster"]["bridge"] = "lxdbr0"
	m.settle(6)
	m.juju.Config["lxd-cluster"]["bridge"] = "auto"
	m.settle(3)
	require.Equal(t, "lxdbr0", m.eth0("lxd-cluster/0")["network"])
	require.Contains(t, m.juju.Units["lxd-cluster/0"].Message, "cannot reach each other over lxdbr0")

	own := auto(t, true, true)
	own.settle(6)
	bare := own.add(2)
	own.settle(6)
	require.Equal(t, onBr0, own.eth0("lxd-cluster/0"))
	require.Equal(t, "blocked", own.juju.Units[bare].Status)
	require.Contains(t, own.juju.Units[bare].Message, "instances of this cluster are on br0 (option bridge is auto), and this machine (2-host) has no bridge br0")
	require.Contains(t, own.juju.Units["lxd-cluster/0"].Message, "no bridge br0 on 2-host")
}

// A cluster that was there before has no profile of ours: its members' machines decide.
func TestAutoDecidesForAnAdoptedCluster(t *testing.T) {
	m := auto(t, true, true)
	m.settle(6)
	for _, unit := range m.units() {
		delete(m.lxds[unit].local.Profiles, "dcib")
	}
	m.settle(2)
	require.Equal(t, onBr0, m.eth0("lxd-cluster/0"))

	// One that has yet to say it.
	for _, unit := range m.units() {
		delete(m.lxds[unit].local.Profiles, "dcib")
	}
	m.add(2)
	m.juju.Units["lxd-cluster/2"].Starting = true
	require.NoError(t, m.hook("lxd-cluster/0"))
	require.Empty(t, m.eth0("lxd-cluster/0"))
	require.Equal(t, "active", m.juju.Units["lxd-cluster/0"].Status)
	require.Contains(t, m.juju.Units["lxd-cluster/0"].Message, "; lxd-cluster/2 has not reported yet whether its machine has br0 (option bridge is auto)")
}

func TestAutoSurvivesCrashes(t *testing.T) {
	crashes(t, 2, anyFault, func(c crashing) {
		c.juju.Config["lxd-cluster"]["bridge"] = "auto"
		for _, unit := range c.units() {
			c.lxds[unit].local.Networks["br0"] = false
		}
		c.settle(7)
		require.Equal(c.run, onBr0, c.eth0("lxd-cluster/1"))
	})
}

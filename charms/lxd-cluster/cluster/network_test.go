package cluster

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMembersWithoutTheBridgeAreNamed(t *testing.T) {
	m := newModel(t.TempDir)
	m.juju.Config["lxd-cluster"]["bridge"] = "br0"
	for n := range 3 {
		unit := m.add(n)
		m.lxds[unit].local.Networks["br0"] = false
	}
	bare := "lxd-cluster/2"
	m.lxds[bare].local.Networks = map[string]bool{"br1": false}
	m.settle(9)
	require.Equal(t, "blocked", m.juju.Units[bare].Status)
	require.Contains(t, m.juju.Units[bare].Message, "option bridge is br0: this machine (2-host) has no bridge br0: create it there, set the option to one of br1")
	for _, unit := range []string{"lxd-cluster/0", "lxd-cluster/1"} {
		require.Equal(t, "active", m.juju.Units[unit].Status)
		require.Contains(t, m.juju.Units[unit].Message, "all online; no bridge br0 on 2-host")
	}
	require.Equal(t, "br0", m.lxds[bare].local.Profiles["dcib"].Devices["eth0"]["parent"])

	m.lxds[bare].local.Networks["br0"] = false
	m.settle(2)
	for _, unit := range m.units() {
		require.Equal(t, "active", m.juju.Units[unit].Status)
		require.NotContains(t, m.juju.Units[unit].Message, "no bridge")
	}
}

func TestAProfileKeepsItsNetworkUntilThereIsAnother(t *testing.T) {
	m := newModel(t.TempDir)
	unit := m.add(0)
	m.settle(3)
	m.juju.Config["lxd-cluster"]["bridge"] = "ovn0"
	m.settle(2)
	require.Equal(t, "blocked", m.juju.Units[unit].Status)
	require.Contains(t, m.juju.Units[unit].Message, "set the option to one of lxdbr0, or have LXD create it")
	require.Equal(t, "lxdbr0", m.lxds[unit].local.Profiles["dcib"].Devices["eth0"]["network"])

	m.lxds[unit].local.Networks["ovn0"] = true // of whatever type
	m.settle(2)
	require.Equal(t, "active", m.juju.Units[unit].Status)
	require.Equal(t, map[string]string{"type": "nic", "name": "eth0", "network": "ovn0"}, m.lxds[unit].local.Profiles["dcib"].Devices["eth0"])
}

func TestMembersWithoutTheBridgeSurviveCrashes(t *testing.T) {
	crashes(t, 2, anyFault, func(c crashing) {
		c.juju.Config["lxd-cluster"]["bridge"] = "br0"
		c.lxds["lxd-cluster/0"].local.Networks["br0"] = false
		c.settle(6)
		c.lxds["lxd-cluster/1"].local.Networks["br0"] = false
		c.settle(3)
	})
}

func TestTheNICHasTheKeysOfPackageMAAS(t *testing.T) {
	m := newModel(t.TempDir)
	m.juju.Config["lxd-cluster"]["bridge"] = "br0"
	unit := m.add(0)
	m.lxds[unit].local.Networks["br0"] = false
	m.nic = map[string]string{"maas.subnet.ipv4": "lan"}
	m.settle(3)
	require.Equal(t, map[string]string{"type": "nic", "name": "eth0", "nictype": "bridged", "parent": "br0", "maas.subnet.ipv4": "lan"}, m.lxds[unit].local.Profiles["dcib"].Devices["eth0"])
	m.nic = nil
	m.settle(1)
	require.NotContains(t, m.lxds[unit].local.Profiles["dcib"].Devices["eth0"], "maas.subnet.ipv4")
}

// The bridge that LXD makes by default is one for each member, with the same name and another subnet.
func TestTheStatusReportsABridgeThatConnectsNoMembers(t *testing.T) {
	m := newModel(t.TempDir)
	m.add(0)
	m.settle(3)
	says := func(unit string) string { return m.juju.Units[unit].Message }
	require.NotContains(t, says("lxd-cluster/0"), "reach", "one member has nothing to reach")
	m.add(1)
	m.settle(5)
	require.Equal(t, "active", m.juju.Units["lxd-cluster/0"].Status)
	require.Contains(t, says("lxd-cluster/0"), "; instances on different members cannot reach each other over lxdbr0: use br0")
	require.NotContains(t, says("lxd-cluster/1"), "reach each other", "one unit says so")
	m.w.joined = []string{"lxdbr0"}
	m.settle(1)
	require.NotContains(t, says("lxd-cluster/0"), "reach")
}

func TestNetworksThatAreApart(t *testing.T) {
	by := map[string]string{
		"/1.0":                 `{"api_extensions":["network","projects","clustering","storage"],"environment":{"server_clustered":true,"server_name":"m1"}}`,
		"/1.0/profiles":        `[]`,
		"/1.0/cluster/members": `[{"server_name":"m1","status":"Online"},{"server_name":"m2","status":"Online"}]`,
		"/1.0/storage-pools":   `[]`,
		"/1.0/networks/lxdbr0": `{"name":"lxdbr0","managed":true,"type":"bridge","config":{"ipv4.nat":"true"}}`,
		"/1.0/networks/linked": `{"name":"linked","managed":true,"type":"bridge","config":{"bridge.external_interfaces":"eno2"}}`,
		"/1.0/networks": `[
			{"name":"lxdbr0","managed":true,"type":"bridge","config":{"ipv4.nat":"true"}}, {"name":"linked","managed":true,"type":"bridge","config":{}},
			{"name":"fan0","managed":true,"type":"bridge","config":{"bridge.mode":"fan"}}, {"name":"tun0","managed":true,"type":"bridge","config":{"tunnel.a.remote":"10.0.0.2"}},
			{"name":"ovn0","managed":true,"type":"ovn","config":{}}, {"name":"UPLINK","managed":true,"type":"physical","config":{}},
			{"name":"lo","managed":false,"type":"loopback"},
			{"name":"br0","managed":false,"type":"bridge"}, {"name":"eno1","managed":false,"type":"physical"}]`,
	}
	local, err := answers(t, by).Observe(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"lxdbr0"}, local.IsolatedNetworks)
	require.Equal(t, []string{"UPLINK"}, local.Uplinks)
	require.Equal(t, []string{"br0", "eno1"}, local.Interfaces)
}

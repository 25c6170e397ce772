package cluster

import (
	"testing"

	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestAJoinerNamesTheParentOfEachNetworkThatNeedsOne(t *testing.T) {
	m := newModel(t.TempDir)
	first := m.add(0)
	m.settle(4)
	m.lxds[first].local.Uplinks = []string{"UPLINK", "FAST"}
	second := m.add(1)
	m.lxds[second].local.Interfaces = []string{"eno1", "eno3"}
	m.settle(6)
	unit := m.juju.Units[second]
	require.Equal(t, "blocked", unit.Status)
	require.Contains(t, unit.Message, "network FAST of the cluster needs key parent")
	require.Contains(t, unit.Message, "juju config lxd-cluster network-parents=FAST=INTERFACE, or for this machine alone 1-host:FAST=INTERFACE; it has eno1, eno3")
	require.Empty(t, m.w.issued, "no token before it is known")

	m.juju.Config["lxd-cluster"]["network-parents"] = "FAST=eno1,UPLINK=eno2"
	m.settle(4)
	require.Contains(t, unit.Message, "option network-parents has eno2 for network UPLINK, which this machine does not have")
	require.Empty(t, m.w.issued)

	m.juju.Config["lxd-cluster"]["network-parents"] = "FAST=eno1,UPLINK=eno2,1-host:UPLINK=eno3"
	m.settle(6)
	require.Equal(t, "active", unit.Status, unit.Message)
	require.Equal(t, map[string]string{"FAST": "eno1", "UPLINK": "eno3"}, m.lxds[second].parents)
	require.Len(t, m.w.issued, 1)
	require.Equal(t, []api.ClusterMemberConfigKey{
		{Entity: "network", Name: "FAST", Key: "parent", Value: "eno1"}, {Entity: "network", Name: "UPLINK", Key: "parent", Value: "eno3"},
	}, parentConfig(m.lxds[second].parents))
}

func TestTheOptionForParents(t *testing.T) {
	for text, problem := range map[string]string{
		"":                          "",
		" UPLINK = eno2 , ":         "",
		"UPLINK":                    `has "UPLINK"`,
		"UPLINK=":                   `has "UPLINK="`,
		"=eno2":                     `has "=eno2"`,
		":UPLINK=eno2":              `has ":UPLINK=eno2"`,
		"UPLINK=../eno2":            `has "UPLINK=../eno2"`,
		"UPLINK=abcdefghijklmnop":   "has",
		"UPLINK=a,UPLINK=b":         "names UPLINK twice",
		"n1:UPLINK=a,UPLINK=b":      "",
		"n1:UPLINK=a, n1:UPLINK =b": "names n1:UPLINK twice",
	} {
		_, got := parseParents(text)
		if problem == "" {
			require.Empty(t, got, text)
		} else {
			require.Contains(t, got, problem, text)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		parents, problem := parseParents(rapid.String().Draw(t, "text"))
		if problem != "" && len(parents) > 0 {
			t.Fatalf("both: %v, %s", parents, problem)
		}
	})
}

package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/charms/lxd-cluster/cluster"
	"github.com/dcib/dcib/charms/lxd-cluster/notify"
	"github.com/dcib/dcib/internal/testkit/pages"
)

func TestPorts(t *testing.T) {
	calls := notify.Facts{ClusterInfo: notify.ClusterInfo{Wanted: true, LXD: "10.0.0.1:8443"}, Present: true, Complete: true, Listening: true, Token: "W"}
	member := func(address, listens, clusters string) cluster.Facts {
		return cluster.Facts{Address: address, LXD: cluster.ServerState{Present: true, Clustered: true, Listens: listens, Clusters: clusters}}
	}
	for name, c := range map[string]struct {
		facts
		want []string
	}{
		"a member":                {facts{Cluster: member("10.0.0.1:8443", "10.0.0.1:8443", "10.0.0.1:8443")}, []string{"8443/tcp"}},
		"another port":            {facts{Cluster: member("10.0.0.1:9443", "10.0.0.1:9443", "10.0.0.1:9443")}, []string{"9443/tcp"}},
		"two ports":               {facts{Cluster: member("[fd00::1]:8443", "[::]:443", "[fd00::1]:8443")}, []string{"8443/tcp", "443/tcp"}},
		"an API for the machine":  {facts{Cluster: member("10.0.0.1:8443", "127.0.0.1:9443", "10.0.0.1:8443")}, []string{"8443/tcp"}},
		"an address without port": {facts{Cluster: member("10.0.0.1", "10.0.0.1", "")}, []string{"8443/tcp"}},
		"the broker":              {facts{Cluster: member("10.0.0.1:8443", "", ""), Notify: calls}, []string{"8443/tcp", "17668/udp"}},
		"no member yet":           {facts{Cluster: cluster.Facts{Address: "10.0.0.1:8443"}}, []string{}},
		"no database":             {facts{Cluster: cluster.Facts{DatabaseError: "no quorum"}}, nil},
		"leaving":                 {facts{Cluster: cluster.Facts{Removal: &cluster.Removal{}}}, nil},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, c.ports()) })
	}
	calls.Wanted = false
	require.Equal(t, []string{"8443/tcp"}, newCharm().PlanOf(facts{Cluster: member("10.0.0.1:8443", "", ""), Notify: calls}).Ports, "it is closed without requesters of profiles")
}

// The ports that the page names as opened are those that a unit with all of its services opens.
func TestThePortsOnThePage(t *testing.T) {
	all := facts{
		Cluster: cluster.Facts{Address: "10.0.0.1:8443", LXD: cluster.ServerState{Clustered: true}},
		Notify:  notify.Facts{ClusterInfo: notify.ClusterInfo{Wanted: true, LXD: "10.0.0.1:8443"}, Complete: true, Listening: true, Token: "W"},
	}
	require.ElementsMatch(t, pages.OpenedPorts(t, "../../docs/reference/ports.md", "lxd-cluster"), all.ports())
}

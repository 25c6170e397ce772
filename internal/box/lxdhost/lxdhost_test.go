package lxdhost

import (
	"net/netip"
	"testing"

	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/box/place"
)

func TestEndpoint(t *testing.T) {
	subnet := netip.MustParsePrefix("10.178.64.0/24")
	own := Host{Place: place.Place{Home: "/h", Name: "a"}, Subnet: subnet}
	snap := Host{Place: place.Place{Home: "/h", Name: "a", Snap: &place.Snap{}}, Subnet: subnet}
	for _, c := range []struct {
		host     Host
		address  any
		listens  bool
		endpoint string
	}{
		{own, "10.178.64.1:8443", true, "10.178.64.1:8443"},
		{own, "[::]:8443", false, "10.178.64.1:8443"}, // open to everyone
		{own, nil, false, "10.178.64.1:8443"},
		{snap, nil, false, "10.178.64.1:8443"},
		{snap, "[::]:8443", true, "10.178.64.1:8443"},
		{snap, ":9443", true, "10.178.64.1:9443"},
		{snap, "192.168.1.5:9443", true, "192.168.1.5:9443"},
		{snap, "192.168.1.5", true, "192.168.1.5:8443"},
	} {
		server := &api.Server{}
		server.Config = map[string]any{"core.https_address": c.address}
		require.Equal(t, c.listens, c.host.listens(server), c.address)
		require.Equal(t, c.endpoint, c.host.endpoint(server), c.address)
	}
	require.Equal(t, "10.178.64.1/24", own.cidr())
}

func TestAddressIsTheBridges(t *testing.T) {
	nic := func(addresses ...string) api.InstanceStateNetwork {
		n := api.InstanceStateNetwork{Addresses: []api.InstanceStateNetworkAddress{{Family: "inet6", Scope: "link", Address: "fe80::1"}}}
		for _, a := range addresses {
			n.Addresses = append(n.Addresses, api.InstanceStateNetworkAddress{Family: "inet", Scope: "global", Address: a})
		}
		return n
	}
	for _, c := range []struct {
		networks map[string]api.InstanceStateNetwork
		want     string
	}{
		{map[string]api.InstanceStateNetwork{"eth0": nic(), "br0": nic("10.1.2.3"), "lxdbr0": nic("10.9.9.1")}, "10.1.2.3"},
		{map[string]api.InstanceStateNetwork{"eth0": nic("10.1.2.3"), "lxdbr0": nic("10.9.9.1")}, "10.1.2.3"},
		{map[string]api.InstanceStateNetwork{"eth0": nic(), "lxdbr0": nic("10.9.9.1")}, ""},
	} {
		require.Equal(t, c.want, addressOf(c.networks))
	}
}

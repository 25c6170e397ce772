package drainlxd

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/drain"
)

func TestClassifyDevices(t *testing.T) {
	all := map[string]map[string]string{
		"root":   {"type": "disk", "path": "/", "pool": "local"},
		"eth0":   {"type": "nic", "network": "lxdbr0"},
		"eth1":   {"type": "nic", "nictype": "bridged", "parent": "br0"},
		"eth2":   {"type": "nic", "nictype": "macvlan", "parent": "eno1"},
		"eth3":   {"type": "nic", "nictype": "physical", "parent": "eno2"},
		"eth4":   {"type": "nic", "nictype": "sriov", "parent": "eno3"},
		"eth5":   {"type": "nic", "nictype": "p2p"},
		"eth6":   {"type": "nic", "nictype": "routed", "parent": "eno1"},
		"share":  {"type": "disk", "path": "/srv", "pool": "fs", "source": "share"},
		"data":   {"type": "disk", "path": "/data", "source": "/data"},
		"gpu0":   {"type": "gpu"},
		"gpu1":   {"type": "gpu", "vendorid": "10de", "productid": "1eb8"},
		"gpu2":   {"type": "gpu", "vendorid": "10de", "productid": "1eb8", "pci": "0000:01:00.0"},
		"dongle": {"type": "usb", "vendorid": "0529"},
		"web":    {"type": "proxy", "listen": "tcp:0.0.0.0:80", "connect": "tcp:127.0.0.1:80"},
		"off":    {"type": "none"},
	}
	ties, uses := classifyDevices("container", all, map[string]bool{"fs": true})
	require.Equal(t, []string{"disk data", "gpu gpu0", "gpu gpu2", "nic eth3", "nic eth4", "nic eth5", "proxy web", "usb dongle"}, ties)
	require.Equal(t, []drain.HostDevice{
		{Device: "gpu gpu1", Resource: "gpu 10de:1eb8"}, {Device: "nic eth1", Resource: "bridge br0"},
		{Device: "nic eth2", Resource: "interface eno1"}, {Device: "nic eth6", Resource: "interface eno1"},
	}, uses)
	ties, _ = classifyDevices("container", all, nil)
	require.Contains(t, ties, "disk share")
	ties, _ = classifyDevices("virtual-machine", all, nil)
	require.Contains(t, ties, "gpu gpu1", "a virtual machine has a card alone")

	clear(all)
	for n := range 2 * maxHostDevices {
		all[fmt.Sprintf("eth%02d", n)] = map[string]string{"type": "nic", "nictype": "bridged", "parent": fmt.Sprint("br", n)}
	}
	ties, uses = classifyDevices("container", all, nil)
	require.Len(t, uses, maxHostDevices)
	require.Len(t, ties, maxHostDevices)
}

// A virtual machine that LXD stops because of a device is not moved while it runs.
func TestVirtualMachineWithLocalDevicesIsNotLiveMovable(t *testing.T) {
	i := api.Instance{Type: "virtual-machine", ExpandedConfig: map[string]string{"migration.stateful": "true"}}
	require.True(t, instanceOf(i, nil).LiveMovable)
	i.ExpandedDevices = map[string]map[string]string{"gpu": {"type": "gpu"}}
	require.False(t, instanceOf(i, nil).LiveMovable)
	i.ExpandedConfig["cluster.evacuate"] = "live-migrate"
	require.True(t, instanceOf(i, nil).LiveMovable, "LXD does not look at devices then")
}

// hosts is an LXD cluster whose members have interfaces of their own.
type hosts struct {
	lxdclient.InstanceServer
	mu      *sync.Mutex
	version string
	target  string
	has     map[string]map[string]api.Network // by member
	asked   map[string]int                    // by member and interface
	broken  string                            // this member does not answer
}

func (h hosts) UseTarget(name string) lxdclient.InstanceServer { h.target = name; return h }

func (h hosts) GetServer() (*api.Server, string, error) {
	return &api.Server{Environment: api.ServerEnvironment{ServerVersion: h.version}}, "", nil
}

func (h hosts) GetClusterMembers() (members []api.ClusterMember, err error) {
	for name := range h.has {
		members = append(members, api.ClusterMember{ServerName: name, Status: "Online"})
	}
	return members, nil
}

func (h hosts) GetStoragePools() ([]api.StoragePool, error) { return nil, nil }

func (h hosts) GetServerResources() (*api.Resources, error) {
	return &api.Resources{GPU: api.ResourcesGPU{Cards: []api.ResourcesGPUCard{{VendorID: "10de", ProductID: "1eb8"}}}}, nil
}

// GetNetworks returns those of the member that gets the request, whatever the target, as LXD 5.0 does.
func (h hosts) GetNetworks() ([]api.Network, error) { return nil, errors.New("lists the wrong member") }

func (h hosts) GetNetwork(name string) (*api.Network, string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked[h.target+" "+name]++
	if h.target == h.broken {
		return nil, "", errors.New("connection refused")
	}
	if n, there := h.has[h.target][name]; there {
		n.Name = name
		return &n, "", nil
	}
	return nil, "", api.StatusErrorf(http.StatusNotFound, "Network not found")
}

// Each member is asked, once for each interface, which resources it has that devices use.
func TestCapacitiesHaveHostResources(t *testing.T) {
	bridge := api.Network{Type: "bridge"}
	h := hosts{
		mu: &sync.Mutex{}, asked: map[string]int{}, version: "5.0.2", broken: "d",
		has: map[string]map[string]api.Network{
			"a": {"br0": bridge, "lxdbr0": {Type: "bridge", Managed: true}, "eno1": {Type: "physical"}},
			"b": {"br0": {Type: "physical"}, "lxdbr0": {Type: "bridge", Managed: true}},
			"c": {}, "d": {"br0": bridge},
		},
	}
	use := func(wants string) drain.Instance {
		return drain.Instance{HostDevices: []drain.HostDevice{{Resource: wants}}}
	}
	instances := []drain.Instance{use("bridge br0"), use("bridge br0"), use("interface eno1"), use("bridge lxdbr0"), use("gpu 10de:1eb8")}
	capacities, err := Cluster{Server: h}.Capacities(t.Context(), instances)
	require.NoError(t, err)
	gpu := map[string]bool{"gpu 10de:1eb8": true}
	with := func(names ...string) map[string]bool {
		has := map[string]bool{}
		for _, name := range names {
			has[name] = true
		}
		for name := range gpu {
			has[name] = true
		}
		return has
	}
	require.Equal(t, with("bridge br0", "interface br0", "bridge lxdbr0", "interface lxdbr0", "interface eno1"), capacities["a"].HostResources)
	require.Equal(t, with("interface br0", "bridge lxdbr0", "interface lxdbr0"), capacities["b"].HostResources)
	require.Equal(t, with(), capacities["c"].HostResources)
	require.Nil(t, capacities["d"].HostResources, "not known")
	require.Empty(t, capacities["a"].ManagedResources, "LXD 5.0.2 does not look at parents")
	for asked, n := range h.asked {
		require.Equal(t, 1, n, asked)
	}

	h.version = "5.0.3"
	capacities, err = Cluster{Server: h}.Capacities(t.Context(), instances)
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"bridge lxdbr0": true, "interface lxdbr0": true}, capacities["a"].ManagedResources)

	clear(h.asked)
	_, err = Cluster{Server: h}.Capacities(t.Context(), []drain.Instance{{}})
	require.NoError(t, err)
	require.Empty(t, h.asked)
}

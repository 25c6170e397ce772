package maas_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/maas"
	"github.com/dcib/dcib/internal/maas/inventory"
	"github.com/dcib/dcib/internal/testkit/maas"
)

func ready() *maastest.Region {
	return &maastest.Region{
		Subnets: []maastest.Subnet{{ID: 1, CIDR: "10.0.0.0/24", VLAN: 5001}, {ID: 2, CIDR: "10.1.0.0/24", VLAN: 5002}},
		Machines: []maastest.Machine{{
			SystemID: "m1", Hostname: "node1", Status: "Ready",
			Interfaces: []maastest.Interface{
				{ID: 11, Name: "eno1", VLAN: 5001, Links: []maastest.Link{{ID: 21, Mode: "auto", Subnet: 1}}},
				{ID: 12, Name: "eno2", VLAN: 5001}, {ID: 13, Name: "eno3", VLAN: 5002}, {ID: 14, Name: "eno4"},
			},
			Disks: []maastest.Disk{{ID: 31, Name: "sda", Size: 100e9}, {ID: 32, Name: "sdb", Size: 50e9, Tags: []string{"ssd"}}},
		}},
	}
}

func TestMachinesNetwork(t *testing.T) {
	r := ready()
	c := connect(t, r)
	s, err := c.Fleet(t.Context())
	require.NoError(t, err)
	require.Equal(t, []inventory.Subnet{{ID: 1, Name: "10.0.0.0/24", CIDR: "10.0.0.0/24", VLAN: 5001, Fabric: "fabric-5001"}, {ID: 2, Name: "10.1.0.0/24", CIDR: "10.1.0.0/24", VLAN: 5002, Fabric: "fabric-5002"}}, s.Subnets)
	m := s.Machines[0]
	require.Equal(t, 11, m.Boot)
	require.Equal(t, inventory.Link{ID: 21, Mode: "auto", Subnet: 1, CIDR: "10.0.0.0/24"}, m.Interfaces[0].Links[0])
	require.Equal(t, 31, m.BootDisk)
	require.Equal(t, inventory.Disk{ID: 32, Name: "sdb", Size: 50e9, Tags: []string{"ssd"}}, m.Disks[1])

	require.NoError(t, c.CreateBond(t.Context(), "m1", "bond0", []int{11, 12}, map[string]string{"bond_mode": "802.3ad", "mtu": "9000"}))
	has, err := c.Interfaces(t.Context(), "m1")
	require.NoError(t, err)
	bond := has[4]
	require.Equal(t, []string{"eno1", "eno2"}, bond.Parents)
	require.Equal(t, "802.3ad 9000 100", bond.Params["bond_mode"]+" "+bond.Params["mtu"]+" "+bond.Params["bond_miimon"])
	require.Empty(t, has[0].Links, "who is in a bond has no address of its own")
	require.Equal(t, []string{"bond0"}, has[0].Children)
	require.Equal(t, "link_up", bond.Links[0].Mode)

	require.NoError(t, c.CreateBridge(t.Context(), "m1", "br0", bond.ID, map[string]string{"bridge_stp": "true"}))
	has, err = c.Interfaces(t.Context(), "m1")
	require.NoError(t, err)
	bridge := has[5]
	require.Equal(t, "true", bridge.Params["bridge_stp"])
	require.NoError(t, c.ChangeInterface(t.Context(), "m1", bridge.ID, map[string]string{"bridge_stp": "false"}))
	require.NoError(t, c.Link(t.Context(), "m1", bridge.ID, inventory.Link{Mode: "static", Subnet: 1, Address: "10.0.0.9"}))
	has, err = c.Interfaces(t.Context(), "m1")
	require.NoError(t, err)
	require.Equal(t, "false", has[5].Params["bridge_stp"])
	require.Len(t, has[5].Links, 1)
	require.Equal(t, "10.0.0.9", has[5].Links[0].Address)
	require.NoError(t, c.Unlink(t.Context(), "m1", bridge.ID, has[5].Links[0].ID))
	require.Equal(t, "link_up", r.Machines[0].Interfaces[5].Links[0].Mode)

	refusal := func(err error, status int, said string) {
		t.Helper()
		require.True(t, maas.IsStatus(err, status), err)
		require.ErrorContains(t, err, said)
	}
	refusal(c.CreateBridge(t.Context(), "m1", "br0", 13, nil), 400, "already has an interface named 'br0'")
	refusal(c.CreateBridge(t.Context(), "m1", "br1", bond.ID, nil), 400, "already in a bond or a bridge")
	refusal(c.CreateBridge(t.Context(), "m1", "br1", bridge.ID, nil), 400, "another bridge interface")
	refusal(c.CreateBridge(t.Context(), "m1", "br1", 99, nil), 400, "Select a valid choice")
	refusal(c.CreateBond(t.Context(), "m1", "bond1", []int{13, 14}, nil), 400, "same VLAN")
	refusal(c.CreateBond(t.Context(), "m1", "bond1", []int{11}, nil), 400, "already in-use")
	refusal(c.CreateBond(t.Context(), "m1", "bond1", []int{13}, map[string]string{"bond_mode": "fast"}), 400, "not a valid bond_mode")
	refusal(c.Link(t.Context(), "m1", bridge.ID, inventory.Link{Mode: "auto", Subnet: 2}), 400, "not one of the available choices")
	refusal(c.Link(t.Context(), "m1", bridge.ID, inventory.Link{Mode: "auto"}), 400, "This field is required")
	refusal(c.Link(t.Context(), "m1", bridge.ID, inventory.Link{Mode: "static", Subnet: 1, Address: "10.1.0.9"}), 400, "not in the given subnet")
	refusal(c.Link(t.Context(), "m1", 11, inventory.Link{Mode: "dhcp"}), 400, "is in a bond")
	refusal(c.Unlink(t.Context(), "m1", bridge.ID, 12345), 400, "not a valid id")
	refusal(c.ChangeInterface(t.Context(), "m1", bridge.ID, map[string]string{"mtu": "100"}), 400, "greater than or equal to 552")
	_, err = c.Interfaces(t.Context(), "none")
	refusal(err, 404, "No Machine")
	r.Machines[0].Status = "Deployed"
	refusal(c.CreateBridge(t.Context(), "m1", "br9", 13, nil), 409, "not New, Ready, Allocated, or Broken")
	refusal(c.Link(t.Context(), "m1", bridge.ID, inventory.Link{Mode: "dhcp"}), 409, "link subnet")
}

func TestMachinesStorage(t *testing.T) {
	r := ready()
	c := connect(t, r)
	layout := func() (string, inventory.Machine) {
		machines, err := c.Machines(t.Context())
		require.NoError(t, err)
		return inventory.Layout(machines[0]), machines[0]
	}
	for _, one := range []struct {
		layout string
		params map[string]string
	}{
		{"lvm", map[string]string{"vg_name": "vg", "lv_size": "10737418240"}}, {"flat", map[string]string{"boot_size": "1073741824"}},
		{"bcache", map[string]string{"cache_mode": "writeback", "cache_device": "32"}}, {"bcache", map[string]string{"cache_no_part": "true"}}, {"blank", nil},
	} {
		require.NoError(t, c.SetStorageLayout(t.Context(), "m1", one.layout, one.params))
		is, m := layout()
		require.Equal(t, one.layout, is)
		if one.params["cache_mode"] != "" {
			require.Equal(t, "writeback", m.CacheMode)
		}
	}
	refusal := func(layout string, params map[string]string, status int, said string) {
		t.Helper()
		err := c.SetStorageLayout(t.Context(), "m1", layout, params)
		require.True(t, maas.IsStatus(err, status), err)
		require.ErrorContains(t, err, said)
	}
	refusal("zfs", nil, 400, "'zfs' is not a valid storage_layout")
	refusal("flat", map[string]string{"root_size": "200000000000"}, 400, "Size is too large")
	refusal("flat", map[string]string{"boot_size": "512000000"}, 400, "Size is too small")
	refusal("flat", map[string]string{"root_device": "77"}, 400, "not a valid root_device")
	refusal("bcache", map[string]string{"cache_device": "31"}, 400, "not a valid cache_device")
	refusal("bcache", map[string]string{"cache_size": "60000000000"}, 400, "Size is too large")
	refusal("bcache", map[string]string{"cache_size": "1000"}, 400, "Size is too small")
	refusal("bcache", map[string]string{"cache_size": "10000000000", "cache_no_part": "true"}, 400, "at the same time")
	require.NoError(t, c.AddDiskTag(t.Context(), "m1", 32, "fast"))
	require.NoError(t, c.AddDiskTag(t.Context(), "m1", 32, "fast"))
	require.NoError(t, c.RemoveDiskTag(t.Context(), "m1", 32, "ssd"))
	require.NoError(t, c.RemoveDiskTag(t.Context(), "m1", 32, "ssd"))
	_, m := layout()
	require.Equal(t, []string{"fast"}, m.Disks[1].Tags)
	err := c.AddDiskTag(t.Context(), "m1", 77, "fast")
	require.True(t, maas.IsStatus(err, 404), err)
	refusal("bcache", nil, 400, "doesn't have an available cache device")
	r.Machines[0].Status = "Allocated"
	refusal("flat", nil, 409, "not Ready")
	err = c.RemoveDiskTag(t.Context(), "m1", 32, "fast")
	require.True(t, maas.IsStatus(err, 409), err)
	r.Machines[0].Status, r.Machines[0].Disks = "Ready", nil
	refusal("flat", nil, 400, "missing a boot disk")
}

func TestMachinesLife(t *testing.T) {
	r := ready()
	r.Machines[0].Status = "New"
	c := connect(t, r)
	status := func(want string) {
		t.Helper()
		is, err := c.Status(t.Context(), "m1")
		require.NoError(t, err)
		require.Equal(t, want, is)
	}
	user, err := c.User(t.Context())
	require.NoError(t, err)
	require.Equal(t, "admin", user)
	err = c.Deploy(t.Context(), "m1", inventory.DeployOptions{})
	require.True(t, maas.IsStatus(err, 409), err)
	require.NoError(t, c.Commission(t.Context(), "m1", inventory.CommissionOptions{}))
	status("Commissioning")
	err = c.Commission(t.Context(), "m1", inventory.CommissionOptions{})
	require.True(t, maas.IsStatus(err, 400), err)
	require.ErrorContains(t, err, "not available because of the current state")
	r.Finish("node1")
	status("Ready")
	err = c.Deploy(t.Context(), "m1", inventory.DeployOptions{Series: "warty"})
	require.ErrorContains(t, err, "'warty' is not a valid distro_series")
	require.NoError(t, c.Deploy(t.Context(), "m1", inventory.DeployOptions{Series: "noble", UserData: []byte("#cloud-config")}))
	require.Equal(t, "I2Nsb3VkLWNvbmZpZw==", r.Machines[0].UserData)
	status("Deploying")
	r.Finish("node1")
	status("Deployed")
}

// gomaasclient itself would sleep 40 seconds here, and not hear of the context.
func TestMachinesDoNotWaitForMAAS(t *testing.T) {
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "10")
		http.Error(w, "busy, secret3", http.StatusServiceUnavailable)
	}))
	t.Cleanup(busy.Close)
	c, err := maas.New(busy.URL+"/MAAS", key)
	require.NoError(t, err)
	began := time.Now()
	_, err = c.Machines(t.Context())
	require.True(t, maas.IsStatus(err, 503), err)
	require.NotContains(t, err.Error(), "secret3")
	require.Less(t, time.Since(began), 5*time.Second)

	// Each request has its time, however many there are: one for each machine with a bcache.
	r := ready()
	r.Machines[0].CacheMode = "writeback"
	for n := range 9 {
		m := r.Machines[0]
		m.SystemID, m.Hostname = fmt.Sprintf("n%d", n), fmt.Sprintf("more%d", n)
		r.Machines = append(r.Machines, m)
	}
	const each = 100 * time.Millisecond
	r.Version, r.Keys = "3.7.3", []string{key}
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		time.Sleep(each) // what is tested is a time limit
		r.ServeHTTP(w, request)
	}))
	t.Cleanup(slow.Close)
	c, err = maas.New(slow.URL+"/MAAS", key)
	require.NoError(t, err)
	c.Limit(8 * each)
	machines, err := c.Machines(t.Context())
	require.NoError(t, err)
	require.Len(t, machines, 10)
	c.Limit(each / 10)
	_, err = c.Machines(t.Context())
	require.EqualError(t, err, "cannot list MAAS's machines: MAAS does not answer within 10ms")

	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) { <-request.Context().Done() }))
	t.Cleanup(hangs.Close)
	c, err = maas.New(hangs.URL+"/MAAS", key)
	require.NoError(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(errors.New("enough")) })
	_, err = c.Machines(ctx)
	require.ErrorContains(t, err, "enough")
}

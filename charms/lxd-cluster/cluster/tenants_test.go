package cluster

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/hooktool"
)

// What a tenant may ask for its instances keeps no unit, or says in the hook that fails what it is and
// how the unit goes all the same; each hook ends.
func TestNoTenantKeepsAUnitFromLeaving(t *testing.T) {
	capacities := map[string]drain.Capacity{}
	for n := range 3 {
		capacities[hostOf(n)] = drain.Capacity{Memory: 8 << 30, FreeMemory: 1 << 30, CPUs: 4, Pools: map[string]int64{"local": 1 << 30}, HostResources: map[string]bool{}}
	}
	long := strings.Repeat("n", 63)
	for name, c := range map[string]struct {
		tenant func(m *model, i *drain.Instance)
		stays  []string // what the error says; none for a unit that leaves
	}{
		"memory that no host has":      {func(_ *model, i *drain.Instance) { i.Requirements.Memory = math.MaxInt64 }, nil},
		"processors without end":       {func(_ *model, i *drain.Instance) { i.Requirements.CPUs = math.MaxInt32 }, nil},
		"a root disk without end":      {func(_ *model, i *drain.Instance) { i.Requirements.Pool, i.Requirements.Disk = "local", math.MaxInt64 }, nil},
		"the longest name":             {func(_ *model, i *drain.Instance) { i.Name = long }, nil},
		"a name like a flag":           {func(_ *model, i *drain.Instance) { i.Name = "--force" }, nil},
		"another project":              {func(_ *model, i *drain.Instance) { i.Project = long }, nil},
		"no identity":                  {func(_ *model, i *drain.Instance) { i.ID = "" }, nil},
		"stopped, though it is to run": {func(_ *model, i *drain.Instance) { i.Running, i.ShouldRun = false, true }, nil},
		"300 instances": {func(m *model, _ *drain.Instance) {
			for n := range 300 {
				m.inside().Add(fmt.Sprintf("many%d", n), hostOf(1), n%2 == 0)
			}
		}, nil},
		"a device that another member has": {func(m *model, i *drain.Instance) {
			i.HostDevices = []drain.HostDevice{{Device: "nic eth0", Resource: "bridge br0"}}
			m.inside().Capacity[hostOf(2)].HostResources["bridge br0"] = true
		}, nil},
		"a device of this host": {func(_ *model, i *drain.Instance) { i.LocalDevices = []string{"unix-char kmsg"} }, []string{"instance tenant is tied to this member by unix-char kmsg", "lxc move NAME --target MEMBER", "juju remove-unit --force lxd-cluster/1"}},
		"a thousand devices": {func(_ *model, i *drain.Instance) {
			for n := range 1000 {
				i.LocalDevices = append(i.LocalDevices, fmt.Sprintf("unix-char %s%d", long, n))
			}
		}, []string{"instance tenant is tied", "juju remove-unit --force lxd-cluster/1"}},
		"ephemeral": {func(_ *model, i *drain.Instance) { i.Ephemeral = true }, []string{"instance tenant is ephemeral", "juju remove-unit --force lxd-cluster/1"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := formed(t, 3)
			m.inside().Capacity = capacities
			for _, capacity := range capacities {
				clear(capacity.HostResources)
			}
			c.tenant(m, m.inside().Add("tenant", hostOf(1), true))
			instances, began := len(m.inside().Instance), time.Now()
			err := m.leave("lxd-cluster/1")
			require.Less(t, time.Since(began), 30*time.Second, "the hook ends")
			require.Len(t, m.inside().Instance, instances, "nothing is lost")
			if c.stays == nil {
				require.NoError(t, err)
				require.Len(t, *m.lxds["lxd-cluster/0"].members, 2)
				return
			}
			for _, says := range c.stays {
				require.ErrorContains(t, err, says)
			}
			require.Len(t, *m.lxds["lxd-cluster/0"].members, 3)
			require.LessOrEqual(t, len(m.juju.Units["lxd-cluster/1"].Message), 4<<10)
			require.Empty(t, m.inside().Calls, "nothing was stopped for it")
		})
	}
}

// Nor does what is in the cluster keep another machine from joining it.
func TestNoTenantKeepsAMachineFromJoining(t *testing.T) {
	m := formed(t, 2)
	tenant := m.inside().Add(strings.Repeat("n", 63), hostOf(0), true)
	tenant.Requirements.Memory, tenant.Requirements.CPUs, tenant.LocalDevices, tenant.Ephemeral = math.MaxInt64, math.MaxInt32, []string{"disk /"}, true
	third := m.add(2)
	m.settle(6)
	require.True(t, m.lxds[third].local.Clustered, m.juju.Units[third].Message)
	for _, unit := range m.units() {
		require.Equal(t, "active", m.juju.Units[unit].Status)
	}
}

// A joiner that has much says so within what Juju takes.
func TestAJoinerWithMuchInItsLXDEndsItsHook(t *testing.T) {
	m := newModel(t.TempDir)
	m.add(0)
	m.settle(4)
	var owned []string
	for n := range 5000 {
		owned = append(owned, fmt.Sprintf("instance %s%d", strings.Repeat("n", 58), n))
	}
	full := m.add(1, owned...)
	m.settle(3)
	require.NoError(t, m.hook(full))
	unit := m.juju.Units[full]
	require.Equal(t, "blocked", unit.Status)
	require.LessOrEqual(t, len(unit.Message), 4<<10)
	require.Contains(t, unit.Message, "wipe-on-join=true", "the ways out are said, too")
	require.NoError(t, m.charm().Run(t.Context(), hooktool.Event{Hook: "config-changed", Unit: full}, func() hooktool.Tools { tools, _ := m.juju.Hook(full); return tools }()))
}

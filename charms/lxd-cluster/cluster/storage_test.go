package cluster

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"
)

// storage sets the three options.
func (m *model) storage(p Pool) {
	options := m.juju.Config["lxd-cluster"]
	options["storage-pool"], options["storage-driver"], options["storage-source"] = p.Name, p.Driver, p.Source
}

func TestStorageOptions(t *testing.T) {
	for _, good := range []Pool{defaultPool, {"fast", "dir", "/srv/lxd"}, {"local", "btrfs", "/srv/lxd"}, {"local", "btrfs", "/dev/sdb"}, {"local", "zfs", "/dev/disk/by-id/x"}, {"vg.0", "lvm", ""}} {
		require.Empty(t, good.problems(), "%v", good)
	}
	for option, bad := range map[string][]Pool{
		"storage-pool":   {{"", "dir", ""}, {"a/b", "dir", ""}, {"-a", "dir", ""}},
		"storage-driver": {{"local", "", ""}, {"local", "ext4", ""}},
		"storage-source": {{"local", "dir", "srv"}, {"local", "dir", "/srv/../x"}, {"local", "dir", "/dev/sdb"}, {"local", "zfs", "/srv/lxd"}, {"local", "lvm", "/srv/lxd"}, {"local", "ceph", "/dev/sdb"}},
	} {
		for _, p := range bad {
			t.Run(fmt.Sprint(option, p), func(t *testing.T) {
				m := newModel(t.TempDir)
				unit := m.add(0)
				m.storage(p)
				m.settle(3)
				require.Equal(t, "blocked", m.juju.Units[unit].Status)
				require.Contains(t, m.juju.Units[unit].Message, "option "+option+" is")
				require.Zero(t, m.lxds[unit].effects, "nothing was changed")
				m.storage(defaultPool)
				m.settle(2)
				require.Equal(t, "active", m.juju.Units[unit].Status)
			})
		}
	}
}

func TestEachMemberHasThePoolAtItsOwnSource(t *testing.T) {
	m := newModel(t.TempDir)
	want := Pool{"fast", "btrfs", t.TempDir()}
	m.storage(want)
	for n := range 3 {
		unit := m.add(n)
		m.lxds[unit].local.Drivers = []string{"btrfs", "dir"}
	}
	m.settle(8)
	for _, unit := range m.units() {
		require.Equal(t, "active", m.juju.Units[unit].Status, m.juju.Units[unit].Message)
		require.Equal(t, map[string]Pool{"fast": want}, m.lxds[unit].pools)
		require.Equal(t, "fast", m.lxds[unit].local.Profiles["dcib"].Devices["root"]["pool"])
	}
	require.Equal(t, []api.ClusterMemberConfigKey{{Entity: "storage-pool", Name: "fast", Key: "source", Value: want.Source}}, want.memberConfig())
	require.Empty(t, defaultPool.memberConfig())
}

func TestAPoolIsOnTheStorageThatJujuAttached(t *testing.T) {
	m := newModel(t.TempDir)
	m.storage(Pool{"local", "btrfs", ""})
	dirs := map[string]string{}
	for n := range 2 {
		unit := m.add(n)
		dirs[unit] = t.TempDir() // a folder, since a test has no device of its own
		m.juju.Units[unit].Storage = map[string][]string{"local": {dirs[unit]}}
	}
	bare := m.add(2)
	m.settle(8)
	for unit, dir := range dirs {
		require.Equal(t, map[string]Pool{"local": {"local", "btrfs", dir}}, m.lxds[unit].pools)
		require.Equal(t, "active", m.juju.Units[unit].Status)
	}
	require.Equal(t, map[string]Pool{"local": {"local", "btrfs", ""}}, m.lxds[bare].pools, "one without has a loop file")

	for says, p := range map[string]Pool{
		"option storage-driver is dir, and Juju has attached storage local (/dev/sdx)": {"local", "dir", ""},
		"option storage-source is /dev/sdb, and Juju has attached storage local":       {"local", "zfs", "/dev/sdb"},
		"option storage-source is /dev/sdx: this machine has none":                     {"local", "zfs", ""},
	} {
		m := newModel(t.TempDir)
		unit := m.add(0)
		m.juju.Units[unit].Storage = map[string][]string{"local": {"/dev/sdx"}}
		m.storage(p)
		m.settle(3)
		require.Equal(t, "blocked", m.juju.Units[unit].Status)
		require.Contains(t, m.juju.Units[unit].Message, says)
		require.Zero(t, m.lxds[unit].effects)
		m.juju.Units[unit].Storage = nil
		m.storage(defaultPool)
		m.settle(2)
		require.Equal(t, "active", m.juju.Units[unit].Status)
	}
}

func TestWhatTheMachineCannotDoIsSaidBeforeAnythingChanges(t *testing.T) {
	blocked := func(t *testing.T, m *model, unit string, says ...string) {
		t.Helper()
		m.settle(6)
		require.Equal(t, "blocked", m.juju.Units[unit].Status)
		for _, text := range says {
			require.Contains(t, m.juju.Units[unit].Message, text)
		}
		require.Zero(t, m.lxds[unit].effects)
	}
	t.Run("a driver, on the bootstrap unit", func(t *testing.T) {
		m := newModel(t.TempDir)
		unit := m.add(0)
		m.lxds[unit].local.Drivers = []string{"btrfs", "dir"}
		m.storage(Pool{"local", "zfs", ""})
		blocked(t, m, unit, "option storage-driver is zfs", "supports btrfs, dir")
		m.storage(Pool{"local", "btrfs", ""})
		m.settle(2)
		require.Equal(t, "active", m.juju.Units[unit].Status)
	})
	t.Run("a driver, on a joiner, for which no unit waits", func(t *testing.T) {
		m := newModel(t.TempDir)
		m.storage(Pool{"local", "btrfs", ""})
		m.add(0)
		unit := m.add(1)
		m.add(2)
		m.lxds[unit].local.Drivers = []string{"dir"}
		blocked(t, m, unit, "option storage-driver is btrfs")
		require.True(t, m.lxds["lxd-cluster/2"].local.Clustered)
	})
	t.Run("a source that is not there", func(t *testing.T) {
		m := newModel(t.TempDir)
		unit := m.add(0)
		for _, source := range []string{filepath.Join(t.TempDir(), "none"), "/dev/null"} {
			m.storage(Pool{"local", "btrfs", source})
			blocked(t, m, unit, "option storage-source is "+source)
		}
	})
	t.Run("a pool of that name with another driver", func(t *testing.T) {
		m := newModel(t.TempDir)
		unit := m.add(0)
		m.lxds[unit].local.Pools = []string{"local"}
		m.lxds[unit].pools = map[string]Pool{"local": {Name: "local", Driver: "zfs"}}
		m.storage(Pool{"local", "btrfs", ""})
		blocked(t, m, unit, "of driver zfs, which is kept")
		m.storage(defaultPool)
		m.settle(2)
		require.Equal(t, "active", m.juju.Units[unit].Status)
		require.Equal(t, []string{"local"}, m.lxds[unit].local.Pools)
	})
}

// A joiner's part of the pool could not be taken back.
func TestNoUnitJoinsWithAnInvalidOption(t *testing.T) {
	m := newModel(t.TempDir)
	m.add(0)
	m.settle(3)
	unit := m.add(1)
	m.storage(Pool{"local", "dir", "srv"})
	m.settle(4)
	require.Equal(t, "blocked", m.juju.Units[unit].Status)
	require.Contains(t, m.juju.Units[unit].Message, "option storage-source is")
	require.Zero(t, m.lxds[unit].effects)
	require.Empty(t, m.w.issued)
	m.storage(defaultPool)
	m.settle(5)
	require.Equal(t, "active", m.juju.Units[unit].Status)
}

func TestASharedPoolIsWaitedFor(t *testing.T) {
	m := newModel(t.TempDir)
	m.storage(Pool{"rbd", "ceph", ""})
	first, second := m.add(0), m.add(1)
	m.pending = "waiting for Ceph"
	m.settle(5)
	require.True(t, m.lxds[first].local.Clustered, "founding takes no pool")
	require.Empty(t, m.lxds[first].pools)
	require.NotContains(t, m.lxds[first].local.Profiles, "dcib", "its root disk would be nowhere")
	require.Equal(t, "cannot join yet: waiting for Ceph", m.juju.Units[second].Message)
	require.Empty(t, m.w.issued)

	m.pending = ""
	m.lxds[first].local.Pools = []string{"rbd"}
	m.settle(5)
	require.Equal(t, "active", m.juju.Units[second].Status)
	require.Equal(t, "rbd", m.lxds[second].local.Profiles["dcib"].Devices["root"]["pool"])
}

func TestAPoolThatIsThereIsKept(t *testing.T) {
	t.Run("and is used when the options name it", func(t *testing.T) {
		m := newModel(t.TempDir)
		unit := m.add(0)
		m.lxds[unit].local.Pools = []string{"a", "b"}
		m.storage(Pool{"b", "dir", ""})
		m.settle(3)
		require.Equal(t, []string{"a", "b"}, m.lxds[unit].local.Pools)
		require.Equal(t, "b", m.lxds[unit].local.Profiles["dcib"].Devices["root"]["pool"])
	})
	t.Run("beside one that the options ask for", func(t *testing.T) {
		m := newModel(t.TempDir)
		unit := m.add(0)
		m.lxds[unit].local.Pools = []string{"default"}
		m.storage(Pool{"local", "btrfs", ""})
		m.settle(3)
		require.Equal(t, []string{"default", "local"}, m.lxds[unit].local.Pools)
		require.Equal(t, "local", m.lxds[unit].local.Profiles["dcib"].Devices["root"]["pool"])
	})
	t.Run("when the options change later, which is said", func(t *testing.T) {
		m := newModel(t.TempDir)
		unit := m.add(0)
		m.settle(3)
		before := m.lxds[unit].effects
		m.storage(Pool{"fast", "dir", ""})
		m.settle(2)
		require.Equal(t, "blocked", m.juju.Units[unit].Status)
		require.Contains(t, m.juju.Units[unit].Message, "option storage-pool is fast: the cluster has local")
		m.lxds[unit].local.Pools = append(m.lxds[unit].local.Pools, "fast")
		m.settle(2)
		require.Contains(t, m.juju.Units[unit].Message, "lxc profile device set dcib root pool=fast")
		require.Equal(t, before, m.lxds[unit].effects)

		m.lxds[unit].local.Profiles["dcib"].Devices["root"]["pool"] = "fast"
		m.settle(2)
		require.Equal(t, "active", m.juju.Units[unit].Status)
		require.Equal(t, before, m.lxds[unit].effects, "and what an operator put there stays")
	})
}

func TestStorageOptionsSurviveCrashes(t *testing.T) {
	crashes(t, 2, nil, func(c crashing) {
		c.storage(Pool{"fast", "ext4", ""})
		c.settle(3)
		for unit, l := range c.lxds {
			require.Zero(c.run, l.effects, "%s was changed under a bad option", unit)
		}
		c.storage(Pool{"fast", "btrfs", ""})
		c.settle(7)
		for _, l := range c.lxds {
			require.Equal(c.run, map[string]Pool{"fast": {"fast", "btrfs", ""}}, l.pools)
		}
	})
}

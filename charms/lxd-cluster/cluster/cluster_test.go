package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/testkit/crash"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

// model is an application of lxd-cluster units, each with an LXD.
type model struct {
	juju *hooktooltest.Juju
	lxds map[string]*fakeLXD
	dirs map[string]string
	w    *lxdEnv
	tmp  func() string

	pending string            // Facts.Pending
	nic     map[string]string // and what it wants of the profile's nic
}

func newModel(tmp func() string) *model {
	m := &model{juju: hooktooltest.New(), lxds: map[string]*fakeLXD{}, dirs: map[string]string{}, w: newLXDEnv(), tmp: tmp}
	m.juju.Config["lxd-cluster"] = map[string]any{
		"bridge": "lxdbr0", "bridge-address": "auto", "manage-default-profile": false,
		"storage-driver": "dir", "storage-source": "", "storage-pool": "local",
		"failure-domain": "auto", "wipe-on-join": false,
	}
	m.juju.Relate("lxd-cluster:cluster", "lxd-cluster:cluster")
	return m
}

func (m *model) add(n int, owned ...string) string {
	unit := fmt.Sprintf("lxd-cluster/%d", n)
	m.juju.AddUnit(unit, fmt.Sprintf("10.0.0.%d", n+1))
	m.lxds[unit] = m.w.machine(owned...)
	m.dirs[unit] = m.tmp()
	return unit
}

func (m *model) charm() charm.Charm[Facts, Env] {
	return charm.Charm[Facts, Env]{
		Env: func(event hooktool.Event, tools hooktool.Tools) Env {
			return Env{
				Tools: tools, LXD: m.lxds[event.Unit], StateDir: m.dirs[event.Unit],
				Hostname: strings.ReplaceAll(strings.TrimPrefix(event.Unit, "lxd-cluster/"), "/", "-") + "-host",
				Now:      func() time.Time { return m.w.now },
			}
		},
		Observe: func(ctx context.Context, event hooktool.Event, w Env) (Facts, error) {
			f, err := Observe(ctx, event, w)
			f.Pending, f.NIC = m.pending, m.nic
			return f, err
		},
		Plan: Plan,
	}
}

// hook runs one hook; a failed one leaves nothing in Juju.
func (m *model) hook(unit string) error {
	return crashtest.Try(m.w.gate, m.juju, m.charm(), hooktool.Event{Hook: "update-status", Unit: unit})
}

func (m *model) units() []string {
	var units []string
	for unit := range m.juju.Units {
		units = append(units, unit)
	}
	slices.Sort(units)
	return units
}

// settle runs every unit's hook for as many rounds.
func (m *model) settle(rounds int) {
	for range rounds {
		for _, unit := range m.units() {
			_ = m.hook(unit)
		}
	}
}

func TestThreeMachinesBecomeOneCluster(t *testing.T) {
	m := newModel(t.TempDir)
	for n := range 3 {
		m.add(n)
	}
	m.settle(8)
	require.Equal(t, 1, m.w.clusters)
	require.Len(t, *m.lxds["lxd-cluster/0"].members, 3)
	for _, unit := range m.units() {
		require.Equal(t, "active", m.juju.Units[unit].Status, m.juju.Units[unit].Message)
	}
	require.Len(t, m.w.issued, 2, "one token for each joiner, none in vain")
	require.Contains(t, m.juju.Units["lxd-cluster/0"].Said, "maintenance bootstrapping the cluster", "a unit says what it works on")
	for _, unit := range m.units()[1:] {
		require.Contains(t, m.juju.Units[unit].Said, "maintenance preparing to join")
		require.Contains(t, m.juju.Units[unit].Said, "maintenance joining the cluster")
		require.NotContains(t, m.juju.Units[unit].Said, "maintenance bootstrapping the cluster")
	}

	m.add(3)
	m.settle(4)
	require.Len(t, *m.lxds["lxd-cluster/0"].members, 4)

	t.Run("and then a hook has nothing to do", func(t *testing.T) {
		before := m.lxds["lxd-cluster/0"].effects
		require.NoError(t, m.hook("lxd-cluster/0"))
		require.Equal(t, before, m.lxds["lxd-cluster/0"].effects)
	})
	t.Run("and no token stands in a databag in clear", func(t *testing.T) {
		for owner, bag := range m.juju.Relations[0].Databags {
			for key, value := range bag {
				for _, token := range m.w.issued {
					require.NotContains(t, value, token, "%s of %s", key, owner)
				}
			}
		}
	})
}

func TestNeverBootstrapInTheHookThatChoosesTheUnit(t *testing.T) {
	m := newModel(t.TempDir)
	unit := m.add(0)
	require.NoError(t, m.hook(unit))
	require.Zero(t, m.w.clusters, "Juju has not committed the bootstrap unit yet")
	require.NoError(t, m.hook(unit))
	require.Equal(t, 1, m.w.clusters)
}

func TestTheNextLeaderKeepsABootstrapUnitThatHasNotStarted(t *testing.T) {
	m := newModel(t.TempDir)
	first, second := m.add(0), m.add(1)
	require.NoError(t, m.hook(first), "names itself")
	m.juju.Units[first].Starting = true
	m.juju.Leaders["lxd-cluster"] = second
	require.NoError(t, m.hook(second))
	require.NoError(t, m.hook(second))
	require.Zero(t, m.w.clusters)
	require.NoError(t, m.hook(first))
	require.Equal(t, 1, m.w.clusters)

	t.Run("but not one that is gone", func(t *testing.T) {
		m := newModel(t.TempDir)
		first, second := m.add(0), m.add(1)
		require.NoError(t, m.hook(first))
		m.juju.RemoveUnit(first)
		m.juju.Leaders["lxd-cluster"] = second
		m.settle(3)
		require.Equal(t, 1, m.w.clusters)
		require.True(t, m.lxds[second].local.Clustered)
	})
}

func TestWhatAMachineHasStays(t *testing.T) {
	t.Run("on the bootstrap unit", func(t *testing.T) {
		m := newModel(t.TempDir)
		unit := m.add(0, "instance web", "pool default", "profile mine")
		m.lxds[unit].local.Pools = []string{"default"}
		m.lxds[unit].local.Profiles["mine"] = Profile{Name: "mine"}
		m.settle(4)
		require.Equal(t, "active", m.juju.Units[unit].Status)
		require.Equal(t, []string{"default"}, m.lxds[unit].local.Pools)
		require.Contains(t, m.lxds[unit].local.Profiles, "mine")
		require.Empty(t, m.lxds[unit].local.Profiles["default"].Devices, "the default profile is not ours")
		require.Equal(t, "default", m.lxds[unit].local.Profiles["dcib"].Devices["root"]["pool"])
	})
	t.Run("on a joiner, which stays out", func(t *testing.T) {
		m := newModel(t.TempDir)
		m.add(0)
		full := m.add(1, "instance web")
		m.add(2)
		m.settle(8)
		require.Equal(t, "blocked", m.juju.Units[full].Status)
		require.Contains(t, m.juju.Units[full].Message, "instance web")
		require.False(t, m.lxds[full].local.Clustered)
		require.True(t, m.lxds["lxd-cluster/2"].local.Clustered, "no unit waits for it")

		m.lxds[full].local.Resources = nil
		m.settle(4)
		require.Equal(t, "active", m.juju.Units[full].Status)
	})
}

func TestAClusterThatIsThereIsAdopted(t *testing.T) {
	m := newModel(t.TempDir)
	leader, member := m.add(0), m.add(1)
	m.lxds[member].local.Listens = "10.0.0.2:8443"
	require.NoError(t, m.lxds[member].Bootstrap(context.Background(), "old-name"))
	require.NoError(t, m.hook(member))
	m.settle(4)
	require.Equal(t, 1, m.w.clusters)
	require.Equal(t, m.lxds[member].members, m.lxds[leader].members)
}

func TestVersionsMustMatch(t *testing.T) {
	m := newModel(t.TempDir)
	m.add(0)
	m.settle(3)
	unit := m.add(1)
	m.lxds[unit].local.Version = "6.4"
	m.settle(3)
	require.Equal(t, "blocked", m.juju.Units[unit].Status)
	require.Equal(t, "cannot join: lxd-cluster/1 has LXD 6.4, the cluster runs 5.0.2 (lxd-cluster/0): upgrade one of them", m.juju.Units[unit].Message)
	require.Empty(t, m.w.issued, "and it asked for no token")
}

func TestASpentTokenIsReplaced(t *testing.T) {
	m := newModel(t.TempDir)
	m.add(0)
	unit := m.add(1)
	m.lxds[unit].failJoin = 2
	m.settle(10)
	require.True(t, m.lxds[unit].local.Clustered)
	require.Len(t, m.w.issued, 3)
}

func TestAJoinerThatKeepsFailingIsServedSlowly(t *testing.T) {
	m := newModel(t.TempDir)
	m.add(0)
	unit := m.add(1)
	m.lxds[unit].failJoin = 1000
	m.settle(30)
	require.Len(t, m.w.issued, maxFastTokens, "and then they leave each other in peace")
	m.w.now = m.w.now.Add(tokenRetryDelay)
	m.settle(1)
	require.Len(t, m.w.issued, maxFastTokens+1)

	other := m.add(2)
	m.settle(4)
	require.True(t, m.lxds[other].local.Clustered, "no unit waits for it")
	m.lxds[unit].failJoin = 0
	m.w.now = m.w.now.Add(2 * tokenRetryDelay)
	m.settle(2)
	require.True(t, m.lxds[unit].local.Clustered)
}

func TestAnExpiredTokenIsReplaced(t *testing.T) {
	m := newModel(t.TempDir)
	first := m.add(0)
	m.settle(3)
	m.add(1)
	m.add(2)
	require.NoError(t, m.hook("lxd-cluster/1")) // makes its key, asks
	require.NoError(t, m.hook("lxd-cluster/2"))
	require.NoError(t, m.hook(first)) // offers to 1
	m.w.now = m.w.now.Add(2 * tokenLifetime)
	require.NoError(t, m.hook(first)) // 1 did not come: offers to 2
	require.NoError(t, m.hook("lxd-cluster/2"))
	require.True(t, m.lxds["lxd-cluster/2"].local.Clustered)
	m.settle(3)
	require.True(t, m.lxds["lxd-cluster/1"].local.Clustered)
}

func TestBadOptionsBlockAndHeal(t *testing.T) {
	for option, bad := range map[string]any{"bridge": "a bridge", "bridge-address": "10.0.8.0/24"} {
		t.Run(option, func(t *testing.T) {
			m := newModel(t.TempDir)
			unit := m.add(0)
			good := m.juju.Config["lxd-cluster"][option]
			m.juju.Config["lxd-cluster"][option] = bad
			m.settle(3)
			require.Equal(t, "blocked", m.juju.Units[unit].Status)
			require.Contains(t, m.juju.Units[unit].Message, "option "+option)
			require.Zero(t, m.lxds[unit].effects, "nothing was changed")
			m.juju.Config["lxd-cluster"][option] = good
			m.settle(2)
			require.Equal(t, "active", m.juju.Units[unit].Status)
		})
	}
}

func TestTheDefaultProfileIsOnlyFilledIn(t *testing.T) {
	m := newModel(t.TempDir)
	unit := m.add(0)
	m.juju.Config["lxd-cluster"]["manage-default-profile"] = true
	theirs := map[string]string{"type": "nic", "nictype": "macvlan", "parent": "eno1"}
	m.lxds[unit].local.Profiles["default"] = Profile{Name: "default", Description: "theirs", Devices: map[string]map[string]string{"eth0": theirs}}
	m.settle(3)
	got := m.lxds[unit].local.Profiles["default"]
	require.Equal(t, theirs, got.Devices["eth0"])
	require.Equal(t, "disk", got.Devices["root"]["type"])
	require.Equal(t, "theirs", got.Description)
}

func TestInstancesOnAManagedBridgeCanMove(t *testing.T) {
	m := newModel(t.TempDir)
	unit := m.add(0)
	m.settle(3)
	require.Equal(t, map[string]string{"type": "nic", "name": "eth0", "network": "lxdbr0"}, m.lxds[unit].local.Profiles["dcib"].Devices["eth0"])

	own := newModel(t.TempDir)
	unit = own.add(0)
	own.juju.Config["lxd-cluster"]["bridge"] = "br0"
	own.lxds[unit].local.Networks["br0"] = false
	own.settle(3)
	require.Equal(t, "br0", own.lxds[unit].local.Profiles["dcib"].Devices["eth0"]["parent"])
}

// Whatever the order of hooks, where they are killed and which unit leads, there is one
// cluster in the end and every unit is in it.
func TestAnyOrderMakesOneCluster(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(t.TempDir)
		n := rapid.IntRange(1, 4).Draw(rt, "units")
		for i := range n {
			m.add(i)
		}
		units := m.units()
		for range rapid.IntRange(0, 30).Draw(rt, "events") {
			unit := rapid.SampledFrom(units).Draw(rt, "unit")
			switch rapid.IntRange(0, 5).Draw(rt, "event") {
			case 0:
				m.juju.Leaders["lxd-cluster"] = unit
			case 1:
				m.w.gate.KillAt(rapid.IntRange(1, 8).Draw(rt, "kill"))
				_ = m.hook(unit)
				m.w.gate.KillAt(0)
			case 2:
				m.lxds[unit].failJoin = 1
			default:
				_ = m.hook(unit)
			}
			if m.w.clusters > 1 {
				rt.Fatal("two clusters were founded")
			}
		}
		for range 6 * n {
			m.settle(1)
			m.w.now = m.w.now.Add(tokenRetryDelay) // joiners that failed often are served slowly
		}
		if m.w.clusters != 1 {
			rt.Fatalf("%d clusters were founded", m.w.clusters)
		}
		if members := *m.lxds[units[0]].members; len(members) != n {
			rt.Fatalf("%d of %d units are members", len(members), n)
		}
	})
}

// gone has the databag of a unit not found, as Juju has it of one that has just left.
type gone struct {
	hooktool.Tools
	unit string
}

func (g gone) RelationGet(ctx context.Context, relation, owner string) (map[string]string, error) {
	if owner == g.unit {
		return nil, fmt.Errorf("cannot run relation-get: %w", hooktool.ErrNotFound)
	}
	return g.Tools.RelationGet(ctx, relation, owner)
}

func TestAUnitThatHasJustLeftFailsNoHook(t *testing.T) {
	m := formed(t, 3)
	c := m.charm()
	open := c.Env
	c.Env = func(event hooktool.Event, tools hooktool.Tools) Env {
		w := open(event, tools)
		w.Tools = gone{tools, "lxd-cluster/2"}
		return w
	}
	for _, unit := range []string{"lxd-cluster/0", "lxd-cluster/1"} {
		require.NoError(t, crashtest.Try(m.w.gate, m.juju, c, hooktool.Event{Hook: "update-status", Unit: unit}))
		require.Equal(t, "active", m.juju.Units[unit].Status)
	}
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/relation/lxdcluster"
	"github.com/dcib/dcib/internal/testkit/crash"
	draintest "github.com/dcib/dcib/internal/testkit/drain"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

// lastHooks are the hooks that Juju 3.6 and 4 run for a unit that goes away: it departs
// from each peer, its peer relation is not broken.
func (m *model) lastHooks(unit string) []hooktool.Event {
	var events []hooktool.Event
	for _, other := range m.units() {
		if other != unit {
			events = append(events, hooktool.Event{Hook: "cluster-relation-departed", Unit: unit, Relation: "cluster:0", Departing: unit})
		}
	}
	return append(events, hooktool.Event{Hook: "stop", Unit: unit}, hooktool.Event{Hook: "remove", Unit: unit})
}

// leave is `juju remove-unit`: the first hook that fails keeps the unit, and is returned.
func (m *model) leave(unit string) error {
	m.juju.Units[unit].Dying = true
	for _, event := range m.lastHooks(unit) {
		if err := crashtest.Try(m.w.gate, m.juju, m.charm(), event); err != nil {
			return err
		}
	}
	m.remove(unit)
	return nil
}

// remove is what Juju does after a unit's last hook.
func (m *model) remove(unit string) {
	m.juju.RemoveUnit(unit)
	if units := m.units(); m.juju.Leaders["lxd-cluster"] == unit && len(units) > 0 {
		m.juju.Leaders["lxd-cluster"] = units[0]
	}
}

// formed is a cluster of n with two running instances and a stopped one on each member.
func formed(t interface{ TempDir() string }, n int) *model {
	m := newModel(t.TempDir)
	for i := range n {
		m.add(i)
	}
	m.settle(4 + 2*n)
	for i := range n {
		for _, name := range []string{"a", "b", "stopped"} {
			m.inside().Add(fmt.Sprintf("%s%d", name, i), hostOf(i), name != "stopped")
		}
	}
	return m
}

func hostOf(n int) string { return fmt.Sprintf("%d-host", n) }

// inside is what is located in the cluster.
func (m *model) inside() *draintest.LXD {
	for _, unit := range m.units() {
		if m.lxds[unit].local.Clustered {
			return m.lxds[unit].located()
		}
	}
	return nil
}

// requireKept asserts that no instance was lost, and what ran runs.
func requireKept(t require.TestingT, lxd *draintest.LXD, instances int) {
	require.Len(t, lxd.Instance, instances)
	for _, i := range lxd.Instance {
		require.Equal(t, !strings.HasPrefix(i.Name, "stopped"), i.Running, "%s on %s", i.Ref, i.Member)
		require.Empty(t, i.Origin, "%s", i.Ref)
	}
}

func TestAUnitThatLeavesTakesItsMemberAlong(t *testing.T) {
	for n := range 4 { // the bootstrap unit and leader is the first
		t.Run(fmt.Sprint("unit ", n), func(t *testing.T) {
			m := formed(t, 4)
			unit := fmt.Sprintf("lxd-cluster/%d", n)
			left := m.lxds[unit]
			require.NoError(t, m.leave(unit))
			members := memberNames(*m.lxds[m.units()[0]].members)
			require.Len(t, members, 3)
			require.NotContains(t, members, hostOf(n))
			requireKept(t, m.inside(), 12)

			require.False(t, left.local.Clustered)
			require.Empty(t, left.local.Listens, "the address was ours")
			require.NoFileExists(t, filepath.Join(m.dirs[unit], keyFile))

			m.settle(3)
			for _, unit := range m.units() {
				require.Equal(t, "active", m.juju.Units[unit].Status)
				require.Contains(t, m.juju.Units[unit].Message, "one of 3")
			}
			t.Run("and the machine can join again", func(t *testing.T) {
				again := m.add(9)
				m.lxds[again] = left
				m.settle(8)
				require.True(t, left.local.Clustered)
				require.Len(t, *left.members, 4)
				require.Equal(t, 1, m.w.clusters)
			})
		})
	}
}

// Juju 4 goes on showing the databag of a unit that is gone.
func TestAUnitThatLeavesTakesBackWhatItTold(t *testing.T) {
	m := formed(t, 3)
	unit := "lxd-cluster/1"
	m.juju.Units[unit].Dying = true
	for _, event := range m.lastHooks(unit) {
		require.NoError(t, crashtest.Try(m.w.gate, m.juju, m.charm(), event))
	}
	request, there, err := lxdcluster.ReadJoinRequest(m.juju.Relations[0].Databags[unit])
	require.NoError(t, err)
	require.True(t, there)
	require.Equal(t, lxdcluster.JoinRequest{}, request)
}

func TestNoUnitWaitsForOneThatCannotLeave(t *testing.T) {
	m := formed(t, 2)
	m.inside().Find(drain.Ref{Project: "default", Name: "a0"}).LocalDevices = []string{"disk data"}
	require.Error(t, m.leave("lxd-cluster/0"), "it stays the lowest-numbered member")
	joiner := m.add(2)
	for range 4 {
		_ = m.hook("lxd-cluster/1")
		_ = m.hook(joiner)
	}
	require.True(t, m.lxds[joiner].local.Clustered)
	require.Equal(t, 1, m.w.clusters)
}

func TestAClusterShrinksToOneWhichKeepsEverything(t *testing.T) {
	m := formed(t, 4)
	for n := range 3 {
		require.NoError(t, m.leave(fmt.Sprintf("lxd-cluster/%d", n)))
		m.settle(2)
		if n == 1 {
			require.Equal(t, "active", m.juju.Units["lxd-cluster/2"].Status)
			require.Contains(t, m.juju.Units["lxd-cluster/2"].Message, "no quorum is left if one dies")
		}
	}
	last := m.lxds["lxd-cluster/3"]
	requireKept(t, m.inside(), 12)
	require.NoError(t, m.leave("lxd-cluster/3"))
	require.True(t, last.local.Clustered, "a member that is alone is never dismantled")
	require.NotEmpty(t, last.local.Listens)
	requireKept(t, last.located(), 12)
}

func TestAnApplicationThatGoesLeavesTheClusterAsItIs(t *testing.T) {
	m := formed(t, 3)
	for _, unit := range m.units() {
		m.juju.Units[unit].Dying = true
	}
	one := m.lxds["lxd-cluster/0"]
	for _, unit := range m.units() {
		require.NoError(t, m.leave(unit))
	}
	require.Len(t, *one.members, 3)
	requireKept(t, one.located(), 9)
}

func TestWhatCannotMoveKeepsTheUnit(t *testing.T) {
	m := formed(t, 3)
	tied := m.inside().Find(drain.Ref{Project: "default", Name: "a1"})
	tied.LocalDevices = []string{"disk data"}
	m.w.volumes[hostOf(1)] = []string{"volume data (pool local, project default)"}
	err := m.leave("lxd-cluster/1")
	for _, word := range []string{"a1", "disk data", "volume data", "lxc move", "juju remove-unit --force lxd-cluster/1"} {
		require.ErrorContains(t, err, word)
	}
	require.Equal(t, "blocked", m.juju.Units["lxd-cluster/1"].Status)
	require.True(t, m.lxds["lxd-cluster/1"].local.Clustered)
	requireKept(t, m.inside(), 9)
	require.Equal(t, "Online", (*m.lxds["lxd-cluster/0"].members)[1].Status, "nothing was begun")

	tied.LocalDevices, m.w.volumes = nil, map[string][]string{}
	require.NoError(t, m.leave("lxd-cluster/1"), "and it goes once nothing holds it")
	requireKept(t, m.inside(), 9)
}

// A unit leaves whose instances are on a bridge of its host, where another member has that bridge.
func TestABridgeOfTheHostKeepsNoUnit(t *testing.T) {
	m := formed(t, 3)
	has := drain.Capacity{HostResources: map[string]bool{"bridge br0": true}}
	m.inside().Capacity = map[string]drain.Capacity{hostOf(1): has, hostOf(2): has, hostOf(0): {HostResources: map[string]bool{}}}
	for _, name := range []string{"a1", "b1", "stopped1"} {
		m.inside().Find(drain.Ref{Project: "default", Name: name}).HostDevices = []drain.HostDevice{{Device: "nic eth0", Resource: "bridge br0"}}
	}
	require.NoError(t, m.leave("lxd-cluster/1"))
	requireKept(t, m.inside(), 9)
	require.Equal(t, hostOf(2), m.inside().Find(drain.Ref{Project: "default", Name: "a1"}).Member)
}

func TestAnOperatorsOwnEvacuatedMemberLeaves(t *testing.T) {
	m := formed(t, 3)
	lxd := m.lxds["lxd-cluster/2"]
	client, err := lxd.ClusterClient(context.Background())
	require.NoError(t, err)
	require.NoError(t, client.Evacuate(context.Background(), hostOf(2), func(string) {}))
	require.NoError(t, m.leave("lxd-cluster/2"))
	require.Len(t, *m.lxds["lxd-cluster/0"].members, 2)
	requireKept(t, m.inside(), 9)
}

func TestAClusterThatIsNotOursIsNotLeft(t *testing.T) {
	m := formed(t, 2)
	m.add(2)
	theirs := m.lxds["lxd-cluster/2"]
	theirs.local.Listens = "10.0.0.3:8443"
	require.NoError(t, theirs.Bootstrap(context.Background(), "theirs"))
	*theirs.members = append(*theirs.members, Member{Name: "other", Status: "Online"})
	m.settle(2)
	require.Equal(t, "blocked", m.juju.Units["lxd-cluster/2"].Status)
	require.NoError(t, m.leave("lxd-cluster/2"))
	require.True(t, theirs.local.Clustered)
	require.Equal(t, "10.0.0.3:8443", theirs.local.Listens)
}

func TestAUnitThatNeverJoinedGoesAndLeavesItsMachineAlone(t *testing.T) {
	m := formed(t, 1)
	full := m.add(1, "instance web")
	m.lxds[full].local.Listens = "10.0.0.2:8443"
	m.settle(2)
	before := m.lxds[full].effects
	require.NoError(t, m.leave(full))
	require.Equal(t, before, m.lxds[full].effects)
}

// Hooks of the same kinds run for units that stay: when an application that is related to
// ours goes, for one.
func TestAUnitThatStaysDoesNotLeave(t *testing.T) {
	m := formed(t, 2)
	for _, event := range m.lastHooks("lxd-cluster/0") {
		require.NoError(t, crashtest.Try(m.w.gate, m.juju, m.charm(), event))
	}
	require.Len(t, *m.lxds["lxd-cluster/1"].members, 2)
}

// brokenLXD does not answer.
type brokenLXD struct{ LXD }

func (brokenLXD) Observe(context.Context) (ServerState, error) {
	return ServerState{}, errors.New("no answer")
}

func TestAMachineWhoseLXDDoesNotAnswerIsNotGivenUp(t *testing.T) {
	m := formed(t, 3)
	unit := "lxd-cluster/1"
	m.juju.Units[unit].Dying = true
	c := m.charm()
	env := c.Env
	c.Env = func(event hooktool.Event, tools hooktool.Tools) Env {
		w := env(event, tools)
		w.LXD = brokenLXD{w.LXD}
		return w
	}
	err := crashtest.Try(m.w.gate, m.juju, c, hooktool.Event{Hook: "stop", Unit: unit})
	require.ErrorContains(t, err, "no answer")
	require.ErrorContains(t, err, "--force "+unit)
}

func TestLeavingSurvivesCrashes(t *testing.T) {
	for name, prepare := range map[string]func(m *model){
		"a member": func(*model) {},
		"the only one that votes": func(m *model) {
			for n := range *m.lxds["lxd-cluster/0"].members {
				member := &(*m.lxds["lxd-cluster/0"].members)[n]
				member.Voter = member.Name == hostOf(0)
			}
		},
		"an evacuated one": func(m *model) {
			require.NoError(t, m.inside().EvacuateByHand(hostOf(0)))
			m.lxds["lxd-cluster/0"].setStatus(hostOf(0), "Evacuated")
			m.inside().Add("a9", hostOf(0), true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			crashtest.Check(t, func(run *crashtest.Run) any {
				m := formed(t, 3)
				prepare(m)
				m.w.gate = run.Gate
				left := m.lxds["lxd-cluster/0"]
				m.juju.Units["lxd-cluster/0"].Dying = true
				for _, event := range m.lastHooks("lxd-cluster/0") {
					err := crashtest.Hook(run, m.juju, m.charm(), event)
					if err != nil && strings.Contains(err.Error(), "retried automatically") {
						err = crashtest.Hook(run, m.juju, m.charm(), event)
					}
					require.NoError(run, err)
				}
				m.remove("lxd-cluster/0")
				lxd := m.inside()
				requireKept(run, lxd, len(lxd.Instance))
				require.NoFileExists(run, filepath.Join(m.dirs["lxd-cluster/0"], keyFile))
				return []any{memberNames(*m.lxds["lxd-cluster/1"].members), len(lxd.Instance), left.local}
			})
		})
	}
}

// Whatever leaves in whatever order, killed wherever: nothing is lost, no unit that left is a
// member, and who stays is one cluster.
func TestAnyOrderOfLeaving(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(2, 5).Draw(rt, "units")
		m := formed(t, n)
		total := len(m.inside().Instance)
		going := m.units()[:rapid.IntRange(1, n-1).Draw(rt, "going")]
		lxds := map[string]*fakeLXD{}
		for _, unit := range going {
			lxds[unit] = m.lxds[unit]
		}
		for tries := 0; len(going) > 0; tries++ {
			require.Less(rt, tries, 100, "it never ends: %v", going)
			unit := rapid.SampledFrom(going).Draw(rt, "unit")
			m.w.gate.KillAt(rapid.IntRange(0, 12).Draw(rt, "kill"))
			err := m.leave(unit)
			m.w.gate.KillAt(0)
			if err == nil {
				going = slices.DeleteFunc(going, func(u string) bool { return u == unit })
			} else if !errors.Is(err, crashtest.ErrKilled) && !strings.Contains(err.Error(), "retried automatically") {
				rt.Fatalf("%s: %s", unit, err)
			}
			if rapid.Bool().Draw(rt, "others") {
				m.settle(1)
			}
		}
		requireKept(rt, m.inside(), total)
		for unit, lxd := range lxds {
			if lxd.local.Clustered {
				rt.Fatalf("%s has left and is a member", unit)
			}
		}
		require.Len(rt, *m.lxds[m.units()[0]].members, len(m.units()))
		require.Equal(rt, 1, m.w.clusters)
	})
}

// act runs the action remove-member on a unit.
func (m *model) act(t *testing.T, unit string, params map[string]any) *hooktooltest.Tools {
	t.Helper()
	c := m.charm()
	c.Actions = map[string]charm.Action[Facts, Env]{"remove-member": RemoveMember}
	tools, _ := m.juju.Hook(unit)
	tools.Params = params
	require.NoError(t, c.Run(context.Background(), hooktool.Event{Action: "remove-member", Unit: unit}, tools))
	return tools
}

func TestAMemberWhoseMachineDiedIsRemoved(t *testing.T) {
	m := formed(t, 3)
	lxd := m.lxds["lxd-cluster/0"]

	refused := m.act(t, "lxd-cluster/0", map[string]any{"member": "2-hots", "force": true})
	require.Contains(t, refused.Failure, "0-host, 1-host, 2-host")
	refused = m.act(t, "lxd-cluster/0", map[string]any{"member": "2-host", "force": true})
	require.Contains(t, refused.Failure, "juju remove-unit lxd-cluster/2", "a live one leaves otherwise")
	require.Len(t, *lxd.members, 3)

	lxd.setStatus("2-host", "Offline")
	m.lxds["lxd-cluster/2"].dead = true
	m.w.volumes["2-host"] = []string{"volume data (pool local, project default)"}
	m.inside().Add("other", "2-host", true).Project = "web"
	require.NoError(t, m.hook("lxd-cluster/1"))
	require.Equal(t, "waiting", m.juju.Units["lxd-cluster/1"].Status)
	require.Contains(t, m.juju.Units["lxd-cluster/1"].Message, "juju run lxd-cluster/1 remove-member member=2-host")

	refused = m.act(t, "lxd-cluster/1", map[string]any{"member": "2-host", "force": false})
	for _, word := range []string{"force=true", "instance a2 (project default)", "instance other (project web)", "volume data", "cannot be recovered"} {
		require.Contains(t, refused.Failure, word)
	}
	require.Contains(t, refused.Results["lost"], "instance a2 (project default)\n")
	require.Len(t, *lxd.members, 3)

	done := m.act(t, "lxd-cluster/1", map[string]any{"member": "2-host", "force": true})
	require.Empty(t, done.Failure)
	require.Contains(t, done.Results["lost"], "instance other (project web)")
	require.Equal(t, "0-host, 1-host", done.Results["members"])
	require.Equal(t, "juju remove-unit --force lxd-cluster/2", done.Results["next"])
	require.NoError(t, m.hook("lxd-cluster/1"))
	require.Equal(t, "active", m.juju.Units["lxd-cluster/1"].Status)
}

// A new machine at the address of one that died, or with its name: LXD takes it only when the
// dead member is removed, which the others ask for.
func TestAMachineComesInThePlaceOfADeadOne(t *testing.T) {
	m := formed(t, 3)
	m.lxds["lxd-cluster/0"].setStatus("2-host", "Offline")
	m.lxds["lxd-cluster/2"].dead = true
	m.juju.RemoveUnit("lxd-cluster/2")
	address := (*m.lxds["lxd-cluster/0"].members)[2].Address
	issued := len(m.w.issued)
	unit := m.add(3)
	m.juju.Units[unit].Address, _, _ = net.SplitHostPort(address)
	m.settle(6)
	require.Len(t, m.w.issued, issued, "no token in vain")
	for _, other := range []string{"lxd-cluster/0", "lxd-cluster/1"} {
		require.Equal(t, "waiting", m.juju.Units[other].Status)
		require.Contains(t, m.juju.Units[other].Message, "juju run "+other+" remove-member member=2-host; until then cannot join: lxd-cluster/3 (it has the address of 2-host)")
	}
	m.act(t, "lxd-cluster/0", map[string]any{"member": "2-host", "force": true})
	m.settle(4)
	for _, unit := range m.units() {
		require.Equal(t, "active", m.juju.Units[unit].Status, m.juju.Units[unit].Message)
	}
	require.Len(t, *m.lxds[unit].members, 3)
	require.Len(t, m.w.issued, issued+1)
}

// A real LXD says so for seconds after the member died that led its database.
func TestAnLXDWithoutHeartbeatsReportsNoMemberOffline(t *testing.T) {
	m := formed(t, 3)
	for _, member := range []string{"0-host", "1-host", "2-host"} {
		m.lxds["lxd-cluster/0"].setStatus(member, "Offline")
	}
	require.NoError(t, m.hook("lxd-cluster/1"))
	require.Equal(t, "waiting", m.juju.Units["lxd-cluster/1"].Status)
	require.NotContains(t, m.juju.Units["lxd-cluster/1"].Message, "remove-member")
}

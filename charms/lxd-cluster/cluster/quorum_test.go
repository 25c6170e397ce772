package cluster

import (
	"context"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

func (m *model) rescue(t *testing.T, unit, action string, force bool) *hooktooltest.Tools {
	t.Helper()
	c := m.charm()
	c.Actions = map[string]charm.Action[Facts, Env]{"recover-from-quorum-loss": RecoverFromQuorumLoss, "reset-lxd": Reset}
	tools, _ := m.juju.Hook(unit)
	tools.Params = map[string]any{"force": force}
	require.NoError(t, c.Run(context.Background(), hooktool.Event{Action: action, Unit: unit}, tools))
	return tools
}

func three(t *testing.T) *model {
	m := newModel(t.TempDir)
	for n := range 3 {
		m.add(n)
	}
	m.juju.Leaders["lxd-cluster"] = "lxd-cluster/0"
	return m
}

// The machine that bootstrapped is lost while it has the only vote, before the joining unit has
// published that it is in.
func TestABootstrapUnitThatDiesWithTheOnlyVoteIsNotReplacedByASecondCluster(t *testing.T) {
	for _, leader := range []string{"lxd-cluster/1", "lxd-cluster/2"} {
		t.Run(leader+" leads then", func(t *testing.T) { bootstrapUnitDiesWithTheOnlyVote(t, leader) })
	}
}

func bootstrapUnitDiesWithTheOnlyVote(t *testing.T, leader string) {
	m := three(t)
	first, joiner, third := m.lxds["lxd-cluster/0"], m.lxds["lxd-cluster/1"], m.lxds["lxd-cluster/2"]
	bags := m.juju.Relations[0].Databags
	var told map[string]string
	for tries := 0; !joiner.local.Clustered; tries++ {
		require.Less(t, tries, 10)
		told = maps.Clone(bags["lxd-cluster/1"])
		for _, unit := range []string{"lxd-cluster/2", "lxd-cluster/0", "lxd-cluster/1"} {
			require.NoError(t, m.hook(unit))
		}
	}
	bags["lxd-cluster/1"] = told // the hook that joined was killed
	require.NoError(t, m.hook("lxd-cluster/2"))
	require.NotContains(t, bags["lxd-cluster/2"]["join-request"], `"key":""`, "the third asks for a token")
	require.False(t, third.local.Clustered, "it waits for its turn")

	first.dead, joiner.stuck = true, true
	for n := range *joiner.members {
		(*joiner.members)[n].Voter = (*joiner.members)[n].Name == first.local.Member
	}
	// Juju 4 goes on showing what a unit that is gone once told.
	m.juju.Units["lxd-cluster/0"].Dying = true
	settle := func(rounds int) {
		for range rounds {
			_ = m.hook("lxd-cluster/1")
			_ = m.hook("lxd-cluster/2")
		}
	}
	m.juju.Leaders["lxd-cluster"] = leader
	// The new leader is always first.
	if leader == "lxd-cluster/1" {
		require.NoError(t, m.hook("lxd-cluster/1"))
		require.NotContains(t, m.juju.Units["lxd-cluster/1"].Message, "reset-lxd", "the third asked for a token, and may have got in")
		require.Contains(t, m.rescue(t, "lxd-cluster/1", "reset-lxd", true).Failure, "other units")
	}
	for range 5 {
		require.NoError(t, m.hook("lxd-cluster/2"))
	}
	require.False(t, third.local.Clustered, "it does not found before the other has said no")
	if leader == "lxd-cluster/2" {
		require.Contains(t, m.juju.Units["lxd-cluster/2"].Message, "waiting for lxd-cluster/1 before bootstrapping again")
	}
	settle(5)
	require.Equal(t, 1, m.w.clusters)
	require.Contains(t, m.juju.Units["lxd-cluster/1"].Message, "juju run lxd-cluster/1 reset-lxd")

	t.Run("with something on its disks it is recovered", func(t *testing.T) {
		joiner.remains = []string{"instance web"}
		require.NoError(t, m.hook("lxd-cluster/1"))
		require.Contains(t, m.juju.Units["lxd-cluster/1"].Message, "juju run lxd-cluster/1 recover-from-quorum-loss")
		require.Contains(t, m.rescue(t, "lxd-cluster/1", "recover-from-quorum-loss", false).Failure, "force=true")
		require.Contains(t, m.rescue(t, "lxd-cluster/1", "reset-lxd", false).Failure, "instance web")
		require.True(t, joiner.stuck)
		joiner.remains = nil
	})
	require.Contains(t, m.rescue(t, "lxd-cluster/1", "reset-lxd", false).Failure, "force=true")
	require.True(t, joiner.stuck)
	require.Empty(t, m.rescue(t, "lxd-cluster/1", "reset-lxd", true).Failure)
	require.Contains(t, m.rescue(t, "lxd-cluster/1", "reset-lxd", true).Failure, "database answers")
	settle(8)
	require.Equal(t, 2, m.w.clusters, "the dead one, and one that lives")
	require.Len(t, *third.members, 2)
	for _, unit := range []string{"lxd-cluster/1", "lxd-cluster/2"} {
		require.Equal(t, "active", m.juju.Units[unit].Status, m.juju.Units[unit].Message)
	}
}

// The member that is left has the whole database.
func TestARecoveredClusterGrowsAgain(t *testing.T) {
	m := formed(t, 2)
	lost, left := m.lxds["lxd-cluster/0"], m.lxds["lxd-cluster/1"]
	lost.dead, left.stuck = true, true
	m.remove("lxd-cluster/0")
	require.Empty(t, m.rescue(t, "lxd-cluster/1", "recover-from-quorum-loss", true).Failure)
	left.setStatus(lost.local.Member, "Offline")
	require.Empty(t, m.act(t, "lxd-cluster/1", map[string]any{"member": lost.local.Member, "force": true}).Failure)
	m.add(2)
	m.settle(8)
	require.Equal(t, 1, m.w.clusters)
	require.Len(t, *left.members, 2)
}

// A unit that requested a token and is in no cluster confirms that to the next bootstrap unit.
func TestTheNextUnitBootstrapsOnceTheOthersHaveConfirmed(t *testing.T) {
	m := three(t)
	require.NoError(t, m.hook("lxd-cluster/0"))
	require.NoError(t, m.hook("lxd-cluster/1"))
	m.juju.RemoveUnit("lxd-cluster/0")
	m.juju.Leaders["lxd-cluster"] = "lxd-cluster/2"
	m.settle(8)
	require.Equal(t, 1, m.w.clusters)
	require.True(t, m.lxds["lxd-cluster/1"].local.Clustered)
	require.True(t, m.lxds["lxd-cluster/2"].local.Clustered)
}

func TestRecoveryRefuses(t *testing.T) {
	m := formed(t, 2)
	require.Contains(t, m.rescue(t, "lxd-cluster/0", "recover-from-quorum-loss", true).Failure, "has its quorum")

	stuck := m.lxds["lxd-cluster/0"]
	stuck.stuck = true
	for n := range *stuck.members {
		member := &(*stuck.members)[n]
		if member.Name != stuck.local.Member {
			member.Voter = true
			m.w.answers = []string{member.Address}
		}
	}
	require.Contains(t, m.rescue(t, "lxd-cluster/0", "recover-from-quorum-loss", true).Failure, "the LXD at "+m.w.answers[0]+" answers")
	require.True(t, stuck.stuck)
}

package cluster

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

func (m *model) removeMember(t *testing.T, name string, force bool) *hooktooltest.Tools {
	t.Helper()
	c := m.charm()
	c.Actions = map[string]charm.Action[Facts, Env]{"remove-member": RemoveMember}
	tools, _ := m.juju.Hook("lxd-cluster/0")
	tools.Params = map[string]any{"member": name, "force": force}
	require.NoError(t, c.Run(t.Context(), hooktool.Event{Action: "remove-member", Unit: "lxd-cluster/0"}, tools))
	return tools
}

// LXD keeps what it has of a join that broke off, and refuses every later one of that name.
func TestAJoinThatBrokeOffIsNamedAndTokensEnd(t *testing.T) {
	m := newModel(t.TempDir)
	first := m.add(0)
	m.settle(4)
	second := m.add(1)
	m.lxds[second].breakJoin = 1
	m.settle(4)
	require.Equal(t, "blocked", m.juju.Units[first].Status)
	require.Contains(t, m.juju.Units[first].Message, "lxd-cluster/1 cannot join: LXD still has an earlier join of member 1-host (10.0.0.2:8443) that broke off: juju run lxd-cluster/0 remove-member member=1-host force=true")
	issued := len(m.w.issued)
	require.LessOrEqual(t, issued, 2)
	for range 10 {
		m.w.now = m.w.now.Add(time.Hour)
		m.settle(2)
	}
	require.Len(t, m.w.issued, issued, "no more tokens")

	// Another unit is not held up by it.
	third := m.add(2)
	m.settle(6)
	require.True(t, m.lxds[third].local.Clustered)

	require.Contains(t, m.removeMember(t, "nowhere", true).Failure, "LXD has none of that name")
	require.Contains(t, m.removeMember(t, "1-host", false).Failure, "without force=true")
	require.NotEmpty(t, m.w.unfinished)
	require.Empty(t, m.removeMember(t, "1-host", true).Failure)
	m.settle(8)
	require.True(t, m.lxds[second].local.Clustered, m.juju.Units[second].Message)
	require.Equal(t, "active", m.juju.Units[first].Status, m.juju.Units[first].Message)
}

// What is accepted and on its way is no join that broke off.
func TestAJoinThatIsUnderWayIsLeftAlone(t *testing.T) {
	m := newModel(t.TempDir)
	m.add(0)
	m.settle(4)
	second := m.add(1)
	for tries := 0; len(m.w.issued) == 0; tries++ {
		require.Less(t, tries, 6)
		require.NoError(t, m.hook(second))
		require.NoError(t, m.hook("lxd-cluster/0"))
	}
	m.w.unfinished = []Unfinished{{Name: "1-host", Address: "10.0.0.2:8443"}}
	require.NoError(t, m.hook("lxd-cluster/0"))
	require.Equal(t, "active", m.juju.Units["lxd-cluster/0"].Status, m.juju.Units["lxd-cluster/0"].Message)
	require.Contains(t, m.removeMember(t, "1-host", true).Failure, "it may be joining now")
	m.w.unfinished = nil
	m.settle(4)
	require.True(t, m.lxds[second].local.Clustered)
	require.Len(t, m.w.issued, 1)
}

package cluster

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// groupsOf lists the groups of a unit's member.
func (m *model) groupsOf(unit string) []string {
	for _, member := range *m.lxds[unit].members {
		if member.Name == m.lxds[unit].local.Member {
			return member.Groups
		}
	}
	return nil
}

func TestMembersAreInTheirClusterGroups(t *testing.T) {
	m := newModel(t.TempDir)
	option := func(groups string) { m.juju.Config["lxd-cluster"]["cluster-groups"] = groups }
	option("ssd, gpu")
	first, second := m.add(0), m.add(1)
	m.settle(6)
	require.Equal(t, []string{"default", "gpu", "ssd"}, m.groupsOf(first))
	require.Equal(t, []string{"default", "gpu", "ssd"}, m.groupsOf(second))
	before := m.lxds[first].effects
	m.settle(2)
	require.Equal(t, before, m.lxds[first].effects)

	(*m.lxds[first].members)[0].Groups = []string{"default", "gpu", "lab", "ssd"}
	option("ssd,nvme")
	m.settle(2)
	require.Equal(t, []string{"default", "lab", "nvme", "ssd"}, m.groupsOf(first), "what an operator added stays")
	require.Equal(t, []string{"default", "nvme", "ssd"}, m.groupsOf(second))

	for _, bad := range []string{"a b", "gpu,-x", "x/y"} {
		option(bad)
		m.settle(2)
		require.Equal(t, "blocked", m.juju.Units[first].Status)
		require.Contains(t, m.juju.Units[first].Message, "option cluster-groups has")
		require.Equal(t, []string{"default", "nvme", "ssd"}, m.groupsOf(second))
	}
	option("")
	m.settle(2)
	require.Equal(t, "active", m.juju.Units[first].Status)
	require.Equal(t, []string{"default", "lab"}, m.groupsOf(first))
	require.Equal(t, []string{"default"}, m.groupsOf(second))
}

func TestALXDWithoutClusterGroupsSaysSo(t *testing.T) {
	m := newModel(t.TempDir)
	unit := m.add(0)
	m.lxds[unit].local.Groups = false
	m.juju.Config["lxd-cluster"]["cluster-groups"] = "gpu"
	m.settle(3)
	require.Equal(t, "blocked", m.juju.Units[unit].Status)
	require.Contains(t, m.juju.Units[unit].Message, "option cluster-groups is gpu: LXD 5.0.2 has no cluster groups")
	require.True(t, m.lxds[unit].local.Clustered)
	m.juju.Config["lxd-cluster"]["cluster-groups"] = ""
	m.settle(1)
	require.Equal(t, "active", m.juju.Units[unit].Status)
}

// Whatever was there and whatever the option says in turn: the member is in what it wants,
// keeps what we did not put it into, and is always in some group.
func TestRegrouping(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		names := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"default", "a", "b", "c"}), rapid.ID)
		theirs := names.Filter(func(s []string) bool { return len(s) > 0 }).Draw(rt, "theirs")
		in, ours := slices.Sorted(slices.Values(theirs)), ""
		for range rapid.IntRange(1, 4).Draw(rt, "changes") {
			want, problem := parseGroups(strings.Join(names.Draw(rt, "want"), ","))
			if problem != "" {
				rt.Fatal(problem)
			}
			groups, record := regroup(in, ours, want)
			in, ours = groups, strings.Join(record, ",")
			for _, group := range append(want, theirs...) {
				if !slices.Contains(in, group) {
					rt.Fatalf("%s is missing in %v", group, in)
				}
			}
			for _, group := range in {
				if !slices.Contains(want, group) && !slices.Contains(theirs, group) {
					rt.Fatalf("%s has no business in %v", group, in)
				}
			}
			if !grouped(in, ours, want) {
				rt.Fatal("it does not settle")
			}
		}
	})
}

func TestClusterGroupsSurviveCrashes(t *testing.T) {
	crashes(t, 2, anyFault, func(c crashing) {
		c.juju.Config["lxd-cluster"]["cluster-groups"] = "gpu"
		c.settle(6)
		c.juju.Config["lxd-cluster"]["cluster-groups"] = "ssd"
		c.settle(2)
		for _, unit := range c.units() {
			require.Equal(c.run, []string{"default", "ssd"}, c.groupsOf(unit))
		}
	})
}

func FuzzParseGroups(f *testing.F) {
	f.Add("ssd, gpu,,ssd")
	f.Fuzz(func(t *testing.T, text string) {
		groups, problem := parseGroups(text)
		if problem != "" {
			return
		}
		again, problem := parseGroups(strings.Join(groups, ","))
		require.Empty(t, problem)
		require.Equal(t, groups, again, "what is recorded is read back")
	})
}

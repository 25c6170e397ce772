package cluster

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/testkit/crash"
)

func inZone(unit, zone string) hooktool.Event {
	return hooktool.Event{Hook: "update-status", Unit: unit, Zone: zone}
}

func TestFailureDomain(t *testing.T) {
	m := newModel(t.TempDir)
	for n := range 3 {
		m.add(n)
	}
	m.settle(8)
	units := m.units()
	domains := func() []string {
		var all []string
		for _, member := range *m.lxds[units[0]].members {
			all = append(all, member.FailureDomain)
		}
		return all
	}
	require.Equal(t, []string{"default", "default", "default"}, domains(), "Juju knows no zones")
	hook := func(n int, zone string) {
		require.NoError(t, crashtest.Try(m.w.gate, m.juju, m.charm(), inZone(units[n], zone)))
		require.Equal(t, "active", m.juju.Units[units[n]].Status)
	}
	hook(1, "zone-b")
	require.Equal(t, []string{"default", "zone-b", "default"}, domains(), "each unit sets its own member's")
	before := m.lxds[units[1]].effects
	hook(1, "zone-c")
	require.Equal(t, before, m.lxds[units[1]].effects, "what it has may be an operator's")

	options := m.juju.Config["lxd-cluster"]
	options["failure-domain"] = "off"
	hook(0, "zone-a")
	options["failure-domain"] = "a rack"
	require.NoError(t, crashtest.Try(m.w.gate, m.juju, m.charm(), inZone(units[0], "zone-a")))
	require.Contains(t, m.juju.Units[units[0]].Message, `option failure-domain is "a rack"`)
	require.Equal(t, []string{"default", "zone-b", "default"}, domains())
	options["failure-domain"] = "rack2"
	hook(0, "zone-a")
	require.Equal(t, []string{"rack2", "zone-b", "default"}, domains())
}

func TestFailureDomainSurvivesCrashes(t *testing.T) {
	crashes(t, 2, nil, func(c crashing) {
		for range 6 {
			for _, unit := range c.units() {
				_ = crashtest.Hook(c.run, c.juju, c.charm(), inZone(unit, "zone-of-"+unit))
			}
		}
		for _, unit := range c.units() {
			l := c.lxds[unit]
			for _, member := range *l.members {
				if member.Name == l.local.Member {
					require.Equal(c.run, "zone-of-"+unit, member.FailureDomain)
				}
			}
		}
	})
}

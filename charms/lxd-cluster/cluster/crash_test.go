package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/relation/lxdcluster"
	"github.com/dcib/dcib/internal/testkit/crash"
)

// crashing is a model whose hooks may be killed.
type crashing struct {
	*model
	run *crashtest.Run
}

// anyFault is everything that crashtest knows.
var anyFault = []crashtest.Fault{crashtest.Late, crashtest.Lost}

// crashes plays a scenario with n units, kills each hook at every point, and tries the other
// faults, too. What must be true at all times: there is at most one cluster, and no token
// stands in a databag in clear.
func crashes(t *testing.T, n int, faults []crashtest.Fault, scenario func(c crashing)) {
	t.Helper()
	crashtest.Check(t, func(run *crashtest.Run) any {
		c := crashing{newModel(t.TempDir), run}
		c.w.gate = run.Gate
		for i := range n {
			c.add(i)
		}
		run.Always = func() {
			require.LessOrEqual(run, len(c.clusters()), 1, "clusters")
			for owner, bag := range c.juju.Relations[0].Databags {
				for key, value := range bag {
					for _, token := range c.w.issued {
						require.NotContains(run, value, token, "%s of %s", key, owner)
					}
				}
			}
		}
		scenario(c)
		require.Len(run, c.clusters(), 1, "clusters")
		return c.end()
	}, faults...)
}

// hooks plays one hook of each unit, in order.
func (c crashing) hooks(units ...string) {
	for _, unit := range units {
		_ = crashtest.Hook(c.run, c.juju, c.charm(), hooktool.Event{Hook: "update-status", Unit: unit})
	}
}

// settle plays so many rounds of all units.
func (c crashing) settle(rounds int) {
	for range rounds {
		c.hooks(c.units()...)
	}
}

// clusters lists the clusters that the units' LXDs are in. One that was founded on a machine
// that was removed before any unit joined is gone with it.
func (c crashing) clusters() []string {
	var all []string
	for _, unit := range c.units() {
		if l := c.lxds[unit].local; l.Clustered && !slices.Contains(all, l.Identity) {
			all = append(all, l.Identity)
		}
	}
	return all
}

// end is how the model ended, without keys, tokens and times, and without who founded: one
// that was killed before Juju knew of it may have had a successor.
func (c crashing) end() map[string]any {
	end := map[string]any{}
	relation := c.juju.Relations[0]
	bootstrap := lxdcluster.BootstrapUnit(relation.Databags["lxd-cluster"])
	end["the bootstrap unit is a member"] = c.lxds[bootstrap] != nil && c.lxds[bootstrap].local.Clustered
	for _, unit := range c.units() {
		lxd := c.lxds[unit]
		local, err := lxd.Observe(context.Background())
		require.NoError(c.run, err)
		names := memberNames(local.Members)
		slices.Sort(names)
		request, _, err := lxdcluster.ReadJoinRequest(relation.Databags[unit])
		require.NoError(c.run, err)
		require.Equal(c.run, "active", c.juju.Units[unit].Status, unit)
		require.Equal(c.run, local.Identity, request.Cluster)
		local.Members, local.Identity, request.Cluster = nil, "", ""
		end[unit] = map[string]any{
			"members":      strings.Join(names, ","),
			"lxd":          local,
			"join-request": request,
			"status":       c.juju.Units[unit].Status + ": " + c.juju.Units[unit].Message,
			"writes":       slices.Sorted(maps.Keys(relation.Databags[unit])),
		}
	}
	return end
}

func TestFormingSurvivesCrashes(t *testing.T) {
	for _, n := range []int{1, 3, 4} {
		t.Run(fmt.Sprint(n, " units"), func(t *testing.T) {
			faults := anyFault
			if n > 3 {
				faults = nil // what they may find shows with three, in a third of the time
			}
			crashes(t, n, faults, func(c crashing) { c.settle(4 + n) })
		})
	}
}

func TestGrowingSurvivesCrashes(t *testing.T) {
	crashes(t, 2, nil, func(c crashing) {
		c.settle(5)
		c.add(2)
		c.settle(5)
	})
}

func TestHealingSurvivesCrashes(t *testing.T) {
	crashes(t, 2, anyFault, func(c crashing) {
		config := c.juju.Config["lxd-cluster"]
		config["bridge"] = "a bridge"
		c.settle(4)
		for unit, l := range c.lxds {
			require.Zero(c.run, l.effects, "%s was changed under a bad option", unit)
		}
		config["bridge"], config["manage-default-profile"] = "lxdbr0", true
		c.settle(8)
	})
}

// The leader changes at each stage: before the bootstrap unit is chosen, before it bootstraps, and
// while others join.
func TestMovingLeadershipSurvivesCrashes(t *testing.T) {
	crashes(t, 3, anyFault, func(c crashing) {
		units := c.units()
		lead := func(n int) { c.juju.Leaders["lxd-cluster"] = units[n] }
		lead(1)
		c.hooks(units[1], units[0])
		lead(2)
		c.hooks(units[2], units[1])
		lead(0)
		c.hooks(units...)
		lead(1)
		c.settle(10)
	})
}

// A bootstrap unit that leaves before it bootstrapped has a successor.
func TestLosingTheBootstrapUnitSurvivesCrashes(t *testing.T) {
	crashes(t, 3, anyFault, func(c crashing) {
		units := c.units()
		c.hooks(units[0], units[1])
		c.juju.RemoveUnit(units[0])
		c.juju.Leaders["lxd-cluster"] = units[2]
		c.settle(10)
	})
}

// A join that failed has spent its token, and another is asked for.
func TestASpentTokenSurvivesCrashes(t *testing.T) {
	crashes(t, 2, anyFault, func(c crashing) {
		c.lxds[c.units()[1]].failJoin = 1
		c.settle(10)
	})
}

func TestAdoptingSurvivesCrashes(t *testing.T) {
	crashes(t, 3, anyFault, func(c crashing) {
		units := c.units()
		c.lxds[units[1]].local.Listens = "10.0.0.2:8443"
		c.lxds[units[1]].local.Networks["lxdbr0"] = true
		require.NoError(c.run, c.lxds[units[1]].Bootstrap(context.Background(), "old-name"))
		c.hooks(units[1])
		c.settle(8)
	})
}

//go:build box

package pets

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/internal/scheduler/store"
	"github.com/dcib/dcib/tests/testbed"
)

// testMachineLost takes the machine of the acting unit away after each step of a drain, and of an
// undrain, in turn. There are three to six units: new ones come when three are left.
func (s *stage) testMachineLost(t *testing.T) {
	c := s.crew(t)
	home := c.desiredState(t)
	var taken []time.Duration
	for _, pair := range c.kinds(t, home) {
		for _, k := range pair {
			if len(c.units) == 3 {
				c.reinforce(t, 3)
			}
			taken = append(taken, c.lost(t, k.what, k.step, home))
		}
	}
	t.Logf("%d machines lost; another unit acted %s to %s later (median %s)", len(taken), slices.Min(taken), slices.Max(taken), median(taken))
	c.dismiss(t)
}

// lost takes the machine of the acting unit away after a step of a run. It returns how long it took until
// another acted.
func (c *crew) lost(t *testing.T, what store.Kind, step string, home map[string]string) (took time.Duration) {
	t.Helper()
	c.voting(t)
	victim, id, _ := c.strike(t, "freeze", what, step, home)
	number := box.Status(t, model).Applications[app].Units[victim].Machine
	machine := c.units[victim]
	delete(c.units, victim)
	start := time.Now()
	box.LXC(t, "delete", "--force", machine)
	box.Injected(time.Now(), "%s: machine lost", machine)
	next := c.acting(t, 3*takeover, victim)
	took = time.Since(start)
	why := fmt.Sprintf("%s, machine of %s lost after %s, %s acts %.1f s later", what, victim, step, next, took.Seconds())
	t.Log(why)
	require.Less(t, took, takeover, why)
	c.requireAll(t, c.ended(t, "", id), home, why)
	box.Juju(t, "remove-machine", "-m", model, "--no-prompt", "--force", "--no-wait", number)
	return took
}

// testAddressGivenOut loses the machine of the acting unit, and has the network assign its address
// to that of a new unit, before anyone has taken the lost one's node out of the store.
func (s *stage) testAddressGivenOut(t *testing.T) {
	c := &crew{stage: s, units: box.Machines(t, model, app)}
	c.voting(t)
	victim := c.acting(t, takeover)
	machine := c.units[victim]
	address := c.address(t, victim)
	before := c.node(t, victim, address)
	number := box.Status(t, model).Applications[app].Units[victim].Machine
	delete(c.units, victim)
	box.LXC(t, "delete", "--force", machine)
	box.Injected(time.Now(), "%s: machine lost", machine)
	box.Juju(t, "remove-machine", "-m", model, "--no-prompt", "--force", "--no-wait", number)
	host, _, err := net.SplitHostPort(address)
	require.NoError(t, err)
	defer box.AssignAddress(t, host)()
	start := time.Now()
	box.Juju(t, "add-unit", "-m", model, app)
	box.WaitActive(t, model, app, len(c.units)+1)
	took := time.Since(start)
	c.units = box.Machines(t, model, app)
	c.ready(t)
	c.voting(t)
	next := ""
	for unit := range c.units {
		if c.address(t, unit) == address {
			next = unit
		}
	}
	require.NotEmpty(t, next, "a new unit at %s", address)
	after := c.node(t, next, address)
	require.NotEqual(t, before, after)
	t.Logf("machine of %s lost, %s active at its address, %s, %.0f s after it was asked for: node %s in the place of %s", victim, next, address, took.Seconds(), after, before)
}

// address is that of a unit's node.
func (c *crew) address(t *testing.T, unit string) string {
	t.Helper()
	var config struct{ Address string }
	testbed.Decode(t, box.Inside(t, c.units[unit], "cat "+dir(unit)+"/daemon.json"), &config)
	return config.Address
}

// node is the id of the one node that has an address, as a unit sees it.
func (c *crew) node(t *testing.T, unit, address string) string {
	t.Helper()
	file := box.Inside(t, c.units[unit], "cat "+dir(unit)+"/store/cluster.yaml")
	var nodes []struct {
		ID      string `yaml:"ID"`
		Address string `yaml:"Address"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(file), &nodes), file)
	var ids []string
	for _, n := range nodes {
		if n.Address == address {
			ids = append(ids, n.ID)
		}
	}
	require.Len(t, ids, 1, file)
	return ids[0]
}

// reinforce adds units.
func (c *crew) reinforce(t *testing.T, more int) {
	t.Helper()
	box.Juju(t, "add-unit", "-m", model, app, "-n", fmt.Sprint(more))
	box.WaitActive(t, model, app, len(c.units)+more)
	for unit, machine := range box.Machines(t, model, app) {
		if _, there := c.units[unit]; !there {
			c.units[unit] = machine
			c.install(t, unit)
		}
	}
}

// testOneUnit adds a unit on a machine that has one.
func (s *stage) testOneUnit(t *testing.T) {
	first, machine := box.Leader(t, model, app)
	st := box.Status(t, model)
	where := st.Applications[app].Units[first].Machine
	before := st.Applications[app].Units
	box.Juju(t, "add-unit", "-m", model, app, "--to", where)
	second := ""
	box.Eventually(t, time.Minute, "another unit", func() (bool, string) {
		for name := range box.Status(t, model).Applications[app].Units {
			if _, old := before[name]; !old {
				second = name
			}
		}
		return second != "", ""
	})
	said := box.WaitUnit(t, model, second, func(s testbed.State) bool { return s.Current == "blocked" })
	require.Contains(t, said.Message, first+" is on this machine")
	pid := func() string { return box.Inside(t, machine, "systemctl show --property MainPID pet-scheduler") }
	was := pid()
	box.Juju(t, "remove-unit", "-m", model, "--no-prompt", second)
	box.WaitActive(t, model, app, len(before))
	require.Equal(t, was, pid(), "the first unit's daemon runs on")
	var st2 status
	require.NoError(t, tryCall(machine, first, "/1/status", "", &st2))
	require.True(t, st2.Open)
}

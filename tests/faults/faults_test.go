//go:build box

// Package faults breaks real machines at chosen moments: in the end there is always one LXD cluster, and
// nothing that runs on it is lost.
package faults

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/tests/testbed"
)

// app is the application whose machines are broken.
const app = "lxd-cluster"

// box has a controller, and a model for each test.
var box testbed.Box

func TestFaults(t *testing.T) {
	box = testbed.New(t, "faults")
	box.DCIB(t, 25*time.Minute, "up", "--until", "controller")
	t.Run("one grows to five and shrinks to one with instances on it", testGrowAndShrink)
	t.Run("the leader's machine dies", testLeaderDies)
	t.Run("a new machine has the address of a dead one", testAddressGivenOut)
	t.Run("LXD is upgraded", testUpgrade)
	box.DCIB(t, 5*time.Minute, "down")
}

// deploy creates a model with that many units of lxd-cluster.
func deploy(t *testing.T, model string, units int) {
	t.Helper()
	// Hooks are lost with the machines that would have caused them.
	box.AddModel(t, model, "update-status-hook-interval=1m")
	box.Juju(t, "deploy", "-m", model, filepath.Join(box.Repo, "dist/lxd-cluster.charm"), app,
		"-n", fmt.Sprint(units), "--base", "ubuntu@24.04", "--config", "bridge-address=10.248.0.1/24")
}

// destroy removes a model with everything in it, without waiting for units to leave.
func destroy(t *testing.T, model string) {
	t.Helper()
	box.Juju(t, "destroy-model", "--no-prompt", "--force", "--no-wait", "--destroy-storage", "--timeout", "2m", model)
}

// testLeaderDies kills the machine of the Juju leader at each stage of forming. After that an operator does
// what Juju requires when a machine is lost, and nothing else.
func testLeaderDies(t *testing.T) {
	stages := []struct {
		name    string
		members int // of machines whose LXD is in a cluster
	}{
		{"before anything is founded", 0},
		{"founded", 1},
		{"the second joins", 2},
		{"the third joins", 3},
	}
	for n, stage := range stages {
		t.Run(stage.name, func(t *testing.T) {
			model := fmt.Sprintf("dies%d", n)
			deploy(t, model, 3)
			defer destroy(t, model)
			leader, machine := "", ""
			box.Await(t, 5*time.Minute, 100*time.Millisecond, "stage "+stage.name, func() (bool, string) {
				s := box.Status(t, model)
				leader, machine = "", ""
				in := 0
				for name, u := range s.Applications[app].Units {
					id := s.Machines[u.Machine].InstanceID
					if u.Leader {
						leader, machine = name, id
					}
					if strings.HasPrefix(id, "juju-") && clustered(id) {
						in++
					}
				}
				return leader != "" && strings.HasPrefix(machine, "juju-") && in >= stage.members, fmt.Sprintf("leader %s in %s, %d of the machines in a cluster", leader, machine, in)
			})
			id := box.Status(t, model).Applications[app].Units[leader].Machine
			kill(t, machine)
			t.Logf("%s: killed %s of %s", time.Now().Format(time.TimeOnly), machine, leader)
			box.Juju(t, "remove-machine", "-m", model, "--no-prompt", "--force", "--no-wait", id)
			obey(t, model, 2)
			requireForms(t, model, 2)
			// It is complete again with another machine.
			box.Juju(t, "add-unit", "-m", model, app)
			requireForms(t, model, 3)
		})
	}
}

// testAddressGivenOut kills a machine, and has the network assign its address to a new one. That one can
// only join when the dead member is removed, which the others report.
func testAddressGivenOut(t *testing.T) {
	const model = "address"
	deploy(t, model, 3)
	defer destroy(t, model)
	requireForms(t, model, 3)
	s := box.Status(t, model)
	leader, machine := box.Leader(t, model, app)
	id := s.Applications[app].Units[leader].Machine
	address := addressOf(t, machine)
	kill(t, machine)
	box.Juju(t, "remove-machine", "-m", model, "--no-prompt", "--force", "--no-wait", id)
	defer box.AssignAddress(t, address)()
	box.Juju(t, "add-unit", "-m", model, app)
	box.Eventually(t, 5*time.Minute, "the others to say who cannot join", func() (bool, string) {
		var said []string
		for name, u := range box.Status(t, model).Applications[app].Units {
			said = append(said, name+" "+u.Workload.Current+": "+u.Workload.Message)
		}
		all := strings.Join(said, "\n")
		return strings.Contains(all, "until then cannot join: lxd-cluster/3 (it has the address of "+machine+")"), all
	})
	obey(t, model, 3)
	requireForms(t, model, 3)
	require.Equal(t, address, addressOf(t, box.Machines(t, model, app)[app+"/3"]))
}

// addressOf returns a machine's address on the box's network.
func addressOf(t *testing.T, machine string) string {
	t.Helper()
	out := box.Inside(t, machine, "ip -4 -oneline addr show dev br0 scope global")
	_, out, _ = strings.Cut(out, "inet ")
	address, _, ok := strings.Cut(out, "/")
	require.True(t, ok, out)
	return address
}

// asks matches the action in a unit's status that an operator should run.
var asks = regexp.MustCompile(`juju run (\S+) (recover-from-quorum-loss|reset-lxd|remove-member)(?: (member=\S+))?`)

// obey does what the units' status messages require, until all are active.
func obey(t *testing.T, model string, units int) {
	t.Helper()
	done, refused := map[string]bool{}, map[string]bool{}
	box.Eventually(t, 6*time.Minute, "all units to be content", func() (bool, string) {
		active := 0
		var said []string
		for name, u := range box.Status(t, model).Applications[app].Units {
			said = append(said, name+" "+u.Workload.Current+": "+u.Workload.Message)
			if u.Workload.Current == "active" && u.Agent.Current == "idle" {
				active++
			}
			if ask := asks.FindStringSubmatch(u.Workload.Message); ask != nil && !done[ask[0]] {
				params := []string{"force=true"}
				if ask[3] != "" {
					params = append(params, strings.TrimSuffix(ask[3], ";"))
				}
				if _, err := box.TryAction(t, model, ask[1], ask[2], params...); err != nil {
					said = append(said, err.Error())
					if why := name + ": " + err.Error(); !refused[why] {
						refused[why] = true
						t.Logf("%s: %s says: %s; the action says: %s", time.Now().Format(time.TimeOnly), name, u.Workload.Message, err)
					}
				} else {
					done[ask[0]] = true
					t.Logf("%s: %s says: %s; done", time.Now().Format(time.TimeOnly), name, u.Workload.Message)
				}
			}
		}
		return active == units, strings.Join(said, "\n")
	})
}

// kill stops a machine's Juju agent and removes the machine, as a fire would.
func kill(t *testing.T, machine string) {
	t.Helper()
	box.Inside(t, machine, "systemctl list-units --no-legend 'jujuagentd-*' | grep -q . && systemctl kill --signal KILL 'jujuagentd-*'")
	box.LXC(t, "delete", "--force", machine)
	box.Injected(time.Now(), "%s: machine lost", machine)
}

// clustered reports whether the LXD of a machine is in a cluster.
func clustered(machine string) bool {
	out, err := box.TryLXC(20*time.Second, "exec", machine, "--", "sh", "-c", "test -e /var/lib/lxd/unix.socket && timeout 5 lxc info 2>/dev/null | grep server_clustered")
	return err == nil && strings.Contains(out, "true")
}

// requireForms waits until the model has that many units, all active and idle, and asserts that their
// machines are the members of one cluster.
func requireForms(t *testing.T, model string, units int) {
	t.Helper()
	box.WaitActive(t, model, app, units)
	machines := box.Machines(t, model, app)
	box.Eventually(t, time.Minute, "only living members", func() (bool, string) {
		for _, machine := range machines {
			if list := box.Members(t, machine); len(list) != units {
				return false, fmt.Sprint(list)
			}
		}
		return true, ""
	})
	box.RequireOneCluster(t, machines)
	require.Len(t, machines, units)
}

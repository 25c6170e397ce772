//go:build box

// Package e2e walks through all layers of a real box: LXD on this machine, a Juju controller, the cluster
// that lxd-cluster makes of Juju's machines, and applications on that cluster as a second cloud. It asserts
// on LXD, Juju and the kernel.
package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/tests/testbed"
)

// box is separate from a developer's, and from those of other suites.
var box testbed.Box

// TestBox walks through the layers; each needs the one before.
func TestBox(t *testing.T) {
	box = testbed.New(t, "e2e")
	before := footprint(t)
	if !t.Run("up", testUp) {
		t.FailNow()
	}
	t.Run("up again changes nothing", testUpAgain)
	t.Run("three machines are one LXD cluster", testCluster)
	t.Run("instances on different members reach each other", testNetwork)
	// Before the cluster grows: Juju 4.1-beta2 stores the zones in a model when the model
	// is created, and starts no machine in a later one.
	t.Run("a profile tweak applies hot, across models, and goes again", testProfile)
	t.Run("presets, restarts one after another, putting back, rollback", testProfileHot)
	t.Run("add-unit makes it four", testScale)
	t.Run("a machine that has instances keeps them", testAdopt)
	t.Run("drain empties a member, undrain brings back what it moved", testDrain)
	t.Run("an operator's own evacuation is left alone", testForeignEvacuation)
	t.Run("a pet is reserved for its window, and shared after it", testCalendar)
	t.Run("no join token can be read from Juju", testNoSecrets)
	t.Run("a hook with nothing to do costs little", testIdleHook)
	t.Run("a unit that leaves hands over and loses nothing", testLeave)
	t.Run("a member whose machine died is removed by name", testDeadMember)
	t.Run("down leaves the machine as it was", func(t *testing.T) {
		box.DCIB(t, 5*time.Minute, "down")
		after := footprint(t)
		if before["settings"] == "" || after["settings"] == "" {
			delete(before, "settings")
			delete(after, "settings")
		}
		require.Equal(t, before, after)
	})
}

func testUp(t *testing.T) {
	out := box.DCIB(t, 25*time.Minute, "up")
	t.Log("\n" + out)
	s := box.Status(t, "metal")
	require.Len(t, s.Applications["lxd-cluster"].Units, 3)
	for _, app := range []string{"lxd-cluster", "pet-scheduler"} {
		for name, u := range s.Applications[app].Units {
			require.Equal(t, "active", u.Workload.Current, "%s: %s", name, u.Workload.Message)
			require.Equal(t, "idle", u.Agent.Current, name)
		}
	}
	var containers []testbed.Placed
	testbed.Decode(t, box.LXC(t, "list", "--format", "json"), &containers)
	running := map[string]string{}
	for _, c := range containers {
		running[c.Name] = c.Status
	}
	for _, m := range s.Machines {
		require.Equal(t, "Running", running[m.InstanceID], "machine %s as LXD sees it", m.InstanceID)
	}
}

func testUpAgain(t *testing.T) {
	created := func() map[string]string {
		var list []struct {
			Name    string    `json:"name"`
			Created time.Time `json:"created_at"`
		}
		testbed.Decode(t, box.LXC(t, "list", "--format", "json"), &list)
		byName := map[string]string{}
		for _, c := range list {
			byName[c.Name] = c.Created.String()
		}
		return byName
	}
	before := created()
	t.Log("\n" + box.DCIB(t, 3*time.Minute, "up"))
	require.Equal(t, before, created())
}

// clusterMachines returns the LXD instances of the units of lxd-cluster, by unit.
func clusterMachines(t *testing.T) map[string]string {
	t.Helper()
	return box.Machines(t, "metal", "lxd-cluster")
}

func testCluster(t *testing.T) { box.RequireOneCluster(t, clusterMachines(t)) }

// testNetwork makes two containers on two members send packets to each other, by their names.
func testNetwork(t *testing.T) {
	machines := clusterMachines(t)
	ask := machines["lxd-cluster/0"]
	require.Equal(t, "br0", strings.TrimSpace(box.Inside(t, ask, "lxc profile device get dcib eth0 parent")))
	on := map[string]string{"net-a": machines["lxd-cluster/1"], "net-b": machines["lxd-cluster/2"]}
	for name, member := range on {
		box.Inside(t, ask, "lxc launch juju/ubuntu@24.04/amd64 "+name+" --profile dcib --target "+member)
	}
	defer box.Inside(t, ask, "lxc delete --force net-a net-b")
	for from, to := range map[string]string{"net-a": "net-b", "net-b": "net-a"} {
		box.Eventually(t, 3*time.Minute, from+" to reach "+to, func() (bool, string) {
			// Full-size packets, which no header on the way makes too large.
			out, err := box.TryLXC(time.Minute, "exec", ask, "--", "lxc", "exec", from, "--", "ping", "-c", "3", "-i", "0.2", "-w", "5", "-M", "do", "-s", "1472", to)
			return err == nil && strings.Contains(out, " 0% packet loss"), fmt.Sprint(out, err)
		})
	}
	s := box.Instances(t, ask)
	for name, member := range on {
		require.Equal(t, member, s[name].Location)
	}
	for name, u := range box.Status(t, "metal").Applications["lxd-cluster"].Units {
		require.NotContains(t, u.Workload.Message, "cannot reach each other", name)
	}
}

func testScale(t *testing.T) {
	box.Juju(t, "add-unit", "-m", "metal", "lxd-cluster")
	box.WaitActive(t, "metal", "lxd-cluster", 4)
	box.RequireOneCluster(t, clusterMachines(t))
}

// deployIdle deploys the charm that does nothing and waits until it is active.
func deployIdle(t *testing.T, model, app string, units int) {
	t.Helper()
	dir := t.TempDir()
	testbed.Run(t, 2*time.Minute, filepath.Join(box.Repo, "bin/dcib"), "pack", "--out", dir, filepath.Join(box.Repo, "tests/charms/idle"))
	box.Juju(t, "deploy", "-m", model, filepath.Join(dir, "idle.charm"), app, "-n", strconv.Itoa(units), "--base", "ubuntu@24.04")
	if model == "machines" {
		box.StartAddressless(t, clusterMachines(t)["lxd-cluster/0"], model)
	}
	box.WaitActive(t, model, app, units)
}

func testAdopt(t *testing.T) {
	// A unit of another application keeps the machine when the charm's unit is removed.
	deployIdle(t, "metal", "holder", 1)
	s := box.Status(t, "metal")
	id := s.Applications["holder"].Units["holder/0"].Machine
	name := s.Instance(t, "holder/0")
	// What an operator may have set up before Juju.
	box.Inside(t, name, `lxd waitready --timeout 60
		lxc storage create mine dir
		lxc network create minebr ipv4.address=10.249.0.1/24 ipv4.nat=true ipv6.address=none
		lxc profile create mine
		lxc profile set mine user.whose=mine
		lxc profile device add mine root disk path=/ pool=mine`)
	box.TinyImage(t, name)
	box.Inside(t, name, "lxc launch tiny keepsake --profile mine")
	started := box.Instances(t, name)["keepsake"]
	require.Equal(t, "Running", started.Status)
	pid := box.Inside(t, name, "lxc info keepsake | sed -n 's/^PID: //p'")
	require.NotEmpty(t, strings.TrimSpace(pid))
	stays := func(t *testing.T) {
		t.Helper()
		require.Equal(t, pid, box.Inside(t, name, "lxc info keepsake | sed -n 's/^PID: //p'"), "the instance never stopped")
		require.Equal(t, "mine", strings.TrimSpace(box.Inside(t, name, "lxc profile get mine user.whose")))
		require.Contains(t, box.Inside(t, name, "lxc storage list --format csv"), "mine")
		require.Contains(t, box.Inside(t, name, "lxc network list --format csv"), "minebr")
	}

	t.Run("and is not joined over", func(t *testing.T) {
		box.Juju(t, "add-unit", "-m", "metal", "lxd-cluster", "--to", id)
		var newUnit string
		for unit, u := range box.Status(t, "metal").Applications["lxd-cluster"].Units {
			if u.Machine == id {
				newUnit = unit
			}
		}
		require.NotEmpty(t, newUnit)
		got := box.WaitUnit(t, "metal", newUnit, func(s testbed.State) bool { return s.Current == "blocked" })
		require.Contains(t, got.Message, "instance keepsake")
		require.Contains(t, box.Inside(t, name, "lxc info"), "server_clustered: false")
		stays(t)
		box.Juju(t, "remove-unit", "-m", "metal", "--no-prompt", newUnit)
		box.Eventually(t, 3*time.Minute, newUnit+" to go", func() (bool, string) {
			_, there := box.Status(t, "metal").Applications["lxd-cluster"].Units[newUnit]
			return !there, "it is still there"
		})
	})
	t.Run("and may found", func(t *testing.T) {
		box.Juju(t, "deploy", "-m", "metal", filepath.Join(box.Repo, "dist/lxd-cluster.charm"), "adopter", "--to", id, "--base", "ubuntu@24.04", "--config", "bridge=minebr")
		box.WaitActive(t, "metal", "adopter", 1)
		require.Len(t, box.Members(t, name), 1)
		stays(t)
		require.Equal(t, "{}\n", box.Inside(t, name, "lxc profile show default | sed -n 's/^devices: //p'"), "LXD's own default profile is untouched")
	})
}

// place returns where the LXD of a machine has each instance, and whether it runs.
func place(t *testing.T, machine string) map[string]string {
	t.Helper()
	where := map[string]string{}
	for name, i := range box.Instances(t, machine) {
		if strings.HasPrefix(name, "tiny-") {
			where[name] = i.Location + " " + i.Status
		}
	}
	return where
}

// petAndOther returns a member to drain, and another to query meanwhile.
func petAndOther(t *testing.T) (pet, other string) {
	t.Helper()
	names := slices.Sorted(maps.Values(clusterMachines(t)))
	return names[len(names)-1], names[0]
}

func testDrain(t *testing.T) {
	pet, ask := petAndOther(t)
	box.TinyImage(t, ask)
	for i := range 3 {
		box.Inside(t, ask, fmt.Sprintf("lxc launch tiny tiny-pet%d --profile dcib --target %s", i, pet))
	}
	box.Inside(t, ask, "lxc init tiny tiny-stopped --profile dcib --target "+pet)
	box.Inside(t, ask, "lxc launch tiny tiny-other --profile dcib --target "+ask)
	before := place(t, ask)
	require.Len(t, before, 5)

	t.Run("a dry run changes nothing", func(t *testing.T) {
		box.Action(t, "metal", "pet-scheduler/leader", "drain", "pet="+pet, "dry-run=true")
		require.Equal(t, before, place(t, ask))
		require.Equal(t, "online", box.Members(t, ask)[pet])
	})

	result := box.Action(t, "metal", "pet-scheduler/leader", "drain", "pet="+pet)
	t.Log(result)
	during := place(t, ask)
	for name, was := range before {
		require.NotContains(t, during[name], pet+" ", "%s after the drain", name)
		_, state, _ := strings.Cut(was, " ")
		_, now, _ := strings.Cut(during[name], " ")
		require.Equal(t, state, now, "%s after the drain", name)
	}
	require.Equal(t, "evacuated", box.Members(t, ask)[pet])
	require.Equal(t, before["tiny-other"], during["tiny-other"])
	t.Run("and again is no error", func(t *testing.T) {
		box.Action(t, "metal", "pet-scheduler/leader", "drain", "pet="+pet)
		require.Equal(t, during, place(t, ask))
	})
	// It was created while the pet was drained: it stays where it is.
	box.Inside(t, ask, "lxc launch tiny tiny-newcomer --profile dcib --target "+ask)

	t.Log(box.Action(t, "metal", "pet-scheduler/leader", "undrain", "pet="+pet))
	after := place(t, ask)
	require.Equal(t, ask+" Running", after["tiny-newcomer"])
	delete(after, "tiny-newcomer")
	require.Equal(t, before, after)
	require.Equal(t, "online", box.Members(t, ask)[pet])

	t.Run("an unknown member is refused by name", func(t *testing.T) {
		_, err := box.TryAction(t, "metal", "pet-scheduler/leader", "drain", "pet=no-such-member")
		require.ErrorContains(t, err, "no-such-member")
		require.ErrorContains(t, err, pet, "the members that there are")
	})
}

func testForeignEvacuation(t *testing.T) {
	pet, ask := petAndOther(t)
	box.Inside(t, ask, "lxc cluster evacuate --force "+pet)
	before := place(t, ask)
	for _, verb := range []string{"drain", "undrain"} {
		_, err := box.TryAction(t, "metal", "pet-scheduler/leader", verb, "pet="+pet)
		require.Error(t, err, verb)
		require.Equal(t, before, place(t, ask), verb)
		require.Equal(t, "evacuated", box.Members(t, ask)[pet], verb)
	}
	box.Inside(t, ask, "lxc cluster restore --force "+pet)
}

// lastUnit returns the unit with the highest number, its machine, and another machine to query.
func lastUnit(t *testing.T) (unit, machine, ask string) {
	t.Helper()
	machines := clusterMachines(t)
	number := func(unit string) int {
		n, err := strconv.Atoi(unit[strings.LastIndexByte(unit, '/')+1:])
		require.NoError(t, err)
		return n
	}
	units := slices.SortedFunc(maps.Keys(machines), func(a, b string) int { return number(a) - number(b) })
	unit = units[len(units)-1]
	return unit, machines[unit], machines[units[0]]
}

// testLeave removes a unit whose member has instances.
func testLeave(t *testing.T) {
	unit, machine, ask := lastUnit(t)
	box.TinyImage(t, ask)
	for i := range 2 {
		box.Inside(t, ask, fmt.Sprintf("lxc launch tiny tiny-leaves%d --profile dcib --target %s", i, machine))
	}
	before := place(t, ask)
	units := len(clusterMachines(t))

	t.Run("not while something there cannot move", func(t *testing.T) {
		box.Inside(t, ask, "lxc config device add tiny-leaves0 data disk source=/root path=/mnt")
		box.Juju(t, "remove-unit", "-m", "metal", "--no-prompt", unit)
		box.WaitUnit(t, "metal", unit, func(s testbed.State) bool { return s.Current == "error" })
		require.Equal(t, before, place(t, ask), "nothing was stopped")
		defer box.Inside(t, ask, "lxc config device remove tiny-leaves0 data")
		box.Eventually(t, time.Minute, "the log to say why", func() (bool, string) {
			log := box.Juju(t, "debug-log", "-m", "metal", "--replay", "--no-tail", "--level", "ERROR")
			return strings.Contains(log, "instance tiny-leaves0 is tied to this member by disk data"), log
		})
	})

	// Juju retries automatically.
	box.Eventually(t, 3*time.Minute, unit+" to go", func() (bool, string) {
		u, there := box.Status(t, "metal").Applications["lxd-cluster"].Units[unit]
		return !there, u.Workload.Current + ": " + u.Workload.Message
	})
	require.Len(t, clusterMachines(t), units-1)
	box.RequireOneCluster(t, clusterMachines(t))
	after := place(t, ask)
	require.Len(t, after, len(before))
	for name, was := range before {
		_, state, _ := strings.Cut(was, " ")
		where, now, _ := strings.Cut(after[name], " ")
		require.Equal(t, state, now, name)
		require.NotEqual(t, machine, where, name)
	}
	box.Eventually(t, time.Minute, "the others to say so", func() (bool, string) {
		for name, u := range box.Status(t, "metal").Applications["lxd-cluster"].Units {
			if !strings.Contains(u.Workload.Message, fmt.Sprintf("one of %d", units-1)) {
				return false, name + ": " + u.Workload.Message
			}
		}
		return true, ""
	})
}

// testDeadMember loses a machine.
func testDeadMember(t *testing.T) {
	_, machine, ask := lastUnit(t)
	box.Inside(t, ask, "lxc launch tiny tiny-lost --profile dcib --target "+machine)
	box.LXC(t, "delete", "--force", machine)
	box.Eventually(t, 2*time.Minute, machine+" to be offline", func() (bool, string) {
		// The database may be choosing another leader.
		out, err := testbed.Try(time.Minute, filepath.Join(box.Repo, "bin/dcib"), "box", "--name", box.Name, "lxc", "exec", ask, "--", "lxc", "cluster", "show", machine)
		return err == nil && strings.Contains(out, "status: Offline"), fmt.Sprint(out, err)
	})
	wake := func() testbed.State {
		box.Juju(t, "exec", "-m", "metal", "--unit", "lxd-cluster/0", "--", "cd $JUJU_CHARM_DIR && JUJU_DISPATCH_PATH=hooks/update-status ./dispatch")
		return box.Status(t, "metal").Applications["lxd-cluster"].Units["lxd-cluster/0"].Workload
	}
	// After the database's leader died, LXD has no heartbeats for some time.
	box.Eventually(t, time.Minute, "the charm to say what to do", func() (bool, string) {
		message := wake().Message
		return strings.Contains(message, "remove-member member="+machine), message
	})
	_, err := box.TryAction(t, "metal", "lxd-cluster/0", "remove-member", "member="+machine)
	require.ErrorContains(t, err, "instance tiny-lost (project default)")
	require.Contains(t, box.Members(t, ask), machine)
	results := box.Action(t, "metal", "lxd-cluster/0", "remove-member", "member="+machine, "force=true")
	require.Contains(t, results["lost"], "instance tiny-lost (project default)")
	require.NotContains(t, box.Members(t, ask), machine)
	// LXD may count its removed member for some heartbeats more, or still choose another leader.
	box.Eventually(t, time.Minute, "the charm to count two members", func() (bool, string) {
		message := wake().Message
		return strings.Contains(message, "no quorum is left if one dies"), message
	})
}

// memoryLimit returns the kernel's memory limit of a container in bytes; -1 for none.
func memoryLimit(t *testing.T, machine, container string) int64 {
	t.Helper()
	text := strings.TrimSpace(box.Inside(t, machine, "lxc exec "+container+" -- sh -c 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max'"))
	if text == "max" {
		return -1
	}
	n, err := strconv.ParseInt(text, 10, 64)
	require.NoError(t, err)
	if n > 1<<60 {
		return -1 // cgroup v1 says "no limit" with the largest page count
	}
	return n
}

func testProfile(t *testing.T) {
	const limit = 300 << 20
	// When a relation to another model is removed, a worker of Juju 4.1-beta2 may stop ("cannot enter
	// scope") and restart after 15 s. A relation that is added meanwhile gets its data but no hook. The
	// next update-status handles it, which comes every 5 minutes by default.
	box.Juju(t, "model-config", "-m", "machines", "update-status-hook-interval=1m")
	deployIdle(t, "machines", "idle", 2)
	box.Juju(t, "deploy", "-m", "machines", filepath.Join(box.Repo, "dist/lxd-profile-sub.charm"), "--base", "ubuntu@24.04", "--config", "profile=config: {limits.memory: 300MiB}")
	box.Juju(t, "consume", "-m", "machines", "admin/metal.lxd-profiles")

	ask := clusterMachines(t)["lxd-cluster/0"]
	s := box.Status(t, "machines")
	var containers []string
	for name := range s.Applications["idle"].Units {
		containers = append(containers, s.Instance(t, name))
	}
	pids := map[string]string{}
	for _, c := range containers {
		require.EqualValues(t, -1, memoryLimit(t, ask, c), "%s before", c)
		pids[c] = box.Inside(t, ask, "lxc info "+c+" | sed -n 's/^PID: //p'")
	}

	box.Juju(t, "integrate", "-m", "machines", "lxd-profile-sub", "idle")
	box.Juju(t, "integrate", "-m", "machines", "lxd-profile-sub:lxd-profile", "lxd-profiles")
	box.Eventually(t, 6*time.Minute, "the limit in every container", func() (bool, string) {
		for _, c := range containers {
			if got := memoryLimit(t, ask, c); got != limit {
				return false, fmt.Sprintf("%s is held to %d bytes", c, got)
			}
		}
		return true, ""
	})
	for _, i := range box.Instances(t, ask) {
		if pids[i.Name] != "" {
			require.Equal(t, "default", i.Profiles[0], "Juju's own profiles stay first: %v", i.Profiles)
		}
	}

	broker, _ := box.Leader(t, "metal", "lxd-cluster")
	require.Equal(t, []string{broker}, listeners(t), "who is called by those who ask")

	t.Run("a bad profile is refused and the good one stays", func(t *testing.T) {
		box.Juju(t, "config", "-m", "machines", "lxd-profile-sub", "profile=config: {limits.memory: plenty}")
		box.Eventually(t, 3*time.Minute, "the subordinate to refuse it", func() (bool, string) {
			for _, u := range box.Status(t, "machines").Applications["idle"].Units {
				for _, sub := range u.Subordinates {
					if sub.Workload.Current == "blocked" {
						return strings.Contains(sub.Workload.Message, "limits.memory"), sub.Workload.Message
					}
				}
			}
			return false, "no unit is blocked"
		})
		for _, c := range containers {
			require.EqualValues(t, limit, memoryLimit(t, ask, c))
		}
		box.Juju(t, "config", "-m", "machines", "lxd-profile-sub", "profile=config: {limits.memory: 300MiB}")
	})

	box.Juju(t, "remove-relation", "-m", "machines", "lxd-profile-sub:lxd-profile", "lxd-profiles")
	box.Eventually(t, 6*time.Minute, "the limit to go from every container", func() (bool, string) {
		for _, c := range containers {
			if got := memoryLimit(t, ask, c); got != -1 {
				return false, fmt.Sprintf("%s is held to %d bytes", c, got)
			}
		}
		return true, ""
	})
	for _, c := range containers {
		require.Equal(t, pids[c], box.Inside(t, ask, "lxc info "+c+" | sed -n 's/^PID: //p'"), "%s never stopped", c)
	}
	box.Eventually(t, 2*time.Minute, "our profile to go", func() (bool, string) {
		list := box.Inside(t, ask, "lxc profile list --format csv")
		return !strings.Contains(list, "dcib-"), list
	})
	box.Eventually(t, time.Minute, "no listener", func() (bool, string) {
		units := listeners(t)
		return len(units) == 0, strings.Join(units, ", ")
	})
}

// listeners returns the units of lxd-cluster on whose machines there is a socket for notifications, and
// asserts that no accepted notification failed.
func listeners(t *testing.T) []string {
	t.Helper()
	var units []string
	for unit, machine := range clusterMachines(t) {
		if strings.Contains(box.Inside(t, machine, "cat /proc/net/udp /proc/net/udp6"), ":4504 ") { // 17668
			units = append(units, unit)
			require.Equal(t, "active\n", box.Inside(t, machine, "systemctl is-active lxd-cluster-notify.socket"))
		}
		require.NotRegexp(t, "cannot|Failed", calls(t, machine), unit)
		require.Contains(t, box.Juju(t, "exec", "-m", "metal", "--unit", unit, "--", "opened-ports"), "8443/tcp")
	}
	return units
}

// calls returns the journal of a machine about its unit's notifications.
func calls(t *testing.T, machine string) string {
	t.Helper()
	return box.Inside(t, machine, "journalctl --no-pager -o cat -u lxd-cluster-notify.service")
}

func testNoSecrets(t *testing.T) {
	key := regexp.MustCompile(`PRIVATE KEY`)
	for unit := range clusterMachines(t) {
		shown := box.Juju(t, "show-unit", "-m", "metal", unit)
		require.NotRegexp(t, testbed.JoinToken, shown)
		require.NotRegexp(t, key, shown)
	}
	log := box.Juju(t, "debug-log", "-m", "metal", "--replay", "--no-tail", "--level", "DEBUG")
	require.Contains(t, log, "issue a join token to", "the log that is looked at is the right one")
	require.NotRegexp(t, testbed.JoinToken, log)
	require.NotRegexp(t, key, log)
}

// testIdleHook measures the cost of the charms' own processes in update-status, in their own context, with
// the real hook tools.
func testIdleHook(t *testing.T) {
	type figures struct {
		Unit string `json:"unit"`
		charm.Usage
	}
	var all []figures
	measure := func(model, unit, dir string) {
		const runs = 5
		best := figures{Unit: unit}
		for range runs {
			out := box.Juju(t, "exec", "-m", model, "--unit", unit, "--",
				"cd $JUJU_CHARM_DIR && DCIB_USAGE=/tmp/usage JUJU_DISPATCH_PATH=hooks/update-status ./dispatch && cat /tmp/usage && rm /tmp/usage")
			var u charm.Usage
			testbed.Decode(t, out, &u)
			if best.CPU == 0 || u.CPU < best.CPU {
				best.Usage = u
			}
		}
		all = append(all, best)
		t.Logf("%s: own CPU %s, peak memory %d KiB, %d hook tools in %s", unit, best.CPU, best.MaxRSS, best.ToolCalls, best.Tools)
		require.LessOrEqual(t, best.MaxRSS, int64(20<<10), "peak KiB of %s", unit)
	}
	measure("metal", "lxd-cluster/0", "")
	for unit := range box.Status(t, "metal").Applications["pet-scheduler"].Units {
		measure("metal", unit, "")
	}
	for _, u := range box.Status(t, "machines").Applications["idle"].Units {
		for sub := range u.Subordinates {
			measure("machines", sub, "")
		}
		break
	}
	text, err := json.MarshalIndent(all, "", "  ")
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(box.Repo, "dist"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(box.Repo, "dist/idle-hooks.json"), append(text, '\n'), 0o644))
}

// footprint is what a box may leave on a machine: links, mounts, firewall rules, loop devices, kernel
// settings and processes that know its folder. That of other boxes, which may come and go, is excluded.
func footprint(t *testing.T) map[string]string {
	t.Helper()
	mine := func(line string) bool {
		for _, mark := range []string{"dcib-", "/boxes/"} {
			if _, rest, found := strings.Cut(line, mark); found && !strings.HasPrefix(rest, box.Name) {
				return false
			}
		}
		return true
	}
	list := func(command string) string {
		var lines []string
		for line := range strings.Lines(testbed.Run(t, time.Minute, "sh", "-c", command)) {
			if mine(line) {
				lines = append(lines, line)
			}
		}
		slices.Sort(lines)
		return strings.Join(lines, "")
	}
	f := map[string]string{
		// With its bridge, which identifies the owner; numbers and states change automatically.
		"links":     list("ip -o link | sed -E 's/^[0-9]+: ([^:]+):.*( master [^ ]+).*/\\1\\2/; s/^[0-9]+: ([^:]+):.*/\\1/'"),
		"addresses": list("ip -o addr | awk '{print $2, $4}'"),
		"mounts":    list("awk '{print $5, $9, $10}' /proc/self/mountinfo"),
		"nft":       list("if command -v nft >/dev/null; then nft list ruleset | grep dcib-" + box.Name + "; fi || true"),
		"loops":     list("losetup -a"),
		// In brackets, so that the search does not find itself.
		"processes": list("grep -lsa 'boxes/[" + box.Name[:1] + "]" + box.Name[1:] + "/' /proc/[0-9]*/cmdline /proc/[0-9]*/environ || true"),
	}
	// Settings are restored with the last box.
	if !strings.Contains(testbed.Run(t, time.Minute, "ip", "-o", "link"), " dcib-") {
		f["settings"] = list("sysctl fs.inotify kernel.keys vm.max_map_count net.ipv4.ip_forward")
	}
	return f
}

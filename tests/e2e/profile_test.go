//go:build box

package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/tests/testbed"
)

// hotPolicy allows what testProfileHot requests.
const hotPolicy = `keys: [boot.*, limits.*, user.*, security.nesting]
devices: [unix-char, disk]
host-paths: [/dev/kvm, /dev/net/tun, /srv/dcib-share]
`

// subordinates returns the workload status of each lxd-profile-sub of an application.
func subordinates(t *testing.T, app string) map[string]testbed.State {
	t.Helper()
	states := map[string]testbed.State{}
	for _, u := range box.Status(t, "machines").Applications[app].Units {
		for name, sub := range u.Subordinates {
			states[name] = sub.Workload
		}
	}
	return states
}

// waitSubordinates waits until all of them have a message.
func waitSubordinates(t *testing.T, what string, yes func(testbed.State) bool) {
	t.Helper()
	box.Eventually(t, 5*time.Minute, what, func() (bool, string) {
		states := subordinates(t, "idle")
		for name, s := range states {
			if !yes(s) {
				return false, name + " " + s.Current + ": " + s.Message
			}
		}
		return len(states) > 0, "no subordinate"
	})
}

// testProfileHot continues from testProfile, which leaves the applications unrelated: devices that come and
// go, restarts one after another, restoring, and rollback.
func testProfileHot(t *testing.T) {
	sub := func(options ...string) {
		box.Juju(t, append([]string{"config", "-m", "machines", "lxd-profile-sub"}, options...)...)
	}
	ask := clusterMachines(t)["lxd-cluster/0"]
	containers := box.Machines(t, "machines", "idle")
	inContainers := func(line string) string {
		var says []string
		for _, c := range containers {
			says = append(says, strings.TrimSpace(box.Inside(t, ask, "lxc exec "+c+" -- sh -c '"+line+"'")))
		}
		slices.Sort(says)
		return strings.Join(slices.Compact(says), " and ")
	}
	pids := func() map[string]string {
		all := map[string]string{}
		for _, c := range containers {
			all[c] = strings.TrimSpace(box.Inside(t, ask, "lxc info "+c+" | sed -n 's/^PID: //p'"))
		}
		return all
	}
	before := pids()

	sub("profile=", "preset=nested-kvm")
	// The relation that testProfile removed may still be going.
	box.Eventually(t, 2*time.Minute, "the relation to be added again", func() (bool, string) {
		_, err := testbed.Try(time.Minute, filepath.Join(box.Repo, "bin/dcib"), "box", "--name", box.Name, "juju", "integrate", "-m", "machines", "lxd-profile-sub:lxd-profile", "lxd-profiles")
		return err == nil, fmt.Sprint(err)
	})
	waitSubordinates(t, "the refusal to name the policy's line", func(s testbed.State) bool {
		return s.Current == "blocked" && strings.Contains(s.Message, `config.security.nesting: profile-policy does not allow it: its keys (line 1) would need "security.nesting"`)
	})
	require.Equal(t, "no", inContainers("test -e /dev/kvm && echo yes || echo no"))

	for _, machine := range clusterMachines(t) {
		// A box's hosts are containers. With its numbers (Linux, include/linux/miscdevice.h) the device
		// exists even if this machine has none.
		_, _ = testbed.Try(time.Minute, filepath.Join(box.Repo, "bin/dcib"), "box", "--name", box.Name, "lxc", "config", "device", "add", machine, "kvm", "unix-char", "path=/dev/kvm", "major=10", "minor=232")
		box.Inside(t, machine, "test -c /dev/kvm")
		box.Inside(t, machine, "mkdir -p /srv/dcib-share && echo shared >/srv/dcib-share/file")
	}
	box.Juju(t, "config", "-m", "metal", "lxd-cluster", "profile-policy="+hotPolicy)
	waitSubordinates(t, "the preset to be in force, but for nesting", func(s testbed.State) bool {
		return s.Current == "active" && strings.Contains(s.Message, "kvm (unix-char)") && strings.Contains(s.Message, "restart needed for security.nesting: juju run lxd-profile-sub/leader apply-restart")
	})
	require.Equal(t, "yes", inContainers("test -c /dev/kvm && test -c /dev/net/tun && echo yes || echo no"))

	t.Run("devices come and go without a restart", func(t *testing.T) {
		sub("preset=cephfs,nested-kvm", "cephfs-host-path=/srv/dcib-share", "cephfs-mount=/mnt/share")
		box.Eventually(t, 3*time.Minute, "the share in every container", func() (bool, string) {
			says := inContainers("cat /mnt/share/file 2>/dev/null || echo none")
			return says == "shared", says
		})
		sub("preset=", "profile=config: {security.nesting: \"true\"}")
		box.Eventually(t, 3*time.Minute, "kvm and the share to go", func() (bool, string) {
			says := inContainers("test -e /dev/kvm && echo kvm; cat /mnt/share/file 2>/dev/null; echo")
			return says == "", says
		})
		require.Equal(t, before, pids())
	})

	t.Run("one after another is restarted", func(t *testing.T) {
		waitSubordinates(t, "nesting to wait", func(s testbed.State) bool { return strings.Contains(s.Message, "restart needed for security.nesting") })
		t.Log(box.Juju(t, "run", "-m", "machines", "lxd-profile-sub/leader", "apply-restart", "wait-healthy=4m"))
		box.Eventually(t, 8*time.Minute, "nesting to be in force everywhere", func() (bool, string) {
			for name, s := range subordinates(t, "idle") {
				if s.Current != "active" || s.Message != "in force: security.nesting=true" {
					return false, name + " " + s.Current + ": " + s.Message
				}
			}
			return true, ""
		})
		for c, pid := range pids() {
			require.NotEqual(t, before[c], pid, "%s was restarted", c)
		}
	})

	t.Run("what another program rewrote is restored and logged", func(t *testing.T) {
		victim := ""
		for _, c := range containers {
			victim = c
		}
		box.Inside(t, ask, "lxc profile assign "+victim+" default")
		box.Juju(t, "exec", "-m", "metal", "--unit", "lxd-cluster/leader", "--", "cd $JUJU_CHARM_DIR && JUJU_DISPATCH_PATH=hooks/update-status ./dispatch")
		require.Contains(t, fmt.Sprint(box.Instances(t, ask)[victim].Profiles), "dcib-machines-idle")
		// Juju's log comes a moment after the hook.
		box.Eventually(t, time.Minute, "the log to say so", func() (bool, string) {
			log := box.Juju(t, "debug-log", "-m", "metal", "--replay", "--no-tail")
			return strings.Contains(log, "put profile dcib-machines-idle last on instance "+victim+" again: another program has changed its list"), "it does not"
		})
	})

	t.Run("rollback", func(t *testing.T) {
		sub("profile=config: {security.nesting: \"true\", limits.memory: 300MiB}")
		waitSubordinates(t, "the limit", func(s testbed.State) bool {
			return s.Message == "in force: limits.memory=300MiB, security.nesting=true"
		})
		box.Juju(t, "run", "-m", "machines", "lxd-profile-sub/leader", "rollback")
		waitSubordinates(t, "the profile from before", func(s testbed.State) bool {
			return s.Message == "rolled back, until the options change; in force: security.nesting=true"
		})
		for _, c := range containers {
			require.EqualValues(t, -1, memoryLimit(t, ask, c))
		}
	})

	_, broker := box.Leader(t, "metal", "lxd-cluster")
	require.Contains(t, calls(t, broker), "Started lxd-cluster-notify.service", "all that was asked for")
	listeners(t)

	sub("profile=")
	box.Juju(t, "remove-relation", "-m", "machines", "lxd-profile-sub:lxd-profile", "lxd-profiles")
	box.Eventually(t, 3*time.Minute, "our profile to go", func() (bool, string) {
		list := box.Inside(t, ask, "lxc profile list --format csv")
		return !strings.Contains(list, "dcib-machines"), list
	})
	box.Juju(t, "config", "-m", "metal", "lxd-cluster", "--reset", "profile-policy")
}

//go:build box

package bundles

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/tests/howto"
)

// testPreset asks the kernel, from inside each worker's container, for what the preset
// kubernetes is about. The modules that it names are another matter: LXD has the host load
// them, and a profile with one that cannot be loaded is refused as a whole.
func testPreset(t *testing.T, _ *howto.Shell) {
	ask := box.Machines(t, "metal", "lxd-cluster")["lxd-cluster/0"]
	placed := box.Instances(t, ask)
	workers := box.Machines(t, "machines", "kubernetes-worker")
	require.Len(t, workers, 2)
	for unit, container := range workers {
		list := placed[container].Profiles
		require.Equal(t, "dcib-machines-kubernetes-worker", list[len(list)-1], unit)
		// One question, as each costs a second.
		inside := func(line string) string {
			return strings.TrimSpace(box.Inside(t, ask, "lxc exec "+container+" -- sh -c '"+line+"'"))
		}
		require.Equal(t, "1:b", inside("stat -c %t:%T /dev/kmsg"), "%s: the kernel's log, a device with these numbers", unit)
		mounts := inside("cat /proc/self/mountinfo")
		for _, path := range []string{"/sys/fs/bpf", "/proc/sys/net/netfilter/nf_conntrack_max", "/sys/module/nf_conntrack/parameters/hashsize", "/dev/.lxc/proc"} {
			require.Contains(t, mounts, " "+path+" ", "%s: mounted, the last one by nesting", unit)
		}
		require.Equal(t, "000001ffffffffff", inside("sed -n s/CapBnd:.//p /proc/1/status"), "%s: no capability is dropped", unit)
		member := placed[container].Location
		require.Equal(t, strings.TrimSpace(box.Inside(t, member, "readlink /proc/1/ns/user")), inside("readlink /proc/1/ns/user"), "%s: privileged, root in it is root of its host", unit)
		require.NotEqual(t, strings.TrimSpace(box.Inside(t, member, "readlink /proc/1/ns/mnt")), inside("readlink /proc/1/ns/mnt"), unit)
		require.Equal(t, "4000", inside("cat /sys/fs/cgroup/pids/pids.max || cat /sys/fs/cgroup/pids.max"), "%s: what lies over the preset", unit)
	}

	if strings.Contains(box.Inside(t, ask, "modprobe --dry-run ip_vs && echo yes || echo no"), "yes") {
		t.Log("this kernel has the preset's modules; offline.yaml need not leave them out")
		return
	}
	// What becomes of the preset with all its modules: LXD's own words, and no change.
	box.Juju(t, "config", "-m", "machines", "worker-profile", `profile=config: {limits.processes: "4000"}`)
	box.Eventually(t, 2*time.Minute, "LXD to say what it cannot load", func() (bool, string) {
		said, refused := "", 0
		for _, u := range box.Status(t, "machines").Applications["kubernetes-worker"].Units {
			for _, sub := range u.Subordinates {
				said += sub.Workload.Current + ": " + sub.Workload.Message + "\n"
				if sub.Workload.Current == "blocked" && strings.Contains(sub.Workload.Message, "Failed to load kernel module 'ip_vs'") {
					refused++
				}
			}
		}
		return refused == len(workers), said
	})
	for unit, container := range workers {
		// While the broker tries again LXD has it written for a moment, and takes it back.
		box.Await(t, time.Minute, 100*time.Millisecond, unit+" to keep what it had", func() (bool, string) {
			config := box.Inside(t, ask, "lxc config show --expanded "+container)
			return strings.Contains(config, "linux.kernel_modules: overlay\n"), config
		})
	}
	good, ok := box.Merged(t, machines...).Applications["worker-profile"].Options["profile"].(string)
	require.True(t, ok)
	box.Juju(t, "config", "-m", "machines", "worker-profile", "profile="+good)
	box.Settle(t, "machines", box.Merged(t, machines...))
}

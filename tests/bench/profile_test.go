//go:build box

package bench

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/tests/testbed"
)

// TestProfile changes the profile of an application of ten units: how long until the kernel
// holds all ten containers to the new limit, how much of that is Juju's latency, and how
// often LXD's profile was written for it.
func TestProfile(t *testing.T) {
	const units = 10
	box := testbed.New(t, "bench")
	box.DCIB(t, 25*time.Minute, "up")
	dir := t.TempDir()
	testbed.Run(t, 2*time.Minute, filepath.Join(box.Repo, "bin/dcib"), "pack", "--out", dir, filepath.Join(box.Repo, "tests/charms/idle"))
	box.Juju(t, "deploy", "-m", "machines", filepath.Join(dir, "idle.charm"), "idle", "-n", fmt.Sprint(units), "--base", "ubuntu@24.04")
	ask := box.Machines(t, "metal", app)[app+"/0"]
	box.StartAddressless(t, ask, "machines")
	box.WaitActive(t, "machines", "idle", units)
	set := func(mib int) {
		box.Juju(t, "config", "-m", "machines", "lxd-profile-sub", fmt.Sprintf("profile=config: {limits.memory: %dMiB}", mib))
	}
	box.Juju(t, "deploy", "-m", "machines", filepath.Join(box.Repo, "dist/lxd-profile-sub.charm"), "--base", "ubuntu@24.04")
	set(300)
	box.Juju(t, "consume", "-m", "machines", "admin/metal.lxd-profiles")
	box.Juju(t, "integrate", "-m", "machines", "lxd-profile-sub", "idle")
	box.Juju(t, "integrate", "-m", "machines", "lxd-profile-sub:lxd-profile", "lxd-profiles")
	var limits []string
	box.Eventually(t, 10*time.Minute, "the limit in every container", func() (bool, string) {
		limits = heldTo(t, 300<<20)
		return len(limits) == units, fmt.Sprintf("%d containers have it", len(limits))
	})

	for round, mib := range []int{400, 350, 420} {
		box.Eventually(t, 5*time.Minute, "quiet", func() (bool, string) {
			for _, u := range box.Status(t, "machines").Applications["idle"].Units {
				for name, sub := range u.Subordinates {
					if sub.Agent.Current != "idle" || sub.Workload.Current != "active" {
						return false, name + " " + sub.Agent.Current + " " + sub.Workload.Message
					}
				}
			}
			return true, ""
		})
		box.Inside(t, ask, "rm -f /tmp/events; nohup lxc monitor --type lifecycle --format json >/tmp/events 2>/dev/null & sleep 1")
		set(mib)
		begin := time.Now()
		box.Await(t, 3*time.Minute, 20*time.Millisecond, "the new limit in every container", func() (bool, string) {
			for _, file := range limits {
				if held(file) != int64(mib)<<20 {
					return false, file
				}
			}
			return true, ""
		})
		end := time.Now()
		box.Inside(t, ask, "pkill -f 'lxc monitor'")
		writes := 0
		for line := range strings.Lines(box.Inside(t, ask, "cat /tmp/events")) {
			var event struct {
				Metadata struct{ Action string }
			}
			if json.Unmarshal([]byte(line), &event) == nil && event.Metadata.Action == "profile-updated" {
				writes++
			}
		}
		wrote := lastLogged(t, box, "metal", "write profile dcib-")
		t.Logf("round %d: %d containers held to %d MiB %.2f s after the command: until the broker's hook wrote %.2f s, from there %.2f s; profile writes: %d",
			round+1, units, mib, end.Sub(begin).Seconds(), wrote.Sub(begin).Seconds(), end.Sub(wrote).Seconds(), writes)
		require.Equal(t, 1, writes, "profile writes for %d units", units)
	}
	box.DCIB(t, 5*time.Minute, "down")
}

// lastLogged gives when a unit of the model last logged that it begins a step.
func lastLogged(t *testing.T, box testbed.Box, model, step string) time.Time {
	t.Helper()
	var last time.Time
	for line := range strings.Lines(box.Juju(t, "debug-log", "-m", model, "--replay", "--no-tail", "--ms", "--date", "--utc")) {
		if _, at, ok := stamp(line); ok && strings.Contains(line, step) {
			last = at
		}
	}
	require.False(t, last.IsZero(), "no unit of %s logged %q", model, step)
	return last
}

// heldTo lists the kernel's files of containers' cgroups that hold them to so many bytes.
func heldTo(t *testing.T, bytes int64) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // a cgroup that just went
		}
		if name := d.Name(); name == "memory.limit_in_bytes" || name == "memory.max" {
			if strings.Contains(filepath.Base(filepath.Dir(path)), "lxc.payload") && held(path) == bytes {
				files = append(files, path)
			}
		}
		return nil
	})
	require.NoError(t, err)
	return files
}

func held(file string) int64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return -1
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

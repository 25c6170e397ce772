//go:build box

// Package tutorial follows docs/tutorial.md on a real box, as a reader does: it runs each command
// as the page has it, compares what it prints with what the page shows, and then asks LXD and the
// kernel whether that is so.
package tutorial

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/tests/howto"
	"github.com/dcib/dcib/tests/testbed"
)

// How long a block may take on a busy machine, with what it is repeated for; make box has nothing
// in its cache.
const (
	buildTime = 25 * time.Minute
	blockTime = 8 * time.Minute
)

func TestTutorial(t *testing.T) {
	r := &reader{Box: testbed.New(t, "guide")}
	// What a run that failed has left.
	r.DCIB(t, 5*time.Minute, "down")
	// No command is changed.
	r.page = howto.Open(t, r.Box, page, nil)
	began := time.Now()
	for _, step := range []struct {
		section string
		limit   time.Duration // for each block
		so      func(*testing.T)
	}{
		{"Before you begin", buildTime, r.requireOneCluster},
		{"1. Look at it", blockTime, r.requireOneCluster},
		{"2. Start three instances", blockTime, r.requireThree},
		{"3. Drain a member", blockTime, r.requireDrained},
		{"4. Restore it", blockTime, r.requireBack},
		{"5. Let a calendar do it", blockTime, r.requireDrained},
		{"6. Cancel the window", blockTime, r.requireBack},
		{"7. Limit the memory of an application", blockTime, r.requireLimit},
		{"8. Change the limit while it runs", blockTime, r.requireHalf},
		{takeAway, blockTime, r.requireNothing},
	} {
		if !t.Run(step.section, func(t *testing.T) {
			r.page.Limit = step.limit
			if step.section == takeAway {
				holdMounts(t)
			}
			r.page.Follow(t, step.section, func(first howto.Command) {
				if strings.Contains(first.Text, " deploy ") {
					r.StartAddressless(t, r.members(t)["lxd-cluster/0"], "machines")
				}
			})
			step.so(t)
			t.Logf("%s since the beginning", time.Since(began).Round(time.Second))
		}) {
			t.FailNow()
		}
	}
	r.page.Rest(t)
}

const takeAway = "9. Take it away"

// holdMounts has a process keep copies of all mounts, in a namespace of its own, as one does in which
// another box's image is made. The box comes down all the same.
func holdMounts(t *testing.T) {
	t.Helper()
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sleep", "infinity")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait() // it states that it was killed
	})
	own, err := os.Readlink("/proc/self/ns/mnt")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", cmd.Process.Pid))
		return err == nil && its != own
	}, time.Minute, 10*time.Millisecond)
}

// reader follows the page, and has what it has seen.
type reader struct {
	testbed.Box
	page *howto.Shell

	three map[string]testbed.Placed // where the instances of step 2 are
	pid   string                    // of the application's container
}

// members returns the machines of the cluster's members, by unit.
func (r *reader) members(t *testing.T) map[string]string {
	t.Helper()
	return r.Machines(t, "metal", "lxd-cluster")
}

// ask returns where LXD has each instance, and each member's state.
func (r *reader) ask(t *testing.T) (map[string]testbed.Placed, map[string]string) {
	t.Helper()
	machine := r.members(t)["lxd-cluster/0"]
	return r.Instances(t, machine), r.Members(t, machine)
}

func (r *reader) requireOneCluster(t *testing.T) {
	t.Helper()
	require.Len(t, r.members(t), 3)
	r.RequireOneCluster(t, r.members(t))
}

// requireThree has the three run, on three members.
func (r *reader) requireThree(t *testing.T) {
	r.three, _ = r.ask(t)
	require.Len(t, r.three, 3)
	at := map[string]bool{}
	for _, name := range []string{"web", "db", "cache"} {
		require.Equal(t, "Running", r.three[name].Status, name)
		at[r.three[name].Location] = true
	}
	require.Len(t, at, 3, "LXD chose three members: %v", r.three)
}

// requireDrained has the member of web empty, and web run elsewhere; the others are where they were.
func (r *reader) requireDrained(t *testing.T) {
	pet := r.three["web"].Location
	now, members := r.ask(t)
	require.Len(t, now, 3)
	require.Equal(t, "evacuated", members[pet])
	for name, i := range now {
		require.NotEqual(t, pet, i.Location, name)
		require.Equal(t, "Running", i.Status, name)
		if name != "web" {
			require.Equal(t, r.three[name], i)
		}
	}
}

// requireBack has all as it was before the drain.
func (r *reader) requireBack(t *testing.T) {
	now, members := r.ask(t)
	require.Equal(t, r.three, now)
	require.Equal(t, "online", members[r.three["web"].Location])
}

// held has the kernel of this machine hold the application's container to a limit, and returns the
// container's first process.
func (r *reader) held(t *testing.T, limit int64) (pid string) {
	t.Helper()
	container := r.Machines(t, "machines", "idle")["idle/0"]
	require.Equal(t, limit, testbed.LimitOf(t, container, "memory").Read(t))
	pid = strings.TrimSpace(r.Inside(t, r.members(t)["lxd-cluster/0"], "lxc info "+container+" | sed -n 's/^PID: //p'"))
	require.NotEmpty(t, pid)
	return pid
}

func (r *reader) requireLimit(t *testing.T) { r.pid = r.held(t, 512<<20) }

// requireHalf has the container run on with the new limit.
func (r *reader) requireHalf(t *testing.T) { require.Equal(t, r.pid, r.held(t, 256<<20)) }

func (r *reader) requireNothing(t *testing.T) {
	require.Contains(t, r.DCIB(t, time.Minute, "status"), "no box "+r.Name)
	links, err := filepath.Glob("/sys/class/net/dcib-" + r.Name)
	require.NoError(t, err)
	require.Empty(t, links)
}

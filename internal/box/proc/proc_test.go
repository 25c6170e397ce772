package proc

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const hostMounts = "21 1 8:1 / / rw - ext4 /dev/sda rw\n22 21 7:0 / /home/b/lxd/storage-pools/d rw - btrfs /dev/loop0 rw\n"

func TestFind(t *testing.T) {
	proc := t.TempDir()
	add := func(pid int, cmdline, environ, mounts string) {
		dir := filepath.Join(proc, fmt.Sprint(pid))
		require.NoError(t, os.Mkdir(dir, 0o700))
		for name, data := range map[string]string{"cmdline": cmdline, "environ": environ, "mountinfo": mounts} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600))
		}
	}
	env := "HOME=/root\x00DCIB_BOX=/home/b\x00"
	add(1, "init\x00", env, hostMounts)
	add(10, "lxd\x00--group\x00root\x00", env, hostMounts)
	add(11, "tail\x00-f\x00/home/b/logs/lxd.log\x00", "HOME=/root\x00", hostMounts)
	add(12, "lxd\x00", "DCIB_BOX=/home/b2\x00", hostMounts)
	add(13, "[lxc monitor] /home/b/lxd/containers juju-1\x00\x00", "", hostMounts)
	add(14, "[lxc monitor] /home/b2/lxd/containers juju-1\x00", "", hostMounts)
	add(15, "/sbin/init\x00", "", "30 29 7:0 /containers/juju-1/rootfs / rw - btrfs /dev/loop0 rw\n")
	add(16, "/sbin/init\x00", "", "30 29 8:1 /home/b/lxd/storage-pools/d/containers/c/rootfs / rw - ext4 /dev/sda rw\n")
	add(17, "/sbin/init\x00", "", "30 29 8:1 /home/b2/lxd/storage-pools/d/containers/c/rootfs / rw - ext4 /dev/sda rw\n")
	add(18, "", env, "") // a kernel thread, or dead
	require.NoError(t, os.Mkdir(filepath.Join(proc, "net"), 0o700))

	found, err := Find(proc, Mark{Env: "DCIB_BOX=/home/b", Monitor: "/home/b/lxd/containers", Dir: "/home/b", Devices: []string{"7:0"}})
	require.NoError(t, err)
	var pids []int
	for _, p := range found {
		pids = append(pids, p.Pid)
	}
	require.ElementsMatch(t, []int{10, 13, 15, 16}, pids)

	found, err = Find(proc, Mark{})
	require.NoError(t, err)
	require.Empty(t, found, "an empty mark is carried by no one")
}

func TestStartStopAndKill(t *testing.T) {
	dir := t.TempDir()
	env := "DCIB_BOX=" + dir
	pidFile := filepath.Join(dir, "pid")
	mark := Mark{Env: env}

	require.Zero(t, ReadPid(pidFile, mark))
	pid, err := Start([]string{"sleep", "60"}, []string{env}, pidFile, filepath.Join(dir, "log"))
	require.NoError(t, err)
	require.Equal(t, pid, ReadPid(pidFile, mark))
	require.Zero(t, ReadPid(pidFile, Mark{Env: "DCIB_BOX=/other"}), "another's process is not ours")
	require.True(t, Stop(t.Context(), pid, 5*time.Second))
	require.Zero(t, ReadPid(pidFile, mark))

	_, err = Start([]string{"sh", "-c", "trap '' TERM; sleep 61 & sleep 62"}, []string{env}, pidFile, filepath.Join(dir, "log"))
	require.NoError(t, err)
	left, err := KillAll(t.Context(), mark, 5*time.Second, t.Logf)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestRun(t *testing.T) {
	var log strings.Builder
	out, err := Run(t.Context(), Cmd{Args: []string{"sh", "-c", "echo $X; echo oops >&2"}, Env: []string{"X=yes"}, Log: &log})
	require.NoError(t, err)
	require.Equal(t, "yes\n", out)
	require.Contains(t, log.String(), "oops")

	_, err = Run(t.Context(), Cmd{Args: []string{"sh", "-c", "echo 1 >&2; echo why >&2; exit 3"}})
	require.ErrorContains(t, err, "exit status 3")
	require.ErrorContains(t, err, "why")

	_, err = Run(t.Context(), Cmd{Args: []string{"no-such-program"}})
	require.ErrorContains(t, err, "not in PATH")

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	started := time.Now()
	_, err = Run(ctx, Cmd{Args: []string{"sleep", "60"}})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(started), 5*time.Second)
}

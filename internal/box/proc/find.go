package proc

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is one running process.
type Process struct {
	Pid     int
	Command string // its command line, arguments separated by blanks
}

func (p Process) String() string { return fmt.Sprintf("%d (%.60s)", p.Pid, p.Command) }

// Mark is how the processes of a box are told from all others.
type Mark struct {
	// Env is an entry of the environment, NAME=value, that every process started for the
	// box carries.
	Env string
	// Monitor is the folder of the containers: liblxc's monitors carry it as their title.
	Monitor string
	// Dir is a folder, and Devices are block devices (major:minor), on which the root
	// folders of the box's containers lie: the processes inside have no environment of ours.
	Dir     string
	Devices []string
}

// Find returns the processes that carry the mark, without this one and its ancestors.
// proc is the root of the proc filesystem, "/proc" in earnest.
func Find(proc string, mark Mark) ([]Process, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, fmt.Errorf("cannot list the processes: %w", err)
	}
	var found []Process
	own := ancestors(proc, os.Getpid())
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == 1 || slices.Contains(own, pid) {
			continue
		}
		dir := filepath.Join(proc, e.Name())
		// A process may end while it is looked at: what cannot be read is not ours.
		cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || len(cmdline) == 0 { // kernel threads and the dead have none
			continue
		}
		command := strings.TrimSpace(strings.ReplaceAll(string(cmdline), "\x00", " "))
		environ, _ := os.ReadFile(filepath.Join(dir, "environ"))
		mounts, _ := os.ReadFile(filepath.Join(dir, "mountinfo"))
		if mark.matches(command, environ, mounts) {
			found = append(found, Process{Pid: pid, Command: command})
		}
	}
	return found, nil
}

func (m Mark) matches(command string, environ, mounts []byte) bool {
	if m.Env != "" && slices.Contains(strings.Split(string(environ), "\x00"), m.Env) {
		return true
	}
	if m.Monitor != "" && strings.HasPrefix(command, "[lxc monitor] "+m.Monitor+" ") {
		return true
	}
	return m.rootOnBox(mounts)
}

// rootOnBox reports whether the root of a process' mounts lies on the box. A line of
// mountinfo: "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw".
func (m Mark) rootOnBox(mounts []byte) bool {
	for line := range bytes.Lines(mounts) {
		f := strings.Fields(string(line))
		if len(f) < 5 || f[4] != "/" {
			continue
		}
		if slices.Contains(m.Devices, f[2]) {
			return true
		}
		if m.Dir != "" && strings.HasPrefix(f[3], m.Dir+"/") {
			return true
		}
	}
	return false
}

func ancestors(proc string, pid int) []int {
	var all []int
	for pid > 1 {
		all = append(all, pid)
		stat, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "stat"))
		if err != nil {
			break
		}
		// "pid (name, which may hold blanks and brackets) state ppid …"
		_, rest, ok := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
		f := strings.Fields(rest)
		if !ok || len(f) < 2 {
			break
		}
		if pid, err = strconv.Atoi(f[1]); err != nil {
			break
		}
	}
	return all
}

// ReadPid returns the process id in a file if that process lives and carries the mark;
// otherwise 0. A process id alone proves nothing: the kernel assigns them again.
func ReadPid(pidFile string, mark Mark) int {
	data, err := os.ReadFile(pidFile)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 1 {
		return 0
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(cmdline) == 0 {
		return 0
	}
	environ, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if !mark.matches("", environ, nil) {
		return 0
	}
	return pid
}

// Stop sends SIGTERM to one process and waits up to limit for it to end. It reports whether
// it ended.
func Stop(ctx context.Context, pid int, limit time.Duration) bool {
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return true
	}
	deadline := time.Now().Add(limit)
	for time.Now().Before(deadline) && ctx.Err() == nil {
		if gone(pid) {
			return true
		}
		time.Sleep(50 * time.Millisecond)
	}
	return gone(pid)
}

// KillAll kills every process that carries the mark, again and again as they may start
// others, until there is none or limit has passed. It returns those that are left.
func KillAll(ctx context.Context, mark Mark, limit time.Duration, log func(format string, args ...any)) ([]Process, error) {
	deadline := time.Now().Add(limit)
	told := map[int]bool{}
	for {
		left, err := Find("/proc", mark)
		if err != nil || len(left) == 0 {
			return nil, err
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return left, ctx.Err()
		}
		for _, p := range left {
			if !told[p.Pid] {
				log("end %s", p)
				told[p.Pid] = true
			}
			_ = syscall.Kill(p.Pid, syscall.SIGKILL)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// gone reports whether a process ended; one that only waits to be reaped has.
func gone(pid int) bool {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err != nil || len(cmdline) == 0
}

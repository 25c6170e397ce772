// Package proc starts the processes of a box, and finds and ends them again: only those
// that are provably the box's own, one by one, by process id.
package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Cmd is a command that is run to its end.
type Cmd struct {
	Args []string  // the program and its arguments
	Dir  string    // where it runs; "" for here
	Env  []string  // added to the environment of this process
	Log  io.Writer // gets the command line and all output
	// Unharmed lets the command finish even when this process is stopped or killed: for
	// those that must not be cut off, as dpkg.
	Unharmed bool
}

// Run runs the command and returns what it wrote to its standard output. The error of a
// failing command ends with the last lines of its standard error. When ctx ends the
// command gets SIGTERM, and SIGKILL ten seconds later; when this process dies it gets
// SIGKILL at once.
func Run(ctx context.Context, c Cmd) (string, error) {
	if c.Unharmed {
		ctx = context.WithoutCancel(ctx)
	}
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Dir = c.Dir
	cmd.Env = append(os.Environ(), c.Env...)
	var out bytes.Buffer
	errs := &tail{max: 2000}
	cmd.Stdout, cmd.Stderr = &out, errs
	if c.Log != nil {
		fmt.Fprintf(c.Log, "+ %s\n", strings.Join(c.Args, " "))
		log := &locked{w: c.Log}
		cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, log), io.MultiWriter(errs, log)
	}
	// A group of its own keeps a Ctrl-C on the terminal away from it: what becomes of it
	// is decided here.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if !c.Unharmed {
		// The signal is bound to the thread that starts the child: keep that thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second

	err := cmd.Run()
	if err == nil {
		return out.String(), nil
	}
	if ctx.Err() != nil {
		return out.String(), ctx.Err()
	}
	said := strings.TrimSpace(errs.String())
	if said == "" {
		said = lastLines(strings.TrimSpace(out.String()), 3)
	} else {
		said = lastLines(said, 3)
	}
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("cannot run %s: it is not in PATH", c.Args[0])
	}
	return out.String(), fmt.Errorf("cannot run %s: %w: %s", short(c.Args), err, said)
}

// locked lets a command's two outputs write to one log: each is copied by a goroutine of
// its own.
type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// short names a command by its program and first word that is no option.
func short(args []string) string {
	name := filepath.Base(args[0])
	for _, a := range args[1:] {
		if !strings.HasPrefix(a, "-") && !strings.ContainsAny(a, "/=") {
			return name + " " + a
		}
	}
	return name
}

func lastLines(s string, n int) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// tail keeps the last max bytes written to it.
type tail struct {
	max int
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if len(t.buf) > t.max {
		t.buf = t.buf[len(t.buf)-t.max:]
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.buf) }

// Start starts a daemon in a session of its own, with nothing of this process' terminal,
// and writes its process id to pidFile. Output is appended to the file log.
func Start(args, env []string, pidFile, log string) (pid int, err error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return 0, fmt.Errorf("cannot start %s: %w", args[0], err)
	}
	defer out.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("cannot start %s: %w", args[0], err)
	}
	pid = cmd.Process.Pid
	// Reap it if it dies while this process lives.
	go func() { _ = cmd.Wait() }()
	// The kernel shows the arguments of a program a moment after it has started it, see ReadPid.
	for range 100 {
		if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err != nil || len(text) > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := os.WriteFile(pidFile, fmt.Appendln(nil, pid), 0o644); err != nil {
		return pid, fmt.Errorf("cannot keep the process id %d of %s: %w", pid, args[0], err)
	}
	return pid, nil
}

// Package command runs programs of the machine, without a terminal, without questions, and
// not for ever.
package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Runner runs programs of the machine.
type Runner interface {
	// Run runs one and returns what it printed, also when it failed. The error says which it
	// was and what it complained about.
	Run(ctx context.Context, name string, args ...string) (string, error)
}

// Feeder runs programs that are told something which no argument may have in it, since any
// user of the machine can read those.
type Feeder interface {
	Runner
	// Feed is Run with that input.
	Feed(ctx context.Context, input []byte, name string, args ...string) (string, error)
}

// DefaultLimit is how long a program may run unless System.Limits says otherwise.
const DefaultLimit = 30 * time.Minute

// killDelay is how long a program that has to end gets to do so before it is killed. It is
// shorter than what internal/charm allows a step, so that none outlives its hook.
const killDelay = 3 * time.Second

// System is the machine's own Feeder. A program that has not ended in time, or when the
// context ends, is ended together with what it has started.
type System struct {
	// Limits is how long programs may run, by their names; "" is for all others.
	Limits map[string]time.Duration
	// Environment has further variables (NAME=VALUE) for programs, by their names.
	Environment map[string][]string
}

// Run implements Runner.
func (s System) Run(ctx context.Context, name string, args ...string) (string, error) {
	return s.run(ctx, nil, name, args)
}

// Feed implements Feeder.
func (s System) Feed(ctx context.Context, input []byte, name string, args ...string) (string, error) {
	return s.run(ctx, bytes.NewReader(input), name, args)
}

// TimeoutError is the error of a program that has not ended in time.
type TimeoutError struct {
	Program string
	Limit   time.Duration
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("%s has not ended within %s", e.Program, e.Limit)
}

// Timeout is true, as with net.Error: it may work the next time.
func (e *TimeoutError) Timeout() bool { return true }

func (s System) limit(name string) time.Duration {
	for _, limit := range []time.Duration{s.Limits[name], s.Limits[""]} {
		if limit > 0 {
			return limit
		}
	}
	return DefaultLimit
}

func (s System) run(ctx context.Context, input io.Reader, name string, args []string) (string, error) {
	limit := s.limit(name)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, &TimeoutError{name, limit})
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1", "LC_ALL=C.UTF-8")
	cmd.Env = append(cmd.Env, s.Environment[name]...)
	var stdout, stderr strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, &stdout, &stderr
	// Without a terminal, who wants a password reads it from its input. The session is also
	// the group of all that the program starts.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	group := func(signal syscall.Signal) error { return syscall.Kill(-cmd.Process.Pid, signal) }
	cmd.Cancel = func() error { return group(syscall.SIGTERM) }
	cmd.WaitDelay = killDelay
	err := cmd.Run()
	if ctx.Err() != nil && cmd.Process != nil {
		_ = group(syscall.SIGKILL) // what is left of it, if anything
	}
	switch {
	case err == nil, ctx.Err() == nil && errors.Is(err, exec.ErrWaitDelay):
		// In the second case it has ended well, and something that it started has its output.
		return stdout.String(), nil
	case ctx.Err() != nil:
		return stdout.String(), fmt.Errorf("cannot run %s: %w", name, context.Cause(ctx))
	}
	if why := complaint(stderr.String()); why != "" {
		return stdout.String(), fmt.Errorf("cannot run %s: %s", name, why)
	}
	return stdout.String(), fmt.Errorf("cannot run %s: %w", name, err)
}

// complaint is what a program's error output comes down to: the errors of apt, dpkg and
// PostgreSQL, or its last line.
func complaint(stderr string) string {
	var errs []string
	last, open := "", false
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if open { // dpkg says on the next line what was wrong
			errs[len(errs)-1] += " " + line
		}
		open = strings.HasPrefix(line, "dpkg: error")
		if why, ok := strings.CutPrefix(line, "E: "); ok {
			errs = append(errs, why)
		} else if open || strings.Contains(line, ": error: ") { // as PostgreSQL's programs have it
			errs = append(errs, line)
		}
		last = line
	}
	if len(errs) > 0 {
		return strings.Join(errs, "; ")
	}
	return last
}

// Package command runs programs of the machine, without a terminal and without questions.
package command

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// Runner runs programs of the machine.
type Runner interface {
	// Run runs one and gives what it printed, also when it failed. The error says which it
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

// System is the machine's own Feeder.
type System struct{}

// Run implements Runner.
func (System) Run(ctx context.Context, name string, args ...string) (string, error) {
	return run(ctx, nil, name, args)
}

// Feed implements Feeder.
func (System) Feed(ctx context.Context, input []byte, name string, args ...string) (string, error) {
	return run(ctx, bytes.NewReader(input), name, args)
}

func run(ctx context.Context, input io.Reader, name string, args []string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1", "LC_ALL=C.UTF-8")
	var stdout, stderr strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, &stdout, &stderr
	// Without a terminal, who wants a password reads it from its input.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Run(); err != nil {
		if why := complaint(stderr.String()); why != "" {
			return stdout.String(), fmt.Errorf("cannot run %s: %s", name, why)
		}
		return stdout.String(), fmt.Errorf("cannot run %s: %w", name, err)
	}
	return stdout.String(), nil
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

package install

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Commands runs programs of the machine.
type Commands interface {
	// Run runs one without a terminal and gives what it printed. The error says which it
	// was and what it complained about.
	Run(ctx context.Context, name string, args ...string) (string, error)
}

// System is the machine's own Commands.
type System struct{}

// Run implements Commands.
func (System) Run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1", "LC_ALL=C.UTF-8")
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if why := complaint(stderr.String()); why != "" {
			return "", fmt.Errorf("cannot run %s: %s", name, why)
		}
		return "", fmt.Errorf("cannot run %s: %w", name, err)
	}
	return stdout.String(), nil
}

// complaint is what a program's error output comes down to: apt's errors, or its last line.
func complaint(stderr string) string {
	var errs []string
	last := ""
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if why, ok := strings.CutPrefix(line, "E: "); ok {
			errs = append(errs, why)
		}
		if line != "" {
			last = line
		}
	}
	if len(errs) > 0 {
		return strings.Join(errs, "; ")
	}
	return last
}

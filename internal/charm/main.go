package charm

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/version"
)

// memoryLimit is how many bytes of heap a charm may have before it collects garbage.
const memoryLimit = 32 << 20

// Main is a charm's main function: it reads the event from the environment, runs it with
// the real hook tools and exits; 1 when the hook failed. Termination is a cancelled
// context.
func Main[F, W any](c Charm[F, W]) {
	if version.Asked(os.Stdout, filepath.Base(os.Args[0]), os.Args[1:]) {
		return
	}
	// A hook is over before collecting garbage pays; a long action still collects.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memoryLimit)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := 0
	event, err := hooktool.EventFrom(os.Getenv)
	if err == nil {
		if event.Action == "" {
			// A hook does one thing after another, and to wake more threads only costs it time.
			runtime.GOMAXPROCS(1)
		}
		tools := hooktool.NewExec(event)
		var steps int
		steps, err = c.run(ctx, event, tools)
		recordUsage(os.Getenv("DCIB_USAGE"), tools, steps)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	stop()
	os.Exit(code)
}

// Usage is what one hook did and cost, as written to the file that DCIB_USAGE names; who has
// Juju's agent run a hook can set it.
type Usage struct {
	Steps     int           `json:"steps"`      // that its plans had it take
	CPU       time.Duration `json:"cpu_ns"`     // the charm's own user and system time
	MaxRSS    int64         `json:"maxrss_kib"` // the charm's own peak memory
	ToolCalls int           `json:"tool_calls"` // hook tools run
	Tools     time.Duration `json:"tools_ns"`   // time spent waiting for them
}

func recordUsage(path string, tools *hooktool.Exec, steps int) {
	if path == "" {
		return
	}
	var self syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &self); err != nil {
		return
	}
	calls, spent := tools.Cost()
	usage := Usage{
		Steps:     steps,
		CPU:       time.Duration(self.Utime.Nano() + self.Stime.Nano()),
		MaxRSS:    self.Maxrss,
		ToolCalls: calls,
		Tools:     spent,
	}
	if text, err := json.Marshal(usage); err == nil {
		_ = os.WriteFile(path, append(text, '\n'), 0o600)
	}
}

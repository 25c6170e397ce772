//go:build box

package pets

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// event is what LXD reports those who listen: of the changes that were made in the cluster
// (lifecycle), and of the requests that this member was sent (logging).
type event struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Location  string    `json:"location"`
	Metadata  struct {
		Action  string         `json:"action"`
		Source  string         `json:"source"`
		Message string         `json:"message"`
		Context map[string]any `json:"context"`
	} `json:"metadata"`
}

// follower listens to the LXD in a machine.
type follower struct {
	*stage
	machine string
	kind    string
	mu      sync.Mutex
	events  []event
	marks   int
}

// follow listens until the test ends.
func (s *stage) follow(t *testing.T, machine, kind string) *follower {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	f := &follower{stage: s, machine: machine, kind: kind}
	cmd := exec.CommandContext(ctx, filepath.Join(box.Repo, "bin/dcib"), "box", "--name", box.Name, "lxc", "exec", machine, "--",
		"lxc", "monitor", "--type", kind, "--format", "json", "--all-projects")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<22)
		for lines.Scan() {
			var e event
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				f.mu.Lock()
				f.events = append(f.events, e)
				f.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() { stop(); <-done; _ = cmd.Wait() })
	return f
}

// upTo returns what has been told since the last call, and takes care that all is there.
func (f *follower) upTo(t *testing.T) []event {
	t.Helper()
	f.marks++
	mark := fmt.Sprintf("mark-%s-%d", f.kind, f.marks)
	var told []event
	box.Await(t, time.Minute, 100*time.Millisecond, "LXD to report a mark", func() (bool, string) {
		// Again until it is told: at first no one listens yet.
		box.Inside(t, f.machine, "lxc profile create "+mark+" && lxc profile delete "+mark)
		f.mu.Lock()
		defer f.mu.Unlock()
		for n, e := range f.events {
			if strings.Contains(e.Metadata.Source, mark) || strings.Contains(fmt.Sprint(e.Metadata.Context), mark) {
				told, f.events = f.events[:n], nil
				return true, ""
			}
		}
		return false, fmt.Sprint(len(f.events))
	})
	return told
}

package testbed

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dcib/dcib/tests/testbed/report"
)

// injections are the faults that a suite has injected since it began.
type injections struct {
	since time.Time

	mutex  sync.Mutex
	events []report.Event
}

// Injected notes a fault that the test has injected, for the report that a failure leaves.
func (b Box) Injected(at time.Time, format string, args ...any) {
	b.injected.mutex.Lock()
	defer b.injected.mutex.Unlock()
	b.injected.events = append(b.injected.events, report.Event{At: at.UTC(), Source: report.Test, Text: fmt.Sprintf(format, args...)})
}

// reportTime bounds each question for a report: what was broken may not answer.
const reportTime = 30 * time.Second

// leaveReport writes dist/reports/TEST when the test has failed: the faults that were injected,
// and what Juju, LXD and the charms logged since the suite began.
func (b Box) leaveReport(t testing.TB) {
	if !t.Failed() {
		return
	}
	ask := func(args ...string) string {
		out, err := Try(reportTime, filepath.Join(b.Repo, "bin/dcib"), append([]string{"box", "--name", b.Name}, args...)...)
		if err != nil {
			return out + "\n" + err.Error()
		}
		return out
	}
	machines := strings.Fields(ask("lxc", "list", "status=running", "--format", "csv", "--columns", "n"))
	if len(machines) == 0 {
		return // the box was not made
	}
	b.injected.mutex.Lock()
	events := append([]report.Event(nil), b.injected.events...)
	b.injected.mutex.Unlock()
	for _, machine := range machines {
		since := fmt.Sprintf("--since=@%d", b.injected.since.Unix())
		events = append(events, report.Journal(machine, ask("lxc", "exec", machine, "--", "journalctl", "--no-pager", "--output=short-unix", since,
			"--unit=lxd", "--unit=pet-scheduler", "--unit=maas-*", "--unit=dcib-*"))...)
		events = append(events, report.LXD(machine, ask("lxc", "exec", machine, "--", "sh", "-c", "cat /var/log/lxd/lxd.log 2>/dev/null || true"))...)
	}
	var models struct {
		Models []struct {
			Name string `json:"short-name"`
		} `json:"models"`
	}
	if err := json.Unmarshal([]byte(ask("juju", "models", "--format", "json")), &models); err == nil {
		for _, model := range models.Models {
			events = append(events, report.DebugLog(ask("juju", "debug-log", "-m", model.Name, "--replay", "--no-tail", "--level", "INFO", "--date", "--ms", "--utc"))...)
		}
	}
	dir := filepath.Join(b.Repo, "dist", "reports", strings.ReplaceAll(t.Name(), "/", "_"))
	if err := report.Write(dir, t.Name(), report.Sort(events, b.injected.since), b.Everything(t)); err != nil {
		fmt.Fprintln(os.Stderr, "cannot write a report:", err)
		return
	}
	t.Logf("what happened is in %s", dir)
}

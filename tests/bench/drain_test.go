//go:build box

package bench

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/scheduler/store"
	"github.com/dcib/dcib/tests/testbed"
)

// TestDrain empties a member of a three-member cluster in two ways, in turns: by the
// scheduler's daemon, asked over its own socket, and by `lxc cluster evacuate`. All three
// members share this machine's processors, so what several moves at a time gain there is the
// least that they gain anywhere.
//
// What is timed is from the order until it is told that it is done; and how long each instance
// was down, by its own diary: from when it was told to end until it was up again. Instances are
// of three kinds: one ends at once when it is told to, one takes two seconds for it, as a few
// small services under a service manager do, and one five, as a database does.
func TestDrain(t *testing.T) {
	box := testbed.New(t, "bench")
	box.DCIB(t, 25*time.Minute, "up", "--until", "units")
	b := drains{Box: box}
	machines := slices.Sorted(maps.Values(box.Machines(t, "metal", app)))
	b.ask, b.pet = machines[0], machines[len(machines)-1]
	b.scheduler = box.Machines(t, "metal", "pet-scheduler")["pet-scheduler/0"]
	box.TinyImage(t, b.ask)

	var table strings.Builder
	table.WriteString("instances end  running  round  evacuate   drain  ratio  | down: evacuate   drain  ratio  ± error  | restore  undrain  | killed by LXD\n")
	for _, c := range []struct {
		n      int
		end    string
		rounds int
	}{{1, "0s", 2}, {4, "0s", 2}, {8, "0s", 4}, {1, "2s", 2}, {4, "2s", 2}, {8, "2s", 4}, {8, "5s", 2}} {
		t.Run(fmt.Sprintf("%d that end in %s", c.n, c.end), func(t *testing.T) {
			instances := b.launch(t, c.n, c.end)
			defer b.delete(t, instances)
			var evacuate, drain []sample
			for round := range c.rounds {
				ways := []func(*testing.T, []string) sample{b.byLXD, b.byScheduler}
				first := round % 2 // each goes first in turn
				var took [2]sample
				for _, way := range []int{first, 1 - first} {
					b.refresh(t)
					took[way] = ways[way](t, instances)
				}
				evacuate, drain = append(evacuate, took[0]), append(drain, took[1])
				row(t, &table, c.end, c.n, strconv.Itoa(round+1), took[0], took[1], 0)
			}
			row(t, &table, c.end, c.n, "all", mean(evacuate), mean(drain), standardError(evacuate, drain))
		})
	}
	if !t.Failed() {
		box.DCIB(t, 5*time.Minute, "down")
	}
	t.Logf("emptying a member, in seconds; down is the instances' mean:\n%s", &table)
	require.NoError(t, os.WriteFile(filepath.Join(box.Repo, "dist/drain.txt"), []byte(table.String()), 0o644))
}

// drains is a box with a member to empty.
type drains struct {
	testbed.Box
	pet, ask  string // members, by their machines
	scheduler string // the machine of pet-scheduler/0
}

// sample is one way there and back.
type sample struct {
	out, back time.Duration
	down      time.Duration // the mean of the instances, on the way out
	killed    int           // instances that had not the time that they need to end
}

func mean(samples []sample) (m sample) {
	for _, s := range samples {
		m.out += s.out / time.Duration(len(samples))
		m.back += s.back / time.Duration(len(samples))
		m.down += s.down / time.Duration(len(samples))
		m.killed += s.killed
	}
	return m
}

// standardError is how far the mean ratio of the times down may be off by what differs from one
// round to the next: the machine's, not either way's. A ratio no further from 1 than that is 1.
// gonum has it too, and would be a module for ten lines.
func standardError(lxd, ours []sample) float64 {
	n := float64(len(lxd))
	var sum, squares float64
	ratio := func(round int) float64 { return ours[round].down.Seconds() / lxd[round].down.Seconds() }
	for round := range lxd {
		sum += ratio(round)
	}
	for round := range lxd {
		squares += math.Pow(ratio(round)-sum/n, 2)
	}
	return math.Sqrt(squares / (n - 1) / n)
}

// row writes a line; off is the standard error of the ratio of the times down, 0 for one round.
func row(t *testing.T, table *strings.Builder, kind string, n int, round string, lxd, ours sample, off float64) {
	t.Helper()
	doubt := ""
	if off > 0 {
		doubt = fmt.Sprintf("± %.2f", off)
	}
	line := fmt.Sprintf("%-10s  %7d  %5s  %8.1f  %6.1f  %5.2f  | %14.2f  %6.2f  %5.2f  %-7s  | %7.1f  %7.1f  | %6d", kind, n, round,
		lxd.out.Seconds(), ours.out.Seconds(), ours.out.Seconds()/lxd.out.Seconds(),
		lxd.down.Seconds(), ours.down.Seconds(), ours.down.Seconds()/lxd.down.Seconds(), doubt,
		lxd.back.Seconds(), ours.back.Seconds(), lxd.killed)
	t.Log(line)
	table.WriteString(line + "\n")
}

// launch starts instances on the pet. Now and then LXD 5.0.2 does not notify its client that one was
// made, and the client waits for ever.
func (b drains) launch(t *testing.T, n int, after string) []string {
	t.Helper()
	instances := make([]string, n)
	for i := range instances {
		instances[i] = fmt.Sprintf("tiny-bench%d", i)
	}
	b.Inside(t, b.ask, fmt.Sprintf("for i in $(seq 0 %d); do (timeout 60 lxc launch --quiet tiny tiny-bench$i --profile dcib --config environment.ENDS_AFTER=%s --target %s || lxc start tiny-bench$i) & done; wait", n-1, after, b.pet))
	b.requirePlaced(t, instances, true)
	return instances
}

func (b drains) delete(t *testing.T, instances []string) {
	t.Helper()
	b.Inside(t, b.ask, "lxc delete --force "+strings.Join(instances, " "))
}

// requirePlaced asserts that all instances run, and on the pet or not.
func (b drains) requirePlaced(t *testing.T, instances []string, home bool) {
	t.Helper()
	where := b.Instances(t, b.ask)
	for _, g := range instances {
		require.Equal(t, "Running", where[g].Status, g)
		require.Equal(t, home, where[g].Location == b.pet, "%s is on %s", g, where[g].Location)
	}
}

// refresh starts the members' LXD again; their instances run on. LXD 5.0.2 keeps two of its own
// connections open for each move that there ever was, whichever client asked for it, and reports each of
// them of everything that happens: after a hundred moves all take half as long again, and who
// comes second is at a loss. It returns when the members hear of each other again, for which
// LXD's own evacuation would wait with its first tiny down: lxd 5.0.2, lxd/cluster/connect.go.
func (b drains) refresh(t *testing.T) {
	t.Helper()
	machines := slices.Sorted(maps.Values(b.Machines(t, "metal", app)))
	for _, machine := range machines {
		b.Inside(t, machine, "systemctl restart lxd")
	}
	for _, from := range machines {
		for _, to := range machines {
			b.Eventually(t, time.Minute, from+" to reach "+to, func() (bool, string) {
				out, err := b.TryLXC(20*time.Second, "exec", from, "--", "lxc", "query", "/1.0?target="+to)
				return err == nil, out
			})
		}
	}
}

// byLXD is the way without us.
func (b drains) byLXD(t *testing.T, instances []string) (s sample) {
	t.Helper()
	timed := func(verb string) time.Duration {
		begin := time.Now()
		b.Inside(t, b.ask, "lxc cluster "+verb+" --force "+b.pet)
		return time.Since(begin)
	}
	s.out = timed("evacuate")
	s.down, s.killed = b.down(t, instances)
	b.requirePlaced(t, instances, false)
	s.back = timed("restore")
	b.requirePlaced(t, instances, true)
	return s
}

// byScheduler has the daemon do it; Juju, which would add its own latency, is left out.
func (b drains) byScheduler(t *testing.T, instances []string) (s sample) {
	t.Helper()
	timed := func(kind store.Kind) time.Duration {
		begin := time.Now()
		order := fmt.Sprintf("bench-%d", begin.UnixNano())
		out := b.Inside(t, b.scheduler, fmt.Sprintf(`cd /var/lib/dcib/pet-scheduler-0
call() { curl --silent --show-error --fail --unix-socket run/daemon.sock "$@"; }
call http://daemon/1/runs --data '{"id": "%[1]s", "pet": "%[2]s", "kind": "%[3]s"}' >/dev/null
until call http://daemon/1/runs/%[1]s >/root/run && grep -q '"ended"' /root/run; do sleep 5; done; cat /root/run`, order, b.pet, kind))
		var run store.Run
		require.NoError(t, json.Unmarshal([]byte(out), &run), out)
		require.Equal(t, store.Done, run.State, run.Note)
		return run.Ended.Sub(begin) // to ask more often would cost the processors that it needs
	}
	s.out = timed(store.Drain)
	s.down, s.killed = b.down(t, instances)
	require.Zero(t, s.killed, "instances that were killed on their way down")
	b.requirePlaced(t, instances, false)
	s.back = timed(store.Undrain)
	b.requirePlaced(t, instances, true)
	return s
}

// down reads in the instances' diaries how long they were down the last time, in the mean. One that
// was killed before it had ended counts for itself: it was down for less.
func (b drains) down(t *testing.T, instances []string) (mean time.Duration, killed int) {
	t.Helper()
	var all time.Duration
	for _, g := range instances {
		var lines [][]string
		b.Eventually(t, 10*time.Second, g+" to note that it is up", func() (bool, string) {
			diary := b.Inside(t, b.ask, "lxc file pull "+g+"/diary -")
			lines = nil
			for line := range strings.Lines(diary) {
				lines = append(lines, strings.Fields(line))
			}
			return len(lines) > 2 && lines[len(lines)-1][0] == "up", diary
		})
		last := len(lines) - 1
		if lines[last-1][0] != "ended" {
			t.Logf("%s was killed before it had ended", g)
			killed++
			continue
		}
		end, up := lines[last-2], lines[last]
		require.Equal(t, "end", end[0])
		at := func(line []string) int64 {
			ms, err := strconv.ParseInt(line[1], 10, 64)
			require.NoError(t, err)
			return ms
		}
		was := time.Duration(at(up)-at(end)) * time.Millisecond
		t.Logf("%s was down for %.2f s", g, was.Seconds())
		all += was
	}
	return all / time.Duration(max(1, len(instances)-killed)), killed
}

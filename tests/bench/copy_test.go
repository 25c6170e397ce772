//go:build box

package bench

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/tests/testbed"
)

// TestCopyFirst drains a member with one instance, on LXD 6.6, of several sizes, with and without something
// that writes in it, in a pool of directories; and evacuates it with `lxc cluster evacuate`
// in the same run. It measures how long the instance was down, by its own diary, and how long it took.
func TestCopyFirst(t *testing.T) {
	box := testbed.New(t, "copies")
	box.DCIB(t, 40*time.Minute, "up", "--lxd", "6", "--until", "units")
	b := drains{Box: box}
	machines := slices.Sorted(maps.Values(box.Machines(t, "metal", app)))
	b.ask, b.pet = machines[0], machines[len(machines)-1]
	b.scheduler = box.Machines(t, "metal", "pet-scheduler")["pet-scheduler/0"]
	box.TinyImage(t, b.ask)

	var table strings.Builder
	table.WriteString("  MiB  writes  | down: evacuate   drain  ratio  | total: evacuate   drain  | restore  undrain\n")
	var small, large time.Duration // down in a drain
	for _, c := range []struct {
		mib    int
		writes string
	}{{200, ""}, {200, "1"}, {1000, ""}, {1000, "1"}, {3000, ""}, {3000, "1"}} {
		t.Run(fmt.Sprintf("%d MiB writes=%s", c.mib, c.writes), func(t *testing.T) {
			name := "tiny-bench0"
			b.Inside(t, b.ask, fmt.Sprintf("lxc init --quiet tiny %s --profile dcib --config cluster.evacuate=migrate --config environment.WRITES=%s --target %s && lxc start %[1]s", name, c.writes, b.pet))
			defer b.delete(t, []string{name})
			b.Inside(t, b.ask, fmt.Sprintf("set -e; for i in $(seq %d); do head -c 100M /dev/urandom >/root/ballast; lxc file push --quiet /root/ballast %s/ballast$i; done", c.mib/100, name))
			lxd := b.byLXD(t, []string{name})
			ours := b.byScheduler(t, []string{name})
			if c.writes == "" {
				switch c.mib {
				case 200:
					small = ours.down
				case 3000:
					large = ours.down
				}
			}
			line := fmt.Sprintf("%5d  %6s  | %14.2f  %6.2f  %5.2f  | %15.1f  %6.1f  | %7.1f  %7.1f", c.mib, c.writes,
				lxd.down.Seconds(), ours.down.Seconds(), ours.down.Seconds()/lxd.down.Seconds(), lxd.out.Seconds(), ours.out.Seconds(), lxd.back.Seconds(), ours.back.Seconds())
			t.Log(line)
			table.WriteString(line + "\n")
		})
	}
	fmt.Fprintf(&table, "3000 MiB are down %.2f times as long as 200 MiB\n", large.Seconds()/small.Seconds())
	if !t.Failed() {
		box.DCIB(t, 5*time.Minute, "down")
	}
	t.Logf("an instance moves, in seconds:\n%s", &table)
	require.NoError(t, os.WriteFile(filepath.Join(box.Repo, "dist/copies.txt"), []byte(table.String()), 0o644))
}

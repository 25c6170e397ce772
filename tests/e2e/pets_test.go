//go:build box

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// testCalendar makes a pet's window open a minute from now: the pet is empty before that, and after the
// window what was moved is back. A pet that was never drained has a lead time longer than a minute, so the
// drain begins at once. Nothing new is placed on the pet meanwhile, though it soon has the fewest
// instances.
func testCalendar(t *testing.T) {
	const instances = 4
	pet, ask := petAndOther(t)
	t.Cleanup(func() {
		if t.Failed() {
			said, err := box.TryJuju(time.Minute, "exec", "-m", "metal", "--unit", "pet-scheduler/leader", "--", "journalctl", "-u", "pet-scheduler", "-n", "200", "--no-pager")
			t.Logf("the scheduler's log: %s %v", said, err)
		}
	})
	box.TinyImage(t, ask)
	scheduler := func() string {
		return strings.TrimSpace(box.Inside(t, ask, "lxc cluster get "+pet+" scheduler.instance"))
	}
	box.Inside(t, ask, "lxc cluster set "+pet+" scheduler.instance=all")
	defer box.Inside(t, ask, "lxc cluster unset "+pet+" scheduler.instance")
	start := time.Now().Add(time.Minute).Truncate(time.Second)
	end := start.Add(5 * time.Second)
	box.Inside(t, ask, fmt.Sprintf("for i in $(seq %d); do lxc launch tiny tiny-calendar$i --profile dcib --target %s & done; wait", instances, pet))
	defer func() {
		// Juju 4.1-beta2 runs no config-changed for a --reset.
		box.Juju(t, "config", "-m", "metal", "pet-scheduler", "pets=# none")
		box.Inside(t, ask, fmt.Sprintf("for i in $(seq %d); do lxc delete -f tiny-calendar$i; done", instances))
	}()
	before := place(t, ask)
	for n := 1; n <= instances; n++ {
		require.Equal(t, pet+" Running", before[fmt.Sprintf("tiny-calendar%d", n)])
	}

	const layout = "20060102T150405Z"
	pets := fmt.Sprintf(`pets:
- name: big
  member: %s
  windows:
  - ics: |
      BEGIN:VCALENDAR
      BEGIN:VEVENT
      UID:soon
      DTSTART:%s
      DTEND:%s
      END:VEVENT
      END:VCALENDAR
`, pet, start.UTC().Format(layout), end.UTC().Format(layout))
	file := filepath.Join(t.TempDir(), "pets.yaml")
	require.NoError(t, os.WriteFile(file, []byte(pets), 0o600))
	box.Juju(t, "config", "-m", "metal", "pet-scheduler", "pets=@"+file)

	var newcomers []string
	defer func() {
		for _, name := range newcomers {
			box.Inside(t, ask, "lxc delete "+name)
		}
	}()
	var empty time.Time
	box.Await(t, 2*time.Minute, 500*time.Millisecond, "the pet is empty", func() (bool, string) {
		if scheduler() == "manual" {
			name := fmt.Sprintf("newcomer%d", len(newcomers))
			box.Inside(t, ask, "lxc init --quiet tiny "+name+" --profile dcib")
			newcomers = append(newcomers, name)
			require.NotEqual(t, pet, box.Instances(t, ask)[name].Location)
		}
		where := place(t, ask)
		for name, at := range where {
			if strings.HasPrefix(at, pet+" ") {
				return false, name + " is on " + at
			}
		}
		empty = time.Now()
		return box.Members(t, ask)[pet] == "evacuated", fmt.Sprint(where)
	})
	t.Logf("empty %s before its window", start.Sub(empty).Round(time.Second/10))
	require.NotEmpty(t, newcomers, "the drain was seen while it was under way")
	box.Eventually(t, 10*time.Second, "the operator's scheduler.instance", func() (bool, string) {
		now := scheduler()
		return now == "all", now
	})
	require.True(t, empty.Before(start), "empty at %s, its window opened %s", empty, start)
	for name, at := range place(t, ask) {
		if strings.HasPrefix(name, "tiny-calendar") {
			require.True(t, strings.HasSuffix(at, " Running"), "%s: %s", name, at)
		}
	}

	var back time.Time
	box.Await(t, 2*time.Minute, 500*time.Millisecond, "everything is back", func() (bool, string) {
		where := place(t, ask)
		for name, was := range before {
			if where[name] != was {
				return false, name + " is on " + where[name]
			}
		}
		back = time.Now()
		return box.Members(t, ask)[pet] == "online", fmt.Sprint(where)
	})
	require.True(t, back.After(end), "it came back before its window was over")
	t.Logf("back %s after its window", back.Sub(end).Round(time.Second/10))
	t.Log(box.Action(t, "metal", "pet-scheduler/leader", "history", "pet=big")["history"])
}

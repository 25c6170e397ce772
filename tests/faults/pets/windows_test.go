//go:build box

package pets

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

	"github.com/dcib/dcib/charms/pet-scheduler/control"
)

// call calls the daemon of any unit.
func call(t *testing.T, path, body string, into any) {
	t.Helper()
	var problems []string
	for unit, machine := range box.Machines(t, model, app) {
		err := tryCall(machine, unit, path, body, into)
		if err == nil {
			return
		}
		problems = append(problems, err.Error())
	}
	require.Fail(t, "no unit answers", strings.Join(problems, "\n"))
}

// pet is how a pet is.
type pet struct {
	Name, State, Why string
	Start            time.Time
	Lead             control.Duration `json:"lead"`
	LeadWhy          string           `json:"lead-why"`
}

// see returns a pet as a daemon sees it.
func see(t *testing.T, name string) pet {
	t.Helper()
	var pets []pet
	call(t, "/1/pets", "", &pets)
	for _, p := range pets {
		if p.Name == name {
			return p
		}
	}
	require.Fail(t, "no pet "+name)
	return pet{}
}

// configure sets the pets, without windows, and waits until a daemon has them.
func (s *stage) configure(t *testing.T, options ...string) {
	t.Helper()
	text := "pets:\n"
	for _, name := range slices.Sorted(maps.Keys(s.pets)) {
		text += fmt.Sprintf("- {name: %s, member: %s}\n", name, s.pets[name])
	}
	file := filepath.Join(t.TempDir(), "pets.yaml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	box.Juju(t, append([]string{"config", "-m", model, app, "pets=@" + file}, options...)...)
	box.Eventually(t, 2*time.Minute, "the pets are known", func() (bool, string) {
		var pets []pet
		call(t, "/1/pets", "", &pets)
		return len(pets) == len(s.pets), fmt.Sprint(pets)
	})
}

// forget takes the pets away again.
func forget(t *testing.T) {
	t.Helper()
	box.Juju(t, "config", "-m", model, app, "pets=# none")
	box.Eventually(t, 2*time.Minute, "no pets are known", func() (bool, string) {
		var pets []pet
		call(t, "/1/pets", "", &pets)
		return len(pets) == 0, fmt.Sprint(pets)
	})
}

// window adds a window of seconds to a pet, by action import-calendar of some unit, and returns its id.
func window(t *testing.T, pet string, start, end time.Time) (id string) {
	t.Helper()
	const layout = "20060102T150405Z"
	text := fmt.Sprintf("BEGIN:VCALENDAR\nVERSION:2.0\nBEGIN:VEVENT\nUID:%s\nDTSTART:%s\nDTEND:%s\nEND:VEVENT\nEND:VCALENDAR\n",
		pet, start.UTC().Format(layout), end.UTC().Format(layout))
	unit, machine := box.Leader(t, model, app)
	file := "/root/" + pet + ".ics"
	box.Inside(t, machine, "printf '"+strings.ReplaceAll(text, "\n", `\n`)+"' >"+file)
	id, _ = box.Action(t, model, unit, "import-calendar", "pet="+pet, "file="+file)["id"].(string)
	require.NotEmpty(t, id)
	return id
}

// empty reports whether a member is evacuated with nothing on it.
func (w env) empty(member string) bool {
	for _, at := range w.instances {
		if strings.HasPrefix(at, member+" ") {
			return false
		}
	}
	return w.members[member] == "Evacuated"
}

// runs is how many windows testWindows opens.
const runs = 20

// testWindows opens windows of the two pets in turns, with 1 to 8 running instances. The pet is
// empty when its window opens and as long as it is open, and not long before; after it, all
// that was moved is back.
func (s *stage) testWindows(t *testing.T) {
	const own = 4 * time.Second
	s.configure(t, "min-lead-time=15s", "max-lead-time=45s")
	defer forget(t)
	var early, late []time.Duration
	slack := 20 * time.Second // for adding the window, until it is known how long that takes here
	names := slices.Sorted(maps.Keys(s.pets))
	for run := range runs {
		name := names[run%len(names)]
		member := s.pets[name]
		instances := s.instances(t, name, run%8+1)
		before := s.look(t).instances
		p := see(t, name)
		start := time.Now().Add(time.Duration(p.Lead) + slack).Truncate(time.Second)
		end := start.Add(own)
		asked := time.Now()
		window(t, name, start, end)
		require.Less(t, time.Since(start), -time.Duration(p.Lead), "the window was added before the drain was due")
		slack = max(20*time.Second, 3*time.Since(asked))

		var begun, emptied, back time.Time
		box.Await(t, time.Until(end)+2*time.Minute, 200*time.Millisecond, fmt.Sprintf("run %d to be over", run), func() (bool, string) {
			w := s.look(t)
			home, elsewhere := true, true
			for _, tiny := range instances {
				home = home && w.instances[tiny] == before[tiny]
				elsewhere = elsewhere && !strings.HasPrefix(w.instances[tiny], member+" ") && strings.HasSuffix(w.instances[tiny], " Running")
			}
			empty := w.empty(member) && elsewhere
			if begun.IsZero() && !home {
				begun = w.to
			}
			if emptied.IsZero() && empty {
				emptied = w.to
			}
			if w.from.After(start) && w.to.Before(end) {
				require.True(t, empty, "in the window %s is to be empty: %v", name, w)
			}
			if !emptied.IsZero() && home && w.members[member] == "Online" {
				back = w.to
			}
			return !back.IsZero(), fmt.Sprint(w)
		})
		t.Logf("%2d %s: %d instances, lead %s: empty %4.1f s before the window, back %4.1f s after", run, name, len(instances), p.Lead,
			start.Sub(emptied).Seconds(), back.Sub(end).Seconds())
		require.True(t, emptied.Before(start), "%s is empty %s after its window opened", name, emptied.Sub(start))
		require.True(t, back.After(end))
		require.Greater(t, begun.Sub(start), -time.Duration(p.Lead)-time.Second, "%s was drained earlier than its lead of %s: %s", name, p.Lead, p.LeadWhy)
		early, late = append(early, start.Sub(emptied)), append(late, back.Sub(end))
		require.Equal(t, before, s.look(t).instances)
	}
	require.Len(t, early, runs)
	t.Logf("%d of %d runs in time; empty %s to %s (median %s) before the window, back %s to %s (median %s) after", len(early), runs,
		slices.Min(early), slices.Max(early), median(early), slices.Min(late), slices.Max(late), median(late))
}

// testOperators has each of the actions that go before the calendar do so.
func (s *stage) testOperators(t *testing.T) {
	s.configure(t, "min-lead-time=8s", "max-lead-time=8s")
	defer forget(t)
	tiny := s.instances(t, "big", 1)[0]
	s.instances(t, "deep", 0)
	member := s.pets["big"]
	do := func(action string, params ...string) map[string]any {
		t.Helper()
		unit, _ := box.Leader(t, model, app)
		return box.Action(t, model, unit, action, params...)
	}
	stays := func(until time.Time) {
		t.Helper()
		for time.Now().Before(until) {
			w := s.look(t)
			require.Equal(t, "Online", w.members[member])
			require.Equal(t, member+" Running", w.instances[tiny])
		}
	}
	drained := func(wanted bool, limit time.Duration) {
		t.Helper()
		box.Await(t, limit, 300*time.Millisecond, fmt.Sprint("drained: ", wanted), func() (bool, string) {
			w := s.look(t)
			if wanted {
				return w.empty(member) && strings.HasSuffix(w.instances[tiny], " Running"), fmt.Sprint(w)
			}
			return w.members[member] == "Online" && w.instances[tiny] == member+" Running", fmt.Sprint(w)
		})
	}
	// soon adds a window that opens late enough for another action before its drain begins.
	soon := func(pet string, lasts time.Duration) (start time.Time, id string) {
		t.Helper()
		start = time.Now().Add(35 * time.Second).Truncate(time.Second)
		return start, window(t, pet, start, start.Add(lasts))
	}

	start, id := soon("big", time.Minute)
	require.Contains(t, do("plan", "days=1")["plan"], "big")
	require.NotEmpty(t, do("skip-next-window", "pet=big")["skipped"])
	stays(start.Add(2 * time.Second))
	require.Equal(t, id, do("remove-window", "id="+id)["id"])

	// The other pet from here on: what is skipped stays skipped.
	tiny, member = s.instances(t, "deep", 1)[0], s.pets["deep"]
	start, id = soon("deep", time.Hour)
	do("hold", "pet=deep", "state=shared", "why=a demonstration")
	require.Contains(t, do("list-pets")["pets"], "shared by "+app)
	stays(start.Add(2 * time.Second))
	do("release", "pet=deep")
	drained(true, time.Minute)
	do("remove-window", "id="+id)
	drained(false, time.Minute)

	// Text instead of a calendar, in whole minutes: the window is open.
	now := time.Now().UTC()
	added := do("add-window", "pet=deep", "window="+now.Format("2006-01-02 15:04")+"–"+now.Add(time.Hour).Format("2006-01-02 15:04"))
	drained(true, time.Minute)
	do("remove-window", fmt.Sprint("id=", added["id"]))
	drained(false, time.Minute)

	do("hold", "pet=deep", "state=reserved", "for=40s")
	drained(true, time.Minute)
	drained(false, 2*time.Minute)
	t.Log(do("history", "limit=5")["history"])
}

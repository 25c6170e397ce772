//go:build box

package faults

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/tests/testbed"
)

// work is the model whose applications get profiles, on the cluster of metal's lxd-cluster: all requests go
// across models.
const work = "machines"

// walk has two applications on the same machines, each with its own profile.
type walk struct {
	ask  string // a machine with an LXD to query
	want map[string]limitCase
	pids map[string]string // of the containers, which no test may stop
}

// limitCase is the limit that an application's profile sets for its containers; -1 for no limit.
type limitCase struct{ limit, kernel, value string }

// TestProfiles does to applications with profiles what happens to applications, and asserts each time on
// LXD and the kernel.
func TestProfiles(t *testing.T) {
	box = testbed.New(t, "faults")
	box.DCIB(t, 25*time.Minute, "up")
	// The shortest that Juju accepts. If a relation is removed and added again before a unit's agent has
	// observed it, the agent keeps watching the removed one (its watchers have the relation's name, not its
	// number). Then only update-status triggers the unit, which sees the data.
	for _, model := range []string{"metal", work} {
		box.Juju(t, "model-config", "-m", model, "update-status-hook-interval=1m")
	}
	w := &walk{ask: box.Machines(t, "metal", app)[app+"/0"], want: map[string]limitCase{}, pids: map[string]string{}}
	t.Run("two applications on the same machines", w.testTwo)
	t.Run("a unit is added", w.testAddUnit)
	t.Run("a unit that claims another's container gets nothing", w.testForged)
	t.Run("relations go and come", w.testRelations)
	t.Run("a principal is refreshed", w.testRefresh)
	t.Run("another program rewrites the lists of profiles", w.testRewritten)
	t.Run("all go", w.testGone)
	box.DCIB(t, 5*time.Minute, "down")
}

func (w *walk) testTwo(t *testing.T) {
	dir := t.TempDir()
	testbed.Run(t, testbed.PackTime, filepath.Join(box.Repo, "bin/dcib"), "pack", "--out", dir, filepath.Join(box.Repo, "tests/charms/idle"))
	idle := filepath.Join(dir, "idle.charm")
	box.Juju(t, "deploy", "-m", work, idle, "web", "-n", "2", "--base", "ubuntu@24.04")
	box.Juju(t, "deploy", "-m", work, idle, "db", "-n", "2", "--to", "0,1", "--base", "ubuntu@24.04")
	box.StartAddressless(t, w.ask, work)
	box.Juju(t, "consume", "-m", work, "admin/metal.lxd-profiles")
	for _, app := range []string{"web", "db"} {
		box.Juju(t, "deploy", "-m", work, filepath.Join(box.Repo, "dist/lxd-profile-sub.charm"), app+"-profile", "--base", "ubuntu@24.04")
		box.Juju(t, "integrate", "-m", work, app+"-profile:juju-info", app+":juju-info")
		box.Juju(t, "integrate", "-m", work, app+"-profile:lxd-profile", "lxd-profiles")
	}
	w.set(t, "web", limitCase{"limits.memory", "memory", "314572800"})
	w.set(t, "db", limitCase{"limits.processes", "pids", "700"})
	w.settles(t)
	for _, container := range w.containers(t) {
		w.pids[container] = w.pid(t, container)
	}
}

// set requests an application's limit.
func (w *walk) set(t *testing.T, app string, to limitCase) {
	t.Helper()
	box.Juju(t, "config", "-m", work, app+"-profile", fmt.Sprintf("profile=config: {%s: %s}", to.limit, to.value))
	w.want[app] = to
}

// containers returns the names of all containers.
func (w *walk) containers(t *testing.T) []string {
	t.Helper()
	all := map[string]bool{}
	for _, app := range []string{"web", "db"} {
		for _, container := range box.Machines(t, work, app) {
			all[container] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func (w *walk) pid(t *testing.T, container string) string {
	t.Helper()
	return box.Inside(t, w.ask, "lxc info "+container+" | sed -n 's/^PID: //p'")
}

// settles waits until LXD and the kernel have what was requested and nothing else: each container the
// profiles of its applications, last in its list, and no other profile of the charm.
func (w *walk) settles(t *testing.T) {
	t.Helper()
	begin := time.Now()
	box.Eventually(t, 5*time.Minute, "what was asked for", func() (bool, string) {
		wrong := w.wrong(t)
		return wrong == "", wrong
	})
	t.Logf("settled in %.0f s", time.Since(begin).Seconds())
	for container, pid := range w.pids {
		require.Equal(t, pid, w.pid(t, container), "%s never stopped", container)
	}
}

// ours is a profile of the charm, with its application.
var ours = regexp.MustCompile(`^dcib-` + work + `-(web|db)(-[0-9a-f]{8})?$`)

// wrong returns what is not as requested; "" if nothing.
func (w *walk) wrong(t *testing.T) string {
	t.Helper()
	apps := map[string][]string{} // by container
	for _, app := range []string{"web", "db"} {
		for _, container := range box.Machines(t, work, app) {
			apps[container] = append(apps[container], app)
		}
	}
	profiles := map[string]bool{} // in use
	for container, i := range box.Instances(t, w.ask) {
		var want, have []string
		for _, app := range apps[container] {
			if w.want[app] != (limitCase{}) {
				want = append(want, app)
			}
		}
		for n, name := range i.Profiles {
			match := ours.FindStringSubmatch(name)
			switch {
			case match != nil:
				have = append(have, match[1])
				profiles[name] = true
			case len(have) > 0:
				return fmt.Sprintf("%s: %s comes after ours: %v", container, name, i.Profiles)
			case n == 0 && name != "default":
				return fmt.Sprintf("%s: Juju's own are not first: %v", container, i.Profiles)
			}
		}
		slices.Sort(want)
		slices.Sort(have)
		if !slices.Equal(want, have) {
			return fmt.Sprintf("%s: has profiles %v, wanted those of %v", container, i.Profiles, want)
		}
		limits := map[string]string{"memory": "-1", "pids": "-1"} // the containers' defaults
		for _, app := range want {
			limits[w.want[app].kernel] = w.want[app].value
		}
		for kernel, value := range limits {
			if is := fmt.Sprint(testbed.LimitOf(t, container, kernel).Read(t)); apps[container] != nil && is != value {
				return fmt.Sprintf("%s: the kernel holds its %s to %s, wanted %s", container, kernel, is, value)
			}
		}
	}
	for name := range strings.FieldsSeq(box.Inside(t, w.ask, "lxc profile list --format csv | cut -d, -f1")) {
		if strings.HasPrefix(name, "dcib-") && !profiles[name] {
			return "profile " + name + " is left"
		}
	}
	for app := range w.want {
		for name, s := range w.subordinates(t, app) {
			if w.want[app] != (limitCase{}) && (s.Current != "active" || !strings.HasPrefix(s.Message, "in force: "+w.want[app].limit)) {
				return name + " " + s.Current + ": " + s.Message
			}
		}
	}
	return ""
}

// subordinates returns the workload status of an application's lxd-profile-sub, by unit.
func (w *walk) subordinates(t *testing.T, app string) map[string]testbed.State {
	t.Helper()
	states := map[string]testbed.State{}
	for _, u := range box.Status(t, work).Applications[app].Units {
		for name, sub := range u.Subordinates {
			if strings.HasPrefix(name, app+"-profile/") {
				states[name] = sub.Workload
			}
		}
	}
	return states
}

// testAddUnit adds a unit on a machine of its own, without db.
func (w *walk) testAddUnit(t *testing.T) {
	box.Juju(t, "add-unit", "-m", work, "web")
	box.StartAddressless(t, w.ask, work)
	w.settles(t)
	added := box.Machines(t, work, "web")["web/2"]
	require.NotContains(t, w.pids, added)
	w.pids[added] = w.pid(t, added)
}

// testForged has a unit beside db claim a container of web: first in its own name, then in that of web's
// unit.
func (w *walk) testForged(t *testing.T) {
	victim := box.Machines(t, work, "web")["web/2"]
	limit := testbed.LimitOf(t, victim, "pids")
	before := limit.Read(t)
	thief := slices.Sorted(maps.Keys(w.subordinates(t, "db")))[0]
	id := strings.TrimSpace(box.Juju(t, "exec", "-m", work, "--unit", thief, "--", "relation-ids lxd-profile"))
	for claim, says := range map[string]string{
		"instance=" + victim:                      " on another instance than " + victim,
		"instance=" + victim + " principal=web/2": "claims instance " + victim + ": it gets nothing there before it has proven it",
	} {
		brokers, subordinates := w.log(t, "metal", ""), w.log(t, work, thief)
		var broker, subordinate string
		var claimed time.Time
		box.Await(t, 2*time.Minute, 200*time.Millisecond, "both sides to log it", func() (bool, string) {
			// The thief's own charm may correct it before the broker has observed it.
			if time.Since(claimed) > 20*time.Second {
				box.Juju(t, "exec", "-m", work, "--unit", thief, "--", "relation-set -r "+id+" "+claim)
				claimed = time.Now()
			}
			require.Equal(t, before, limit.Read(t), "the limit of another application's container")
			broker = w.log(t, "metal", "")[len(brokers):]
			subordinate = w.log(t, work, thief)[len(subordinates):]
			return strings.Contains(broker, says) && strings.Contains(subordinate, `instance "`+victim+`" where it is`), broker + subordinate
		})
		t.Logf("claimed %s:\n%s%s", claim, warnings(broker), warnings(subordinate))
		w.settles(t) // the thief has its own profile again, the victim nothing of the thief's
	}
	config := box.Inside(t, w.ask, "lxc config show "+victim)
	require.Equal(t, 1, strings.Count(config, "user.dcib.nonce."), config)
}

// log returns a model's log, or that of one unit.
func (w *walk) log(t *testing.T, model, unit string) string {
	t.Helper()
	args := []string{"debug-log", "-m", model, "--replay", "--no-tail"}
	if unit != "" {
		args = append(args, "--include", "unit-"+strings.ReplaceAll(unit, "/", "-"))
	}
	return box.Juju(t, args...)
}

// warnings returns the lines of a log for an operator.
func warnings(log string) string {
	var lines []string
	for line := range strings.Lines(log) {
		if strings.Contains(line, " WARNING ") && strings.Contains(line, "juju-log") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// testRelations removes relations and adds them again: at once, as soon as Juju accepts the new one, and
// after everything is gone. The other application always keeps its profile.
func (w *walk) testRelations(t *testing.T) {
	var others []testbed.Limit
	for _, container := range box.Machines(t, work, "db") {
		others = append(others, testbed.LimitOf(t, container, "pids"))
	}
	untouched := func() {
		t.Helper()
		for _, limit := range others {
			require.Equal(t, w.want["db"].value, fmt.Sprint(limit.Read(t)), limit.File)
		}
	}
	// Juju keeps a removed relation until all units have left it.
	integrate := func(a, b string) {
		t.Helper()
		box.Await(t, 3*time.Minute, 100*time.Millisecond, "Juju to accept the relation again", func() (bool, string) {
			untouched()
			_, err := box.TryJuju(time.Minute, "integrate", "-m", work, a, b)
			return err == nil, fmt.Sprint(err)
		})
	}
	addAgain := func(a, b string, pause time.Duration) {
		t.Helper()
		box.Juju(t, "remove-relation", "-m", work, a, b)
		time.Sleep(pause)
		integrate(a, b)
	}
	// The pauses end before and in the hooks of the removal. Each time everything settles: several in a row
	// within seconds break Juju 4.1-beta2's own worker for relations between models for good ("expected 1
	// row inserted, got 0").
	for _, pause := range []time.Duration{0, 3 * time.Second} {
		t.Logf("%s: the relation to the broker, again after %s", time.Now().Format(time.TimeOnly), pause)
		addAgain("web-profile:lxd-profile", "lxd-profiles", pause)
		w.settles(t)
		untouched()
	}
	was := w.want["web"]
	box.Juju(t, "remove-relation", "-m", work, "web-profile:lxd-profile", "lxd-profiles")
	w.want["web"] = limitCase{}
	w.settles(t)
	integrate("web-profile:lxd-profile", "lxd-profiles")
	w.want["web"] = was
	w.settles(t)
	untouched()
}

// testRefresh refreshes the charm of a principal, and the subordinate's own.
func (w *walk) testRefresh(t *testing.T) {
	dir := t.TempDir()
	testbed.Run(t, testbed.PackTime, filepath.Join(box.Repo, "bin/dcib"), "pack", "--out", dir, filepath.Join(box.Repo, "tests/charms/idle"))
	for app, path := range map[string]string{"web": filepath.Join(dir, "idle.charm"), "db-profile": filepath.Join(box.Repo, "dist/lxd-profile-sub.charm")} {
		was := w.revision(t, app)
		box.Juju(t, "refresh", "-m", work, app, "--path", path)
		box.Eventually(t, time.Minute, app+" to have another revision", func() (bool, string) {
			is := w.revision(t, app)
			return is != was, is
		})
	}
	box.WaitActive(t, work, "web", 3)
	w.settles(t)
	// It still handles requests.
	w.set(t, "web", limitCase{"limits.memory", "memory", "356515840"})
	w.set(t, "db", limitCase{"limits.processes", "pids", "800"})
	w.settles(t)
}

// revision returns the revision of an application's charm in Juju.
func (w *walk) revision(t *testing.T, app string) string {
	t.Helper()
	var s struct {
		Applications map[string]struct {
			Rev int `json:"charm-rev"`
		} `json:"applications"`
	}
	testbed.Decode(t, box.Juju(t, "status", "-m", work, "--format", "json"), &s)
	return fmt.Sprint(s.Applications[app].Rev)
}

// testRewritten rewrites the instances' lists as Juju's controller does when it assigns a machine the
// profiles of its charms: to its own list, without what others added. Meanwhile a profile changes. Within
// one update-status all is as requested again, and logged.
func (w *walk) testRewritten(t *testing.T) {
	own := map[string][]string{}
	for _, container := range w.containers(t) {
		for _, name := range box.Instances(t, w.ask)[container].Profiles {
			if !ours.MatchString(name) {
				own[container] = append(own[container], name)
			}
		}
	}
	log := w.log(t, "metal", "")
	for n := range 5 {
		for container, list := range own {
			box.Inside(t, w.ask, "lxc profile assign "+container+" "+strings.Join(list, ","))
		}
		if n == 2 {
			w.set(t, "web", limitCase{"limits.memory", "memory", "335544320"})
			w.set(t, "db", limitCase{"limits.processes", "pids", "900"})
		}
	}
	begin := time.Now()
	w.settles(t)
	require.Less(t, time.Since(begin), 2*time.Minute, "one update-status later")
	says := func(line string) {
		t.Helper()
		box.Eventually(t, time.Minute, "the log to say "+line, func() (bool, string) {
			said := w.log(t, "metal", "")[len(log):]
			return regexp.MustCompile(line).MatchString(said), warnings(said)
		})
	}
	for container := range own {
		says(`put profile dcib-\S+.* last on instance ` + container + ` again: another program has changed its list`)
	}

	// The charm's profiles, too.
	name := ""
	for _, profile := range box.Instances(t, w.ask)[w.containers(t)[0]].Profiles {
		if match := ours.FindStringSubmatch(profile); match != nil && match[1] == "web" {
			name = profile
		}
	}
	box.Inside(t, w.ask, "lxc profile set "+name+" limits.memory=123MiB")
	w.settles(t)
	says("restore profile " + name + ", which another program has changed")
}

// testGone removes everything: the containers are as they were, and were never stopped.
func (w *walk) testGone(t *testing.T) {
	box.Juju(t, "remove-application", "-m", work, "--no-prompt", "web-profile")
	box.Juju(t, "remove-relation", "-m", work, "db-profile:lxd-profile", "lxd-profiles")
	w.want["web"], w.want["db"] = limitCase{}, limitCase{}
	w.settles(t)
	for _, container := range w.containers(t) {
		require.NotContains(t, box.Inside(t, w.ask, "lxc config show "+container), "user.dcib.")
	}
}

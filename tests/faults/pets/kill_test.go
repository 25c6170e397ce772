//go:build box

package pets

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charmtool/pack"
	"github.com/dcib/dcib/internal/scheduler/store"
	"github.com/dcib/dcib/tests/testbed"
)

// Files of the daemon that is built for this suite, see charms/pet-scheduler/petd/faults.go. The
// service may write to no folder but its own: install sets this one.
const (
	stepsFile = "/run/pet-scheduler-faults/steps"
	faultFile = "/run/pet-scheduler-faults/fault"
)

// takeover is how long it may take until another unit acts.
const takeover = 10 * time.Second

// faulty builds the daemon as the charm has it, but for the tag that lets it die on demand.
func faulty(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(box.Repo, "charms", app)
	source, err := pack.ReadSource(dir)
	require.NoError(t, err)
	part := source.Parts["daemon"]
	out := filepath.Join(t.TempDir(), app)
	cmd := exec.Command("go", "build", "-o", out, "-tags", strings.Join(append(part.BuildTags, "faults"), ","),
		`-ldflags=-s -w -linkmode external -extldflags "-static"`, "./petd")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	variables, err := part.Environment(t.Context())
	require.NoError(t, err)
	for name, value := range variables {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, string(said))
	return out
}

// crew is the schedulers' units, with daemons that die on demand.
type crew struct {
	*stage
	program string
	told    *follower         // of LXD's changes
	units   map[string]string // machines, by unit
	since   time.Time
}

// crew has each unit run the program, which systemd does not start again automatically.
func (s *stage) crew(t *testing.T) *crew {
	t.Helper()
	c := &crew{stage: s, since: time.Now(), program: faulty(t), units: box.Machines(t, model, app), told: s.follow(t, s.ask, "lifecycle")}
	for unit := range c.units {
		c.install(t, unit)
	}
	return c
}

func (c *crew) install(t *testing.T, unit string) {
	t.Helper()
	const program = "/usr/local/lib/dcib/pet-scheduler-faults"
	machine := c.units[unit]
	box.Inside(t, machine, "rm -f "+program) // one that runs cannot be written to
	box.LXC(t, "file", "push", "--mode", "755", c.program, machine+program)
	box.Inside(t, machine, fmt.Sprintf(`mkdir -p /etc/systemd/system/pet-scheduler.service.d
printf '[Service]\nExecStart=\nExecStart=%s daemon %s\nRestart=no\nRuntimeDirectory=pet-scheduler-faults\nRuntimeDirectoryPreserve=yes\n' >/etc/systemd/system/pet-scheduler.service.d/faults.conf
rm -f `+faultFile+`
systemctl daemon-reload
systemctl restart pet-scheduler`, program, dir(unit)))
	c.ready(t)
}

// dismiss returns the units their own daemon back.
func (c *crew) dismiss(t *testing.T) {
	for unit, machine := range c.units {
		box.Inside(t, machine, "rm -rf /etc/systemd/system/pet-scheduler.service.d; systemctl daemon-reload; systemctl restart pet-scheduler")
		c.ready(t)
		delete(c.units, unit)
	}
}

// status asks a unit's daemon; nil when it does not answer.
func (c *crew) status(unit string) *status {
	var st status
	if err := tryCall(c.units[unit], unit, "/1/status", "", &st); err != nil {
		return nil
	}
	return &st
}

// ready waits until every unit has the store.
func (c *crew) ready(t *testing.T) {
	t.Helper()
	box.Await(t, 2*time.Minute, 100*time.Millisecond, "all units to have the store", func() (bool, string) {
		for unit := range c.units {
			if st := c.status(unit); st == nil || !st.Open {
				return false, fmt.Sprintf("%s: %+v", unit, st)
			}
		}
		return true, ""
	})
}

// voting waits until three of the units have the votes of the store, and those that are gone
// none: then one may be lost.
func (c *crew) voting(t *testing.T) {
	t.Helper()
	var addresses []string
	for unit := range c.units {
		addresses = append(addresses, c.address(t, unit))
	}
	box.Await(t, 2*time.Minute, time.Second, "three units that are there to vote", func() (bool, string) {
		for unit, machine := range c.units {
			nodes := box.Inside(t, machine, "cat "+dir(unit)+"/store/cluster.yaml")
			votes := 0
			for _, address := range addresses {
				_, role, _ := strings.Cut(nodes, "Address: "+address+"\n")
				if role, _, _ = strings.Cut(role, "Address:"); strings.Contains(role, "Role: 0") {
					votes++
				}
			}
			if votes != 3 || strings.Count(nodes, "Role: 0") != 3 {
				return false, unit + " sees " + nodes
			}
		}
		return true, ""
	})
}

// acting waits until a unit that is none of those acts, as the others see it.
func (c *crew) acting(t *testing.T, limit time.Duration, not ...string) (unit string) {
	t.Helper()
	box.Await(t, limit, 100*time.Millisecond, "a unit to act that is none of "+fmt.Sprint(not), func() (bool, string) {
		for other := range c.units {
			if slices.Contains(not, other) {
				continue
			}
			if st := c.status(other); st != nil && st.Acting != "" && !slices.Contains(not, st.Acting) {
				unit = st.Acting
				return true, ""
			}
		}
		return false, ""
	})
	return unit
}

// order orders a run of a unit that is not the one given.
func (c *crew) order(t *testing.T, not, member string, what store.Kind) (id string) {
	t.Helper()
	id = rand.Text()
	body, err := json.Marshal(map[string]any{"id": id, "pet": member, "kind": what, "seconds": 300})
	require.NoError(t, err)
	// A unit that has just come may not have the store yet; an order may be given twice.
	box.Await(t, time.Minute, time.Second, "an order to be taken", func() (bool, string) {
		said := ""
		for unit, machine := range c.units {
			if unit == not {
				continue
			}
			var order store.Order
			err := tryCall(machine, unit, "/1/runs", string(body), &order)
			if err == nil && order.ID == id {
				return true, ""
			}
			said = fmt.Sprint(unit, ": ", err, " ", order)
		}
		return false, said
	})
	return id
}

// ended waits for the end of a run, asking units that are not the one given.
func (c *crew) ended(t *testing.T, not, id string) (run store.Run) {
	t.Helper()
	box.Await(t, 2*time.Minute, 100*time.Millisecond, "the run to end", func() (bool, string) {
		for unit, machine := range c.units {
			if unit == not {
				continue
			}
			run = store.Run{}
			if err := tryCall(machine, unit, "/1/runs/"+id, "", &run); err == nil && !run.Ended.IsZero() {
				return true, ""
			}
		}
		return false, fmt.Sprintf("%+v", run)
	})
	return run
}

// made returns the steps that a unit's daemon has made since its machine was created, each with
// its time in milliseconds.
func (c *crew) made(t *testing.T, unit string) []string {
	t.Helper()
	out := box.Inside(t, c.units[unit], "[ ! -e "+stepsFile+" ] || cat "+stepsFile)
	if out == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(out, "\n"), "\n")
}

// arm has a unit's daemon kill or freeze itself after a step.
func (c *crew) arm(t *testing.T, unit, fault string) {
	t.Helper()
	box.Inside(t, c.units[unit], "echo '"+fault+"' >"+faultFile+".new; mv "+faultFile+".new "+faultFile)
}

// struck reports whether the fault of a unit has happened, and if so after which step and when.
func (c *crew) struck(t *testing.T, unit string) (step string, at time.Time, ok bool) {
	t.Helper()
	lines := c.made(t, unit)
	if len(lines) < 2 {
		return "", at, false
	}
	ms, how, _ := strings.Cut(lines[len(lines)-1], " ")
	if how != "kill" && how != "freeze" {
		return "", at, false
	}
	n, err := strconv.ParseInt(ms, 10, 64)
	require.NoError(t, err)
	_, step, _ = strings.Cut(lines[len(lines)-2], " ")
	return step, time.UnixMilli(n), true
}

// desiredState are the instances that are drained while units die: one that is moved in one, one that LXD has to
// be told each step of, as its time to shut down is its own, one that is stopped, one that may not
// move and one that is elsewhere. It returns how the world is when they are home.
func (c *crew) desiredState(t *testing.T) (home map[string]string) {
	t.Helper()
	c.instances(t, "big", 1)
	c.instances(t, "deep", 1)
	member := c.pets["big"]
	box.Inside(t, c.ask, fmt.Sprintf(`lxc info still >/dev/null 2>&1 || lxc init tiny still --profile dcib --target %[1]s
lxc info own >/dev/null 2>&1 || lxc launch tiny own --profile dcib --target %[1]s --config boot.host_shutdown_timeout=20
lxc info stays >/dev/null 2>&1 || lxc launch tiny stays --profile dcib --target %[1]s --config cluster.evacuate=stop`, member))
	home = c.look(t).instances
	require.Equal(t, map[string]string{
		"big-1": member + " Running", "own": member + " Running", "still": member + " Stopped", "stays": member + " Running", "deep-1": c.pets["deep"] + " Running",
	}, home)
	return home
}

// requireAll is requireDone and requireOnce.
func (c *crew) requireAll(t *testing.T, run store.Run, home map[string]string, why string) {
	t.Helper()
	c.requireDone(t, run, home, why)
	c.requireOnce(t, run, home, why)
}

// requireDone asserts on what LXD shows when a run was done.
func (c *crew) requireDone(t *testing.T, run store.Run, home map[string]string, why string) {
	t.Helper()
	require.Equal(t, store.Done, run.State, "%s: %s", why, run.Note)
	for _, step := range run.Steps {
		require.Equal(t, store.StepDone, step.State, "%s: %s", why, step.Instance)
	}
	w := c.look(t)
	member := run.Where()
	if run.Kind == store.Undrain {
		require.Equal(t, home, w.instances, why)
		require.Equal(t, "Online", w.members[member], why)
		return
	}
	require.Equal(t, "Evacuated", w.members[member], why)
	require.ElementsMatch(t, slices.Collect(maps.Keys(home)), slices.Collect(maps.Keys(w.instances)), "%s: no instance lost or doubled", why)
	for name, was := range home {
		at := w.instances[name]
		switch {
		case name == "stays":
			require.Equal(t, member+" Stopped", at, "%s: %s", why, name)
		case strings.HasPrefix(was, member+" "):
			require.NotContains(t, at, member+" ", "%s: %s", why, name)
			require.Equal(t, strings.Fields(was)[1], strings.Fields(at)[1], "%s: %s", why, name)
		default:
			require.Equal(t, was, at, "%s: %s", why, name)
		}
	}
}

// requireOnce asserts that LXD did since it was last asked what a run does, and each of it
// once: as it records itself, whichever client asked for it.
func (c *crew) requireOnce(t *testing.T, run store.Run, home map[string]string, why string) {
	t.Helper()
	did, expected := map[string]int{}, map[string]int{}
	verbs := map[string]string{
		"instance-shutdown": "stopped", "instance-stopped": "stopped", "instance-started": "started",
		"instance-created": "created", "instance-deleted": "deleted", "instance-renamed": "moved",
	}
	for _, e := range c.told.upTo(t) {
		name := path.Base(e.Metadata.Source)
		// A move is a copy under another name, which takes the instance's when that is deleted.
		if verb := verbs[e.Metadata.Action]; verb != "" && !(verb == "created" && strings.HasPrefix(name, "lxd-move-of-")) {
			did[name+" "+verb]++
		}
	}
	for name, at := range home {
		switch member, status, _ := strings.Cut(at, " "); {
		case member != run.Where():
		case name == "stays" && run.Kind == store.Drain:
			expected[name+" stopped"] = 1
		case name == "stays":
			expected[name+" started"] = 1
		default:
			expected[name+" deleted"], expected[name+" moved"] = 1, 1
			if status == "Running" {
				expected[name+" stopped"], expected[name+" started"] = 1, 1
			}
		}
	}
	require.Equal(t, expected, did, why)
}

// testKill kills the acting daemon after each step of a drain, and of an undrain, in turn.
func (s *stage) testKill(t *testing.T) {
	// The charm starts its daemon with the next hook: within two seconds of a kill it was once, and no
	// other unit had to act.
	box.Juju(t, "model-config", "-m", model, "update-status-hook-interval=2h")
	defer box.Juju(t, "model-config", "-m", model, "--reset", "update-status-hook-interval")
	c := s.crew(t)
	defer c.dismiss(t)
	home := c.desiredState(t)
	kinds := c.kinds(t, home)
	var taken []time.Duration
	for n, pair := range kinds {
		t.Run(fmt.Sprint("kind ", n+1), func(t *testing.T) {
			for _, k := range pair {
				if took := c.killed(t, k.what, k.step, n%4 == 3, home); took > 0 {
					taken = append(taken, took)
				}
			}
		})
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("killed after %d kinds of steps; %d times another unit acted, %s to %s later (median %s)",
		2*len(kinds), len(taken), slices.Min(taken), slices.Max(taken), median(taken))
}

// stepKind is a step of a drain, or of an undrain.
type stepKind struct {
	what store.Kind
	step string
}

// kinds has a drain and an undrain done undisturbed, and returns the kinds of steps that they make in the
// order in which they come first, one of each in pairs. Where one has fewer, its last comes again.
func (c *crew) kinds(t *testing.T, home map[string]string) (pairs [][2]stepKind) {
	t.Helper()
	c.told.upTo(t)
	var steps [2][]string
	both := [2]store.Kind{store.Drain, store.Undrain}
	for way, what := range both {
		actor := c.acting(t, takeover)
		before := len(c.made(t, actor))
		c.requireAll(t, c.ended(t, "", c.order(t, "", c.pets["big"], what)), home, string(what))
		for _, line := range c.made(t, actor)[before:] {
			_, step, _ := strings.Cut(line, " ")
			if slices.Contains([]string{"stop big-1", "move big-1", "start big-1"}, step) {
				step = "relocate big-1" // LXD gave up on it, as on one of forty
			}
			if !slices.Contains(steps[way], step) {
				steps[way] = append(steps[way], step)
			}
		}
		t.Logf("undisturbed: %d kinds of steps of a %s: %v", len(steps[way]), what, steps[way])
		require.Greater(t, len(steps[way]), 15)
	}
	for n := range max(len(steps[0]), len(steps[1])) {
		var pair [2]stepKind
		for way, what := range both {
			pair[way] = stepKind{what, steps[way][min(n, len(steps[way])-1)]}
		}
		pairs = append(pairs, pair)
	}
	return pairs
}

// strike has the acting daemon kill or freeze itself after a step of a run, and returns when it has.
func (c *crew) strike(t *testing.T, fault string, what store.Kind, step string, home map[string]string) (victim, id string, at time.Time) {
	t.Helper()
	victim = c.acting(t, takeover)
	before := len(c.made(t, victim))
	c.arm(t, victim, fault+" "+step)
	id = c.order(t, victim, c.pets["big"], what)
	struck := false
	box.Await(t, time.Minute, 100*time.Millisecond, "the unit to come to "+step, func() (bool, string) {
		made := c.made(t, victim)[before:] // not asked of it: one that is frozen does not answer
		over := slices.ContainsFunc(made, func(line string) bool { return strings.HasSuffix(line, " end "+string(what)) })
		_, at, struck = c.struck(t, victim) // after that, for the end of the run may be the step
		return over || struck, fmt.Sprint(made)
	})
	if !struck && step == "relocate big-1" {
		// LXD gave up on it: there and back once more.
		box.Inside(t, c.units[victim], "rm -f "+faultFile)
		c.requireAll(t, c.ended(t, "", id), home, string(what))
		other := map[store.Kind]store.Kind{store.Drain: store.Undrain, store.Undrain: store.Drain}[what]
		c.requireAll(t, c.ended(t, "", c.order(t, "", c.pets["big"], other)), home, string(other))
		return c.strike(t, fault, what, step, home)
	}
	require.True(t, struck, "%s ended without %s: %v", what, step, c.made(t, victim))
	box.Injected(at, "%s %s after %s", fault, victim, step)
	return victim, id, at
}

// killed kills the acting daemon after a step of a run, and starts it again or not. It returns how long
// it took until another acted, 0 when the same was started again.
func (c *crew) killed(t *testing.T, what store.Kind, step string, again bool, home map[string]string) (took time.Duration) {
	t.Helper()
	victim, id, at := c.strike(t, "kill", what, step, home)
	why := fmt.Sprintf("%s, %s killed after %s", what, victim, step)
	start := func() {
		box.Inside(t, c.units[victim], "echo >>"+stepsFile+"; systemctl start pet-scheduler")
	}
	if again {
		start() // as systemd does: then this unit may be the one that finishes
		why += " and started again"
	} else {
		next := c.acting(t, 3*takeover, victim)
		took = time.Since(at)
		why += fmt.Sprintf(", %s acts %.1f s later", next, took.Seconds())
		require.Less(t, took, takeover, why)
		start()
	}
	run := c.ended(t, "", id)
	t.Logf("%s; ended %.1f s after", why, run.Ended.Sub(at).Seconds())
	c.requireAll(t, run, home, why)
	c.ready(t)
	return took
}

// testLongMove kills the acting daemon while LXD moves an instance for longer than it takes until
// another acts: that one waits for the move instead of beginning it again. Once the instance takes
// long to be copied, once to end: then it runs when the other looks.
func (s *stage) testLongMove(t *testing.T) {
	c := s.crew(t)
	defer c.dismiss(t)
	c.instances(t, "deep", 0)
	home := c.alone(t, "big", 1)
	defer box.Inside(t, c.ask, "lxc storage unset local rsync.bwlimit; lxc delete -f big-1 || true")
	for _, long := range []struct{ what, prepare string }{
		{"to end", `lxc config set big-1 environment.ENDS_AFTER=20s
lxc restart --force big-1`},
		{"to be copied", `lxc config unset big-1 environment.ENDS_AFTER
lxc restart --force big-1
head -c 30M /dev/urandom >/root/ballast
lxc file push --quiet /root/ballast big-1/tmp/ballast
lxc storage set local rsync.bwlimit=2MB`},
	} {
		box.Inside(t, c.ask, long.prepare)
		c.told.upTo(t)
		for _, what := range []store.Kind{store.Drain, store.Undrain} {
			c.killedInMove(t, what, home, long.what)
		}
	}
}

// killedInMove kills the acting daemon as soon as LXD moves an instance, which it goes on with.
func (c *crew) killedInMove(t *testing.T, what store.Kind, home map[string]string, long string) {
	t.Helper()
	victim := c.acting(t, takeover)
	id := c.order(t, victim, c.pets["big"], what)
	moving := func() bool {
		// By status: one that is over stays in the list for a while.
		var operations map[string][]struct{ Description string }
		testbed.Decode(t, box.Inside(t, c.ask, "lxc query '/1.0/operations?recursion=1'"), &operations)
		for _, op := range operations["running"] {
			if op.Description == "Migrating instance" {
				return true
			}
		}
		return false
	}
	box.Await(t, time.Minute, 100*time.Millisecond, "a move to begin", func() (bool, string) { return moving(), "" })
	box.Inside(t, c.units[victim], "systemctl kill --signal KILL pet-scheduler")
	at := time.Now()
	next := c.acting(t, 3*takeover, victim)
	took := time.Since(at)
	require.True(t, moving(), "the move goes on when %s acts", next)
	run := c.ended(t, "", id)
	why := fmt.Sprintf("%s, %s killed in a move that takes long %s, %s acts %.1f s later; ended %.1f s after", what, victim, long, next, took.Seconds(), run.Ended.Sub(at).Seconds())
	t.Log(why)
	c.requireAll(t, run, home, why)
	box.Inside(t, c.units[victim], "systemctl start pet-scheduler")
	c.ready(t)
}

func median(of []time.Duration) time.Duration {
	of = slices.Sorted(slices.Values(of))
	return of[len(of)/2]
}

// Package crashtest kills a charm's hooks at every point where that could matter and looks
// whether the end is the same.
//
// A scenario is a function that builds a world in memory, plays hooks in it and returns how
// it ended. It is played once undisturbed; then once for each point, where the hook is
// killed. Juju then throws away what that hook wrote to databags (not its status) and runs
// the same hook again; the scenario goes on, and has to end as the undisturbed one did.
//
// Points are: just before and just after each effect that a fake world reports to the
// Gate, just before and just after Juju commits what the hook wrote, and the end of each
// step, for effects that no fake sees (a file). A hook that is killed after its commit is
// also what a doubled hook is.
//
//	func TestCrashes(t *testing.T) {
//		crashtest.Check(t, func(run *crashtest.Run) any {
//			juju := hooktooltest.New()
//			juju.AddUnit("counter/0", "10.0.0.1")
//			world := &fakeEnv{gate: run.Gate} // reports the gate of its effects
//			run.Always = func() { require.LessOrEqual(run, world.founded, 1) }
//			for range 3 {
//				event := hooktool.Event{Hook: "update-status", Unit: "counter/0"}
//				require.NoError(run, crashtest.Hook(run, juju, charmOver(world), event))
//			}
//			return world.normalised() // without random ids and times
//		}, crashtest.Late, crashtest.Lost)
//	}
//
// A scenario must be the same each time it is played, up to the fault.
package crashtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

// T is what Check needs of *testing.T.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	Logf(format string, args ...any)
}

// Fault is a kind of fault that Check tries besides killing a hook and running it again.
type Fault int

const (
	// Late kills a hook at each point, too, but does not run it again: the unit's next
	// hook is the one that the scenario plays, and the others' hooks come before it. So it
	// goes when a machine restarts.
	Late Fault = iota + 1
	// Lost leaves out each of the scenario's hooks in turn. It is for charms that need no
	// particular hook, and scenarios in which each unit has another one later.
	Lost
)

// ErrKilled is what Try returns for a hook that was killed.
var ErrKilled = errors.New("killed")

// Run is one playing of a scenario. Assertions of testify take it as their T; what fails
// is reported with the fault that it failed under.
type Run struct {
	// Gate is for the fake world.
	Gate *Gate
	// Always, if set, is called after every hook and every kill, for what must be true at
	// all times.
	Always func()

	fault    fault
	end      any
	failures []string
}

// Errorf notes a failure.
func (r *Run) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

// Helper is for test fixtures that call it.
func (r *Run) Helper() {}

// FailNow ends this playing of the scenario.
func (r *Run) FailNow() {
	if len(r.failures) == 0 {
		r.failures = []string{"failed"}
	}
	runtime.Goexit()
}

// fault is what is done to one run; the zero value is nothing.
type fault struct {
	kill int  // the point, counted from 1
	late bool // do not run the killed hook again
	lose int  // the hook, counted from 1
	name string
}

// shown bounds how many failures are told in full.
const shown = 3

// Check plays the scenario undisturbed and under every fault, and reports each that makes
// it end otherwise. Ends are compared like assert.Equal does.
func Check(t T, scenario func(run *Run) (end any), also ...Fault) {
	t.Helper()
	start := time.Now()
	reference := play(scenario, fault{})
	again := play(scenario, fault{})
	if diff := differ(reference.end, again.end); diff != "" {
		again.Errorf("two undisturbed runs end differently: leave out of the end what is random\n%s", diff)
	}
	if diff := differ(reference.Gate.passed, again.Gate.passed); diff != "" {
		again.Errorf("two undisturbed runs take different ways\n%s", diff)
	}
	for _, r := range []*Run{reference, again} {
		if len(r.failures) > 0 {
			t.Errorf("cannot check for crashes: the undisturbed run fails:\n%s", strings.Join(r.failures, "\n"))
			return
		}
	}
	points, hooks := reference.Gate.passed, reference.Gate.hooks
	if len(points) == 0 {
		t.Errorf("cannot check for crashes: no effect in %d hooks: does the fake report to run.Gate of its effects?", hooks)
		return
	}
	bad := 0
	faults := faultsOf(reference, also)
	for _, f := range faults {
		r := play(scenario, f)
		if f.kill > len(r.Gate.passed) || f.kill > 0 && r.Gate.passed[f.kill-1] != points[f.kill-1] {
			r.Errorf("the run took another way before the fault: it is not the same each time it is played")
		}
		if len(r.failures) == 0 {
			if diff := differ(reference.end, r.end); diff != "" {
				r.Errorf("the end is not that of the undisturbed run:\n%s", diff)
			}
		}
		if len(r.failures) == 0 {
			continue
		}
		if bad++; bad <= shown {
			t.Errorf("%s:\n%s", f.name, strings.Join(r.failures, "\n"))
		} else {
			t.Errorf("%s: fails, too", f.name)
		}
	}
	t.Logf("%d hooks, %d points, %d runs in %s", hooks, len(points), len(faults)+2, time.Since(start).Round(time.Millisecond))
}

func faultsOf(reference *Run, also []Fault) []fault {
	var all []fault
	kill := func(late bool, how string) {
		for n, p := range reference.Gate.passed {
			all = append(all, fault{kill: n + 1, late: late, name: fmt.Sprintf("point %d: killed in %s%s", n+1, p, how)})
		}
	}
	kill(false, "")
	for _, kind := range also {
		switch kind {
		case Late:
			kill(true, ", and not run again")
		case Lost:
			for n := range reference.Gate.hooks {
				all = append(all, fault{lose: n + 1, name: fmt.Sprintf("hook %d: lost", n+1)})
			}
		}
	}
	return all
}

// differ shows how two ends differ; "" when they do not.
func differ(want, got any) string {
	r := &Run{}
	if assert.Equal(r, want, got) {
		return ""
	}
	// Values that are shown whole, on one line, hide what is different.
	text := strings.Join(r.failures, "\n")
	if at := strings.Index(text, "Diff:"); at >= 0 {
		text = text[at:]
	}
	return text
}

// play plays the scenario once, on a goroutine of its own so that FailNow ends it.
func play(scenario func(*Run) any, f fault) *Run {
	r := &Run{Gate: &Gate{killAt: f.kill}, fault: f}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() {
			if p := recover(); p != nil {
				r.Errorf("panic: %v", p)
			}
		}()
		r.end = scenario(r)
	}()
	<-ended
	return r
}

// Hook plays one hook of event.Unit, and plays it again when it was killed. It returns
// what the hook returned in the end; nil for one that the fault takes away.
func Hook[F, W any](r *Run, juju *hooktooltest.Juju, c charm.Charm[F, W], event hooktool.Event) error {
	r.Gate.hooks++
	r.Gate.where = fmt.Sprintf("hook %d (%s of %s)", r.Gate.hooks, event.Hook, event.Unit)
	if r.Gate.hooks == r.fault.lose {
		return nil
	}
	err := Try(r.Gate, juju, c, event)
	if errors.Is(err, ErrKilled) {
		r.always()
		if r.fault.late {
			return nil
		}
		err = Try(r.Gate, juju, c, event)
	}
	r.always()
	return err
}

func (r *Run) always() {
	if r.Always != nil {
		r.Always()
	}
}

// Try plays one hook once, without Check, and commits what it wrote when it succeeds. The
// error is the hook's own, or ErrKilled when the gate (see Gate.KillAt) killed it.
func Try[F, W any](gate *Gate, juju *hooktooltest.Juju, c charm.Charm[F, W], event hooktool.Event) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.Plan = marked(gate, c.Plan)
	tools, commit := juju.Hook(event.Unit)
	var err error
	var panicked any
	returned, ended := false, make(chan struct{})
	gate.begin()
	go func() {
		defer close(ended)
		defer func() {
			if p := recover(); p != nil {
				panicked = fmt.Sprintf("%v in %s of %s\n%s", p, event.Hook, event.Unit, debug.Stack())
			}
		}()
		if err = c.Run(ctx, event, tools); err == nil && tools.Wrote() {
			defer gate.Effect("the commit")()
			commit()
		}
		returned = true
	}()
	<-ended
	killed := gate.end()
	switch {
	case panicked != nil:
		panic(panicked)
	case killed:
		return ErrKilled
	case !returned:
		runtime.Goexit() // an assertion in the fake world has ended the test
	}
	return err
}

// marked makes the end of each step a point.
func marked[F, W any](gate *Gate, plan func(F) charm.Plan[W]) func(F) charm.Plan[W] {
	return func(facts F) charm.Plan[W] {
		p := plan(facts)
		steps := make([]charm.Step[W], len(p.Steps))
		for n, s := range p.Steps {
			steps[n] = step[W]{s, gate}
		}
		p.Steps = steps
		return p
	}
}

type step[W any] struct {
	charm.Step[W]
	gate *Gate
}

func (s step[W]) Apply(ctx context.Context, env W) error {
	err := s.Step.Apply(ctx, env)
	s.gate.point("at the end of step " + s.Name())
	return err
}

package crashtest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/testkit/crash"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

// town is a world in which a charm is to found one house, and paint it.
type town struct {
	gate   *crashtest.Gate
	houses []string
	tools  hooktool.Tools
	left   string // what is there that no gate sees
}

func (w *town) build() {
	defer w.gate.Effect("build")()
	w.houses = append(w.houses, "grey")
}

func (w *town) paint(n int) {
	defer w.gate.Effect("paint")()
	w.houses[n] = "white"
}

type facts struct {
	houses []string
	said   bool
	left   string
}

type step struct {
	name  string
	apply func(ctx context.Context, w *town) error
}

func (s step) Name() string                             { return s.name }
func (s step) Apply(ctx context.Context, w *town) error { return s.apply(ctx, w) }

var build = step{"build a house", func(ctx context.Context, w *town) error {
	w.build()
	return w.tools.RelationSet(ctx, "peers:0", map[string]string{"built": "yes"})
}}

var paint = step{"paint it", func(_ context.Context, w *town) error {
	w.paint(0)
	return nil
}}

// sound goes by what stands in the world.
func sound(f facts) (steps []charm.Step[*town]) {
	switch {
	case len(f.houses) == 0:
		steps = append(steps, build)
	case f.houses[0] == "grey":
		steps = append(steps, paint)
	}
	return steps
}

// forgetful is broken: it goes by what it wrote to Juju, which a killed hook loses.
func forgetful(f facts) (steps []charm.Step[*town]) {
	if !f.said {
		steps = append(steps, build, paint)
	}
	return steps
}

// scenario plays a charm with that plan for a few hooks.
func scenario(plan func(facts) []charm.Step[*town]) func(*crashtest.Run) any {
	return func(run *crashtest.Run) any {
		juju := hooktooltest.New()
		juju.AddUnit("town/0", "")
		bags := juju.Relate("town:peers", "town:peers").Databags
		w := &town{gate: run.Gate}
		c := charm.Charm[facts, *town]{
			Env: func(_ hooktool.Event, tools hooktool.Tools) *town { w.tools = tools; return w },
			Observe: func(context.Context, hooktool.Event, *town) (facts, error) {
				return facts{houses: w.houses, said: bags["town/0"]["built"] != "", left: w.left}, nil
			},
			Plan: func(f facts) charm.Plan[*town] {
				return charm.Plan[*town]{Steps: plan(f), Status: charm.Active("%d houses", len(f.houses))}
			},
		}
		for range 3 {
			_ = crashtest.Hook(run, juju, c, hooktool.Event{Hook: "update-status", Unit: "town/0"})
		}
		return map[string]any{"houses": w.houses, "left": w.left, "status": juju.Units["town/0"].Message}
	}
}

// recorder is a T that keeps what is said to it.
type recorder struct{ errors, logs []string }

func (r *recorder) Helper()                    {}
func (r *recorder) Errorf(f string, a ...any)  { r.errors = append(r.errors, fmt.Sprintf(f, a...)) }
func (r *recorder) Logf(f string, args ...any) { r.logs = append(r.logs, fmt.Sprintf(f, args...)) }

func check(scenario func(*crashtest.Run) any, also ...crashtest.Fault) *recorder {
	r := &recorder{}
	crashtest.Check(r, scenario, also...)
	return r
}

func TestASoundCharm(t *testing.T) {
	r := check(scenario(sound), crashtest.Late, crashtest.Lost)
	require.Empty(t, r.errors)
	// Two effects with two sides each, two ends of steps, one commit with two sides; all
	// once more for Late; three hooks; two undisturbed runs.
	require.Contains(t, strings.Join(r.logs, "\n"), "3 hooks, 8 points, 21 runs in ")
}

func TestABrokenCharmIsFound(t *testing.T) {
	r := check(scenario(forgetful))
	require.Len(t, r.errors, 6, "every point from the house to the commit")
	require.Contains(t, r.errors[0], "point 2: killed in hook 1 (update-status of town/0): after build:\n")
	require.Contains(t, r.errors[0], "the end is not that of the undisturbed run")
	require.Contains(t, r.errors[0], "2 houses", "how it ended is told")
	require.Contains(t, r.errors[5], "point 7: killed in hook 1 (update-status of town/0): before the commit: fails, too")
}

// What no fake sees is found at the end of the step.
func TestAStepWithEffectsOfItsOwn(t *testing.T) {
	r := check(scenario(func(f facts) []charm.Step[*town] {
		if f.said {
			return nil
		}
		return []charm.Step[*town]{step{"leave a mark", func(ctx context.Context, w *town) error {
			w.left += "x"
			return w.tools.RelationSet(ctx, "peers:0", map[string]string{"built": "yes"})
		}}}
	}))
	require.NotEmpty(t, r.errors)
	require.Contains(t, r.errors[0], "at the end of step leave a mark")
}

// A step that makes something else of every error, and even of a panic, dies all the same;
// and what it has deferred does nothing more.
func TestNothingSurvivesAKill(t *testing.T) {
	var after []string
	stubborn := step{"build stubbornly", func(_ context.Context, w *town) (err error) {
		defer func() {
			_ = recover()
			w.paint(0)
			after = append(after, "painted")
		}()
		w.build()
		after = append(after, "built")
		return nil
	}}
	gate := &crashtest.Gate{}
	juju := hooktooltest.New()
	unit := juju.AddUnit("town/0", "")
	w := &town{gate: gate}
	c := charm.Charm[facts, *town]{
		Env:     func(hooktool.Event, hooktool.Tools) *town { return w },
		Observe: func(context.Context, hooktool.Event, *town) (facts, error) { return facts{}, nil },
		Plan: func(facts) charm.Plan[*town] {
			return charm.Plan[*town]{Steps: []charm.Step[*town]{stubborn}, Status: charm.Active("well")}
		},
	}
	event := hooktool.Event{Hook: "start", Unit: "town/0"}
	gate.KillAt(2)
	require.ErrorIs(t, crashtest.Try(gate, juju, c, event), crashtest.ErrKilled)
	require.Equal(t, []string{"grey"}, w.houses)
	require.Empty(t, after)
	require.Empty(t, unit.Status)

	gate.KillAt(0)
	require.NoError(t, crashtest.Try(gate, juju, c, event))
	require.Equal(t, []string{"built", "painted"}, after)
	require.Equal(t, "active", unit.Status)
}

func TestWhatIsTrueAlwaysIsAskedAfterAKill(t *testing.T) {
	play := scenario(sound)
	r := check(func(run *crashtest.Run) any {
		calls := 0
		run.Always = func() { calls++; require.LessOrEqual(run, calls, 3, "the fourth is after a kill") }
		return play(run)
	})
	require.Len(t, r.errors, 8)
	require.Contains(t, r.errors[0], "the fourth is after a kill")
}

func TestScenariosThatCannotBeUsed(t *testing.T) {
	times := 0
	for name, scenario := range map[string]func(*crashtest.Run) any{
		"two undisturbed runs end differently": func(*crashtest.Run) any { times++; return times },
		"no effect in 0 hooks":                 func(*crashtest.Run) any { return nil },
		"panic: on the way":                    func(*crashtest.Run) any { panic("on the way") },
		"the undisturbed run fails":            func(run *crashtest.Run) any { run.FailNow(); return nil },
	} {
		r := check(scenario)
		require.Len(t, r.errors, 1)
		require.Contains(t, r.errors[0], name)
	}
}

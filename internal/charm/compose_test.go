package charm_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

// plant is what the components of a test work on: each has two steps.
type plant struct {
	observe, step map[string]error // what a component's observation or first step ends in
	done          []string
}

// seen are the components whose facts have been observed.
type seen map[string]bool

type work struct{ component, name string }

func (s work) Name() string { return s.component + " " + s.name }

func (s work) Apply(_ context.Context, p *plant) error {
	if s.name == "one" && p.step[s.component] != nil {
		return p.step[s.component]
	}
	p.done = append(p.done, s.Name())
	return nil
}

func component(name string, after ...string) charm.Component[seen, *plant] {
	return charm.Component[seen, *plant]{
		Name:  name,
		After: after,
		Observe: func(_ context.Context, _ hooktool.Event, p *plant, facts *seen) error {
			if *facts == nil {
				*facts = seen{}
			}
			for _, name := range after {
				if !(*facts)[name] {
					return fmt.Errorf("%s was observed before %s", name, after)
				}
			}
			(*facts)[name] = p.observe[name] == nil
			return p.observe[name]
		},
		Plan: func(seen) charm.Plan[*plant] {
			return charm.Plan[*plant]{Steps: []charm.Step[*plant]{work{name, "one"}, work{name, "two"}}, Status: charm.Active("%s is well", name)}
		},
	}
}

// composed is a charm whose components depend on each other: b is after a, c after b, and d is
// independent. The order of steps is another than that of observation.
func composed(p *plant) charm.Charm[seen, *plant] {
	d := component("d")
	c := charm.Compose(component("c", "b"), component("a"), component("b", "a"), d)
	c.Env = func(hooktool.Event, hooktool.Tools) *plant { return p }
	return c
}

func TestAComponentThatEndsStopsOnlyThoseAfterIt(t *testing.T) {
	after := map[string][]string{"a": {"a", "b", "c"}, "b": {"b", "c"}, "c": {"c"}, "d": {"d"}}
	all := []string{"c", "a", "b", "d"} // in the order of their steps
	for _, kind := range []struct {
		name   string
		err    error
		status string
		fails  bool
	}{
		{"blocked", charm.Blocked("help me"), "blocked: help me", false},
		{"waiting", charm.Waiting("for you"), "waiting: for you", false},
		{"out of time", fmt.Errorf("cannot ask: %w", slow{}), "waiting", false},
		{"failing", errors.New("broken"), "blocked", true},
	} {
		for _, where := range []string{"observation", "step"} {
			for _, name := range all {
				t.Run(kind.name+" in the "+where+" of "+name, func(t *testing.T) {
					p := &plant{}
					if where == "step" {
						p.step = map[string]error{name: kind.err}
					} else {
						p.observe = map[string]error{name: kind.err}
					}
					juju := hooktooltest.New()
					unit := juju.AddUnit("x/0", "10.0.0.1")
					tools, _ := juju.Hook("x/0")
					err := composed(p).Run(t.Context(), hooktool.Event{Hook: "update-status", Unit: "x/0"}, tools)
					require.Equal(t, kind.fails, err != nil, "%v", err)
					var want []string
					for _, other := range all {
						// c's steps come before those of b and a, which end later.
						earlier := where == "step" && other == "c" && name != "c"
						if !slices.Contains(after[name], other) || earlier {
							want = append(want, other+" one", other+" two")
						}
					}
					require.Equal(t, want, p.done)
					require.Contains(t, unit.Status+": "+unit.Message, kind.status)
					if kind.fails {
						require.ErrorContains(t, err, "broken")
					}
				})
			}
		}
	}
}

func TestTheStatusOfAllComponents(t *testing.T) {
	for want, statuses := range map[charm.Status][]charm.Status{
		charm.Active("a; b"):                 {charm.Active("a"), {}, charm.Active("b")},
		charm.Active("b"):                    {charm.Active(""), charm.Active("b")},
		charm.Waitingf("w; v"):               {charm.Active("a"), charm.Waitingf("w"), {Level: charm.LevelMaintenance, Message: "m"}, charm.Waitingf("v")},
		charm.Blockedf("x; y"):               {charm.Waitingf("w"), charm.Blockedf("x"), charm.Active("a"), charm.Blockedf("y")},
		{Level: "maintenance", Message: "m"}: {charm.Active("a"), {Level: charm.LevelMaintenance, Message: "m"}},
		{}:                                   {{}, {}},
	} {
		require.Equal(t, want, charm.Merge(statuses...))
	}
}

// One that has failed hides no other's status, and two that have failed are both told.
func TestSeveralComponentsThatEnd(t *testing.T) {
	p := &plant{step: map[string]error{"c": charm.Waiting("c waits"), "b": errors.New("b broke"), "d": errors.New("d broke")}}
	juju := hooktooltest.New()
	unit := juju.AddUnit("x/0", "10.0.0.1")
	tools, _ := juju.Hook("x/0")
	err := composed(p).Run(t.Context(), hooktool.Event{Hook: "update-status", Unit: "x/0"}, tools)
	require.ErrorContains(t, err, "cannot b one: b broke")
	require.ErrorContains(t, err, "cannot d one: d broke")
	require.Equal(t, "blocked: cannot b one: b broke; cannot d one: d broke", unit.Status+": "+unit.Message)
	require.Contains(t, unit.Log, "WARNING c waits")
	require.Contains(t, unit.Log, "ERROR cannot d one: d broke")
}

// What one cannot see, those that read it do nothing about; When keeps a component out.
func TestReadsAndWhen(t *testing.T) {
	p := &plant{observe: map[string]error{"late": charm.Waiting("late cannot be seen")}}
	reader, out := component("reader"), component("out")
	reader.Reads = []string{"late"}
	out.When = func(facts seen) bool { return false }
	c := charm.Compose(reader, component("late", "reader"), out, component("other", "out2"), component("out2"))
	c.Env = func(hooktool.Event, hooktool.Tools) *plant { return p }
	juju := hooktooltest.New()
	unit := juju.AddUnit("x/0", "10.0.0.1")
	tools, _ := juju.Hook("x/0")
	require.NoError(t, c.Run(t.Context(), hooktool.Event{Hook: "update-status", Unit: "x/0"}, tools))
	require.Equal(t, []string{"other one", "other two", "out2 one", "out2 two"}, p.done)
	require.Equal(t, "waiting: late cannot be seen", unit.Status+": "+unit.Message)

	plan := c.PlanOf(seen{})
	require.Len(t, plan.Steps, 8)
	require.Equal(t, charm.Active("reader is well; late is well; other is well; out2 is well"), plan.Status)
}

// An action needs all facts, as it may work on any.
func TestAnActionNeedsAllFacts(t *testing.T) {
	p := &plant{observe: map[string]error{"d": errors.New("d cannot be seen")}}
	c := composed(p)
	c.Actions = map[string]charm.Action[seen, *plant]{"go": func(context.Context, seen, *plant, charm.Call) (map[string]string, error) { return nil, nil }}
	juju := hooktooltest.New()
	juju.AddUnit("x/0", "10.0.0.1")
	tools, _ := juju.Hook("x/0")
	require.NoError(t, c.Run(t.Context(), hooktool.Event{Action: "go", Unit: "x/0"}, tools))
	require.Equal(t, "d cannot be seen", tools.Failure)
}

func TestComponentsThatCannotBeComposed(t *testing.T) {
	for want, components := range map[string][]charm.Component[seen, *plant]{
		`charm: component "a": wanted a name of its own`:                                       {component("a"), component("a")},
		`charm: component a: wanted the name of another component in After and Reads, not "b"`: {component("a", "b")},
		`charm: component a: wanted the name of another component in After and Reads, not "a"`: {component("a", "a")},
		`charm: components are after each other: a, c, b, a`:                                   {component("a", "c"), component("b", "a"), component("c", "b")},
	} {
		require.PanicsWithValue(t, want, func() { charm.Compose(components...) })
	}
}

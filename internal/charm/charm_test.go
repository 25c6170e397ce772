package charm_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

// counter is a world with a number that a charm brings up to a wanted one.
type counter struct {
	have, want int
	applied    []string
	fail       error
}

type increment struct{ to int }

func (s increment) Name() string { return "count to " + string(rune('0'+s.to)) }

func (s increment) Apply(_ context.Context, w *counter) error {
	w.applied = append(w.applied, s.Name())
	if w.fail != nil {
		return w.fail
	}
	w.have = s.to
	return nil
}

func counting(w *counter) charm.Charm[counter, *counter] {
	return charm.Charm[counter, *counter]{
		Env:     func(hooktool.Event, hooktool.Tools) *counter { return w },
		Observe: func(_ context.Context, _ hooktool.Event, w *counter) (counter, error) { return *w, nil },
		Plan: func(f counter) charm.Plan[*counter] {
			if f.have == f.want {
				return charm.Plan[*counter]{Status: charm.Active("at %d", f.have), Version: "1"}
			}
			return charm.Plan[*counter]{Steps: []charm.Step[*counter]{increment{f.have + 1}}, Status: charm.Waitingf("counting")}
		},
		Actions: map[string]charm.Action[counter, *counter]{
			"report": func(_ context.Context, f counter, _ *counter, call charm.Call) (map[string]string, error) {
				call.Progress("asked by %s", call.String("who"))
				if call.Bool("refuse") {
					return map[string]string{"at": "?"}, errors.New("cannot report: asked to refuse")
				}
				return map[string]string{"at": string(rune('0' + f.have))}, nil
			},
		},
	}
}

func run(t *testing.T, w *counter, event hooktool.Event, params map[string]any) (*hooktooltest.Tools, *hooktooltest.Unit, error) {
	t.Helper()
	juju := hooktooltest.New()
	unit := juju.AddUnit("c/0", "10.0.0.1")
	event.Unit = "c/0"
	tools, _ := juju.Hook("c/0")
	tools.Params = params
	return tools, unit, counting(w).Run(context.Background(), event, tools)
}

func TestItLooksAgainUntilNothingIsLeft(t *testing.T) {
	w := &counter{want: 3}
	_, unit, err := run(t, w, hooktool.Event{Hook: "install"}, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"count to 1", "count to 2", "count to 3"}, w.applied)
	require.Equal(t, "active at 3 1", unit.Status+" "+unit.Message+" "+unit.Version)
	require.Contains(t, unit.Log, "INFO count to 2", "steps are logged by their names")
}

func TestAStepThatChangesNothingIsTakenOnce(t *testing.T) {
	w := &counter{want: 1, have: -5}
	c := counting(w)
	c.Plan = func(counter) charm.Plan[*counter] {
		return charm.Plan[*counter]{Steps: []charm.Step[*counter]{increment{4}}, Status: charm.Waitingf("still waiting")}
	}
	juju := hooktooltest.New()
	unit := juju.AddUnit("c/0", "")
	tools, _ := juju.Hook("c/0")
	require.NoError(t, c.Run(context.Background(), hooktool.Event{Hook: "start", Unit: "c/0"}, tools))
	require.Len(t, w.applied, 1)
	require.Equal(t, "still waiting", unit.Message)
}

// A unit that works says so before its steps, once for each thing; one that waits does not.
func TestWorkIsReportedBeforeItsSteps(t *testing.T) {
	for name, test := range map[string]struct {
		status func(have int) charm.Status
		fail   error
		said   []string
	}{
		"maintenance": {func(have int) charm.Status { return charm.Maintenancef("counting") }, nil, []string{"maintenance counting", "active at 3"}},
		"each":        {func(have int) charm.Status { return charm.Maintenancef("after %d", have) }, nil, []string{"maintenance after 0", "maintenance after 1", "maintenance after 2", "active at 3"}},
		"waiting":     {func(have int) charm.Status { return charm.Waitingf("counting") }, nil, []string{"active at 3"}},
		"fails":       {func(have int) charm.Status { return charm.Maintenancef("counting") }, charm.Waiting("for you"), []string{"maintenance counting", "waiting for you"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := &counter{want: 3, fail: test.fail}
			c := counting(w)
			plan := c.Plan
			c.Plan = func(f counter) charm.Plan[*counter] {
				p := plan(f)
				if len(p.Steps) > 0 {
					p.Status = test.status(f.have)
				}
				return p
			}
			juju := hooktooltest.New()
			unit := juju.AddUnit("c/0", "")
			tools, _ := juju.Hook("c/0")
			require.NoError(t, c.Run(context.Background(), hooktool.Event{Hook: "start", Unit: "c/0"}, tools))
			require.Equal(t, test.said, unit.Said)
		})
	}
}

func TestAPlanThatNeverSettlesIsAnError(t *testing.T) {
	_, unit, err := run(t, &counter{want: 100}, hooktool.Event{Hook: "install"}, nil)
	require.ErrorContains(t, err, "cannot settle")
	require.Equal(t, "blocked", unit.Status)
}

func TestHowAStepFails(t *testing.T) {
	for name, test := range map[string]struct {
		fail    error
		status  string
		message string
		hook    string // what the hook fails with
	}{
		"blocked": {charm.Blocked("fix %s", "it"), "blocked", "fix it", ""},
		"waiting": {charm.Waiting("for %s", "you"), "waiting", "for you", ""},
		"else":    {errors.New("broken"), "blocked", "cannot count to 1: broken", "cannot count to 1: broken"},
	} {
		t.Run(name, func(t *testing.T) {
			_, unit, err := run(t, &counter{want: 1, fail: test.fail}, hooktool.Event{Hook: "start"}, nil)
			if test.hook == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, test.hook)
			}
			require.Equal(t, test.status, unit.Status)
			require.Equal(t, test.message, unit.Message)
		})
	}
}

func TestActions(t *testing.T) {
	tools, _, err := run(t, &counter{have: 7}, hooktool.Event{Action: "report"}, map[string]any{"who": " me "})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"at": "7"}, tools.Results)
	require.Equal(t, []string{"asked by me"}, tools.Progress)
	require.Empty(t, tools.Failure)

	tools, unit, err := run(t, &counter{}, hooktool.Event{Action: "report"}, map[string]any{"refuse": true})
	require.NoError(t, err, "a failed action is not a failed hook")
	require.Equal(t, "cannot report: asked to refuse", tools.Failure)
	require.Equal(t, map[string]string{"at": "?"}, tools.Results, "results are shown beside the error")
	require.Empty(t, unit.Status, "an action leaves the status alone")

	tools, _, err = run(t, &counter{}, hooktool.Event{Action: "sing"}, nil)
	require.NoError(t, err)
	require.Contains(t, tools.Failure, `"sing"`)
}

func TestAdaptSteps(t *testing.T) {
	type whole struct{ part *counter }
	w := whole{&counter{}}
	steps := charm.AdaptSteps([]charm.Step[*counter]{increment{2}}, func(w whole) *counter { return w.part })
	require.Equal(t, "count to 2", steps[0].Name())
	require.NoError(t, steps[0].Apply(context.Background(), w))
	require.Equal(t, 2, w.part.have)
}

// A message lists what others have named, as much as there is of it.
func TestMessagesHaveABound(t *testing.T) {
	for _, unit := range []string{"x", "é", "…"} {
		juju := hooktooltest.New()
		u := juju.AddUnit("c/0", "10.0.0.1")
		tools, _ := juju.Hook("c/0")
		w := &counter{want: 1, fail: charm.Blocked("still there: %s: move it away", strings.Repeat(unit, 200_000))}
		require.NoError(t, counting(w).Run(t.Context(), hooktool.Event{Hook: "update-status", Unit: "c/0"}, tools))
		require.LessOrEqual(t, len(u.Message), 4<<10)
		require.True(t, utf8.ValidString(u.Message))
		require.True(t, strings.HasPrefix(u.Message, "still there: "+unit) && strings.HasSuffix(u.Message, unit+": move it away"))
		require.Contains(t, u.Message, "(cut)")
		for _, line := range u.Log {
			require.LessOrEqual(t, len(line), 33<<10)
		}
	}
}

func TestPortsOfThePlanAreOpened(t *testing.T) {
	w := &counter{}
	juju := hooktooltest.New()
	unit := juju.AddUnit("c/0", "10.0.0.1")
	other := juju.AddUnit("d/0", "10.0.0.1")
	unit.Machine, other.Machine, other.Ports = "1", "1", []string{"53/udp"}
	c := counting(w)
	var ports []string
	c.Plan = func(counter) charm.Plan[*counter] {
		return charm.Plan[*counter]{Status: charm.Active("ready"), Ports: ports}
	}
	hook := func() {
		tools, commit := juju.Hook("c/0")
		require.NoError(t, c.Run(context.Background(), hooktool.Event{Unit: "c/0", Hook: "update-status"}, tools))
		commit()
	}
	ports = []string{"53/udp", "80/tcp"}
	hook()
	require.Equal(t, []string{"80/tcp"}, unit.Ports)
	require.Equal(t, "active ready", unit.Status+" "+unit.Message, "a port that another unit has fails no hook")
	require.Contains(t, strings.Join(unit.Log, "\n"), "WARNING cannot run open-port: cannot open 53/udp")
	ports = nil
	hook()
	require.Equal(t, []string{"80/tcp"}, unit.Ports, "a plan without ports leaves them")
	ports = []string{}
	hook()
	require.Empty(t, unit.Ports)
}

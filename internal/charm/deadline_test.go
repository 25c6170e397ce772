package charm_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

// hanging is a world whose observation or step takes until it is let go.
type hanging struct {
	observe, step, action func(ctx context.Context) error
	bound                 time.Duration
	last                  context.Context
	done                  bool
}

func (h *hanging) Within(ctx context.Context) { h.last = ctx }

type hang struct{ bound time.Duration }

func (hang) Name() string { return "ask the server" }

func (s hang) Bound() time.Duration { return s.bound }

func (hang) Apply(ctx context.Context, h *hanging) error {
	err := h.step(ctx)
	h.done = err == nil
	return err
}

// ask is how a client behaves whose server never answers, and which heeds its context.
func ask(ctx context.Context) error {
	<-ctx.Done()
	return fmt.Errorf("cannot ask LXD: %w", context.Cause(ctx))
}

// deaf is how one behaves that does not.
func deaf(until chan struct{}) func(context.Context) error {
	return func(context.Context) error { <-until; return nil }
}

func over(h *hanging, d charm.Deadlines) charm.Charm[bool, *hanging] {
	return charm.Charm[bool, *hanging]{
		Env: func(hooktool.Event, hooktool.Tools) *hanging { return h },
		Observe: func(ctx context.Context, _ hooktool.Event, h *hanging) (bool, error) {
			if h.observe != nil {
				return false, h.observe(ctx)
			}
			return h.done, nil
		},
		Plan: func(done bool) charm.Plan[*hanging] {
			if done {
				return charm.Plan[*hanging]{Status: charm.Active("done")}
			}
			return charm.Plan[*hanging]{Steps: []charm.Step[*hanging]{charm.AdaptSteps([]charm.Step[*hanging]{hang{h.bound}}, func(h *hanging) *hanging { return h })[0]}}
		},
		Actions: map[string]charm.Action[bool, *hanging]{
			"wait": func(ctx context.Context, _ bool, h *hanging, _ charm.Call) (map[string]string, error) {
				return map[string]string{"at": "1"}, h.action(ctx)
			},
		},
		Deadlines: d,
	}
}

func TestWhatIsOutOfTimeLeavesTheUnitWaiting(t *testing.T) {
	blocked := func(ctx context.Context) error { return charm.Blocked("LXD refuses: %s", ask(ctx)) }
	for _, c := range []struct {
		name          string
		env           func(never chan struct{}) *hanging
		event         hooktool.Event
		took          time.Duration
		status, fails string
	}{
		{"an observation", func(chan struct{}) *hanging { return &hanging{observe: ask} }, hooktool.Event{Hook: "update-status"}, 45 * time.Second, "waiting cannot observe this machine within 45s: cannot ask LXD: the hook's time is up (tried again by the next hook)", ""},
		{"a step", func(chan struct{}) *hanging { return &hanging{step: ask} }, hooktool.Event{Hook: "update-status"}, 10 * time.Minute, "waiting cannot ask the server within 10m0s: cannot ask LXD: the hook's time is up (tried again by the next hook)", ""},
		{"a step with a bound of its own", func(chan struct{}) *hanging { return &hanging{step: ask, bound: time.Hour} }, hooktool.Event{Hook: "update-status"}, time.Hour, "waiting cannot ask the server within 1h0m0s: cannot ask LXD: the hook's time is up (tried again by the next hook)", ""},
		{"what makes another status of it", func(chan struct{}) *hanging { return &hanging{step: blocked} }, hooktool.Event{Hook: "update-status"}, 10 * time.Minute, "waiting cannot ask the server within 10m0s: LXD refuses: cannot ask LXD: the hook's time is up (tried again by the next hook)", ""},
		{"an observation that does not heed its context", func(never chan struct{}) *hanging { return &hanging{observe: deaf(never)} }, hooktool.Event{Hook: "update-status"}, 50 * time.Second, "waiting cannot observe this machine within 45s: it has not ended (tried again by the next hook)", ""},
		{"a step that does not heed its context", func(never chan struct{}) *hanging { return &hanging{step: deaf(never)} }, hooktool.Event{Hook: "config-changed"}, 10*time.Minute + 5*time.Second, "waiting cannot ask the server within 10m0s: it has not ended (tried again by the next hook)", ""},
		// Juju would take the unit away, and its machine, after a hook that succeeds.
		{"the last hook", func(chan struct{}) *hanging { return &hanging{step: blocked} }, hooktool.Event{Hook: "stop"}, 10 * time.Minute, "blocked cannot ask the server within 10m0s: LXD refuses: cannot ask LXD: the hook's time is up", "within 10m0s"},
		{"a hook that reports that this unit departs", func(chan struct{}) *hanging { return &hanging{observe: ask} }, hooktool.Event{Hook: "cluster-relation-departed", Departing: "c/0"}, 45 * time.Second, "blocked cannot observe this machine within 45s: cannot ask LXD: the hook's time is up", "within 45s"},
		{"a hook that reports that a relation is broken", func(chan struct{}) *hanging { return &hanging{observe: ask} }, hooktool.Event{Hook: "https-relation-broken"}, 45 * time.Second, "blocked cannot observe this machine within 45s: cannot ask LXD: the hook's time is up", "within 45s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				never := make(chan struct{})
				defer close(never)
				juju := hooktooltest.New()
				unit := juju.AddUnit("c/0", "10.0.0.1")
				tools, _ := juju.Hook("c/0")
				c.event.Unit = "c/0"
				start := time.Now()
				err := over(c.env(never), charm.Deadlines{}).Run(t.Context(), c.event, tools)
				require.Equal(t, c.took, time.Since(start))
				require.Equal(t, c.status, unit.Status+" "+unit.Message)
				if c.fails == "" {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, c.fails)
				}
			})
		})
	}
}

func TestAStepThatIsBoundedLeavesTheOthersTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hanging{bound: time.Hour, step: func(context.Context) error { time.Sleep(50 * time.Minute); return nil }}
		juju := hooktooltest.New()
		unit := juju.AddUnit("c/0", "10.0.0.1")
		tools, _ := juju.Hook("c/0")
		require.NoError(t, over(h, charm.Deadlines{Steps: time.Minute}).Run(t.Context(), hooktool.Event{Hook: "install", Unit: "c/0"}, tools))
		require.Equal(t, "active done", unit.Status+" "+unit.Message)
	})
}

func TestWhatWasOpenedInAnObservationStaysOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var opened context.Context
		h := &hanging{}
		c := over(h, charm.Deadlines{})
		c.Observe = func(ctx context.Context, _ hooktool.Event, h *hanging) (bool, error) {
			require.Equal(t, ctx, h.last, "the env knows the context")
			if opened == nil {
				opened = ctx
			}
			return h.done, nil
		}
		h.step = func(ctx context.Context) error {
			require.Equal(t, ctx, h.last)
			time.Sleep(5 * time.Minute)
			return opened.Err()
		}
		juju := hooktooltest.New()
		unit := juju.AddUnit("c/0", "10.0.0.1")
		tools, _ := juju.Hook("c/0")
		require.NoError(t, c.Run(t.Context(), hooktool.Event{Hook: "install", Unit: "c/0"}, tools))
		require.Equal(t, "active", unit.Status)
	})
}

func TestAnActionThatIsOutOfTimeFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		juju := hooktooltest.New()
		juju.AddUnit("c/0", "10.0.0.1")
		tools, _ := juju.Hook("c/0")
		require.NoError(t, over(&hanging{action: ask}, charm.Deadlines{Action: time.Hour}).Run(t.Context(), hooktool.Event{Action: "wait", Unit: "c/0"}, tools))
		require.Equal(t, "cannot run action wait within 1h0m0s: cannot ask LXD: the hook's time is up", tools.Failure)
		require.Equal(t, map[string]string{"at": "1"}, tools.Results)
	})
}

func TestAHookThatIsToldToEndFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(errors.New("terminated")) })
		juju := hooktooltest.New()
		unit := juju.AddUnit("c/0", "10.0.0.1")
		tools, _ := juju.Hook("c/0")
		err := over(&hanging{step: ask}, charm.Deadlines{}).Run(ctx, hooktool.Event{Hook: "install", Unit: "c/0"}, tools)
		require.ErrorContains(t, err, "terminated")
		require.Equal(t, "blocked", unit.Status)
	})
}

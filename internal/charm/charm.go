// Package charm is the loop that every charm of this project runs, whichever event woke it:
//
//	Observe (hook tools, system, APIs) → Plan (pure: facts → steps) → Apply (each step
//	idempotent, named, logged) → Report (status, in one place, also when Apply failed)
//
// It knows nothing of LXD, MAAS or Kubernetes. A charm gives it a Charm value; Main runs it.
//
// Juju throws away what a failed hook wrote to it, but not what the hook did to the world,
// and any hook may be lost, doubled or killed in the middle. So plans are made from facts
// alone, never from which hook is running, and a step may find its work already done.
package charm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/dcib/dcib/internal/hooktool"
)

// Step is one change to the world W, as data, so that a plan can be shown and compared.
type Step[W any] interface {
	// Name says what the step does to what, in words an operator reads: "issue a join
	// token to node3". Within one hook a step of the same name is applied once.
	Name() string
	// Apply does it. It must find out by itself when it is already done. The error is
	// one of Blocked, Waiting (the unit's status then says so and the hook succeeds) or
	// any other (the hook fails and Juju tries it again).
	Apply(ctx context.Context, world W) error
}

// Plan is what a charm wants to do about the facts it saw.
type Plan[W any] struct {
	// Steps are applied in order; the first that fails ends the round.
	Steps []Step[W]
	// Status is true of the facts; it is reported when no step is left to do. One of
	// LevelMaintenance says what the steps do, and is reported before them too.
	Status Status
	// Version is the workload's version for `juju status`; empty leaves it as it is.
	Version string
	// Ports are what the workload listens on for others, as "80/tcp" or "8080-8088/udp". They are
	// opened, and the unit's other ports are closed; nil leaves all as they are.
	Ports []string
}

// Charm is one charm: facts of type F about a world of type W.
type Charm[F, W any] struct {
	// World opens what the charm works on. It must not change anything.
	World func(event hooktool.Event, tools hooktool.Tools) W
	// Observe gathers the facts. Errors as for Step.Apply.
	Observe func(ctx context.Context, event hooktool.Event, world W) (F, error)
	// Plan is pure.
	Plan func(facts F) Plan[W]
	// Actions by name, as in charmcraft.yaml.
	Actions map[string]Action[F, W]
	// Deadlines bound how long it takes. What is out of time leaves the unit waiting, and
	// fails a hook after which Juju would take the unit away.
	Deadlines Deadlines
}

// Action does what a user asked for by `juju run`. It gets fresh facts. The results are
// shown to the user, also beside an error; the error is what the action fails with.
type Action[F, W any] func(ctx context.Context, facts F, world W, call Call) (map[string]string, error)

// Call is one run of an action.
type Call struct {
	// Params are the action's parameters, defaults included; numbers are float64.
	Params map[string]any
	// Progress shows a line to whoever waits for the action.
	Progress func(format string, args ...any)
}

// String gives a text parameter, trimmed; "" when it is missing.
func (c Call) String(name string) string {
	s, _ := c.Params[name].(string)
	return strings.TrimSpace(s)
}

// Bool gives a yes-or-no parameter; false when it is missing.
func (c Call) Bool(name string) bool {
	b, _ := c.Params[name].(bool)
	return b
}

// Int gives a whole-number parameter; 0 when it is missing.
func (c Call) Int(name string) int {
	f, _ := c.Params[name].(float64)
	return int(f)
}

// Level is a workload status that a charm may set.
type Level string

// The levels, as Juju defines them.
// https://documentation.ubuntu.com/juju/3.6/reference/status/
const (
	LevelActive      Level = "active"
	LevelBlocked     Level = "blocked"     // an operator has to do something
	LevelWaiting     Level = "waiting"     // another unit or service is expected to do something
	LevelMaintenance Level = "maintenance" // the charm is doing something itself
)

// Status is a workload status with the message that the operator reads.
type Status struct {
	Level   Level
	Message string
}

// Active, Blockedf, Waitingf and Maintenancef make statuses.
func Active(format string, args ...any) Status {
	return Status{LevelActive, fmt.Sprintf(format, args...)}
}

// Blockedf is the status of a unit that an operator has to help; the message says how.
func Blockedf(format string, args ...any) Status {
	return Status{LevelBlocked, fmt.Sprintf(format, args...)}
}

// Waitingf is the status of a unit that waits for somebody else; the message says for whom.
func Waitingf(format string, args ...any) Status {
	return Status{LevelWaiting, fmt.Sprintf(format, args...)}
}

// Maintenancef is the status of a unit that works; the message says on what, like "installing LXD".
func Maintenancef(format string, args ...any) Status {
	return Status{LevelMaintenance, fmt.Sprintf(format, args...)}
}

// statusError is an error that is the unit's status rather than a failed hook.
type statusError struct{ status Status }

func (e *statusError) Error() string { return e.status.Message }

// Blocked makes an error that blocks the unit with its message and lets the hook succeed:
// for what only an operator can mend.
func Blocked(format string, args ...any) error {
	return &statusError{Blockedf(format, args...)}
}

// Waiting makes an error that leaves the unit waiting with its message and lets the hook
// succeed: for what another unit or component will mend, and then wake this one.
func Waiting(format string, args ...any) error {
	return &statusError{Waitingf(format, args...)}
}

// StatusOf returns the status that Blocked or Waiting have made an error of; ok is false for
// any other error, and for none.
func StatusOf(err error) (status Status, ok bool) {
	var said *statusError
	if !errors.As(err, &said) {
		return Status{}, false
	}
	return said.status, true
}

// rounds bounds how often a hook looks again after it changed something. Plans settle in
// two or three; more means that steps undo each other.
const rounds = 8

// Run runs one event to its end and returns nil when the hook succeeded.
func (c Charm[F, W]) Run(ctx context.Context, event hooktool.Event, tools hooktool.Tools) error {
	_, err := c.run(ctx, event, tools)
	return err
}

// run is Run, and counts the steps that a hook took.
func (c Charm[F, W]) run(ctx context.Context, event hooktool.Event, tools hooktool.Tools) (int, error) {
	world := c.World(event, tools)
	if event.Action != "" {
		return 0, c.act(ctx, event, tools, world)
	}
	plan, steps, err := c.converge(ctx, event, tools, world)
	level, message := "", ""
	var said *statusError
	var late *deadlineError
	switch {
	case errors.As(err, &late) && !mustFail(event):
		plan.Status, err = Waitingf("%s (tried again by the next hook)", err), nil
		level, message = "WARNING", plan.Status.Message
	case errors.As(err, &late):
		// Juju shows "hook failed" in its place, and this again once it succeeds.
		plan.Status = Blockedf("%s", err)
		level, message = "ERROR", err.Error()
	case errors.As(err, &said):
		plan.Status, err = said.status, nil
		level, message = "WARNING", plan.Status.Message
	case isTimeout(err) && !mustFail(event):
		plan.Status, err = Waitingf("%s (tried again by the next hook)", err), nil
		level, message = "WARNING", plan.Status.Message
	case err != nil:
		plan.Status = Blockedf("%s", err)
		level, message = "ERROR", err.Error()
	}
	return steps, errors.Join(err, tell(ctx, func(ctx context.Context) error {
		if message != "" {
			_ = tools.Log(ctx, level, clip(message, logSize))
		}
		if plan.Ports != nil {
			// No reason to fail a hook: another unit on the machine may have one of them.
			if err := hooktool.SetPorts(ctx, tools, plan.Ports); err != nil {
				_ = tools.Log(ctx, "WARNING", clip(err.Error(), logSize))
			}
		}
		return report(ctx, tools, plan.Status, plan.Version)
	}))
}

// converge observes, plans and applies until nothing new is left to do, and counts the steps.
func (c Charm[F, W]) converge(ctx context.Context, event hooktool.Event, tools hooktool.Tools, world W) (Plan[W], int, error) {
	applied := map[string]bool{}
	limits := c.Deadlines.orDefaults()
	left := budget{limits.Steps}
	var plan Plan[W]
	var working Status // the last one that was reported before its steps
	for range rounds {
		facts, err := c.observe(ctx, event, world)
		if err != nil {
			return plan, len(applied), err
		}
		plan = c.Plan(facts)
		fresh := 0
		for _, step := range plan.Steps {
			if applied[step.Name()] {
				continue
			}
			fresh++
			applied[step.Name()] = true
			if plan.Status.Level == LevelMaintenance && plan.Status != working {
				// Juju shows it at once. A step may take minutes, so a failure to report is not the
				// hook's: what is reported at its end counts.
				working = plan.Status
				_ = report(ctx, tools, working, "")
			}
			_ = tools.Log(ctx, "INFO", step.Name())
			if err := apply(ctx, &left, step, world); err != nil {
				var late *deadlineError
				if errors.As(err, &late) {
					return plan, len(applied), err
				}
				return plan, len(applied), fmt.Errorf("cannot %s: %w", step.Name(), err)
			}
		}
		if fresh == 0 {
			return plan, len(applied), nil
		}
	}
	return plan, len(applied), fmt.Errorf("cannot settle: the plan still changes after %d rounds: please report this with the unit's log", rounds)
}

// observe is Observe, within its deadline.
func (c Charm[F, W]) observe(ctx context.Context, event hooktool.Event, world W) (F, error) {
	return await(ctx, "observe this machine", c.Deadlines.orDefaults().Observe, world, func(ctx context.Context) (F, error) {
		return c.Observe(ctx, event, world)
	})
}

// act runs an action. A failed action is not a failed hook.
func (c Charm[F, W]) act(ctx context.Context, event hooktool.Event, tools hooktool.Tools, world W) error {
	action, ok := c.Actions[event.Action]
	if !ok {
		return tools.ActionFail(ctx, fmt.Sprintf("cannot run action %q: this charm has none of that name", event.Action))
	}
	params, err := tools.ActionParams(ctx)
	if err != nil {
		return err
	}
	facts, err := c.observe(ctx, event, world)
	if err != nil {
		return tell(ctx, func(ctx context.Context) error { return tools.ActionFail(ctx, clip(err.Error(), logSize)) })
	}
	call := Call{Params: params, Progress: func(format string, args ...any) {
		_ = tools.ActionLog(ctx, fmt.Sprintf(format, args...))
	}}
	results, err := await(ctx, "run action "+event.Action, c.Deadlines.orDefaults().Action, world, func(ctx context.Context) (map[string]string, error) {
		return action(ctx, facts, world, call)
	})
	return tell(ctx, func(ctx context.Context) error {
		if len(results) > 0 {
			if err := tools.ActionSet(ctx, results); err != nil {
				return err
			}
		}
		if err != nil {
			return tools.ActionFail(ctx, clip(err.Error(), logSize))
		}
		return nil
	})
}

// How many bytes a message may have. Messages list names that others choose, as many as there are; the
// kernel takes no argument of a hook tool above 128 KiB, and nobody reads as much in a status.
const (
	statusSize = 4 << 10
	logSize    = 32 << 10
)

// clip returns a message of at most size bytes, cut between characters. The end of a longer one stays,
// since it says what to do.
func clip(message string, size int) string {
	const cut = " … (cut) … "
	if len(message) <= size {
		return message
	}
	end, begin := (size-len(cut))/2, len(message)-(size-len(cut))/2
	for end > 0 && !utf8.RuneStart(message[end]) {
		end--
	}
	for begin < len(message) && !utf8.RuneStart(message[begin]) {
		begin++
	}
	return message[:end] + cut + message[begin:]
}

// report is the one place that writes status: before long work and at the end.
func report(ctx context.Context, tools hooktool.Tools, status Status, version string) error {
	var err error
	if version != "" {
		err = tools.VersionSet(ctx, version)
	}
	return errors.Join(err, tools.StatusSet(ctx, string(status.Level), clip(status.Message, statusSize)))
}

// Package charm is the loop that every charm of this project runs, whichever event woke it:
//
//	Observe (hook tools, system, APIs) → Plan (pure: facts → steps) → Apply (each step
//	idempotent, named, logged) → Report (status, in one place, also when Apply failed)
//
// It knows nothing of LXD, MAAS or Kubernetes. A charm passes it a Charm value; Main runs it.
//
// Juju throws away what a failed hook wrote to it, but not what the hook did to the world,
// and any hook may be lost, doubled or killed in the middle. So plans are made from facts
// alone, never from which hook is running, and a step may find its work already done.
package charm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/dcib/dcib/internal/hooktool"
)

// Step is one change to the world W, as data, so that a plan can be shown and compared.
type Step[W any] interface {
	// Name says what the step does to what, in words an operator reads: "issue a join
	// token to node3". Within one hook a step of the same name is applied once.
	Name() string
	// Apply does it. It must detect when it is already done. The error is
	// one of Blocked, Waiting (the unit's status then says so and the hook succeeds) or
	// any other (the hook fails and Juju tries it again).
	Apply(ctx context.Context, env W) error
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

// Charm is one charm: facts of type F about a world of type W. One with several concerns is
// made by Compose, and then has no Observe and Plan of its own.
type Charm[F, W any] struct {
	// Env opens what the charm works on. It must not change anything.
	Env func(event hooktool.Event, tools hooktool.Tools) W
	// Observe gathers the facts. Errors as for Step.Apply.
	Observe func(ctx context.Context, event hooktool.Event, env W) (F, error)
	// Plan is pure.
	Plan func(facts F) Plan[W]
	// Actions by name, as in charmcraft.yaml.
	Actions map[string]Action[F, W]
	// Deadlines bound how long it takes. What is out of time leaves the unit waiting, and
	// fails a hook after which Juju would take the unit away.
	Deadlines Deadlines

	components []Component[F, W] // of Compose, in the place of Observe and Plan
	order      []int             // in which they are observed
}

// Action does what a user asked for by `juju run`. It gets fresh facts. The results are
// shown to the user, also beside an error; the error is what the action fails with.
type Action[F, W any] func(ctx context.Context, facts F, env W, call Call) (map[string]string, error)

// Call is one run of an action.
type Call struct {
	// Params are the action's parameters, defaults included; numbers are float64.
	Params map[string]any
	// Progress shows a line to the one who waits for the action.
	Progress func(format string, args ...any)
}

// String returns a text parameter, trimmed; "" when it is missing.
func (c Call) String(name string) string {
	s, _ := c.Params[name].(string)
	return strings.TrimSpace(s)
}

// Bool returns a yes-or-no parameter; false when it is missing.
func (c Call) Bool(name string) bool {
	b, _ := c.Params[name].(bool)
	return b
}

// Int returns a whole-number parameter; 0 when it is missing.
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

// Waitingf is the status of a unit that waits for another program; the message names it.
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
// for what only an operator can fix.
func Blocked(format string, args ...any) error {
	return &statusError{Blockedf(format, args...)}
}

// Waiting makes an error that leaves the unit waiting with its message and lets the hook
// succeed: for what another unit or component will fix, and then wake this one.
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

// maxPasses bounds how often a hook observes again after it changed something. Plans settle
// in two or three passes; more means that steps undo each other.
const maxPasses = 8

// Run runs one event to its end and returns nil when the hook succeeded.
func (c Charm[F, W]) Run(ctx context.Context, event hooktool.Event, tools hooktool.Tools) error {
	_, err := c.run(ctx, event, tools)
	return err
}

// run is Run, and counts the steps that a hook took.
func (c Charm[F, W]) run(ctx context.Context, event hooktool.Event, tools hooktool.Tools) (int, error) {
	env := c.Env(event, tools)
	if event.Action != "" {
		return 0, c.act(ctx, event, tools, env)
	}
	r := reconciliation[F, W]{charm: c, event: event, tools: tools, env: env, applied: map[string]bool{}, ended: map[string]ending{}}
	err := r.reconcile(ctx)
	return len(r.applied), errors.Join(err, reportEnd(ctx, func(ctx context.Context) error {
		for _, line := range r.log {
			_ = tools.Log(ctx, line[0], clip(line[1], logSize))
		}
		if r.ports != nil {
			// No reason to fail a hook: another unit on the machine may have one of them.
			if err := hooktool.SetPorts(ctx, tools, r.ports); err != nil {
				_ = tools.Log(ctx, "WARNING", clip(err.Error(), logSize))
			}
		}
		return report(ctx, tools, r.status, r.version)
	}))
}

// ending is how a component ended in this hook.
type ending struct {
	status Status
	err    error // what the hook fails with; nil when it succeeds
}

// end returns how an error ends a hook: Blocked and Waiting are the unit's status, what was out
// of time leaves it waiting unless Juju would take the unit away then, and any other error
// fails the hook.
func end(err error, event hooktool.Event) ending {
	var late *deadlineError
	outOfTime := errors.As(err, &late)
	if status, ok := StatusOf(err); ok && !outOfTime {
		return ending{status: status}
	}
	if (outOfTime || isTimeout(err)) && !mustFail(event) {
		return ending{status: Waitingf("%s (tried again by the next hook)", err)}
	}
	// Juju shows "hook failed" in its place, and this again once it succeeds.
	return ending{Blockedf("%s", err), err}
}

// reconciliation is one hook: it observes, plans and applies until nothing new is left to do.
type reconciliation[F, W any] struct {
	charm Charm[F, W]
	event hooktool.Event
	tools hooktool.Tools
	env   W

	applied map[string]bool   // steps, by component and name
	ended   map[string]ending // components whose step ended in an error
	log     [][2]string       // level and message of what ended

	working Status // the last one that was reported before its steps

	status  Status
	version string
	ports   []string // nil leaves them as they are
}

// reconcile returns what the hook fails with.
func (r *reconciliation[F, W]) reconcile(ctx context.Context) error {
	left := budget{r.charm.Deadlines.orDefaults().Steps}
	for range maxPasses {
		o, err := r.charm.observe(ctx, r.event, r.env)
		if err != nil {
			return r.abort(err)
		}
		plans := r.charm.planAll(o)
		whole := joined(plans)
		if whole.Version != "" {
			r.version = whole.Version
		}
		r.ports = nil
		if len(o.unseen) == 0 { // or a component's ports would be closed while it cannot be observed
			r.ports = whole.Ports
		}
		before := len(r.applied)
		for _, p := range plans {
			if err := r.apply(ctx, &left, p); err != nil {
				return r.abort(err)
			}
		}
		if len(r.applied) == before {
			return r.settle(o, plans)
		}
	}
	return r.abort(fmt.Errorf("cannot settle: the plan still changes after %d passes: please report this with the unit's log", maxPasses))
}

// apply applies the steps of a component that were not applied in this hook. An error of a step ends the
// component; the error that apply returns ends the hook.
func (r *reconciliation[F, W]) apply(ctx context.Context, left *budget, p componentPlan[F, W]) error {
	for _, step := range p.Steps {
		key := p.Name + "\x00" + step.Name()
		if r.applied[key] {
			continue
		}
		if r.stopped(p.Name) {
			return nil
		}
		r.applied[key] = true
		if p.Status.Level == LevelMaintenance && p.Status != r.working {
			// Juju shows it at once. A step may take minutes, so a failure to report is not the
			// hook's: what is reported at its end counts.
			r.working = p.Status
			_ = report(ctx, r.tools, r.working, "")
		}
		_ = r.tools.Log(ctx, "INFO", step.Name())
		err := apply(ctx, left, step, r.env)
		if err == nil {
			continue
		}
		var late *deadlineError
		if errors.As(err, &late) {
			return err
		}
		err = fmt.Errorf("cannot %s: %w", step.Name(), err)
		if ctx.Err() != nil {
			return err
		}
		r.ended[p.Name] = r.note(err)
	}
	return nil
}

// stopped reports whether a component, or one that it is after, has ended in this hook.
func (r *reconciliation[F, W]) stopped(name string) bool {
	if _, ok := r.ended[name]; ok {
		return true
	}
	components, _ := r.charm.all()
	i := slices.IndexFunc(components, func(c Component[F, W]) bool { return c.Name == name })
	return slices.ContainsFunc(components[i].After, r.stopped)
}

// note returns how an error ends a hook, and has it logged.
func (r *reconciliation[F, W]) note(err error) ending {
	e := end(err, r.event)
	if e.err != nil {
		r.log = append(r.log, [2]string{"ERROR", e.err.Error()})
	} else {
		r.log = append(r.log, [2]string{"WARNING", e.status.Message})
	}
	return e
}

// abort ends the hook with an error that concerns all components.
func (r *reconciliation[F, W]) abort(err error) error {
	e := r.note(err)
	r.status = e.status
	return e.err
}

// settle ends the hook when no step is left to do: the unit's status is that of all components,
// and the hook fails with what one of them failed with.
func (r *reconciliation[F, W]) settle(o observation[F], plans []componentPlan[F, W]) error {
	own := map[string]Status{}
	for _, p := range plans {
		own[p.Name] = p.Status
	}
	components, _ := r.charm.all()
	var statuses []Status
	var failed []error
	for _, c := range components {
		e, over := r.ended[c.Name]
		if err := o.unseen[c.Name]; err != nil && !over {
			e, over = r.note(err), true
		}
		if over {
			statuses, failed = append(statuses, e.status), append(failed, e.err)
		} else {
			statuses = append(statuses, own[c.Name])
		}
	}
	r.status = Merge(statuses...)
	return errors.Join(failed...)
}

// observe is one observation of all components, within its deadline.
func (c Charm[F, W]) observe(ctx context.Context, event hooktool.Event, env W) (observation[F], error) {
	return await(ctx, "observe this machine", c.Deadlines.orDefaults().Observe, env, func(ctx context.Context) (observation[F], error) {
		return c.observeAll(ctx, event, env)
	})
}

// act runs an action. A failed action is not a failed hook.
func (c Charm[F, W]) act(ctx context.Context, event hooktool.Event, tools hooktool.Tools, env W) error {
	action, ok := c.Actions[event.Action]
	if !ok {
		return tools.ActionFail(ctx, fmt.Sprintf("cannot run action %q: this charm has none of that name", event.Action))
	}
	params, err := tools.ActionParams(ctx)
	if err != nil {
		return err
	}
	seen, err := c.observe(ctx, event, env)
	if err == nil {
		err = seen.err()
	}
	if err != nil {
		return reportEnd(ctx, func(ctx context.Context) error { return tools.ActionFail(ctx, clip(err.Error(), logSize)) })
	}
	call := Call{Params: params, Progress: func(format string, args ...any) {
		_ = tools.ActionLog(ctx, fmt.Sprintf(format, args...))
	}}
	results, err := await(ctx, "run action "+event.Action, c.Deadlines.orDefaults().Action, env, func(ctx context.Context) (map[string]string, error) {
		return action(ctx, seen.facts, env, call)
	})
	return reportEnd(ctx, func(ctx context.Context) error {
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
// kernel takes no argument of a hook tool above 128 KiB, and no one reads as much in a status.
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
	if status.Level == "" {
		return err // it says nothing about the unit
	}
	return errors.Join(err, tools.StatusSet(ctx, string(status.Level), clip(status.Message, statusSize)))
}

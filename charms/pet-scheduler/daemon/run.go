package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/scheduler/store"
)

// begin makes a run and carries it on.
func (d *Daemon) begin(ctx context.Context, a *store.Leader, run store.Run, force bool, h *desiredState) error {
	ctx, cancel := until(ctx, run.Due)
	defer cancel()
	var view drain.View
	cluster, err := d.cluster(ctx, a, run, h)
	if err == nil {
		observe := drain.ObserveWithCapacity
		if run.Kind == store.Undrain {
			observe = drain.ObserveForUndrain
		}
		view, err = observe(ctx, cluster, cluster, run.Where())
	}
	switch {
	case err == nil:
		plan := planOf(view, run, force)
		run.Steps = stepsOf(plan, view, run)
		run.Instances = instances(view, run.Where())
		err = plan.Startable(others(run))
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("cannot %s %s in time: %w", run.Kind, run.Pet, err)
	default:
		return err // it waits until LXD can be reached
	}
	free := context.WithoutCancel(ctx)
	if err := a.Begin(free, run); err != nil {
		return err
	}
	d.afterStep("begin %s", run.Kind)
	if err != nil {
		return d.end(free, a, run, store.Failed, err.Error())
	}
	return d.finish(ctx, a, run, force, cluster)
}

// carryOn finishes a run that it finds begun.
func (d *Daemon) carryOn(ctx context.Context, a *store.Leader, run store.Run) error {
	run, ok, err := a.Run(ctx, run.ID)
	if err != nil || !ok || run.State != store.Running {
		return err
	}
	order, _, err := a.Order(ctx, run.ID)
	if err != nil {
		return err
	}
	d.notes.Note("carry on "+run.Pet, fmt.Sprintf("carrying on with the %s of %s", run.Kind, run.Pet))
	bounded, cancel := until(ctx, run.Due)
	defer cancel()
	h, err := d.desired.of(ctx, a.Store)
	if err != nil {
		return err
	}
	cluster, err := d.cluster(bounded, a, run, h)
	if err != nil {
		if errors.Is(bounded.Err(), context.DeadlineExceeded) {
			return d.end(ctx, a, run, store.Failed, fmt.Sprintf("cannot %s %s in time: %s", run.Kind, run.Pet, err))
		}
		return err
	}
	return d.finish(bounded, a, run, order.Force, cluster)
}

// finish does what a run is for, and ends it; unless the term ends before: then the run
// stays open for the one who acts next. The context bounds the run.
func (d *Daemon) finish(ctx context.Context, a *store.Leader, run store.Run, force bool, cluster Cluster) error {
	journaled := &journaledCluster{Cluster: cluster, actor: a, run: run, afterStep: d.afterStep}
	drainer := drain.Drainer{Cluster: journaled, Journal: journaled, By: d.unit, Deadline: run.Due, Progress: d.Log, Limiter: d.limiter, RetryNow: !run.Calendar, Partial: others(run)}
	if !run.Window.IsZero() {
		drainer.Deadline = run.Window
	}
	if earlier, err := a.History(ctx, run.Pet, earlierRuns); err == nil { // without it they set out as on a new unit
		drainer.StartSpacing = medianStartSpacing(earlier)
	}
	var report drain.Report
	var err error
	if run.Kind == store.Drain {
		report, err = drainer.Drain(ctx, run.Where(), force)
	} else {
		report, err = drainer.Undrain(ctx, run.Where())
	}
	if lost := a.Check(); lost != nil || errors.Is(err, store.ErrFenced) {
		return errors.Join(lost, err)
	}
	free := context.WithoutCancel(ctx)
	switch {
	case err != nil && errors.Is(context.Cause(ctx), errSuperseded):
		return d.end(free, a, run, store.Cancelled, errSuperseded.Error())
	case errors.Is(ctx.Err(), context.Canceled) && !errors.Is(context.Cause(ctx), errSuperseded):
		// Without a deadline it is the term's, or the daemon's, end.
		return ctx.Err()
	}
	if stepErr := journaled.close(free, report, err); stepErr != nil {
		return stepErr
	}
	if err != nil {
		return d.end(free, a, run, store.Failed, err.Error())
	}
	return d.end(free, a, run, store.Done, fmt.Sprintf("%d moved", report.Moved()))
}

// end ends a run.
func (d *Daemon) end(ctx context.Context, a *store.Leader, run store.Run, state store.RunState, note string) error {
	if err := a.End(ctx, run.ID, state, note); err != nil {
		return err
	}
	d.afterStep("end %s", run.Kind)
	return nil
}

// afterStep reports whether a step has been made.
func (d *Daemon) afterStep(format string, args ...any) {
	if d.After != nil {
		d.After(fmt.Sprintf(format, args...))
	}
}

// cluster reaches LXD for a run, for as long as the unit may act.
func (d *Daemon) cluster(ctx context.Context, a *store.Leader, run store.Run, h *desiredState) (Cluster, error) {
	config, _, err := control.ReadConfig(d.Dir)
	if err != nil {
		return nil, err
	}
	cluster, err := d.Connect(ctx, config, run.Where(), a.Check)
	if err != nil {
		return nil, err
	}
	stops := ""
	if pet := h.pet(run.Pet); pet != nil && pet.StopUnmovable {
		stops = pet.Member
	}
	return annotatedCluster{cluster, stops, h.upcomingDrains(run, time.Now(), rulesOf(config).lead.Max)}, nil
}

// others reports whether a run moves what it can although some instances can neither move nor be
// stopped. No instance keeps a pet from being emptied of the others for its window.
func others(run store.Run) bool {
	return run.Kind == store.Drain && run.Calendar && !run.Window.IsZero()
}

func planOf(view drain.View, run store.Run, force bool) drain.Plan {
	if run.Kind == store.Undrain {
		return drain.PlanUndrain(view, run.Where())
	}
	return drain.PlanDrain(view, run.Where(), force)
}

// stepsOf are the instances that a plan does something to.
func stepsOf(plan drain.Plan, view drain.View, run store.Run) []store.Step {
	if plan.Done || plan.Startable(others(run)) != nil {
		return nil
	}
	var steps []store.Step
	for _, item := range plan.Items {
		if item.Verdict == drain.Skip || item.Verdict == drain.Error {
			continue
		}
		step := store.Step{Project: item.Project, Instance: item.Name, What: item.Reason}
		for _, i := range view.Instances {
			if i.Ref == item.Ref {
				step.From = i.Member
			}
		}
		if run.Kind == store.Undrain {
			step.To = run.Where()
		}
		steps = append(steps, step)
	}
	return steps
}

// until bounds a context by a moment; zero is none.
func until(ctx context.Context, due time.Time) (context.Context, context.CancelFunc) {
	if due.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, due)
}

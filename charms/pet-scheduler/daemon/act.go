package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/store"
)

// How often the acting unit does what.
const (
	pace = 500 * time.Millisecond // looks for orders
	tidy = time.Minute            // forgets old steps, and units that are gone
	keep = 30 * 24 * time.Hour    // how old they are then
)

// act is what the unit does while it may: it carries on with the runs that it finds, and
// makes runs of orders. Each pet has one run at a time.
func (d *Daemon) act(ctx context.Context, a *store.Actor) error {
	var working sync.WaitGroup
	defer working.Wait()
	var mu sync.Mutex
	busy := map[string]bool{} // by pet
	work := func(pet string, f func() error) {
		mu.Lock()
		defer mu.Unlock()
		if busy[pet] {
			return
		}
		busy[pet] = true
		working.Add(1)
		go func() {
			defer working.Done()
			if err := f(); err != nil && ctx.Err() == nil {
				d.Log("%s: %s", pet, err)
				pause(ctx, pace) // before it is tried again
			}
			mu.Lock()
			defer mu.Unlock()
			delete(busy, pet)
		}()
	}
	var tidied time.Time
	gone := strangers{}
	for ctx.Err() == nil {
		if err := d.round(ctx, a, work); err != nil && ctx.Err() == nil {
			d.Log("%s", err)
		}
		if time.Since(tidied) > tidy {
			tidied = time.Now()
			if err := errors.Join(a.Prune(ctx, tidied.Add(-keep)), gone.expel(ctx, d, tidied)); err != nil && ctx.Err() == nil {
				d.Log("%s", err)
			}
		}
		pause(ctx, pace)
	}
	return nil
}

// round gives out what there is to do now.
func (d *Daemon) round(ctx context.Context, a *store.Actor, work func(pet string, f func() error)) error {
	// The orders first: one of them may have become a run between the two looks, and then
	// counts as a run.
	orders, err := a.Waiting(ctx)
	if err != nil {
		return err
	}
	runs, err := a.OpenRuns(ctx)
	if err != nil {
		return err
	}
	open := map[string]bool{}
	for _, run := range runs {
		open[run.Pet] = true
		work(run.Pet, func() error { return d.carryOn(ctx, a, run) })
	}
	for _, order := range orders {
		if !open[order.Pet] {
			open[order.Pet] = true // the next order for it comes later
			work(order.Pet, func() error { return d.begin(ctx, a, order) })
		}
	}
	return nil
}

// begin makes a run of an order, and carries it on.
func (d *Daemon) begin(ctx context.Context, a *store.Actor, order store.Order) error {
	run := store.Run{ID: order.ID, Pet: order.Pet, Kind: order.Kind, Why: order.Why, Due: order.Due}
	ctx, cancel := until(ctx, order.Due)
	defer cancel()
	var view drain.View
	cluster, err := d.cluster(ctx)
	if err == nil {
		view, err = drain.Look(ctx, cluster, cluster)
	}
	switch {
	case err == nil:
		plan := planOf(view, order)
		run.Steps = stepsOf(plan, view, order)
		err = plan.Err()
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("cannot %s %s in time: %w", run.Kind, run.Pet, err)
	default:
		return err // the order waits until LXD can be reached
	}
	free := context.WithoutCancel(ctx)
	if err := a.Begin(free, run); err != nil {
		return err
	}
	if err != nil {
		return a.End(free, run.ID, store.Failed, err.Error())
	}
	return d.finish(ctx, a, run, order.Force, cluster)
}

// carryOn finishes a run that it finds begun.
func (d *Daemon) carryOn(ctx context.Context, a *store.Actor, run store.Run) error {
	run, ok, err := a.Run(ctx, run.ID)
	if err != nil || !ok || run.State != store.Running {
		return err
	}
	order, _, err := a.Order(ctx, run.ID)
	if err != nil {
		return err
	}
	d.Log("carrying on with the %s of %s", run.Kind, run.Pet)
	bounded, cancel := until(ctx, run.Due)
	defer cancel()
	cluster, err := d.cluster(bounded)
	if err != nil {
		if errors.Is(bounded.Err(), context.DeadlineExceeded) {
			return a.End(ctx, run.ID, store.Failed, fmt.Sprintf("cannot %s %s in time: %s", run.Kind, run.Pet, err))
		}
		return err
	}
	return d.finish(bounded, a, run, order.Force, cluster)
}

// finish does what a run is for, and ends it; unless the term ends before: then the run
// stays open for whoever acts next. The context bounds the run.
func (d *Daemon) finish(ctx context.Context, a *store.Actor, run store.Run, force bool, cluster Cluster) error {
	watched := &watched{Cluster: cluster, actor: a, run: run}
	drainer := drain.Drainer{Cluster: watched, Journal: watched, By: d.unit, Progress: d.Log}
	var report drain.Report
	var err error
	if run.Kind == store.Drain {
		report, err = drainer.Drain(ctx, run.Pet, force)
	} else {
		report, err = drainer.Undrain(ctx, run.Pet)
	}
	if lost := a.Check(); lost != nil || errors.Is(err, store.ErrFenced) {
		return errors.Join(lost, err)
	}
	// A context that ended without a deadline is the term's, or the daemon's, end.
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	free := context.WithoutCancel(ctx)
	if stepErr := watched.close(free, report, err); stepErr != nil {
		return stepErr
	}
	if err != nil {
		return a.End(free, run.ID, store.Failed, err.Error())
	}
	return a.End(free, run.ID, store.Done, fmt.Sprintf("%d moved", report.Moved()))
}

func (d *Daemon) cluster(ctx context.Context) (Cluster, error) {
	config, _, err := control.ReadConfig(d.Dir)
	if err != nil {
		return nil, err
	}
	return d.Connect(ctx, config)
}

func planOf(view drain.View, order store.Order) drain.Plan {
	if order.Kind == store.Undrain {
		return drain.PlanUndrain(view, order.Pet)
	}
	return drain.PlanDrain(view, order.Pet, order.Force)
}

// stepsOf are the instances that a plan does something to.
func stepsOf(plan drain.Plan, view drain.View, order store.Order) []store.Step {
	if plan.Done || plan.Err() != nil {
		return nil
	}
	var steps []store.Step
	for _, item := range plan.Items {
		if item.Verdict == drain.Skip {
			continue
		}
		step := store.Step{Project: item.Project, Instance: item.Name, What: item.Reason}
		for _, i := range view.Instances {
			if i.Ref == item.Ref {
				step.From = i.Member
			}
		}
		if order.Kind == store.Undrain {
			step.To = order.Pet
		}
		steps = append(steps, step)
	}
	return steps
}

// watched is a cluster whose changes are written into the journal before they are made,
// and are not made once the term is over.
type watched struct {
	Cluster
	actor *store.Actor
	run   store.Run
}

// started writes that something is about to happen to an instance; to all that have a
// step, when it has no name.
func (w *watched) started(ctx context.Context, ref drain.Ref) error {
	for n, step := range w.run.Steps {
		if ref.Name != "" && (step.Project != ref.Project || step.Instance != ref.Name) {
			continue
		}
		// One that is done already is touched again only by what LXD does to the whole.
		if err := w.actor.SetStep(ctx, w.run.ID, n, store.StepStarted, ""); err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return w.actor.Check()
}

// close writes what came of each step that was begun.
func (w *watched) close(ctx context.Context, report drain.Report, failure error) error {
	for n, step := range w.run.Steps {
		state, note := store.StepDone, ""
		for _, move := range report.Moves {
			if move.Project == step.Project && move.Name == step.Instance {
				note = move.String()
				if failure != nil && (move.To == "" || move.To == move.From) {
					state = store.StepFailed
				}
			}
		}
		if note == "" && failure != nil {
			state = store.StepFailed
		}
		// What LXD had done before this run looked was never begun here.
		err := w.actor.SetStep(ctx, w.run.ID, n, store.StepStarted, "")
		if err == nil {
			err = w.actor.SetStep(ctx, w.run.ID, n, state, note)
		}
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return nil
}

// Evacuate implements drain.Cluster.
func (w *watched) Evacuate(ctx context.Context, member string, progress func(string)) error {
	if err := w.started(ctx, drain.Ref{}); err != nil {
		return err
	}
	return w.Cluster.Evacuate(ctx, member, progress)
}

// Restore implements drain.Cluster.
func (w *watched) Restore(ctx context.Context, member string, progress func(string)) error {
	if err := w.started(ctx, drain.Ref{}); err != nil {
		return err
	}
	return w.Cluster.Restore(ctx, member, progress)
}

// SetOrigin implements drain.Cluster.
func (w *watched) SetOrigin(ctx context.Context, ref drain.Ref, origin string) error {
	if err := w.actor.Check(); err != nil {
		return err
	}
	return w.Cluster.SetOrigin(ctx, ref, origin)
}

// Start implements drain.Cluster.
func (w *watched) Start(ctx context.Context, ref drain.Ref) error {
	if err := w.started(ctx, ref); err != nil {
		return err
	}
	return w.Cluster.Start(ctx, ref)
}

// Stop implements drain.Cluster.
func (w *watched) Stop(ctx context.Context, ref drain.Ref) error {
	if err := w.started(ctx, ref); err != nil {
		return err
	}
	return w.Cluster.Stop(ctx, ref)
}

// Move implements drain.Cluster.
func (w *watched) Move(ctx context.Context, ref drain.Ref, member string, live bool) error {
	if err := w.started(ctx, ref); err != nil {
		return err
	}
	return w.Cluster.Move(ctx, ref, member, live)
}

// Write implements drain.Journal.
func (w *watched) Write(ctx context.Context, member string, before, after *drain.Record) error {
	if err := w.actor.Check(); err != nil {
		return err
	}
	return w.Cluster.Write(ctx, member, before, after)
}

// until bounds a context by a moment; zero is none.
func until(ctx context.Context, due time.Time) (context.Context, context.CancelFunc) {
	if due.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, due)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

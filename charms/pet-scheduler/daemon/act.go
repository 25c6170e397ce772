package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/calendar"
	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/schedule"
	"github.com/dcib/dcib/internal/store"
)

// How often the acting unit does what.
const (
	pace   = 500 * time.Millisecond // looks for orders
	glance = 5 * time.Second        // looks what is due by the calendar, and at when it knows something to be
	tidy   = time.Minute            // forgets old steps, and units that are gone
	keep   = 30 * 24 * time.Hour    // how old they are then
)

// errStopped ends work whose reason is over.
var errStopped = errors.New("what it was for is over")

// acting is a unit that acts, for as long as its term lasts.
type acting struct {
	*Daemon
	store   *store.Actor
	working sync.WaitGroup
	mu      sync.Mutex
	busy    map[string]context.CancelCauseFunc // by pet
	past    histories
	wake    time.Time         // when something is due, if nothing happens before; zero is never
	said    map[string]string // the last alert of each pet
}

// act is what the unit does while it may: it carries on with the runs that it finds, makes
// runs of orders, and does what is due by the calendar. Each pet has one run at a time.
func (d *Daemon) act(ctx context.Context, a *store.Actor) error {
	w := &acting{Daemon: d, store: a, busy: map[string]context.CancelCauseFunc{}, said: map[string]string{}}
	defer w.working.Wait()
	if d.lanes == nil {
		d.lanes = drain.NewLanes(drain.AtOnce, drain.Apart)
	}
	var tidied, looked time.Time
	gone := strangers{}
	poked := false
	for ctx.Err() == nil {
		if err := w.round(ctx); err != nil && ctx.Err() == nil {
			d.Log("%s", err)
		}
		// Once for each wake: what it was for may not be over at once.
		due := looked.Before(w.wake) && !time.Now().Before(w.wake)
		if poked || due || time.Since(looked) >= glance {
			looked = time.Now()
			if err := w.schedule(ctx); ctx.Err() == nil {
				text := ""
				if err != nil {
					text = err.Error()
				}
				w.alert("", text)
			}
		}
		if time.Since(tidied) > tidy {
			tidied = time.Now()
			if err := errors.Join(a.Prune(ctx, tidied.Add(-keep)), gone.expel(ctx, d, tidied)); err != nil && ctx.Err() == nil {
				d.Log("%s", err)
			}
		}
		poked = false
		select {
		case <-ctx.Done():
		case <-d.pokes:
			poked = true
		case <-time.After(pace):
		}
	}
	return nil
}

// work has f done for a pet, unless something is being done for it.
func (w *acting) work(ctx context.Context, pet string, f func(ctx context.Context) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy[pet] != nil {
		return
	}
	ctx, cancel := context.WithCancelCause(ctx)
	w.busy[pet] = cancel
	w.working.Add(1)
	go func() {
		defer w.working.Done()
		defer cancel(nil)
		if err := f(ctx); err != nil && ctx.Err() == nil {
			w.Log("%s: %s", pet, err)
			pause(ctx, pace) // before it is tried again
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.busy, pet)
		w.past.grow(pet)
		w.poke()
	}()
}

// stop ends what is being done for a pet.
func (w *acting) stop(pet string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if cancel := w.busy[pet]; cancel != nil {
		cancel(errStopped)
	}
}

// alert says what somebody ought to know of a pet, once.
func (w *acting) alert(pet, text string) {
	if w.said[pet] == text {
		return
	}
	w.said[pet] = text
	if text != "" && pet != "" {
		text = "ALERT: " + pet + ": " + text
	}
	if text != "" {
		w.Log("%s", text)
	}
}

// round gives out what there is to do of what was begun or ordered.
func (w *acting) round(ctx context.Context) error {
	// The orders first: one of them may have become a run between the two looks, and then
	// counts as a run.
	orders, err := w.store.Waiting(ctx)
	if err != nil {
		return err
	}
	runs, err := w.store.OpenRuns(ctx)
	if err != nil {
		return err
	}
	open := map[string]bool{}
	for _, run := range runs {
		open[run.Pet] = true
		w.work(ctx, run.Pet, func(ctx context.Context) error { return w.carryOn(ctx, w.store, run) })
	}
	for _, order := range orders {
		if !open[order.Pet] {
			open[order.Pet] = true // the next order for it comes later
			w.work(ctx, order.Pet, func(ctx context.Context) error {
				run := store.Run{ID: order.ID, Pet: order.Pet, Kind: order.Kind, Why: order.Why, Due: order.Due}
				h, err := w.herds.of(ctx, w.store.Store)
				if err != nil {
					return err
				}
				if pet := h.pet(order.Pet); pet != nil {
					run.Member = pet.Member
				}
				return w.begin(ctx, w.store, run, order.Force, h)
			})
		}
	}
	return nil
}

// schedule gives out what is due by the calendar, and takes back what no longer is.
func (w *acting) schedule(ctx context.Context) error {
	config, _, err := control.ReadConfig(w.Dir)
	if err != nil {
		return err
	}
	h, err := w.herds.of(ctx, w.store.Store)
	if err != nil {
		return err
	}
	var bad error
	if h.Pets != config.Pets {
		if _, err := calendar.Parse([]byte(config.Pets)); err != nil {
			bad = fmt.Errorf("cannot take the pets of this unit's configuration, the old ones stay in force: %w", err)
		} else if err := w.store.SetPets(ctx, config.Pets); err != nil {
			return err
		} else {
			w.Log("the set of pets has changed")
		}
	}
	list, h, err := w.survey(ctx, w.store.Store, &w.past)
	if err != nil {
		return err
	}
	w.wake = time.Time{}
	for _, due := range list {
		w.alert(due.pet.Name, due.Alert)
		w.do(ctx, due, h)
		if !due.Wake.IsZero() && (w.wake.IsZero() || due.Wake.Before(w.wake)) {
			w.wake = due.Wake
		}
	}
	return bad
}

// do does what is due for a pet. What an operator ordered comes to its end first.
func (w *acting) do(ctx context.Context, due due, h *herd) {
	run := store.Run{ID: rand.Text(), Pet: due.pet.Name, Member: due.pet.Member, Calendar: true, Why: due.Why}
	switch due.Do {
	case schedule.Drain:
		run.Kind, run.Window = store.Drain, due.For
	case schedule.Undrain:
		run.Kind = store.Undrain
	}
	if open := due.past.open; open != nil {
		against := open.Kind != run.Kind
		if due.Do == schedule.Keep && open.Kind == store.Drain || due.Do == schedule.Lend && open.Kind == store.Undrain {
			against = false // it comes to its end just now
		}
		if due.Do == schedule.Wait && due.facts.Hold == nil {
			against = false // it was begun by a unit whose clock is ahead
		}
		if against && open.Calendar {
			w.Log("%s: the %s under way is stopped: %s", due.pet.Name, open.Kind, due.Why)
			w.stop(due.pet.Name)
		}
		return
	}
	if run.Kind == "" {
		return
	}
	w.work(ctx, due.pet.Name, func(ctx context.Context) error {
		w.Log("%s: %s: %s", run.Pet, run.Kind, run.Why)
		return w.begin(ctx, w.store, run, false, h)
	})
}

// begin makes a run and carries it on.
func (d *Daemon) begin(ctx context.Context, a *store.Actor, run store.Run, force bool, h *herd) error {
	ctx, cancel := until(ctx, run.Due)
	defer cancel()
	var view drain.View
	cluster, err := d.cluster(ctx, a, run, h)
	if err == nil {
		view, err = drain.Survey(ctx, cluster, cluster, run.Where())
	}
	switch {
	case err == nil:
		plan := planOf(view, run, force)
		run.Steps = stepsOf(plan, view, run)
		run.Instances = instances(view, run.Where())
		err = plan.Err()
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("cannot %s %s in time: %w", run.Kind, run.Pet, err)
	default:
		return err // it waits until LXD can be reached
	}
	free := context.WithoutCancel(ctx)
	if err := a.Begin(free, run); err != nil {
		return err
	}
	d.did("begin %s", run.Kind)
	if err != nil {
		return d.end(free, a, run, store.Failed, err.Error())
	}
	return d.finish(ctx, a, run, force, cluster)
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
	h, err := d.herds.of(ctx, a.Store)
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
// stays open for whoever acts next. The context bounds the run.
func (d *Daemon) finish(ctx context.Context, a *store.Actor, run store.Run, force bool, cluster Cluster) error {
	watched := &watched{Cluster: cluster, actor: a, run: run, did: d.did}
	drainer := drain.Drainer{Cluster: watched, Journal: watched, By: d.unit, Before: run.Due, Progress: d.Log, Lanes: d.lanes}
	if !run.Window.IsZero() {
		drainer.Before = run.Window
	}
	if earlier, err := a.History(ctx, run.Pet, earlierRuns); err == nil { // without it they set out as on a new unit
		drainer.Apart = apart(earlier)
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
	case err != nil && errors.Is(context.Cause(ctx), errStopped):
		return d.end(free, a, run, store.Undone, errStopped.Error())
	case errors.Is(ctx.Err(), context.Canceled) && !errors.Is(context.Cause(ctx), errStopped):
		// Without a deadline it is the term's, or the daemon's, end.
		return ctx.Err()
	}
	if stepErr := watched.close(free, report, err); stepErr != nil {
		return stepErr
	}
	if err != nil {
		return d.end(free, a, run, store.Failed, err.Error())
	}
	return d.end(free, a, run, store.Done, fmt.Sprintf("%d moved", report.Moved()))
}

// end ends a run.
func (d *Daemon) end(ctx context.Context, a *store.Actor, run store.Run, state store.RunState, note string) error {
	if err := a.End(ctx, run.ID, state, note); err != nil {
		return err
	}
	d.did("end %s", run.Kind)
	return nil
}

// did tells that a step has been made.
func (d *Daemon) did(format string, args ...any) {
	if d.After != nil {
		d.After(fmt.Sprintf(format, args...))
	}
}

// cluster reaches LXD for a run, for as long as the unit may act.
func (d *Daemon) cluster(ctx context.Context, a *store.Actor, run store.Run, h *herd) (Cluster, error) {
	config, _, err := control.ReadConfig(d.Dir)
	if err != nil {
		return nil, err
	}
	cluster, err := d.Connect(ctx, config, run.Where(), a.Check)
	if err != nil {
		return nil, err
	}
	stops := ""
	if pet := h.pet(run.Pet); pet != nil && pet.StopImmovable {
		stops = pet.Member
	}
	return herded{cluster, stops, h.soon(run, time.Now(), rulesOf(config).lead.Max)}, nil
}

// herded is a cluster of which it is known what its pets are for.
type herded struct {
	Cluster
	stops string               // the member whose instances may be stopped there when they cannot move
	until map[string]time.Time // when members have to be empty themselves
}

// Members implements drain.Cluster.
func (c herded) Members(ctx context.Context) ([]drain.Member, error) {
	all, err := c.Cluster.Members(ctx)
	for n := range all {
		all[n].Until = c.until[all[n].Name]
	}
	return all, err
}

// Instances implements drain.Cluster.
func (c herded) Instances(ctx context.Context) ([]drain.Instance, error) {
	all, err := c.Cluster.Instances(ctx)
	for n := range all {
		all[n].MayStop = c.stops != "" && all[n].Member == c.stops
	}
	return all, err
}

func planOf(view drain.View, run store.Run, force bool) drain.Plan {
	if run.Kind == store.Undrain {
		return drain.PlanUndrain(view, run.Where())
	}
	return drain.PlanDrain(view, run.Where(), force)
}

// stepsOf are the instances that a plan does something to.
func stepsOf(plan drain.Plan, view drain.View, run store.Run) []store.Step {
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
		if run.Kind == store.Undrain {
			step.To = run.Where()
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
	did   func(format string, args ...any)
	begun sync.Map // steps that the journal says are begun: it is told once, the instance may be down meanwhile
}

// set brings a step into a state.
func (w *watched) set(ctx context.Context, n int, state store.StepState, note string) error {
	err := w.actor.SetStep(ctx, w.run.ID, n, state, note)
	if err == nil {
		w.did("journal %s %s", state, w.run.Steps[n].Instance)
	}
	return err
}

// started writes that something is about to happen to an instance; to all that have a
// step, when it has no name.
func (w *watched) started(ctx context.Context, ref drain.Ref) error {
	for n, step := range w.run.Steps {
		if ref.Name != "" && (step.Project != ref.Project || step.Instance != ref.Name) {
			continue
		}
		if err := w.begin(ctx, n); err != nil {
			return err
		}
	}
	return w.actor.Check()
}

// begin writes, once, that a step is begun.
func (w *watched) begin(ctx context.Context, n int) error {
	if _, told := w.begun.Load(n); told {
		return nil
	}
	// One that is done already is touched again only by what LXD does to the whole.
	if err := w.set(ctx, n, store.StepStarted, ""); err != nil && !errors.Is(err, store.ErrConflict) {
		return err
	}
	w.begun.Store(n, true)
	return nil
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
		err := w.begin(ctx, n)
		if err == nil {
			err = w.set(ctx, n, state, note)
		}
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return nil
}

// change tells of a change to LXD that was made.
func (w *watched) change(err error, format string, args ...any) error {
	if err == nil {
		w.did(format, args...)
	}
	return err
}

// Evacuate implements drain.Cluster.
func (w *watched) Evacuate(ctx context.Context, member string, progress func(string)) error {
	if err := w.started(ctx, drain.Ref{}); err != nil {
		return err
	}
	return w.change(w.Cluster.Evacuate(ctx, member, progress), "evacuate")
}

// Restore implements drain.Cluster.
func (w *watched) Restore(ctx context.Context, member string, progress func(string)) error {
	if err := w.started(ctx, drain.Ref{}); err != nil {
		return err
	}
	return w.change(w.Cluster.Restore(ctx, member, progress), "restore")
}

// SetOrigin implements drain.Cluster.
func (w *watched) SetOrigin(ctx context.Context, ref drain.Ref, origin string) error {
	if err := w.actor.Check(); err != nil {
		return err
	}
	return w.change(w.Cluster.SetOrigin(ctx, ref, origin), "origin %s", ref.Name)
}

// Start implements drain.Cluster.
func (w *watched) Start(ctx context.Context, ref drain.Ref, member string) error {
	if err := w.started(ctx, ref); err != nil {
		return err
	}
	return w.change(w.Cluster.Start(ctx, ref, member), "start %s", ref.Name)
}

// Stop implements drain.Cluster.
func (w *watched) Stop(ctx context.Context, ref drain.Ref) error {
	if err := w.started(ctx, ref); err != nil {
		return err
	}
	return w.change(w.Cluster.Stop(ctx, ref), "stop %s", ref.Name)
}

// Move implements drain.Cluster.
func (w *watched) Move(ctx context.Context, ref drain.Ref, member string, live bool) error {
	if err := w.started(ctx, ref); err != nil {
		return err
	}
	return w.change(w.Cluster.Move(ctx, ref, member, live), "move %s", ref.Name)
}

// Relocate implements drain.Cluster.
func (w *watched) Relocate(ctx context.Context, ref drain.Ref, member string) (moved time.Duration, err error) {
	if err := w.started(ctx, ref); err != nil {
		return 0, err
	}
	moved, err = w.Cluster.Relocate(ctx, ref, member)
	return moved, w.change(err, "relocate %s", ref.Name)
}

// Write implements drain.Journal.
func (w *watched) Write(ctx context.Context, member string, before, after *drain.Record) error {
	if err := w.actor.Check(); err != nil {
		return err
	}
	phase := "none"
	if after != nil {
		phase = string(after.Phase)
	}
	return w.change(w.Cluster.Write(ctx, member, before, after), "record %s", phase)
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

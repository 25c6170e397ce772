package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/scheduler/calendar"
	"github.com/dcib/dcib/internal/scheduler/decide"
	"github.com/dcib/dcib/internal/scheduler/store"
)

// How often the acting unit does what.
const (
	orderPollInterval = 500 * time.Millisecond // looks for orders
	evaluateInterval  = 5 * time.Second        // looks what is due by the calendar, and at when it knows something to be
	pruneInterval     = time.Minute            // removes units that are gone
	forget            = 15 * time.Minute       // forgets what is over, see store.Prune
	slow              = 5 * time.Second        // tries again, at most so long after, what cannot be begun
)

// errSuperseded ends work whose reason is over.
var errSuperseded = errors.New("what it was for is over")

// leader is a unit that acts, for as long as its term lasts.
type leader struct {
	*Daemon
	store   *store.Leader
	working sync.WaitGroup
	mu      sync.Mutex
	busy    map[string]context.CancelCauseFunc // by pet
	past    historyCache
	wake    time.Time                // when something is due, if nothing happens before; zero is never
	alerts  []store.Alert            // that are on
	waits   map[string]time.Duration // by pet: the last pause before a try
}

// runAsLeader is what the unit does while it may: it carries on with the runs that it finds, makes
// runs of orders, and does what is due by the calendar. Each pet has one run at a time.
func (d *Daemon) runAsLeader(ctx context.Context, a *store.Leader) error {
	w := &leader{Daemon: d, store: a, busy: map[string]context.CancelCauseFunc{}, waits: map[string]time.Duration{}}
	defer w.working.Wait()
	d.prepare()
	if d.limiter == nil {
		d.limiter = drain.NewMoveLimiter(drain.DefaultMaxMoves, drain.DefaultStartSpacing)
	}
	var err error
	if w.alerts, err = a.Alerts(ctx); err != nil && ctx.Err() == nil {
		d.Log("%s", err)
	}
	var tidied, forgot, looked time.Time
	gone := orphanNodes{}
	poked := false
	for ctx.Err() == nil {
		if err := w.dispatch(ctx); ctx.Err() == nil {
			d.notes.Error("round", err)
		}
		// Once for each wake: what it was for may not be over at once.
		due := looked.Before(w.wake) && !time.Now().Before(w.wake)
		if poked || due || time.Since(looked) >= evaluateInterval {
			looked = time.Now()
			list, err := w.schedule(ctx)
			if ctx.Err() == nil {
				w.alert(ctx, list, err)
			}
		}
		if time.Since(tidied) > pruneInterval {
			tidied = time.Now()
			err := gone.removeOrphans(ctx, d, tidied)
			if tidied.Sub(forgot) > forget {
				forgot = tidied
				err = errors.Join(err, a.Prune(ctx, tidied), w.forgetWindows(ctx, tidied))
			}
			if ctx.Err() == nil {
				d.notes.Error("tidy", err)
			}
		}
		poked = false
		select {
		case <-ctx.Done():
		case <-d.triggers:
			poked = true
		case <-time.After(orderPollInterval):
		}
	}
	return nil
}

// forgetWindows removes the windows that an action added and that are over for good, when they
// have been so for as long as the store keeps what is over.
func (w *leader) forgetWindows(ctx context.Context, now time.Time) error {
	h, err := w.desired.of(ctx, w.store.Store)
	if err != nil {
		return err
	}
	var problems error
	for _, added := range h.Intents.Windows {
		zone := time.UTC
		if pet := h.pet(added.Pet); pet != nil {
			zone = pet.Zone
		}
		windows, err := calendar.ParseWindow(added.Spec, zone)
		if err != nil {
			continue // another version of the charm may read it
		}
		alone := calendar.Pet{Name: added.Pet, Zone: zone, Windows: windows}
		if _, comes := alone.Span(now.Add(-store.Keep)); !comes {
			problems = errors.Join(problems, w.store.RemoveWindow(ctx, added.ID))
		}
	}
	return problems
}

// work has f done for a pet, unless something is being done for it.
func (w *leader) work(ctx context.Context, pet string, f func(ctx context.Context) error) {
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
		err := f(ctx)
		var wait time.Duration
		if err != nil && ctx.Err() == nil {
			w.notes.Note("run of "+pet, pet+": "+err.Error())
			w.mu.Lock()
			wait = min(max(orderPollInterval, 2*w.waits[pet]), slow)
			w.mu.Unlock()
			pause(ctx, wait) // before it is tried again
		} else if err == nil {
			w.notes.Note("run of "+pet, "")
			w.notes.Note("carry on "+pet, "")
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.waits[pet] = wait
		delete(w.busy, pet)
		w.past.invalidate(pet)
		w.trigger()
	}()
}

// stop ends what is being done for a pet.
func (w *leader) stop(pet string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if cancel := w.busy[pet]; cancel != nil {
		cancel(errSuperseded)
	}
}

// dispatch starts what there is to do of what was begun or ordered.
func (w *leader) dispatch(ctx context.Context) error {
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
				h, err := w.desired.of(ctx, w.store.Store)
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

// schedule starts what is due by the calendar, and takes back what no longer is. It returns
// the pets as it saw them, also beside an error that is about none of them; nil when it did not
// see them.
func (w *leader) schedule(ctx context.Context) ([]due, error) {
	if err := clockError(w.now()); err != nil {
		return nil, err
	}
	config, known, err := control.ReadConfig(w.Dir)
	if err != nil {
		return nil, err
	}
	h, err := w.desired.of(ctx, w.store.Store)
	if err != nil {
		return nil, err
	}
	var bad error
	if known && h.Pets != config.Pets {
		if _, err := calendar.Parse([]byte(config.Pets)); err != nil {
			bad = fmt.Errorf("cannot take the pets of this unit's configuration, the old ones stay in force: %w", err)
		} else if err := w.store.SetPets(ctx, config.Pets); err != nil {
			return nil, err
		} else {
			w.Log("the set of pets has changed")
		}
	}
	list, h, err := w.evaluate(ctx, w.store.Store, &w.past)
	if err != nil {
		return nil, err
	}
	if list == nil {
		list = []due{}
	}
	w.wake = time.Time{}
	for _, due := range list {
		w.applyDecision(ctx, due, h)
		if !due.RequeueAt.IsZero() && (w.wake.IsZero() || due.RequeueAt.Before(w.wake)) {
			w.wake = due.RequeueAt
		}
	}
	return list, bad
}

// applyDecision does what is due for a pet. What an operator ordered comes to its end first.
func (w *leader) applyDecision(ctx context.Context, due due, h *desiredState) {
	run := store.Run{ID: rand.Text(), Pet: due.pet.Name, Member: due.pet.Member, Calendar: true, Why: due.Why}
	switch due.Do {
	case decide.Drain:
		run.Kind, run.Window = store.Drain, due.For
	case decide.Undrain:
		run.Kind = store.Undrain
	}
	if open := due.past.open; open != nil {
		against := open.Kind != run.Kind
		if due.Do == decide.KeepDrained && open.Kind == store.Drain || due.Do == decide.Share && open.Kind == store.Undrain {
			against = false // it comes to its end just now
		}
		if due.Do == decide.Wait && due.facts.Hold == nil {
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

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

package daemon

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/scheduler/calendar"
	"github.com/dcib/dcib/internal/scheduler/decide"
	"github.com/dcib/dcib/internal/scheduler/store"
)

// maxDays is how far a plan may look.
const maxDays = 400

// handlePets are the calls about pets; each is answered by whichever unit is asked.
func (d *Daemon) handlePets(handle func(string, func(*http.Request, *store.Store) (any, error))) {
	handle("GET /1/pets", func(r *http.Request, s *store.Store) (any, error) {
		list, h, err := d.evaluate(r.Context(), s, &historyCache{})
		pets := []control.Pet{}
		for _, due := range list {
			pets = append(pets, show(due, h))
		}
		return pets, err
	})
	handle("GET /1/pets/{name}", func(r *http.Request, s *store.Store) (any, error) {
		pet, _, err := d.find(r.Context(), s, r.PathValue("name"))
		if err != nil {
			return nil, err
		}
		return control.Pet{Name: pet.Name, Member: pet.Member, Zone: pet.Zone.String()}, nil
	})
	handle("GET /1/plan", func(r *http.Request, s *store.Store) (any, error) {
		days, err := strconv.Atoi(cmp.Or(r.URL.Query().Get("days"), "7"))
		if err != nil || days < 1 || days > maxDays {
			return nil, badRequest{fmt.Errorf("cannot plan: days is %q: expected a number from 1 to %d", r.URL.Query().Get("days"), maxDays)}
		}
		name := r.URL.Query().Get("pet")
		if name != "" {
			pet, _, err := d.find(r.Context(), s, name)
			if err != nil {
				return nil, err
			}
			name = pet.Name
		}
		list, _, err := d.evaluate(r.Context(), s, &historyCache{})
		plan := []control.Stretch{}
		now := time.Now()
		for _, due := range list {
			if name != "" && due.pet.Name != name {
				continue
			}
			if err := checkPlanDays(due.pet, days); err != nil {
				return nil, err
			}
			zone := due.pet.Zone
			for _, span := range due.pet.Between(now, now.AddDate(0, 0, days)) {
				plan = append(plan, control.Stretch{
					Pet: due.pet.Name, Begin: span.EmptyBy.Add(-due.facts.Lead).In(zone), EmptyBy: span.EmptyBy.In(zone),
					Start: span.Start.In(zone), End: span.End.In(zone), Windows: span.Windows,
					Lead: control.Duration(due.facts.Lead), LeadWhy: due.facts.LeadWhy,
				})
			}
		}
		return plan, err
	})
	handle("POST /1/windows", func(r *http.Request, s *store.Store) (any, error) {
		var w control.Window
		pet, _, err := d.body(r, s, &w, func() string { return w.Pet })
		if err != nil {
			return nil, err
		}
		windows, err := calendar.ParseWindow(w.Window, pet.Zone)
		if err != nil {
			return nil, badRequest{fmt.Errorf("cannot add a window to %s: %w", pet.Name, err)}
		}
		if len(windows) == 0 {
			return nil, badRequest{fmt.Errorf("cannot add a window to %s: no event of the calendar takes time", pet.Name)}
		}
		w.Pet, w.ID = pet.Name, cmp.Or(w.ID, rand.Text()[:8])
		err = s.AddWindow(r.Context(), store.Window{ID: w.ID, Pet: w.Pet, Spec: w.Window, By: w.By})
		return w, d.changed(err)
	})
	handle("DELETE /1/windows/{id}", func(r *http.Request, s *store.Store) (any, error) {
		id := r.PathValue("id")
		h, err := d.desired.of(r.Context(), s)
		if err != nil {
			return nil, err
		}
		for _, w := range h.Intents.Windows {
			if w.ID == id {
				return control.Window{ID: id, Pet: w.Pet, Window: w.Spec}, d.changed(s.RemoveWindow(r.Context(), id))
			}
		}
		return nil, fmt.Errorf("cannot remove window %q: no action added one of that id, see list-pets; what stands in option pets is removed there: %w", id, store.ErrNotFound)
	})
	handle("POST /1/skips", func(r *http.Request, s *store.Store) (any, error) {
		var k control.Skip
		pet, _, err := d.body(r, s, &k, func() string { return k.Pet })
		if err != nil {
			return nil, err
		}
		skip, span, ok := pet.SkipNext(time.Now())
		if !ok {
			return nil, badRequest{fmt.Errorf("cannot skip: %s has no window to come", pet.Name)}
		}
		err = s.AddSkip(r.Context(), store.Skip{Pet: pet.Name, Start: skip.From, Until: skip.To, By: k.By})
		return control.Skip{Pet: pet.Name, Start: span.Start.In(pet.Zone), End: span.End.In(pet.Zone)}, d.changed(err)
	})
	handle("POST /1/holds", func(r *http.Request, s *store.Store) (any, error) {
		var q control.Hold
		pet, _, err := d.body(r, s, &q, func() string { return q.Pet })
		if err != nil {
			return nil, err
		}
		switch want := decide.HoldState(q.State); {
		case want != decide.HoldReserved && want != decide.HoldShared && want != decide.HoldPaused:
			return nil, badRequest{fmt.Errorf("cannot hold %s: state is %q: expected reserved, shared or paused", pet.Name, q.State)}
		case !q.Until.IsZero() && !q.Until.After(time.Now()):
			return nil, badRequest{fmt.Errorf("cannot hold %s: until %s is over", pet.Name, q.Until.Format(time.RFC3339))}
		}
		q.Pet = pet.Name
		return q, d.changed(s.SetHold(r.Context(), store.Hold{Pet: q.Pet, State: q.State, Until: q.Until, Why: q.Why, By: q.By}))
	})
	handle("DELETE /1/holds/{pet}", func(r *http.Request, s *store.Store) (any, error) {
		pet, _, err := d.find(r.Context(), s, r.PathValue("pet"))
		if err != nil {
			return nil, err
		}
		return control.Hold{Pet: pet.Name}, d.changed(s.Release(r.Context(), pet.Name))
	})
}

// body reads a request about a pet.
func (d *Daemon) body(r *http.Request, s *store.Store, into any, name func() string) (*calendar.Pet, *desiredState, error) {
	if err := json.NewDecoder(io.LimitReader(r.Body, 2*calendar.MaxBytes)).Decode(into); err != nil {
		return nil, nil, badRequest{fmt.Errorf("cannot read the request: %w", err)}
	}
	return d.find(r.Context(), s, name())
}

func (d *Daemon) find(ctx context.Context, s *store.Store, name string) (*calendar.Pet, *desiredState, error) {
	h, err := d.desired.of(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	pet, err := h.named(name)
	return pet, h, err
}

// changed has this unit, if it acts, look again at once; the others see it soon.
func (d *Daemon) changed(err error) error {
	d.trigger()
	return err
}

// resolvePetAndHold makes a pet's name of its member's, and returns what has the pet stay as it is
// asked for: a pet that would not be so by its calendar is held.
func (d *Daemon) resolvePetAndHold(ctx context.Context, s *store.Store, q *control.Request) (stay func() error, err error) {
	nothing := func() error { return nil }
	pet, h, err := d.find(ctx, s, q.Pet)
	if errors.Is(err, store.ErrNotFound) {
		return nothing, nil // any member can be drained
	}
	if err != nil {
		return nil, err
	}
	q.Pet = pet.Name
	if !q.Stay {
		return nothing, nil
	}
	list, _, err := d.evaluate(ctx, s, &historyCache{})
	if err != nil {
		return nil, err
	}
	for _, due := range list {
		if due.pet.Name != pet.Name {
			continue
		}
		f := due.facts
		f.Hold, f.Drain, f.State, f.For = nil, decide.Failure{}, decide.Shared, time.Time{}
		own := decide.Decide(f, decide.Defaults()).Do == decide.Drain
		hold := store.Hold{Pet: pet.Name, Why: q.Why, By: "action " + string(q.Kind)}
		switch {
		case own == (q.Kind == store.Drain) && h.hold(pet.Name, time.Now()) == nil:
			return nothing, nil
		case own == (q.Kind == store.Drain):
			return func() error { return d.changed(s.Release(ctx, pet.Name)) }, nil
		case own:
			hold.State, hold.Until = string(decide.HoldShared), f.Window.End
		default:
			hold.State = string(decide.HoldReserved)
		}
		return func() error { return d.changed(s.SetHold(ctx, hold)) }, nil
	}
	return nothing, nil
}

func show(due due, h *desiredState) control.Pet {
	f := due.facts
	p := control.Pet{
		Name: due.pet.Name, Member: due.pet.Member, Zone: due.pet.Zone.String(),
		State: string(f.State), Why: due.Why, Alert: due.Alert, AlertKind: string(due.Kind),
		EmptyBy: f.Window.EmptyBy, Start: f.Window.Start, End: f.Window.End, Lead: control.Duration(f.Lead), LeadWhy: f.LeadWhy,
	}
	if !f.Window.EmptyBy.IsZero() {
		p.Begin = f.Window.EmptyBy.Add(-f.Lead)
	}
	if hold := h.hold(p.Name, f.Now); hold != nil {
		p.Hold = &control.Hold{Pet: p.Name, State: hold.State, Until: hold.Until, Why: hold.Why, By: hold.By}
	}
	for _, w := range h.Intents.Windows {
		if w.Pet == p.Name {
			p.Windows = append(p.Windows, control.Window{ID: w.ID, Pet: w.Pet, Window: w.Spec, By: w.By})
		}
	}
	return p
}

// checkPlanDays refuses a plan of a pet for so many days where that would take the daemon long.
func checkPlanDays(pet *calendar.Pet, days int) error {
	if most := pet.MaxDays(); days > most {
		return badRequest{fmt.Errorf("cannot plan: days is %d: expected at most %d, since the windows of pet %s start very often", days, most, pet.Name)}
	}
	return nil
}

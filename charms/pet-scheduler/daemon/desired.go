package daemon

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/scheduler/calendar"
	"github.com/dcib/dcib/internal/scheduler/decide"
	"github.com/dcib/dcib/internal/scheduler/leadtime"
	"github.com/dcib/dcib/internal/scheduler/store"
)

// desiredState is the pets in force: the accepted set, with what actions added to it.
type desiredState struct {
	store.Intents
	pets []*calendar.Pet
}

// desiredStateCache remembers the last one: reading a set takes longer than asking for it.
type desiredStateCache struct {
	mu   sync.Mutex
	last *desiredState
}

func (k *desiredStateCache) of(ctx context.Context, s *store.Store) (*desiredState, error) {
	intents, err := s.Intents(ctx)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last != nil && reflect.DeepEqual(k.last.Intents, intents) {
		return k.last, nil
	}
	h := &desiredState{Intents: intents}
	if h.pets, err = calendar.Parse([]byte(intents.Pets)); err != nil {
		return nil, fmt.Errorf("cannot read the accepted pets: %w", err)
	}
	for _, p := range h.pets {
		for _, w := range intents.Windows {
			if w.Pet != p.Name {
				continue
			}
			// One that cannot be read any more was written by another version.
			if added, err := calendar.ParseWindow(w.Spec, p.Zone); err == nil {
				p.Windows = append(p.Windows, added...)
			}
		}
		for _, k := range intents.Skips {
			if k.Pet != p.Name {
				continue
			}
			until := k.Until
			if until.IsZero() {
				until = k.Start.Add(time.Millisecond)
			}
			p.Skips = append(p.Skips, calendar.Skip{From: k.Start, To: until})
		}
	}
	k.last = h
	return h, nil
}

// pet finds a pet by its name, or by its member's; nil when there is none.
func (h *desiredState) pet(name string) *calendar.Pet {
	for _, p := range h.pets {
		if p.Name == name {
			return p
		}
	}
	for _, p := range h.pets {
		if p.Member == name {
			return p
		}
	}
	return nil
}

// named finds a pet, or states that there is none.
func (h *desiredState) named(name string) (*calendar.Pet, error) {
	if p := h.pet(name); p != nil {
		return p, nil
	}
	names := make([]string, len(h.pets))
	for i, p := range h.pets {
		names[i] = p.Name
	}
	return nil, fmt.Errorf("cannot find pet %q: the pets are: %s: %w", name, strings.Join(names, ", "), store.ErrNotFound)
}

func (h *desiredState) hold(pet string, now time.Time) *store.Hold {
	for i := range h.Holds {
		if hold := &h.Holds[i]; hold.Pet == pet && (hold.Until.IsZero() || now.Before(hold.Until)) {
			return hold
		}
	}
	return nil
}

// defaultDrainDuration is how long a pet is taken to be away whose drain does not say until when.
const defaultDrainDuration = 24 * time.Hour

// upcomingDrains returns the members that have to be empty, or whose drain may begin so much before that,
// before what a run moves is back; and when they have to.
func (h *desiredState) upcomingDrains(run store.Run, now time.Time, lead time.Duration) map[string]time.Time {
	back := now.Add(defaultDrainDuration)
	if pet := h.pet(run.Pet); pet != nil && !run.Window.IsZero() {
		if span, ok := pet.Span(run.Window); ok {
			back = span.End
		}
	}
	until := map[string]time.Time{}
	for _, p := range h.pets {
		if span, ok := p.Span(now); ok && span.EmptyBy.Add(-lead).Before(back) {
			until[p.Member] = span.EmptyBy
		}
	}
	return until
}

// runHistory is what the journal reports of a pet: its runs that are over, the latest first, and
// the one that is under way.
type runHistory struct {
	ended []store.Run
	open  *store.Run
}

// remembered is how many runs of a pet are looked at: all that the store keeps.
const remembered = 2 * (store.KeepRuns + store.KeepDrains)

func (p runHistory) latest() *store.Run {
	switch {
	case p.open != nil:
		return p.open
	case len(p.ended) > 0:
		return &p.ended[0]
	}
	return nil
}

// drains are those that came to their end, in order. Failed tries for the same window count
// as part of it.
func (p runHistory) drains() []leadtime.Drain {
	var drains []leadtime.Drain
	var began time.Time
	var tried time.Time // window of the tries since began
	for _, r := range slices.Backward(p.ended) {
		if r.Kind != store.Drain {
			began = time.Time{}
			continue
		}
		if began.IsZero() || !tried.Equal(r.Window) {
			began, tried = r.Started, r.Window
		}
		if r.State == store.Done {
			drains = append(drains, leadtime.Drain{Took: r.Ended.Sub(began), Instances: r.Instances})
			began = time.Time{}
		}
	}
	return drains
}

// failures counts the tries of a kind that failed since the last one that did not, for what
// counts says are to be counted.
func (p runHistory) failures(kind store.Kind, counts func(store.Run) bool) (f decide.Failure) {
	for _, r := range p.ended {
		if r.Kind != kind || r.State == store.Cancelled {
			continue
		}
		if r.State != store.Failed || !counts(r) {
			break
		}
		if f.Count++; f.Count == 1 {
			f.Last, f.Error = r.Ended, r.Note
		}
	}
	return f
}

// stateOf reports how a pet is, by what LXD says and what the journal says.
func stateOf(view drain.View, pet *calendar.Pet, p runHistory, window time.Time) decide.State {
	member, _ := view.Member(pet.Member)
	record, recorded := view.Records[pet.Member]
	latest := p.latest()
	// What an action did without this store, or for a pet that was none, stays.
	ours := latest != nil && (latest.Kind == store.Drain || latest.State != store.Done)
	switch {
	case !recorded && member.Status == drain.Evacuated:
		return decide.Foreign
	case !recorded && p.open != nil && p.open.Kind == store.Drain:
		return decide.Draining
	case !recorded:
		return decide.Shared
	case !ours:
		return decide.Foreign
	case record.Phase == drain.Returning:
		return decide.Returning
	case record.Phase == drain.Draining:
		return decide.Draining
	case member.Status == drain.Evacuated:
		return decide.Drained
	case latest.Window.Equal(window):
		return decide.Foreign // an operator restored it by hand: for this window it is theirs
	}
	return decide.Shared
}

// instances counts what is on a pet or would come back to it.
func instances(view drain.View, member string) int {
	n := 0
	for _, i := range view.Instances {
		if i.Member == member {
			n++
		}
	}
	for _, e := range view.Records[member].Entries {
		if e.To != "" && e.To != member {
			n++
		}
	}
	return n
}

// rules are what an operator set for all pets.
type rules struct {
	lead     leadtime.Options
	schedule decide.Options
}

func rulesOf(c control.Config) rules {
	r := rules{leadtime.Defaults(), decide.Defaults()}
	if c.LeadMin > 0 {
		r.lead.Min = c.LeadMin
	}
	if c.LeadMax > 0 {
		r.lead.Max = c.LeadMax
	}
	r.schedule.KeepFailed = c.KeepFailed
	return r
}

// factsOf gathers what is decided on.
func (h *desiredState) factsOf(pet *calendar.Pet, view drain.View, p runHistory, r rules, now time.Time) decide.Facts {
	f := decide.Facts{Now: now.In(pet.Zone), MinShare: pet.MinShare}
	if span, ok := pet.Span(now); ok {
		f.Window = decide.Window{EmptyBy: span.EmptyBy.In(pet.Zone), Start: span.Start.In(pet.Zone), End: span.End.In(pet.Zone)}
	}
	f.State = stateOf(view, pet, p, f.Window.Start)
	for _, kept := range view.KeptRunning(pet.Member) {
		f.Kept = append(f.Kept, kept.String())
	}
	member, _ := view.Member(pet.Member)
	f.Restored = member.Status == drain.Online
	for _, i := range view.Instances {
		if i.Member == pet.Member && i.Running {
			f.Running = append(f.Running, i.Ref.String())
		}
	}
	l := leadtime.Of(p.drains(), instances(view, pet.Member), r.lead)
	f.Lead, f.LeadWhy = l.Time, l.Why
	if latest := p.latest(); latest != nil && latest.Kind == store.Drain {
		f.For = latest.Window
	} else {
		for _, run := range p.ended {
			if run.Kind == store.Drain {
				f.For = run.Window
				break
			}
		}
	}
	var held time.Time
	if hold := h.hold(pet.Name, now); hold != nil {
		held = hold.At
		f.Hold = &decide.Hold{State: decide.HoldState(hold.State), By: hold.By}
		if !hold.Until.IsZero() {
			f.Hold.Until = hold.Until.In(pet.Zone)
		}
	}
	if f.Hold == nil || f.Hold.State != decide.HoldReserved {
		f.FailedFor = f.Window.Start
	}
	f.Drain = p.failures(store.Drain, func(run store.Run) bool {
		return run.Calendar && run.Window.Equal(f.FailedFor) && !run.Started.Before(held)
	})
	f.Undrain = p.failures(store.Undrain, func(run store.Run) bool { return run.Calendar })
	return f
}

// due is one pet and what is due for it.
type due struct {
	pet   *calendar.Pet
	past  runHistory
	facts decide.Facts
	decide.Decision
}

// queue makes the leads of those longer that have to wait for the move slots of others.
func queue(list []due, most time.Duration) {
	var needs []leadtime.Need
	var whose []*decide.Facts
	for i := range list {
		f := &list[i].facts
		drains := f.State == decide.Shared || f.State == decide.Draining || f.State == decide.Returning
		if drains && f.Hold == nil && f.Window.EmptyBy.After(f.Now) {
			needs, whose = append(needs, leadtime.Need{By: f.Window.EmptyBy, Lead: f.Lead}), append(whose, f)
		}
	}
	for i, l := range leadtime.Queue(needs, most) {
		if wait := l - whose[i].Lead; wait > 0 {
			whose[i].Lead = l
			whose[i].LeadWhy += fmt.Sprintf("; and %s for others that are due at that time", wait.Round(time.Second))
		}
	}
}

// evaluate decides for all pets, by what k remembers of them and the store reports.
func (d *Daemon) evaluate(ctx context.Context, s *store.Store, k *historyCache) ([]due, *desiredState, error) {
	h, err := d.desired.of(ctx, s)
	if err != nil {
		return nil, h, err
	}
	none, err := h.removedPets(ctx, s)
	if err != nil || len(h.pets)+len(none) == 0 {
		return nil, h, err
	}
	pets := slices.Concat(h.pets, none)
	config, _, err := control.ReadConfig(d.Dir)
	if err != nil {
		return nil, h, err
	}
	// The journal first: what LXD shows is then never older than it.
	open, err := s.OpenRuns(ctx)
	if err != nil {
		return nil, h, err
	}
	list := make([]due, len(pets))
	for i, pet := range pets {
		ended, err := k.of(ctx, pet.Name, func(ctx context.Context, pet string) ([]store.Run, error) {
			return s.History(ctx, pet, remembered)
		})
		if err != nil {
			return nil, h, err
		}
		list[i] = due{pet: pet, past: runHistory{ended: ended}}
		for n := range open {
			if open[n].Pet == pet.Name {
				list[i].past.open = &open[n]
			}
		}
	}
	view, err := d.look(ctx, config)
	if err != nil {
		return nil, h, unseen{err}
	}
	r := rulesOf(config)
	now := time.Now()
	for i := range list {
		list[i].facts = h.factsOf(list[i].pet, view, list[i].past, r, now)
	}
	queue(list, r.lead.Max)
	for i := range list {
		list[i].Decision = decide.Decide(list[i].facts, r.schedule)
	}
	// Of those that are no pets any more only what is still to be given back is of interest.
	return slices.DeleteFunc(list, func(l due) bool {
		return slices.Contains(none, l.pet) && l.facts.State != decide.Drained && l.facts.State != decide.Draining && l.facts.State != decide.Returning
	}), h, nil
}

// removedPets returns those that were pets when their calendar had them drained, and are not in
// the set any more: pets without windows, so that what was taken of them is given back.
func (h *desiredState) removedPets(ctx context.Context, s *store.Store) ([]*calendar.Pet, error) {
	taken, err := s.Taken(ctx)
	if err != nil {
		return nil, err
	}
	var pets []*calendar.Pet
	for _, run := range taken {
		if h.pet(run.Pet) == nil && h.pet(run.Where()) == nil {
			pets = append(pets, &calendar.Pet{Name: run.Pet, Member: run.Where(), Zone: time.UTC})
		}
	}
	return pets, nil
}

// look sees LXD as it is.
func (d *Daemon) look(ctx context.Context, config control.Config) (drain.View, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cluster, err := d.Connect(ctx, config, "", nil)
	if err != nil {
		return drain.View{}, err
	}
	return drain.Observe(ctx, cluster, cluster)
}

package drain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// attempts is how often a member is worked through before what still fails is reported.
const attempts = 3

// Drainer applies plans.
type Drainer struct {
	Cluster Cluster
	Journal Journal
	// By is who drains, for the record: a unit's name.
	By string
	// Before is when it has to be done: of several Drainers on the same Lanes the one that is
	// due first goes first. Zero is that nobody said, and after all others.
	Before time.Time
	// Now gives the time; nil is time.Now.
	Now func() time.Time
	// Progress gets a line for each thing done; nil drops them.
	Progress func(format string, args ...any)
	// Lanes are what instances are moved on, before LXD's evacuation, which moves one after
	// another; nil leaves them to that.
	Lanes *Lanes
	// Apart is how far apart instances are expected to set out on them, see ApartBy; zero is not known.
	Apart time.Duration

	inherited  bool      // somebody was at it before: LXD may still do what that one asked for
	processors int       // of the member; 0 is not known
	reached    *sync.Map // ways from member to member that LXD was seen to have, in this pass
}

// job is something to do about one instance.
type job struct {
	Ref
	do func(Drainer) error
}

// all does the jobs, as many at a time as there are lanes, and keeps what came of each.
func (d Drainer) all(ctx context.Context, jobs []job, because map[Ref]error) {
	var mu sync.Mutex
	quiet := d
	quiet.reached = &sync.Map{}
	quiet.Progress = func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		d.say(format, args...)
	}
	if quiet.Lanes == nil {
		quiet.Lanes = NewLanes(1, 0)
	}
	var working sync.WaitGroup
	for _, j := range jobs {
		if !quiet.Lanes.enter(ctx, d.by()) {
			break
		}
		working.Go(func() {
			defer quiet.Lanes.leave()
			err := j.do(quiet)
			mu.Lock()
			defer mu.Unlock()
			because[j.Ref] = err
		})
	}
	working.Wait()
}

// by gives by when what is being done has to be done.
func (d Drainer) by() time.Time {
	if d.Before.IsZero() {
		return whenever
	}
	return d.Before
}

// Move is what happened to one instance.
type Move struct {
	Ref
	From, To string
	// State is "running", "stopped", "deleted" or what else there is to say of it.
	State string
}

// String gives the move as a line for an operator.
func (m Move) String() string {
	if m.To == "" || m.From == m.To {
		return fmt.Sprintf("%s: %s (%s)", m.Ref, m.From, m.State)
	}
	return fmt.Sprintf("%s: %s → %s (%s)", m.Ref, m.From, m.To, m.State)
}

// Report is what came of a drain or an undrain. It is filled in also when there is an
// error, as far as things went.
type Report struct {
	Plan  Plan
	Moves []Move
}

// Moved counts the instances that changed their member.
func (r Report) Moved() int {
	n := 0
	for _, m := range r.Moves {
		if m.To != "" && m.From != m.To {
			n++
		}
	}
	return n
}

// Drain empties a member and returns when it was seen empty. It carries on with a drain
// that did not come to its end. With force it does what loses something, see PlanDrain.
// The context bounds it; whatever the error, it can be called again.
func (d Drainer) Drain(ctx context.Context, member string, force bool) (Report, error) {
	return d.drain(ctx, member, Survey, force, "run drain again to carry on, or undrain to bring back what has moved")
}

// drain is Drain, planned from what look sees; advice is what an operator may do next when it
// fails.
func (d Drainer) drain(ctx context.Context, member string, look func(context.Context, Cluster, Journal, string) (View, error), force bool, advice string) (Report, error) {
	if d.Lanes != nil {
		done, err := d.Lanes.empty(ctx, member)
		if err != nil {
			return Report{}, fmt.Errorf("cannot drain %s: instances are on their way there: %w", member, err)
		}
		defer done()
	}
	if err := d.Cluster.Settle(ctx, member); err != nil {
		return Report{}, err
	}
	view, err := look(ctx, d.Cluster, d.Journal, member)
	if err != nil {
		return Report{}, err
	}
	rooms := view.Rooms
	plan := PlanDrain(view, member, force)
	report := Report{Plan: plan}
	if err := plan.Err(); err != nil || plan.Done {
		return report, err
	}
	next := plan.record
	if next.By == "" {
		next.By, next.Since = d.By, d.now()
	}
	next.Run++ // whoever was at it notices at its next write
	d.inherited = next.Run > 1
	record, err := d.write(ctx, member, recorded(view, member), next)
	if err != nil {
		return report, err
	}
	d.processors = d.Cluster.Processors(ctx, member)
	d.Lanes.expect(d.Apart)
	because := map[Ref]error{}
	for attempt := 1; ; attempt++ {
		d.drainOnce(ctx, member, view, record, because)
		d.inherited = true
		if view, record, err = d.track(ctx, member, record); err != nil {
			return report, d.interrupted(ctx, "drain", member, err)
		}
		view.Rooms = rooms
		report.Moves = movedAway(view, member, record)
		doubts := ProveDrained(view, member, record)
		if len(doubts) == 0 {
			break
		}
		if attempt == attempts || ctx.Err() != nil {
			d.wake(ctx, view, member, record)
			return report, d.failed(ctx, "drain", member, doubts, because, advice)
		}
	}
	next = record.clone()
	next.Phase = Drained
	next.reopen() // on an evacuated member LXD places nothing anyway
	_, err = d.write(ctx, member, record, next)
	return report, err
}

// wake starts what was stopped for a move that then failed.
func (d Drainer) wake(ctx context.Context, view View, member string, record *Record) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	for _, e := range record.Entries {
		if i, there := view.find(e); there && i.Member == member && e.Ran && !e.Stays && !i.Running {
			d.say("starting %s, which could not leave, on %s again", i.Ref, member)
			if err := d.Cluster.Start(ctx, i.Ref, member); err != nil {
				d.say("%s", err)
			}
		}
	}
}

// drainOnce does all that there is to do, once, and goes on with the next where one fails.
func (d Drainer) drainOnce(ctx context.Context, member string, view View, record *Record, because map[Ref]error) {
	clear(because)
	if m, _ := view.Member(member); m.Status == Online {
		// LXD's evacuation stops what uses something of the host, or moves it to any member.
		if d.Lanes != nil || slices.ContainsFunc(view.on(member), func(i Instance) bool { return len(i.Uses) > 0 }) {
			if d.Lanes != nil {
				view = d.mark(ctx, member, view, record)
			}
			// Whatever fails here, or came meanwhile, LXD's evacuation moves after it. What
			// stays is LXD's to stop: it then knows that it is meant to run.
			d.all(ctx, d.leaving(ctx, view, member, record, false), because)
			if ctx.Err() != nil {
				return
			}
			clear(because)
		}
		d.say("evacuating %s", member)
		because[Ref{}] = d.Cluster.Evacuate(ctx, member, func(line string) { d.say("%s", line) })
		rooms := view.Rooms
		var err error
		if view, err = Look(ctx, d.Cluster, d.Journal); err != nil {
			because[Ref{}] = errors.Join(because[Ref{}], err)
			return
		}
		view.Rooms = rooms
		if m, _ := view.Member(member); m.Status != Evacuated {
			return // LXD put it back Online, because of the error; all is tried again
		}
	}
	// What LXD's evacuation left undone.
	d.all(ctx, d.leaving(ctx, view, member, record, true), because)
}

// mark sets the origin of all that is to leave a member, as LXD's evacuation would have:
// `lxc cluster restore` then knows it too, should an operator prefer that. It costs LXD a
// tenth of a move, so it is done before the first of them is down. What fails is tried again
// with the move.
func (d Drainer) mark(ctx context.Context, member string, view View, record *Record) View {
	view.Instances = slices.Clone(view.Instances)
	_ = d.origins(ctx, view, member, func(i Instance) bool {
		e := record.entry(i)
		return i.Member == member && i.Origin == "" && e != nil && !e.Stays
	})
	return view
}

// origins sets the origin of those of a view's instances, there too, several at a time. The
// error is the first.
func (d Drainer) origins(ctx context.Context, view View, origin string, of func(Instance) bool) error {
	var setting errgroup.Group
	setting.SetLimit(d.Lanes.count())
	for n := range view.Instances {
		if i := &view.Instances[n]; of(*i) {
			setting.Go(func() error {
				err := d.Cluster.SetOrigin(ctx, i.Ref, origin)
				if err == nil {
					i.Origin = origin
				}
				return err
			})
		}
	}
	return setting.Wait()
}

// leaving lists what there is to do about the instances of a member that is to be empty;
// without stops, not about those that stay.
func (d Drainer) leaving(ctx context.Context, view View, member string, record *Record, stops bool) []job {
	var jobs []job
	add := func(ref Ref, do func(Drainer) error) { jobs = append(jobs, job{ref, do}) }
	coming := map[string]int{} // instances that go to each member
	view.Rooms = maps.Clone(view.Rooms)
	for n := range record.Entries {
		e := &record.Entries[n]
		i, there := view.find(*e)
		switch {
		case !there:
		case i.Member != member && e.Ran && !i.Running && i.Origin != "" && (e.To == "" || e.To == i.Member):
			add(i.Ref, func(d Drainer) error {
				d.say("starting %s on %s", i.Ref, i.Member)
				return d.Cluster.Start(ctx, i.Ref, i.Member)
			})
		case i.Member == member && e.Stays && i.Running && stops:
			add(i.Ref, func(d Drainer) error {
				d.say("stopping %s, which cannot move", i.Ref)
				return d.Cluster.Stop(ctx, i.Ref)
			})
		case i.Member == member && !e.Stays && !stops && d.Lanes == nil && len(i.Uses) == 0:
			// LXD's evacuation moves it.
		case i.Member == member && !e.Stays:
			i.Needs = i.Needs.of(e.Ran)
			hosts := view.hosts(member, i, coming)
			if len(hosts) == 0 {
				add(i.Ref, func(Drainer) error { return homeless(view, i) })
				break
			}
			to, start := hosts[0].Name, e.Ran
			coming[to]++
			if room, known := view.Rooms[to]; known {
				view.Rooms[to] = room.with(i.Needs)
			}
			add(i.Ref, func(d Drainer) error {
				to, err := d.host(ctx, view, member, i, to)
				if err != nil {
					return err
				}
				defer d.Lanes.unbind(to)
				return d.moveAway(ctx, member, i, to, start)
			})
		}
	}
	return jobs
}

// homeless says that no member can have an instance.
func homeless(view View, i Instance) error {
	return fmt.Errorf("cannot move %s: %s", i.Ref, view.homeless(i))
}

// host gives the member that an instance sets out for now: the one that was planned, unless
// that does not take any more, is being emptied too, or cannot be reached. It is bound for there.
func (d Drainer) host(ctx context.Context, view View, member string, i Instance, planned string) (string, error) {
	tried := map[string]bool{}
	var unreachable error
	for to := planned; to != ""; {
		tried[to] = true
		if d.Lanes.bind(to) {
			// Asked once it is bound: a drain of that one may have begun and ended before.
			members, err := d.Cluster.Members(ctx)
			view.Members = members
			if err == nil && slices.ContainsFunc(view.hosts(member, i, nil), func(m Member) bool { return m.Name == to }) {
				if unreachable = d.reach(ctx, member, to); unreachable == nil {
					return to, nil
				}
				d.say("%s", unreachable)
			}
			d.Lanes.unbind(to)
			if err != nil {
				return "", err
			}
		}
		to = ""
		for _, m := range view.hosts(member, i, nil) {
			if !tried[m.Name] {
				to = m.Name
				break
			}
		}
	}
	return "", cmp.Or(unreachable, homeless(view, i))
}

// reach is Cluster.Reach, asked once for each way: LXD makes a connection for it, which costs it
// as much as a fiftieth of a move.
func (d Drainer) reach(ctx context.Context, from, to string) error {
	way := [2]string{from, to}
	if _, seen := d.reached.Load(way); seen {
		return nil
	}
	err := d.Cluster.Reach(ctx, from, to)
	if err == nil {
		d.reached.Store(way, true)
	}
	return err
}

// moveAway moves one instance as LXD's evacuation would have.
func (d Drainer) moveAway(ctx context.Context, member string, i Instance, to string, start bool) error {
	if i.Origin == "" {
		if err := d.Cluster.SetOrigin(ctx, i.Ref, member); err != nil {
			return err
		}
	}
	return d.move(ctx, i, to, start)
}

// move takes an instance to a member, and starts it there if it has to run.
func (d Drainer) move(ctx context.Context, i Instance, to string, start bool) error {
	d.say("moving %s from %s to %s", i.Ref, i.Member, to)
	at, live, shuts := i.Member, i.Running && i.Live, i.Running && !i.Live
	var err error
	if d.inherited || !shuts {
		// LXD goes on with a move whose client is gone; where it puts the instance is good.
		if at, err = d.Cluster.Landed(ctx, i.Ref); err != nil {
			return err
		}
	}
	if shuts && start && at == i.Member {
		err := d.relocate(ctx, i.Ref, to)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !errors.Is(err, ErrInSteps) {
			d.say("%s: what is left is done step by step", err)
			if at, err = d.Cluster.Landed(ctx, i.Ref); err != nil {
				return err
			}
		}
	}
	stops := time.Now()
	if shuts && at == i.Member {
		if err := d.Cluster.Stop(ctx, i.Ref); err != nil {
			return err
		}
	}
	moves := time.Now()
	if at == i.Member {
		if err := d.Cluster.Move(ctx, i.Ref, to, live); err != nil {
			return err
		}
		at = to
	}
	if start && !live {
		if err := d.Cluster.Start(ctx, i.Ref, at); err != nil {
			return err
		}
	}
	d.Lanes.took(moves.Sub(stops), time.Since(moves), d.processors)
	return nil
}

// relocate moves an instance in one.
func (d Drainer) relocate(ctx context.Context, ref Ref, to string) error {
	began := time.Now()
	moved, err := d.Cluster.Relocate(ctx, ref, to)
	if all := time.Since(began); err == nil && 0 < moved && moved <= all {
		d.Lanes.took(all-moved, moved, d.processors)
	}
	return err
}

// track looks again and writes down where things have got to.
func (d Drainer) track(ctx context.Context, member string, record *Record) (View, *Record, error) {
	view, err := Look(ctx, d.Cluster, d.Journal)
	if err != nil {
		return view, record, err
	}
	next := record.clone()
	next.track(view, member)
	for _, i := range view.on(member) {
		if next.entry(i) == nil {
			// It came while the member was being emptied.
			next.Entries = append(next.Entries, Entry{Ref: i.Ref, ID: i.ID, Ran: i.Running})
		}
	}
	after, err := d.write(ctx, member, record, next)
	if err != nil {
		return view, record, err
	}
	return view, after, nil
}

// Undrain brings back what a drain moved and returns when it was seen back. It carries on
// with an undrain that did not come to its end, and undoes a drain that did not.
func (d Drainer) Undrain(ctx context.Context, member string) (Report, error) {
	if err := d.Cluster.Settle(ctx, member); err != nil {
		return Report{}, err
	}
	view, err := Look(ctx, d.Cluster, d.Journal)
	if err != nil {
		return Report{}, err
	}
	plan := PlanUndrain(view, member)
	report := Report{Plan: plan}
	if err := plan.Err(); err != nil || plan.Done {
		return report, err
	}
	// First what is to run again is written down: from here on it may be stopped.
	plan.record.Run++
	was := recorded(view, member)
	d.inherited = was.Phase != Drained
	record, err := d.write(ctx, member, was, plan.record)
	if err != nil {
		return report, err
	}
	d.processors = d.Cluster.Processors(ctx, member)
	d.Lanes.expect(d.Apart)
	before := view
	because := map[Ref]error{}
	for attempt := 1; ; attempt++ {
		d.undrainOnce(ctx, member, view, record, because)
		d.inherited = true
		if view, err = Look(ctx, d.Cluster, d.Journal); err != nil {
			return report, d.interrupted(ctx, "undrain", member, err)
		}
		report.Moves = movedBack(before, view, member, record)
		doubts := ProveUndrained(view, member, record)
		if len(doubts) == 0 {
			break
		}
		if attempt == attempts || ctx.Err() != nil {
			return report, d.failed(ctx, "undrain", member, doubts, because, "run undrain again to carry on")
		}
	}
	_, err = d.write(ctx, member, record, nil)
	return report, err
}

// undrainOnce does all that there is to do, once, and goes on with the next where one
// fails.
func (d Drainer) undrainOnce(ctx context.Context, member string, view View, record *Record, because map[Ref]error) {
	clear(because)
	m, _ := view.Member(member)
	// LXD's restore brings back whatever names this member as its origin: also what an operator
	// has since put elsewhere, one at a time, and it gives up at the first that fails. So
	// nothing names it, and the moves are made here. What was here all the time names it only
	// when a drain did not come to its end.
	because[Ref{}] = d.origins(ctx, view, "", func(i Instance) bool {
		return i.Origin == member && (record.entry(i) != nil || m.Status == Evacuated && i.Member != member)
	})
	if because[Ref{}] != nil {
		return
	}
	if m.Status == Evacuated {
		d.say("restoring %s", member)
		if err := d.Cluster.Restore(ctx, member, func(line string) { d.say("%s", line) }); err != nil {
			because[Ref{}] = err
			return
		}
		var err error
		if view, err = Look(ctx, d.Cluster, d.Journal); err != nil {
			because[Ref{}] = err
			return
		}
	}
	var jobs []job
	for n := range record.Entries {
		e := &record.Entries[n]
		i, there := view.find(*e)
		switch {
		case !there || !e.Back:
		case i.Member == member && e.Start && !i.Running:
			jobs = append(jobs, job{i.Ref, func(d Drainer) error {
				d.say("starting %s on %s", i.Ref, member)
				return d.Cluster.Start(ctx, i.Ref, member)
			}})
		case i.Member != member && ours(view, *e, i):
			jobs = append(jobs, job{i.Ref, func(d Drainer) error {
				if err := d.reach(ctx, i.Member, member); err != nil {
					return err
				}
				return d.move(ctx, i, member, e.Start)
			}})
		}
	}
	d.all(ctx, jobs, because)
}

// recorded gives the member's record as it was seen; nil when there is none.
func recorded(view View, member string) *Record {
	if r, ok := view.Records[member]; ok {
		return &r
	}
	return nil
}

// write replaces the member's record and gives what stands there now. It fails when
// somebody else has replaced before.
func (d Drainer) write(ctx context.Context, member string, before, after *Record) (*Record, error) {
	if before != nil && after != nil && before.Encode() == after.Encode() {
		return after, nil
	}
	err := d.Journal.Write(ctx, member, before, after)
	if errors.Is(err, ErrConflict) {
		err = fmt.Errorf("cannot go on with %s: another action works on it too: wait for that one: %w", member, err)
	}
	return after, err
}

// failed is the error of a drain or an undrain whose proof has doubts.
func (d Drainer) failed(ctx context.Context, verb, member string, doubts []Doubt, because map[Ref]error, next string) error {
	what := lines(doubts, because)
	if doubts[0].Ref != (Ref{}) && because[Ref{}] != nil {
		what += "\n" + because[Ref{}].Error()
	}
	if ctx.Err() != nil {
		return d.interrupted(ctx, verb, member, errors.New(what))
	}
	return fmt.Errorf("cannot %s %s, tried %d times: %s: %s", verb, member, attempts, next, indent(what))
}

// interrupted says of an error that time ran out, if it did.
func (d Drainer) interrupted(ctx context.Context, verb, member string, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("cannot %s %s in the time given: run %s again, it carries on where it is: %s", verb, member, verb, indent(err.Error()))
	}
	return err
}

func indent(text string) string {
	if !strings.Contains(text, "\n") {
		return text
	}
	return "\n" + text
}

// movedAway tells where a drain's instances are.
func movedAway(view View, member string, record *Record) []Move {
	moves := make([]Move, 0, len(record.Entries))
	for _, e := range record.Entries {
		m := Move{Ref: e.Ref, From: member}
		if i, there := view.find(e); there {
			m.To, m.State = i.Member, state(i)
		} else {
			m.State = "deleted"
		}
		moves = append(moves, m)
	}
	return moves
}

// movedBack tells what an undrain changed.
func movedBack(before, after View, member string, record *Record) []Move {
	moves := make([]Move, 0, len(record.Entries))
	for _, e := range record.Entries {
		m := Move{Ref: e.Ref, From: member}
		if i, there := before.find(e); there {
			m.From = i.Member
		}
		i, there := after.find(e)
		switch {
		case !there:
			m.State = "deleted"
		case i.Member != member && !e.Back:
			m.To, m.State = i.Member, state(i)+", left where somebody moved it"
		default:
			m.To, m.State = i.Member, state(i)
		}
		moves = append(moves, m)
	}
	return moves
}

func state(i Instance) string {
	if i.Running {
		return "running"
	}
	return "stopped"
}

func (d Drainer) now() time.Time {
	if d.Now == nil {
		return time.Now().UTC().Truncate(time.Second)
	}
	return d.Now()
}

func (d Drainer) say(format string, args ...any) {
	if d.Progress != nil {
		d.Progress(format, args...)
	}
}

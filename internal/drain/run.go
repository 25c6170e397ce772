package drain

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
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
	Deadline time.Time
	// Now gives the time; nil is time.Now.
	Now func() time.Time
	// Progress gets a line for each thing done; nil drops them.
	Progress func(format string, args ...any)
	// Lanes are what instances are moved on, before LXD's evacuation, which moves one after
	// another; nil leaves them to that.
	Limiter *MoveLimiter
	// Insist has an undrain move what an earlier one could not, without the pause after that: an
	// operator asks for it.
	RetryNow bool
	// Apart is how far apart instances are expected to set out on them, see ApartBy; zero is not known.
	StartSpacing time.Duration

	// Others has a drain move what it can although some instances may neither move nor be
	// stopped: these run on where they are, the member is not evacuated but takes nothing new, and
	// the drain ends with an error that wraps ErrKept and names them. Else nothing is changed.
	Partial bool

	inherited  bool      // somebody was at it before: LXD may still do what that one asked for
	processors int       // of the member; 0 is not known
	reached    *sync.Map // ways from member to member that LXD was seen to have, in this pass
}

// Drain empties a member and returns when it was seen empty. It carries on with a drain
// that did not come to its end. With force it does what loses something, see PlanDrain.
// The context bounds it; whatever the error, it can be called again.
func (d Drainer) Drain(ctx context.Context, member string, force bool) (Report, error) {
	return d.drain(ctx, member, ObserveWithCapacity, force, "run drain again to carry on, or undrain to bring back what has moved")
}

// drain is Drain, planned from what look sees; advice is what an operator may do next when it
// fails.
func (d Drainer) drain(ctx context.Context, member string, look func(context.Context, Cluster, Journal, string) (View, error), force bool, advice string) (Report, error) {
	if d.Limiter != nil {
		done, err := d.Limiter.blockTarget(ctx, member)
		if err != nil {
			return Report{}, fmt.Errorf("cannot drain %s: instances are on their way there: %w", member, err)
		}
		defer done()
	}
	if err := d.Cluster.WaitIdle(ctx, member); err != nil {
		return Report{}, err
	}
	view, err := look(ctx, d.Cluster, d.Journal, member)
	if err != nil {
		return Report{}, err
	}
	if d.finish(ctx, view, member) {
		if view, err = look(ctx, d.Cluster, d.Journal, member); err != nil {
			return Report{}, err
		}
	}
	rooms := view.Capacities
	plan := PlanDrain(view, member, force)
	report := Report{Plan: plan}
	others := d.Partial && plan.markKept()
	if err := plan.Err(); err != nil && !others || plan.Done {
		return report, err
	}
	d.Partial = others
	next := plan.record
	if next.By == "" {
		next.By, next.Since = d.By, d.now()
	}
	next.Runs++ // whoever was at it notices at its next write
	d.inherited = next.Runs > 1
	record, err := d.write(ctx, member, recordOf(view, member), next)
	if err != nil {
		return report, err
	}
	d.processors = d.Cluster.Processors(ctx, member)
	d.Limiter.setInitialSpacing(d.StartSpacing)
	if others {
		return d.drainOthers(ctx, member, view, record, report)
	}
	because := map[Ref]error{}
	for attempt := 1; ; attempt++ {
		d.drainOnce(ctx, member, view, record, because)
		d.inherited = true
		if view, record, err = d.track(ctx, member, record); err != nil {
			return report, d.interrupted(ctx, "drain", member, err)
		}
		view.Capacities = rooms
		report.Moves = movedAway(view, member, record)
		grouped := d.regroup(ctx, view, member, record)
		doubts := VerifyDrained(view, member, record)
		if len(doubts) == 0 && (grouped || attempt == attempts) {
			break
		}
		if attempt == attempts || ctx.Err() != nil {
			d.wake(ctx, view, record, stoppedOn(member))
			return report, d.failed(ctx, "drain", member, doubts, because, advice)
		}
	}
	next = record.clone()
	next.Phase = Drained
	next.markVerified(view)
	next.uncordon() // on an evacuated member LXD places nothing anyway
	_, err = d.write(ctx, member, record, next)
	return report, err
}

// wake starts what was stopped for a move that then failed, where it is.
func (d Drainer) wake(ctx context.Context, view View, record *Record, stranded func(Entry, Instance) bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	d.wakeHalves(ctx, view, record)
	for _, e := range record.Entries {
		if i, there := view.find(e); there && !i.Running && !i.Unobserved && stranded(e, i) {
			d.say("starting %s, which could not leave, on %s again", i.Ref, i.Member)
			if err := d.start(ctx, e, i, i.Member); err != nil {
				d.say("%s", err)
			}
		}
	}
}

// stuckOn selects what a drain has stopped and could not move away from a member.
func stoppedOn(member string) func(Entry, Instance) bool {
	return func(e Entry, i Instance) bool { return i.Member == member && e.Ran && !e.Stays }
}

// drainOnce does all that there is to do, once, and goes on with the next where one fails.
func (d Drainer) drainOnce(ctx context.Context, member string, view View, record *Record, because map[Ref]error) {
	clear(because)
	if m, _ := view.Member(member); m.Status == Online {
		// LXD's evacuation stops what uses something of the host, or moves it to any member.
		if d.Limiter != nil || slices.ContainsFunc(view.instancesOn(member), func(i Instance) bool { return len(i.HostDevices) > 0 }) {
			if d.Limiter != nil {
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
		rooms := view.Capacities
		var err error
		if view, err = Observe(ctx, d.Cluster, d.Journal); err != nil {
			because[Ref{}] = errors.Join(because[Ref{}], err)
			return
		}
		view.Capacities = rooms
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
		return i.Member == member && i.Origin == "" && e != nil && !e.Stays && !e.KeptRunning
	})
	return view
}

// origins sets the origin of those of a view's instances, there too, several at a time. The
// error is the first.
func (d Drainer) origins(ctx context.Context, view View, origin string, of func(Instance) bool) error {
	var setting errgroup.Group
	setting.SetLimit(d.Limiter.slotCount())
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
	view.Capacities = maps.Clone(view.Capacities)
	for n := range record.Entries {
		e := &record.Entries[n]
		i, there := view.find(*e)
		switch {
		case !there || e.KeptRunning:
		case i.Member != member && e.Ran && !i.Running && i.Origin != "" && (e.To == "" || e.To == i.Member):
			add(i.Ref, func(d Drainer) error {
				d.say("starting %s on %s", i.Ref, i.Member)
				return d.start(ctx, *e, i, i.Member)
			})
		case i.Member != member && e.Frozen && i.Running && !i.Frozen && i.Origin != "" && (e.To == "" || e.To == i.Member):
			add(i.Ref, func(d Drainer) error { return d.Cluster.Freeze(ctx, i.Ref, i.Member) })
		case i.Member == member && e.Stays && i.Running && (stops || i.Ephemeral):
			// LXD's evacuation fails at an ephemeral one: it is gone once it has stopped.
			add(i.Ref, func(d Drainer) error {
				d.say("stopping %s, which cannot move", i.Ref)
				return d.Cluster.Stop(ctx, i.Ref)
			})
		case i.Member == member && !e.Stays && !stops && d.Limiter == nil && len(i.HostDevices) == 0 && !d.Partial:
			// LXD's evacuation moves it.
		case i.Member == member && !e.Stays:
			i.Requirements = view.requirementsOf(i, e.Ran)
			hosts := view.targets(member, i, coming)
			if len(hosts) == 0 {
				add(i.Ref, func(Drainer) error { return errNoTarget(view, i) })
				break
			}
			to, start := hosts[0].Name, e.Ran
			coming[to]++
			if room, known := view.Capacities[to]; known {
				view.Capacities[to] = room.minus(i.Requirements)
			}
			add(i.Ref, func(d Drainer) error {
				to, err := d.host(ctx, view, member, i, to)
				if err != nil {
					return err
				}
				defer d.Limiter.releaseTarget(to)
				return d.moveAway(ctx, member, *e, i, to, start)
			})
		}
	}
	return jobs
}

// track looks again and writes down where things have got to.
func (d Drainer) track(ctx context.Context, member string, record *Record) (View, *Record, error) {
	view, err := Observe(ctx, d.Cluster, d.Journal)
	if err != nil {
		return view, record, err
	}
	next := record.clone()
	next.track(view, member)
	for _, i := range view.instancesOn(member) {
		if next.entry(i) == nil {
			// It came while the member was being emptied.
			e := Entry{Ref: i.Ref, ID: i.ID, Ran: i.Running}
			e.noteVolatile(i)
			next.Entries = append(next.Entries, e)
		}
	}
	after, err := d.write(ctx, member, record, next)
	if err != nil {
		return view, record, err
	}
	return view, after, nil
}

// recorded gives the member's record as it was seen; nil when there is none.
func recordOf(view View, member string) *Record {
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

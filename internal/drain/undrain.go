package drain

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Undrain brings back what a drain moved and returns when it was seen back. It carries on
// with an undrain that did not come to its end, and undoes a drain that did not.
func (d Drainer) Undrain(ctx context.Context, member string) (Report, error) {
	if err := d.Cluster.WaitIdle(ctx, member); err != nil {
		return Report{}, err
	}
	view, err := ObserveForUndrain(ctx, d.Cluster, d.Journal, member)
	if err != nil {
		return Report{}, err
	}
	if d.finish(ctx, view, member) {
		if view, err = ObserveForUndrain(ctx, d.Cluster, d.Journal, member); err != nil {
			return Report{}, err
		}
	}
	if !d.RetryNow {
		view.Now = d.now()
	}
	plan := PlanUndrain(view, member)
	report := Report{Plan: plan}
	if err := plan.Err(); err != nil || plan.Done {
		return report, err
	}
	// First what is to run again is written down: from here on it may be stopped.
	plan.record.Runs++
	was := recordOf(view, member)
	d.inherited = was.Phase != Drained
	record, err := d.write(ctx, member, was, plan.record)
	if err != nil {
		return report, err
	}
	d.processors = d.Cluster.Processors(ctx, member)
	d.Limiter.setInitialSpacing(d.StartSpacing)
	before := view
	because := map[Ref]error{}
	for attempt := 1; ; attempt++ {
		d.undrainOnce(ctx, member, view, record, because)
		d.inherited = true
		if view, err = Observe(ctx, d.Cluster, d.Journal); err != nil {
			return report, d.interrupted(ctx, "undrain", member, err)
		}
		grouped := d.regroup(ctx, view, member, record)
		report.Moves = movedBack(before, view, member, record)
		doubts := VerifyUndrained(view, member, record)
		if len(doubts) == 0 && (grouped || attempt == attempts) {
			break
		}
		if attempt == attempts || ctx.Err() != nil {
			return report, d.giveUp(ctx, member, view, record, doubts, because)
		}
	}
	left := record.postponed(view, member)
	if len(left) == 0 {
		_, err = d.write(ctx, member, record, nil)
		return report, err
	}
	if _, err := d.write(ctx, member, record, record.remainder(view, member)); err != nil {
		return report, err
	}
	return report, fmt.Errorf("cannot bring all back to %s yet: the others are there, run undrain again later: %s", member, indent(joinViolations(left, nil)))
}

// giveUp ends an undrain that has failed. What was stopped for a move that failed runs on where it
// is; for how long it is left alone there is written down. Where a move failed before anything was
// stopped, the next may be tried at once.
func (d Drainer) giveUp(ctx context.Context, member string, view View, record *Record, doubts []Violation, because map[Ref]error) error {
	failure := d.failed(ctx, "undrain", member, doubts, because, "run undrain again to carry on")
	d.wake(ctx, view, record, func(e Entry, i Instance) bool {
		return i.Member != member && e.Returning && e.StartAfter && placedByDrain(view, e, i)
	})
	if ctx.Err() != nil {
		return failure
	}
	next := record.clone()
	for n := range next.Entries {
		e := &next.Entries[n]
		if i, there := view.find(*e); there && i.Member != member && e.postponed == "" && e.StartAfter && !i.Running && !i.Unobserved && because[i.Ref] != nil {
			e.noteFailure(d.now(), because[i.Ref])
		} else if i, half := view.halfMoved(*e); half {
			e.noteFailure(d.now(), errors.New(describeHalfMoved(i)))
		}
	}
	if _, err := d.write(ctx, member, record, next); err != nil {
		return errors.Join(failure, err)
	}
	return failure
}

// remainder is the record with those instances only that have yet to come back.
func (r *Record) remainder(view View, member string) *Record {
	next := r.clone()
	next.Entries = slices.DeleteFunc(next.Entries, func(e Entry) bool {
		i, there := view.find(e)
		if _, half := view.halfMoved(e); half {
			return false
		}
		return !there || i.Member == member || e.postponement(member, i) == ""
	})
	return next
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
		return !i.Unobserved && i.Origin == member && (record.entry(i) != nil || m.Status == Evacuated && i.Member != member)
	})
	if because[Ref{}] != nil {
		return
	}
	if m.Status == Evacuated {
		if err := d.restore(ctx, member, view); err != nil {
			because[Ref{}] = err
			// An LXD that cannot restore while a host does not answer takes instances all the same.
			if !anyUnobserved(view, member) {
				return
			}
		}
		after, err := Observe(ctx, d.Cluster, d.Journal)
		if err != nil {
			because[Ref{}] = errors.Join(because[Ref{}], err)
			return
		}
		view = after
	}
	var jobs []job
	for n := range record.Entries {
		e := &record.Entries[n]
		i, there := view.find(*e)
		switch {
		case !there || !e.Returning || i.Unobserved || e.postponed != "":
		case i.Member == member && e.StartAfter && !i.Running:
			jobs = append(jobs, job{i.Ref, func(d Drainer) error {
				d.say("starting %s on %s", i.Ref, member)
				return d.start(ctx, *e, i, member)
			}})
		case i.Member == member && e.Frozen && i.Running && !i.Frozen:
			jobs = append(jobs, job{i.Ref, func(d Drainer) error { return d.Cluster.Freeze(ctx, i.Ref, member) }})
		case i.Member != member && placedByDrain(view, *e, i):
			jobs = append(jobs, job{i.Ref, func(d Drainer) error {
				if err := d.reach(ctx, i.Member, member); err != nil {
					return err
				}
				return d.move(ctx, *e, i, member, e.StartAfter)
			}})
		}
	}
	d.all(ctx, jobs, because)
}

// unseen reports whether nothing is known of an instance on another member.
func anyUnobserved(view View, member string) bool {
	return slices.ContainsFunc(view.Instances, func(i Instance) bool { return i.Unobserved && i.Member != member })
}

// restore makes a member Online again. While an instance elsewhere cannot be seen, and may name the
// member as its origin, LXD must not touch instances: it gives up at that one (lxd 5.0.2,
// lxd/api_cluster.go).
func (d Drainer) restore(ctx context.Context, member string, view View) error {
	d.say("restoring %s", member)
	if anyUnobserved(view, member) {
		if err := d.Cluster.RestoreWithoutInstances(ctx, member); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return d.Cluster.Restore(ctx, member, func(line string) { d.say("%s", line) })
}

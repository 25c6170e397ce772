package drain

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Undrain brings back what a drain moved and returns when it was observed on the member. It resumes an
// undrain that did not complete, and undoes a drain that did not.
func (d Drainer) Undrain(ctx context.Context, member string) (Report, error) {
	return d.newRun(member).undrain(ctx)
}

// undrain is Undrain.
func (r *run) undrain(ctx context.Context) (Report, error) {
	if err := r.prepare(ctx, ObserveForUndrain); err != nil {
		return Report{}, err
	}
	if !r.RetryNow {
		r.view.Now = r.now()
	}
	plan := PlanUndrain(r.view, r.member)
	report := Report{Plan: plan}
	if err := plan.Err(); err != nil || plan.Done {
		return report, err
	}
	// What has to run again is written first: from here on it may be stopped.
	plan.record.Runs++
	if err := r.begin(ctx, plan.record, r.view.Records[r.member].Phase != Drained); err != nil {
		return report, err
	}
	before := r.view
	for attempt := 1; ; attempt++ {
		r.undrainOnce(ctx)
		r.resumed = true
		if err := r.observe(ctx); err != nil {
			return report, r.interrupted(ctx, "undrain", err)
		}
		restored := r.restoreVolatileKeys(ctx, r.record)
		report.Moves = movedBack(before, r.view, r.member, r.record, r.downs)
		violations := VerifyUndrained(r.view, r.member, r.record)
		if len(violations) == 0 && (restored || attempt == maxAttempts) {
			break
		}
		if attempt == maxAttempts || ctx.Err() != nil {
			return report, r.endFailedUndrain(ctx, violations)
		}
	}
	r.deleteLeftovers(ctx, true)
	postponed := r.record.postponed(r.view, r.member)
	if len(postponed) == 0 {
		return report, r.write(ctx, nil)
	}
	if err := r.write(ctx, r.record.remainder(r.view, r.member)); err != nil {
		return report, err
	}
	return report, fmt.Errorf("cannot bring all back to %s yet: the others are there, run undrain again later: %s", r.member, indent(joinViolations(postponed, nil)))
}

// undrainOnce does all that there is to do, once, and continues with the next instance where one fails.
func (r *run) undrainOnce(ctx context.Context) {
	clear(r.failed)
	evacuated := r.status() == Evacuated
	// LXD's restore moves back every instance whose origin is this member: also what an operator has
	// since put elsewhere, one at a time, and it stops at the first that fails. So the origins are
	// removed, and the moves are made here. An instance that never left has the origin only when a
	// drain did not complete.
	err := r.setOrigin(ctx, "", func(i Instance) bool {
		return !i.Unobserved && i.Origin == r.member && (r.record.entry(i) != nil || evacuated && i.Member != r.member)
	})
	if err != nil {
		r.failed[Ref{}] = err
		return
	}
	if evacuated {
		err := r.restore(ctx)
		r.failed[Ref{}] = err
		// An LXD that cannot restore while a host does not answer takes instances all the same.
		if err != nil && !anyUnobserved(r.view, r.member) {
			return
		}
		if err := r.observe(ctx); err != nil {
			r.failed[Ref{}] = errors.Join(r.failed[Ref{}], err)
			return
		}
	}
	r.runTasks(ctx, r.undrainTasks())
}

// undrainTasks lists what there is to do about the instances that come back.
func (r *run) undrainTasks() []task {
	var tasks []task
	add := func(ref Ref, do func(context.Context) error) { tasks = append(tasks, task{ref, do}) }
	view := r.view
	for n := range r.record.Entries {
		e := &r.record.Entries[n]
		i, there := r.view.find(*e)
		switch {
		case !there || !e.Returning || i.Unobserved || e.postponed != "":
		case i.Member == r.member && view.unsettled(i):
			add(i.Ref, func(ctx context.Context) error { return r.settle(ctx, *e, i, e.StartAfter) })
		case i.Member == r.member && e.StartAfter && !i.Running:
			add(i.Ref, func(ctx context.Context) error {
				r.say("starting %s on %s", i.Ref, r.member)
				return r.start(ctx, *e, i, r.member)
			})
		case i.Member == r.member && e.Frozen && i.Running && !i.Frozen:
			add(i.Ref, func(ctx context.Context) error { return r.Cluster.Freeze(ctx, i.Ref, r.member) })
		case i.Member != r.member && placedByDrain(r.view, *e, i):
			add(i.Ref, func(ctx context.Context) error {
				if err := r.waitReachable(ctx, i.Member, r.member); err != nil {
					return err
				}
				return r.transfer(ctx, *e, i, r.member, e.StartAfter)
			})
		}
	}
	return tasks
}

// anyUnobserved reports whether nothing is known of an instance on another member.
func anyUnobserved(view View, member string) bool {
	return slices.ContainsFunc(view.Instances, func(i Instance) bool { return i.Unobserved && i.Member != member })
}

// restore has LXD restore the member. While an instance elsewhere is unobserved, and may have the
// member as its origin, LXD must not touch instances: it stops at that one (lxd 5.0.2,
// lxd/api_cluster.go).
func (r *run) restore(ctx context.Context) error {
	r.say("restoring %s", r.member)
	if anyUnobserved(r.view, r.member) {
		if err := r.Cluster.RestoreWithoutInstances(ctx, r.member); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return r.Cluster.Restore(ctx, r.member, func(line string) { r.say("%s", line) })
}

// endFailedUndrain ends an undrain that has failed. What was stopped for a move that failed is started
// where it is; how long it is left there is recorded. Where a move failed before anything was stopped,
// the next may be tried at once.
func (r *run) endFailedUndrain(ctx context.Context, violations []Violation) error {
	failure := r.failure(ctx, "undrain", violations, "run undrain again to resume it")
	r.restartStopped(ctx, func(e Entry, i Instance) bool {
		return i.Member != r.member && e.Returning && e.StartAfter && placedByDrain(r.view, e, i)
	})
	r.deleteLeftovers(ctx, true)
	if ctx.Err() != nil {
		return failure
	}
	next := r.record.clone()
	for n := range next.Entries {
		e := &next.Entries[n]
		if i, there := r.view.find(*e); there && i.Member != r.member && e.postponed == "" && e.StartAfter && !i.Running && !i.Unobserved && r.failed[i.Ref] != nil {
			e.noteFailure(r.now(), r.failed[i.Ref])
		} else if i, ok := r.view.halfMoved(*e); ok {
			e.noteFailure(r.now(), errors.New(describeHalfMoved(i)))
		}
	}
	return errors.Join(failure, r.write(ctx, next))
}

// remainder is the record with only those instances that have yet to come back.
func (r *Record) remainder(view View, member string) *Record {
	next := r.clone()
	next.Entries = slices.DeleteFunc(next.Entries, func(e Entry) bool {
		i, there := view.find(e)
		if _, ok := view.halfMoved(e); ok {
			return false
		}
		return !there || i.Member == member || e.postponement(member, i) == ""
	})
	return next
}

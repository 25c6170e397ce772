// Package drain evacuates a cluster member and brings its instances back.
//
// Its parts are separate, so that each can change for its own reason:
//
//	plan    pure: what happens to each instance, by which method, and why (plan.go, plandrain.go,
//	        planundrain.go, method.go)
//	apply   does it, and resumes after it was killed at any point (run.go, drain.go, undrain.go;
//	        a file for each method; leftovers.go deletes the copies that none needs)
//	verify  pure: reports what contradicts a drain or an undrain that should be complete (verify.go)
//	record  what the drain did, kept in a Journal (record.go)
//
// How many instances move at a time, when the next one starts, and which members take none meanwhile
// is in limiter.go, pacer.go and targets.go.
//
// An undrain brings back only what its drain moved. What an operator did meanwhile stays: an instance
// that they moved, stopped or deleted, a member that they evacuated.
//
// The rules of evacuation are LXD's own, read from lxd 5.0.2, lxd/api_cluster.go
// (evacuateClusterMember, restoreClusterMember) and lxd/instance/drivers/driver_common.go
// (canMigrate).
package drain

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// Drainer applies plans. It is configuration only, and may be copied.
type Drainer struct {
	Cluster Cluster
	Journal Journal
	// By is who drains, for the record: a unit's name.
	By string
	// Deadline is when it has to be done: of several Drainers with the same Limiter the one with the
	// earliest deadline goes first. Zero is no deadline, after all others.
	Deadline time.Time
	// Now returns the time; nil is time.Now.
	Now func() time.Time
	// Progress gets a line for each change; nil drops them.
	Progress func(format string, args ...any)
	// Limiter limits the instances that are moved before LXD's evacuation, which moves one after
	// another; nil leaves all moves to that evacuation.
	Limiter *MoveLimiter
	// RetryNow has an undrain move what an earlier one could not, without the pause after a failure:
	// an operator asks for it.
	RetryNow bool
	// StartSpacing is the expected time between the starts of two moves, see EstimateSpacing; zero is
	// not known.
	StartSpacing time.Duration
	// Partial has a drain move what it can although some instances can neither move nor be stopped:
	// these run on where they are, the member is cordoned but not evacuated, and the drain ends with
	// an error that wraps ErrPartial and names them. Otherwise nothing is changed.
	Partial bool
}

// Drain evacuates a member and returns when it was observed without instances that run. It resumes a
// drain that did not complete. With force it does what loses something, see PlanDrain. The context
// bounds it; whatever the error, it can be called again.
func (d Drainer) Drain(ctx context.Context, member string, force bool) (Report, error) {
	return d.newRun(member).drain(ctx, ObserveWithCapacity, force, "run drain again to resume it, or undrain to bring back what has moved")
}

// observer is the signature of the functions that observe a cluster for a plan about a member.
type observer func(ctx context.Context, cluster Cluster, journal Journal, member string) (View, error)

// drain is Drain, planned from what observe returns; advice is what an operator may do next when it
// fails.
func (r *run) drain(ctx context.Context, observe observer, force bool, advice string) (Report, error) {
	done, err := r.limiter.blockTarget(ctx, r.member)
	if err != nil {
		return Report{}, r.errBlocked(err)
	}
	defer done()
	if err := r.prepare(ctx, observe); err != nil {
		return Report{}, err
	}
	plan := PlanDrain(r.view, r.member, force)
	report := Report{Plan: plan}
	partial := r.Partial && plan.markKept()
	if err := plan.Err(); err != nil && !partial || plan.Done {
		return report, err
	}
	r.Partial = partial
	next := plan.record
	if next.By == "" {
		next.By, next.Since = r.By, r.now()
	}
	next.Runs++ // an earlier run that still works notices at its next write
	if err := r.begin(ctx, next, next.Runs > 1); err != nil {
		return report, err
	}
	if partial {
		return r.drainPartially(ctx, report)
	}
	for attempt := 1; ; attempt++ {
		r.drainOnce(ctx)
		r.resumed = true
		if err := r.track(ctx); err != nil {
			return report, r.interrupted(ctx, "drain", err)
		}
		report.Moves = movedAway(r.view, r.member, r.record)
		restored := r.restoreVolatileKeys(ctx, r.record)
		violations := VerifyDrained(r.view, r.member, r.record)
		if len(violations) == 0 && (restored || attempt == maxAttempts) {
			break
		}
		if attempt == maxAttempts || ctx.Err() != nil {
			r.restartStopped(ctx, r.stoppedForDrain)
			r.deleteLeftovers(ctx, true)
			return report, r.failure(ctx, "drain", violations, advice)
		}
	}
	r.deleteLeftovers(ctx, true)
	next = r.record.clone()
	next.Phase = Drained
	next.markVerified(r.view)
	next.uncordon() // on an evacuated member LXD places nothing anyway
	return report, r.write(ctx, next)
}

// drainOnce does all that there is to do, once, and continues with the next instance where one fails.
func (r *run) drainOnce(ctx context.Context) {
	clear(r.failed)
	if r.status() == Online {
		// LXD's evacuation stops what uses a device of the host, or moves it to any member.
		if r.Limiter != nil || slices.ContainsFunc(r.view.instancesOn(r.member), func(i Instance) bool { return len(i.HostDevices) > 0 || r.view.copiesFirst(i) }) {
			if r.Limiter != nil {
				r.setOrigins(ctx)
			}
			// LXD's evacuation moves what fails here, or came meanwhile. It also stops what stays:
			// LXD then knows that this should run.
			r.runTasks(ctx, r.drainTasks(false))
			if ctx.Err() != nil {
				return
			}
			clear(r.failed)
		}
		r.say("evacuating %s", r.member)
		r.failed[Ref{}] = r.Cluster.Evacuate(ctx, r.member, func(line string) { r.say("%s", line) })
		if err := r.observe(ctx); err != nil {
			r.failed[Ref{}] = errors.Join(r.failed[Ref{}], err)
			return
		}
		if r.status() != Evacuated {
			return // LXD put it back Online, because of the error; all is tried again
		}
	}
	// What LXD's evacuation left undone.
	r.runTasks(ctx, r.drainTasks(true))
}

// stoppedForDrain reports whether a drain has stopped an instance that it could not move away.
func (r *run) stoppedForDrain(e Entry, i Instance) bool {
	return i.Member == r.member && e.Ran && !e.Stays
}

// setOrigins sets the origin of all that is to leave the member, as LXD's evacuation would have:
// `lxc cluster restore` then knows it too, should an operator prefer that. It costs LXD a tenth of a
// move, so it is done before the first instance stops. What fails is tried again with the move.
func (r *run) setOrigins(ctx context.Context) {
	_ = r.setOrigin(ctx, r.member, func(i Instance) bool {
		e := r.record.entry(i)
		return i.Member == r.member && i.Origin == "" && e != nil && !e.Stays && !e.KeptRunning
	})
}

// drainTasks lists what there is to do about the instances of the member: the moves away, and what has
// to run or to be frozen elsewhere. With stops it also stops those that stay.
func (r *run) drainTasks(stops bool) []task {
	var tasks []task
	add := func(ref Ref, do func(context.Context) error) { tasks = append(tasks, task{ref, do}) }
	coming := map[string]int{} // instances that go to each member
	view := r.view
	view.Capacities = maps.Clone(view.Capacities)
	for n := range r.record.Entries {
		e := &r.record.Entries[n]
		i, there := view.find(*e)
		arrived := i.Member != r.member && i.Origin != "" && (e.To == "" || e.To == i.Member)
		switch {
		case !there || e.KeptRunning:
		case arrived && view.unsettled(i):
			add(i.Ref, func(ctx context.Context) error { return r.settle(ctx, *e, i, e.Ran) })
		case arrived && e.Ran && !i.Running:
			add(i.Ref, func(ctx context.Context) error {
				r.say("starting %s on %s", i.Ref, i.Member)
				return r.start(ctx, *e, i, i.Member)
			})
		case arrived && e.Frozen && i.Running && !i.Frozen:
			add(i.Ref, func(ctx context.Context) error { return r.Cluster.Freeze(ctx, i.Ref, i.Member) })
		case i.Member == r.member && e.Stays && i.Running && (stops || i.Ephemeral):
			// LXD's evacuation fails at an ephemeral one: it is gone once it has stopped.
			add(i.Ref, func(ctx context.Context) error {
				r.say("stopping %s, which cannot move", i.Ref)
				return r.Cluster.Stop(ctx, i.Ref)
			})
		case i.Member == r.member && !e.Stays && !stops && r.Limiter == nil && len(i.HostDevices) == 0 && !view.copiesFirst(i) && !r.Partial:
			// LXD's evacuation moves it.
		case i.Member == r.member && !e.Stays:
			i.Requirements = view.requirementsOf(i, e.Ran)
			targets := view.targets(r.member, i, coming)
			if len(targets) == 0 {
				add(i.Ref, func(context.Context) error { return errNoTarget(view, i) })
				break
			}
			planned := targets[0].Name
			if c, copied := view.copyOf(*e); copied && slices.ContainsFunc(targets, func(m Member) bool { return m.Name == c.Member }) {
				planned = c.Member
			}
			coming[planned]++
			if capacity, known := view.Capacities[planned]; known {
				view.Capacities[planned] = capacity.minus(i.Requirements)
			}
			start := e.Ran
			add(i.Ref, func(ctx context.Context) error {
				target, err := r.reserveTarget(ctx, view, i, planned)
				if err != nil {
					return err
				}
				defer r.limiter.releaseTarget(target)
				return r.moveAway(ctx, *e, i, target, start)
			})
		}
	}
	return tasks
}

// moveAway moves one instance, and leaves the same origin on it as LXD's evacuation.
func (r *run) moveAway(ctx context.Context, e Entry, i Instance, target string, start bool) error {
	if i.Origin == "" {
		if err := r.Cluster.SetOrigin(ctx, i.Ref, r.member); err != nil {
			return err
		}
	}
	return r.transfer(ctx, e, i, target, start)
}

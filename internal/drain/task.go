package drain

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// task is something to do about one instance.
type task struct {
	Ref
	do func(context.Context) error
}

// runTasks does the tasks, as many at a time as the limiter allows, and keeps the result of each in
// failed.
func (r *run) runTasks(ctx context.Context, tasks []task) {
	r.reachable.Clear()
	var working sync.WaitGroup
	for _, t := range tasks {
		if !r.limiter.acquire(ctx, r.deadline()) {
			break
		}
		working.Go(func() {
			defer r.limiter.release()
			err := t.do(ctx)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.failed[t.Ref] = err
		})
	}
	working.Wait()
}

// deadline returns when the run has to be done.
func (r *run) deadline() time.Time {
	if r.Deadline.IsZero() {
		return noDeadline
	}
	return r.Deadline
}

// errBlocked is the error of a drain that could not wait for the moves to its member.
func (r *run) errBlocked(err error) error {
	return fmt.Errorf("cannot drain %s: instances are on their way there: %w", r.member, err)
}

// errNoTarget is the error of an instance that no member can take.
func errNoTarget(view View, i Instance) error {
	return fmt.Errorf("cannot move %s: %s", i.Ref, view.noTargetReason(i))
}

// reserveTarget returns the member that an instance is moved to now: the planned one, unless that
// takes none any more, is being drained too, or cannot be reached. The caller has to release it.
func (r *run) reserveTarget(ctx context.Context, view View, i Instance, planned string) (string, error) {
	tried := map[string]bool{}
	var unreachable error
	for target := planned; target != ""; {
		tried[target] = true
		if r.limiter.reserveTarget(target) {
			// Observed once it is reserved: a drain of that member may have begun and ended before.
			members, err := r.Cluster.Members(ctx)
			view.Members = members
			if err == nil && slices.ContainsFunc(view.targets(r.member, i, nil), func(m Member) bool { return m.Name == target }) {
				if unreachable = r.waitReachable(ctx, r.member, target); unreachable == nil {
					return target, nil
				}
				r.say("%s", unreachable)
			}
			r.limiter.releaseTarget(target)
			if err != nil {
				return "", err
			}
		}
		target = ""
		for _, m := range view.targets(r.member, i, nil) {
			if !tried[m.Name] {
				target = m.Name
				break
			}
		}
	}
	return "", cmp.Or(unreachable, errNoTarget(view, i))
}

// waitReachable is Cluster.WaitReachable, once a pass for each pair of members: LXD makes a connection
// for it, which costs it as much as a fiftieth of a move.
func (r *run) waitReachable(ctx context.Context, from, to string) error {
	pair := [2]string{from, to}
	if _, done := r.reachable.Load(pair); done {
		return nil
	}
	err := r.Cluster.WaitReachable(ctx, from, to)
	if err == nil {
		r.reachable.Store(pair, true)
	}
	return err
}

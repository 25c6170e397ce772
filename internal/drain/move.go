package drain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

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
	if quiet.Limiter == nil {
		quiet.Limiter = NewMoveLimiter(1, 0)
	}
	var working sync.WaitGroup
	for _, j := range jobs {
		if !quiet.Limiter.acquire(ctx, d.by()) {
			break
		}
		working.Go(func() {
			defer quiet.Limiter.release()
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
	if d.Deadline.IsZero() {
		return noDeadline
	}
	return d.Deadline
}

// homeless says that no member can have an instance.
func errNoTarget(view View, i Instance) error {
	return fmt.Errorf("cannot move %s: %s", i.Ref, view.noTargetReason(i))
}

// host gives the member that an instance sets out for now: the one that was planned, unless
// that does not take any more, is being emptied too, or cannot be reached. It is bound for there.
func (d Drainer) host(ctx context.Context, view View, member string, i Instance, planned string) (string, error) {
	tried := map[string]bool{}
	var unreachable error
	for to := planned; to != ""; {
		tried[to] = true
		if d.Limiter.reserveTarget(to) {
			// Asked once it is bound: a drain of that one may have begun and ended before.
			members, err := d.Cluster.Members(ctx)
			view.Members = members
			if err == nil && slices.ContainsFunc(view.targets(member, i, nil), func(m Member) bool { return m.Name == to }) {
				if unreachable = d.reach(ctx, member, to); unreachable == nil {
					return to, nil
				}
				d.say("%s", unreachable)
			}
			d.Limiter.releaseTarget(to)
			if err != nil {
				return "", err
			}
		}
		to = ""
		for _, m := range view.targets(member, i, nil) {
			if !tried[m.Name] {
				to = m.Name
				break
			}
		}
	}
	return "", cmp.Or(unreachable, errNoTarget(view, i))
}

// reach is Cluster.Reach, asked once for each way: LXD makes a connection for it, which costs it
// as much as a fiftieth of a move.
func (d Drainer) reach(ctx context.Context, from, to string) error {
	way := [2]string{from, to}
	if _, seen := d.reached.Load(way); seen {
		return nil
	}
	err := d.Cluster.WaitReachable(ctx, from, to)
	if err == nil {
		d.reached.Store(way, true)
	}
	return err
}

// moveAway moves one instance as LXD's evacuation would have.
func (d Drainer) moveAway(ctx context.Context, member string, e Entry, i Instance, to string, start bool) error {
	if i.Origin == "" {
		if err := d.Cluster.SetOrigin(ctx, i.Ref, member); err != nil {
			return err
		}
	}
	return d.move(ctx, e, i, to, start)
}

// move takes an instance to a member, and starts it there if it has to run.
func (d Drainer) move(ctx context.Context, e Entry, i Instance, to string, start bool) error {
	d.say("moving %s from %s to %s", i.Ref, i.Member, to)
	at, live, shuts := i.Member, i.Running && i.LiveMovable, i.Running && !i.LiveMovable
	var err error
	if d.inherited || !shuts {
		// LXD goes on with a move whose client is gone; where it puts the instance is good.
		if at, err = d.Cluster.WaitMoved(ctx, i.Ref); err != nil {
			return err
		}
	}
	if shuts && start && !e.Frozen && at == i.Member {
		err := d.relocate(ctx, i.Ref, to)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !errors.Is(err, ErrNotRelocatable) {
			d.say("%s: what is left is done step by step", err)
			if at, err = d.Cluster.WaitMoved(ctx, i.Ref); err != nil {
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
		if err := d.start(ctx, e, i, at); err != nil {
			return err
		}
	}
	d.Limiter.observeMove(moves.Sub(stops), time.Since(moves), d.processors)
	return nil
}

// relocate moves an instance in one.
func (d Drainer) relocate(ctx context.Context, ref Ref, to string) error {
	began := time.Now()
	moved, err := d.Cluster.Relocate(ctx, ref, to)
	if all := time.Since(began); err == nil && 0 < moved && moved <= all {
		d.Limiter.observeMove(all-moved, moved, d.processors)
	}
	return err
}

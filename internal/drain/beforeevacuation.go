package drain

import (
	"context"
	"errors"
	"fmt"
)

// MoveBeforeEvacuation moves those instances of an Online member that LXD's own evacuation would stop
// where they are although another member may have them, see View.StoppedByEvacuation, and those that
// can be copied while they run, which that evacuation would have down for longer. They have the
// member as their origin, as after LXD's evacuation, so that its restore brings them back. The view is
// that of ObserveWithCapacity. What could not be moved runs on where it is, and is named in the error.
// While it works there is a record of the member that is Evacuating: it can be called again after it
// was killed, and Undrain undoes what was done by then.
func (d Drainer) MoveBeforeEvacuation(ctx context.Context, view View, member string) error {
	r := d.newRun(member)
	r.view, r.record = view, recordOf(view, member)
	r.resumed = r.record != nil // LXD may still move an instance for a run that was killed
	next := &Record{Phase: Draining, By: r.By, Since: r.now(), Evacuating: true}
	if r.resumed {
		next = r.record.clone()
		next.Runs++
	}
	for _, i := range view.instancesOn(member) {
		entry := next.entry(i)
		if entry == nil && (view.StoppedByEvacuation(i) || view.copiesFirst(i)) && moveBlocker(view, i) == "" {
			e := Entry{Ref: i.Ref, ID: i.ID, Ran: i.Running}
			e.noteVolatile(i)
			next.Entries = append(next.Entries, e)
		} else if entry != nil {
			entry.Ran = entry.Ran || i.Running
		}
	}
	if len(next.Entries) == 0 && !r.resumed {
		return nil
	}
	if err := r.write(ctx, next); err != nil {
		return err
	}
	r.runTasks(ctx, r.drainTasks(false))
	var failed []error
	for _, e := range r.record.Entries {
		if err := r.failed[e.Ref]; err != nil {
			failed = append(failed, err)
		}
	}
	err := errors.Join(append(failed, ctx.Err())...)
	if err != nil {
		err = fmt.Errorf("cannot move what LXD would stop on %s: %w", member, err)
	}
	free, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	unfinished := r.completeMoves(free)
	r.deleteLeftovers(free, true)
	if unfinished != nil {
		return errors.Join(err, unfinished)
	}
	return errors.Join(err, r.write(free, nil))
}

// completeMoves starts what ran, wherever it is, and restores its volatile keys.
func (r *run) completeMoves(ctx context.Context) error {
	if err := r.observe(ctx); err != nil {
		return err
	}
	tracked := r.record.clone()
	tracked.track(r.view, r.member)
	r.restoreVolatileKeys(ctx, tracked)
	var failed []error
	for _, e := range r.record.Entries {
		if i, there := r.view.find(e); there && e.Ran && !i.Running {
			r.say("starting %s on %s again", i.Ref, i.Member)
			failed = append(failed, r.start(ctx, e, i, i.Member))
		}
	}
	return errors.Join(failed...)
}

package drain

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// MoveHeld moves those instances of an Online member that LXD's own evacuation would stop where
// they are although another member may have them, see View.Held. They have the member as their
// origin, as after LXD's evacuation, so that its restore brings them back. The view is a Survey of
// the member. What could not be moved runs on where it is, and is named in the error. As long as it
// works there is a record of the member that is Evacuating: it can be called again after it was
// killed, and Undrain undoes what was done by then.
func (d Drainer) MoveBeforeEvacuation(ctx context.Context, view View, member string) error {
	before := recordOf(view, member)
	record := &Record{Phase: Draining, By: d.By, Since: d.now(), Evacuating: true}
	if before != nil {
		record = before.clone()
		record.Runs++
	}
	for _, i := range view.instancesOn(member) {
		entry := record.entry(i)
		if entry == nil && view.StoppedByEvacuation(i) && moveBlocker(view, i) == "" {
			e := Entry{Ref: i.Ref, ID: i.ID, Ran: i.Running}
			e.noteVolatile(i)
			record.Entries = append(record.Entries, e)
		} else if entry != nil {
			entry.Ran = entry.Ran || i.Running
		}
	}
	if len(record.Entries) == 0 && before == nil {
		return nil
	}
	record, err := d.write(ctx, member, before, record)
	if err != nil {
		return err
	}
	d.inherited = before != nil // LXD may still move one for a run that was killed
	because := map[Ref]error{}
	d.all(ctx, d.leaving(ctx, view, member, record, false), because)
	var failed []error
	for _, e := range record.Entries {
		if err := because[e.Ref]; err != nil {
			failed = append(failed, err)
		}
	}
	if err = errors.Join(append(failed, ctx.Err())...); err != nil {
		err = fmt.Errorf("cannot move what LXD would stop on %s: %w", member, err)
	}
	free, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if unsettled := d.settled(free, member, record); unsettled != nil {
		return errors.Join(err, unsettled)
	}
	_, forget := d.write(free, member, record, nil)
	return errors.Join(err, forget)
}

// settled has what ran run, wherever it is, and in its cluster group.
func (d Drainer) settled(ctx context.Context, member string, record *Record) error {
	view, err := Observe(ctx, d.Cluster, d.Journal)
	if err != nil {
		return err
	}
	where := record.clone()
	where.track(view, member)
	d.regroup(ctx, view, member, where)
	var failed []error
	for _, e := range record.Entries {
		if i, there := view.find(e); there && e.Ran && !i.Running {
			d.say("starting %s on %s again", i.Ref, i.Member)
			failed = append(failed, d.start(ctx, e, i, i.Member))
		}
	}
	return errors.Join(failed...)
}

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
// the member. What could not be moved runs on where it is, and is named in the error; it can be
// called again.
func (d Drainer) MoveHeld(ctx context.Context, view View, member string) error {
	var entries []Entry
	for _, i := range view.on(member) {
		if view.Held(i) && immovable(view, i) == "" {
			entries = append(entries, Entry{Ref: i.Ref, ID: i.ID, Ran: i.Running})
		}
	}
	if len(entries) == 0 {
		return nil
	}
	d.inherited = true // an earlier run may have been killed while LXD moves one
	record := &Record{Entries: entries}
	because := map[Ref]error{}
	d.all(ctx, d.leaving(ctx, view, member, record, false), because)
	var failed []error
	for _, e := range entries {
		if err := because[e.Ref]; err != nil {
			failed = append(failed, err)
		}
	}
	err := errors.Join(append(failed, ctx.Err())...)
	if err == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("cannot move what LXD would stop on %s: %w", member, err), d.startAgain(ctx, record))
}

// startAgain starts what ran, wherever it is.
func (d Drainer) startAgain(ctx context.Context, record *Record) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	view, err := Look(ctx, d.Cluster, d.Journal)
	if err != nil {
		return err
	}
	var failed []error
	for _, e := range record.Entries {
		if i, there := view.find(e); there && e.Ran && !i.Running {
			d.say("starting %s on %s again", i.Ref, i.Member)
			failed = append(failed, d.Cluster.Start(ctx, i.Ref, i.Member))
		}
	}
	return errors.Join(failed...)
}

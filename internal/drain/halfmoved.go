package drain

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// half finds what LXD has left of an entry's instance under a temporary name.
func (v View) halfMoved(e Entry) (i Instance, ok bool) {
	if _, there := v.find(e); there || e.ID == "" {
		return Instance{}, false
	}
	n := slices.IndexFunc(v.HalfMoved, func(i Instance) bool { return i.ID == e.ID })
	if n < 0 {
		return Instance{}, false
	}
	return v.HalfMoved[n], true
}

// halfMoved says that of an instance.
func describeHalfMoved(i Instance) string {
	return fmt.Sprintf("is on %s as %s: LXD has moved it and could not rename it; see whether a volume of its own name is left there", i.Member, i.Name)
}

// finish gives what LXD left under a temporary name its own again, and reports whether there was any.
// One that runs is stopped for it, and not again before its entry says so. What cannot be renamed is
// reported, and is a Doubt of the next proof.
func (d Drainer) finish(ctx context.Context, view View, member string) bool {
	some := false
	for _, e := range view.Records[member].Entries {
		i, ok := view.halfMoved(e)
		if !ok || i.Running && !d.RetryNow && d.now().Before(e.RetryAfter) {
			continue
		}
		some = true
		if err := d.rename(ctx, e, i); err != nil {
			d.say("%s", err)
		}
	}
	return some
}

func (d Drainer) rename(ctx context.Context, e Entry, i Instance) error {
	d.say("renaming %s on %s to %s", i.Ref, i.Member, e.Ref)
	if i.Running {
		if err := d.Cluster.Stop(ctx, i.Ref); err != nil {
			return err
		}
	}
	err := d.Cluster.Rename(ctx, i.Ref, e.Name)
	if err != nil && i.Running {
		err = errors.Join(err, d.start(context.WithoutCancel(ctx), e, i, i.Member))
	}
	return err
}

// wakeHalves starts what was stopped for a move and cannot be renamed, under its temporary name.
func (d Drainer) wakeHalves(ctx context.Context, view View, record *Record) {
	for _, e := range record.Entries {
		if i, ok := view.halfMoved(e); ok && !i.Running && (e.StartAfter || e.Ran && !e.Returning) {
			d.say("starting %s, which is %s, on %s", i.Ref, e.Ref, i.Member)
			if err := d.start(ctx, e, i, i.Member); err != nil {
				d.say("%s", err)
			}
		}
	}
}

package drain

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// halfMoved finds what LXD has left of an entry's instance under a temporary name.
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

// describeHalfMoved returns what a plan or a violation says of such an instance.
func describeHalfMoved(i Instance) string {
	if _, _, ok := ParseTemporaryName(i.Name); ok {
		return fmt.Sprintf("is on %s as %s: it could not be renamed back when its move failed", i.Member, i.Name)
	}
	return fmt.Sprintf("is on %s as %s: LXD has moved it and could not rename it; see whether a volume of its own name is left there", i.Member, i.Name)
}

// renameHalfMoved renames the record's instances that LXD left under a temporary name to their own, and
// reports whether there were any. One that runs is stopped for it, and not again before its
// entry's RetryAfter. What cannot be renamed is reported, and is a Violation when the run is verified.
func (r *run) renameHalfMoved(ctx context.Context) bool {
	found := false
	for _, e := range r.view.Records[r.member].Entries {
		i, ok := r.view.halfMoved(e)
		if !ok || i.Running && !r.RetryNow && r.now().Before(e.RetryAfter) {
			continue
		}
		found = true
		if err := r.rename(ctx, e, i); err != nil {
			r.say("%s", err)
		}
	}
	return found
}

// rename returns an instance the name of its entry.
func (r *run) rename(ctx context.Context, e Entry, i Instance) error {
	r.say("renaming %s on %s to %s", i.Ref, i.Member, e.Ref)
	if i.Running {
		if err := r.Cluster.Stop(ctx, i.Ref); err != nil {
			return err
		}
	}
	err := r.Cluster.Rename(ctx, i.Ref, e.Name)
	if err != nil && i.Running {
		err = errors.Join(err, r.start(context.WithoutCancel(ctx), e, i, i.Member))
	}
	return err
}

// restartHalfMoved starts what was stopped for a move and cannot be renamed, under its temporary name.
func (r *run) restartHalfMoved(ctx context.Context) {
	for _, e := range r.record.Entries {
		if i, ok := r.view.halfMoved(e); ok && !i.Running && (e.StartAfter || e.Ran && !e.Returning) {
			r.say("starting %s, which is %s, on %s", i.Ref, e.Ref, i.Member)
			if err := r.start(ctx, e, i, i.Member); err != nil {
				r.say("%s", err)
			}
		}
	}
}

package drain

import (
	"cmp"
	"context"
)

// noteVolatile notes what LXD changes about an instance when it is moved. What was noted before stays:
// a move may have changed it since.
func (e *Entry) noteVolatile(i Instance) {
	e.Group = cmp.Or(i.Group, e.Group)
	e.CloudInitID = cmp.Or(e.CloudInitID, i.CloudInitID)
	e.Frozen = e.Frozen || i.Frozen
}

// markVerified notes which instances are where the drain put them, with all that they had.
func (r *Record) markVerified(view View) {
	for n := range r.Entries {
		e := &r.Entries[n]
		i, there := view.find(*e)
		// What stays was stopped by LXD's evacuation, or by the drain.
		e.Verified = there && !i.Unobserved && !e.Stays &&
			i.Member == e.To && i.CloudInitID == e.CloudInitID && i.Running == e.Ran && i.Frozen == e.Frozen
	}
}

// start starts an instance that was moved, or that was stopped for a move, on the member where it is:
// with the id that it had for cloud-init, and frozen if it was.
func (r *run) start(ctx context.Context, e Entry, i Instance, member string) error {
	// A move after the observation has changed the id.
	if e.CloudInitID != "" && (i.CloudInitID != e.CloudInitID || i.Member != member) {
		if err := r.Cluster.SetCloudInitID(ctx, i.Ref, e.CloudInitID); err != nil {
			return err
		}
	}
	if err := r.Cluster.Start(ctx, i.Ref, member); err != nil {
		return err
	}
	if !e.Frozen {
		return nil
	}
	return r.Cluster.Freeze(ctx, i.Ref, member)
}

// restoreVolatileKeys restores the volatile keys that LXD changes when it moves an instance: the cluster
// group, which LXD removes when an instance moves to a member by its name (lxd 6.6,
// lxd/instance_post.go), and the id for cloud-init, of those that LXD's evacuation moved, or that were
// moved stopped. It considers only instances that are where the record has them, and reports whether all
// have their keys. An error of LXD's does not fail the run: the instance is where it should be.
func (r *run) restoreVolatileKeys(ctx context.Context, record *Record) bool {
	all := true
	try := func(err error) {
		if err != nil {
			r.say("%s", err)
			all = false
		}
	}
	for _, e := range record.Entries {
		i, there := r.view.find(e)
		if !there || i.Unobserved || i.Member != e.To && (i.Member != r.member || !e.Returning) {
			continue
		}
		if e.Group != "" && i.Group == "" {
			try(r.Cluster.SetGroup(ctx, i.Ref, e.Group))
		}
		if e.CloudInitID != "" && i.CloudInitID != e.CloudInitID {
			try(r.Cluster.SetCloudInitID(ctx, i.Ref, e.CloudInitID))
		}
	}
	return all
}

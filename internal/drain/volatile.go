package drain

import (
	"cmp"
	"context"
)

// note writes down what LXD changes about an instance when it is moved. What was noted before
// stays: a move may have changed it since.
func (e *Entry) noteVolatile(i Instance) {
	e.Group = cmp.Or(i.Group, e.Group)
	e.CloudInitID = cmp.Or(e.CloudInitID, i.CloudInitID)
	e.Frozen = e.Frozen || i.Frozen
}

// see notes which instances have what they had, where they are now.
func (r *Record) markVerified(view View) {
	for n := range r.Entries {
		e := &r.Entries[n]
		i, there := view.find(*e)
		// What stays was stopped by LXD's evacuation, or by the drain.
		e.Verified = there && !i.Unobserved && !e.Stays &&
			i.Member == e.To && i.CloudInitID == e.CloudInitID && i.Running == e.Ran && i.Frozen == e.Frozen
	}
}

// start starts an instance that was moved, or that was stopped for a move, where it is: with the id
// that it had for cloud-init, and frozen if it was.
func (d Drainer) start(ctx context.Context, e Entry, i Instance, member string) error {
	// Asked again where the view is from before a move.
	if e.CloudInitID != "" && (i.CloudInitID != e.CloudInitID || i.Member != member) {
		if err := d.Cluster.SetCloudInitID(ctx, i.Ref, e.CloudInitID); err != nil {
			return err
		}
	}
	if err := d.Cluster.Start(ctx, i.Ref, member); err != nil {
		return err
	}
	if !e.Frozen {
		return nil
	}
	return d.Cluster.Freeze(ctx, i.Ref, member)
}

// regroup puts instances that were moved back into the cluster groups that they were in: LXD takes
// them out when they move to a member by its name (lxd 6.6, lxd/instance_post.go). It gives those
// that LXD's evacuation moved, or that were moved stopped, the id back that cloud-init knows them by.
// It does so for what is where the record says that it was moved to, and reports whether all have what
// they had. What LXD will not do is no reason to fail: the instance is where it should be.
func (d Drainer) regroup(ctx context.Context, view View, member string, record *Record) bool {
	all := true
	for _, e := range record.Entries {
		i, there := view.find(e)
		if !there || i.Unobserved || i.Member != e.To && (i.Member != member || !e.Returning) {
			continue
		}
		if e.Group != "" && i.Group == "" {
			if err := d.Cluster.SetGroup(ctx, i.Ref, e.Group); err != nil {
				d.say("%s", err)
				all = false
			}
		}
		if e.CloudInitID != "" && i.CloudInitID != e.CloudInitID {
			if err := d.Cluster.SetCloudInitID(ctx, i.Ref, e.CloudInitID); err != nil {
				d.say("%s", err)
				all = false
			}
		}
	}
	return all
}

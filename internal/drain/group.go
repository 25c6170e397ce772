package drain

import "context"

// regroup puts instances that were moved back into the cluster groups that they were in: LXD takes
// them out when they move to a member by its name (lxd 6.6, lxd/instance_post.go). It does so for
// what is where the record says that it was moved to, and in no group, and reports whether all are
// in theirs. What LXD will not do is no reason to fail: the instance is where it should be.
func (d Drainer) regroup(ctx context.Context, view View, member string, record *Record) bool {
	all := true
	for _, e := range record.Entries {
		i, there := view.find(e)
		if !there || e.Group == "" || i.Group != "" || i.Member != e.To && (i.Member != member || !e.Back) {
			continue
		}
		if err := d.Cluster.SetGroup(ctx, i.Ref, e.Group); err != nil {
			d.say("%s", err)
			all = false
		}
	}
	return all
}

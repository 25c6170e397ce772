package drain

import (
	"context"
	"fmt"
)

// PlanLeave plans to empty a member that leaves the cluster for good. Unlike after a drain
// nothing may stay on it, so what cannot move keeps the whole plan from being applied,
// before anything is stopped. It is pure; the view is a Survey of the member.
func PlanRemoval(view View, name string) Plan {
	if why := memberBlocker(view, name); why != "" {
		return refused("empty", name, "%s", why)
	}
	if why := view.EvacuationRefusal(name); why != "" {
		return refused("empty", name, "%s", why)
	}
	record, recorded := view.Records[name]
	there := view.instancesOn(name)
	plan := Plan{
		Member: name,
		verb:   "empty",
		Note:   fmt.Sprintf("empty %s for good: %s", name, count(len(there), "instance")),
		// A drain that is under way may have something left to start elsewhere.
		Done: len(there) == 0 && (!recorded || record.Phase == Drained),
	}
	for _, i := range there {
		item := Item{Ref: i.Ref, Verdict: Okay, Reason: "moves to another member"}
		if why := moveBlocker(view, i); why != "" {
			item.Verdict, item.Reason = Error, why
		} else if i.Running && view.deletedOnStop(i) {
			item.Verdict, item.Reason = Error, "is ephemeral: it is deleted when it stops"
		}
		plan.Items = append(plan.Items, item)
	}
	return plan
}

// Leave empties a member that is to leave the cluster, and returns when nothing is located
// there any more and what ran is running elsewhere. It takes over from an operator's own
// evacuation. Whatever the error, it can be called again.
func (d Drainer) DrainForRemoval(ctx context.Context, member string) (Report, error) {
	if err := d.Cluster.WaitIdle(ctx, member); err != nil {
		return Report{}, err
	}
	view, err := ObserveWithCapacity(ctx, d.Cluster, d.Journal, member)
	if err != nil {
		return Report{}, err
	}
	plan := PlanRemoval(view, member)
	if err := plan.Err(); err != nil || plan.Done {
		return Report{Plan: plan}, err
	}
	if m, _ := view.Member(member); m.Status == Evacuated && recordOf(view, member) == nil {
		if _, err := d.write(ctx, member, nil, d.adoptEvacuation(view, member)); err != nil {
			return Report{Plan: plan}, err
		}
	}
	return d.drain(ctx, member, observeForRemoval, false, "it is tried again, and carries on where it is")
}

// surveyFit is Survey without the members' capacity: where there is little of it elsewhere it has
// to do, as the member goes.
func observeForRemoval(ctx context.Context, cluster Cluster, journal Journal, member string) (View, error) {
	view, err := ObserveWithCapacity(ctx, cluster, journal, member)
	for name, room := range view.Capacities {
		view.Capacities[name] = Capacity{HostResources: room.HostResources, ManagedResources: room.ManagedResources, DeniedProjects: room.DeniedProjects}
	}
	return view, err
}

// adopt makes an operator's evacuation a drain that can be carried on with. What it
// stopped and left behind has to run again where it goes.
func (d Drainer) adoptEvacuation(view View, member string) *Record {
	record := &Record{Phase: Draining, By: d.By, Since: d.now()}
	for _, i := range view.instancesOn(member) {
		record.Entries = append(record.Entries, Entry{Ref: i.Ref, ID: i.ID, Ran: i.Running || i.ShouldRun})
	}
	return record
}

// Strays lists the instances elsewhere that would come back to the member if it were
// restored: nothing that a member which is gone should be able to do, once another of its
// name has joined.
func (v View) ForeignOrigins(member string) []Ref {
	var strays []Ref
	for _, i := range v.Instances {
		if i.Origin == member && i.Member != member {
			strays = append(strays, i.Ref)
		}
	}
	return strays
}

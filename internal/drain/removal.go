package drain

import (
	"context"
	"fmt"
)

// PlanRemoval plans to evacuate a member that is removed from the cluster. Unlike after a drain nothing
// may stay on it, so an instance that cannot move keeps the whole plan from being applied, before
// anything is stopped. It is pure; the view is that of ObserveWithCapacity.
func PlanRemoval(view View, name string) Plan {
	if why := memberBlocker(view, name); why != "" {
		return refused("evacuate", name, "%s", why)
	}
	if why := view.EvacuationRefusal(name); why != "" {
		return refused("evacuate", name, "%s", why)
	}
	record, recorded := view.Records[name]
	there := view.instancesOn(name)
	plan := Plan{
		Member: name,
		verb:   "evacuate",
		Note:   fmt.Sprintf("evacuate %s, which is removed from the cluster: %s", name, count(len(there), "instance")),
		// A drain that is in progress may have something left to start elsewhere.
		Done: len(there) == 0 && (!recorded || record.Phase == Drained),
	}
	for _, i := range there {
		item := Item{Ref: i.Ref, Verdict: Okay, Reason: "moves to another member"}
		if why := moveBlocker(view, i); why != "" {
			item.Verdict, item.Reason = Error, why
		} else if i.Running && view.deletedOnStop(i) {
			item.Verdict, item.Reason = Error, "is ephemeral: it is deleted when it stops"
		} else {
			item.Method, item.MethodReason = view.methodOf(i)
		}
		plan.Items = append(plan.Items, item)
	}
	return plan
}

// DrainForRemoval evacuates a member that is removed from the cluster, and returns when no instance is
// on it any more and what ran is running elsewhere. It takes over from an operator's own evacuation.
// Whatever the error, it can be called again.
func (d Drainer) DrainForRemoval(ctx context.Context, member string) (Report, error) {
	r := d.newRun(member)
	if err := r.Cluster.WaitIdle(ctx, member); err != nil {
		return Report{}, err
	}
	var err error
	if r.view, err = ObserveWithCapacity(ctx, r.Cluster, r.Journal, member); err != nil {
		return Report{}, err
	}
	plan := PlanRemoval(r.view, member)
	if err := plan.Err(); err != nil || plan.Done {
		return Report{Plan: plan}, err
	}
	if r.status() == Evacuated && recordOf(r.view, member) == nil {
		if err := r.write(ctx, r.adoptEvacuation()); err != nil {
			return Report{Plan: plan}, err
		}
	}
	return r.drain(ctx, observeForRemoval, false, "it is tried again, and resumes")
}

// observeForRemoval is ObserveWithCapacity without what members have free: where that is little it has
// to do, as the member is removed.
func observeForRemoval(ctx context.Context, cluster Cluster, journal Journal, member string) (View, error) {
	view, err := ObserveWithCapacity(ctx, cluster, journal, member)
	for name, capacity := range view.Capacities {
		view.Capacities[name] = Capacity{HostResources: capacity.HostResources, ManagedResources: capacity.ManagedResources, DeniedProjects: capacity.DeniedProjects}
	}
	return view, err
}

// adoptEvacuation returns a record that makes an operator's evacuation a drain that can be resumed.
// What it stopped and left on the member has to run again where it goes.
func (r *run) adoptEvacuation() *Record {
	record := &Record{Phase: Draining, By: r.By, Since: r.now()}
	for _, i := range r.view.instancesOn(r.member) {
		record.Entries = append(record.Entries, Entry{Ref: i.Ref, ID: i.ID, Ran: i.Running || i.ShouldRun})
	}
	return record
}

// ForeignOrigins lists the instances elsewhere that would come back to a member if it were restored:
// a member that is removed must leave none, or they would go to another that joins with its name.
func (v View) ForeignOrigins(member string) []Ref {
	var foreign []Ref
	for _, i := range v.Instances {
		if i.Origin == member && i.Member != member {
			foreign = append(foreign, i.Ref)
		}
	}
	return foreign
}

package drain

import (
	"fmt"
)

// PlanUndrain plans to bring back to a member what its drain moved away. It is pure.
func PlanUndrain(view View, name string) Plan {
	if why := memberBlocker(view, name); why != "" {
		return refused("undrain", name, "%s", why)
	}
	member, _ := view.Member(name)
	old, ok := view.Records[name]
	if !ok && member.Status == Evacuated {
		return refused("undrain", name, "it was evacuated, but not by pet-scheduler: use `lxc cluster restore %s`", name)
	}
	plan := Plan{verb: "undrain", Member: name}
	if !ok {
		plan.Done, plan.Note = true, name+" is not drained: it is Online, and no drain of it is on record"
		return plan
	}
	record := old.clone()
	record.track(view, name)
	plan.record = record
	for n := range record.Entries {
		plan.Items = append(plan.Items, record.Entries[n].planReturn(view, name))
	}
	for _, i := range view.Instances {
		if i.Origin == name && i.Member != name && record.entry(i) == nil {
			plan.Items = append(plan.Items, Item{Ref: i.Ref, Verdict: Skip, Reason: fmt.Sprintf("was not moved by this drain: it stays on %s", i.Member)})
		}
	}
	record.Phase = Returning
	record.uncordon()
	back := 0
	for _, i := range plan.Items {
		if i.Verdict == Okay {
			back++
		}
	}
	plan.Note = fmt.Sprintf("undrain %s: %s to bring back, %d to leave as they are", name, count(back, "instance"), len(plan.Items)-back)
	return plan
}

// planReturn returns what an undrain of a member does to the entry's instance, and notes it in the
// entry.
func (e *Entry) planReturn(view View, name string) Item {
	item := Item{Ref: e.Ref}
	say := func(v Verdict, format string, args ...any) Item {
		item.Verdict, item.Reason = v, fmt.Sprintf(format, args...)
		return item
	}
	i, there := view.find(*e)
	home := there && i.Member == name
	half, isHalf := view.halfMoved(*e)
	e.postponed = ""
	if there && !e.Returning && !i.Unobserved {
		// What is stopped although LXD does not mean it to run was stopped by an operator, unless by
		// a drain that did not complete.
		e.Stopping = false
		e.StartAfter = i.Running || e.Ran && (i.ShouldRun || e.MayStayStopped || !e.Verified) && !e.KeptRunning
		if e.Verified && !home {
			e.CloudInitID, e.Frozen = i.CloudInitID, i.Frozen
		}
	}
	switch {
	case isHalf:
		if !e.Returning {
			e.StartAfter = e.Ran && !e.KeptRunning
		}
		e.Returning = true
		return say(Warning, "%s", describeHalfMoved(half))
	case !there:
		return say(Skip, "was deleted meanwhile")
	case home && (!e.StartAfter || i.Running):
		e.Returning = true
		return say(Skip, "is on %s already", name)
	case home:
		e.Returning = true
		return say(Okay, "starts on %s again", name)
	case i.Unobserved:
		e.postponed = unobservedReason(i.Member)
		return say(Skip, "%s", e.postponed)
	case i.Running && i.Ephemeral && !i.LiveMovable:
		e.Returning = false
		return say(Skip, "is ephemeral and would be deleted on the way: it stays on %s", i.Member)
	case !placedByDrain(view, *e, i):
		e.Returning = false
		return say(Skip, "was moved to %s meanwhile, not by this drain: it stays there", i.Member)
	}
	if e.postponed = returnBlocker(view, name, *e, i); e.postponed != "" {
		return say(Skip, "%s", e.postponed)
	}
	e.Returning = true
	item.Method, item.MethodReason = view.methodOf(i)
	switch {
	case e.StartAfter && item.Method == CopyFirst:
		return say(Okay, "comes back from %s, copied while it runs: down for seconds", i.Member)
	case e.StartAfter:
		return say(Okay, "comes back from %s and runs", i.Member)
	case e.Ran:
		return say(Okay, "comes back from %s and stays stopped, as an operator stopped it there", i.Member)
	}
	return say(Okay, "comes back from %s, stopped as it was", i.Member)
}

// returnBlocker returns why an instance is not moved back now: what the member lacks of what the
// instance requires, or that an earlier move failed, and stopping it for another would gain nothing. It
// is empty when it is to be moved. One that is stopped has nothing to lose by a try.
func returnBlocker(view View, name string, e Entry, i Instance) string {
	capacity, known := view.Capacities[name]
	_, pool := capacity.Pools[i.Requirements.Pool]
	disk := Requirements{Pool: i.Requirements.Pool, Disk: i.Requirements.Disk}
	switch {
	case view.Backups[i.Ref] > 0:
		return fmt.Sprintf("stays on %s: it has %s, which LXD deletes when it moves it: export or delete them", i.Member, count(view.Backups[i.Ref], "backup"))
	case known && capacity.Pools != nil && i.Requirements.Pool != "" && !pool:
		return fmt.Sprintf("stays on %s: %s has no storage pool %s", i.Member, name, i.Requirements.Pool)
	case known && capacity.HostResources != nil && view.missingOn(name, i) != "":
		return fmt.Sprintf("stays on %s: %s %s", i.Member, name, view.missingOn(name, i))
	case e.FailedReturns == 0 || !i.Running || i.LiveMovable || view.Now.IsZero():
		return ""
	case capacity.shortOf(disk) != "":
		return fmt.Sprintf("stays on %s and runs: its move back failed (%s), and %s has %s", i.Member, e.LastError, name, capacity.shortOf(disk))
	case view.Now.Before(e.RetryAfter):
		return fmt.Sprintf("stays on %s and runs: its move back failed (%s), and it is tried again after %s", i.Member, e.LastError, e.RetryAfter.UTC().Format("2006-01-02 15:04 UTC"))
	}
	return ""
}

// placedByDrain reports whether an instance that is not on its member is where this drain put it, or
// where the drain of that other member then put it.
func placedByDrain(view View, e Entry, i Instance) bool {
	at, visited := e.To, map[string]bool{}
	for at != "" && at != i.Member && !visited[at] {
		visited[at] = true
		next, ok := view.Records[at]
		if !ok {
			return false
		}
		onward := next.entry(i)
		if onward == nil {
			return false
		}
		at = onward.To
	}
	return at == i.Member
}

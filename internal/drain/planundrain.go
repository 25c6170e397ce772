package drain

import (
	"fmt"
	"slices"
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
		e := &record.Entries[n]
		item := Item{Ref: e.Ref}
		say := func(v Verdict, format string, args ...any) {
			item.Verdict, item.Reason = v, fmt.Sprintf(format, args...)
		}
		i, there := view.find(*e)
		home := there && i.Member == name
		half, isHalf := view.halfMoved(*e)
		e.postponed = ""
		if there && !e.Returning && !i.Unobserved {
			// What stands still although LXD does not mean it to was stopped by somebody,
			// unless by a drain that did not come to its end.
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
			say(Warning, "%s", describeHalfMoved(half))
		case !there:
			say(Skip, "was deleted meanwhile")
		case home && (!e.StartAfter || i.Running):
			say(Skip, "is on %s already", name)
			e.Returning = true
		case home:
			say(Okay, "starts on %s again", name)
			e.Returning = true
		case i.Unobserved:
			e.postponed = unobservedReason(i.Member)
			say(Skip, "%s", e.postponed)
		case i.Running && i.Ephemeral && !i.LiveMovable:
			say(Skip, "is ephemeral and would be deleted on the way: it stays on %s", i.Member)
			e.Returning = false
		case !placedByDrain(view, *e, i):
			say(Skip, "was moved to %s meanwhile, not by this drain: it stays there", i.Member)
			e.Returning = false
		case returnBlocker(view, name, *e, i) != "":
			e.postponed = returnBlocker(view, name, *e, i)
			say(Skip, "%s", e.postponed)
		case e.StartAfter:
			say(Okay, "comes back from %s and runs", i.Member)
			e.Returning = true
		case e.Ran:
			say(Okay, "comes back from %s and stays stopped, as somebody stopped it there", i.Member)
			e.Returning = true
		default:
			say(Okay, "comes back from %s, stopped as it was", i.Member)
			e.Returning = true
		}
		plan.Items = append(plan.Items, item)
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

// obstacle says why an instance is not moved back now: what the member lacks of what it needs there,
// or that an earlier move failed, and stopping it for another would be for nothing. It is empty when
// it is to be moved. One that is stopped has nothing to lose by a try.
func returnBlocker(view View, name string, e Entry, i Instance) string {
	room, known := view.Capacities[name]
	_, pool := room.Pools[i.Requirements.Pool]
	switch {
	case view.Backups[i.Ref] > 0:
		return fmt.Sprintf("stays on %s: it has %s, which LXD deletes when it moves it: export or delete them", i.Member, count(view.Backups[i.Ref], "backup"))
	case known && room.Pools != nil && i.Requirements.Pool != "" && !pool:
		return fmt.Sprintf("stays on %s: %s has no storage pool %s", i.Member, name, i.Requirements.Pool)
	case known && room.HostResources != nil && view.missingOn(name, i) != "":
		return fmt.Sprintf("stays on %s: %s %s", i.Member, name, view.missingOn(name, i))
	case e.FailedReturns == 0 || !i.Running || i.LiveMovable || view.Now.IsZero():
		return ""
	case room.shortOf(Requirements{Pool: i.Requirements.Pool, Disk: i.Requirements.Disk}) != "":
		return fmt.Sprintf("stays on %s and runs: its move back failed (%s), and %s has %s", i.Member, e.LastError, name, room.shortOf(Requirements{Pool: i.Requirements.Pool, Disk: i.Requirements.Disk}))
	case view.Now.Before(e.RetryAfter):
		return fmt.Sprintf("stays on %s and runs: its move back failed (%s), and it is tried again after %s", i.Member, e.LastError, e.RetryAfter.UTC().Format("2006-01-02 15:04 UTC"))
	}
	return ""
}

// ours tells whether an instance that is not home is where this drain put it, or where the
// drain of that other member then put it.
func placedByDrain(view View, e Entry, i Instance) bool {
	at, seen := e.To, map[string]bool{}
	for at != "" && at != i.Member && !seen[at] {
		seen[at] = true
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

// track writes into the record where the drain's instances have got to, and forgets those
// that somebody else took away before the drain did.
func (r *Record) track(view View, member string) {
	if r.Phase != Draining {
		return
	}
	r.Entries = slices.DeleteFunc(r.Entries, func(e Entry) bool {
		i, there := view.find(e)
		// A drain and an evacuation say so on the instance before anything moves; whoever
		// moves it out of a drain that is under way moves it for that drain.
		return there && !i.Unobserved && i.Member != member && e.To == "" && i.Origin == ""
	})
	for n := range r.Entries {
		e := &r.Entries[n]
		if i, there := view.find(*e); there && i.Member != member && e.To == "" {
			e.To = i.Member
		}
	}
	// LXD may have taken one that was created after the drain listed them.
	for _, i := range view.Instances {
		if i.Origin == member && i.Member != member && r.entry(i) == nil && !slices.Contains(r.ForeignOrigins, i.Ref) {
			r.Entries = append(r.Entries, Entry{Ref: i.Ref, ID: i.ID, Ran: i.Running || i.ShouldRun, To: i.Member})
		}
	}
}

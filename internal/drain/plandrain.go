package drain

import (
	"fmt"
	"slices"
	"strings"
)

// PlanDrain plans to drain a member. force accepts what loses something: instances that cannot move
// are stopped where they are, ephemeral ones are deleted by LXD when they stop. It is pure; Drainer
// fills in who drains, and since when.
func PlanDrain(view View, name string, force bool) Plan {
	if why := memberBlocker(view, name); why != "" {
		return refused("drain", name, "%s", why)
	}
	member, _ := view.Member(name)
	record, drainedBefore := view.Records[name]
	there := view.instancesOn(name)
	switch {
	case drainedBefore && record.Phase == Returning:
		record = record.resumeDrain(view, name)
	case drainedBefore && record.Phase == Drained && member.Status == Online:
		// An operator has restored the member: that drain is over.
		drainedBefore = false
	case !drainedBefore && member.Status == Evacuated:
		return refused("drain", name, "it was evacuated, but not by pet-scheduler, and stays its operator's: `lxc cluster restore %s` first", name)
	}
	if len(view.targets(name, Instance{}, nil)) == 0 && member.Status == Online {
		return refused("drain", name, "no other member is Online and takes instances: the cluster would have nowhere to run anything")
	}
	if why := view.EvacuationRefusal(name); why != "" {
		return refused("drain", name, "%s", why)
	}

	plan := Plan{verb: "drain", Member: name}
	if drainedBefore {
		plan.record = record.clone()
		if record.Evacuating { // it is a drain from now on
			plan.record.Evacuating, plan.record.By = false, ""
		}
	} else {
		plan.record = &Record{ForeignOrigins: view.ForeignOrigins(name)}
	}
	for _, i := range there {
		entry := plan.record.entry(i)
		if entry == nil {
			plan.record.Entries = append(plan.record.Entries, Entry{Ref: i.Ref, ID: i.ID})
			entry = &plan.record.Entries[len(plan.record.Entries)-1]
		} else if entry.To != "" {
			// It had left, and was moved back by another client.
			*entry = Entry{Ref: i.Ref, ID: i.ID}
		}
		entry.Ran = entry.Ran || i.Running
		entry.noteVolatile(i)
		i.Group = entry.Group
		item, result := evaluate(view, i, entry.Ran, force)
		entry.Stays, entry.KeptRunning = result == stays, false
		// LXD's evacuation leaves running what it would move live, and has no member for.
		stopped := result == stays && i.Running && (i.LiveMovable || member.Status == Evacuated)
		entry.MayStayStopped = entry.MayStayStopped || result == mayStayStopped || stopped
		if deleted := view.deletedBackups(i); deleted != "" && result != stays && item.Verdict != Error {
			item.Verdict, item.Reason = Warning, item.Reason+deleted
		}
		plan.Items = append(plan.Items, item)
	}
	if drainedBefore && record.Phase == Drained && isEmpty(view, name, &record) {
		plan.Done, plan.Items = true, nil
		plan.Note = fmt.Sprintf("%s is drained already, since %s", name, record.Since.UTC().Format("2006-01-02 15:04 UTC"))
		return plan
	}
	plan.record.Phase = Draining
	plan.Note = fmt.Sprintf("drain %s: %s", name, count(len(there), "instance"))
	if member.Status == Online && !plan.record.Cordoned {
		plan.record.Cordoned, plan.record.PreviousScheduler = true, member.Scheduler
		plan.Note += ", and no new ones are placed there"
	}
	if drainedBefore {
		plan.Note += ", resuming the drain of " + record.Since.UTC().Format("2006-01-02 15:04 UTC")
	}
	return plan
}

// result is the state of an instance after a drain.
type result int

const (
	leaves         result = iota
	mayStayStopped        // leaves, and may not run where it goes
	stays                 // stopped where it is
)

// evaluate returns what a drain does to one instance. It looks at nothing but that instance and the
// members: another instance's limits, devices or names do not change it.
func evaluate(view View, i Instance, ran, force bool) (Item, result) {
	item := Item{Ref: i.Ref}
	say := func(v Verdict, r result, format string, args ...any) (Item, result) {
		item.Verdict, item.Reason = v, fmt.Sprintf(format, args...)
		if r != stays && v != Error {
			item.Method, item.MethodReason = view.methodOf(asBefore(i, ran))
		}
		return item, r
	}
	blocker, unsuitable := moveBlocker(view, i), view.unsuitableTargets(i, ", which ")
	if unsuitable != "" {
		unsuitable = "; not to " + unsuitable
	}
	targets := view.targets(i.Member, i, nil)
	i.Requirements = view.requirementsOf(i, ran)
	missing, short := explainShortage(view, targets, i, Capacity.missing), explainShortage(view, targets, i, Capacity.shortOf)
	toUnsuitable := !i.evacuatesByDefault() && i.Evacuate != "stop" && view.unsuitableTargets(i, " ") != ""
	allowed := "as force=true asks"
	if !force && i.MayStop {
		allowed = "as the pet's unmovable says"
	}
	noPool := explainShortage(view, targets, Instance{Requirements: Requirements{Pool: i.Requirements.Pool}}, Capacity.missing) != ""
	switch {
	case ran && view.deletedOnStop(i) && !force:
		return say(Error, leaves, "is ephemeral: it is deleted when it stops; force=true lets that happen")
	case blocker != "" && toUnsuitable && !ran:
		return say(Skip, stays, "%s: it stays, or LXD's evacuation moves it, stopped as it is", blocker)
	case blocker != "" && toUnsuitable:
		return say(Error, leaves, "%s; LXD's evacuation would move it there all the same: move it, or set cluster.evacuate=stop on it", blocker)
	case ran && view.deletedOnStop(i):
		r := leaves
		if blocker != "" {
			r = stays
		}
		return say(Warning, r, "is ephemeral: it stops and is gone")
	case blocker == "" && missing != "" && !force && (noPool || !i.MayStop):
		return say(Error, leaves, "no other member can run it as its limits say: %s; force=true moves it all the same, as unmovable: stop of its pet does where it is memory or processors; cluster.evacuate=stop on it has it stopped instead", missing)
	case blocker == "" && missing != "":
		return say(Warning, mayStayStopped, "moves to another member, %s, though none can run it as its limits say: %s%s", allowed, missing, unsuitable)
	case blocker == "" && short != "":
		return say(Warning, leaves, "moves to another member, which may be too full for all that its limits let it use: %s%s", short, unsuitable)
	case blocker == "":
		return say(Okay, leaves, "%s%s", describeMove(view, asBefore(i, ran)), unsuitable)
	case !ran:
		return say(Skip, stays, "%s: it stays, stopped as it is", blocker)
	case i.Evacuate == "stop":
		return say(Warning, stays, "%s: it is stopped and stays", blocker)
	case force || i.MayStop:
		return say(Warning, stays, "%s: it is stopped and stays, %s", blocker, allowed)
	}
	return say(Error, leaves, "%s; force=true, or unmovable: stop of its pet, stops it there for as long as the member is drained", blocker)
}

// asBefore returns an instance as it was before the drain began to stop it.
func asBefore(i Instance, ran bool) Instance {
	i.Running = ran
	return i
}

// describeMove returns what a plan says of an instance that moves.
func describeMove(view View, i Instance) string {
	name, _ := view.methodOf(i)
	return methods[name].describe(i)
}

// moveBlocker returns why LXD does not move an instance; empty when it does.
func moveBlocker(view View, i Instance) string {
	switch {
	case i.Evacuate == "stop":
		return "its cluster.evacuate is stop"
	case i.evacuatesByDefault() && len(i.LocalDevices) > 0:
		return "is tied to this member by " + strings.Join(i.LocalDevices, ", ")
	case i.evacuatesByDefault() && view.Backups[i.Ref] > 0:
		return fmt.Sprintf("has %s, which LXD deletes when it moves it: export or delete them, or set cluster.evacuate=migrate on it", count(view.Backups[i.Ref], "backup"))
	case len(view.targets(i.Member, i, nil)) == 0:
		return view.noTargetReason(i)
	}
	return ""
}

// deletedBackups returns which of an instance's backups its move deletes, for the end of a sentence;
// empty when it has none.
func (v View) deletedBackups(i Instance) string {
	n := v.Backups[i.Ref]
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("; LXD deletes its %s on the way: lxc export %s keeps a copy", count(n, "backup"), i.Name)
}

// isEmpty reports whether a drained member has no instances but those that stay there, stopped.
func isEmpty(view View, member string, record *Record) bool {
	return len(view.leftovers(member)) == 0 && !slices.ContainsFunc(view.instancesOn(member), func(i Instance) bool {
		entry := record.entry(i)
		return entry == nil || !entry.Stays || i.Running
	})
}

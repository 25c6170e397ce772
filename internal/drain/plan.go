package drain

import (
	"fmt"
	"slices"
	"strings"
)

// Verdict is what a plan says of one instance.
type Verdict string

// The verdicts, from harmless to fatal.
const (
	Okay    Verdict = "okay"    // will be done
	Skip    Verdict = "skip"    // nothing will be done to it
	Warning Verdict = "warning" // will be done, and its owner may not like it
	Error   Verdict = "error"   // keeps the whole plan from being applied
)

// Item is what would happen to one instance.
type Item struct {
	Ref
	Verdict Verdict
	// Reason says what would happen, or why nothing, and what overrides an error.
	Reason string
}

// String gives the item as a line for an operator.
func (i Item) String() string { return fmt.Sprintf("%-7s %s: %s", i.Verdict, i.Ref, i.Reason) }

// Plan is what a drain or an undrain would do.
type Plan struct {
	Member string
	// Done tells that what was asked for is true already.
	Done bool
	// Note says what the plan is about, in a line.
	Note string
	// Refusal is why the member as a whole cannot be drained or undrained; empty when
	// it can.
	Refusal string
	Items   []Item

	verb   string  // "drain" or "undrain"
	record *Record // what is to be written before anything is done
}

// Err gives the reason why the plan must not be applied, nil when it may be.
func (p Plan) Err() error {
	if p.Refusal != "" {
		return fmt.Errorf("cannot %s %s: %s", p.verb, p.Member, p.Refusal)
	}
	var bad []string
	for _, i := range p.Items {
		if i.Verdict == Error {
			bad = append(bad, i.Ref.String()+": "+i.Reason)
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("cannot %s %s: nothing was changed, because of\n%s", p.verb, p.Member, strings.Join(bad, "\n"))
	}
	return nil
}

// String gives the plan as lines for an operator.
func (p Plan) String() string {
	lines := []string{p.Note}
	if p.Refusal != "" {
		lines = []string{"cannot " + p.verb + " " + p.Member + ": " + p.Refusal}
	}
	for _, i := range p.Items {
		lines = append(lines, i.String())
	}
	return strings.Join(lines, "\n")
}

// refused is a plan for a member that cannot be drained or undrained.
func refused(verb, member, format string, args ...any) Plan {
	return Plan{verb: verb, Member: member, Refusal: fmt.Sprintf(format, args...)}
}

// unable says why a member cannot be worked on at all; empty when it can.
func memberBlocker(view View, name string) string {
	member, ok := view.Member(name)
	switch {
	case !ok:
		return fmt.Sprintf("LXD has no member of that name: its members are %s", view.memberNames())
	case member.Status == Offline:
		return "it is Offline: bring its LXD back first (its instances can be seen, not moved)"
	case member.Status != Online && member.Status != Evacuated:
		return fmt.Sprintf("it is %s: see `lxc cluster show %s`", member.Status, name)
	}
	for _, i := range view.instancesOn(name) {
		if i.Unobserved {
			return fmt.Sprintf("its LXD does not say what %s does: wait until it answers, or see `systemctl status lxd` there", i.Ref)
		}
	}
	return ""
}

// PlanDrain plans to empty a member. force accepts what loses something: instances that
// cannot move are stopped where they are, ephemeral ones are deleted by LXD when they
// stop. It is pure; who and when are filled in by Drainer.
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
		// An operator restored it by hand: that drain is history.
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
		plan.record = &Record{}
		for _, i := range view.Instances {
			if i.Origin == name && i.Member != name {
				plan.record.ForeignOrigins = append(plan.record.ForeignOrigins, i.Ref)
			}
		}
	}
	for _, i := range there {
		entry := plan.record.entry(i)
		if entry == nil {
			plan.record.Entries = append(plan.record.Entries, Entry{Ref: i.Ref, ID: i.ID})
			entry = &plan.record.Entries[len(plan.record.Entries)-1]
		} else if entry.To != "" {
			// It had left, and somebody put it back.
			*entry = Entry{Ref: i.Ref, ID: i.ID}
		}
		entry.Ran = entry.Ran || i.Running
		entry.noteVolatile(i)
		i.Group = entry.Group
		item, fate := evaluate(view, i, entry.Ran, force)
		entry.Stays, entry.KeptRunning = fate == stays, false
		// LXD's evacuation leaves what it would move live, and has no member for, running.
		stopped := fate == stays && i.Running && (i.LiveMovable || member.Status == Evacuated)
		entry.MayStayStopped = entry.MayStayStopped || fate == loose || stopped
		if losing := view.deletedBackups(i); losing != "" && fate != stays && item.Verdict != Error {
			item.Verdict, item.Reason = Warning, item.Reason+losing
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
		plan.Note += ", carrying on with the drain of " + record.Since.UTC().Format("2006-01-02 15:04 UTC")
	}
	return plan
}

// fate is how an instance is after a drain.
type fate int

const (
	leaves fate = iota
	loose       // leaves, and may not run where it goes
	stays       // stopped where it is
)

// judge says what a drain does to one instance. It looks at nothing but that instance and what the
// members are: another instance's limits, devices or names do not change it.
func evaluate(view View, i Instance, ran, force bool) (item Item, f fate) {
	item.Ref = i.Ref
	say := func(v Verdict, f fate, format string, args ...any) (Item, fate) {
		item.Verdict, item.Reason = v, fmt.Sprintf(format, args...)
		return item, f
	}
	why, not := moveBlocker(view, i), view.unsuitableTargets(i, ", which ")
	if not != "" {
		not = "; not to " + not
	}
	hosts := view.targets(i.Member, i, nil)
	i.Requirements = view.requirementsOf(i, ran)
	lacking, tight := explainShortage(view, hosts, i, Capacity.missing), explainShortage(view, hosts, i, Capacity.shortOf)
	astray := !i.evacuatesByDefault() && i.Evacuate != "stop" && view.unsuitableTargets(i, " ") != ""
	allows := "as force=true asks"
	if !force && i.MayStop {
		allows = "as the pet's on-immovable says"
	}
	poolless := explainShortage(view, hosts, Instance{Requirements: Requirements{Pool: i.Requirements.Pool}}, Capacity.missing) != ""
	switch {
	case ran && view.deletedOnStop(i) && !force:
		return say(Error, leaves, "is ephemeral: it is deleted when it stops; force=true lets that happen")
	case why != "" && astray && !ran:
		return say(Skip, stays, "%s: it stays, or LXD's evacuation moves it, stopped as it is", why)
	case why != "" && astray:
		return say(Error, leaves, "%s; LXD's evacuation would move it there all the same: move it, or set cluster.evacuate=stop on it", why)
	case ran && view.deletedOnStop(i):
		fate := leaves
		if why != "" {
			fate = stays
		}
		return say(Warning, fate, "is ephemeral: it stops and is gone")
	case why == "" && lacking != "" && !force && (poolless || !i.MayStop):
		return say(Error, leaves, "no other member can run it as its limits say: %s; force=true moves it all the same, as on-immovable: stop of its pet does where it is memory or processors; cluster.evacuate=stop on it has it stopped instead", lacking)
	case why == "" && lacking != "":
		return say(Warning, loose, "moves to another member, %s, though none can run it as its limits say: %s%s", allows, lacking, not)
	case why == "" && tight != "":
		return say(Warning, leaves, "moves to another member, which may be too full for all that its limits let it use: %s%s", tight, not)
	case why == "" && !ran:
		return say(Okay, leaves, "moves to another member, stopped as it is%s", not)
	case why == "" && i.LiveMovable:
		return say(Okay, leaves, "moves to another member while it runs%s", not)
	case why == "":
		return say(Okay, leaves, "stops, moves to another member and starts there%s%s", frozenSuffix(i), not)
	case !ran:
		return say(Skip, stays, "%s: it stays, stopped as it is", why)
	case i.Evacuate == "stop":
		return say(Warning, stays, "%s: it is stopped and stays", why)
	case force || i.MayStop:
		return say(Warning, stays, "%s: it is stopped and stays, %s", why, allows)
	}
	return say(Error, leaves, "%s; force=true, or on-immovable: stop of its pet, stops it there for as long as the member is drained", why)
}

// frozen is for the end of what a plan says of an instance that is frozen.
func frozenSuffix(i Instance) string {
	if i.Frozen {
		return ", frozen as it is"
	}
	return ""
}

// immovable says why LXD does not move an instance; empty when it does.
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

// empty tells whether a drained member holds nothing but what stays there, stopped.
func isEmpty(view View, member string, record *Record) bool {
	return !slices.ContainsFunc(view.instancesOn(member), func(i Instance) bool {
		entry := record.entry(i)
		return entry == nil || !entry.Stays || i.Running
	})
}

// count gives "1 instance", "2 instances".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

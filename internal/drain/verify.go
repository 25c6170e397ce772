package drain

import (
	"fmt"
	"strings"
)

// Violation is something that keeps a drain or an undrain from being complete.
type Violation struct {
	Ref    Ref // empty when it is about the member itself
	Reason string
}

// String returns the violation as a line for an operator.
func (v Violation) String() string {
	if v.Ref == (Ref{}) {
		return v.Reason
	}
	return v.Ref.String() + ": " + v.Reason
}

// VerifyDrained returns what keeps a member from being drained: it has to be Evacuated, hold no
// instance but what stays there stopped, and what ran has to run elsewhere.
func VerifyDrained(view View, name string, record *Record) []Violation {
	var violations []Violation
	if m, _ := view.Member(name); m.Status != Evacuated {
		violations = append(violations, Violation{Reason: fmt.Sprintf("%s is %s, wanted Evacuated", name, m.Status)})
	}
	for _, i := range view.instancesOn(name) {
		e := record.entry(i)
		switch {
		case e == nil || !e.Stays:
			violations = append(violations, Violation{i.Ref, "is still on " + name})
		case i.Running:
			violations = append(violations, Violation{i.Ref, "still runs on " + name})
		}
	}
	for _, i := range view.leftovers(name) {
		violations = append(violations, Violation{i.Ref, "is still on " + name + ", although its copy has replaced it"})
	}
	for _, e := range record.Entries {
		i, there := view.find(e)
		if half, ok := view.halfMoved(e); ok {
			violations = append(violations, Violation{e.Ref, describeHalfMoved(half)})
		}
		if !there || i.Member == name || !e.Ran || i.Unobserved || e.To != "" && e.To != i.Member {
			continue
		}
		switch {
		case view.unsettled(i):
			violations = append(violations, Violation{i.Ref, "has not been moved completely to " + i.Member})
		case !i.Running && !e.MayStayStopped:
			violations = append(violations, Violation{i.Ref, "does not run on " + i.Member})
		case i.Running && e.Frozen && !i.Frozen && i.Origin == name:
			violations = append(violations, Violation{i.Ref, "is not frozen on " + i.Member + " as it was"})
		}
	}
	return violations
}

// VerifyUndrained returns what keeps a member from being undrained: it has to be Online, and what comes
// back has to be there, running if it has to.
func VerifyUndrained(view View, name string, record *Record) []Violation {
	var violations []Violation
	if m, _ := view.Member(name); m.Status != Online {
		violations = append(violations, Violation{Reason: fmt.Sprintf("%s is %s, wanted Online", name, m.Status)})
	}
	for _, e := range record.Entries {
		i, there := view.find(e)
		half, isHalf := view.halfMoved(e)
		switch {
		case isHalf && e.Returning:
			violations = append(violations, Violation{e.Ref, describeHalfMoved(half)})
		case there && !i.Unobserved && i.Member != name && i.Origin == name:
			violations = append(violations, Violation{i.Ref, "would come back when LXD restores " + name + ": its volatile.evacuate.origin is still set"})
		case !there || !e.Returning || e.postponement(name, i) != "":
		case i.Unobserved:
			violations = append(violations, Violation{i.Ref, "cannot be seen: LXD on " + name + " does not answer"})
		case i.Member != name && placedByDrain(view, e, i):
			violations = append(violations, Violation{i.Ref, "is still on " + i.Member})
		case i.Member == name && view.unsettled(i):
			violations = append(violations, Violation{i.Ref, "has not been moved completely"})
		case i.Member == name && e.StartAfter && !i.Running:
			violations = append(violations, Violation{i.Ref, "does not run"})
		case i.Member == name && e.StartAfter && e.Frozen && !i.Frozen:
			violations = append(violations, Violation{i.Ref, "is not frozen as it was"})
		}
	}
	return violations
}

// postponement returns why an undrain of a member leaves an instance where it is, until a later one;
// empty when it does not.
func (e Entry) postponement(name string, i Instance) string {
	if e.postponed == "" && i.Unobserved && i.Member != name {
		return unobservedReason(i.Member)
	}
	return e.postponed
}

// unobservedReason is why an instance on a member that does not answer does not come back.
func unobservedReason(member string) string {
	return fmt.Sprintf("is on %s, whose LXD does not answer: it comes back once it does", member)
}

// postponed lists the instances that an undrain of a member has left where they are until a later one,
// and why. The record has to stay as long as there are any.
func (r *Record) postponed(view View, name string) []Violation {
	var left []Violation
	for _, e := range r.Entries {
		if i, there := view.find(e); there && i.Member != name {
			if why := e.postponement(name, i); why != "" {
				left = append(left, Violation{i.Ref, why})
			}
		}
	}
	return left
}

// joinViolations returns violations as lines, with the error of each instance where there is one.
func joinViolations(violations []Violation, failed map[Ref]error) string {
	text := make([]string, len(violations))
	for n, v := range violations {
		text[n] = v.String()
		if err := failed[v.Ref]; err != nil {
			text[n] += ": " + err.Error()
		}
	}
	return strings.Join(text, "\n")
}

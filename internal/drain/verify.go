package drain

import (
	"fmt"
	"strings"
)

// Doubt is something that keeps a drain or an undrain from being true.
type Doubt struct {
	Ref    Ref // empty when it is about the member itself
	Reason string
}

// String gives the doubt as a line for an operator.
func (d Doubt) String() string {
	if d.Ref == (Ref{}) {
		return d.Reason
	}
	return d.Ref.String() + ": " + d.Reason
}

// ProveDrained gives what keeps a member from being drained: it has to be Evacuated, hold
// nothing but what stays there stopped, and what ran has to run elsewhere.
func ProveDrained(view View, name string, record *Record) []Doubt {
	var doubts []Doubt
	if m, _ := view.Member(name); m.Status != Evacuated {
		doubts = append(doubts, Doubt{Reason: fmt.Sprintf("%s is %s, wanted Evacuated", name, m.Status)})
	}
	for _, i := range view.on(name) {
		e := record.entry(i)
		switch {
		case e == nil || !e.Stays:
			doubts = append(doubts, Doubt{i.Ref, "is still on " + name})
		case i.Running:
			doubts = append(doubts, Doubt{i.Ref, "still runs on " + name})
		}
	}
	for _, e := range record.Entries {
		i, there := view.find(e)
		if half, ok := view.half(e); ok {
			doubts = append(doubts, Doubt{e.Ref, halfMoved(half)})
		}
		if !there || i.Member == name || !e.Ran || i.Unseen || e.To != "" && e.To != i.Member {
			continue
		}
		switch {
		case !i.Running && !e.Loose:
			doubts = append(doubts, Doubt{i.Ref, "does not run on " + i.Member})
		case i.Running && e.Frozen && !i.Frozen && i.Origin == name:
			doubts = append(doubts, Doubt{i.Ref, "is not frozen on " + i.Member + " as it was"})
		}
	}
	return doubts
}

// ProveUndrained gives what keeps a member from being undrained: it has to be Online, and
// what comes back has to be there, running if it has to.
func ProveUndrained(view View, name string, record *Record) []Doubt {
	var doubts []Doubt
	if m, _ := view.Member(name); m.Status != Online {
		doubts = append(doubts, Doubt{Reason: fmt.Sprintf("%s is %s, wanted Online", name, m.Status)})
	}
	for _, e := range record.Entries {
		i, there := view.find(e)
		half, isHalf := view.half(e)
		switch {
		case isHalf && e.Back:
			doubts = append(doubts, Doubt{e.Ref, halfMoved(half)})
		case there && !i.Unseen && i.Member != name && i.Origin == name:
			doubts = append(doubts, Doubt{i.Ref, "would come back when LXD restores " + name + ": its volatile.evacuate.origin is still set"})
		case !there || !e.Back || e.leftOut(name, i) != "":
		case i.Unseen:
			doubts = append(doubts, Doubt{i.Ref, "cannot be seen: LXD on " + name + " does not answer"})
		case i.Member != name && ours(view, e, i):
			doubts = append(doubts, Doubt{i.Ref, "is still on " + i.Member})
		case i.Member == name && e.Start && !i.Running:
			doubts = append(doubts, Doubt{i.Ref, "does not run"})
		case i.Member == name && e.Start && e.Frozen && !i.Frozen:
			doubts = append(doubts, Doubt{i.Ref, "is not frozen as it was"})
		}
	}
	return doubts
}

// leftOut says why an undrain of a member leaves an instance where it is, until a later one; empty
// when it does not.
func (e Entry) leftOut(name string, i Instance) string {
	if e.left == "" && i.Unseen && i.Member != name {
		return unseenOn(i.Member)
	}
	return e.left
}

// unseenOn is why an instance on a member that does not answer does not come back.
func unseenOn(member string) string {
	return fmt.Sprintf("is on %s, whose LXD does not answer: it comes back once it does", member)
}

// left lists the instances that an undrain of a member has left where they are until a later one,
// and why. The record has to stay as long as there are any.
func (r *Record) left(view View, name string) []Doubt {
	var left []Doubt
	for _, e := range r.Entries {
		if i, there := view.find(e); there && i.Member != name {
			if why := e.leftOut(name, i); why != "" {
				left = append(left, Doubt{i.Ref, why})
			}
		}
	}
	return left
}

// lines joins doubts, with the error that LXD gave for each where there is one.
func lines(doubts []Doubt, because map[Ref]error) string {
	text := make([]string, len(doubts))
	for n, d := range doubts {
		text[n] = d.String()
		if err := because[d.Ref]; err != nil {
			text[n] += ": " + err.Error()
		}
	}
	return strings.Join(text, "\n")
}

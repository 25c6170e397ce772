package drain

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Move is what happened to one instance.
type Move struct {
	Ref
	From, To string
	// State is "running", "stopped", "deleted" or what else there is to say of it.
	State string
}

// String gives the move as a line for an operator.
func (m Move) String() string {
	if m.To == "" || m.From == m.To {
		return fmt.Sprintf("%s: %s (%s)", m.Ref, m.From, m.State)
	}
	return fmt.Sprintf("%s: %s → %s (%s)", m.Ref, m.From, m.To, m.State)
}

// Report is what came of a drain or an undrain. It is filled in also when there is an
// error, as far as things went.
type Report struct {
	Plan  Plan
	Moves []Move
}

// Moved counts the instances that changed their member.
func (r Report) Moved() int {
	n := 0
	for _, m := range r.Moves {
		if m.To != "" && m.From != m.To {
			n++
		}
	}
	return n
}

// failed is the error of a drain or an undrain whose proof has doubts.
func (d Drainer) failed(ctx context.Context, verb, member string, doubts []Violation, because map[Ref]error, next string) error {
	what := joinViolations(doubts, because)
	if doubts[0].Ref != (Ref{}) && because[Ref{}] != nil {
		what += "\n" + because[Ref{}].Error()
	}
	if ctx.Err() != nil {
		return d.interrupted(ctx, verb, member, errors.New(what))
	}
	return fmt.Errorf("cannot %s %s, tried %d times: %s: %s", verb, member, attempts, next, indent(what))
}

// interrupted says of an error that time ran out, if it did.
func (d Drainer) interrupted(ctx context.Context, verb, member string, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("cannot %s %s in the time given: run %s again, it carries on where it is: %s", verb, member, verb, indent(err.Error()))
	}
	return err
}

func indent(text string) string {
	if !strings.Contains(text, "\n") {
		return text
	}
	return "\n" + text
}

// movedAway tells where a drain's instances are.
func movedAway(view View, member string, record *Record) []Move {
	moves := make([]Move, 0, len(record.Entries))
	for _, e := range record.Entries {
		m := Move{Ref: e.Ref, From: member}
		i, there := view.find(e)
		half, isHalf := view.halfMoved(e)
		switch {
		case isHalf:
			m.To, m.State = half.Member, stateOf(half)+", as "+half.Name
		case there:
			m.To, m.State = i.Member, stateOf(i)
		default:
			m.State = "deleted"
		}
		moves = append(moves, m)
	}
	return moves
}

// movedBack tells what an undrain changed.
func movedBack(before, after View, member string, record *Record) []Move {
	moves := make([]Move, 0, len(record.Entries))
	for _, e := range record.Entries {
		m := Move{Ref: e.Ref, From: member}
		if i, there := before.find(e); there {
			m.From = i.Member
		}
		i, there := after.find(e)
		half, isHalf := after.halfMoved(e)
		switch {
		case isHalf:
			m.To, m.State = half.Member, stateOf(half)+", as "+half.Name
		case !there:
			m.State = "deleted"
		case e.postponement(member, i) != "":
			m.To, m.State = i.Member, stateOf(i)+", left for a later undrain"
		case i.Member != member && !e.Returning:
			m.To, m.State = i.Member, stateOf(i)+", left where somebody moved it"
		default:
			m.To, m.State = i.Member, stateOf(i)
		}
		moves = append(moves, m)
	}
	return moves
}

func stateOf(i Instance) string {
	switch {
	case i.Unobserved:
		return "not known"
	case i.Frozen:
		return "frozen"
	case i.Running:
		return "running"
	}
	return "stopped"
}

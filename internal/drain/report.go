package drain

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Move is what happened to one instance.
type Move struct {
	Ref
	From, To string
	// State is "running", "stopped", "deleted" or another description.
	State string
	// Down is how long the instance was down for it; 0 is not known, or that it did not run.
	Down time.Duration
}

// String returns the move as a line for an operator.
func (m Move) String() string {
	if m.To == "" || m.From == m.To {
		return fmt.Sprintf("%s: %s (%s)", m.Ref, m.From, m.State)
	}
	down := ""
	if m.Down > 0 {
		down = fmt.Sprintf(", down for %.1fs", m.Down.Seconds())
	}
	return fmt.Sprintf("%s: %s → %s (%s%s)", m.Ref, m.From, m.To, m.State, down)
}

// Report is the result of a drain or an undrain. It is filled in also when there is an error, as far
// as the run came.
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

// failure is the error of a drain or an undrain that has violations.
func (r *run) failure(ctx context.Context, verb string, violations []Violation, advice string) error {
	what := joinViolations(violations, r.failed)
	if violations[0].Ref != (Ref{}) && r.failed[Ref{}] != nil {
		what += "\n" + r.failed[Ref{}].Error()
	}
	if ctx.Err() != nil {
		return r.interrupted(ctx, verb, errors.New(what))
	}
	return fmt.Errorf("cannot %s %s, tried %d times: %s: %s", verb, r.member, maxAttempts, advice, indent(what))
}

// interrupted adds to an error that the time has run out, if it has.
func (r *run) interrupted(ctx context.Context, verb string, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("cannot %s %s in the time given: run %s again, it resumes: %s", verb, r.member, verb, indent(err.Error()))
	}
	return err
}

// indent puts a text of several lines on lines of its own.
func indent(text string) string {
	if !strings.Contains(text, "\n") {
		return text
	}
	return "\n" + text
}

// movedAway returns where a drain's instances are.
func movedAway(view View, member string, record *Record) []Move {
	moves := make([]Move, 0, len(record.Entries))
	for _, e := range record.Entries {
		m := Move{Ref: e.Ref, From: member, Down: time.Duration(e.Down * float64(time.Second))}
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

// movedBack returns what an undrain changed.
func movedBack(before, after View, member string, record *Record, downs map[Ref]time.Duration) []Move {
	moves := make([]Move, 0, len(record.Entries))
	for _, e := range record.Entries {
		m := Move{Ref: e.Ref, From: member, Down: downs[e.Ref]}
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
			m.To, m.State = i.Member, stateOf(i)+", left where an operator moved it"
		default:
			m.To, m.State = i.Member, stateOf(i)
		}
		moves = append(moves, m)
	}
	return moves
}

// stateOf returns an instance's state in a word.
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

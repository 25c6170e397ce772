package drain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrKept is returned (wrapped) by a drain that moved the others: see Drainer.Others.
var ErrPartial = errors.New("the others have moved")

// Possible reports whether a drain may begin: with others, see Drainer.Others, it may although some
// instances can neither move nor be stopped. The error is why not, as that of Err.
func (p Plan) Startable(others bool) error {
	if p.Refusal == "" && others {
		return nil
	}
	return p.Err()
}

// keep notes in the record which instances keep the member from being emptied, and reports whether
// there are any.
func (p Plan) markKept() bool {
	if p.Refusal != "" || p.Done {
		return false
	}
	any := false
	for _, item := range p.Items {
		if item.Verdict != Error {
			continue
		}
		any = true
		for n := range p.record.Entries {
			if e := &p.record.Entries[n]; e.Ref == item.Ref && e.To == "" {
				e.KeptRunning, e.Stays, e.MayStayStopped = true, false, false
			}
		}
	}
	for n := range p.record.Entries {
		e := &p.record.Entries[n]
		e.MayStayStopped = e.MayStayStopped || any && e.Stays
	}
	return any
}

// drainOthers moves all that is not kept away from a member, and stops what stays there.
func (d Drainer) drainOthers(ctx context.Context, member string, view View, record *Record, report Report) (Report, error) {
	rooms, because := view.Capacities, map[Ref]error{}
	var left []Violation
	for attempt := 1; ; attempt++ {
		clear(because)
		view = d.mark(ctx, member, view, record)
		d.all(ctx, d.leaving(ctx, view, member, record, true), because)
		d.inherited = true
		var err error
		if view, record, err = d.track(ctx, member, record); err != nil {
			return report, d.interrupted(ctx, "drain", member, err)
		}
		view.Capacities = rooms
		report.Moves = movedAway(view, member, record)
		grouped := d.regroup(ctx, view, member, record)
		left = slices.DeleteFunc(VerifyDrained(view, member, record), func(doubt Violation) bool {
			return doubt.Ref == Ref{} || slices.ContainsFunc(record.Entries, func(e Entry) bool {
				return e.Ref == doubt.Ref && e.KeptRunning
			})
		})
		if len(left) == 0 && grouped || attempt == attempts || ctx.Err() != nil {
			break
		}
	}
	if len(left) > 0 {
		d.wake(ctx, view, record, stoppedOn(member))
		return report, d.failed(ctx, "drain", member, left, because, "it is tried again")
	}
	var kept []string
	for _, item := range report.Plan.Items {
		if item.Verdict == Error {
			kept = append(kept, item.Ref.String()+": "+item.Reason)
		}
	}
	return report, fmt.Errorf("cannot empty %s: %w, these run on: %s", member, ErrPartial, indent(strings.Join(kept, "\n")))
}

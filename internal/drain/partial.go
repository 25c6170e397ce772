package drain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrPartial is returned (wrapped) by a drain that moved the others: see Drainer.Partial.
var ErrPartial = errors.New("the others have moved")

// Startable returns nil if a drain may begin: with partial, see Drainer.Partial, it may although some
// instances can neither move nor be stopped. The error is that of Err.
func (p Plan) Startable(partial bool) error {
	if p.Refusal == "" && partial {
		return nil
	}
	return p.Err()
}

// markKept notes in the record which instances keep the member from being empty, and reports whether
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

// drainPartially moves all that is not kept away from the member, and stops what stays there.
func (r *run) drainPartially(ctx context.Context, report Report) (Report, error) {
	var left []Violation
	for attempt := 1; ; attempt++ {
		clear(r.failed)
		r.setOrigins(ctx)
		r.runTasks(ctx, r.drainTasks(true))
		r.resumed = true
		if err := r.track(ctx); err != nil {
			return report, r.interrupted(ctx, "drain", err)
		}
		report.Moves = movedAway(r.view, r.member, r.record)
		restored := r.restoreVolatileKeys(ctx, r.record)
		left = slices.DeleteFunc(VerifyDrained(r.view, r.member, r.record), func(v Violation) bool {
			return v.Ref == Ref{} || slices.ContainsFunc(r.record.Entries, func(e Entry) bool {
				return e.Ref == v.Ref && e.KeptRunning
			})
		})
		if len(left) == 0 && restored || attempt == maxAttempts || ctx.Err() != nil {
			break
		}
	}
	defer r.deleteLeftovers(ctx, true)
	if len(left) > 0 {
		r.restartStopped(ctx, r.stoppedForDrain)
		return report, r.failure(ctx, "drain", left, "it is tried again")
	}
	var kept []string
	for _, item := range report.Plan.Items {
		if item.Verdict == Error {
			kept = append(kept, item.Ref.String()+": "+item.Reason)
		}
	}
	return report, fmt.Errorf("cannot drain %s: %w, these run on: %s", r.member, ErrPartial, indent(strings.Join(kept, "\n")))
}

// KeptRunning lists the instances on a member that its partial drain leaves running there.
func (v View) KeptRunning(member string) []Ref {
	record := v.Records[member]
	var kept []Ref
	for _, i := range v.instancesOn(member) {
		if e := record.entry(i); e != nil && e.KeptRunning && record.Phase == Draining {
			kept = append(kept, i.Ref)
		}
	}
	return kept
}

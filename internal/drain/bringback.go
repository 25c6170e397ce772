package drain

import (
	"context"
)

// Undrain brings back what a drain moved and returns when it was seen back. It carries on
// with an undrain that did not come to its end, and undoes a drain that did not.
func (d Drainer) Undrain(ctx context.Context, member string) (Report, error) {
	if err := d.Cluster.Settle(ctx, member); err != nil {
		return Report{}, err
	}
	view, err := Look(ctx, d.Cluster, d.Journal)
	if err != nil {
		return Report{}, err
	}
	plan := PlanUndrain(view, member)
	report := Report{Plan: plan}
	if err := plan.Err(); err != nil || plan.Done {
		return report, err
	}
	// First what is to run again is written down: from here on it may be stopped.
	plan.record.Run++
	was := recorded(view, member)
	d.inherited = was.Phase != Drained
	record, err := d.write(ctx, member, was, plan.record)
	if err != nil {
		return report, err
	}
	d.processors = d.Cluster.Processors(ctx, member)
	d.Lanes.expect(d.Apart)
	before := view
	because := map[Ref]error{}
	for attempt := 1; ; attempt++ {
		d.undrainOnce(ctx, member, view, record, because)
		d.inherited = true
		if view, err = Look(ctx, d.Cluster, d.Journal); err != nil {
			return report, d.interrupted(ctx, "undrain", member, err)
		}
		d.regroup(ctx, view, member, record)
		report.Moves = movedBack(before, view, member, record)
		doubts := ProveUndrained(view, member, record)
		if len(doubts) == 0 {
			break
		}
		if attempt == attempts || ctx.Err() != nil {
			return report, d.failed(ctx, "undrain", member, doubts, because, "run undrain again to carry on")
		}
	}
	_, err = d.write(ctx, member, record, nil)
	return report, err
}

// undrainOnce does all that there is to do, once, and goes on with the next where one
// fails.
func (d Drainer) undrainOnce(ctx context.Context, member string, view View, record *Record, because map[Ref]error) {
	clear(because)
	m, _ := view.Member(member)
	// LXD's restore brings back whatever names this member as its origin: also what an operator
	// has since put elsewhere, one at a time, and it gives up at the first that fails. So
	// nothing names it, and the moves are made here. What was here all the time names it only
	// when a drain did not come to its end.
	because[Ref{}] = d.origins(ctx, view, "", func(i Instance) bool {
		return i.Origin == member && (record.entry(i) != nil || m.Status == Evacuated && i.Member != member)
	})
	if because[Ref{}] != nil {
		return
	}
	if m.Status == Evacuated {
		d.say("restoring %s", member)
		if err := d.Cluster.Restore(ctx, member, func(line string) { d.say("%s", line) }); err != nil {
			because[Ref{}] = err
			return
		}
		var err error
		if view, err = Look(ctx, d.Cluster, d.Journal); err != nil {
			because[Ref{}] = err
			return
		}
	}
	var jobs []job
	for n := range record.Entries {
		e := &record.Entries[n]
		i, there := view.find(*e)
		switch {
		case !there || !e.Back:
		case i.Member == member && e.Start && !i.Running:
			jobs = append(jobs, job{i.Ref, func(d Drainer) error {
				d.say("starting %s on %s", i.Ref, member)
				return d.Cluster.Start(ctx, i.Ref, member)
			}})
		case i.Member != member && ours(view, *e, i):
			jobs = append(jobs, job{i.Ref, func(d Drainer) error {
				if err := d.reach(ctx, i.Member, member); err != nil {
					return err
				}
				return d.move(ctx, i, member, e.Start)
			}})
		}
	}
	d.all(ctx, jobs, because)
}

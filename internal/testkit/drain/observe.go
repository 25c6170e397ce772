package draintest

import (
	"context"
	"fmt"
	"slices"

	"github.com/dcib/dcib/internal/drain"
)

// Members implements drain.Observer.
func (l *LXD) Members(context.Context) ([]drain.Member, error) {
	return slices.Clone(l.Member), l.call()
}

// Instances implements drain.Observer.
func (l *LXD) Instances(context.Context) ([]drain.Instance, error) {
	all := make([]drain.Instance, len(l.Instance))
	for n, i := range l.Instance {
		all[n] = l.named(*i)
		if l.offline(i) {
			all[n] = l.named(drain.Instance{Ref: i.Ref, Member: i.Member, Unobserved: true})
		}
	}
	return all, l.call()
}

// offline reports whether an instance is on a member that cannot be asked.
func (l *LXD) offline(i *drain.Instance) bool {
	return slices.ContainsFunc(l.Member, func(m drain.Member) bool { return m.Name == i.Member && m.Status == drain.Offline })
}

// Capacities implements drain.Observer.
func (l *LXD) Capacities(context.Context, []drain.Instance) (map[string]drain.Capacity, error) {
	return l.Capacity, l.call()
}

// Processors implements drain.Observer.
func (l *LXD) Processors(context.Context, string) int { return l.CPUs }

// Records implements drain.Journal.
func (l *LXD) Records(context.Context) (map[string]drain.Record, error) {
	records := map[string]drain.Record{}
	for member, text := range l.Journal {
		r, err := drain.Decode(text)
		if err != nil {
			return nil, err
		}
		records[member] = r
	}
	return records, l.call()
}

// Write implements drain.Journal.
func (l *LXD) Write(_ context.Context, member string, before, after *drain.Record) error {
	if err := l.call(); err != nil {
		return err
	}
	there, ok := l.Journal[member]
	if ok != (before != nil) || before != nil && before.Encode() != there {
		return fmt.Errorf("cannot write the record of %s: %w", member, drain.ErrConflict)
	}
	m := l.member(member)
	scheduler, err := drain.SchedulerFor(m.Scheduler, before, after)
	if err != nil {
		return fmt.Errorf("cannot write the record of %s: %w", member, err)
	}
	m.Scheduler = scheduler
	if after == nil {
		delete(l.Journal, member)
	} else {
		l.Journal[member] = after.Encode()
	}
	return nil
}

// Backups implements drain.Observer.
func (l *LXD) Backups(_ context.Context, instances []drain.Instance) (map[drain.Ref]int, error) {
	all := map[drain.Ref]int{}
	for _, i := range instances {
		if n := l.BackupCount[i.Ref]; n > 0 {
			all[i.Ref] = n
		}
	}
	return all, nil // no call of its own: part of the observation of the instances
}

// ChecksVoters implements drain.Observer.
func (l *LXD) ChecksVoters(context.Context) (bool, error) { return l.VoterCheck, l.call() }

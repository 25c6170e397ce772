package drain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// maxAttempts is how often the instances of a member are worked through before what still fails is
// reported.
const maxAttempts = 3

// cleanupTimeout bounds what is done for stopped instances when a run ends, also after its context.
const cleanupTimeout = time.Minute

// run is one drain, undrain or move of a member's instances.
type run struct {
	Drainer
	member  string
	limiter *MoveLimiter // Drainer.Limiter; without one, moves are done one after another

	view   View          // as observed last
	record *Record       // as written last
	failed map[Ref]error // of the last attempt, by instance; the empty Ref is the member itself

	copyFailed map[Ref]bool          // see noteCopyFailed
	downs      map[Ref]time.Duration // how long each instance was down, where that is known
	resumed    bool                  // an earlier run has begun: LXD may still do what that one asked for
	processors int                   // of the member; 0 is not known
	reachable  sync.Map              // [2]string{from, to} that WaitReachable returned for, in this pass
	mu         sync.Mutex
	amending   sync.Mutex
}

// newRun returns a run of d for a member, before anything was observed.
func (d Drainer) newRun(member string) *run {
	r := &run{Drainer: d, member: member, limiter: d.Limiter, failed: map[Ref]error{}}
	if r.limiter == nil {
		r.limiter = NewMoveLimiter(1, 0)
	}
	return r
}

// prepare waits until LXD does not change the member any more, and fills in the view. It first renames
// instances that LXD left under a temporary name.
func (r *run) prepare(ctx context.Context, observe observer) error {
	if err := r.Cluster.WaitIdle(ctx, r.member); err != nil {
		return err
	}
	var err error
	if r.view, err = observe(ctx, r.Cluster, r.Journal, r.member); err != nil {
		return err
	}
	renamed, deleted := r.renameHalfMoved(ctx), r.deleteLeftovers(ctx, false)
	if renamed || deleted {
		r.view, err = observe(ctx, r.Cluster, r.Journal, r.member)
	}
	return err
}

// begin writes the record before anything is changed. resumed reports that an earlier run began it.
func (r *run) begin(ctx context.Context, record *Record, resumed bool) error {
	r.resumed, r.record = resumed, recordOf(r.view, r.member)
	if err := r.write(ctx, record); err != nil {
		return err
	}
	r.processors = r.Cluster.Processors(ctx, r.member)
	r.limiter.setInitialSpacing(r.StartSpacing)
	return nil
}

// status returns the member's status, as observed last.
func (r *run) status() MemberStatus {
	m, _ := r.view.Member(r.member)
	return m.Status
}

// observe refreshes the view. The capacities stay those that the run was planned with.
func (r *run) observe(ctx context.Context) error {
	view, err := Observe(ctx, r.Cluster, r.Journal)
	if err != nil {
		return err
	}
	view.Capacities, view.Backups, view.CopyBlockers = r.view.Capacities, r.view.Backups, r.view.CopyBlockers
	r.view = view
	return nil
}

// track observes again and records where the instances of a drain are.
func (r *run) track(ctx context.Context) error {
	if err := r.observe(ctx); err != nil {
		return err
	}
	next := r.record.clone()
	next.track(r.view, r.member)
	for n := range next.Entries {
		e := &next.Entries[n]
		if i, there := r.view.find(*e); there && i.Running {
			e.Stopping = false
		}
		if down := r.downs[e.Ref]; down > 0 {
			e.Down = down.Seconds()
		}
	}
	for _, i := range r.view.instancesOn(r.member) {
		if next.entry(i) == nil {
			// It came while the member was being drained.
			e := Entry{Ref: i.Ref, ID: i.ID, Ran: i.Running}
			e.noteVolatile(i)
			next.Entries = append(next.Entries, e)
		}
	}
	return r.write(ctx, next)
}

// recordOf returns a member's record as it was observed; nil when there is none.
func recordOf(view View, member string) *Record {
	if r, ok := view.Records[member]; ok {
		return &r
	}
	return nil
}

// write replaces the record; nil removes it. It fails when another writer has replaced it before.
func (r *run) write(ctx context.Context, next *Record) error {
	if r.record == nil || next == nil || r.record.Encode() != next.Encode() {
		err := r.Journal.Write(ctx, r.member, r.record, next)
		if errors.Is(err, ErrConflict) {
			err = fmt.Errorf("cannot continue with %s: another action works on it too: wait for that one: %w", r.member, err)
		}
		if err != nil {
			return err
		}
	}
	r.record = next
	return nil
}

// amend writes a change to one entry of the record while tasks are in progress.
func (r *run) amend(ctx context.Context, e Entry, change func(*Entry)) error {
	r.amending.Lock()
	defer r.amending.Unlock()
	next := r.record.clone()
	for n := range next.Entries {
		if next.Entries[n].Ref == e.Ref && next.Entries[n].ID == e.ID {
			change(&next.Entries[n])
			return r.write(ctx, next)
		}
	}
	return nil
}

// noteDown notes how long an instance was down, to hundredths of a second; 0 is not known.
func (r *run) noteDown(i Ref, down time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.downs == nil {
		r.downs = map[Ref]time.Duration{}
	}
	r.downs[i] += down.Round(10 * time.Millisecond)
}

// setOrigin sets the origin of the view's instances that match, in LXD and in the view, several at a
// time. The error is the first.
func (r *run) setOrigin(ctx context.Context, origin string, matches func(Instance) bool) error {
	r.view.Instances = slices.Clone(r.view.Instances)
	var setting errgroup.Group
	setting.SetLimit(r.limiter.slotCount())
	for n := range r.view.Instances {
		if i := &r.view.Instances[n]; matches(*i) {
			setting.Go(func() error {
				err := r.Cluster.SetOrigin(ctx, i.Ref, origin)
				if err == nil {
					i.Origin = origin
				}
				return err
			})
		}
	}
	return setting.Wait()
}

// restartStopped starts, where they are, the instances that were stopped for a move that then failed.
func (r *run) restartStopped(ctx context.Context, stopped func(Entry, Instance) bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	r.restartHalfMoved(ctx)
	for _, e := range r.record.Entries {
		if i, there := r.view.find(e); there && !i.Running && !i.Unobserved && stopped(e, i) {
			r.say("starting %s, which could not leave, on %s again", i.Ref, i.Member)
			if err := r.start(ctx, e, i, i.Member); err != nil {
				r.say("%s", err)
			}
		}
	}
}

func (d Drainer) now() time.Time {
	if d.Now == nil {
		return time.Now().UTC().Truncate(time.Second)
	}
	return d.Now()
}

// say reports progress, one line at a time.
func (r *run) say(format string, args ...any) {
	if r.Progress == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Progress(format, args...)
}

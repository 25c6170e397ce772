package drain

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// copyFirst is CopyFirst: the instance is down while LXD copies what has changed since the copy before,
// whatever its size. A run that resumes finds what there is by its name, see View.halfMoved and copyOf:
// until the copy has the instance's name, the instance is the original.
var copyFirst = method{
	describe: func(i Instance) string {
		if i.Frozen {
			return "is copied to another member, stops, and its copy starts there, frozen as it is: down for seconds"
		}
		return "is copied to another member while it runs, stops, and its copy starts there: down for seconds"
	},
	steps: []step{
		{stepWait, waitIfResumed},
		{stepCopy, copyWhileItRuns},
		{stepStop, stopCopied},
		{stepRefresh, refreshStopped},

		{stepSwap, swap},
		{stepStart, startIfWanted},
		{stepDelete, deleteReplaced},
	},
}

// Copy is where a copy of an instance is made, and for whom.
type Copy struct {
	Name   string // see copyName
	Member string
	For    string // the member whose drain or undrain it is for
	Of     string // the ID of the instance
}

// CopyState is the instance of a copy when that was complete.
type CopyState struct {
	Running   bool
	LastStart time.Time
}

// The names of what copyFirst makes. Neither is a name that Juju assigns to the instances of a model.
const (
	copyPrefix     = "dcib-copy-"
	replacedPrefix = "dcib-old-"
)

// copyName returns the name of the copy of the instance with that ID.
func copyName(id string) string { return copyPrefix + id }

// replacedName returns the name that an instance has while its copy takes its own.
func replacedName(id string) string { return replacedPrefix + id }

// temporary matches those names; an ID is a UUID.
var temporary = regexp.MustCompile(`^(dcib-copy-|dcib-old-)([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$`)

// ParseTemporaryName returns the ID of the instance that has a name of copyFirst's, and whether that is
// the name of a copy; ok is false for any other name.
func ParseTemporaryName(name string) (id string, isCopy, ok bool) {
	m := temporary.FindStringSubmatch(name)
	if m == nil {
		return "", false, false
	}
	return m[2], m[1] == copyPrefix, true
}

// An instance is copied again while it runs until a copy took no longer than smallDelta, or maxCopies were
// made: the last one, after the stop, is what it is down for.
const (
	maxCopies  = 3
	smallDelta = 2 * time.Second
)

// copyRef returns the copy of the transfer's instance.
func (t *transfer) copyRef() Ref {
	return Ref{Project: t.instance.Project, Name: copyName(t.instance.ID)}
}

// copy makes the copy of the transfer's instance, or brings it up to date.
func (t *transfer) copy(ctx context.Context, r *run) (err error) {
	t.copied, err = r.Cluster.Copy(ctx, t.instance.Ref, Copy{Name: copyName(t.instance.ID), Member: t.target, For: r.member, Of: t.instance.ID})
	if err != nil && ctx.Err() == nil {
		r.noteCopyFailed(t.instance.Ref)
	}
	return err
}

func copyWhileItRuns(ctx context.Context, r *run, t *transfer) error {
	if t.away() {
		return nil
	}
	for n := range maxCopies {
		began := time.Now()
		if err := t.copy(ctx, r); err != nil {
			return err
		}
		if !t.copied.Running || n > 0 && time.Since(began) <= smallDelta {
			return nil
		}
	}
	return nil
}

// stopCopied stops the instance. One that an operator stopped while it was copied stays stopped.
func stopCopied(ctx context.Context, r *run, t *transfer) error {
	if t.away() {
		return nil
	}
	if t.start && !t.copied.Running && !t.entry.Stopping && t.instance.Running {
		r.say("%s was stopped meanwhile: it stays stopped", t.instance.Ref)
		t.start = false
		return r.amend(ctx, t.entry, func(e *Entry) { e.Ran, e.StartAfter = false, false })
	}
	if err := r.amend(ctx, t.entry, func(e *Entry) { e.Stopping = true }); err != nil {
		return err
	}
	return r.Cluster.Stop(ctx, t.instance.Ref)
}

func refreshStopped(ctx context.Context, r *run, t *transfer) error {
	if t.away() {
		return nil
	}
	if err := t.copy(ctx, r); err != nil {
		return err
	}
	if t.copied.Running {
		return errors.Join(fmt.Errorf("cannot move %s: it was started again when it had stopped", t.instance.Ref), r.amend(ctx, t.entry, func(e *Entry) { e.Stopping = false }))
	}
	return nil
}

// swap renames the copy to the instance's name. What fails in between is undone: under its own name the
// instance is the original.
func swap(ctx context.Context, r *run, t *transfer) error {
	if t.away() {
		return nil
	}
	original := Ref{Project: t.instance.Project, Name: replacedName(t.instance.ID)}
	if err := r.Cluster.Rename(ctx, t.instance.Ref, original.Name); err != nil {
		return err
	}
	err := r.Cluster.Adopt(ctx, original, t.copyRef(), t.copied, false)
	if err == nil {
		err = r.Cluster.Rename(ctx, t.copyRef(), t.instance.Name)
	}
	if err != nil {
		return errors.Join(err, r.Cluster.Rename(context.WithoutCancel(ctx), original, t.instance.Name))
	}
	t.at = t.target
	return r.Cluster.Adopt(ctx, original, t.instance.Ref, t.copied, true)
}

func deleteReplaced(ctx context.Context, r *run, t *transfer) error {
	return r.Cluster.DeleteTemporary(ctx, Ref{Project: t.instance.Project, Name: replacedName(t.instance.ID)})
}

// settle completes the swap of an instance that has its name on its new member.
func (r *run) settle(ctx context.Context, e Entry, i Instance, start bool) error {
	r.say("completing the move of %s to %s", i.Ref, i.Member)
	original := Ref{Project: i.Project, Name: replacedName(i.ID)}
	if i.CopyFor != "" {
		if err := r.Cluster.Adopt(ctx, original, i.Ref, CopyState{}, true); err != nil {
			return err
		}
	}
	if start && !i.Running {
		if err := r.start(ctx, e, i, i.Member); err != nil {
			return err
		}
	}
	return r.Cluster.DeleteTemporary(ctx, original)
}

// noteCopyFailed notes that an instance could not be copied in this run.
func (r *run) noteCopyFailed(i Ref) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.copyFailed == nil {
		r.copyFailed = map[Ref]bool{}
	}
	r.copyFailed[i] = true
}

// hasCopyFailed reports whether an instance could not be copied in this run.
func (r *run) hasCopyFailed(i Ref) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.copyFailed[i]
}

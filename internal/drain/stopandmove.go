package drain

import (
	"context"
	"errors"
	"time"
)

// stopAndMove is StopAndMove: the instance is down for the time that its root disk is copied.
var stopAndMove = method{
	describe: func(i Instance) string {
		if i.Frozen {
			return "stops, moves to another member and starts there, frozen as it is"
		}
		return "stops, moves to another member and starts there"
	},
	steps: []step{
		{stepWait, waitIfResumed},
		{stepRelocate, relocate},
		{stepStop, stop},
		{stepMove, moveStopped},
		{stepStart, startIfWanted},
	},
}

// waitIfResumed is waitForEarlierMove in a run that resumes: otherwise there is no earlier move.
func waitIfResumed(ctx context.Context, r *run, t *transfer) error {
	if !r.resumed {
		return nil
	}
	return waitForEarlierMove(ctx, r, t)
}

// relocate has LXD stop, move and start the instance in one operation, which completes the transfer.
// Where that fails, what is left is done in steps.
func relocate(ctx context.Context, r *run, t *transfer) error {
	if !t.start || t.entry.Frozen || t.away() {
		return nil
	}
	began := time.Now()
	moved, err := r.Cluster.Relocate(ctx, t.instance.Ref, t.target)
	switch all := time.Since(began); {
	case err == nil:
		t.complete, t.untimed = true, moved <= 0 || moved > all
		t.took[stepStop], t.took[stepMove] = all-moved, moved
		return nil
	case ctx.Err() != nil:
		return err
	case errors.Is(err, ErrNotRelocatable):
		return nil
	}
	r.say("%s: continuing in steps", err)
	return waitForEarlierMove(ctx, r, t)
}

func stop(ctx context.Context, r *run, t *transfer) error {
	if t.away() {
		return nil
	}
	return r.Cluster.Stop(ctx, t.instance.Ref)
}

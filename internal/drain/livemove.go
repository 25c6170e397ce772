package drain

import "context"

// liveMove is LiveMove: LXD moves the memory too, so the instance is not started again.
var liveMove = method{
	describe: func(Instance) string { return "moves to another member while it runs" },
	steps: []step{
		{stepWait, waitForEarlierMove},
		{stepMove, moveLive},
	},
}

// waitForEarlierMove waits until no move of the instance is in progress: LXD continues a move whose
// client is gone, and any member that it chose is good.
func waitForEarlierMove(ctx context.Context, r *run, t *transfer) (err error) {
	t.at, err = r.Cluster.WaitMoved(ctx, t.instance.Ref)
	return err
}

func moveLive(ctx context.Context, r *run, t *transfer) error { return t.move(ctx, r, true) }

// move moves the instance unless it has left already.
func (t *transfer) move(ctx context.Context, r *run, live bool) error {
	if t.away() {
		return nil
	}
	if err := r.Cluster.Move(ctx, t.instance.Ref, t.target, live); err != nil {
		return err
	}
	t.at = t.target
	return nil
}

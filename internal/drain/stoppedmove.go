package drain

import "context"

// stoppedMove is StoppedMove. The instance is started where an earlier attempt has stopped it.
var stoppedMove = method{
	describe: func(Instance) string { return "moves to another member, stopped as it is" },
	steps: []step{
		{stepWait, waitForEarlierMove},
		{stepMove, moveStopped},
		{stepStart, startIfWanted},
	},
}

func moveStopped(ctx context.Context, r *run, t *transfer) error { return t.move(ctx, r, false) }

// startIfWanted starts the instance where it is now, if it has to run.
func startIfWanted(ctx context.Context, r *run, t *transfer) error {
	if !t.start {
		return nil
	}
	return r.start(ctx, t.entry, t.instance, t.at)
}

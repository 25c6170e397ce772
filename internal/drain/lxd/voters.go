package drainlxd

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/lxd"
)

// ChecksVoters implements drain.Observer.
func (c Cluster) ChecksVoters(context.Context) (bool, error) {
	server, _, err := c.Server.GetServer()
	if err != nil {
		return false, fmt.Errorf("cannot read LXD's version: %w", err)
	}
	return lxd.FeaturesOf(server).AsksVoters, nil
}

// waitForOtherEvacuations waits until no other member is being evacuated, where LXD evacuates one at a
// time.
func (c Cluster) waitForOtherEvacuations(ctx context.Context, member string, progress func(string)) error {
	if asks, err := c.ChecksVoters(ctx); err != nil || !asks {
		return err
	}
	for said := ""; ; {
		operations, err := lxd.Operations(ctx, c.Server)
		if err != nil {
			return err
		}
		n := slices.IndexFunc(operations, func(op api.Operation) bool {
			return op.Location != member && !op.StatusCode.IsFinal() && op.Description == stateOperations[0]
		})
		if n < 0 {
			return nil
		}
		if other := operations[n].Location; said != other {
			said = other
			progress("waiting for the evacuation of " + other)
		}
		select {
		case <-time.After(pollInterval):
		case <-ctx.Done():
			return fmt.Errorf("cannot evacuate %s: LXD still evacuates %s: %w", member, said, ctx.Err())
		}
	}
}

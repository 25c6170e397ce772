package drainlxd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/lxd"
)

// pollInterval is how often LXD is asked whether an operation has ended.
const pollInterval = time.Second

// stateOperations are the descriptions of LXD's operations that change a member's state.
var stateOperations = []string{"Evacuating cluster member", "Restoring cluster member"}

// WaitIdle implements drain.Evacuator. An operation continues in LXD after its client is gone, and there
// is no handle to wait for, so the operations are polled. Then it undoes what an Evacuate that was killed
// has left behind.
func (c Cluster) WaitIdle(ctx context.Context, member string) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		operations, err := lxd.Operations(ctx, c.Server)
		if err != nil {
			return err
		}
		busy := slices.ContainsFunc(operations, func(op api.Operation) bool {
			return op.Location == member && !op.StatusCode.IsFinal() && slices.Contains(stateOperations, op.Description)
		})
		if !busy {
			return c.undoStopInPlace(ctx, member)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("cannot continue: LXD still evacuates or restores %s: %w", member, ctx.Err())
		}
	}
}

// Evacuate implements drain.Evacuator.
func (c Cluster) Evacuate(ctx context.Context, member string, progress func(string)) error {
	err := c.stopInPlace(ctx, member, "evacuate")
	for err == nil {
		if err = c.waitForOtherEvacuations(ctx, member, progress); err != nil {
			break
		}
		if err = c.setState(ctx, member, "evacuate", "", progress); err == nil || !strings.Contains(err.Error(), "evacuation is in progress") {
			break
		}
		// The evacuation of another member began in the same moment.
		select {
		case <-time.After(pollInterval):
			err = nil
		case <-ctx.Done():
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return errors.Join(err, c.undoStopInPlace(ctx, member))
}

// Restore implements drain.Evacuator.
func (c Cluster) Restore(ctx context.Context, member string, progress func(string)) error {
	err := c.stopInPlace(ctx, member, "restore")
	if err == nil {
		err = c.setState(ctx, member, "restore", "", progress)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return errors.Join(err, c.undoStopInPlace(ctx, member))
}

// RestoreWithoutInstances implements drain.Evacuator, with mode skip of LXD's restore (5.21.4 and later).
func (c Cluster) RestoreWithoutInstances(ctx context.Context, member string) error {
	server, _, err := c.Server.GetServer()
	if err != nil {
		return fmt.Errorf("cannot read LXD's API extensions: %w", err)
	}
	if !lxd.FeaturesOf(server).RestoreSkip {
		return fmt.Errorf("cannot restore %s without its instances: LXD %s: %w", member, server.Environment.ServerVersion, errors.ErrUnsupported)
	}
	return c.setState(ctx, member, "restore", "skip", func(string) {})
}

// setState changes a member's state and waits for the end of the operation.
func (c Cluster) setState(ctx context.Context, member, action, mode string, progress func(string)) error {
	// The library's UpdateClusterMemberState requires API extension clustering_restore_skip_mode for every
	// action; LXD 5.0 has the actions without it.
	path := api.NewURL().Path("1.0", "cluster", "members", member, "state").String()
	put := map[string]string{"action": action}
	if mode != "" {
		put["mode"] = mode
	}
	last := ""
	err := lxd.Operate(ctx, c.Server, http.MethodPost, path, put, "", func(o api.Operation) {
		if line, _ := o.Metadata["evacuation_progress"].(string); line != "" && line != last {
			last = line
			progress(line)
		}
	})
	if err == nil {
		return nil
	}
	err = fmt.Errorf("cannot %s %s: %w", action, member, err)
	if ctx.Err() == nil {
		// Perhaps only the connection was lost, and the operation continues.
		err = errors.Join(err, c.WaitIdle(ctx, member))
	}
	return err
}

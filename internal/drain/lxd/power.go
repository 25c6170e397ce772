package drainlxd

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/drain"
)

// Start implements drain.Mover.
func (c Cluster) Start(ctx context.Context, i drain.Ref, member string) error {
	c = c.onMember(member)
	err := c.power(ctx, i, api.InstanceStatePut{Action: "start", Timeout: -1})
	if err == nil {
		return nil
	}
	if there, _, lost := c.project(i).GetInstance(i.Name); lost == nil && isRunning(*there) {
		return nil
	}
	return fmt.Errorf("cannot start %s: %w", i, err)
}

// Freeze implements drain.Mover.
func (c Cluster) Freeze(ctx context.Context, i drain.Ref, member string) error {
	c = c.onMember(member)
	err := c.power(ctx, i, api.InstanceStatePut{Action: "freeze", Timeout: -1})
	if err == nil {
		return nil
	}
	if there, _, lost := c.project(i).GetInstance(i.Name); lost == nil && there.StatusCode == api.Frozen {
		return nil
	}
	return fmt.Errorf("cannot freeze %s: %w", i, err)
}

// defaultShutdownSeconds is how long LXD waits for an instance to shut down that does not set
// boot.host_shutdown_timeout.
const defaultShutdownSeconds = 30

// maxShutdownSeconds bounds that option: the instance's owner writes it, and could keep a member from
// being drained by it.
const maxShutdownSeconds = 3600

// Stop implements drain.Mover. Only an instance that had its time to shut down is stopped by force. With
// one of forty LXD 5.0 gives up at once ("shutting down the container failed") although it is shutting
// down, and LXD's own evacuation then kills it (lxd 5.0.2, lxd/api_cluster.go): it is asked again.
func (c Cluster) Stop(ctx context.Context, i drain.Ref) error {
	return c.stop(ctx, i, time.Now())
}

// stop is Stop of an instance that has been shutting down since began.
func (c Cluster) stop(ctx context.Context, i drain.Ref, began time.Time) error {
	for pause := pollInterval / 10; ; pause = min(2*pause, pollInterval) {
		there, _, err := c.project(i).GetInstance(i.Name)
		if err != nil {
			return fmt.Errorf("cannot stop %s: %w", i, err)
		}
		if !isRunning(*there) {
			return nil
		}
		timeout, err := strconv.Atoi(there.ExpandedConfig["boot.host_shutdown_timeout"])
		if err != nil {
			timeout = defaultShutdownSeconds
		}
		timeout = min(timeout, maxShutdownSeconds)
		put := api.InstanceStatePut{Action: "stop", Timeout: -1, Force: true}
		if left := timeout - int(time.Since(began)/time.Second); left > 0 {
			put = api.InstanceStatePut{Action: "stop", Timeout: left}
		}
		err = c.power(ctx, i, put)
		if err == nil {
			return nil
		}
		if put.Force {
			return fmt.Errorf("cannot stop %s: %w", i, err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("cannot stop %s in the time given: %w", i, ctx.Err()) // whatever LXD said last
		}
	}
}

// power changes the state of an instance.
func (c Cluster) power(ctx context.Context, i drain.Ref, put api.InstanceStatePut) error {
	return c.operate(ctx, http.MethodPut, instanceURL(i, "state"), put)
}

package drainlxd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/lxd"
)

// Move implements drain.Mover.
func (c Cluster) Move(ctx context.Context, i drain.Ref, member string, live bool) error {
	post := api.InstancePost{Name: i.Name, Migration: true, Live: live}
	if err := c.operate(ctx, http.MethodPost, instanceURL(i).Target(member), post); err != nil {
		return fmt.Errorf("cannot move %s to %s: %w", i, member, err)
	}
	return nil
}

// Rename implements drain.Mover.
func (c Cluster) Rename(ctx context.Context, i drain.Ref, name string) error {
	fail := func(err error) error { return fmt.Errorf("cannot rename %s to %s: %w", i, name, err) }
	// The operation of a move has the name that the instance had.
	if err := c.waitNotMoving(ctx, drain.Ref{Project: i.Project, Name: name}); err != nil {
		return fail(err)
	}
	if _, _, err := c.project(i).GetInstance(i.Name); err != nil {
		if api.StatusErrorCheck(err, http.StatusNotFound) {
			return nil
		}
		return fail(err)
	}
	if err := c.operate(ctx, http.MethodPost, instanceURL(i), api.InstancePost{Name: name}); err != nil {
		return fail(err)
	}
	return nil
}

// Relocate implements drain.Mover. LXD can prepare the migration while the instance stops, and records
// two operations fewer.
func (c Cluster) Relocate(ctx context.Context, i drain.Ref, member string) (time.Duration, error) {
	there, _, err := c.project(i).GetInstance(i.Name)
	if err != nil {
		return 0, fmt.Errorf("cannot move %s to %s: %w", i, member, err)
	}
	if timeout := there.ExpandedConfig["boot.host_shutdown_timeout"]; !isRunning(*there) || timeout != "" && timeout != strconv.Itoa(defaultShutdownSeconds) {
		return 0, drain.ErrNotRelocatable
	}
	if c.hasCloudInit(i) {
		return 0, drain.ErrNotRelocatable
	}
	server, _, err := c.Server.UseTarget(there.Location).GetServer()
	if err != nil {
		return 0, fmt.Errorf("cannot read the version of LXD on %s: %w", there.Location, err)
	}
	if !lxd.FeaturesOf(server).MovesRunning {
		return 0, drain.ErrNotRelocatable
	}
	began := time.Now()
	if err := c.Move(ctx, i, member, false); err != nil {
		return 0, errors.Join(err, c.ensureStopped(ctx, i, there.Location, began))
	}
	now, _, err := c.project(i).GetInstance(i.Name)
	if err != nil {
		return 0, nil // it is done all the same
	}
	// LXD creates the instance again once it has stopped, and records when its start begins, which
	// takes half as long as what was before.
	return now.LastUsedAt.Sub(now.CreatedAt) * 3 / 2, nil
}

// hasCloudInit reports whether cloud-init has set up a running instance, or whether that is not known.
// LXD starts what it moves in one operation with another id for it.
func (c Cluster) hasCloudInit(i drain.Ref) bool {
	content, _, err := c.project(i).GetInstanceFile(i.Name, "/var/lib/cloud")
	if content != nil {
		_ = content.Close()
	}
	return !api.StatusErrorCheck(err, http.StatusNotFound)
}

// ensureStopped stops an instance that is still on that member, where it has been shutting down since
// began.
func (c Cluster) ensureStopped(ctx context.Context, i drain.Ref, on string, began time.Time) error {
	at, err := c.WaitMoved(ctx, i)
	if err != nil || at != on {
		return err
	}
	return c.stop(ctx, i, began)
}

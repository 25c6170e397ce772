package drainlxd

import (
	"context"
	"fmt"
	"net/http"

	"github.com/dcib/dcib/internal/drain"
)

// SetOrigin implements drain.Mover. PATCH is no operation and costs LXD a third of PUT. It keeps what the
// request leaves out, except for the description, which it would empty (lxd 5.0.2 to 6.9,
// lxd/instance_patch.go).
func (c Cluster) SetOrigin(_ context.Context, i drain.Ref, origin string) error {
	return c.setConfig(i, "volatile.evacuate.origin", origin)
}

// groupKey is the instance option with the cluster group in which an instance was launched.
const groupKey = "volatile.cluster.group"

// SetGroup implements drain.Mover.
func (c Cluster) SetGroup(_ context.Context, i drain.Ref, group string) error {
	return c.setConfig(i, groupKey, group)
}

// cloudInitKey is the instance option by which cloud-init distinguishes a new instance from one that it
// has set up. LXD sets another when it renames an instance, as it does at the end of a move (lxd 5.0.2,
// resetInstanceID in lxd/instance/drivers).
const cloudInitKey = "volatile.cloud-init.instance-id"

// SetCloudInitID implements drain.Mover.
func (c Cluster) SetCloudInitID(_ context.Context, i drain.Ref, id string) error {
	return c.setConfig(i, cloudInitKey, id)
}

// setConfig sets one of an instance's own options; "" unsets it.
func (c Cluster) setConfig(i drain.Ref, key, value string) error {
	there, _, err := c.project(i).GetInstance(i.Name)
	if err == nil {
		patch := map[string]any{"config": map[string]string{key: value}, "description": there.Description}
		_, _, err = c.Server.RawQuery(http.MethodPatch, instanceURL(i).String(), patch, "")
	}
	if err != nil {
		return fmt.Errorf("cannot set %s of %s to %q: %w", key, i, value, err)
	}
	return nil
}

package daemon

import (
	"context"
	"slices"
	"time"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/scheduler/store"
)

// orphanGracePeriod is how long a node that belongs to no unit stays in the store: a unit that is new
// is told to all of them by Juju, one after the other.
const orphanGracePeriod = 10 * time.Minute

// leave takes this unit's node out of the store. The last one has no one to leave it to.
func (d *Daemon) leave(ctx context.Context, s *store.Store) error {
	node := d.node.Load()
	members, err := node.Members(ctx)
	if err != nil || len(members) < 2 {
		return err
	}
	if err := s.Forget(ctx, d.unit); err != nil {
		return err
	}
	if err := node.Handover(ctx); err != nil {
		return err
	}
	return node.Remove(ctx, node.address)
}

// orphanNodes are nodes that belong to no unit that the hooks know, since when.
type orphanNodes map[string]time.Time

// removeOrphans removes the nodes of units that are gone without having left.
func (k orphanNodes) removeOrphans(ctx context.Context, d *Daemon, now time.Time) error {
	config, ok, err := control.ReadConfig(d.Dir)
	if err != nil || !ok {
		return err // without it every node would be one that no unit has
	}
	node := d.node.Load()
	members, err := node.Members(ctx)
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.Address == node.address || slices.Contains(config.Join, m.Address) {
			delete(k, m.Address)
			continue
		}
		since, known := k[m.Address]
		if !known {
			k[m.Address] = now
			continue
		}
		if now.Sub(since) < orphanGracePeriod {
			continue
		}
		d.Log("removing node %s from the store: no unit has it", m.Address)
		if err := node.Remove(ctx, m.Address); err != nil {
			return err
		}
	}
	return nil
}

package draintest

import (
	"context"
	"sync"
	"time"

	"github.com/dcib/dcib/internal/drain"
)

// Gated is a client of an LXD whose calls go through a gate: for tests with several goroutines, or that
// kill the client around a change. What a test does to the LXD itself does not go through it.
type Gated struct {
	*LXD
	// Gate makes a call, or does not. change names what the call changes ("start web"); it is empty for
	// a call that only reads.
	Gate func(change string, do func() error) error
}

var (
	_ drain.Cluster = Gated{}
	_ drain.Journal = Gated{}
)

// Locked returns a gate that makes one call at a time.
func Locked(mu sync.Locker) func(change string, do func() error) error {
	return func(_ string, do func() error) error {
		mu.Lock()
		defer mu.Unlock()
		return do()
	}
}

// read makes a call that only reads.
func read[T any](g Gated, call func() (T, error)) (result T, err error) {
	err = g.Gate("", func() error {
		result, err = call()
		return err
	})
	return result, err
}

// Members implements drain.Observer.
func (g Gated) Members(ctx context.Context) ([]drain.Member, error) {
	return read(g, func() ([]drain.Member, error) { return g.LXD.Members(ctx) })
}

// Instances implements drain.Observer.
func (g Gated) Instances(ctx context.Context) ([]drain.Instance, error) {
	return read(g, func() ([]drain.Instance, error) { return g.LXD.Instances(ctx) })
}

// Capacities implements drain.Observer.
func (g Gated) Capacities(ctx context.Context, instances []drain.Instance) (map[string]drain.Capacity, error) {
	return read(g, func() (map[string]drain.Capacity, error) { return g.LXD.Capacities(ctx, instances) })
}

// Processors implements drain.Observer.
func (g Gated) Processors(ctx context.Context, member string) int {
	n, _ := read(g, func() (int, error) { return g.LXD.Processors(ctx, member), nil })
	return n
}

// Backups implements drain.Observer.
func (g Gated) Backups(ctx context.Context, instances []drain.Instance) (map[drain.Ref]int, error) {
	return read(g, func() (map[drain.Ref]int, error) { return g.LXD.Backups(ctx, instances) })
}

// CopyBlockers implements drain.Observer.
func (g Gated) CopyBlockers(ctx context.Context, instances []drain.Instance) (map[drain.Ref]string, error) {
	return read(g, func() (map[drain.Ref]string, error) { return g.LXD.CopyBlockers(ctx, instances) })
}

// Copy implements drain.Mover.
func (g Gated) Copy(ctx context.Context, instance drain.Ref, to drain.Copy) (state drain.CopyState, err error) {
	err = g.Gate("copy "+instance.Name, func() error {
		state, err = g.LXD.Copy(ctx, instance, to)
		return err
	})
	return state, err
}

// Adopt implements drain.Mover.
func (g Gated) Adopt(ctx context.Context, instance, to drain.Ref, state drain.CopyState, settle bool) error {
	return g.Gate("adopt "+to.Name, func() error { return g.LXD.Adopt(ctx, instance, to, state, settle) })
}

// DeleteTemporary implements drain.Mover.
func (g Gated) DeleteTemporary(ctx context.Context, instance drain.Ref) error {
	return g.Gate("delete "+instance.Name, func() error { return g.LXD.DeleteTemporary(ctx, instance) })
}

// ChecksVoters implements drain.Observer.
func (g Gated) ChecksVoters(ctx context.Context) (bool, error) {
	return read(g, func() (bool, error) { return g.LXD.ChecksVoters(ctx) })
}

// Records implements drain.Journal.
func (g Gated) Records(ctx context.Context) (map[string]drain.Record, error) {
	return read(g, func() (map[string]drain.Record, error) { return g.LXD.Records(ctx) })
}

// Write implements drain.Journal.
func (g Gated) Write(ctx context.Context, member string, before, after *drain.Record) error {
	return g.Gate("record of "+member, func() error { return g.LXD.Write(ctx, member, before, after) })
}

// WaitIdle implements drain.Evacuator.
func (g Gated) WaitIdle(ctx context.Context, member string) error {
	return g.Gate("", func() error { return g.LXD.WaitIdle(ctx, member) })
}

// Evacuate implements drain.Evacuator.
func (g Gated) Evacuate(ctx context.Context, member string, progress func(string)) error {
	return g.Gate("evacuate "+member, func() error { return g.LXD.Evacuate(ctx, member, progress) })
}

// Restore implements drain.Evacuator.
func (g Gated) Restore(ctx context.Context, member string, progress func(string)) error {
	return g.Gate("restore "+member, func() error { return g.LXD.Restore(ctx, member, progress) })
}

// RestoreWithoutInstances implements drain.Evacuator.
func (g Gated) RestoreWithoutInstances(ctx context.Context, member string) error {
	return g.Gate("restore "+member, func() error { return g.LXD.RestoreWithoutInstances(ctx, member) })
}

// WaitReachable implements drain.Mover.
func (g Gated) WaitReachable(ctx context.Context, from, to string) error {
	return g.Gate("", func() error { return g.LXD.WaitReachable(ctx, from, to) })
}

// WaitMoved implements drain.Mover.
func (g Gated) WaitMoved(ctx context.Context, instance drain.Ref) (string, error) {
	return read(g, func() (string, error) { return g.LXD.WaitMoved(ctx, instance) })
}

// Stop implements drain.Mover.
func (g Gated) Stop(ctx context.Context, instance drain.Ref) error {
	return g.Gate("stop "+instance.Name, func() error { return g.LXD.Stop(ctx, instance) })
}

// Move implements drain.Mover.
func (g Gated) Move(ctx context.Context, instance drain.Ref, member string, live bool) error {
	return g.Gate("move "+instance.Name, func() error { return g.LXD.Move(ctx, instance, member, live) })
}

// Relocate implements drain.Mover.
func (g Gated) Relocate(ctx context.Context, instance drain.Ref, member string) (moved time.Duration, err error) {
	err = g.Gate("relocate "+instance.Name, func() error {
		moved, err = g.LXD.Relocate(ctx, instance, member)
		return err
	})
	return moved, err
}

// Start implements drain.Mover.
func (g Gated) Start(ctx context.Context, instance drain.Ref, member string) error {
	return g.Gate("start "+instance.Name, func() error { return g.LXD.Start(ctx, instance, member) })
}

// Freeze implements drain.Mover.
func (g Gated) Freeze(ctx context.Context, instance drain.Ref, member string) error {
	return g.Gate("freeze "+instance.Name, func() error { return g.LXD.Freeze(ctx, instance, member) })
}

// Rename implements drain.Mover.
func (g Gated) Rename(ctx context.Context, instance drain.Ref, name string) error {
	return g.Gate("rename "+instance.Name, func() error { return g.LXD.Rename(ctx, instance, name) })
}

// SetOrigin implements drain.Mover.
func (g Gated) SetOrigin(ctx context.Context, instance drain.Ref, origin string) error {
	return g.Gate("origin of "+instance.Name, func() error { return g.LXD.SetOrigin(ctx, instance, origin) })
}

// SetGroup implements drain.Mover.
func (g Gated) SetGroup(ctx context.Context, instance drain.Ref, group string) error {
	return g.Gate("group of "+instance.Name, func() error { return g.LXD.SetGroup(ctx, instance, group) })
}

// SetCloudInitID implements drain.Mover.
func (g Gated) SetCloudInitID(ctx context.Context, instance drain.Ref, id string) error {
	return g.Gate("cloud-init id of "+instance.Name, func() error { return g.LXD.SetCloudInitID(ctx, instance, id) })
}

package daemon

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/scheduler/store"
)

// annotatedCluster is a cluster of which it is known what its pets are for.
type annotatedCluster struct {
	Cluster
	stops string               // the member whose instances may be stopped there when they cannot move
	until map[string]time.Time // when members have to be empty themselves
}

// Members implements drain.Cluster.
func (c annotatedCluster) Members(ctx context.Context) ([]drain.Member, error) {
	all, err := c.Cluster.Members(ctx)
	for n := range all {
		all[n].EmptyBy = c.until[all[n].Name]
	}
	return all, err
}

// Instances implements drain.Cluster.
func (c annotatedCluster) Instances(ctx context.Context) ([]drain.Instance, error) {
	all, err := c.Cluster.Instances(ctx)
	for n := range all {
		all[n].MayStop = c.stops != "" && all[n].Member == c.stops
	}
	return all, err
}

// journaledCluster is a cluster whose changes are written into the journal before they are made,
// and are not made once the term is over.
type journaledCluster struct {
	Cluster
	actor     *store.Leader
	run       store.Run
	afterStep func(format string, args ...any)
	begun     sync.Map // steps that the journal says are begun: it is told once, the instance may be down meanwhile
}

// set brings a step into a state.
func (w *journaledCluster) set(ctx context.Context, n int, state store.StepState, note string) error {
	err := w.actor.SetStep(ctx, w.run.ID, n, state, note)
	if err == nil {
		w.afterStep("journal %s %s", state, w.run.Steps[n].Instance)
	}
	return err
}

// started writes that something is about to happen to an instance; to all that have a
// step, when it has no name.
func (w *journaledCluster) started(ctx context.Context, ref drain.Ref) error {
	for n, step := range w.run.Steps {
		if ref.Name != "" && (step.Project != ref.Project || step.Instance != ref.Name) {
			continue
		}
		if err := w.begin(ctx, n); err != nil {
			return err
		}
	}
	return w.actor.Check()
}

// begin writes, once, that a step is begun.
func (w *journaledCluster) begin(ctx context.Context, n int) error {
	if _, told := w.begun.Load(n); told {
		return nil
	}
	// One that is done already is touched again only by what LXD does to the whole.
	if err := w.set(ctx, n, store.StepStarted, ""); err != nil && !errors.Is(err, store.ErrConflict) {
		return err
	}
	w.begun.Store(n, true)
	return nil
}

// close writes what came of each step that was begun.
func (w *journaledCluster) close(ctx context.Context, report drain.Report, failure error) error {
	for n, step := range w.run.Steps {
		state, note := store.StepDone, ""
		for _, move := range report.Moves {
			if move.Project == step.Project && move.Name == step.Instance {
				note = move.String()
				if failure != nil && (move.To == "" || move.To == move.From) {
					state = store.StepFailed
				}
			}
		}
		if note == "" && failure != nil {
			state = store.StepFailed
		}
		// What LXD had done before this run looked was never begun here.
		err := w.begin(ctx, n)
		if err == nil {
			err = w.set(ctx, n, state, note)
		}
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return nil
}

// change reports a change to LXD that was made.
func (w *journaledCluster) change(err error, format string, args ...any) error {
	if err == nil {
		w.afterStep(format, args...)
	}
	return err
}

// Evacuate implements drain.Cluster.
func (w *journaledCluster) Evacuate(ctx context.Context, member string, progress func(string)) error {
	if err := w.started(ctx, drain.Ref{}); err != nil {
		return err
	}
	return w.change(w.Cluster.Evacuate(ctx, member, progress), "evacuate")
}

// Restore implements drain.Cluster.
func (w *journaledCluster) Restore(ctx context.Context, member string, progress func(string)) error {
	if err := w.started(ctx, drain.Ref{}); err != nil {
		return err
	}
	return w.change(w.Cluster.Restore(ctx, member, progress), "restore")
}

// Reopen implements drain.Cluster.
func (w *journaledCluster) RestoreWithoutInstances(ctx context.Context, member string) error {
	if err := w.started(ctx, drain.Ref{}); err != nil {
		return err
	}
	return w.change(w.Cluster.RestoreWithoutInstances(ctx, member), "restore without instances")
}

// SetOrigin implements drain.Cluster.
func (w *journaledCluster) SetOrigin(ctx context.Context, ref drain.Ref, origin string) error {
	if err := w.actor.Check(); err != nil {
		return err
	}
	return w.change(w.Cluster.SetOrigin(ctx, ref, origin), "origin %s", ref.Name)
}

// SetGroup implements drain.Cluster.
func (w *journaledCluster) SetGroup(ctx context.Context, ref drain.Ref, group string) error {
	if err := w.actor.Check(); err != nil {
		return err
	}
	return w.change(w.Cluster.SetGroup(ctx, ref, group), "group %s", ref.Name)
}

// SetCloudInit implements drain.Cluster.
func (w *journaledCluster) SetCloudInitID(ctx context.Context, ref drain.Ref, id string) error {
	if err := w.actor.Check(); err != nil {
		return err
	}
	return w.change(w.Cluster.SetCloudInitID(ctx, ref, id), "cloud-init %s", ref.Name)
}

// Rename implements drain.Cluster.
func (w *journaledCluster) Rename(ctx context.Context, ref drain.Ref, name string) error {
	if err := w.actor.Check(); err != nil {
		return err
	}
	return w.change(w.Cluster.Rename(ctx, ref, name), "rename %s", name)
}

// Freeze implements drain.Cluster.
func (w *journaledCluster) Freeze(ctx context.Context, ref drain.Ref, member string) error {
	if err := w.started(ctx, ref); err != nil {
		return err
	}
	return w.change(w.Cluster.Freeze(ctx, ref, member), "freeze %s", ref.Name)
}

// Start implements drain.Cluster.
func (w *journaledCluster) Start(ctx context.Context, ref drain.Ref, member string) error {
	if err := w.started(ctx, ref); err != nil {
		return err
	}
	return w.change(w.Cluster.Start(ctx, ref, member), "start %s", ref.Name)
}

// Stop implements drain.Cluster.
func (w *journaledCluster) Stop(ctx context.Context, ref drain.Ref) error {
	if err := w.started(ctx, ref); err != nil {
		return err
	}
	return w.change(w.Cluster.Stop(ctx, ref), "stop %s", ref.Name)
}

// Move implements drain.Cluster.
func (w *journaledCluster) Move(ctx context.Context, ref drain.Ref, member string, live bool) error {
	if err := w.started(ctx, ref); err != nil {
		return err
	}
	return w.change(w.Cluster.Move(ctx, ref, member, live), "move %s", ref.Name)
}

// Relocate implements drain.Cluster.
func (w *journaledCluster) Relocate(ctx context.Context, ref drain.Ref, member string) (moved time.Duration, err error) {
	if err := w.started(ctx, ref); err != nil {
		return 0, err
	}
	moved, err = w.Cluster.Relocate(ctx, ref, member)
	return moved, w.change(err, "relocate %s", ref.Name)
}

// Copy implements drain.Cluster.
func (w *journaledCluster) Copy(ctx context.Context, ref drain.Ref, to drain.Copy) (state drain.CopyState, err error) {
	if err := w.started(ctx, ref); err != nil {
		return drain.CopyState{}, err
	}
	state, err = w.Cluster.Copy(ctx, ref, to)
	return state, w.change(err, "copy %s", ref.Name)
}

// Adopt implements drain.Cluster.
func (w *journaledCluster) Adopt(ctx context.Context, ref, to drain.Ref, state drain.CopyState, settle bool) error {
	if err := w.actor.Check(); err != nil {
		return err
	}
	return w.change(w.Cluster.Adopt(ctx, ref, to, state, settle), "adopt %s", to.Name)
}

// DeleteTemporary implements drain.Cluster.
func (w *journaledCluster) DeleteTemporary(ctx context.Context, ref drain.Ref) error {
	if err := w.actor.Check(); err != nil {
		return err
	}
	return w.change(w.Cluster.DeleteTemporary(ctx, ref), "delete %s", ref.Name)
}

// Write implements drain.Journal.
func (w *journaledCluster) Write(ctx context.Context, member string, before, after *drain.Record) error {
	if err := w.actor.Check(); err != nil {
		return err
	}
	phase := "none"
	if after != nil {
		phase = string(after.Phase)
	}
	return w.change(w.Cluster.Write(ctx, member, before, after), "record %s", phase)
}

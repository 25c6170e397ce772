package drain_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/drain"
	draintest "github.com/dcib/dcib/internal/testkit/drain"
)

// copying returns a cluster that copies instances while they run, with one on pet.
func copying() (*draintest.LXD, drain.Ref) {
	lxd := draintest.New("pet", "b", "c")
	lxd.Copies = true
	return lxd, lxd.Add("c1", "pet", true).Ref
}

// requireWhole asserts that the cluster has that one instance, by its own name, and no copy.
func requireWhole(t *testing.T, lxd *draintest.LXD, ref drain.Ref, running bool) {
	t.Helper()
	require.Empty(t, lxd.Lost)
	require.Len(t, lxd.Instance, 1)
	i := lxd.Find(ref)
	require.NotNil(t, i)
	require.Empty(t, i.CopyFor)
	require.Equal(t, running, i.Running)
}

func TestCopiedFirstAndStoppedLast(t *testing.T) {
	lxd, c1 := copying()
	id := lxd.Find(c1).ID
	view, err := drain.ObserveWithCapacity(t.Context(), lxd, lxd, "pet")
	require.NoError(t, err)
	plan := drain.PlanDrain(view, "pet", false)
	require.Equal(t, drain.CopyFirst, plan.Items[0].Method)
	require.Contains(t, plan.String(), "is copied to another member while it runs")
	d := drainer(lxd)
	d.Cluster = draintest.Gated{LXD: lxd, Gate: func(change string, do func() error) error {
		if change == "stop c1" {
			time.Sleep(10 * time.Millisecond)
		}
		return do()
	}}
	report, err := d.Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	requireWhole(t, lxd, c1, true)
	require.Equal(t, "b", lxd.Find(c1).Member)
	require.Equal(t, id, lxd.Find(c1).ID)
	require.Equal(t, []string{
		"origin c1", "copy c1", "copy c1", "stop c1", "copy c1", "rename c1", "adopt dcib-old-" + id, "rename dcib-copy-" + id,
		"adopt dcib-old-" + id, "start c1", "delete dcib-old-" + id, "evacuate pet",
	}, lxd.Calls)
	require.Positive(t, report.Moves[0].Down)
	require.Contains(t, report.Moves[0].String(), "c1: pet → b (running, down for ")

	lxd.Calls = nil
	report, err = d.Undrain(t.Context(), "pet")
	require.NoError(t, err)
	requireWhole(t, lxd, c1, true)
	require.Equal(t, "pet", lxd.Find(c1).Member)
	require.Equal(t, 3, strings.Count(strings.Join(lxd.Calls, "\n"), "copy c1"))
	require.Positive(t, report.Moves[0].Down)
}

// A unit that is removed and an evacuation by an operator copy first too.
func TestOthersCopyFirst(t *testing.T) {
	lxd, c1 := copying()
	_, err := drainer(lxd).DrainForRemoval(t.Context(), "pet")
	require.NoError(t, err)
	requireWhole(t, lxd, c1, true)
	require.Contains(t, lxd.Calls, "copy c1")

	lxd, c1 = copying()
	view, err := drain.ObserveWithCapacity(t.Context(), lxd, lxd, "pet")
	require.NoError(t, err)
	require.NoError(t, drainer(lxd).MoveBeforeEvacuation(t.Context(), view, "pet"))
	requireWhole(t, lxd, c1, true)
	require.Equal(t, "b", lxd.Find(c1).Member)
	require.Equal(t, "pet", lxd.Find(c1).Origin)
}

// The client is killed at each of its calls in turn; the next run ends what it began.
func TestCopyKilledAtEachCall(t *testing.T) {
	for _, undrain := range []bool{false, true} {
		for calls := 0; ; calls++ {
			lxd, c1 := copying()
			d := drainer(lxd)
			if undrain {
				_, err := d.Drain(t.Context(), "pet", false)
				require.NoError(t, err)
			}
			do := func() error {
				if undrain {
					_, err := d.Undrain(t.Context(), "pet")
					return err
				}
				_, err := d.Drain(t.Context(), "pet", false)
				return err
			}
			lxd.CallsLeft = calls
			err := do()
			if err == nil {
				require.Greater(t, calls, 20)
				break
			}
			lxd.CallsLeft = -1
			require.NoError(t, do(), "killed after %d calls", calls)
			requireWhole(t, lxd, c1, true)
			want := "b"
			if undrain {
				want = "pet"
			}
			require.Contains(t, []string{want, "c"}, lxd.Find(c1).Member, "killed after %d calls", calls)
		}
	}
}

// What an operator does while an instance is copied is kept.
func TestChangesWhileItIsCopied(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(*draintest.LXD, *drain.Instance)
		running bool
		check   func(*testing.T, *draintest.LXD, *drain.Instance)
	}{
		"stopped": {func(_ *draintest.LXD, i *drain.Instance) { i.Running, i.ShouldRun = false, false }, false,
			func(*testing.T, *draintest.LXD, *drain.Instance) {}},
		"group": {func(_ *draintest.LXD, i *drain.Instance) { i.Group = "g" }, true,
			func(t *testing.T, _ *draintest.LXD, i *drain.Instance) { require.Equal(t, "g", i.Group) }},
	} {
		t.Run(name, func(t *testing.T) {
			lxd, c1 := copying()
			lxd.Fail = func(call string, ref drain.Ref) error {
				if call == "copy" && ref == c1 {
					lxd.Fail = nil
					test.change(lxd, lxd.Find(c1))
				}
				return nil
			}
			_, err := drainer(lxd).Drain(t.Context(), "pet", false)
			require.NoError(t, err)
			requireWhole(t, lxd, c1, test.running)
			require.Equal(t, "b", lxd.Find(c1).Member)
			test.check(t, lxd, lxd.Find(c1))
		})
	}
}

// An instance that is deleted while it is copied stays deleted, and so is its copy.
func TestDeletedWhileItIsCopied(t *testing.T) {
	lxd, c1 := copying()
	copies := 0
	lxd.Fail = func(call string, ref drain.Ref) error {
		if call == "copy" {
			if copies++; copies == 2 {
				lxd.Delete(c1)
				return errors.New("not found")
			}
		}
		return nil
	}
	_, err := drainer(lxd).Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	require.Empty(t, lxd.Instance)
}

// An instance that was started again between its last copy and the swap stays where it is, with what
// it has written, until the next attempt.
func TestStartedBeforeTheSwap(t *testing.T) {
	lxd, c1 := copying()
	lxd.Fail = func(call string, ref drain.Ref) error {
		if call == "rename" && ref == c1 {
			lxd.Fail = nil
			require.NoError(t, lxd.StartByHand(c1))
			lxd.Find(c1).Running = false
		}
		return nil
	}
	_, err := drainer(lxd).Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	requireWhole(t, lxd, c1, true)
	require.Equal(t, "b", lxd.Find(c1).Member)
}

// An instance that cannot be copied is moved as LXD does it, and is never down for a copy that failed.
func TestCopyFails(t *testing.T) {
	lxd, c1 := copying()
	var ranWhenItFailed []bool
	lxd.Fail = func(call string, ref drain.Ref) error {
		if call == "copy" {
			ranWhenItFailed = append(ranWhenItFailed, lxd.Find(c1).Running)
			return errors.New("no space left on device")
		}
		return nil
	}
	d := drainer(lxd)
	d.Limiter = drain.NewMoveLimiter(1, 0)
	_, err := d.Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	require.Equal(t, []bool{true}, ranWhenItFailed)
	requireWhole(t, lxd, c1, true)
	_, err = d.Undrain(t.Context(), "pet")
	require.NoError(t, err)
	requireWhole(t, lxd, c1, true)
	require.Equal(t, "pet", lxd.Find(c1).Member)
}

// Copies for a drain that is in progress elsewhere stay; those of one that has ended do not, nor do
// copies on a member that was chosen before.
func TestLeftovers(t *testing.T) {
	lxd, c1 := copying()
	other := lxd.Add("c2", "c", true)
	_, err := lxd.Copy(t.Context(), other.Ref, drain.Copy{Name: "dcib-copy-" + other.ID, Member: "b", For: "c", Of: other.ID})
	require.NoError(t, err)
	lxd.Journal["c"] = drain.Record{Phase: drain.Draining, Since: time.Unix(0, 0).UTC()}.Encode()
	_, err = drainer(lxd).Drain(context.Background(), "pet", false)
	require.NoError(t, err)
	require.Len(t, lxd.Instance, 3)
	require.NotNil(t, lxd.Find(drain.Ref{Project: "default", Name: "dcib-copy-" + other.ID}))
	delete(lxd.Journal, "c")
	_, err = drainer(lxd).Undrain(t.Context(), "pet")
	require.NoError(t, err)
	require.Len(t, lxd.Instance, 2)
	require.Equal(t, "pet", lxd.Find(c1).Member)
	require.True(t, other.Running)
}

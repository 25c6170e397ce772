package drain_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/drain/draintest"
)

// However many pets are drained at once, not more instances move at a time than there are
// lanes for all of them.
func TestLanesAreForAllPetsTogether(t *testing.T) { synctest.Test(t, testLanesAreForAllPetsTogether) }

func testLanesAreForAllPetsTogether(t *testing.T) {
	const pets, each, atOnce = 3, 4, 2
	lxd := &together{LXD: draintest.New("p0", "p1", "p2", "other"), meet: make(chan struct{})}
	for p := range pets {
		for n := range each {
			lxd.Add(fmt.Sprintf("c%d-%d", p, n), fmt.Sprintf("p%d", p), true)
		}
	}
	lanes := drain.NewLanes(atOnce, drain.Apart)
	var working sync.WaitGroup
	errs := make([]error, pets)
	for p := range pets {
		working.Go(func() {
			d := drain.Drainer{Cluster: lxd, Journal: lxd, By: "test", Lanes: lanes}
			_, errs[p] = d.Drain(t.Context(), fmt.Sprintf("p%d", p), false)
		})
	}
	working.Wait()
	for p, err := range errs {
		require.NoError(t, err)
		require.Equal(t, drain.Evacuated, lxd.Status(fmt.Sprintf("p%d", p)))
	}
	require.Equal(t, atOnce, lxd.max)
	for _, i := range lxd.Instance {
		require.True(t, i.Running, "%s", i.Ref)
	}
}

// setsOut is a cluster whose moves take a while, and that notes when each was begun.
type setsOut struct {
	together
	takes time.Duration
	began []time.Time
}

func (l *setsOut) Stop(ctx context.Context, ref drain.Ref) error {
	l.mu.Lock()
	l.began = append(l.began, time.Now())
	l.mu.Unlock()
	return l.together.Stop(ctx, ref)
}

func (l *setsOut) Move(ctx context.Context, ref drain.Ref, to string, live bool) error {
	time.Sleep(l.takes)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.LXD.Move(ctx, ref, to, live)
}

// Instances set out one after another: those whose turn to be copied has not come yet run on
// meanwhile.
func TestLanesAreNotEnteredAllAtOnce(t *testing.T) { synctest.Test(t, testLanesAreNotEnteredAllAtOnce) }

func testLanesAreNotEnteredAllAtOnce(t *testing.T) {
	lxd := &setsOut{together: together{LXD: draintest.New("pet", "b", "c")}, takes: 50 * time.Millisecond}
	for n := range 6 {
		lxd.Add(fmt.Sprintf("c%d", n), "pet", true)
	}
	d := drain.Drainer{Cluster: lxd, Journal: lxd, By: "test", Lanes: drain.NewLanes(6, drain.Apart)}
	_, err := d.Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	require.Len(t, lxd.began, 6)
	for n := 1; n < 6; n++ {
		require.GreaterOrEqual(t, lxd.began[n].Sub(lxd.began[n-1]), lxd.takes/2)
	}
}

// A drain that is stopped does not wait for its turn.
func TestLanesWaitNoLongerThanTheContext(t *testing.T) {
	synctest.Test(t, testLanesWaitNoLongerThanTheContext)
}

func testLanesWaitNoLongerThanTheContext(t *testing.T) {
	lxd := &setsOut{together: together{LXD: draintest.New("pet", "b")}, takes: time.Millisecond}
	for n := range 3 {
		lxd.Add(fmt.Sprintf("c%d", n), "pet", true)
	}
	ctx, cancel := context.WithTimeout(t.Context(), drain.Apart/10)
	defer cancel()
	began := time.Now()
	_, err := drain.Drainer{Cluster: lxd, Journal: lxd, By: "test", Lanes: drain.NewLanes(2, drain.Apart)}.Drain(ctx, "pet", false)
	require.ErrorContains(t, err, "cannot drain pet in the time given")
	require.Less(t, time.Since(began), drain.Apart, "its turn was a second later")
}

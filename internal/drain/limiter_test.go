package drain_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/drain"
	draintest "github.com/dcib/dcib/internal/testkit/drain"
)

// slow is a cluster whose moves take a while. It notes when each was begun, and how many were
// under way at a time.
type slow struct {
	together
	ends  time.Duration // until an instance has stopped
	takes time.Duration // to be moved
	began []time.Time
}

func (l *slow) Stop(ctx context.Context, ref drain.Ref) error {
	l.mu.Lock()
	l.began = append(l.began, time.Now())
	l.moving++
	l.max = max(l.max, l.moving)
	l.mu.Unlock()
	time.Sleep(l.ends)
	return l.together.Stop(ctx, ref)
}

func (l *slow) Relocate(ctx context.Context, ref drain.Ref, to string) (time.Duration, error) {
	if l.Relocates {
		l.mu.Lock()
		l.began = append(l.began, time.Now())
		l.mu.Unlock()
		time.Sleep(l.ends + l.takes)
	}
	_, err := l.together.Relocate(ctx, ref, to)
	return l.takes, err
}

func (l *slow) Move(ctx context.Context, ref drain.Ref, to string, live bool) error {
	time.Sleep(l.takes)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.moving--
	return l.LXD.Move(ctx, ref, to, live)
}

// However many pets are drained at once, not more instances move at a time than there are
// lanes for all of them.
func TestLanesAreForAllPetsTogether(t *testing.T) { synctest.Test(t, testLanesAreForAllPetsTogether) }

func testLanesAreForAllPetsTogether(t *testing.T) {
	const pets, each, atOnce = 3, 5, 4
	lxd := &slow{together: together{LXD: draintest.New("p0", "p1", "p2", "other")}, takes: time.Minute}
	for p := range pets {
		for n := range each {
			lxd.Add(fmt.Sprintf("c%d-%d", p, n), fmt.Sprintf("p%d", p), true)
		}
	}
	lanes := drain.NewMoveLimiter(atOnce, 0)
	var working sync.WaitGroup
	errs := make([]error, pets)
	for p := range pets {
		working.Go(func() {
			d := drain.Drainer{Cluster: lxd, Journal: lxd, By: "test", Limiter: lanes}
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

// Two pets whose drains begin at the same moment: each is empty when its own has ended, and
// stays so, whatever the other had planned.
func TestPetsDrainedAtOnceKeepOffEachOther(t *testing.T) {
	for few := range 4 {
		for many := 1; many < 9; many++ {
			synctest.Test(t, func(t *testing.T) { testPetsDrainedAtOnce(t, few, many) })
		}
	}
}

func testPetsDrainedAtOnce(t *testing.T, few, many int) {
	lxd := &slow{together: together{LXD: draintest.New("few", "many", "other")}, takes: time.Minute}
	for name, n := range map[string]int{"few": few, "many": many} {
		for n := range n {
			lxd.Add(fmt.Sprintf("%s%d", name, n), name, true)
		}
	}
	lanes := drain.NewMoveLimiter(4, time.Second)
	left := func(member string) (n int) {
		lxd.mu.Lock()
		defer lxd.mu.Unlock()
		for _, i := range lxd.Instance {
			if i.Member == member {
				n++
			}
		}
		return n
	}
	var working sync.WaitGroup
	for _, member := range []string{"few", "many"} {
		working.Go(func() {
			d := drain.Drainer{Cluster: lxd, Journal: lxd, By: "test", Limiter: lanes}
			_, err := d.Drain(t.Context(), member, false)
			assert.NoError(t, err)
			assert.Zero(t, left(member), "%d and %d: on %s when its drain ends", few, many, member)
		})
	}
	working.Wait()
	require.Equal(t, few+many, left("other"))
}

// Of two drains at once the one that is due first is done first, also when it began later; and
// nobody's turn is lost when the other is stopped.
func TestLanesGoToWhoIsDueFirst(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) { testLanesGoToWhoIsDueFirst(t, stopped) })
	}
}

func testLanesGoToWhoIsDueFirst(t *testing.T, stopped bool) {
	const each = 10
	lxd := &slow{together: together{LXD: draintest.New("patient", "urgent", "other")}, takes: time.Minute}
	for n := range each {
		lxd.Add(fmt.Sprintf("p%d", n), "patient", true)
		lxd.Add(fmt.Sprintf("u%d", n), "urgent", true)
	}
	lanes := drain.NewMoveLimiter(2, 0)
	took := map[string]time.Duration{}
	var mu sync.Mutex
	var working sync.WaitGroup
	begin := func(member string, before time.Time) {
		working.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if stopped && member == "patient" {
				time.AfterFunc(5*time.Minute/2, cancel)
			}
			began := time.Now()
			d := drain.Drainer{Cluster: lxd, Journal: lxd, By: "test", Limiter: lanes, Deadline: before}
			_, err := d.Drain(ctx, member, false)
			assert.Equal(t, stopped && member == "patient", err != nil, "%s: %v", member, err)
			mu.Lock()
			defer mu.Unlock()
			took[member] = time.Since(began)
		})
	}
	begin("patient", time.Time{})
	time.Sleep(30 * time.Second)
	begin("urgent", time.Now().Add(time.Hour))
	working.Wait()
	// It waits for what was under way, and then has the lanes to the last; in turns with the
	// other it would take twice as long.
	require.LessOrEqual(t, took["urgent"], each*time.Minute/2+2*time.Minute)
	require.Equal(t, stopped, took["patient"] < took["urgent"])
}

// Instances set out one after another: those whose turn to be moved has not come yet run on
// meanwhile. Where the pet has processors for it several are moved at a time, and long copies are
// made side by side in any case.
func TestLanesAreNotEnteredAllAtOnce(t *testing.T) {
	for _, c := range []struct {
		processors         int
		ends, takes, apart time.Duration
	}{
		{0, 0, 4 * time.Second, 4 * time.Second},
		{2, 0, 4 * time.Second, 2800 * time.Millisecond},
		{2, 2 * time.Second, 4 * time.Second, 2800 * time.Millisecond},
		{2, 12 * time.Second, 4 * time.Second, 6 * time.Second},
		{2, 15 * time.Second, 3 * time.Second, 4500 * time.Millisecond},
		{2, 0, 9 * time.Second, 6300 * time.Millisecond},
		{4, 0, 9 * time.Second, 3150 * time.Millisecond},
		{4, 6 * time.Second, 4 * time.Second, 3500 * time.Millisecond},
		{6, 6 * time.Second, 9 * time.Second, 3500 * time.Millisecond},
		{8, 0, 12 * time.Second, 2100 * time.Millisecond},
		{8, 2 * time.Second, 4 * time.Second, 1050 * time.Millisecond},
		{64, 2 * time.Second, 4 * time.Second, 750 * time.Millisecond},
		{2, 0, time.Minute, 10 * time.Second},
		{8, 0, time.Minute, 10 * time.Second},
		{64, 0, time.Minute, 7500 * time.Millisecond},
	} {
		for _, inOne := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d processors, %s and %s, in one %t", c.processors, c.ends, c.takes, inOne), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					testLanesAreNotEnteredAllAtOnce(t, inOne, c.processors, c.ends, c.takes, c.apart)
				})
			})
		}
	}
}

func testLanesAreNotEnteredAllAtOnce(t *testing.T, inOne bool, processors int, ends, takes, want time.Duration) {
	const instances = 60
	lxd := &slow{together: together{LXD: draintest.New("pet", "b", "c")}, ends: ends, takes: takes}
	lxd.CPUs, lxd.Relocates = processors, inOne
	for n := range instances {
		lxd.Add(fmt.Sprintf("c%d", n), "pet", true)
	}
	d := drain.Drainer{Cluster: lxd, Journal: lxd, By: "test", Limiter: drain.NewMoveLimiter(8, drain.DefaultStartSpacing)}
	_, err := d.Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	require.Len(t, lxd.began, instances)
	apart := func(n int) time.Duration { return lxd.began[n].Sub(lxd.began[n-1]) }
	require.Equal(t, drain.DefaultStartSpacing, apart(1), "as long as it is not known how long a move takes")
	for n := instances - 10; n < instances; n++ {
		require.InDelta(t, want.Seconds(), apart(n).Seconds(), 0.1)
	}
}

// What a drain took tells about how far apart the next one's first set out, so that a daemon that has
// just started need not find it out with them.
func TestLanesBeginAsTheLastDrainTells(t *testing.T) {
	for _, c := range []struct {
		ends, takes time.Duration
		instances   int
	}{
		{2 * time.Second, 2 * time.Second, 8},
		{5 * time.Second, 2 * time.Second, 8},
		{5 * time.Second, 2 * time.Second, 20},
		{20 * time.Second, 10 * time.Second, 4},
	} {
		t.Run(fmt.Sprintf("%d of %s and %s", c.instances, c.ends, c.takes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				drained := func(apart time.Duration) (took time.Duration, began []time.Time) {
					lxd := &slow{together: together{LXD: draintest.New("pet", "b", "c")}, ends: c.ends, takes: c.takes}
					lxd.CPUs = 2
					for n := range c.instances {
						lxd.Add(fmt.Sprintf("c%d", n), "pet", true)
					}
					start := time.Now()
					d := drain.Drainer{Cluster: lxd, Journal: lxd, By: "test", Limiter: drain.NewMoveLimiter(4, drain.DefaultStartSpacing), StartSpacing: apart}
					_, err := d.Drain(t.Context(), "pet", false)
					require.NoError(t, err)
					return time.Since(start), lxd.began
				}
				var apart time.Duration
				for range 3 { // drains
					took, _ := drained(apart)
					apart = drain.EstimateSpacing(took+time.Second, c.instances)
				}
				_, began := drained(apart)
				require.Equal(t, apart, began[1].Sub(began[0]))
				last := began[c.instances-1].Sub(began[c.instances-2])
				require.InEpsilon(t, last.Seconds(), apart.Seconds(), 0.25)
			})
		})
	}
}

// A drain that is stopped does not wait for its turn.
func TestLanesWaitNoLongerThanTheContext(t *testing.T) {
	synctest.Test(t, testLanesWaitNoLongerThanTheContext)
}

func testLanesWaitNoLongerThanTheContext(t *testing.T) {
	lxd := &slow{together: together{LXD: draintest.New("pet", "b")}, takes: time.Millisecond}
	for n := range 3 {
		lxd.Add(fmt.Sprintf("c%d", n), "pet", true)
	}
	ctx, cancel := context.WithTimeout(t.Context(), drain.DefaultStartSpacing/10)
	defer cancel()
	began := time.Now()
	_, err := drain.Drainer{Cluster: lxd, Journal: lxd, By: "test", Limiter: drain.NewMoveLimiter(2, drain.DefaultStartSpacing)}.Drain(ctx, "pet", false)
	require.ErrorContains(t, err, "cannot drain pet in the time given")
	require.Less(t, time.Since(began), drain.DefaultStartSpacing, "its turn was a second later")
}

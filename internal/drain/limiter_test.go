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
)

// slow is a cluster whose moves take some time. It records when each began, and how many were in
// progress at a time.
type slow struct {
	concurrent
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
	return l.concurrent.Stop(ctx, ref)
}

func (l *slow) Relocate(ctx context.Context, ref drain.Ref, to string) (time.Duration, error) {
	if l.Relocates {
		l.mu.Lock()
		l.began = append(l.began, time.Now())
		l.mu.Unlock()
		time.Sleep(l.ends + l.takes)
	}
	_, err := l.concurrent.Relocate(ctx, ref, to)
	return l.takes, err
}

func (l *slow) Move(ctx context.Context, ref drain.Ref, to string, live bool) error {
	time.Sleep(l.takes)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.moving--
	return l.LXD.Move(ctx, ref, to, live)
}

// However many pets are drained at once, not more instances move at a time than the limiter that they
// share has slots.
func TestLimiterIsSharedByAllDrains(t *testing.T) { synctest.Test(t, testLimiterIsSharedByAllDrains) }

func testLimiterIsSharedByAllDrains(t *testing.T) {
	const pets, each, slots = 3, 5, 4
	lxd := &slow{concurrent: newConcurrent("p0", "p1", "p2", "other"), takes: time.Minute}
	for p := range pets {
		for n := range each {
			lxd.Add(fmt.Sprintf("c%d-%d", p, n), fmt.Sprintf("p%d", p), true)
		}
	}
	limiter := drain.NewMoveLimiter(slots, 0)
	var working sync.WaitGroup
	errs := make([]error, pets)
	for p := range pets {
		working.Go(func() {
			d := drain.Drainer{Cluster: lxd, Journal: lxd, By: "test", Limiter: limiter}
			_, errs[p] = d.Drain(t.Context(), fmt.Sprintf("p%d", p), false)
		})
	}
	working.Wait()
	for p, err := range errs {
		require.NoError(t, err)
		require.Equal(t, drain.Evacuated, lxd.Status(fmt.Sprintf("p%d", p)))
	}
	require.Equal(t, slots, lxd.max)
	for _, i := range lxd.Instance {
		require.True(t, i.Running, "%s", i.Ref)
	}
}

// Two pets whose drains begin at the same moment: each is empty when its own has ended, and stays so,
// whatever the other had planned.
func TestConcurrentDrainsDoNotTargetEachOther(t *testing.T) {
	for few := range 4 {
		for many := 1; many < 9; many++ {
			synctest.Test(t, func(t *testing.T) { testConcurrentDrains(t, few, many) })
		}
	}
}

func testConcurrentDrains(t *testing.T, few, many int) {
	lxd := &slow{concurrent: newConcurrent("few", "many", "other"), takes: time.Minute}
	for name, n := range map[string]int{"few": few, "many": many} {
		for n := range n {
			lxd.Add(fmt.Sprintf("%s%d", name, n), name, true)
		}
	}
	limiter := drain.NewMoveLimiter(4, time.Second)
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
			d := drain.Drainer{Cluster: lxd, Journal: lxd, By: "test", Limiter: limiter}
			_, err := d.Drain(t.Context(), member, false)
			assert.NoError(t, err)
			assert.Zero(t, left(member), "%d and %d: on %s when its drain ends", few, many, member)
		})
	}
	working.Wait()
	require.Equal(t, few+many, left("other"))
}

// Of two drains at once the one with the earlier deadline is done first, also when it began later; and no
// slot is lost when the other is stopped.
func TestSlotsGoToTheEarliestDeadline(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) { testSlotsGoToTheEarliestDeadline(t, stopped) })
	}
}

func testSlotsGoToTheEarliestDeadline(t *testing.T, stopped bool) {
	const each = 10
	lxd := &slow{concurrent: newConcurrent("patient", "urgent", "other"), takes: time.Minute}
	for n := range each {
		lxd.Add(fmt.Sprintf("p%d", n), "patient", true)
		lxd.Add(fmt.Sprintf("u%d", n), "urgent", true)
	}
	limiter := drain.NewMoveLimiter(2, 0)
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
			d := drain.Drainer{Cluster: lxd, Journal: lxd, By: "test", Limiter: limiter, Deadline: before}
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
	// It waits for what was in progress, and then has all slots; alternating with the other it would take
	// twice as long.
	require.LessOrEqual(t, took["urgent"], each*time.Minute/2+2*time.Minute)
	require.Equal(t, stopped, took["patient"] < took["urgent"])
}

// Moves start one after another: instances that do not move yet run on meanwhile. Where the pet has
// processors for it several are moved at a time, and long copies are made concurrently in any case.
func TestStartSpacing(t *testing.T) {
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
					testStartSpacing(t, inOne, c.processors, c.ends, c.takes, c.apart)
				})
			})
		}
	}
}

func testStartSpacing(t *testing.T, inOne bool, processors int, ends, takes, want time.Duration) {
	const instances = 60
	lxd := &slow{concurrent: newConcurrent("pet", "b", "c"), ends: ends, takes: takes}
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

// How long a drain took sets the initial spacing of the next one, so that a daemon that has just started
// need not measure it first.
func TestInitialSpacingFromTheLastDrain(t *testing.T) {
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
					lxd := &slow{concurrent: newConcurrent("pet", "b", "c"), ends: c.ends, takes: c.takes}
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

// A drain that is stopped does not wait for its slot.
func TestWaitForAStartEndsWithTheContext(t *testing.T) {
	synctest.Test(t, testWaitForAStartEndsWithTheContext)
}

func testWaitForAStartEndsWithTheContext(t *testing.T) {
	lxd := &slow{concurrent: newConcurrent("pet", "b"), takes: time.Millisecond}
	for n := range 3 {
		lxd.Add(fmt.Sprintf("c%d", n), "pet", true)
	}
	ctx, cancel := context.WithTimeout(t.Context(), drain.DefaultStartSpacing/10)
	defer cancel()
	began := time.Now()
	_, err := drain.Drainer{Cluster: lxd, Journal: lxd, By: "test", Limiter: drain.NewMoveLimiter(2, drain.DefaultStartSpacing)}.Drain(ctx, "pet", false)
	require.ErrorContains(t, err, "cannot drain pet in the time given")
	require.Less(t, time.Since(began), drain.DefaultStartSpacing, "its start was due a second later")
}

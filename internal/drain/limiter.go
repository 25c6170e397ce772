package drain

import (
	"context"
	"slices"
	"sync"
	"time"
)

// What NewLanes is given where nobody says otherwise.
const (
	DefaultMaxMoves     = 4
	DefaultStartSpacing = 7 * time.Second / 4
)

// processorsOfMove is how many processors a move gets: as many as LXD 5.0.2 keeps busy with a small
// instance's stop, move and start. With ones of 300 MiB in a pool of directories, on two processors,
// two moves at a time take three quarters of the time that they take one after another, and three
// no less.
const processorsOfMove = 1.4

// alone is how far apart they set out at most. Instances differ: what comes after one that took an
// hour may take a second, and belong to a pet that is wanted sooner.
const maxStartSpacing = 10 * time.Second

// Lanes are what instances move on: they bound how many are on their way at a time, for all
// Drainers that have the same Lanes.
//
// A lane that is free goes to who has to be done first: a drain for a window that opens soon
// goes before one that has time, and both before what is only brought back. A semaphore from
// the libraries gives it to who came first.
//
// They also set out one after another rather than all at once, so far apart that no more are moved
// at a time than the member has processors for (see took), up to alone. So while some shut down
// others are moved, and few are down only because they wait for their turn at LXD.
//
// And no instance is moved onto a member that one of them is emptying.
type MoveLimiter struct {
	mu      sync.Mutex
	slots   int
	free    int
	waiting []*waiter // who is first comes first

	nextStart time.Time     // when the next one may set out
	spacing   time.Duration // between two

	blocked  map[string]int // members that are being emptied
	reserved map[string]int // instances on their way to each member
	released chan struct{}  // closed when one of them has come there
}

// turn is somebody who waits for a lane.
type waiter struct {
	deadline time.Time
	granted  chan struct{} // closed when they have it
}

// whenever is by when something has to be done for which nobody said it.
var noDeadline = time.Unix(1<<40, 0)

// NewLanes gives lanes for that many instances at a time, at least one. As long as it is not
// known how long moves take, they set out that far apart.
func NewMoveLimiter(atOnce int, apart time.Duration) *MoveLimiter {
	atOnce = max(1, atOnce)
	return &MoveLimiter{
		slots: atOnce, free: atOnce, spacing: apart,
		blocked: map[string]int{}, reserved: map[string]int{}, released: make(chan struct{}),
	}
}

// count is how many there are: without any, one thing is done after another.
func (l *MoveLimiter) slotCount() int {
	if l == nil {
		return 1
	}
	return l.slots
}

// enter waits for a lane, for something that has to be done by then, and for the moment to set
// out. It gives false, and no lane, when the context ends before.
func (l *MoveLimiter) acquire(ctx context.Context, by time.Time) bool {
	if !l.acquireSlot(ctx, by) {
		return false
	}
	l.mu.Lock()
	now := time.Now()
	wait := l.nextStart.Sub(now)
	if l.slots == 1 {
		wait = 0
	}
	l.nextStart = now.Add(max(0, wait) + l.spacing)
	l.mu.Unlock()
	select {
	case <-time.After(wait):
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		l.release()
		return false
	}
	return true
}

// expect says how far apart they may be expected to set out, by what is known of the member; 0 is not
// known. Those that are under way know better.
func (l *MoveLimiter) setInitialSpacing(apart time.Duration) {
	if l == nil || apart <= 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.free == l.slots {
		l.spacing = min(apart, maxStartSpacing)
	}
}

// lane waits for a lane.
func (l *MoveLimiter) acquireSlot(ctx context.Context, by time.Time) bool {
	l.mu.Lock()
	if l.free > 0 {
		l.free--
		l.mu.Unlock()
		return true
	}
	mine := &waiter{by, make(chan struct{})}
	at, _ := slices.BinarySearchFunc(l.waiting, by, func(t *waiter, by time.Time) int {
		if t.deadline.After(by) {
			return 1
		}
		return -1 // of equals who came first
	})
	l.waiting = slices.Insert(l.waiting, at, mine)
	l.mu.Unlock()
	select {
	case <-mine.granted:
		return true
	case <-ctx.Done():
	}
	l.mu.Lock()
	at = slices.Index(l.waiting, mine)
	if at >= 0 {
		l.waiting = slices.Delete(l.waiting, at, at+1)
	}
	l.mu.Unlock()
	if at < 0 {
		l.release() // it came in the same moment
	}
	return false
}

// leave gives the lane to the next.
func (l *MoveLimiter) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		l.free++
		return
	}
	close(l.waiting[0].granted)
	l.waiting = slices.Delete(l.waiting, 0, 1)
}

// share is how far apart instances set out, as a share of what the stop and the move of one take.
const spacingRatio = 3. / 8

// aside is what a drain does before the first sets out and after the last is there.
const fixedOverhead = time.Second

// ApartBy gives how far apart instances are expected to set out, by an earlier drain or undrain of the
// same member: how long it took and how many it moved; 0 when that tells nothing. It is for the first
// of a drain only, until moves have shown it.
func EstimateSpacing(took time.Duration, moved int) time.Duration {
	if took <= fixedOverhead || moved < 1 {
		return 0
	}
	both := float64(took-fixedOverhead) / (1 + spacingRatio*float64(moved-1))
	return min(time.Duration(spacingRatio*both), maxStartSpacing)
}

// took tells how long a stop and the move after it have taken, on a member with so many processors;
// 0 is not known. The next set out three eighths of both apart, or less where there are processors
// for more moves at a time, so that eight are gone in less than half the time that they take one
// after another; but so far that there are processorsOfMove for each, and no more than half as far
// again as a move takes, which is what LXD's part of a stop may cost a move beside it. At a third
// eight small instances were each down for 2% longer than one after another, at three eighths for 1%.
//
// Each counts for a quarter: instances that set out too soon after one another take longer for it, and
// the next should not set out too far apart because of them.
func (l *MoveLimiter) observeMove(stop, move time.Duration, processors int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	abreast := min(max(1, float64(processors)/processorsOfMove), float64(l.slots))
	over := func(d time.Duration) time.Duration {
		return time.Duration(float64(d) / abreast).Round(time.Millisecond)
	}
	both := stop + move
	gap := min(max(over(move), min(time.Duration(spacingRatio*float64(both)), over(both))), move*3/2, maxStartSpacing)
	l.spacing = (3*l.spacing + gap) / 4
}

// empty says that a member is being emptied, until done is called, and returns when nothing is
// on its way there any more.
func (l *MoveLimiter) blockTarget(ctx context.Context, member string) (done func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blocked[member]++
	done = func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.blocked[member]--
	}
	for l.reserved[member] > 0 {
		landed := l.released
		l.mu.Unlock()
		select {
		case <-landed:
		case <-ctx.Done():
		}
		l.mu.Lock()
		if err := ctx.Err(); err != nil {
			l.blocked[member]--
			return nil, err
		}
	}
	return done, nil
}

// bind says that an instance sets out for a member; false is that it must not.
func (l *MoveLimiter) reserveTarget(member string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.blocked[member] > 0 {
		return false
	}
	l.reserved[member]++
	return true
}

// unbind says that it is there, or does not come.
func (l *MoveLimiter) releaseTarget(member string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reserved[member]--
	close(l.released)
	l.released = make(chan struct{})
}

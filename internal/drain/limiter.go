package drain

import (
	"context"
	"slices"
	"sync"
	"time"
)

// What NewMoveLimiter is called with where no measurement says otherwise.
const (
	DefaultMaxMoves     = 4
	DefaultStartSpacing = 7 * time.Second / 4
)

// MoveLimiter limits the moves of all Drainers that have the same one. It consists of
//
//   - move slots: how many instances move at a time, see slots;
//   - a pacer: when the next move starts, see pacer;
//   - the targets: no instance is moved to a member that one of them drains, see targets.
type MoveLimiter struct {
	slots   slots
	pacer   pacer
	targets targets
}

// NewMoveLimiter returns a limiter with that many move slots, at least one. Until it is known how long
// moves take, they start that far apart.
func NewMoveLimiter(maxMoves int, spacing time.Duration) *MoveLimiter {
	maxMoves = max(1, maxMoves)
	return &MoveLimiter{
		slots:   slots{count: maxMoves, free: maxMoves},
		pacer:   pacer{spacing: spacing},
		targets: targets{draining: map[string]int{}, incoming: map[string]int{}, arrived: make(chan struct{})},
	}
}

// slotCount returns how many instances move at a time.
func (l *MoveLimiter) slotCount() int { return l.slots.count }

// acquire waits for a move slot, for something that has to be done by the deadline, and for the moment
// to start. It returns false, and no slot, when the context ends before.
func (l *MoveLimiter) acquire(ctx context.Context, deadline time.Time) bool {
	if !l.slots.acquire(ctx, deadline) {
		return false
	}
	if l.slots.count > 1 { // a single move starts when the last has ended
		l.pacer.wait(ctx)
	}
	if ctx.Err() != nil {
		l.slots.release()
		return false
	}
	return true
}

// release returns a slot that was acquired.
func (l *MoveLimiter) release() { l.slots.release() }

// setInitialSpacing sets how far apart moves are expected to start; 0 is not known. Moves that are in
// progress know better.
func (l *MoveLimiter) setInitialSpacing(spacing time.Duration) {
	if spacing > 0 && l.slots.idle() {
		l.pacer.setSpacing(spacing)
	}
}

// observeMove takes how long a stop and the move after it have taken, on a member with so many
// processors; 0 is not known.
func (l *MoveLimiter) observeMove(stop, move time.Duration, processors int) {
	l.pacer.observe(stop, move, processors, l.slots.count)
}

// blockTarget is targets.block.
func (l *MoveLimiter) blockTarget(ctx context.Context, member string) (done func(), err error) {
	return l.targets.block(ctx, member)
}

// reserveTarget is targets.reserve.
func (l *MoveLimiter) reserveTarget(member string) bool { return l.targets.reserve(member) }

// releaseTarget is targets.release.
func (l *MoveLimiter) releaseTarget(member string) { l.targets.release(member) }

// slots is a semaphore with priorities. A free slot goes to the waiter with the earliest deadline: a
// drain for a window that opens soon goes before one that has time, and both before an undrain. The
// semaphores of the libraries are first come, first served.
type slots struct {
	count int

	mu      sync.Mutex
	free    int
	waiting []*waiter // by deadline
}

// waiter waits for a slot.
type waiter struct {
	deadline time.Time
	granted  chan struct{} // closed when it has the slot
}

// noDeadline is the deadline of what has none.
var noDeadline = time.Unix(1<<40, 0)

// acquire waits for a slot. It returns false, and no slot, when the context ends before.
func (s *slots) acquire(ctx context.Context, deadline time.Time) bool {
	s.mu.Lock()
	if s.free > 0 {
		s.free--
		s.mu.Unlock()
		return true
	}
	mine := &waiter{deadline, make(chan struct{})}
	at, _ := slices.BinarySearchFunc(s.waiting, deadline, func(w *waiter, deadline time.Time) int {
		if w.deadline.After(deadline) {
			return 1
		}
		return -1 // of equals the one that waits longer
	})
	s.waiting = slices.Insert(s.waiting, at, mine)
	s.mu.Unlock()
	select {
	case <-mine.granted:
		return true
	case <-ctx.Done():
	}
	s.mu.Lock()
	at = slices.Index(s.waiting, mine)
	if at >= 0 {
		s.waiting = slices.Delete(s.waiting, at, at+1)
	}
	s.mu.Unlock()
	if at < 0 {
		s.release() // it was granted in the same moment
	}
	return false
}

// release passes a slot on to the next waiter.
func (s *slots) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		s.free++
		return
	}
	close(s.waiting[0].granted)
	s.waiting = slices.Delete(s.waiting, 0, 1)
}

// idle reports whether all slots are free.
func (s *slots) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.free == s.count
}

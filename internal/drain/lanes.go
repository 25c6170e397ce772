package drain

import (
	"context"
	"sync"
	"time"
)

// What NewLanes is given where nobody says otherwise.
const (
	AtOnce = 4
	Apart  = time.Second
)

// Lanes are what instances move on: they bound how many are on their way at a time, for all
// Drainers that have the same Lanes.
//
// They also set out one after another rather than all at once, half of the time apart that a
// move takes without the stop before it. So while some shut down others are copied, and few
// are down only because they wait for their turn at the disks, the network and LXD.
//
// And no instance is moved onto a member that one of them is emptying.
type Lanes struct {
	free chan struct{}

	mu   sync.Mutex
	next time.Time     // when the next one may set out
	gap  time.Duration // between two

	emptying map[string]int // members that are being emptied
	bound    map[string]int // instances on their way to each member
	landed   chan struct{}  // closed when one of them has come there
}

// NewLanes gives lanes for that many instances at a time, at least one. As long as it is not
// known how long moves take, they set out that far apart.
func NewLanes(atOnce int, apart time.Duration) *Lanes {
	return &Lanes{
		free: make(chan struct{}, max(1, atOnce)), gap: apart,
		emptying: map[string]int{}, bound: map[string]int{}, landed: make(chan struct{}),
	}
}

// enter waits for a lane, and for the turn. It gives false, and no lane, when the context
// ends before.
func (l *Lanes) enter(ctx context.Context) bool {
	select {
	case l.free <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	if cap(l.free) == 1 {
		return true
	}
	l.mu.Lock()
	now := time.Now()
	wait := l.next.Sub(now)
	l.next = now.Add(max(0, wait) + l.gap)
	l.mu.Unlock()
	select {
	case <-time.After(wait):
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		l.leave()
		return false
	}
	return true
}

// leave gives the lane to the next.
func (l *Lanes) leave() { <-l.free }

// took tells how long a move has taken, without the stop before it.
func (l *Lanes) took(t time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gap = (l.gap + t/2) / 2
}

// empty says that a member is being emptied, until done is called, and returns when nothing is
// on its way there any more.
func (l *Lanes) empty(ctx context.Context, member string) (done func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.emptying[member]++
	done = func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.emptying[member]--
	}
	for l.bound[member] > 0 {
		landed := l.landed
		l.mu.Unlock()
		select {
		case <-landed:
		case <-ctx.Done():
		}
		l.mu.Lock()
		if err := ctx.Err(); err != nil {
			l.emptying[member]--
			return nil, err
		}
	}
	return done, nil
}

// bind says that an instance sets out for a member; false is that it must not.
func (l *Lanes) bind(member string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.emptying[member] > 0 {
		return false
	}
	l.bound[member]++
	return true
}

// unbind says that it is there, or does not come.
func (l *Lanes) unbind(member string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bound[member]--
	close(l.landed)
	l.landed = make(chan struct{})
}

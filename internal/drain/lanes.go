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
type Lanes struct {
	free chan struct{}

	mu   sync.Mutex
	next time.Time     // when the next one may set out
	gap  time.Duration // between two
}

// NewLanes gives lanes for that many instances at a time, at least one. As long as it is not
// known how long moves take, they set out that far apart.
func NewLanes(atOnce int, apart time.Duration) *Lanes {
	return &Lanes{free: make(chan struct{}, max(1, atOnce)), gap: apart}
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

package drain

import (
	"context"
	"sync"
)

// targets keeps instances from being moved to a member that is being drained.
type targets struct {
	mu       sync.Mutex
	draining map[string]int // drains of each member
	incoming map[string]int // instances on their way to each member
	arrived  chan struct{}  // closed when one of them is there
}

// block refuses further moves to a member, until done is called, and returns when no instance is on its
// way there any more.
func (t *targets) block(ctx context.Context, member string) (done func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.draining[member]++
	done = func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.draining[member]--
	}
	for t.incoming[member] > 0 {
		arrived := t.arrived
		t.mu.Unlock()
		select {
		case <-arrived:
		case <-ctx.Done():
		}
		t.mu.Lock()
		if err := ctx.Err(); err != nil {
			t.draining[member]--
			return nil, err
		}
	}
	return done, nil
}

// reserve notes that an instance is going to be moved to a member; false is that it must not.
func (t *targets) reserve(member string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.draining[member] > 0 {
		return false
	}
	t.incoming[member]++
	return true
}

// release notes that the instance is there, or does not come.
func (t *targets) release(member string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.incoming[member]--
	close(t.arrived)
	t.arrived = make(chan struct{})
}

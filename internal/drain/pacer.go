package drain

import (
	"context"
	"sync"
	"time"
)

// The constants of the spacing between the starts of two moves. They were measured with instances of
// 300 MiB in a pool of directories on two processors, with LXD 5.0.2:
//
//	two moves at a time    3/4 of the time that they take one after another
//	three moves at a time  no less
//	a ratio of 1/3         eight small instances were each down for 2 % longer than one after another
//	a ratio of 3/8         for 1 % longer
const (
	// processorsOfMove is how many processors a move gets: as many as LXD keeps busy with the stop,
	// move and start of a small instance.
	processorsOfMove = 1.4
	// spacingRatio is the spacing as a share of what the stop and the move of one instance take. Eight
	// moves then take less than half as long as in sequence.
	spacingRatio = 3. / 8
	// maxStartSpacing bounds the spacing. Instances differ: what comes after one that took an hour may
	// take a second, and belong to a pet whose window opens sooner.
	maxStartSpacing = 10 * time.Second
	// fixedOverhead is what a drain does before the first move starts and after the last has ended.
	fixedOverhead = time.Second
)

// pacer starts moves one after another, so far apart that no more are in progress than the member has
// processors for. So while some instances shut down others are moved, and few are down only because
// they wait for LXD.
type pacer struct {
	mu        sync.Mutex
	nextStart time.Time
	spacing   time.Duration
}

// wait waits for the moment to start the next move, or until the context ends.
func (p *pacer) wait(ctx context.Context) {
	p.mu.Lock()
	now := time.Now()
	wait := max(0, p.nextStart.Sub(now))
	p.nextStart = now.Add(wait + p.spacing)
	p.mu.Unlock()
	select {
	case <-time.After(wait):
	case <-ctx.Done():
	}
}

// setSpacing sets the spacing, bounded by maxStartSpacing.
func (p *pacer) setSpacing(spacing time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spacing = min(spacing, maxStartSpacing)
}

// observe adjusts the spacing to how long a stop and the move after it have taken, on a member with so
// many processors (0 is not known) of which at most so many moves are in progress.
//
// The spacing is spacingRatio of both, or less where there are processors for more moves at a time, but
// long enough that there are processorsOfMove for each, and at most 1.5 × the move, which is what LXD's
// part of a stop may cost a move beside it. Each observation counts for a quarter: instances that start
// too close together take longer for it, and the next should not start too late because of them.
func (p *pacer) observe(stop, move time.Duration, processors, slots int) {
	concurrent := min(max(1, float64(processors)/processorsOfMove), float64(slots))
	over := func(d time.Duration) time.Duration {
		return time.Duration(float64(d) / concurrent).Round(time.Millisecond)
	}
	both := stop + move
	spacing := min(max(over(move), min(time.Duration(spacingRatio*float64(both)), over(both))), move*3/2, maxStartSpacing)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spacing = (3*p.spacing + spacing) / 4
}

// EstimateSpacing returns how far apart moves are expected to start, by an earlier drain or undrain of
// the same member: how long it took and how many instances it moved; 0 when that is not enough to know.
// It is for the first moves of a drain, until moves have been observed.
func EstimateSpacing(took time.Duration, moved int) time.Duration {
	if took <= fixedOverhead || moved < 1 {
		return 0
	}
	both := float64(took-fixedOverhead) / (1 + spacingRatio*float64(moved-1))
	return min(time.Duration(spacingRatio*both), maxStartSpacing)
}

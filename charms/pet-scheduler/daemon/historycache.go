package daemon

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/scheduler/store"
)

// historyCache remembers what has become of the pets, so that it is not read whole every few
// seconds. It holds for a unit that acts: only that one ends runs.
type historyCache struct {
	mu         sync.Mutex
	known      map[string][]store.Run // by pet
	generation map[string]int         // how often a run of a pet has come to its end
}

// of returns a pet's history, by read where it is not known. What was read while a run came to
// its end may lack that run, and is not remembered.
func (k *historyCache) of(ctx context.Context, pet string, read func(context.Context, string) ([]store.Run, error)) ([]store.Run, error) {
	k.mu.Lock()
	runs, ok := k.known[pet]
	before := k.generation[pet]
	k.mu.Unlock()
	if ok {
		return runs, nil
	}
	runs, err := read(ctx, pet)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.generation[pet] == before {
		if k.known == nil {
			k.known = map[string][]store.Run{}
		}
		k.known[pet] = runs
	}
	return runs, nil
}

// invalidate forgets a pet's history, because a run has come to its end.
func (k *historyCache) invalidate(pet string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.known, pet)
	if k.generation == nil {
		k.generation = map[string]int{}
	}
	k.generation[pet]++
}

// earlierRuns is how many of a pet's runs apart is asked about.
const earlierRuns = 5

// medianStartSpacing is how far apart a pet's instances are expected to set out by its earlier runs, in the median:
// one of them may have waited for an operator who fixed something. 0 is not known.
func medianStartSpacing(earlier []store.Run) time.Duration {
	var all []time.Duration
	for _, run := range earlier {
		if run.State != store.Done {
			continue
		}
		if by := drain.EstimateSpacing(run.Ended.Sub(run.Started), run.Moved); by > 0 {
			all = append(all, by)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// Package simulate lets time run fast: the real calendar, leads and schedule decide over
// pets of a model cluster, and it is told what came of it. Nothing real is touched. The same
// input returns the same result.
package simulate

import (
	"runtime"
	"sync"
	"time"

	"github.com/dcib/dcib/internal/scheduler/calendar"
	"github.com/dcib/dcib/internal/scheduler/decide"
	"github.com/dcib/dcib/internal/scheduler/leadtime"
)

// Model is how the cluster behaves.
type Model struct {
	Seed      uint64
	Instances int           // the most that a shared pet has
	Change    time.Duration // on average until a shared pet gets or loses an instance
	Move      time.Duration // of one instance, on average; some take several times as long
	Overhead  time.Duration // of a drain or undrain, however many instances
	Parallel  int           // moves at a time
	Fails     float64       // the share of tries to drain or undrain that fail half-way
}

// DefaultModel is a cluster of ordinary machines with a few troubles.
func DefaultModel() Model {
	return Model{Seed: 1, Instances: 8, Change: 6 * time.Hour, Move: 40 * time.Second, Overhead: 10 * time.Second, Parallel: 4, Fails: 0.01}
}

// Run is what is simulated.
type Run struct {
	Pets     []*calendar.Pet
	From, To time.Time
	Model    Model
	Lead     leadtime.Options
	Schedule decide.Options
}

// Return is how one window of a pet went.
type Return struct {
	Pet       string
	Window    calendar.Span
	Began     time.Time     // the drain; zero when there was none to do
	Empty     time.Time     // when the pet was seen empty; zero: never
	Lead      leadtime.Lead // when the drain began
	Drains    int           // times that draining was begun, carrying on not counted
	Failures  int           // tries that failed
	Instances int           // on the pet when the drain began
	Late      time.Duration
	Why       string // it was late; empty when it was not
}

// Pet is how a pet fared.
type Pet struct {
	Name                       string
	Shared, Reserved, Underway time.Duration // shared; empty; being drained or filled
	Moves                      int
	Failures                   int
	Returns                    []Return // of each window that opened, in order
}

// Result is what came of a run, with the pets in the order in which they were given.
type Result struct {
	Pets []Pet
}

// Simulate runs the clock from From to To. Pets do not disturb each other in the model.
func Simulate(run Run) Result {
	result := Result{Pets: make([]Pet, len(run.Pets))}
	var group sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for i := range next {
				result.Pets[i] = simulate(run, run.Pets[i])
			}
		})
	}
	for i := range run.Pets {
		next <- i
	}
	close(next)
	group.Wait()
	return result
}

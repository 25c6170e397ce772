package simulate

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/scheduler/calendar"
	"github.com/dcib/dcib/internal/scheduler/decide"
	"github.com/dcib/dcib/internal/scheduler/leadtime"
)

// world is one pet of the model, at a moment.
type env struct {
	Run
	pet    *calendar.Pet
	random *rand.Rand
	report Pet

	now       time.Time
	state     decide.State
	on, away  int // instances on the pet, and moved from it
	change    time.Time
	windows   []calendar.Span
	window    int // the first that ends after now
	trying    *try
	began     time.Time // the drain that is under way
	beganWith int
	drainFor  time.Time // what the journal says
	failedFor time.Time
	drain     decide.Failure
	undrain   decide.Failure
	past      []leadtime.Drain
	lead      leadtime.Lead
	leads     map[int]leadtime.Lead // by instances, until the past changes
}

// try is one try to drain or undrain.
type try struct {
	verb        decide.Verb
	began, ends time.Time
	moves       int // to do
	fails       bool
}

func simulate(run Run, pet *calendar.Pet) Pet {
	name := fnv.New64a()
	_, _ = name.Write([]byte(pet.Name)) // cannot fail
	w := &env{
		Run: run, pet: pet, report: Pet{Name: pet.Name},
		random: rand.New(rand.NewPCG(run.Model.Seed, name.Sum64())),
		now:    run.From, state: decide.Shared, leads: map[int]leadtime.Lead{},
		windows: pet.Between(run.From, run.To),
	}
	w.on = w.random.IntN(run.Model.Instances + 1)
	w.change = w.now.Add(w.exponential(run.Model.Change))
	for _, span := range w.windows {
		w.report.Returns = append(w.report.Returns, Return{Pet: pet.Name, Window: span})
	}
	w.learn()
	for w.now.Before(run.To) {
		w.step()
	}
	for i := range w.report.Returns {
		w.explain(i)
	}
	return w.report
}

// step decides, does what was decided, and lets time pass until something happens.
func (w *env) step() {
	for w.window < len(w.windows) && !w.windows[w.window].End.After(w.now) {
		w.window++
	}
	d := decide.Decide(w.facts(), w.Schedule)
	if w.trying != nil && w.trying.verb != d.Do {
		w.stop(w.trying)
	}
	if w.trying == nil && (d.Do == decide.Drain || d.Do == decide.Undrain) {
		w.begin(d)
	}
	if w.state == decide.Drained && w.window < len(w.windows) {
		if r := &w.report.Returns[w.window]; r.Empty.IsZero() && d.Do == decide.KeepDrained {
			r.Empty = w.now
		}
	}
	for next := w.next(d); ; next = w.next(d) {
		w.pass(next)
		if !w.changes() || !w.now.Before(w.To) {
			return
		}
	}
}

func (w *env) facts() decide.Facts {
	f := decide.Facts{
		Now: w.now, State: w.state, For: w.drainFor,
		Lead: w.lead.Time, LeadWhy: w.lead.Why, MinShare: w.pet.MinShare,
		Drain: w.drain, FailedFor: w.failedFor, Undrain: w.undrain,
	}
	if w.window < len(w.windows) {
		s := w.windows[w.window]
		f.Window = decide.Window{EmptyBy: s.EmptyBy, Start: s.Start, End: s.End}
	}
	return f
}

// next is when something happens.
func (w *env) next(d decide.Decision) time.Time {
	next := w.To
	for _, at := range []time.Time{d.RequeueAt, w.change} {
		if !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	if w.trying != nil && w.trying.ends.Before(next) {
		next = w.trying.ends
	}
	return next
}

// pass lets the clock go on.
func (w *env) pass(to time.Time) {
	switch took := to.Sub(w.now); w.state {
	case decide.Shared:
		w.report.Shared += took
	case decide.Drained:
		w.report.Reserved += took
	default:
		w.report.Underway += took
	}
	w.now = to
	if t := w.trying; t != nil && !w.now.Before(t.ends) {
		w.end(t)
	}
}

// changes lets an instance come or go when it is time for that. It reports whether that is all
// that happened and nothing is to be decided again for it.
func (w *env) changes() (quiet bool) {
	if w.now.Before(w.change) {
		return false
	}
	quiet = w.now.Equal(w.change) && w.trying == nil
	w.change = w.now.Add(w.exponential(w.Model.Change))
	if w.state != decide.Shared {
		return quiet
	}
	if w.random.IntN(2) == 0 {
		w.on = min(w.on+1, w.Model.Instances)
	} else {
		w.on = max(w.on-1, 0)
	}
	before := w.lead.Time
	w.learn()
	return quiet && w.lead.Time == before
}

// learn works out the lead again.
func (w *env) learn() {
	instances := w.on + w.away
	known, ok := w.leads[instances]
	if !ok {
		known = leadtime.Of(w.past, instances, w.Lead)
		w.leads[instances] = known
	}
	w.lead = known
}

// begin begins a try.
func (w *env) begin(d decide.Decision) {
	t := &try{verb: d.Do, began: w.now, moves: w.on}
	if d.Do == decide.Undrain {
		t.moves = w.away
		w.state = decide.Returning
	} else {
		if w.state != decide.Draining {
			w.began, w.beganWith = w.now, w.on
			if w.window < len(w.windows) {
				r := &w.report.Returns[w.window]
				r.Drains++
				if r.Began.IsZero() {
					r.Began, r.Lead, r.Instances = w.now, w.lead, w.on
				}
			}
		}
		w.state, w.drainFor = decide.Draining, d.For
	}
	// Moves run side by side; the try takes as long as the longest row of them.
	rows := make([]time.Duration, max(1, w.Model.Parallel))
	for i := range t.moves {
		rows[i%len(rows)] += w.move()
	}
	took := w.Model.Overhead
	for _, row := range rows {
		took = max(took, w.Model.Overhead+row)
	}
	if w.random.Float64() < w.Model.Fails {
		t.fails = true
		took = time.Duration(float64(took) * w.random.Float64())
	}
	t.ends = w.now.Add(took.Round(time.Second) + time.Second)
	w.trying = t
}

// end is the end of a try.
func (w *env) end(t *try) {
	if t.fails {
		w.stop(t)
		w.report.Failures++
		failure := &w.undrain
		if t.verb == decide.Drain {
			if !w.failedFor.Equal(w.drainFor) {
				w.failedFor, w.drain = w.drainFor, decide.Failure{}
			}
			failure = &w.drain
			if w.window < len(w.windows) {
				w.report.Returns[w.window].Failures++
			}
		}
		*failure = decide.Failure{Count: failure.Count + 1, Last: w.now, Error: "the model says so"}
		return
	}
	w.moved(t.verb, t.moves)
	w.trying = nil
	if t.verb == decide.Drain {
		w.state, w.undrain = decide.Drained, decide.Failure{}
		w.past = append(w.past, leadtime.Drain{Took: w.now.Sub(w.began), Instances: w.beganWith})
		clear(w.leads)
		w.learn()
		return
	}
	w.state, w.drainFor = decide.Shared, time.Time{}
}

// stop ends a try before it is done: what has moved has moved.
func (w *env) stop(t *try) {
	share := 1.0
	if whole := t.ends.Sub(t.began); whole > 0 {
		share = float64(w.now.Sub(t.began)) / float64(whole)
	}
	if t.fails {
		share /= 2
	}
	w.moved(t.verb, int(share*float64(t.moves)))
	w.trying = nil
}

func (w *env) moved(verb decide.Verb, n int) {
	w.report.Moves += n
	if verb == decide.Undrain {
		n = -n
	}
	w.on, w.away = w.on-n, w.away+n
}

// move is how long one instance takes: most about the average, a few several times that.
func (w *env) move() time.Duration {
	const spread = 0.5 // of a log-normal distribution
	return time.Duration(float64(w.Model.Move) * math.Exp(spread*w.random.NormFloat64()-spread*spread/2))
}

func (w *env) exponential(mean time.Duration) time.Duration {
	return time.Duration(float64(mean)*w.random.ExpFloat64()).Round(time.Second) + time.Second
}

// explain says of a window whether the pet was late, and why. What it cannot explain it
// leaves without a reason.
func (w *env) explain(i int) {
	r := &w.report.Returns[i]
	end := r.Empty
	if end.IsZero() {
		end = r.Window.End
		if end.After(w.To) {
			if !r.Window.EmptyBy.Before(w.To) || !r.Began.IsZero() && !r.Began.Add(r.Lead.Time).Before(w.To) {
				return // the run ended first
			}
			end = w.To
		}
	}
	if r.Late = max(0, end.Sub(r.Window.EmptyBy)); r.Late == 0 {
		return
	}
	var why []string
	if due := r.Window.EmptyBy.Add(-r.Lead.Time); !r.Began.IsZero() && r.Began.After(due) {
		late := r.Began.Sub(due)
		switch {
		case r.Began.Equal(w.From):
			why = append(why, "the run began when the drain was due already")
		case i > 0 && w.windows[i-1].End.After(due):
			why = append(why, fmt.Sprintf("the window before ended %s after the drain was due", late))
		default:
			why = append(why, fmt.Sprintf("an instance came %s after the drain was due with it", late))
		}
	}
	if r.Failures > 0 {
		why = append(why, fmt.Sprintf("%d tries failed", r.Failures))
	}
	if took := end.Sub(r.Began); !r.Began.IsZero() && took > r.Lead.Time {
		what := "the drain took"
		if r.Empty.IsZero() {
			what = "it was not empty after"
		}
		why = append(why, fmt.Sprintf("%s %s, its lead was %s (%s)", what, took.Round(time.Second), r.Lead.Time, cmp.Or(r.Lead.Why, "none")))
	}
	r.Why = strings.Join(why, "; ")
}

// Package schedule decides what is due for a pet now: it is the engine between the calendar
// and the one who drains. It is pure and level-triggered: from facts as they are, whatever
// happened before, it says what to do and when to ask again. Asking too often does no harm.
package decide

import (
	"fmt"
	"strings"
	"time"
)

// State is what the journal of drains, and the cluster, say of a pet.
type State string

// The states of a pet.
const (
	Shared    State = "shared"    // it takes instances
	Draining  State = "draining"  // a drain has begun and not come to its end
	Drained   State = "drained"   // it was seen empty, and takes no instances
	Returning State = "returning" // an undrain has begun and not come to its end
	// Foreign is a pet that an operator evacuated: what they did stays.
	Foreign State = "foreign"
)

// Window is the pet's reserved windows that is on or comes next, as the calendar has it.
type Window struct {
	EmptyBy    time.Time // by when the pet has to be empty
	Start, End time.Time // Start names the window
}

// HoldState is the state in which an operator holds a pet.
type HoldState string

// What a hold may ask for.
const (
	HoldReserved HoldState = "reserved" // the pet is drained and stays empty
	HoldShared   HoldState = "shared"   // the pet takes instances, also in a window
	HoldPaused   HoldState = "paused"   // nothing is done to the pet
)

// Hold is an operator's override of the calendar.
type Hold struct {
	State HoldState
	Until time.Time // when it is over; zero: when it is released
	By    string    // who asked
}

// Failure is what went wrong since the last success.
type Failure struct {
	Count int
	Last  time.Time // when the last try ended
	Error string    // of the last try
}

// Facts is all that a decision is made on.
type Facts struct {
	Now   time.Time
	State State
	// For is the Start of the window that the pet was, or is being, drained for, as the
	// journal has it; zero when it was for something else.
	For time.Time

	Window   Window        // that ends after Now; zero when there is none
	Lead     time.Duration // a drain takes, for the instances there are or would come back
	LeadWhy  string
	MinShare time.Duration // the pet is not shared for less
	Hold     *Hold
	// Drain and Undrain are how tries have failed: Drain those for the window FailedFor (its
	// Start; zero for a hold), Undrain since the pet was drained.
	Drain     Failure
	FailedFor time.Time
	Undrain   Failure

	// Kept are the instances, by name, that can neither move nor be stopped, while a drain of the
	// pet has moved the others. Such a drain is not given up: no instance takes a pet from its owner.
	Kept []string
	// Running are the instances that run on the pet, by name.
	Running []string
	// Restored reports that a Foreign pet takes instances: an operator restored it.
	Restored bool
}

// Options are what an operator may set for all pets.
type Options struct {
	Attempts int           // of a drain, before it is given up once it is late
	Backoff  time.Duration // after the first failure; twice as long after each more
	MaxWait  time.Duration // between two tries
	// KeepFailed reports that a pet whose drain was given up stays as it is, half empty, until its
	// window is over; else what was moved is brought back.
	KeepFailed bool
}

// Defaults are the options of a pet-scheduler that was told nothing else.
func Defaults() Options {
	return Options{Attempts: 6, Backoff: 15 * time.Second, MaxWait: 5 * time.Minute}
}

// Verb is what to do.
type Verb string

// What there is to do. Drain and Undrain begin, or carry on; a caller that is at it already
// goes on, one that is at the other stops that first.
const (
	Share       Verb = "share"        // nothing: the pet is everyone's
	Drain       Verb = "drain"        // empty it
	KeepDrained Verb = "keep-drained" // nothing: it is empty and stays so
	Undrain     Verb = "undrain"      // bring back what was moved
	Wait        Verb = "wait"         // nothing now, although not all is as it should be
)

// Decision is what is due.
type Decision struct {
	Do  Verb
	Why string // for a person
	// For is the Start of the window that a drain is for; zero when it is for a hold.
	For time.Time
	// Deadline is by when a drain has to be done; zero when no window sets one.
	Deadline time.Time
	// RequeueAt is when to evaluate again even if nothing changes; zero is never.
	RequeueAt time.Time
	// Alert is what an operator should know at once; empty when all is well. Kind is then
	// what it is about.
	Alert string
	Kind  Kind
}

// Kind is what an alert is about.
type Kind string

// The kinds of alerts.
const (
	Late     Kind = "late"      // the pet is not empty although it has to be; it is being drained
	Failing  Kind = "failing"   // draining it, or bringing back what was moved, fails and is tried again
	GivenUp  Kind = "given-up"  // draining it is not tried again for this window
	NotEmpty Kind = "not-empty" // it was empty, and an instance runs there while it is reserved
)

// desired is what the pet should be, before anything that prevents it.
type desired struct {
	own      bool
	why      string
	window   time.Time // Start, when a window is why
	deadline time.Time
	until    time.Time // when to ask again
	hands    bool      // off
}

// Decide says what is due.
func Decide(f Facts, o Options) Decision {
	w := f.desired()
	d := Decision{Why: w.why, RequeueAt: w.until}
	if w.own {
		d.For, d.Deadline = w.window, w.deadline
	}
	switch {
	case w.hands:
		d.Do = Wait
	case w.own && f.State == Drained && len(f.Running) > 0:
		// An instance was moved to it, started there or left behind: the drain is ours, and so
		// is emptying it again.
		return f.drain(d, o)
	case w.own && (f.State == Drained || f.State == Foreign):
		d.Do = KeepDrained
		if f.State == Foreign && len(f.Running) > 0 {
			d.Kind, d.Alert = NotEmpty, f.foreign()
		}
	case w.own:
		return f.drain(d, o)
	case f.State == Shared || f.State == Foreign:
		d.Do = Share
	default:
		return f.undrain(d, o)
	}
	return d
}

// maxNames is how many instances an alert names.
const maxNames = 3

// running names the instances that run on the pet.
func (f Facts) running() string {
	names, more := f.Running, ""
	if n := len(names) - maxNames; n > 0 {
		names, more = names[:maxNames], fmt.Sprintf(" and %d more", n)
	}
	verb := " run there"
	if len(f.Running) == 1 {
		verb = " runs there"
	}
	return strings.Join(names, ", ") + more + verb
}

// foreign is the alert of a pet that is reserved and that this scheduler did not empty.
func (f Facts) foreign() string {
	if f.Restored {
		return fmt.Sprintf("it is not empty: an operator restored it and %s; run action drain to empty it", f.running())
	}
	return fmt.Sprintf("it is not empty: it was evacuated by another than this scheduler and %s; move them away, or restore the member and it is drained", f.running())
}

// desired returns what the calendar, or a hold, asks for.
func (f Facts) desired() desired {
	if h := f.Hold; h != nil && (h.Until.IsZero() || f.Now.Before(h.Until)) {
		w := desired{own: h.State == HoldReserved, hands: h.State != HoldReserved && h.State != HoldShared, until: h.Until}
		w.why = fmt.Sprintf("%s holds it %q", h.By, h.State)
		if !h.Until.IsZero() {
			w.why += " until " + clock(h.Until)
		}
		return w
	}
	emptied := f.State == Draining || f.State == Drained
	begin := f.Window.EmptyBy.Add(-f.Lead)
	own := desired{own: true, window: f.Window.Start, deadline: f.Window.EmptyBy, until: f.Window.End}
	switch {
	case f.Window.End.IsZero():
		return desired{why: "no window comes"}
	case !f.Now.Before(f.Window.Start):
		own.why = fmt.Sprintf("its window is open until %s", clock(f.Window.End))
		return own
	case !f.Now.Before(begin):
		own.why = fmt.Sprintf("its window opens %s, it has to be empty by %s, and its drain is given %s: %s",
			clock(f.Window.Start), clock(f.Window.EmptyBy), f.Lead, f.LeadWhy)
	case emptied && f.For.Equal(f.Window.Start):
		// The lead may shrink with what this drain taught.
		own.why = fmt.Sprintf("it was drained for the window that opens %s", clock(f.Window.Start))
	case emptied && !f.Now.Before(begin.Add(-f.MinShare)):
		own.why = fmt.Sprintf("it would be drained again from %s on, within its minimum share time of %s", clock(begin), f.MinShare)
	default:
		shared := desired{
			why:   fmt.Sprintf("its next window opens %s; a drain begins %s: %s", clock(f.Window.Start), clock(begin), f.LeadWhy),
			until: begin,
		}
		if emptied {
			shared.until = begin.Add(-f.MinShare)
		}
		return shared
	}
	return own
}

// drain is the decision that the pet has to be emptied.
func (f Facts) drain(d Decision, o Options) Decision {
	d.Do = Drain
	late := !d.Deadline.IsZero() && !f.Now.Before(d.Deadline)
	if !late {
		d.RequeueAt = earlier(d.RequeueAt, d.Deadline) // to say that it is late
	}
	failed := f.Drain
	if !f.FailedFor.Equal(d.For) {
		failed = Failure{}
	}
	switch {
	case f.State == Drained:
		d.Kind, d.Alert = NotEmpty, fmt.Sprintf("it is not empty: it was drained and %s; it is drained again", f.running())
	case late:
		d.Kind, d.Alert = Late, fmt.Sprintf("it is late: it had to be empty by %s", clock(d.Deadline))
	}
	if failed.Count == 0 {
		return d
	}
	if d.Kind == "" {
		d.Kind = Failing
	}
	d.Alert = fmt.Sprintf("draining it failed %d times, last: %s", failed.Count, failed.Error)
	if failed.Count >= o.Attempts && len(f.Kept) == 0 && (late || d.Deadline.IsZero()) {
		d.Why = fmt.Sprintf("draining it was given up after %d tries", failed.Count)
		d.Alert += "; it was given up"
		d.Kind = GivenUp
		// A drained pet with an instance on it stays drained: the others need not come back.
		if f.State == Shared || f.State == Drained || o.KeepFailed {
			d.Do = Wait
			return d
		}
		return f.undrain(d, o)
	}
	return f.backOff(d, failed, o)
}

// undrain is the decision that what was moved has to come back.
func (f Facts) undrain(d Decision, o Options) Decision {
	d.Do, d.For, d.Deadline = Undrain, time.Time{}, time.Time{}
	if f.Undrain.Count == 0 {
		return d
	}
	alert := fmt.Sprintf("bringing back what was moved failed %d times, last: %s", f.Undrain.Count, f.Undrain.Error)
	if d.Alert != "" {
		alert = d.Alert + "; " + alert
	} else {
		d.Kind = Failing
	}
	d.Alert = alert
	return f.backOff(d, f.Undrain, o)
}

// backOff waits before another try.
func (f Facts) backOff(d Decision, failed Failure, o Options) Decision {
	again := failed.Last.Add(Backoff(failed.Count, o))
	if f.Now.Before(again) {
		d.Why = fmt.Sprintf("to %s it is tried again %s; %s", d.Do, clock(again), d.Why)
		d.Do, d.RequeueAt = Wait, earlier(d.RequeueAt, again)
	}
	return d
}

// Backoff is how long to wait after that many failures.
func Backoff(failures int, o Options) time.Duration {
	wait := o.Backoff
	for ; failures > 1 && wait < o.MaxWait; failures-- {
		wait *= 2
	}
	return min(wait, o.MaxWait)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// clock writes a moment by the clock of its own zone.
func clock(t time.Time) string { return t.Format("Mon 2 Jan 15:04:05 MST") }

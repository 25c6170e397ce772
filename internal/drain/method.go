package drain

import (
	"context"
	"time"
)

// Method is how an instance gets to another member. Each has a file of its own.
type Method string

// The methods, best first. An instance that stays where it is has none.
const (
	LiveMove    Method = "moved while it runs"
	CopyFirst   Method = "copied while it runs"
	StopAndMove Method = "stopped and moved"
	StoppedMove Method = "moved, stopped as it is"
)

// methods are the implementations of the methods.
var methods = map[Method]method{
	LiveMove:    liveMove,
	CopyFirst:   copyFirst,
	StopAndMove: stopAndMove,
	StoppedMove: stoppedMove,
}

// methodOf returns how an instance moves to another member, and why that way. It is pure, and looks
// at nothing but the instance and what LXD can do with it.
func (v View) methodOf(i Instance) (m Method, reason string) {
	blocker, known := v.CopyBlockers[i.Ref]
	if v.Backups[i.Ref] > 0 {
		blocker = "it has backups"
	}
	switch {
	case !i.Running:
		return StoppedMove, "it does not run"
	case i.LiveMovable:
		return LiveMove, "LXD can move it while it runs"
	case known && blocker == "":
		return CopyFirst, "LXD cannot move it while it runs, and can copy it"
	case blocker != "":
		return StopAndMove, "LXD cannot move it while it runs, nor copy it: " + blocker
	}
	return StopAndMove, "LXD cannot move it while it runs"
}

// method is what a Method says in a plan, and what it does.
type method struct {
	// describe returns what a plan says of an instance that leaves by this method.
	describe func(i Instance) string
	// steps are done in order. Each may be done again by a run that resumes, which begins with the
	// first.
	steps []step
}

// step is a named part of a method.
type step struct {
	name string
	do   func(context.Context, *run, *transfer) error
}

// The names of the steps.
const (
	stepWait     = "wait"     // until no earlier move of it is in progress
	stepRelocate = "relocate" // stop, move and start as one operation of LXD's
	stepCopy     = "copy"     // while it runs, until little is left to copy
	stepStop     = "stop"
	stepRefresh  = "refresh" // the copy, once it has stopped
	stepSwap     = "swap"    // the names of the instance and its copy
	stepMove     = "move"
	stepStart    = "start"
	stepDelete   = "delete" // what the copy has replaced
)

// transfer is one instance on its way to a member.
type transfer struct {
	entry    Entry
	instance Instance // as observed before
	target   string
	start    bool // it has to run there

	at       string                   // the member that it is on, as far as is known
	copied   CopyState                // as of the last copy
	complete bool                     // nothing is left to do: the steps that follow are skipped
	took     map[string]time.Duration // by the name of a step
	untimed  bool                     // took says nothing
}

// away reports whether the instance has left the member that it was observed on.
func (t *transfer) away() bool { return t.at != t.instance.Member }

// transfer takes an instance to a member by its method, and starts it there if it has to run.
func (r *run) transfer(ctx context.Context, e Entry, i Instance, target string, start bool) error {
	r.say("moving %s from %s to %s", i.Ref, i.Member, target)
	t := &transfer{entry: e, instance: i, target: target, start: start, at: i.Member, took: map[string]time.Duration{}}
	for _, s := range methods[r.methodFor(e, i, start)].steps {
		began := time.Now()
		if err := s.do(ctx, r, t); err != nil {
			return err
		}
		if t.complete {
			break
		}
		t.took[s.name] = time.Since(began)
	}
	if !t.untimed {
		r.limiter.observeMove(t.took[stepStop], t.took[stepRefresh]+t.took[stepSwap]+t.took[stepMove]+t.took[stepStart], r.processors)
	}
	r.noteDown(i.Ref, t.down())
	return nil
}

// down returns how long the instance was down, from when it was told to stop until it had started; 0
// where that is not known, as for one that was stopped before.
func (t *transfer) down() time.Duration {
	if !t.start || t.took[stepStop] == 0 || t.untimed {
		return 0
	}
	return t.took[stepStop] + t.took[stepRefresh] + t.took[stepSwap] + t.took[stepMove] + t.took[stepStart]
}

// methodFor returns the method of a transfer. An instance that was stopped for its swap is not copied
// as a whole again. Where copying failed in this run the instance is moved as LXD does it.
func (r *run) methodFor(e Entry, i Instance, start bool) Method {
	name, _ := r.view.methodOf(i)
	if _, copied := r.view.copyOf(e); copied && start && name == StoppedMove {
		name = CopyFirst
	}
	if name == CopyFirst && r.hasCopyFailed(i.Ref) {
		name = StopAndMove
		if !i.Running {
			name = StoppedMove
		}
	}
	return name
}

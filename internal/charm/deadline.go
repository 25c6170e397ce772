package charm

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/hooktool"
)

// Deadlines bound how long a charm may take, since a hook holds the lock of its machine, and
// every other unit on it waits. A zero field is its default.
type Deadlines struct {
	// Observe bounds one observation. Default: 45 s.
	Observe time.Duration
	// Steps bounds all steps of one hook together, without those that are Bounded. Default:
	// 10 min.
	Steps time.Duration
	// Action bounds what an action does after its observation; most actions end earlier, by a
	// parameter or a bound of their own. Default: 12 h.
	Action time.Duration
}

// The defaults of Deadlines.
const (
	observeTime = 45 * time.Second
	stepsTime   = 10 * time.Minute
	actionTime  = 12 * time.Hour
)

// grace is how long what is out of time gets to return, and to say what it was waiting for.
// After that it is abandoned: the process ends soon after, as if it had been killed.
const grace = 5 * time.Second

// reportTime bounds what is told Juju at the end of a hook or action.
const reportTime = 30 * time.Second

// Bounded is a Step with a time limit of its own: its time does not count against
// Deadlines.Steps. For what rightly takes long, like the installation of packages.
type Bounded interface {
	// Bound is the step's time limit; zero is none of its own.
	Bound() time.Duration
}

// Within is a Env that has to know the context of what is done next. It is for clients that
// outlive an observation or a step and whose methods take no context.
type Within interface {
	// Within is called before each observation, step and action.
	Within(ctx context.Context)
}

// ErrDeadline is the cause (context.Cause) of a context that a Deadlines has ended.
var ErrDeadline = errors.New("the hook's time is up")

// deadlineError is what was out of time.
type deadlineError struct {
	what  string // "observe", or a step's name
	limit time.Duration
	err   error // nil when it has not returned
}

func (e *deadlineError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("cannot %s within %s: it has not ended", e.what, e.limit)
	}
	return fmt.Sprintf("cannot %s within %s: %s", e.what, e.limit, strings.TrimPrefix(e.err.Error(), "cannot "+e.what+": "))
}

func (e *deadlineError) Unwrap() error { return e.err }

func (d Deadlines) orDefaults() Deadlines {
	for _, f := range []struct {
		have    *time.Duration
		missing time.Duration
	}{{&d.Observe, observeTime}, {&d.Steps, stepsTime}, {&d.Action, actionTime}} {
		if *f.have <= 0 {
			*f.have = f.missing
		}
	}
	return d
}

// await does something that has to end within limit. When the time is up its context ends,
// and if it then does not return it is abandoned. The context of what has ended in time stays
// open until ctx ends: what was opened under it, like a connection, is used further on.
func await[T any](ctx context.Context, what string, limit time.Duration, env any, do func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(ErrDeadline) })
	defer timer.Stop()
	if w, ok := env.(Within); ok {
		w.Within(ctx)
	}
	type outcome struct {
		value    T
		err      error
		returned bool
		panicked string
	}
	ended := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			if p := recover(); p != nil {
				o.panicked = fmt.Sprintf("%v\n%s", p, debug.Stack())
			}
			ended <- o
		}()
		o.value, o.err = do(ctx)
		o.returned = true
	}()
	var o outcome
	select {
	case o = <-ended:
	case <-ctx.Done():
		timeout := time.NewTimer(grace)
		defer timeout.Stop()
		select {
		case o = <-ended:
		case <-timeout.C:
			if cause := context.Cause(ctx); !errors.Is(cause, ErrDeadline) {
				return o.value, fmt.Errorf("cannot %s: %w", what, cause)
			}
			return o.value, &deadlineError{what, limit, nil}
		}
	}
	switch {
	case o.panicked != "":
		panic(o.panicked)
	case !o.returned:
		runtime.Goexit() // as it ended itself
	}
	// Whatever it makes of the end of its context: it is the time that was missing.
	if o.err != nil && errors.Is(context.Cause(ctx), ErrDeadline) {
		return o.value, &deadlineError{what, limit, o.err}
	}
	return o.value, o.err
}

// budget is how much time the steps of a hook have left.
type budget struct{ left time.Duration }

// apply applies a step within what is left, or within the bound of its own.
func apply[W any](ctx context.Context, b *budget, step Step[W], env W) error {
	limit := b.left
	own, counts := boundOf(step), true
	if own > 0 {
		limit, counts = own, false
	}
	start := time.Now()
	_, err := await(ctx, step.Name(), limit, env, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, step.Apply(ctx, env)
	})
	if counts {
		b.left = max(b.left-time.Since(start), 0)
	}
	return err
}

func boundOf(step any) time.Duration {
	if b, ok := step.(Bounded); ok {
		return b.Bound()
	}
	return 0
}

// isTimeout reports whether an error is of a program or a server that has not ended or answered
// within a limit of its own, as in net.Error. It may do so the next time.
func isTimeout(err error) bool {
	var slow interface{ Timeout() bool }
	return errors.As(err, &slow) && slow.Timeout()
}

// mustFail reports whether a hook that is out of time has to fail. Juju takes a unit away, or
// forgets a relation, once these hooks have succeeded; a hook that failed is tried again.
func mustFail(e hooktool.Event) bool {
	return e.Hook == "stop" || e.Hook == "remove" || e.Departing == e.Unit && e.Unit != "" || strings.HasSuffix(e.Hook, "-relation-broken")
}

// reportEnd reports to Juju how a hook or action has ended, also when its context has.
func reportEnd(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	_, err := await(ctx, "report to Juju how this has ended", reportTime, nil, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, do(ctx)
	})
	return err
}

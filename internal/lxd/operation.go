package lxd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
)

// ErrOperationLost is wrapped by the errors of Operate, WaitOperation and Await if the end of an operation
// cannot be determined: the LXD that ran it was restarted, or does not answer. The operation may have done
// all, part or nothing of its work, and may still run; the caller continues from what LXD shows.
var ErrOperationLost = errors.New("the end of the operation is not known")

// Querier sends one request to LXD. LXD's own client implements it.
type Querier interface {
	RawQuery(method, path string, data any, etag string) (*api.Response, string, error)
}

// LXD keeps an operation in the memory of the member that runs it, and for five seconds after its end; a
// member that restarts loses all of its operations. Another member that is asked for an operation of a lost
// member does not answer for ten seconds, and then answers with an error (lxd 5.0.2, lxd/operations.go and
// lxd/cluster/connect.go).
const (
	operationPoll  = 2 * time.Second        // LXD answers a wait request after this time
	operationGrace = 3 * time.Second        // and may take this much longer
	operationLost  = 8 * time.Second        // without an answer for this time the operation is lost
	operationPause = 250 * time.Millisecond // between requests that fail at once
	beginTime      = time.Minute            // how long LXD may take to begin an operation
)

// Operate makes LXD begin an operation and returns when it is over, as WaitOperation does. path begins with
// the API's version ("/1.0/…"), etag may be empty.
func Operate(ctx context.Context, server Querier, method, path string, body any, etag string, observe ...func(api.Operation)) error {
	op, err := query(ctx, server, beginTime, method, path, body, etag)
	if errors.Is(err, errNoAnswer) {
		return fmt.Errorf("%w: %w", ErrOperationLost, err)
	}
	if err != nil {
		return err
	}
	return WaitOperation(ctx, server, op.ID, observe...)
}

// Await returns a function that waits, as WaitOperation does, for the operation that a method of LXD's
// client has begun: Await(ctx, server)(server.DeleteInstance(name)).
func Await(ctx context.Context, server Querier) func(lxdclient.Operation, error) error {
	return func(op lxdclient.Operation, err error) error {
		if err != nil {
			return err
		}
		if id := op.Get().ID; id != "" {
			return WaitOperation(ctx, server, id)
		}
		return op.WaitContext(ctx) // older LXD does it without an operation: it is over
	}
}

// WaitOperation returns when an operation is over: nil if it succeeded, LXD's error if it failed. The error
// wraps ErrOperationLost if the end cannot be determined, at most ten seconds after LXD restarted or
// stopped answering. observe is called with each state that LXD reports.
//
// LXD's own client waits on a websocket instead. It waits forever if the LXD that runs the operation
// restarts and another member was asked. LXD 5.0 also sends a full client every event of every member,
// including each line of its log, which costs the members as much as the moves of instances (lxd 5.0.2,
// lxd/events.go).
func WaitOperation(ctx context.Context, server Querier, id string, observe ...func(api.Operation)) error {
	answered := time.Now()
	for {
		op, err := pollOperation(ctx, server, id, answered.Add(operationLost))
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			for _, observe := range observe {
				observe(*op)
			}
			if op.StatusCode.IsFinal() {
				return outcome(op)
			}
			answered = time.Now()
			continue
		case api.StatusErrorCheck(err, http.StatusNotFound):
			return fmt.Errorf("%w: LXD has restarted since and has lost it", ErrOperationLost)
		case time.Since(answered)+operationPause >= operationLost:
			return fmt.Errorf("%w: LXD on the member that runs it does not answer: %w", ErrOperationLost, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(operationPause):
		}
	}
}

// outcome returns the error of an operation that is over.
func outcome(op *api.Operation) error {
	switch {
	case op.Err != "":
		return errors.New(op.Err)
	case op.StatusCode == api.Success:
		return nil
	}
	return fmt.Errorf("LXD reports that it is %s", op.Status)
}

// pollOperation waits a short time for an operation's end and returns its state. Since LXD 5.0.3 a wait
// request answers an operation's failure, and the end of the given time, with an error that looks like one
// of the request itself, even "not found". So after any error the operation itself is read.
func pollOperation(ctx context.Context, server Querier, id string, deadline time.Time) (*api.Operation, error) {
	url := api.NewURL().Path("1.0", "operations", id)
	limit := func(d time.Duration) time.Duration { return min(d, time.Until(deadline)) }
	wait := api.NewURL().Path("1.0", "operations", id, "wait").WithQuery("timeout", fmt.Sprint(int(operationPoll/time.Second)))
	op, err := query(ctx, server, limit(operationPoll+operationGrace), http.MethodGet, wait.String(), nil, "")
	if err == nil || ctx.Err() != nil || limit(operationGrace) <= 0 {
		return op, err
	}
	return query(ctx, server, limit(operationGrace), http.MethodGet, url.String(), nil, "")
}

// errNoAnswer is wrapped by query's error if LXD did not answer in time.
var errNoAnswer = errors.New("LXD does not answer")

// query sends a request to LXD and waits for the answer no longer than limit. LXD's client cannot stop the
// request, which continues.
func query(ctx context.Context, server Querier, limit time.Duration, method, path string, body any, etag string) (*api.Operation, error) {
	type result struct {
		op  *api.Operation
		err error
	}
	answer := make(chan result, 1)
	go func() {
		response, _, err := server.RawQuery(method, path, body, etag)
		if err != nil {
			answer <- result{nil, err}
			return
		}
		op, err := response.MetadataAsOperation()
		if err != nil {
			err = fmt.Errorf("cannot understand LXD's answer: %w", err)
		}
		answer <- result{op, err}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
		return nil, fmt.Errorf("%w within %s", errNoAnswer, limit.Round(time.Millisecond))
	case r := <-answer:
		return r.op, r.err
	}
}

// Operations returns LXD's operations. While LXD restarts it retries, for as long as Operate waits for an
// answer.
func Operations(ctx context.Context, server interface {
	GetOperations() ([]api.Operation, error)
}) ([]api.Operation, error) {
	type result struct {
		all []api.Operation
		err error
	}
	lost := time.After(operationLost)
	var last error // LXD's last answer
	for {
		answer := make(chan result, 1)
		go func() {
			all, err := server.GetOperations()
			answer <- result{all, err}
		}()
		var r result
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("cannot list LXD's operations: %w", ctx.Err())
		case <-lost:
			if last != nil {
				return nil, fmt.Errorf("cannot list LXD's operations: %w", last)
			}
			return nil, fmt.Errorf("cannot list LXD's operations: %w within %s", errNoAnswer, operationLost)
		case r = <-answer:
		}
		if r.err == nil {
			return r.all, nil
		}
		last = r.err
		select {
		case <-ctx.Done():
		case <-lost:
		case <-time.After(operationPause):
			continue
		}
		return nil, fmt.Errorf("cannot list LXD's operations: %w", r.err)
	}
}

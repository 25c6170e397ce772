package node

import (
	"context"
	"time"
)

// pollInterval is how long PollFor waits between two polls.
const pollInterval = 500 * time.Millisecond

// PollFor returns a function that polls done until it returns true or timeout has passed, for as
// long as patience at most. What has come of it is for the one who observes next to see.
func PollFor(timeout time.Duration) func(ctx context.Context, done func() bool) {
	return func(ctx context.Context, done func() bool) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		for !done() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pollInterval):
			}
		}
	}
}

package node

import (
	"context"
	"time"
)

// glance is how long Until waits between two looks.
const glance = 500 * time.Millisecond

// Until returns a function that waits until done tells that something has come true, for as
// long as patience at most. What has come of it is for whoever observes next to see.
func Until(patience time.Duration) func(ctx context.Context, done func() bool) {
	return func(ctx context.Context, done func() bool) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		for !done() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(glance):
			}
		}
	}
}

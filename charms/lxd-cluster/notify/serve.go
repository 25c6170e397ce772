package notify

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/host/command"
)

// pollDelays are the times after a notification at which the unit runs a hook. The sender is in a hook
// itself: Juju commits what it wrote when that hook ends, and then passes it from one model to the other.
var pollDelays = []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second}

// idleTimeout is how long the program waits for the next notification before it exits; systemd starts it
// again.
const idleTimeout = 10 * time.Second

// backoff are the pauses after a notification that found nothing to do: after the first in a row, the
// second, and each later one. Any program that reaches the port can send, and a hook holds the machine's
// lock, for which other units wait.
var backoff = []time.Duration{2 * time.Second, 10 * time.Second, time.Minute}

// maxPerMinute limits the hooks that did something: a step that never settles counts as something, too.
const maxPerMinute = 20

// quietTime without a notification reduces the number of idle runs by one.
const quietTime = time.Minute

// rateLimit decides when the next notification is accepted.
type rateLimit struct {
	idleRuns int         // notifications in a row that found nothing to do
	busy     []time.Time // when hooks did something, within the last minute
}

// after returns the pause after a notification was handled at now; did reports whether a hook did
// something.
func (p *rateLimit) after(did bool, now time.Time) time.Duration {
	if !did {
		p.idleRuns++
		return backoff[min(p.idleRuns, len(backoff))-1]
	}
	p.idleRuns = 0
	p.busy = append(slices.DeleteFunc(p.busy, func(at time.Time) bool { return now.Sub(at) >= time.Minute }), now)
	if len(p.busy) < maxPerMinute {
		return 0
	}
	return p.busy[0].Add(time.Minute).Sub(now)
}

// hookTimeout is how long one hook may take. A unit that runs a long action runs no hook before that ends.
const hookTimeout = time.Minute

// Main is what systemd starts when a datagram comes. It runs the unit's hook after each notification, and
// returns when there was none for a while. tokenFile has the token of a valid datagram.
func Main(ctx context.Context, unit, tokenFile string) error {
	token, err := readToken(tokenFile)
	if err != nil {
		return err
	}
	if token == "" {
		return fmt.Errorf("cannot receive notifications: %s has no token: the unit's next hook creates one", tokenFile)
	}
	// The first descriptor that systemd passes on, sd_listen_fds(3).
	file := os.NewFile(3, "notify")
	conn, err := net.FilePacketConn(file)
	if err != nil {
		return fmt.Errorf("cannot receive notifications: systemd passed no socket: %w", err)
	}
	_ = file.Close() // conn has a copy
	defer conn.Close()
	return serve(ctx, conn, token, func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, hookTimeout)
		defer cancel()
		// The agent runs it with everything that a hook of that name has.
		out, err := command.System{}.Run(ctx, "juju-exec", unit, dispatchScript)
		if err != nil {
			return false, err
		}
		var did charm.Usage
		if err := json.Unmarshal([]byte(out), &did); err != nil {
			return false, fmt.Errorf("cannot read what %s has done: output is %q: %w", unit, out, err)
		}
		return did.Steps > 0, nil
	})
}

// dispatchScript runs a hook in the unit's context, and prints what the hook did.
const dispatchScript = `did=$(mktemp) && JUJU_DISPATCH_PATH=hooks/update-status DCIB_USAGE=$did "$JUJU_CHARM_DIR/dispatch"; cat "$did"; rm "$did"`

// serve runs hooks after each notification until one did something, at pollDelays, and returns when no
// notification came for a while. Notifications that come meanwhile count as one. After a hook that did
// something it runs no other: that would only retry what LXD refuses.
//
// After a notification that found nothing it accepts none for a while. After several in a row it runs only
// one hook for the next.
func serve(ctx context.Context, conn net.PacketConn, token string, dispatch func(context.Context) (did bool, err error)) error {
	var p rateLimit
	for ctx.Err() == nil {
		timeout := idleTimeout
		if p.idleRuns > 0 {
			timeout = quietTime // a process that exits now would lose the count
		}
		notified, err := next(conn, token, time.Now().Add(timeout))
		switch {
		case err != nil:
			return err
		case !notified && p.idleRuns > 0:
			p.idleRuns--
			continue
		case !notified:
			return nil
		}
		begin := time.Now()
		for err == nil && notified { // with it those that are there already
			notified, err = next(conn, token, begin.Add(pollDelays[0]/10))
		}
		delays := pollDelays
		if p.idleRuns >= len(backoff) {
			delays = pollDelays[len(pollDelays)-1:]
		}
		did := false
		for _, after := range delays {
			if !sleep(ctx, time.Until(begin.Add(after))) {
				return nil
			}
			if did, err = dispatch(ctx); err != nil && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, err)
			}
			if did {
				break
			}
		}
		if !sleep(ctx, p.after(did, time.Now())) {
			return nil
		}
	}
	return nil
}

// sleep waits for d, and reports whether ctx is still valid.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// invalidDelay is the pause after an invalid datagram, so that a flood of them does not use the processor.
const invalidDelay = 5 * time.Millisecond

// next waits until by for a valid datagram, and reports whether one came.
func next(conn net.PacketConn, token string, by time.Time) (bool, error) {
	if err := conn.SetReadDeadline(by); err != nil {
		return false, fmt.Errorf("cannot receive notifications: %w", err)
	}
	datagram := make([]byte, len(token)+1) // one byte more detects a longer one
	for {
		n, _, err := conn.ReadFrom(datagram)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("cannot receive notifications: %w", err)
		case subtle.ConstantTimeCompare(datagram[:n], []byte(token)) == 1:
			return true, nil
		}
		time.Sleep(invalidDelay)
	}
}

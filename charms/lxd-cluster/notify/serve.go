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

// pollDelays are how long after a call the unit pollDelays. Who calls is in a hook, and what it has to say
// is on its way only when that ends; then it goes from one model to another.
var pollDelays = []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second}

// idleTimeout is how long the program waits for the next call before it ends; systemd starts it again.
const idleTimeout = 10 * time.Second

// backoff are how long no call is taken after one that found nothing to do: after the first in
// a row, the second, and each later one. Any program that reaches the port can call, and each
// hook holds the machine's lock, for which other units there wait.
var backoff = []time.Duration{2 * time.Second, 10 * time.Second, time.Minute}

// Of hooks that did something there are no more than that many within a minute: a step that
// never settles counts as something, too.
const maxPerMinute = 20

// quietTime is how long nothing has to call for one call less to count as having found nothing.
const quietTime = time.Minute

// rateLimit decides how soon the next call is taken.
type rateLimit struct {
	idleRuns int         // calls in a row that found nothing to do
	busy     []time.Time // when, within the last minute, hooks did something
}

// after returns how long no call is taken after one that ended now, and did something or not.
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

// hookTimeout is how long one hook may take. A unit that runs a long action does not look before
// that is over.
const hookTimeout = time.Minute

// Main is what systemd starts when a datagram comes: it has the unit look after each call, until
// none has come for a while. tokenFile has the token that makes a datagram a call.
func Main(ctx context.Context, unit, tokenFile string) error {
	token, err := readToken(tokenFile)
	if err != nil {
		return err
	}
	if token == "" {
		return fmt.Errorf("cannot take calls: %s has no token: the unit's next hook makes one", tokenFile)
	}
	// The first descriptor that systemd passes on, sd_listen_fds(3).
	file := os.NewFile(3, "notify")
	conn, err := net.FilePacketConn(file)
	if err != nil {
		return fmt.Errorf("cannot take calls: systemd has given no socket: %w", err)
	}
	_ = file.Close() // conn has a copy
	defer conn.Close()
	return serve(ctx, conn, token, func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, hookTimeout)
		defer cancel()
		// With all that a hook of that name has; an agent that is gone is tried again.
		out, err := command.System{}.Run(ctx, "juju-exec", unit, dispatchScript)
		if err != nil {
			return false, err
		}
		var did charm.Usage
		if err := json.Unmarshal([]byte(out), &did); err != nil {
			return false, fmt.Errorf("cannot tell what %s has done: it prints %q: %w", unit, out, err)
		}
		return did.Steps > 0, nil
	})
}

// dispatchScript is the shell's words for a look; it prints what the hook did.
const dispatchScript = `did=$(mktemp) && JUJU_DISPATCH_PATH=hooks/update-status DCIB_USAGE=$did "$JUJU_CHARM_DIR/dispatch"; cat "$did"; rm "$did"`

// serve pollDelays after each call until there was something to do, for as long as there may be, and
// ends when no call has come for a while. Calls that come while it pollDelays are one call after
// that. It does not look again where something was done: what LXD refuses would be tried again.
//
// After a call that found nothing it takes none for a while, and when that was so several times
// in a row it pollDelays once only for the next.
func serve(ctx context.Context, conn net.PacketConn, token string, dispatch func(context.Context) (did bool, err error)) error {
	var p rateLimit
	for ctx.Err() == nil {
		timeout := idleTimeout
		if p.idleRuns > 0 {
			timeout = quietTime // when it ended now, the next call would find it without a memory
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

// sleep waits, and reports whether ctx is still not over.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// invalidDelay is how long a datagram that is no call keeps the next from being read: who floods the
// port is not to have the processor as well.
const invalidDelay = 5 * time.Millisecond

// next waits for a call, which is a datagram with the token; false is that none has come by then.
func next(conn net.PacketConn, token string, by time.Time) (bool, error) {
	if err := conn.SetReadDeadline(by); err != nil {
		return false, fmt.Errorf("cannot take calls: %w", err)
	}
	said := make([]byte, len(token)+1) // one byte more tells a longer one
	for {
		n, _, err := conn.ReadFrom(said)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("cannot take calls: %w", err)
		case subtle.ConstantTimeCompare(said[:n], []byte(token)) == 1:
			return true, nil
		}
		time.Sleep(invalidDelay)
	}
}

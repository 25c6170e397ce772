package wake

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/dcib/dcib/internal/command"
)

// looks are how long after a call the unit looks. Who calls is in a hook, and what it has to say
// is on its way only when that ends; then it goes from one model to another.
var looks = []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second}

// idle is how long the program waits for the next call before it ends; systemd starts it again.
const idle = 10 * time.Second

// patience is how long one look may take. A unit that runs a long action does not look before
// that is over.
const patience = time.Minute

// Main is what systemd starts when somebody calls: it has the unit look, until nobody has called
// for a while.
func Main(ctx context.Context, unit string) error {
	// The first descriptor that systemd passes on, sd_listen_fds(3).
	file := os.NewFile(3, "calls")
	conn, err := net.FilePacketConn(file)
	if err != nil {
		return fmt.Errorf("cannot take calls: systemd has given no socket: %w", err)
	}
	_ = file.Close() // conn has a copy
	defer conn.Close()
	return serve(ctx, conn, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		// With all that a hook of that name has; an agent that is gone is tried again.
		_, err := command.System{}.Run(ctx, "juju-exec", unit, `JUJU_DISPATCH_PATH=hooks/update-status "$JUJU_CHARM_DIR/dispatch"`)
		return err
	})
}

// serve looks after each call, until there has been none for so long. Those that come while it
// looks are one call after that.
func serve(ctx context.Context, conn net.PacketConn, look func(context.Context) error) error {
	for ctx.Err() == nil {
		called, err := next(conn, time.Now().Add(idle))
		if err != nil || !called {
			return err
		}
		begin := time.Now()
		for err == nil && called { // with it those that are there already
			called, err = next(conn, begin.Add(looks[0]/10))
		}
		for _, after := range looks {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(time.Until(begin.Add(after))):
			}
			if err := look(ctx); err != nil && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}
	return nil
}

// next waits for a call; false is that none has come by then.
func next(conn net.PacketConn, by time.Time) (bool, error) {
	if err := conn.SetReadDeadline(by); err != nil {
		return false, fmt.Errorf("cannot take calls: %w", err)
	}
	_, _, err := conn.ReadFrom(make([]byte, 1)) // what is said does not matter
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot take calls: %w", err)
	}
	return true, nil
}

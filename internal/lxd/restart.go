package lxd

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	lxdclient "github.com/canonical/lxd/client"
)

// ErrStuck is wrapped by errors about a LXD that answers while its database does not.
var ErrStuck = errors.New("its database does not answer")

// readyEvery is how often a LXD that was started again is asked whether it is ready.
const readyEvery = 200 * time.Millisecond

// Restart starts this machine's LXD daemon anew and waits until its database answers. Its
// instances run on: the package's unit leaves them alone, and the snap's reload is made for
// that (snap.lxd.daemon's ExecReload).
func Restart(ctx context.Context) error {
	args := []string{"restart", "lxd.service"}
	if socket, err := socket(); err != nil {
		return err
	} else if strings.HasPrefix(socket, "/var/snap/") {
		args = []string{"reload", "snap.lxd.daemon.service"}
	}
	if out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot start LXD anew (systemctl %s): %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("cannot see LXD come up again: look at systemctl status lxd and at LXD's log: %w", errors.Join(err, ctx.Err()))
		}
	}
}

// ready asks the database something.
func ready(ctx context.Context) error {
	server, err := Open(ctx)
	if err != nil {
		return err
	}
	if p, ok := server.(*lxdclient.ProtocolLXD); ok {
		defer p.Disconnect()
	}
	_, err = server.GetProfileNames()
	return err
}

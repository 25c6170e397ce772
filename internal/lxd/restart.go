package lxd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	lxdclient "github.com/canonical/lxd/client"

	"github.com/dcib/dcib/internal/host/command"
)

// ErrDatabaseUnavailable is wrapped by errors about an LXD that answers while its database does not.
var ErrDatabaseUnavailable = errors.New("its database does not answer")

// pollInterval is the time between two checks of an LXD that was restarted.
const pollInterval = 200 * time.Millisecond

// Restart restarts this machine's LXD daemon and waits until its database answers. Instances keep running:
// the package's unit does not stop them, and the snap's reload is made for that (snap.lxd.daemon's
// ExecReload).
func Restart(ctx context.Context) error {
	snapped, err := snapped()
	if err != nil {
		return err
	}
	if snapped {
		err = run(ctx, "systemctl", "reload", "snap.lxd.daemon.service")
	} else {
		err = restartPackage(ctx)
	}
	if err != nil {
		return fmt.Errorf("cannot restart LXD: %w", err)
	}
	return waitReady(ctx)
}

// restartPackage restarts the package's LXD and returns when the new one runs; see startPackage for why it
// does not wait for systemd.
func restartPackage(ctx context.Context) error {
	old := mainPID(ctx)
	if err := run(ctx, "systemctl", "restart", "--no-block", "lxd.service"); err != nil {
		return err
	}
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		if pid := mainPID(ctx); pid != "" && pid != "0" && pid != old {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("cannot see that systemd has replaced it: %w", ctx.Err())
		}
	}
}

// mainPID returns the process of the package's LXD; "0" if there is none, empty if systemd does not report
// it.
func mainPID(ctx context.Context) string {
	out, _ := command.System{}.Run(ctx, "systemctl", "show", "--property", "MainPID", "--value", "lxd.service")
	return strings.TrimSpace(out)
}

// RecoverQuorum makes this machine's replica of LXD's database the only one, with LXD's own `lxd cluster
// recover-from-quorum-loss`, and waits until it answers. LXD is stopped for that.
func RecoverQuorum(ctx context.Context) error {
	snapped, err := snapped()
	if err != nil {
		return err
	}
	start := startPackage
	if snapped {
		start = []string{"snap", "start", "lxd"}
		err = run(ctx, "snap", "stop", "lxd")
	} else {
		err = stopPackage(ctx)
	}
	if err == nil {
		err = run(ctx, "lxd", "cluster", "recover-from-quorum-loss", "--quiet")
	}
	// LXD is started whatever the result was.
	if err := errors.Join(err, run(ctx, start...)); err != nil {
		return fmt.Errorf("cannot recover LXD's database: %w", err)
	}
	return waitReady(ctx)
}

// startPackage starts the package's LXD. It does not wait for systemd, which counts LXD as started only
// after it has started its instances, with their delays (instancesStart before waitReady in lxd/daemon.go);
// LXD answers before that.
var startPackage = []string{"systemctl", "start", "--no-block", "lxd.socket", "lxd.service"}

// stopTime is how long LXD may take to stop. Without its database it waits for that for minutes.
const stopTime = 15 * time.Second

// stopPackage stops the package's LXD, and kills it if needed: its database survives a crash.
func stopPackage(ctx context.Context) error {
	if err := run(ctx, "systemctl", "stop", "--no-block", "lxd.socket", "lxd.service"); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	killed := false
	for run(ctx, "systemctl", "is-active", "--quiet", "lxd.service") == nil || stopping(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if limited.Err() != nil && !killed {
			killed = true
			if err := run(ctx, "systemctl", "kill", "--signal", "KILL", "lxd.service"); err != nil {
				return err
			}
		}
	}
	return nil
}

// stopping reports whether LXD's unit is stopping.
func stopping(ctx context.Context) bool {
	out, _ := command.System{}.Run(ctx, "systemctl", "show", "--property", "ActiveState", "--value", "lxd.service")
	return strings.TrimSpace(out) == "deactivating"
}

// snapped reports whether this machine's LXD is the snap.
func snapped() (bool, error) {
	socket, err := socket()
	return strings.HasPrefix(socket, "/var/snap/"), err
}

// run runs a program of the machine.
func run(ctx context.Context, program ...string) error {
	_, err := command.System{}.Run(ctx, program[0], program[1:]...)
	return err
}

// waitReady waits until LXD's database answers.
func waitReady(ctx context.Context) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("LXD is not ready: look at systemctl status lxd and at LXD's log: %w", errors.Join(err, ctx.Err()))
		}
	}
}

// ready returns nil if the database answers.
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

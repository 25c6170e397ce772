package service

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/host/atomicfile"
	"github.com/dcib/dcib/internal/host/command"
	"github.com/dcib/dcib/internal/host/lograte"
)

// NotifyVerb is the argument with which the charm's program is what systemd starts when the
// daemon has changed its alerts; the unit's name and its state directory come after it.
const NotifyVerb = "notify"

// dispatch is the shell's words for the hook that shows the alerts, with all that a hook of that
// name has.
const dispatch = `JUJU_DISPATCH_PATH=hooks/update-status "$JUJU_CHARM_DIR/dispatch"`

// How often a hook runs for alerts, at most, and for how long one that does not run is tried.
const (
	between  = 5 * time.Second
	slowest  = time.Minute // between tries
	hookTime = 10 * time.Minute
	patience = time.Hour // then Juju's own next hook has to do
)

// shownDir is the folder, of systemd's making, where it is kept what was last shown: the daemon
// writes its alerts twice, as systemd does not see a change that comes just as the last hook ends.
const (
	shownDir  = "pet-scheduler-notify"
	shownFile = "/run/" + shownDir + "/shown"
)

// Notify has a unit's hook show the alerts in its state directory, until it has shown those that
// are on. It returns an error when no hook could be run for an hour.
func Notify(ctx context.Context, unit, dir string) error {
	return notify(ctx, dir, shownFile, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, hookTime)
		defer cancel()
		_, err := command.System{}.Run(ctx, "juju-exec", unit, dispatch)
		return err
	})
}

// notify runs a hook for each change of the alerts, no more often than each five seconds however
// often they change.
func notify(ctx context.Context, dir, shownFile string, hook func(context.Context) error) error {
	begun, wait := time.Now(), between
	notes := lograte.New(func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) })
	for {
		now, err := atomicfile.Read(control.Alerts(dir))
		if err != nil && !atomicfile.Unusable(err) {
			return err
		}
		now = append(now, '\n') // an empty file counts as lost
		if shown, err := atomicfile.Read(shownFile); err == nil && bytes.Equal(now, shown) {
			return nil
		}
		if err = hook(ctx); err == nil {
			begun, wait = time.Now(), between
			err = atomicfile.Write(shownFile, now, atomicfile.Options{})
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && time.Since(begun) > patience:
			return fmt.Errorf("cannot have the unit show its alerts: %w", err)
		default:
			notes.Error("hook", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		if err != nil {
			wait = min(2*wait, slowest)
		}
	}
}

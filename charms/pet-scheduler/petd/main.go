// Petd is the program pet-scheduler: `pet-scheduler daemon DIR` is a unit's daemon,
// `pet-scheduler simulate` shows what a set of pets would do, and
// `pet-scheduler --version` prints its version.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // pets name zones; a machine may have no database of them

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/charms/pet-scheduler/daemon"
	"github.com/dcib/dcib/charms/pet-scheduler/pets"
	"github.com/dcib/dcib/internal/version"
)

// after is set in a build for the fault suite alone.
var after func(step string)

func main() {
	if version.Asked(os.Stdout, "pet-scheduler", os.Args[1:]) {
		return
	}
	if err := command(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func command(args []string) error {
	if len(args) > 0 && args[0] == "simulate" {
		return runSimulate(args[1:], os.Stdout, os.Stderr)
	}
	if len(args) != 2 || args[0] != "daemon" {
		return errors.New("cannot determine what to do: expected daemon STATE_DIR, or simulate --help")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	d := daemon.Daemon{
		Dir: args[1],
		Connect: func(ctx context.Context, c control.Config, member string, may func() error) (daemon.Cluster, error) {
			return pets.Reach(ctx, args[1], member, c.LXD, may)
		},
		After: after,
		// The journal of systemd adds the time.
		Log: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) },
	}
	return d.Run(ctx)
}

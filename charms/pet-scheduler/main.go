// A hook is too short for reading the machine's limits; it runs on few threads anyway.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Pet-scheduler is a charm: it drains members of a LXD cluster for their own work, and
// brings back afterwards what it moved. As `dispatch daemon DIR` it is the unit's daemon;
// `dispatch simulate` shows what a set of pets would do.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // pets name zones; a machine may have no database of them

	"github.com/dcib/dcib/charms/pet-scheduler/daemon"
	"github.com/dcib/dcib/charms/pet-scheduler/pets"
	"github.com/dcib/dcib/internal/charm"
)

func main() {
	if len(os.Args) > 1 {
		if err := command(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	charm.Main(pets.Charm(pets.Open))
}

// command is what the program does when it is not a hook.
func command(args []string) error {
	if args[0] == "simulate" {
		return runSimulate(args[1:], os.Stdout, os.Stderr)
	}
	if len(args) != 2 || args[0] != "daemon" {
		return errors.New("cannot tell what to do: expected no arguments (under Juju), or: daemon STATE_DIR, or: simulate --help")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	d := daemon.Daemon{
		Dir: args[1],
		Connect: func(ctx context.Context, c daemon.Config) (daemon.Cluster, error) {
			return pets.Reach(ctx, args[1], c.LXD)
		},
		// The journal of systemd adds the time.
		Log: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) },
	}
	return d.Run(ctx)
}

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
	"path/filepath"
	"syscall"
	_ "time/tzdata" // pets name zones; a machine may have no database of them

	"github.com/dcib/dcib/charms/pet-scheduler/daemon"
	"github.com/dcib/dcib/charms/pet-scheduler/pets"
	"github.com/dcib/dcib/charms/pet-scheduler/service"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
)

// world is what the charm works on; each room sees its part of it.
type world struct {
	pets    pets.World
	service service.World
}

func (w world) petsPart() pets.World       { return w.pets }
func (w world) servicePart() service.World { return w.service }

// facts are what the rooms saw.
type facts struct {
	Pets    pets.Facts
	Service service.Facts
}

func open(event hooktool.Event, tools hooktool.Tools) world {
	w := world{pets: pets.Open(event, tools)}
	w.service = service.World{
		Unit:  event.Unit,
		Dir:   w.pets.Dir,
		Tools: tools,
		Systemd: service.Host{
			Program:  filepath.Join(event.CharmDir, "dispatch"),
			Dir:      w.pets.Dir,
			Lib:      "/usr/local/lib/dcib",
			UnitFile: filepath.Join("/etc/systemd/system", service.Name),
		},
		Leave: func(ctx context.Context) error { return daemon.NewClient(w.pets.Dir).Leave(ctx) },
	}
	return w
}

func observe(ctx context.Context, event hooktool.Event, w world) (f facts, err error) {
	if f.Pets, err = pets.Observe(ctx, event, w.pets); err != nil {
		return f, err
	}
	if event.Action == "" { // actions are about pets alone
		f.Service, err = service.Observe(ctx, w.service, f.Pets.Offer)
	}
	return f, err
}

func plan(f facts) charm.Plan[world] {
	p := pets.Plan(f.Pets)
	return charm.Plan[world]{
		Steps: append(charm.Lift(p.Steps, world.petsPart),
			charm.Lift(service.Plan(f.Service), world.servicePart)...),
		Status: p.Status,
	}
}

// onPets makes an action of the pets' room one of the whole charm.
func onPets(action charm.Action[pets.Facts, pets.World]) charm.Action[facts, world] {
	return func(ctx context.Context, f facts, w world, call charm.Call) (map[string]string, error) {
		return action(ctx, f.Pets, w.pets, call)
	}
}

func main() {
	if len(os.Args) > 1 {
		if err := command(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	charm.Main(charm.Charm[facts, world]{
		World:   open,
		Observe: observe,
		Plan:    plan,
		Actions: map[string]charm.Action[facts, world]{"drain": onPets(pets.Drain), "undrain": onPets(pets.Undrain)},
	})
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

// A hook is too short for reading the machine's limits; it runs on few threads anyway.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Pet-scheduler is a charm: it drains members of a LXD cluster for their own work, and
// brings back afterwards what it moved. This is what Juju runs, and it runs often: what is
// big, the store and all that acts by it, is in the program beside it (petd).
package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
	_ "time/tzdata" // option pets names zones; a machine may have no database of them

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/charms/pet-scheduler/pets"
	"github.com/dcib/dcib/charms/pet-scheduler/service"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/scheduler/store"
)

// world is what the charm works on; each component sees its part of it.
type world struct {
	pets    pets.World
	service service.World
}

func (w world) petsPart() pets.World       { return w.pets }
func (w world) servicePart() service.World { return w.service }

// facts are what the components saw.
type facts struct {
	Pets    pets.Facts
	Service service.Facts
	Alerts  []store.Alert // that are on, as this unit's daemon knows them
}

func open(event hooktool.Event, tools hooktool.Tools) world {
	w := world{pets: pets.Open(event, tools)}
	w.service = service.World{
		Unit:  event.Unit,
		Dir:   w.pets.Dir,
		Tools: tools,
		Systemd: service.Host{
			Unit:     event.Unit,
			Program:  filepath.Join(event.CharmDir, "pet-scheduler"),
			Dispatch: filepath.Join(event.CharmDir, "dispatch"),
			Dir:      w.pets.Dir,
			Lib:      "/usr/local/lib/dcib",
			UnitDir:  "/etc/systemd/system",
			Agents:   "/var/lib/juju/agents",
			Account:  service.System{},
		},
		Leave: func(ctx context.Context) error { return control.NewClient(w.pets.Dir).Leave(ctx) },
		Certificates: func(ctx context.Context) ([]string, error) {
			status, err := control.NewClient(w.pets.Dir).Status(ctx)
			return status.Certificates, err
		},
	}
	return w
}

// components are the concerns of this charm. A unit that leaves makes nothing that it would leave
// behind.
func components() []charm.Component[facts, world] {
	return []charm.Component[facts, world]{
		{
			Name: "pets", Reads: []string{"service"},
			Observe: func(ctx context.Context, event hooktool.Event, w world, f *facts) (err error) {
				f.Pets, err = pets.Observe(ctx, event, w.pets)
				return err
			},
			Plan: func(f facts) charm.Plan[world] {
				if f.Service.Leaving {
					return charm.Plan[world]{}
				}
				p := pets.Plan(f.Pets)
				return charm.Plan[world]{
					Steps:   charm.Lift(p.Steps, world.petsPart),
					Status:  pets.Alerted(p.Status, f.Alerts),
					Version: p.Version,
					Ports:   p.Ports,
				}
			},
		},
		{
			Name: "service", After: []string{"pets"},
			Observe: func(ctx context.Context, event hooktool.Event, w world, f *facts) (err error) {
				if event.Action != "" && event.Action != service.RotateAction {
					return nil // the other actions are about pets alone
				}
				if f.Service, err = service.Observe(ctx, w.service, f.Pets.Offer); err != nil {
					return err
				}
				f.Alerts, err = control.ReadAlerts(w.pets.Dir)
				return err
			},
			Plan: func(f facts) charm.Plan[world] {
				steps := service.Plan(f.Service)
				p := charm.Plan[world]{Steps: charm.Lift(steps, world.servicePart), Ports: f.Service.Ports()}
				switch err := cmp.Or(f.Service.Crowded(), f.Service.BadOptions()); {
				case f.Service.Leaving:
					p.Status = charm.Maintenancef("leaving")
				case err != nil:
					p.Status = charm.Blockedf("%s", err)
				case slices.Contains(steps, charm.Step[service.World](service.Run{})):
					p.Status = charm.Maintenancef("starting the daemon")
				}
				return p
			},
		},
	}
}

// onPets makes an action of the pets' room one of the whole charm.
func onPets(action charm.Action[pets.Facts, pets.World]) charm.Action[facts, world] {
	return func(ctx context.Context, f facts, w world, call charm.Call) (map[string]string, error) {
		return action(ctx, f.Pets, w.pets, call)
	}
}

func actions() map[string]charm.Action[facts, world] {
	all := map[string]charm.Action[facts, world]{}
	for name, action := range pets.Actions {
		all[name] = onPets(action)
	}
	all[service.RotateAction] = func(ctx context.Context, f facts, w world, call charm.Call) (map[string]string, error) {
		return service.Rotate(ctx, f.Service, w.service, call)
	}
	return all
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == service.NotifyVerb {
		if err := service.Notify(context.Background(), os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	c := charm.Compose(components()...)
	c.World = open
	c.Actions = actions()
	// LXD's members are tried one after the other, three seconds each.
	c.Deadlines = charm.Deadlines{Observe: 2 * time.Minute}
	charm.Main(c)
}

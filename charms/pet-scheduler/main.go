// A hook is too short for reading the machine's limits; it runs on few threads anyway.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Pet-scheduler is a charm: it drains members of an LXD cluster for their own work, and
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

// env is what the charm works on: its dependencies. Each component sees its own part.
type env struct {
	pets    pets.Env
	service service.Env
}

func (w env) petsPart() pets.Env       { return w.pets }
func (w env) servicePart() service.Env { return w.service }

// facts are what the components saw.
type facts struct {
	Pets    pets.Facts
	Service service.Facts
	Alerts  []store.Alert // that are on, as this unit's daemon knows them
}

func open(event hooktool.Event, tools hooktool.Tools) env {
	w := env{pets: pets.Open(event, tools)}
	w.service = service.Env{
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
func components() []charm.Component[facts, env] {
	return []charm.Component[facts, env]{
		{
			Name: "pets", Reads: []string{"service"},
			Observe: func(ctx context.Context, event hooktool.Event, w env, f *facts) (err error) {
				f.Pets, err = pets.Observe(ctx, event, w.pets)
				return err
			},
			Plan: func(f facts) charm.Plan[env] {
				if f.Service.Leaving {
					return charm.Plan[env]{}
				}
				p := pets.Plan(f.Pets)
				return charm.Plan[env]{
					Steps:   charm.AdaptSteps(p.Steps, env.petsPart),
					Status:  pets.Alerted(p.Status, f.Alerts),
					Version: p.Version,
					Ports:   p.Ports,
				}
			},
		},
		{
			Name: "service", After: []string{"pets"},
			Observe: func(ctx context.Context, event hooktool.Event, w env, f *facts) (err error) {
				if event.Action != "" && event.Action != service.RotateAction {
					return nil // the other actions are about pets alone
				}
				if f.Service, err = service.Observe(ctx, w.service, f.Pets.Offer); err != nil {
					return err
				}
				f.Alerts, err = control.ReadAlerts(w.pets.Dir)
				return err
			},
			Plan: func(f facts) charm.Plan[env] {
				steps := service.Plan(f.Service)
				p := charm.Plan[env]{Steps: charm.AdaptSteps(steps, env.servicePart), Ports: f.Service.Ports()}
				switch err := cmp.Or(f.Service.Crowded(), f.Service.BadOptions()); {
				case f.Service.Leaving:
					p.Status = charm.Maintenancef("leaving")
				case err != nil:
					p.Status = charm.Blockedf("%s", err)
				case slices.Contains(steps, charm.Step[service.Env](service.Run{})):
					p.Status = charm.Maintenancef("starting the daemon")
				}
				return p
			},
		},
	}
}

// onPets makes an action of package pets one of the whole charm.
func onPets(action charm.Action[pets.Facts, pets.Env]) charm.Action[facts, env] {
	return func(ctx context.Context, f facts, w env, call charm.Call) (map[string]string, error) {
		return action(ctx, f.Pets, w.pets, call)
	}
}

func actions() map[string]charm.Action[facts, env] {
	all := map[string]charm.Action[facts, env]{}
	for name, action := range pets.Actions {
		all[name] = onPets(action)
	}
	all[service.RotateAction] = func(ctx context.Context, f facts, w env, call charm.Call) (map[string]string, error) {
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
	c.Env = open
	c.Actions = actions()
	// LXD's members are tried one after the other, three seconds each.
	c.Deadlines = charm.Deadlines{Observe: 2 * time.Minute}
	charm.Main(c)
}

// A hook is too short for reading the machine's limits; it runs on few threads anyway.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command lxd-profile-sub is the charm that applies LXD profiles to the containers of any application while
// they run.
package main

import (
	"context"
	"fmt"
	"time"

	"github.com/dcib/dcib/charms/lxd-profile-sub/brokered"
	"github.com/dcib/dcib/charms/lxd-profile-sub/direct"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/host/command"
	"github.com/dcib/dcib/internal/lxd/profiles"
)

// env is what the charm works on: its dependencies. Each component sees its own part.
type env struct {
	brokered brokered.Env
	direct   direct.Env // it records what LXD refused in this hook
}

// facts are what the components observed.
type facts struct {
	Brokered brokered.Facts
	Direct   *direct.Facts // nil with a broker
}

func main() {
	c := charm.Compose(components()...)
	c.Env = func(_ hooktool.Event, tools hooktool.Tools) *env {
		return &env{
			brokered: brokered.Env{Tools: tools, LXD: brokered.DevLXD{Socket: brokered.Socket, Proc: "/proc"}, Notify: brokered.NotifyUDP},
			direct:   direct.Env{Env: profiles.Env{Tools: tools, Now: time.Now}, Open: direct.Open, Pause: pause, Reboot: reboot},
		}
	}
	c.Actions = map[string]charm.Action[facts, *env]{
		"show-profile":  part(brokered.ShowProfile),
		"diff":          diff,
		"apply-restart": applyRestart,
		"rollback":      rollback,
	}
	charm.Main(c)
}

// components are the components of this charm: the request to a broker, and the direct mode.
func components() []charm.Component[facts, *env] {
	return []charm.Component[facts, *env]{
		{
			Name: "brokered",
			Observe: func(ctx context.Context, event hooktool.Event, w *env, f *facts) (err error) {
				f.Brokered, err = brokered.Observe(ctx, event, w.brokered)
				return err
			},
			Plan: func(f facts) charm.Plan[*env] {
				if f.Brokered.Direct() {
					return charm.Plan[*env]{}
				}
				p := brokered.Plan(f.Brokered)
				return charm.Plan[*env]{Steps: charm.AdaptSteps(p.Steps, func(w *env) brokered.Env { return w.brokered }), Status: p.Status}
			},
		},
		{
			Name: "direct", After: []string{"brokered"},
			When:    func(f facts) bool { return f.Brokered.Direct() },
			Observe: observeDirect,
			Plan: func(f facts) charm.Plan[*env] {
				wanted, err := f.Brokered.Options.Wanted()
				p := direct.Plan(*f.Direct, wanted.Profile, err)
				return charm.Plan[*env]{Steps: charm.AdaptSteps(p.Steps, func(w *env) *direct.Env { return &w.direct }), Status: p.Status}
			},
		},
	}
}

func observeDirect(ctx context.Context, event hooktool.Event, w *env, f *facts) (err error) {
	self := direct.Self{
		Unit: event.Unit, Principal: event.Principal, Model: event.Model, ModelUUID: event.ModelUUID,
		Instance: f.Brokered.Self.Instance, Started: f.Brokered.Self.Started, Leader: f.Brokered.Leader,
	}
	if self.Leaving, err = leaving(ctx, event, w.brokered.Tools); err != nil {
		return err
	}
	o := f.Brokered.Options
	d, err := direct.Observe(ctx, self, direct.Options{Endpoint: o.Endpoint, Credential: o.Credential, Project: o.Project}, &w.direct)
	f.Direct = &d
	return err
}

// principal is the endpoint to the principal application.
const principal = "juju-info"

// leaving reports whether Juju is removing this unit. A subordinate exists for the relation to its
// principal, and goes with it; in its very first hooks the relation may be missing. (goal-state, which
// reports it to other charms, lists no subordinates in Juju 4.)
func leaving(ctx context.Context, event hooktool.Event, tools hooktool.Tools) (bool, error) {
	ids, err := tools.RelationIDs(ctx, principal)
	if err != nil || len(ids) > 0 {
		return false, err
	}
	return event.Hook == principal+"-relation-broken" || event.Hook == "stop" || event.Hook == "remove", nil
}

// part makes an action of package brokered one of the charm.
func part(action charm.Action[brokered.Facts, brokered.Env]) charm.Action[facts, *env] {
	return func(ctx context.Context, f facts, w *env, call charm.Call) (map[string]string, error) {
		return action(ctx, f.Brokered, w.brokered, call)
	}
}

func diff(ctx context.Context, f facts, w *env, call charm.Call) (map[string]string, error) {
	if f.Direct == nil {
		return brokered.Diff(ctx, f.Brokered, w.brokered, call)
	}
	wanted, err := f.Brokered.Options.Wanted()
	if err != nil {
		return nil, err
	}
	return direct.Diff(*f.Direct, wanted.Profile), nil
}

func applyRestart(ctx context.Context, f facts, w *env, call charm.Call) (map[string]string, error) {
	if f.Direct == nil {
		return brokered.ApplyRestart(ctx, f.Brokered, w.brokered, call)
	}
	return direct.ApplyRestart(ctx, *f.Direct, &w.direct, call)
}

func rollback(ctx context.Context, f facts, w *env, call charm.Call) (map[string]string, error) {
	if f.Direct == nil {
		return brokered.Rollback(ctx, f.Brokered, w.brokered, call)
	}
	wanted, err := f.Brokered.Options.Wanted()
	if err != nil {
		return nil, fmt.Errorf("cannot roll back: %w: fix the option first; the last request is still in force", err)
	}
	return direct.Rollback(ctx, *f.Direct, &w.direct, wanted.Profile)
}

// pause waits, or returns when the action ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reboot restarts this machine in a minute, when the action has ended. For LXD it is a start like any
// other, with the current options.
func reboot(ctx context.Context) error {
	_, err := command.System{}.Run(ctx, "shutdown", "-r", "+1", "lxd-profile-sub: apply-restart")
	return err
}

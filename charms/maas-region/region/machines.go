package region

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/maas"
	"github.com/dcib/dcib/internal/maas/fleet"
)

// asked gives a result as text, or as JSON where that is asked for.
func asked(call charm.Call, key string, text string, value any) (map[string]string, error) {
	if call.String("format") != "json" {
		return map[string]string{key: strings.TrimRight(text, "\n")}, nil
	}
	out, err := json.Marshal(value)
	return map[string]string{key: string(out)}, err
}

func listMachines(ctx context.Context, f Facts, w *World, call charm.Call) (map[string]string, error) {
	if err := running(f, "list machines"); err != nil {
		return nil, err
	}
	c, err := w.client(ctx)
	if err != nil {
		return nil, err
	}
	machines, err := c.Machines(ctx)
	if err != nil {
		return nil, err
	}
	return asked(call, "machines", fleet.Table(machines), fleet.Show(machines))
}

// machines plans what is missing for the machines to be as the options say.
func (w *World) machines(ctx context.Context, f Facts) (*maas.Client, fleet.Plan, error) {
	if err := running(f, "look at the machines"); err != nil {
		return nil, fleet.Plan{}, err
	}
	// Nothing is applied of options that are half wrong.
	if len(f.Problems) > 0 {
		return nil, fleet.Plan{}, fmt.Errorf("cannot plan for the machines: %s", strings.Join(f.Problems, "; "))
	}
	if len(f.Config.Machines.Groups)+len(f.Config.Machines.Tags)+len(f.Config.Pets) == 0 {
		return nil, fleet.Plan{}, fmt.Errorf("cannot plan for the machines: nothing is declared: juju config %s machines=@machines.yaml, or pets=@pets.yaml", f.App)
	}
	c, err := w.client(ctx)
	if err != nil {
		return nil, fleet.Plan{}, err
	}
	state, err := c.Fleet(ctx)
	if err != nil {
		return nil, fleet.Plan{}, err
	}
	return c, fleet.Missing(f.Config.Machines, f.Config.Pets, state), nil
}

// planned is a plan as programs read it.
type planned struct {
	Steps []fleet.Doable `json:"steps"`
	Notes []fleet.Note   `json:"notes"`
}

func planMachines(ctx context.Context, f Facts, w *World, call charm.Call) (map[string]string, error) {
	_, plan, err := w.machines(ctx, f)
	if err != nil {
		return nil, err
	}
	return asked(call, "plan", plan.Text(), planned{fleet.Steps(plan.Steps), append([]fleet.Note{}, plan.Notes...)})
}

func applyMachines(ctx context.Context, f Facts, w *World, call charm.Call) (map[string]string, error) {
	c, plan, err := w.machines(ctx, f)
	if err != nil {
		return nil, err
	}
	var done []fleet.Step
	failed := fleet.Apply(ctx, c, plan.Steps, func(s fleet.Step, err error) {
		if err != nil {
			call.Progress("failed: %s", fleet.Title(s))
			return
		}
		done = append(done, s)
		call.Progress("%s", fleet.Title(s))
	})
	left := fleet.Plan{Notes: plan.Notes}
	var text strings.Builder
	for _, s := range done {
		text.WriteString(fleet.Item("done  ", fleet.Title(s)))
	}
	if len(done) == 0 || len(plan.Notes) > 0 {
		text.WriteString(left.Text())
	}
	results, err := asked(call, "applied", text.String(), planned{fleet.Steps(done), append([]fleet.Note{}, plan.Notes...)})
	switch {
	case failed != nil:
		return results, fmt.Errorf("cannot finish, %d of %d steps done: %w: fix that, and apply again", len(done), len(plan.Steps), failed)
	case plan.Wrong() > 0:
		return results, fmt.Errorf("cannot bring all machines to what is declared: %d things are wrong", plan.Wrong())
	}
	return results, err
}

func commission(ctx context.Context, f Facts, w *World, call charm.Call) (map[string]string, error) {
	o := fleet.CommissionOptions{Force: call.Bool("force")}
	return w.act(ctx, f, call, "commission machines",
		func(machines []fleet.Machine, _ string) []fleet.Decision { return fleet.Commissionable(machines, o) },
		func(ctx context.Context, c *maas.Client, id string) error { return c.Commission(ctx, id, o) })
}

func deploy(ctx context.Context, f Facts, w *World, call charm.Call) (map[string]string, error) {
	o := fleet.DeployOptions{Series: call.String("series"), Kernel: call.String("kernel")}
	return w.act(ctx, f, call, "deploy machines", fleet.Deployable,
		func(ctx context.Context, c *maas.Client, id string) error { return c.Deploy(ctx, id, o) })
}

// act does one thing to the machines that parameter machines names. It does not wait for
// them: that takes longer than an action should.
func (w *World) act(ctx context.Context, f Facts, call charm.Call, what string, decide func(machines []fleet.Machine, user string) []fleet.Decision, do func(context.Context, *maas.Client, string) error) (map[string]string, error) {
	if err := running(f, what); err != nil {
		return nil, err
	}
	names := strings.FieldsFunc(call.String("machines"), func(r rune) bool { return r == ',' || r == ' ' || r == '\n' })
	if len(names) == 0 {
		return nil, errors.New("cannot " + what + ": give machines=node1,node2")
	}
	c, err := w.client(ctx)
	if err != nil {
		return nil, err
	}
	machines, err := c.Machines(ctx)
	if err != nil {
		return nil, err
	}
	if machines, err = fleet.Select(machines, names); err != nil {
		return nil, err
	}
	user, err := c.User(ctx)
	if err != nil {
		return nil, err
	}
	decisions := decide(machines, user)
	results := map[string]string{}
	add := func(key, value string) { results[key] = strings.TrimSpace(results[key] + "\n" + value) }
	for _, d := range decisions {
		if d.Verdict == fleet.Skip {
			add("skipped", d.Machine.Hostname+" "+d.Why)
		}
	}
	return results, fleet.Act(ctx, decisions, func(ctx context.Context, id string) error { return do(ctx, c, id) }, func(d fleet.Decision, err error) {
		if err == nil {
			add("started", d.Machine.Hostname)
		}
	})
}

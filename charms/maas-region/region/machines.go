package region

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/maas"
	"github.com/dcib/dcib/internal/maas/inventory"
)

// asked returns a result as text, or as JSON where that is asked for.
func asked(call charm.Call, key string, text string, value any) (map[string]string, error) {
	if call.String("format") != "json" {
		return map[string]string{key: strings.TrimRight(text, "\n")}, nil
	}
	out, err := json.Marshal(value)
	return map[string]string{key: string(out)}, err
}

func listMachines(ctx context.Context, f Facts, w *Env, call charm.Call) (map[string]string, error) {
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
	return asked(call, "machines", inventory.Table(machines), inventory.Show(machines))
}

// machines plans what is missing for the machines to be as the options say.
func (w *Env) machines(ctx context.Context, f Facts) (*maas.Client, inventory.Plan, error) {
	if err := running(f, "look at the machines"); err != nil {
		return nil, inventory.Plan{}, err
	}
	// Nothing is applied of options that are half wrong.
	if len(f.Problems) > 0 {
		return nil, inventory.Plan{}, fmt.Errorf("cannot plan for the machines: %s", strings.Join(f.Problems, "; "))
	}
	if len(f.Config.Machines.Groups)+len(f.Config.Machines.Tags)+len(f.Config.Pets) == 0 {
		return nil, inventory.Plan{}, fmt.Errorf("cannot plan for the machines: nothing is declared: juju config %s machines=@machines.yaml, or pets=@pets.yaml", f.App)
	}
	c, err := w.client(ctx)
	if err != nil {
		return nil, inventory.Plan{}, err
	}
	state, err := c.Fleet(ctx)
	if err != nil {
		return nil, inventory.Plan{}, err
	}
	return c, inventory.Missing(f.Config.Machines, f.Config.Pets, state), nil
}

// planned is a plan as programs read it.
type planned struct {
	Steps []inventory.Doable `json:"steps"`
	Notes []inventory.Note   `json:"notes"`
}

func planMachines(ctx context.Context, f Facts, w *Env, call charm.Call) (map[string]string, error) {
	_, plan, err := w.machines(ctx, f)
	if err != nil {
		return nil, err
	}
	return asked(call, "plan", plan.Text(), planned{inventory.Steps(plan.Steps), append([]inventory.Note{}, plan.Notes...)})
}

func applyMachines(ctx context.Context, f Facts, w *Env, call charm.Call) (map[string]string, error) {
	c, plan, err := w.machines(ctx, f)
	if err != nil {
		return nil, err
	}
	var done []inventory.Step
	failed := inventory.Apply(ctx, c, plan.Steps, func(s inventory.Step, err error) {
		if err != nil {
			call.Progress("failed: %s", inventory.Title(s))
			return
		}
		done = append(done, s)
		call.Progress("%s", inventory.Title(s))
	})
	left := inventory.Plan{Notes: plan.Notes}
	var text strings.Builder
	for _, s := range done {
		text.WriteString(inventory.Item("done  ", inventory.Title(s)))
	}
	if len(done) == 0 || len(plan.Notes) > 0 {
		text.WriteString(left.Text())
	}
	results, err := asked(call, "applied", text.String(), planned{inventory.Steps(done), append([]inventory.Note{}, plan.Notes...)})
	switch {
	case failed != nil:
		return results, fmt.Errorf("cannot finish, %d of %d steps done: %w: fix that, and apply again", len(done), len(plan.Steps), failed)
	case plan.Wrong() > 0:
		return results, fmt.Errorf("cannot bring all machines to what is declared: %d things are wrong", plan.Wrong())
	}
	return results, err
}

func commission(ctx context.Context, f Facts, w *Env, call charm.Call) (map[string]string, error) {
	o := inventory.CommissionOptions{Force: call.Bool("force")}
	return w.act(ctx, f, call, "commission machines",
		func(machines []inventory.Machine, _ string) []inventory.Decision {
			return inventory.Commissionable(machines, o)
		},
		func(ctx context.Context, c *maas.Client, id string) error { return c.Commission(ctx, id, o) })
}

func deploy(ctx context.Context, f Facts, w *Env, call charm.Call) (map[string]string, error) {
	o := inventory.DeployOptions{Series: call.String("series"), Kernel: call.String("kernel")}
	return w.act(ctx, f, call, "deploy machines", inventory.Deployable,
		func(ctx context.Context, c *maas.Client, id string) error { return c.Deploy(ctx, id, o) })
}

// act does one thing to the machines that parameter machines names. It does not wait for
// them: that takes longer than an action should.
func (w *Env) act(ctx context.Context, f Facts, call charm.Call, what string, decide func(machines []inventory.Machine, user string) []inventory.Decision, do func(context.Context, *maas.Client, string) error) (map[string]string, error) {
	if err := running(f, what); err != nil {
		return nil, err
	}
	names := strings.FieldsFunc(call.String("machines"), func(r rune) bool { return r == ',' || r == ' ' || r == '\n' })
	if len(names) == 0 {
		return nil, errors.New("cannot " + what + ": pass machines=node1,node2")
	}
	c, err := w.client(ctx)
	if err != nil {
		return nil, err
	}
	machines, err := c.Machines(ctx)
	if err != nil {
		return nil, err
	}
	if machines, err = inventory.Select(machines, names); err != nil {
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
		if d.Verdict == inventory.Skip {
			add("skipped", d.Machine.Hostname+" "+d.Why)
		}
	}
	return results, inventory.Act(ctx, decisions, func(ctx context.Context, id string) error { return do(ctx, c, id) }, func(d inventory.Decision, err error) {
		if err == nil {
			add("started", d.Machine.Hostname)
		}
	})
}

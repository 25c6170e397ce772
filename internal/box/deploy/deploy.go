// Package deploy brings a bundle into a model of the box, keeps it as its files are, and
// waits until it works.
package deploy

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/box/controller"
	"github.com/dcib/dcib/internal/box/place"
	"github.com/dcib/dcib/internal/box/proc"
	"github.com/dcib/dcib/internal/steps"
)

// Deployment is a bundle in a model.
type Deployment struct {
	Place  place.Place
	Model  string
	Bundle Bundle
}

// deployed is what was deployed last, which Juju does not report: it numbers local charms
// as they come.
type deployed struct {
	Bundle string            `json:"bundle"`
	Charms map[string]string `json:"charms"`
}

func (d Deployment) record() string {
	return filepath.Join(d.Place.Dir(), "deployed-"+d.Model+".json")
}

// Read asks Juju for the status of a model.
func Read(ctx context.Context, p place.Place, model string) (Status, error) {
	out, err := controller.Juju(ctx, p, nil, "status", "--model", controller.Name+":"+model, "--format", "json")
	if err != nil {
		return Status{}, err
	}
	return ParseStatus([]byte(out))
}

// plan is what is to be done.
type plan struct {
	deploy  bool     // the whole bundle
	refresh []string // only the charms of these applications
}

// decide compares the world with the files.
func decide(bundle Bundle, sums map[string]string, status Status, was deployed) (plan, string) {
	for _, app := range slices.Sorted(maps.Keys(bundle.Charms)) {
		if _, ok := status.Applications[app]; !ok {
			return plan{deploy: true}, app + " is missing"
		}
	}
	if was.Bundle != bundle.Text {
		return plan{deploy: true}, "the bundle has changed"
	}
	var p plan
	for _, app := range slices.Sorted(maps.Keys(sums)) {
		if was.Charms[app] != sums[app] {
			p.refresh = append(p.refresh, app)
		}
	}
	if len(p.refresh) > 0 {
		return p, "new charms for " + strings.Join(p.refresh, ", ")
	}
	return plan{}, fmt.Sprintf("%d applications", len(bundle.Charms))
}

func (d Deployment) plan(ctx context.Context) (p plan, saw string, sums map[string]string, was deployed, status Status, err error) {
	if sums, err = d.Bundle.hashes(); err != nil {
		return
	}
	if err = place.ReadJSON(d.record(), &was); err != nil {
		return
	}
	if status, err = Read(ctx, d.Place, d.Model); err != nil {
		return
	}
	p, saw = decide(d.Bundle, sums, status, was)
	return
}

// Deployed reports whether the model has what the files say.
func (d Deployment) Deployed(ctx context.Context) (bool, string, error) {
	p, saw, _, _, _, err := d.plan(ctx)
	return err == nil && !p.deploy && len(p.refresh) == 0, saw, err
}

// Deploy deploys the bundle, or refreshes the charms that have changed.
func (d Deployment) Deploy(ctx context.Context, log *steps.Log) error {
	p, _, sums, was, status, err := d.plan(ctx)
	if err != nil {
		return err
	}
	model := controller.Name + ":" + d.Model
	juju := func(args ...string) error {
		_, err := proc.Run(ctx, proc.Cmd{Args: append([]string{filepath.Join(d.Place.Bin(), "juju")}, args...), Env: d.Place.Env(), Dir: d.Bundle.Dir, Log: log})
		return err
	}
	if p.deploy {
		log.Say("juju deploy %s", d.Bundle.File)
		args := []string{"deploy", "./" + d.Bundle.File, "--model", model}
		for _, o := range d.Bundle.Overlays {
			args = append(args, "--overlay", "./"+o)
		}
		if len(status.Machines) > 0 {
			// A deployment that was cut off has made machines, which are the bundle's.
			args = append(args, "--map-machines", "existing")
		}
		if err := juju(args...); err != nil {
			if len(status.Applications) > 0 {
				return fmt.Errorf("%w: Juju 4.1-beta2 changes no option by a bundle: where that is it, take the box down first", err)
			}
			return err
		}
		return place.WriteJSON(d.record(), deployed{Bundle: d.Bundle.Text, Charms: sums})
	}
	if was.Charms == nil {
		was.Charms = map[string]string{}
	}
	for _, app := range p.refresh {
		log.Say("juju refresh %s", app)
		if err := juju("refresh", app, "--model", model, "--path", d.Bundle.Charms[app]); err != nil {
			return err
		}
		was.Charms[app] = sums[app]
		if err := place.WriteJSON(d.record(), was); err != nil {
			return err
		}
	}
	return nil
}

// Settled reports whether every unit is active and its agent idle.
func (d Deployment) Settled(ctx context.Context) (bool, string, error) {
	status, err := Read(ctx, d.Place, d.Model)
	if err != nil {
		return false, "", err
	}
	waiting := status.Waiting(d.Bundle.Applications())
	if len(waiting) == 0 {
		return true, fmt.Sprintf("%d units active and idle", len(status.Units())), nil
	}
	return false, fmt.Sprintf("%d to go: %s", len(waiting), strings.Join(waiting, "; ")), nil
}

// quietLooks is how many looks in a row, a second apart, have to find the model settled: one
// unit's last hook wakes others a moment later.
const quietLooks = 4

// Settle waits until it is so and stays so, for at most limit.
func (d Deployment) Settle(ctx context.Context, limit time.Duration, log *steps.Log) error {
	quiet := 0
	stays := func(ctx context.Context) (bool, string, error) {
		so, saw, err := d.Settled(ctx)
		if quiet++; !so {
			quiet = 0
		}
		return quiet >= quietLooks, saw, err
	}
	if err := steps.Wait(ctx, log, limit, time.Second, stays); err != nil {
		return fmt.Errorf("%w: look at `./box juju status` and `./box juju debug-log --replay`", err)
	}
	return nil
}

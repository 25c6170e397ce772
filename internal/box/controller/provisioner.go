package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/internal/box/place"
	"github.com/dcib/dcib/internal/steps"
)

// socket is where the agent of a controller's machine reports what it does, since Juju 4; in its docs
// that is juju-introspect, and what it reports is juju_engine_report.
const socket = "/var/lib/juju/agents/machine-*/introspection.socket"

// AwaitProvisioner waits, for at most a minute, until the controller looks for machines that are
// wanted in a model, which it begins to do some seconds after the model was added. Juju 4.1-beta2 is
// told twice of those that are wanted in the second before that. It starts them twice: the second time
// fails, for they are there, but has changed the password of each, and an agent that is refused its
// password gives up for good ("invalid entity name or password"; https://github.com/juju/juju/pull/22030
// is about the same).
//
// A controller that does not report what it does in this way, as those before Juju 4, is not waited for.
// The error states that the time is up.
func AwaitProvisioner(ctx context.Context, p place.Place, log *steps.Log, model string) error {
	id, err := modelID(ctx, p, model)
	if err != nil {
		return err
	}
	err = steps.Wait(ctx, log, time.Minute, 500*time.Millisecond, func(ctx context.Context) (bool, string, error) {
		report, err := Juju(ctx, p, nil, "exec", "--model", Name+":controller", "--unit", "controller/0", "--",
			"sh", "-c", "test -S "+socket+" || exit 0; exec curl -sS --max-time 5 --unix-socket "+socket+" http://localhost/depengine")
		if err != nil {
			return false, err.Error(), nil
		}
		if report == "" {
			log.Printf("not waited for: this controller does not report what it does")
			return true, "", nil
		}
		so, err := provisions(report, id)
		return so, "the controller does not look for machines of model " + model + " yet", err
	})
	if errors.Is(err, steps.ErrTimeout) {
		return fmt.Errorf("cannot use model %s: %w: look at `./box juju debug-log -m controller`", model, err)
	}
	return err
}

// modelID returns a model's id, which is its name in what the controller reports of itself.
func modelID(ctx context.Context, p place.Place, model string) (string, error) {
	out, err := Juju(ctx, p, nil, "show-model", "--format", "json", Name+":"+model)
	if err != nil {
		return "", err
	}
	var models map[string]struct {
		ID string `json:"model-uuid"`
	}
	if err := json.Unmarshal([]byte(out), &models); err != nil {
		return "", fmt.Errorf("cannot read what juju shows of model %s: %w", model, err)
	}
	for _, m := range models {
		return m.ID, nil
	}
	return "", fmt.Errorf("cannot find model %s in what juju shows of it", model)
}

// engine is a part of what an agent reports of its workers, which have workers themselves.
type engine struct {
	Manifolds map[string]struct {
		State  string `yaml:"state"`
		Report struct {
			Workers map[string]struct {
				Report engine `yaml:"report"`
			} `yaml:"workers"`
		} `yaml:"report"`
	} `yaml:"manifolds"`
}

// provisions reports whether a controller that reports so has the worker that makes machines for a model.
func provisions(report, model string) (bool, error) {
	_, text, _ := strings.Cut(report, "\n\n") // after its title
	var e engine
	if err := yaml.Unmarshal([]byte(text), &e); err != nil {
		return false, fmt.Errorf("cannot read what the controller reports of its workers: %w", err)
	}
	return e.Manifolds["model-worker-manager"].Report.Workers[model].Report.Manifolds["compute-provisioner"].State == "started", nil
}

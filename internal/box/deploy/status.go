package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Status is what is read of `juju status --format json`.
type Status struct {
	Model struct {
		Name  string `json:"name"`
		Cloud string `json:"cloud"`
	} `json:"model"`
	Machines     map[string]Machine     `json:"machines"`
	Applications map[string]Application `json:"applications"`
	Offers       map[string]struct {
		Application string `json:"application"`
	} `json:"offers"`
}

// Machine is a machine of the model.
type Machine struct {
	State      State  `json:"juju-status"`
	InstanceID string `json:"instance-id"`
}

// Application is an application of the model.
type Application struct {
	Charm         string          `json:"charm"`
	State         State           `json:"application-status"`
	Units         map[string]Unit `json:"units"`
	SubordinateTo []string        `json:"subordinate-to"`
}

// Unit is a unit, with the subordinates that live beside it.
type Unit struct {
	Workload     State           `json:"workload-status"`
	Agent        State           `json:"juju-status"`
	Machine      string          `json:"machine"`
	Address      string          `json:"public-address"`
	OldCharm     string          `json:"upgrading-from"` // until the unit has taken up a refresh
	Subordinates map[string]Unit `json:"subordinates"`
}

// State is a status with its message.
type State struct {
	Current string `json:"current"`
	Message string `json:"message"`
}

// ParseStatus reads `juju status --format json`.
func ParseStatus(data []byte) (Status, error) {
	var s Status
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("cannot read juju's status: %w", err)
	}
	return s, nil
}

// Units returns all units by name, subordinates included.
func (s Status) Units() map[string]Unit {
	all := map[string]Unit{}
	for _, app := range s.Applications {
		for name, u := range app.Units {
			all[name] = u
			maps.Copy(all, u.Subordinates)
		}
	}
	return all
}

// Waiting says what is not yet as it should be, unit by unit: active, and its agent idle.
// applications must be there; those that are no subordinates must have a unit. Nothing is
// waited for when it is empty.
func (s Status) Waiting(applications []string) []string {
	var waiting []string
	for _, name := range slices.Sorted(slices.Values(applications)) {
		app, ok := s.Applications[name]
		switch {
		case !ok:
			waiting = append(waiting, name+" is missing")
		case len(app.Units) == 0 && len(app.SubordinateTo) == 0 && app.State.Current != "active" && app.State.Current != "unset":
			waiting = append(waiting, name+" has no unit")
		}
	}
	units := s.Units()
	for _, name := range slices.Sorted(maps.Keys(units)) {
		u := units[name]
		switch {
		case u.OldCharm != "":
			waiting = append(waiting, name+" is to take up the new charm")
		case u.Workload.Current != "active":
			waiting = append(waiting, describe(name, u.Workload))
		case u.Agent.Current != "idle":
			waiting = append(waiting, describe(name+" agent", u.Agent))
		}
	}
	return waiting
}

func describe(name string, s State) string {
	if s.Current == "" {
		s.Current = "unknown"
	}
	if s.Message == "" {
		return name + " " + s.Current
	}
	return fmt.Sprintf("%s %s (%s)", name, s.Current, s.Message)
}

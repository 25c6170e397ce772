package box

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/dcib/dcib/internal/box/controller"
	"github.com/dcib/dcib/internal/box/deploy"
	"github.com/dcib/dcib/internal/box/lxdhost"
	"github.com/dcib/dcib/internal/box/place"
)

// Status is what there is of a box, as LXD and Juju say.
type Status struct {
	Name       string                   `json:"name"`
	Dir        string                   `json:"dir"`
	Exists     bool                     `json:"exists"`
	Running    bool                     `json:"running"`
	Pid        int                      `json:"pid"` // of the box's own LXD daemon; 0 if there is none
	Bridge     string                   `json:"bridge,omitempty"`
	Subnet     string                   `json:"subnet,omitempty"`
	LXD        string                   `json:"lxd,omitempty"` // of the box's machines, as --lxd has it
	Controller string                   `json:"controller"`    // its name, "" if it does not answer
	Instances  map[string]string        `json:"instances"`     // of the machine's LXD: name to status
	Models     map[string]deploy.Status `json:"models"`
	Problems   []string                 `json:"problems,omitempty"` // what could not be asked, and why
}

// ReadStatus asks LXD and Juju. What does not answer is among the problems.
func ReadStatus(ctx context.Context, p place.Place) Status {
	s := Status{Name: p.Name, Dir: p.Dir(), Exists: p.Exists(), Instances: map[string]string{}, Models: map[string]deploy.Status{}}
	if !s.Exists {
		return s
	}
	problem := func(err error) { s.Problems = append(s.Problems, err.Error()) }
	var r record
	if err := place.ReadJSON(p.Record(), &r); err != nil {
		problem(err)
	} else if r.Subnet.IsValid() {
		s.Subnet, s.Bridge = r.Subnet.String(), p.Bridge()
		if p.Snap == nil {
			s.LXD = cmp.Or(r.LXD, LXD50)
		}
	}
	s.Pid = lxdhost.Pid(p)
	if s.Running = lxdhost.Running(p); !s.Running {
		return s
	}
	instances, err := lxdhost.Instances(ctx, p)
	if err != nil {
		problem(err)
	}
	for _, i := range instances {
		s.Instances[i.Name] = i.Status
	}
	models, err := controller.Models(ctx, p)
	if err != nil {
		problem(fmt.Errorf("cannot reach the controller: %w", err))
		return s
	}
	s.Controller = controller.Name
	for _, m := range models {
		if s.Models[m], err = deploy.Read(ctx, p, m); err != nil {
			problem(err)
		}
	}
	return s
}

// Print writes the status for people, on one screen.
func (s Status) Print(out io.Writer) error {
	if !s.Exists {
		_, err := fmt.Fprintf(out, "no box %s in %s: run %s\n", s.Name, s.Dir, place.Up(s.Name))
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "box\t%s\t%s\n", s.Name, s.Dir)
	if s.LXD != "" {
		fmt.Fprintf(w, "machines\tLXD %s\n", s.LXD)
	}
	if !s.Running {
		fmt.Fprintf(w, "lxd\tstopped\t%s starts it\n", place.Up(s.Name))
	} else {
		fmt.Fprintf(w, "lxd\tpid %d\t%d instances, bridge %s %s\n", s.Pid, len(s.Instances), s.Bridge, s.Subnet)
	}
	if s.Controller == "" {
		fmt.Fprintf(w, "juju\tno controller\t\n")
	} else {
		fmt.Fprintf(w, "juju\t%s\t%d models\n", s.Controller, len(s.Models))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Models)) {
		m := s.Models[name]
		fmt.Fprintf(w, "\nmodel %s\ton %s\t%d machines\n", name, m.Model.Cloud, len(m.Machines))
		units := m.Units()
		for _, unit := range slices.Sorted(maps.Keys(units)) {
			u := units[unit]
			where := m.Machines[u.Machine].InstanceID
			fmt.Fprintf(w, "  %s\t%s %s\t%s %s\n", unit, u.Workload.Current, u.Agent.Current, where, u.Workload.Message)
		}
	}
	for _, p := range s.Problems {
		fmt.Fprintf(w, "\nproblem\t%s\n", p)
	}
	return w.Flush()
}

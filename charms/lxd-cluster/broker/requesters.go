package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/lxd/profiles"
)

// ListRequesters is the action list-requesters. It lists the relations over which profiles are requested,
// with the proven model and the policy that applies.
func ListRequesters(_ context.Context, f Facts, _ *Env, _ charm.Call) (map[string]string, error) {
	switch {
	case !f.Active:
		return nil, errors.New("cannot list requesters on this unit: run it on the leader, once that is a member of the cluster")
	case f.PolicyErr != "":
		return nil, errors.New(f.PolicyErr)
	case len(f.Relations) == 0:
		return map[string]string{"requesters": "none"}, nil
	}
	results := f.relationResults()
	lines := make([]string, len(f.Relations))
	for i, r := range f.Relations {
		o := results[i]
		model := "not known until a unit proves its instance"
		if o.model != "" {
			model = o.model
		}
		name := o.profile
		if _, exists := f.Profiles[name]; !exists {
			name = "none"
		}
		lines[i] = fmt.Sprintf("%s %s: model %s; policy %s; LXD profile %s; units: %s", r.ID, r.App, model, o.policy.Name(), name, r.states())
	}
	return map[string]string{"requesters": strings.Join(lines, "\n")}, nil
}

// states counts the relation's units by state.
func (r Relation) states() string {
	counts := map[string]int{}
	for _, s := range r.Status.Units {
		counts[s.State]++
	}
	if len(counts) == 0 {
		return "none"
	}
	var parts []string
	for _, state := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[state], state))
	}
	return strings.Join(parts, ", ")
}

// logPolicy logs the policy that applies to a relation before its profile is written.
type logPolicy struct {
	charm.Step[*Env]
	write profiles.Write
	line  string
}

// Apply implements charm.Step.
func (s logPolicy) Apply(ctx context.Context, w *Env) error {
	if s.write.Model != "" {
		if err := w.Tools.Log(ctx, "INFO", s.line); err != nil {
			return err
		}
	}
	return s.Step.Apply(ctx, w)
}

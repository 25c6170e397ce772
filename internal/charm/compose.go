package charm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/hooktool"
)

// Component is one concern of a charm that has several. F are the facts of the whole charm, of
// which each component fills its own part; W is what the charm works on.
//
// Components are independent but for what they declare. One that is blocked, waits or fails
// ends its own steps and those of the components after it, and no others.
type Component[F, W any] struct {
	// Name is shown in errors of Compose and names the component in After and Reads.
	Name string
	// After names the components whose facts Observe or When read. The component is observed
	// after them; while one of them cannot be observed, or one of its steps has ended in an
	// error in this hook, the component does nothing.
	After []string
	// Reads names the components whose facts Plan reads as well. They may be observed later.
	// While one of them cannot be observed, the component does nothing.
	Reads []string
	// When reports whether the component has anything to observe and to do; nil: always. It
	// reads the facts of the components in After.
	When func(facts F) bool
	// Observe adds what the component sees to the facts; nil: nothing. Errors as for Step.Apply.
	Observe func(ctx context.Context, event hooktool.Event, env W, facts *F) error
	// Plan is pure. A zero Status says nothing about the unit.
	Plan func(facts F) Plan[W]
}

// Compose returns a charm of components. Their order is the order of their steps and of the
// messages in the unit's status. It panics when two components have one name, when After or
// Reads names no component, or when components are after each other: that is a mistake in the
// charm, which its first test shows.
func Compose[F, W any](components ...Component[F, W]) Charm[F, W] {
	index := map[string]int{}
	for i, c := range components {
		if _, twice := index[c.Name]; twice || c.Name == "" {
			panic(fmt.Sprintf("charm: component %q: wanted a name of its own", c.Name))
		}
		index[c.Name] = i
	}
	for _, c := range components {
		for _, name := range slices.Concat(c.After, c.Reads) {
			if _, ok := index[name]; !ok || name == c.Name {
				panic(fmt.Sprintf("charm: component %s: wanted the name of another component in After and Reads, not %q", c.Name, name))
			}
		}
	}
	var order []int
	const open, done = 1, 2
	state := make([]int, len(components))
	var visit func(i int, path []string)
	visit = func(i int, path []string) {
		path = append(path, components[i].Name)
		switch state[i] {
		case open:
			panic("charm: components are after each other: " + strings.Join(path, ", "))
		case done:
			return
		}
		state[i] = open
		for _, name := range components[i].After {
			visit(index[name], path)
		}
		state[i] = done
		order = append(order, i)
	}
	for i := range components {
		visit(i, nil)
	}
	return Charm[F, W]{components: components, order: order}
}

// all returns the charm's components, and their indices in the order of observation.
func (c Charm[F, W]) all() ([]Component[F, W], []int) {
	if c.components != nil {
		return c.components, c.order
	}
	return []Component[F, W]{{
		Observe: func(ctx context.Context, event hooktool.Event, env W, facts *F) (err error) {
			*facts, err = c.Observe(ctx, event, env)
			return err
		},
		Plan: c.Plan,
	}}, []int{0}
}

// observation is what was seen in one pass.
type observation[F any] struct {
	facts F
	// unseen are the components that could not be observed, with the error, and those after them,
	// with nil.
	unseen map[string]error
}

// missing reports whether one of the named components could not be observed.
func (o observation[F]) missing(names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { _, ok := o.unseen[name]; return ok })
}

// err returns the errors of the components that could not be observed; nil when all were.
func (o observation[F]) err() error {
	var all []error
	for _, name := range slices.Sorted(maps.Keys(o.unseen)) {
		all = append(all, o.unseen[name])
	}
	return errors.Join(all...)
}

// observeAll observes the components. It returns an error when ctx has ended.
func (c Charm[F, W]) observeAll(ctx context.Context, event hooktool.Event, env W) (o observation[F], err error) {
	components, order := c.all()
	o.unseen = map[string]error{}
	for _, i := range order {
		component := components[i]
		if o.missing(component.After) {
			o.unseen[component.Name] = nil
			continue
		}
		if component.Observe == nil || component.When != nil && !component.When(o.facts) {
			continue
		}
		if err := component.Observe(ctx, event, env, &o.facts); err != nil {
			if ctx.Err() != nil {
				return o, err
			}
			o.unseen[component.Name] = err
		}
	}
	return o, nil
}

// componentPlan is what one component wants to do.
type componentPlan[F, W any] struct {
	Component[F, W]
	Plan[W]
}

// planAll returns the plan of each component that was seen and has something to do.
func (c Charm[F, W]) planAll(o observation[F]) (plans []componentPlan[F, W]) {
	components, _ := c.all()
	for _, component := range components {
		if o.missing([]string{component.Name}) || o.missing(component.Reads) || component.When != nil && !component.When(o.facts) {
			continue
		}
		plans = append(plans, componentPlan[F, W]{component, component.Plan(o.facts)})
	}
	return plans
}

// PlanOf returns what the charm wants to do about facts, of all components in one plan.
func (c Charm[F, W]) PlanOf(facts F) Plan[W] {
	return joined(c.planAll(observation[F]{facts: facts}))
}

// joined returns plans as one.
func joined[F, W any](plans []componentPlan[F, W]) (whole Plan[W]) {
	var statuses []Status
	for _, p := range plans {
		whole.Steps = append(whole.Steps, p.Steps...)
		if whole.Version == "" {
			whole.Version = p.Version
		}
		if p.Ports != nil {
			whole.Ports = append(append([]string{}, whole.Ports...), p.Ports...) // none is not nil
		}
		statuses = append(statuses, p.Status)
	}
	whole.Status = Merge(statuses...)
	return whole
}

// severity orders levels as Juju does for the units of an application
// (statusSeverities in core/status of Juju 3.6 and 4).
var severity = map[Level]int{LevelBlocked: 4, LevelWaiting: 3, LevelMaintenance: 2, LevelActive: 1}

// Merge returns one status of several: the messages of those with the highest severity
// (blocked, waiting, maintenance, active), in their order. A zero status says nothing.
func Merge(statuses ...Status) (merged Status) {
	var messages []string
	for _, s := range statuses {
		switch {
		case severity[s.Level] > severity[merged.Level]:
			merged.Level, messages = s.Level, nil
		case s.Level != merged.Level || s.Level == "":
			continue
		}
		if s.Message != "" {
			messages = append(messages, s.Message)
		}
	}
	merged.Message = strings.Join(messages, "; ")
	return merged
}

package charm

import (
	"context"
	"time"
)

// AdaptSteps returns the steps of a component as steps of the whole charm; part returns the
// component's own dependencies out of those of the charm.
func AdaptSteps[Whole, Part any](steps []Step[Part], part func(Whole) Part) []Step[Whole] {
	adapted := make([]Step[Whole], len(steps))
	for i, step := range steps {
		adapted[i] = adaptedStep[Whole, Part]{step, part}
	}
	return adapted
}

type adaptedStep[Whole, Part any] struct {
	step Step[Part]
	part func(Whole) Part
}

func (s adaptedStep[Whole, Part]) Name() string { return s.step.Name() }

func (s adaptedStep[Whole, Part]) Apply(ctx context.Context, env Whole) error {
	return s.step.Apply(ctx, s.part(env))
}

// Bound implements Bounded.
func (s adaptedStep[Whole, Part]) Bound() time.Duration { return boundOf(s.step) }

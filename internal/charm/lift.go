package charm

import (
	"context"
	"time"
)

// Lift makes steps of a part of a charm steps of the whole: a charm that does several
// things keeps each in a room of its own, with a world of its own.
func Lift[Whole, Part any](steps []Step[Part], part func(Whole) Part) []Step[Whole] {
	lifted := make([]Step[Whole], len(steps))
	for i, step := range steps {
		lifted[i] = liftedStep[Whole, Part]{step, part}
	}
	return lifted
}

type liftedStep[Whole, Part any] struct {
	step Step[Part]
	part func(Whole) Part
}

func (s liftedStep[Whole, Part]) Name() string { return s.step.Name() }

func (s liftedStep[Whole, Part]) Apply(ctx context.Context, world Whole) error {
	return s.step.Apply(ctx, s.part(world))
}

// Bound implements Bounded.
func (s liftedStep[Whole, Part]) Bound() time.Duration { return boundOf(s.step) }

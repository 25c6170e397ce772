package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/charm"
)

// apart makes the steps of a component end with it: one that leaves the unit blocked or waiting
// ends the component's other steps for this hook, and the steps of other components go on.
func apart(component string, steps []charm.Step[*world]) []charm.Step[*world] {
	all := make([]charm.Step[*world], len(steps))
	for i, step := range steps {
		all[i] = apartStep{step, component}
	}
	return all
}

type apartStep struct {
	charm.Step[*world]
	component string
}

// Apply implements charm.Step.
func (s apartStep) Apply(ctx context.Context, w *world) error {
	if _, ended := w.ended[s.component]; ended {
		return nil
	}
	err := s.Step.Apply(ctx, w)
	status, ok := charm.StatusOf(err)
	if !ok || ctx.Err() != nil {
		return err
	}
	w.ended[s.component] = status
	return w.tools.Log(ctx, "WARNING", fmt.Sprintf("cannot %s: %s", s.Name(), status.Message))
}

// Bound implements charm.Bounded.
func (s apartStep) Bound() time.Duration {
	if b, ok := s.Step.(charm.Bounded); ok {
		return b.Bound()
	}
	return 0
}

// merged is a status with what ended components in this hook: one that is blocked goes over one
// that waits, and that over one that works or is active.
func merged(status charm.Status, ended map[string]charm.Status) charm.Status {
	for _, level := range []charm.Level{charm.LevelBlocked, charm.LevelWaiting} {
		var messages []string
		if status.Level == level {
			messages = append(messages, status.Message)
		}
		for _, component := range slices.Sorted(maps.Keys(ended)) {
			if ended[component].Level == level {
				messages = append(messages, ended[component].Message)
			}
		}
		if len(messages) > 0 {
			return charm.Status{Level: level, Message: strings.Join(messages, "; ")}
		}
	}
	return status
}

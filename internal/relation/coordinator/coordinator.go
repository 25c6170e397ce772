// Package coordinator chooses one unit of an application for what exactly one unit may do: bootstrap a
// cluster, hold a database, request a certificate.
//
// The leader writes its own name where all units read it, usually into the application's databag. The
// chosen unit acts only when it reads its own name back, in a later hook: Juju has then committed it, and
// no other unit can have been chosen. A new leader keeps the choice until Juju no longer has that unit.
package coordinator

import (
	"context"
	"slices"
)

// Choice is the unit that was chosen. The zero value is no choice.
type Choice struct {
	Unit string // empty while none is chosen
	Gone bool   // Juju no longer has the unit
}

// New returns the choice of a unit, empty for none. kept are the units of the application that Juju
// means to keep.
func New(unit string, kept []string) Choice {
	return Choice{Unit: unit, Gone: unit != "" && !slices.Contains(kept, unit)}
}

// Is reports whether the unit is the chosen one, and may act.
func (c Choice) Is(unit string) bool { return c.Unit != "" && c.Unit == unit }

// NeedsElection reports whether the leader has to choose a unit: none is chosen, or the chosen one is gone.
func (c Choice) NeedsElection() bool { return c.Unit == "" || c.Gone }

// Writer writes to the application's databag; hooktool.Tools is one.
type Writer interface {
	RelationSetApp(ctx context.Context, relation string, values map[string]string) error
}

// Elect writes the choice of a unit into the application's databag, under key and with the other values
// that belong to it. Only the leader may do so.
func Elect(ctx context.Context, w Writer, relation, key, unit string, also map[string]string) error {
	values := map[string]string{key: unit}
	for k, v := range also {
		values[k] = v
	}
	return w.RelationSetApp(ctx, relation, values)
}

package pets

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/scheduler/decide"
	"github.com/dcib/dcib/internal/scheduler/store"
)

// maxMessage is how many characters a status with an alert has at most: a line of `juju status`.
const maxMessage = 120

// remedies say of each kind of alert what its unit's level is, and what to do. The first ones are
// shown before the others. A unit is blocked where nothing goes on before an operator acts, and
// waiting where another unit has to come back; else it works, and the message says on what.
// https://documentation.ubuntu.com/juju/3.6/reference/status/
var remedies = []struct {
	kind  string
	level charm.Level
	todo  string
}{
	{control.Clock, charm.LevelBlocked, "fix its time"},
	{string(decide.GivenUp), charm.LevelBlocked, "fix the cause, run drain"},
	{control.NoStore, charm.LevelWaiting, "start the lost units"},
	{string(decide.Late), charm.LevelActive, "see list-pets"},
	{string(decide.NotEmpty), charm.LevelActive, "see list-pets"},
	{string(decide.Failing), charm.LevelActive, "see list-pets"},
	{control.NoLXD, charm.LevelActive, "see debug-log"},
	{control.Trouble, charm.LevelActive, "see journalctl -u pet-scheduler"},
}

// Alerted returns a unit's status with the alerts that are on: the most severe one in words, and
// how many more there are. A unit that is blocked for another reason stays so.
func Alerted(status charm.Status, alerts []store.Alert) charm.Status {
	if len(alerts) == 0 || status.Level == charm.LevelBlocked {
		return status
	}
	rank := func(a store.Alert) int {
		for n, r := range remedies {
			if r.kind == a.Kind {
				return n
			}
		}
		return len(remedies) - 1
	}
	alerts = slices.SortedStableFunc(slices.Values(alerts), func(a, b store.Alert) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), a.Since.Compare(b.Since))
	})
	first := alerts[0]
	r := remedies[rank(first)]
	head, tail := first.Text, "; "+r.todo
	if first.Pet != "" {
		head = first.Pet + ": " + head
	}
	if n := len(alerts) - 1; n > 0 {
		tail += fmt.Sprintf(" (%d more)", n)
	}
	level := status.Level
	if r.level == charm.LevelBlocked || level == charm.LevelActive {
		level = r.level
	}
	return charm.Status{Level: level, Message: shorten(head, maxMessage-len([]rune(tail))) + tail}
}

// shorten makes one line of a text, of at most that many characters.
func shorten(text string, most int) string {
	line := []rune(strings.Join(strings.Fields(text), " "))
	if len(line) <= most {
		return string(line)
	}
	return strings.TrimRight(string(line[:most-1]), " ,;:") + "…"
}

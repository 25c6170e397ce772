package pets

import (
	"fmt"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/assert"
)

// kind is what an operation of a history is.
type kind int

const (
	acquire kind = iota // a unit took the lease
	over                // a unit said that its term is over
	act                 // a unit changed something in LXD
)

// operation is one entry of a history: something that happened at a moment between two.
type operation struct {
	kind     kind
	unit     string
	term     int64 // zero of an act: LXD does not know of terms
	from, to time.Time
}

// lease is the model's state: who may act. No one may while unit is empty.
type lease struct {
	unit string
	term int64
}

// leaseModel says which histories are those of one lease: each term is taken once and in order,
// and no one acts but its holder, from when it took the lease until it said that its term is
// over or another took the next.
var leaseModel = porcupine.Model{
	Init: func() any { return lease{} },
	Step: func(state, input, _ any) (bool, any) {
		l, op := state.(lease), input.(operation)
		switch op.kind {
		case acquire:
			return op.term > l.term, lease{op.unit, op.term}
		case over:
			if l.term == op.term {
				l.unit = ""
			}
			return true, l
		}
		return l.unit == op.unit, l
	},
	DescribeOperation: func(input, _ any) string { return fmt.Sprintf("%+v", input) },
}

// oneActs reports whether the history is one of a single holder at a time.
func oneActs(history []operation) bool {
	operations := make([]porcupine.Operation, len(history))
	for n, op := range history {
		operations[n] = porcupine.Operation{ClientId: n, Input: op, Call: op.from.UnixNano(), Return: op.to.UnixNano()}
	}
	return porcupine.CheckOperations(leaseModel, operations)
}

// What the model has to distinguish.
func TestHistory(t *testing.T) {
	at := func(second float64) time.Time { return time.Unix(1000, int64(second*1e9)) }
	op := func(k kind, unit string, term int64, from, to float64) operation {
		return operation{k, unit, term, at(from), at(to)}
	}
	good := []operation{
		op(acquire, "a", 1, 0, 1),
		op(act, "a", 0, 1.5, 1.5),
		op(act, "a", 0, 3, 3),
		op(acquire, "b", 2, 4, 8), // taken somewhere in between
		op(over, "a", 1, 4.5, 4.5),
		op(act, "b", 0, 6, 6),
		op(act, "b", 0, 9, 9),
		op(over, "b", 2, 10, 10),
		op(acquire, "a", 3, 10.5, 11),
		op(act, "a", 0, 12, 12),
	}
	assert.True(t, oneActs(good))
	for name, bad := range map[string]operation{
		"no one may":                          op(act, "a", 0, -1, -1),
		"its term is over":                    op(act, "a", 0, 5, 5),
		"another acts already":                op(act, "a", 0, 9, 9),
		"its term is over and no other began": op(act, "b", 0, 10.2, 10.2),
		"it never had the lease":              op(act, "c", 0, 12, 12),
		"a term is taken twice":               op(acquire, "c", 3, 12, 13),
		"the lease went back":                 op(acquire, "c", 2, 12, 13),
	} {
		assert.False(t, oneActs(append([]operation{bad}, good...)), name)
	}
}

package drain

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Each method is implemented: it has a description, and steps with names that differ.
func TestMethodsHaveNamedSteps(t *testing.T) {
	want := map[Method][]string{
		LiveMove:    {"wait", "move"},
		StopAndMove: {"wait", "relocate", "stop", "move", "start"},
		CopyFirst:   {"wait", "copy", "stop", "refresh", "swap", "start", "delete"},
		StoppedMove: {"wait", "move", "start"},
	}
	got := map[Method][]string{}
	for name, m := range methods {
		require.NotEmpty(t, m.describe(Instance{}), name)
		for _, s := range m.steps {
			require.NotContains(t, got[name], s.name)
			got[name] = append(got[name], s.name)
		}
	}
	require.Equal(t, want, got)
}

// Whatever an instance is like, its method is one that is implemented.
func TestEveryInstanceHasAMethod(t *testing.T) {
	for _, running := range []bool{false, true} {
		for _, live := range []bool{false, true} {
			for _, blockers := range []map[Ref]string{nil, {{}: ""}, {{}: "it is ephemeral"}} {
				name, reason := View{CopyBlockers: blockers}.methodOf(Instance{Running: running, LiveMovable: live})
				require.Contains(t, methods, name)
				require.NotEmpty(t, reason)
			}
		}
	}
}

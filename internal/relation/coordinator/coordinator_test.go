package coordinator_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/relation/coordinator"
)

func TestChoice(t *testing.T) {
	kept := []string{"app/0", "app/2"}
	for name, test := range map[string]struct {
		unit           string
		is, needsFirst bool
	}{
		"none":       {"", false, true},
		"this unit":  {"app/0", true, false},
		"another":    {"app/2", false, false},
		"one gone":   {"app/1", false, true},
		"one of two": {"app/20", false, true},
	} {
		c := coordinator.New(test.unit, kept)
		require.Equal(t, test.is, c.Is("app/0"), name)
		require.Equal(t, test.needsFirst, c.NeedsElection(), name)
	}
	require.False(t, coordinator.Choice{}.Is(""))
}

type databag map[string]string

func (d databag) RelationSetApp(_ context.Context, _ string, values map[string]string) error {
	for k, v := range values {
		d[k] = v
	}
	return nil
}

func TestElect(t *testing.T) {
	bag := databag{}
	require.NoError(t, coordinator.Elect(t.Context(), bag, "cluster:0", "coordinator", "app/1", map[string]string{"again": "true"}))
	require.Equal(t, databag{"coordinator": "app/1", "again": "true"}, bag)
}

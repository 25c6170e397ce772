package daemon

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/store"
)

// A history is read once for each run that ends; one that was being read when a run ended is
// not taken for the whole: a pet whose drain is not in it would not be brought back.
func TestHistories(t *testing.T) {
	var k histories
	var runs []store.Run
	reads := 0
	during := func() {}
	read := func(context.Context, string) ([]store.Run, error) {
		reads++
		seen := runs
		during()
		return seen, nil
	}
	of := func(pet string) []store.Run {
		seen, err := k.of(t.Context(), pet, read)
		require.NoError(t, err)
		return seen
	}
	require.Empty(t, of("a"))
	require.Empty(t, of("a"))
	require.Equal(t, 1, reads)
	end := func(id string) {
		runs = append(runs, store.Run{ID: id})
		k.grow("a")
	}
	end("1")
	during = func() { end("2"); during = func() {} }
	require.Len(t, of("a"), 1)
	require.Len(t, of("a"), 2)
	require.Len(t, of("a"), 2)
	require.Equal(t, 3, reads)
	require.Len(t, of("b"), 2)
	require.Equal(t, 4, reads)

	_, err := k.of(t.Context(), "c", func(context.Context, string) ([]store.Run, error) { return nil, errors.New("no") })
	require.EqualError(t, err, "no")
	require.Len(t, of("c"), 2)
}

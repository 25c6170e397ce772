package daemon

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/scheduler/store"
)

// A history is read once for each run that ends; one that was being read when a run ended is
// not taken for the whole: a pet whose drain is not in it would not be brought back.
func TestHistories(t *testing.T) {
	var k historyCache
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
		k.invalidate("a")
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

// A pet's earlier runs show how far apart its instances set out, whatever became of some of them.
func TestApart(t *testing.T) {
	began := time.Date(2026, 11, 6, 20, 0, 0, 0, time.UTC)
	run := func(state store.RunState, took time.Duration, moved int) store.Run {
		return store.Run{State: state, Started: began, Ended: began.Add(took), Moved: moved}
	}
	usual := run(store.Done, 18*time.Second, 8)
	for name, c := range map[string]struct {
		earlier []store.Run
		seconds float64
	}{
		"a new pet":              {nil, 0},
		"one run":                {[]store.Run{usual}, 1.76},
		"one that took hours":    {[]store.Run{run(store.Done, 3*time.Hour, 8), usual, usual}, 1.76},
		"failures show nothing":  {[]store.Run{run(store.Failed, time.Hour, 2), run(store.Cancelled, time.Hour, 2)}, 0},
		"nothing was there":      {[]store.Run{run(store.Done, 2*time.Second, 0)}, 0},
		"a single large one":     {[]store.Run{run(store.Done, time.Hour, 1)}, 10},
		"a clock that went back": {[]store.Run{run(store.Done, -time.Hour, 8)}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			require.InDelta(t, c.seconds, medianStartSpacing(c.earlier).Seconds(), 0.01)
		})
	}
}

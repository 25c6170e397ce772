package leadtime_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dcib/dcib/internal/scheduler/leadtime"
)

func TestOf(t *testing.T) {
	drains := func(n int, took time.Duration, instances int) []leadtime.Drain {
		past := make([]leadtime.Drain, n)
		for i := range past {
			past[i] = leadtime.Drain{Took: took, Instances: instances}
		}
		return past
	}
	slow := leadtime.Drain{Took: 30 * time.Minute, Instances: 4}
	for name, c := range map[string]struct {
		past      []leadtime.Drain
		instances int
		want      time.Duration
		why       string
	}{
		"never drained":      {nil, 4, 15 * time.Minute, "as for each pet that was never drained"},
		"little to go by":    {drains(1, 5*time.Minute, 4), 4, 15 * time.Minute, "the one past drain took 5m0s, and 25% and 10s more; at least 15m0s until there were 5 drains"},
		"little, but slow":   {[]leadtime.Drain{slow}, 4, 37*time.Minute + 40*time.Second, "the one past drain took 30m0s, and 25% and 10s more"},
		"the slowest of few": {append(drains(9, 5*time.Minute, 4), slow), 4, 37*time.Minute + 40*time.Second, "the slowest of 10 past drains took 30m0s, and 25% and 10s more"},
		"one in forty":       {append(drains(39, 5*time.Minute, 4), slow), 4, 6*time.Minute + 25*time.Second, "95% of 40 past drains were done in 5m0s, and 25% and 10s more"},
		"more instances":     {drains(10, 5*time.Minute, 4), 8, 12*time.Minute + 40*time.Second, "the slowest of 10 past drains took 5m0s with 4 instances, there are 8 now, and 25% and 10s more"},
		"fewer instances":    {drains(10, 5*time.Minute, 4), 1, 6*time.Minute + 25*time.Second, "the slowest of 10 past drains took 5m0s, and 25% and 10s more"},
		"it was empty":       {drains(10, 2*time.Minute, 0), 3, 7*time.Minute + 40*time.Second, "the slowest of 10 past drains took 2m0s with 0 instances, there are 3 now, and 25% and 10s more"},
		"too long":           {drains(10, 5*time.Hour, 4), 4, 2 * time.Hour, "the slowest of 10 past drains took 5h0m0s, and 25% and 10s more; at most 2h0m0s is allowed"},
		"too short":          {drains(10, time.Second, 4), 4, time.Minute, "the slowest of 10 past drains took 1s, and 25% and 10s more; at least 1m0s is kept"},
		"long ago":           {append(drains(50, time.Hour, 4), drains(100, 5*time.Minute, 4)...), 4, 6*time.Minute + 25*time.Second, "95% of 100 past drains were done in 5m0s, and 25% and 10s more"},
	} {
		t.Run(name, func(t *testing.T) {
			got := leadtime.Of(c.past, c.instances, leadtime.Defaults())
			assert.Equal(t, c.want, got.Time)
			assert.Equal(t, c.why, got.Why)
		})
	}
}

// Whatever the past: the lead is within its bounds, would have been enough for that share of
// drains like the past ones, and grows with the instances.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		past := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) leadtime.Drain {
			return leadtime.Drain{
				Took:      time.Duration(rapid.IntRange(0, 20000).Draw(t, "took")) * time.Second,
				Instances: rapid.IntRange(0, 50).Draw(t, "instances"),
			}
		}), 0, 100).Draw(t, "past")
		instances := rapid.IntRange(0, 100).Draw(t, "now")
		o := leadtime.Defaults()
		o.Quantile = rapid.Float64Range(0.5, 1).Draw(t, "quantile")
		got := leadtime.Of(past, instances, o)
		require.NotEmpty(t, got.Why)
		require.True(t, got.Time >= o.Min && got.Time <= o.Max)
		require.GreaterOrEqual(t, leadtime.Of(past, instances+1, o).Time, got.Time)
		enough := 0
		for _, d := range past {
			if d.Took <= got.Time || got.Time == o.Max {
				enough++
			}
		}
		require.GreaterOrEqual(t, float64(enough), o.Quantile*float64(len(past))-1e-6)
	})
}

package wallclock_test

import (
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dcib/dcib/internal/wallclock"
)

// Where a midnight is skipped, the day begins when the clock shows it first.
func TestSkippedMidnights(t *testing.T) {
	for zone, days := range map[string][2]string{
		"America/Santiago":  {"2026-09-06", "2026-09-06 01:00"},
		"America/Havana":    {"2026-03-08", "2026-03-08 01:00"},
		"Atlantic/Azores":   {"2026-03-29", "2026-03-29 01:00"},
		"America/Sao_Paulo": {"2018-11-04", "2018-11-04 01:00"},
		"Pacific/Apia":      {"2011-12-30", "2011-12-31 00:00"},
		"Europe/Berlin":     {"2026-03-29", "2026-03-29 00:00"},
	} {
		location, err := time.LoadLocation(zone)
		require.NoError(t, err)
		day, err := time.Parse(time.DateOnly, days[0])
		require.NoError(t, err)
		assert.Equal(t, days[1], wallclock.Instant(day, location).Format("2006-01-02 15:04"), zone)
	}
}

// Hands show what the function says, whatever they were asked before.
func TestHands(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone, err := time.LoadLocation(rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "Pacific/Apia", "Africa/Casablanca", "America/Havana", "Australia/Lord_Howe"}).Draw(t, "zone"))
		require.NoError(t, err)
		hands := wallclock.NewHands(zone)
		for range rapid.IntRange(1, 20).Draw(t, "times") {
			wall := time.Unix(int64(rapid.IntRange(0, 7_000_000_000).Draw(t, "wall")), 0).UTC()
			require.Equal(t, wallclock.Instant(wall, zone), hands.Instant(wall))
		}
	})
}

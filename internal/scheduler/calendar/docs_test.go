package calendar_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/scheduler/calendar"
)

// What docs/reference/pets.md shows is what works.
func TestReference(t *testing.T) {
	text, err := os.ReadFile("../../../docs/reference/pets.md")
	require.NoError(t, err)
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1)
	require.NotEmpty(t, examples)
	for _, example := range examples {
		_, err := calendar.Parse(example[1])
		require.NoError(t, err, "%s", example[1])
	}
	pets, err := calendar.Parse(examples[0][1])
	require.NoError(t, err)
	require.Len(t, pets, 2)
	assert.Equal(t, []string{
		"Fri 2026-05-22 20:30 +0200 for Fri 2026-05-22 21:00 +0200 to Sat 2026-05-23 05:00 +0200",
	}, show(pets[0].Between(day(t, "2026-05-22"), day(t, "2026-05-23"))))
	assert.Equal(t, []string{
		"Mon 2026-03-30 18:00 -0400 for Tue 2026-03-31 20:00 +0100 to Wed 2026-04-01 08:00 +0100",
	}, show(pets[1].Between(day(t, "2026-03-30"), day(t, "2026-04-02"))))

	// Windows that stand in the text, in one line.
	for _, window := range []string{"Fri 21:00–Sat 05:00", "2026-12-24 18:00–2026-12-27 06:00", "2026-12-24", "2026-12-24–2026-12-26"} {
		require.Contains(t, string(text), "`"+window+"`")
		_, err := calendar.ParseWindow(window, nil)
		assert.NoError(t, err, window)
	}
}

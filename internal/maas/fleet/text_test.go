package fleet_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dcib/dcib/internal/maas/fleet"
)

// A terminal is 80 characters wide: no line is longer, unless one word is, and no word is lost.
func TestText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOf(rapid.StringMatching(`[a-zäö0-9.:-]{1,20}`)).Draw(t, "words")
		text := strings.Join(words, " ")
		for _, shown := range []string{fleet.Item("failed", text), fleet.Columns([][]string{{"node1", "Ready", text}, {"n", "Failed commissioning", ""}})} {
			require.True(t, strings.HasSuffix(shown, "\n"))
			for _, line := range strings.Split(shown, "\n") {
				require.LessOrEqual(t, utf8.RuneCountInString(line), 80)
			}
		}
		require.Equal(t, words, append([]string{}, strings.Fields(fleet.Item("", text))...))
	})
}

// Lists are lists for programs, also when there is nothing in them.
func TestShow(t *testing.T) {
	require.NotNil(t, fleet.Show(nil))
	one := fleet.Show([]fleet.Machine{{Hostname: "node1"}})[0]
	require.NotNil(t, one.Addresses)
	require.NotNil(t, one.Bridges)
	require.NotNil(t, one.Tags)
	require.NotNil(t, fleet.Steps(nil))
	require.Equal(t, "everything is as declared\n", fleet.Plan{}.Text())
}

package inventory_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dcib/dcib/internal/maas/inventory"
)

// A terminal is 80 characters wide: no line is longer, unless one word is, and no word is lost.
func TestText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOf(rapid.StringMatching(`[a-zäö0-9.:-]{1,20}`)).Draw(t, "words")
		text := strings.Join(words, " ")
		for _, shown := range []string{inventory.Item("failed", text), inventory.Columns([][]string{{"node1", "Ready", text}, {"n", "Failed commissioning", ""}})} {
			require.True(t, strings.HasSuffix(shown, "\n"))
			for _, line := range strings.Split(shown, "\n") {
				require.LessOrEqual(t, utf8.RuneCountInString(line), 80)
			}
		}
		require.Equal(t, words, append([]string{}, strings.Fields(inventory.Item("", text))...))
	})
}

// Lists are lists for programs, also when there is nothing in them.
func TestShow(t *testing.T) {
	require.NotNil(t, inventory.Show(nil))
	one := inventory.Show([]inventory.Machine{{Hostname: "node1"}})[0]
	require.NotNil(t, one.Addresses)
	require.NotNil(t, one.Bridges)
	require.NotNil(t, one.Tags)
	require.NotNil(t, inventory.Steps(nil))
	require.Equal(t, "everything is as declared\n", inventory.Plan{}.Text())
}

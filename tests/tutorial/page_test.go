package tutorial

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/tests/howto"
)

// page is what the suite follows as it stands there.
const page = "docs/tutorial.md"

// width is that of a terminal as it opens.
const width = 80

// A reader copies the commands as they are. What is to be repeated shows what for.
func TestPage(t *testing.T) {
	commands, err := howto.Read("../../" + page)
	require.NoError(t, err)
	require.NotEmpty(t, commands)
	for _, c := range commands {
		require.NotRegexp(t, `<[a-z-]+>|MEMBER|NAME`, c.Text, "%s:%d: something to fill in", page, c.Line)
		for line := range strings.Lines(c.Text) {
			require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimRight(line, "\n")), width, "%s:%d", page, c.Line)
		}
		if c.Repeat {
			require.NotEmpty(t, c.Shown, "%s:%d: what it is repeated for", page, c.Line)
		}
	}
}

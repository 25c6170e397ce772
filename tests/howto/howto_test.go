package howto_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/tests/howto"
)

const page = "# A page\n\nText, `juju inline` too.\n\n    juju a \\\n        --b     # why\n    juju c\n\n    juju d\n\n## Second\n- a list\n\n    for x in 1; do\n        juju e $x\n    done\n"

func write(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "page.md")
	require.NoError(t, os.WriteFile(path, []byte(page), 0o600))
	return path
}

func TestRead(t *testing.T) {
	commands, err := howto.Read(write(t))
	require.NoError(t, err)
	require.Equal(t, []howto.Command{
		{Section: "A page", Line: 5, Block: 4, Text: "juju a \\\n    --b     # why"},
		{Section: "A page", Line: 7, Block: 4, Text: "juju c"},
		{Section: "A page", Line: 9, Block: 8, Text: "juju d"},
		{Section: "Second", Line: 14, Block: 13, Text: "for x in 1; do"},
		{Section: "Second", Line: 15, Block: 13, Text: "    juju e $x"},
		{Section: "Second", Line: 16, Block: 13, Text: "done"},
	}, commands)
	_, err = howto.Read("nowhere.md")
	require.ErrorContains(t, err, "cannot read the commands")
}

func TestCheck(t *testing.T) {
	path := write(t)
	require.NoError(t, howto.Check(path, []howto.Change{{Of: "juju a --b", Why: "x"}, {Of: "juju e $x", With: "true", Why: "x"}}))
	require.ErrorContains(t, howto.Check(path, []howto.Change{{Of: "juju c"}}), "not said why: juju c")
	require.ErrorContains(t, howto.Check(path, []howto.Change{{Of: "juju inline", Why: "x"}}), "not there (any more): juju inline")
}

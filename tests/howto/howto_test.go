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

const shows = "# A page\n\nDo this:\n\n    a=1\n    juju a\n\n```text\n    indented\nb\n```\n\n```text\nanother\n```\n" +
	"Repeat this command until it is so:\n\n    juju b\n\nText\n\n    juju c\n\n```\nof c\n```\n"

func TestReadWhatIsShown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	require.NoError(t, os.WriteFile(path, []byte(shows), 0o600))
	commands, err := howto.Read(path)
	require.NoError(t, err)
	require.Equal(t, []howto.Command{
		{Section: "A page", Line: 5, Block: 4, Text: "a=1", Shown: "    indented\nb\n"},
		{Section: "A page", Line: 6, Block: 4, Text: "juju a", Shown: "    indented\nb\n"},
		{Section: "A page", Line: 18, Block: 17, Text: "juju b", Repeat: true},
		{Section: "A page", Line: 22, Block: 21, Text: "juju c", Shown: "of c\n"},
	}, commands)
	require.NoError(t, os.WriteFile(path, []byte(shows+"```\n"), 0o600))
	_, err = howto.Read(path)
	require.ErrorContains(t, err, "the fence in line 27 of "+path+" has no end")
}

func TestLike(t *testing.T) {
	const table = "+ lxc list\n+------+---------------+\n| NAME |   LOCATION    |\n+------+---------------+\n| web  | juju-0ba1f3-12 |\n+------+---------------+\n"
	const pets = "Waiting for task 2...\npets: |-\n  pet  state    opens\n  big  drained  Tue 2026-12-01 04:10 UTC  15m0s\n  big: 1 instance of 3 took 1.5s, at 10.1.2.3\n\n"
	for name, c := range map[string]struct{ shown, said, err string }{
		"nothing is shown":      {"", "x\n", ""},
		"other names and dates": {"| NAME | LOCATION |\n+--+--+\n| web | juju-aaaaaa-0 |\n", table, ""},
		"other times":           {"big  drained  Fri 2027-01-02 23:59 UTC  1m10s\nbig: 1 instance of 3 took 20s, at 192.168.100.200\n", pets, ""},
		"another version":       {"lxd 5.0.2 active\n", "lxd  6.6  active\n", ""},
		"left out":              {"pets: |-\n…\n big: 1 instance of…\n", pets, ""},
		"another state":         {"big  shared  Fri 2027-01-02 23:59 UTC  1m10s\n", pets, "big shared DAY DATE TIME UTC DURATION"},
		"another number":        {"big: 2 instance…\n", pets, "big: 2 instance…"},
		"another column":        {"| NAME | STATE |\n", table, "| NAME | STATE |"},
		"a line between":        {"pets: |-\n  big  drained…\n", pets, "pets: |-\nbig drained…"},
		"another order":         {"big: 1…\n…\npets: |-\n", pets, "pets: |-"},
		"the command itself":    {"+ lxc list\n", table, "+ lxc list"},
		"more than there is":    {"pet state opens\n…\nend\n", pets, "end"},
	} {
		t.Run(name, func(t *testing.T) {
			err := howto.Like(c.shown, c.said)
			if c.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.err+"\n")
			}
		})
	}
}

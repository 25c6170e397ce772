// Package howto reads the commands of a how-to, so that a suite runs what stands there, as it
// stands there.
package howto

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dcib/dcib/tests/testbed"
)

// Command is a command of a how-to.
type Command struct {
	Section string // the heading that it stands below
	Line    int    // the first of its lines
	Block   int    // commands of one block of the page have the same
	Text    string // with what the shell would read: a backslash at a line's end joins lines
}

// Read gives the commands of a page of Markdown: what is indented by four spaces. A line that
// ends with a backslash goes on in the next; comments stay in.
func Read(page string) ([]Command, error) {
	text, err := os.ReadFile(page)
	if err != nil {
		return nil, fmt.Errorf("cannot read the commands of a how-to: %w", err)
	}
	var commands []Command
	section, block, goesOn := "", 0, false
	for n, line := range strings.Split(string(text), "\n") {
		code, isCode := strings.CutPrefix(line, "    ")
		switch {
		case isCode && goesOn:
			last := &commands[len(commands)-1]
			last.Text += "\n" + code
		case isCode && strings.TrimSpace(code) != "":
			commands = append(commands, Command{Section: section, Line: n + 1, Block: block, Text: code})
		case strings.HasPrefix(line, "#"):
			section = strings.TrimSpace(strings.TrimLeft(line, "#"))
		}
		if !isCode {
			block = n + 1
		}
		goesOn = isCode && strings.HasSuffix(code, `\`)
	}
	return commands, nil
}

// Change is what a suite does otherwise than a page says. Without With the command is not
// run.
type Change struct {
	Of, With, Why string
}

// Check compares the changes with a page: it tells of those whose command is not there, and
// of those that do not say why.
func Check(page string, changes []Change) error {
	commands, err := Read(page)
	if err != nil {
		return err
	}
	for _, c := range changes {
		if c.Why == "" {
			return fmt.Errorf("cannot change a command of %s: it is not said why: %s", page, c.Of)
		}
		if !slices.ContainsFunc(commands, func(have Command) bool { return plain(have.Text) == c.Of }) {
			return fmt.Errorf("cannot change a command of %s: it is not there (any more): %s", page, c.Of)
		}
	}
	return nil
}

// plain is a command on one line, without what is there for the eye.
func plain(command string) string {
	var words []string
	for _, word := range strings.Fields(strings.ReplaceAll(command, "\\\n", " ")) {
		if word == "#" {
			break
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// Shell runs the commands of a page against a box, in a folder where the repository's files
// stand as the page expects them.
type Shell struct {
	Page    string
	Changes []Change
	Limit   time.Duration // for each section

	dir  string
	path string
	all  []Command
	done map[string]bool
}

// Open prepares to run a page; `juju` and `lxc` are the box's, and `dcib` is the one in bin.
func Open(t testing.TB, box testbed.Box, page string, changes []Change) *Shell {
	t.Helper()
	if _, err := exec.LookPath("jq"); err != nil {
		t.Fatalf("cannot run %s: it has jq: run apt-get install jq", page)
	}
	page = filepath.Join(box.Repo, page)
	s := &Shell{Page: page, Changes: changes, Limit: 5 * time.Minute, dir: t.TempDir(), done: map[string]bool{}}
	if err := Check(page, changes); err != nil {
		t.Fatal(err)
	}
	all, err := Read(page)
	if err != nil {
		t.Fatal(err)
	}
	s.all = all
	for _, name := range []string{"bin", "bundles", "dist", "overlays", "tests"} {
		if err := os.Symlink(filepath.Join(box.Repo, name), filepath.Join(s.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s.path = filepath.Join(s.dir, "path")
	if err := os.Mkdir(s.path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(box.Repo, "bin/dcib"), filepath.Join(s.path, "dcib")); err != nil {
		t.Fatal(err)
	}
	for _, client := range []string{"juju", "lxc"} {
		script := fmt.Sprintf("#!/bin/sh\nexec %s box --name %s %s \"$@\"\n", filepath.Join(box.Repo, "bin/dcib"), box.Name, client)
		if err := os.WriteFile(filepath.Join(s.path, client), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// Run runs the commands below a heading, block after block, each in a shell of its own, and
// gives what they said. After each block it pauses, as the page asks its reader to.
func (s *Shell) Run(t testing.TB, section string, pause func()) string {
	t.Helper()
	all, found := "", false
	for i := 0; i < len(s.all); {
		first, script := i, ""
		for ; i < len(s.all) && s.all[i].Block == s.all[first].Block; i++ {
			script += s.changed(s.all[i]) + "\n"
		}
		if s.all[first].Section != section {
			continue
		}
		found = true
		began := time.Now()
		said := s.shell(t, script)
		took := time.Since(began)
		if pause != nil {
			pause()
		}
		t.Logf("%s:%d, %s, then %s for all to settle:\n%s", filepath.Base(s.Page), s.all[first].Line, took.Round(time.Second/10), (time.Since(began) - took).Round(time.Second/10), said)
		all += said
	}
	if !found {
		t.Fatalf("cannot find commands below %q in %s", section, s.Page)
	}
	s.done[section] = true
	return all
}

// Again runs a command of the page once more, and gives what it said.
func (s *Shell) Again(t testing.TB, command string) string {
	t.Helper()
	for _, c := range s.all {
		if plain(c.Text) == command {
			return s.shell(t, s.changed(c))
		}
	}
	t.Fatalf("cannot find %s in %s", command, s.Page)
	return ""
}

// shell runs a script, and gives it with what it said.
func (s *Shell) shell(t testing.TB, script string) string {
	t.Helper()
	return testbed.Run(t, s.Limit, "bash", "-c", `cd "$1" && PATH="$2:$PATH" && exec 2>&1 && set -euxo pipefail && eval "$3"`, "howto", s.dir, s.path, script)
}

// changed gives what is run of a command.
func (s *Shell) changed(c Command) string {
	for _, change := range s.Changes {
		if change.Of == plain(c.Text) {
			return change.With
		}
	}
	return c.Text
}

// Rest fails for every heading with commands that was not run, except those named.
func (s *Shell) Rest(t testing.TB, except ...string) {
	t.Helper()
	for _, c := range s.all {
		if !s.done[c.Section] && !slices.Contains(except, c.Section) {
			t.Errorf("%s:%d: nobody ran %s", filepath.Base(s.Page), c.Line, plain(c.Text))
		}
	}
}

// Package howto reads the commands of a how-to, so that a suite runs what stands there, as it
// stands there.
package howto

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
	Repeat  bool   // the text above its block has its reader repeat it until it prints what is shown
	Shown   string // the output of its block as the page shows it: the fence that follows the block
}

// repeat is how a page asks its reader to wait for a fact.
const repeat = "Repeat this command until"

// fence begins and ends what a page shows and no one types.
const fence = "```"

// Read returns the commands of a page of Markdown: what is indented by four spaces, outside of
// fences. A line that ends with a backslash goes on in the next; comments stay in. The first
// fence after a block is what the block's commands print.
func Read(page string) ([]Command, error) {
	content, err := os.ReadFile(page)
	if err != nil {
		return nil, fmt.Errorf("cannot read the commands of a how-to: %w", err)
	}
	r := reader{}
	for n, line := range strings.Split(string(content), "\n") {
		switch {
		case strings.HasPrefix(line, fence):
			r.fence(n + 1)
		case r.fenced > 0:
			r.shown += line + "\n"
		default:
			r.line(n+1, line)
		}
	}
	if r.fenced > 0 {
		return nil, fmt.Errorf("cannot read the commands of a how-to: the fence in line %d of %s has no end", r.fenced, page)
	}
	return r.commands, nil
}

// reader has what was read of a page so far.
type reader struct {
	commands []Command
	section  string
	block    int    // the last line that was no command
	goesOn   bool   // the last line ended with a backslash
	text     string // since the last block or fence
	fenced   int    // the line of the fence that is open, or 0
	shown    string // what it has so far
}

// fence opens or ends a fence. What it shows belongs to the last block, unless another does.
func (r *reader) fence(n int) {
	if r.fenced == 0 {
		r.fenced, r.shown = n, ""
		return
	}
	for i := len(r.commands) - 1; i >= 0 && r.commands[i].Block == r.commands[len(r.commands)-1].Block; i-- {
		if r.commands[i].Shown == "" {
			r.commands[i].Shown = r.shown
		}
	}
	r.fenced, r.block, r.goesOn, r.text = 0, n, false, ""
}

func (r *reader) line(n int, line string) {
	code, isCode := strings.CutPrefix(line, "    ")
	switch {
	case isCode && r.goesOn:
		last := &r.commands[len(r.commands)-1]
		last.Text += "\n" + code
	case isCode && strings.TrimSpace(code) != "":
		r.commands = append(r.commands, Command{Section: r.section, Line: n, Block: r.block, Text: code, Repeat: strings.Contains(r.text, repeat)})
	case strings.HasPrefix(line, "#"):
		r.section = strings.TrimSpace(strings.TrimLeft(line, "#"))
	}
	if !isCode {
		if r.block != n-1 { // the first line after a block
			r.text = ""
		}
		r.text += strings.TrimSpace(line) + " "
		r.block = n
	}
	r.goesOn = isCode && strings.HasSuffix(code, `\`)
}

// Change is what a suite does otherwise than a page says. Without With the command is not
// run.
type Change struct {
	Of, With, Why string
}

// Check compares the changes with a page: it reports of those whose command is not there, and
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

	dir   string
	path  string
	all   []Command
	done  map[string]bool
	names []string // of the variables that the page has set
}

// Open prepares to run a page; `juju`, `lxc`, `./box` and the targets of `make` are the box's, and
// `dcib` is the one in bin.
func Open(t testing.TB, box testbed.Box, page string, changes []Change) *Shell {
	t.Helper()
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
	if _, err := exec.LookPath("jq"); err != nil && slices.ContainsFunc(all, func(c Command) bool { return strings.Contains(c.Text, "jq ") }) {
		t.Fatalf("cannot run %s: it has jq: run apt-get install jq", page)
	}
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
	dcib := fmt.Sprintf("exec %s box --name %s ", filepath.Join(box.Repo, "bin/dcib"), box.Name)
	for path, line := range map[string]string{
		filepath.Join(s.path, "juju"): dcib + "juju",
		filepath.Join(s.path, "lxc"):  dcib + "lxc",
		filepath.Join(s.path, "make"): fmt.Sprintf("PATH=${PATH#*:}; exec make -C %s BOX=%s", box.Repo, box.Name),
		filepath.Join(s.dir, "box"):   dcib,
	} {
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+line+" \"$@\"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// Run runs the commands below a heading, block after block, each in a shell of its own, and
// returns what they printed. After each block it pauses, as the page asks its reader to.
func (s *Shell) Run(t testing.TB, section string, pause func()) string {
	t.Helper()
	all := ""
	s.blocks(t, section, func(first Command, script string) {
		began := time.Now()
		said := s.shell(t, script)
		took := time.Since(began)
		if pause != nil {
			pause()
		}
		t.Logf("%s:%d, %s, then %s for all to settle:\n%s", filepath.Base(s.Page), first.Line, took.Round(time.Second/10), (time.Since(began) - took).Round(time.Second/10), said)
		all += said
	})
	return all
}

// Follow runs the commands below a heading as a reader does, who compares what they print with
// what the page shows (see Like), and repeats what the page says is to be repeated, for at most the
// limit. After each block it calls pause, with the block's first command.
func (s *Shell) Follow(t testing.TB, section string, pause func(first Command)) {
	t.Helper()
	s.blocks(t, section, func(first Command, script string) {
		began := time.Now()
		for times := 1; ; times++ {
			said := s.shell(t, script)
			err := Like(first.Shown, said)
			if err != nil && first.Repeat && time.Since(began) < s.Limit {
				time.Sleep(time.Second)
				continue
			}
			t.Logf("%s:%d, %s, run %d times:\n%s", filepath.Base(s.Page), first.Line, time.Since(began).Round(time.Second/10), times, said)
			if err != nil {
				t.Fatalf("%s:%d prints another thing than the page shows: %s", filepath.Base(s.Page), first.Line, err)
			}
			pause(first)
			return
		}
	})
}

// blocks has run called for each block below a heading, with its first command.
func (s *Shell) blocks(t testing.TB, section string, run func(first Command, script string)) {
	t.Helper()
	found := false
	for i := 0; i < len(s.all); {
		first, script := i, ""
		for ; i < len(s.all) && s.all[i].Block == s.all[first].Block; i++ {
			script += s.changed(s.all[i]) + "\n"
		}
		if s.all[first].Section == section {
			found = true
			run(s.all[first], script)
		}
	}
	if !found {
		t.Fatalf("cannot find commands below %q in %s", section, s.Page)
	}
	s.done[section] = true
}

// Again runs a command of the page once more, and returns what it said.
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

// assignment sets a variable, in a line of its own.
var assignment = regexp.MustCompile(`(?m)^([a-z_]+)=`)

// shell runs a script, and returns it with what it said. Variables that it sets at the beginning of
// a line are set for the next ones.
func (s *Shell) shell(t testing.TB, script string) string {
	t.Helper()
	for _, m := range assignment.FindAllStringSubmatch(script, -1) {
		if !slices.Contains(s.names, m[1]) {
			s.names = append(s.names, m[1])
		}
	}
	keep := ""
	if len(s.names) > 0 {
		keep = "\n{ set +x; } 2>/dev/null\ndeclare -p " + strings.Join(s.names, " ") + ` >"$2/.variables"`
	}
	return testbed.Run(t, s.Limit, "bash", "-c", `cd "$1" && PATH="$2:$PATH" && exec 2>&1 && touch "$2/.variables" && . "$2/.variables" && set -euxo pipefail && eval "$3"`,
		"howto", s.dir, s.path, script+keep)
}

// changed returns what is run of a command.
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
			t.Errorf("%s:%d: no one ran %s", filepath.Base(s.Page), c.Line, plain(c.Text))
		}
	}
}

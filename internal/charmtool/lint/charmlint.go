// Package charmlint checks charms and bundles before Juju does: with Juju's own parsers
// (github.com/juju/charm), and by the house's rules.
package lint

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// Problem is something to put right.
type Problem struct {
	File  string `json:"file"`            // where it stands
	Line  int    `json:"line,omitempty"`  // from 1 on; 0 for all of the file
	Field string `json:"field,omitempty"` // which field, such as config.options.floor; empty for all of it
	Says  string `json:"says"`            // what was found, and what was expected
	Near  string `json:"near,omitempty"`  // the right word that is nearest to the one that stands there
	Note  bool   `json:"note,omitempty"`  // nothing is wrong, but something could not be checked
}

// String returns the problem in one line: "file:line: field: what".
func (p Problem) String() string {
	s := p.File
	if p.Line > 0 {
		s += fmt.Sprintf(":%d", p.Line)
	}
	s += ": "
	if p.Note {
		s += "note: "
	}
	if p.Field != "" {
		s += p.Field + ": "
	}
	s += p.Says
	if p.Near != "" {
		s += fmt.Sprintf(" (nearest: %s)", p.Near)
	}
	return s
}

// Text returns the problem in lines of at most width characters, unless a word or the file's
// name is longer; those after the first are indented. Width 0 is one line.
func (p Problem) Text(width int) string {
	line := p.String()
	if width == 0 {
		return line
	}
	var text strings.Builder
	text.WriteString(p.File)
	used := utf8.RuneCountInString(p.File)
	for i, word := range strings.Fields(line[len(p.File):]) {
		switch n := utf8.RuneCountInString(word); {
		case i == 0: // the line, with the colons
			used += n
		case used+1+n > width:
			text.WriteString("\n    ")
			used = 4 + n
		default:
			text.WriteString(" ")
			used += 1 + n
		}
		text.WriteString(word)
	}
	return text.String()
}

// Kind is what a path holds.
type Kind int

// The kinds that can be checked.
const (
	CharmDir Kind = iota + 1
	CharmArchive
	BundleFile
)

// KindOf reports what lies at path: a charm folder (with charmcraft.yaml), a charm archive
// (*.charm) or a bundle (a YAML file, a pipe, StdinName, or a folder with bundle.yaml). It returns the path
// to read, too.
func KindOf(path string) (Kind, string, error) {
	if path == StdinName {
		return BundleFile, path, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, "", fmt.Errorf("cannot check %s: %w", path, err)
	}
	if info.IsDir() {
		if _, err := os.Stat(filepath.Join(path, "charmcraft.yaml")); err == nil {
			return CharmDir, path, nil
		}
		if bundle := filepath.Join(path, "bundle.yaml"); exists(bundle) {
			return BundleFile, bundle, nil
		}
		return 0, "", fmt.Errorf("cannot check %s: expected charmcraft.yaml or bundle.yaml in it", path)
	}
	switch ext := strings.ToLower(filepath.Ext(path)); {
	case filepath.Base(path) == "charmcraft.yaml":
		return CharmDir, filepath.Dir(path), nil
	case strings.HasSuffix(path, ".charm"):
		return CharmArchive, path, nil
	case ext == ".yaml", ext == ".yml", info.Mode()&os.ModeNamedPipe != 0:
		return BundleFile, path, nil
	}
	return 0, "", fmt.Errorf("cannot check %s: expected a charm folder, a .charm archive or a bundle's .yaml", path)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

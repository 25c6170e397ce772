// Package charmlint checks charms and bundles before Juju does: with Juju's own parsers
// (github.com/juju/charm), and by the house's rules.
package charmlint

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Problem is something to put right.
type Problem struct {
	File  string // where it stands
	Field string // which field of it, such as config.options.floor; empty for all of it
	Says  string // what was found, and what was expected
}

// String returns the problem in one line: "file: field: what".
func (p Problem) String() string {
	if p.Field == "" {
		return p.File + ": " + p.Says
	}
	return p.File + ": " + p.Field + ": " + p.Says
}

// Kind is what a path holds.
type Kind int

// The kinds that can be checked.
const (
	CharmDir Kind = iota + 1
	CharmArchive
	BundleFile
)

// KindOf tells what lies at path: a charm folder (with charmcraft.yaml), a charm archive
// (*.charm) or a bundle (a YAML file, or a folder with bundle.yaml). It returns the path
// to read, too.
func KindOf(path string) (Kind, string, error) {
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
	switch {
	case filepath.Base(path) == "charmcraft.yaml":
		return CharmDir, filepath.Dir(path), nil
	case strings.HasSuffix(path, ".charm"):
		return CharmArchive, path, nil
	case strings.HasSuffix(path, ".yaml"), strings.HasSuffix(path, ".yml"):
		return BundleFile, path, nil
	}
	return 0, "", fmt.Errorf("cannot check %s: expected a charm folder, a .charm archive or a bundle's .yaml", path)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

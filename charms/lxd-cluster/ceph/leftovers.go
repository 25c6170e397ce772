package ceph

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/dcib/dcib/internal/charm"
)

// LeftoverFiles returns which of Ceph's files in the folder this charm wrote for an application: its key,
// and a ceph.conf with the charm's mark.
func LeftoverFiles(dir, app string) ([]string, error) {
	var names []string
	for _, name := range []string{keyringName(app), confName} {
		text, _, err := read(filepath.Join(dir, name))
		switch {
		case err != nil:
			return nil, err
		case text == "" || name == confName && !strings.HasPrefix(text, mark):
		default:
			names = append(names, name)
		}
	}
	return names, nil
}

// Leave plans to remove these files, for a unit that leaves and whose LXD has no pool on Ceph.
func Leave(names []string) []charm.Step[Env] {
	var steps []charm.Step[Env]
	for _, name := range names {
		steps = append(steps, removeFile{name})
	}
	return steps
}

// removeFile removes one file.
type removeFile struct{ name string }

func (s removeFile) Name() string { return "remove Ceph's " + s.name }

func (s removeFile) Apply(_ context.Context, w Env) error {
	if err := os.Remove(filepath.Join(w.Dir, s.name)); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

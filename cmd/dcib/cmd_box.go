package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/dcib/dcib/internal/box/place"
)

// newBoxCmd is the parent of everything that has to do with the box: a real data centre
// on this one machine.
func newBoxCmd() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "box",
		Short: "A real data centre on this machine, for development and tests",
		Long: `A box is a real LXD, a real Juju controller and the data centre that the bundle
describes, in one state folder of this machine: /var/lib/dcib, or DCIB_HOME.
It never touches an LXD or a Juju of yours.`,
	}
	cmd.PersistentFlags().StringVar(&name, "name", place.DefaultName, "which box: several can stand side by side")
	where := func() (place.Place, error) {
		p, err := place.New("", name)
		if err != nil {
			return p, usageError{err}
		}
		return p, nil
	}
	cmd.AddCommand(
		newBoxUpCmd(where), newBoxDownCmd(where), newBoxPurgeCmd(where), newBoxStatusCmd(where),
		newBoxClientCmd(where, "juju"), newBoxClientCmd(where, "lxc"),
	)
	return cmd
}

// placer says where the box that the user named is.
type placer func() (place.Place, error)

// sourceFolder finds the project's folder: the one given, or the nearest above this
// folder or above the running program that pins Juju's commands.
func sourceFolder(given string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	here, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("cannot determine the current folder: %w", err)
	}
	starts := []string{here}
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	for _, dir := range starts {
		for {
			_, err := os.Stat(filepath.Join(dir, "tests", "testbed", "juju", "go.mod"))
			if err == nil {
				return dir, nil
			}
			if !errors.Is(err, os.ErrNotExist) || dir == "/" {
				break
			}
			dir = filepath.Dir(dir)
		}
	}
	return "", fmt.Errorf("cannot find the project's folder: looked above %v: run dcib in it, or pass --source", starts)
}

// terminal reports whether a file is one.
func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

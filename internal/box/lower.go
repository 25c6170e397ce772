package box

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dcib/dcib/internal/box/down"
	"github.com/dcib/dcib/internal/box/place"
	"github.com/dcib/dcib/internal/steps"
)

// Down takes the box away and checks that nothing of it is left on the machine. The cache
// stays.
func Down(ctx context.Context, o Options) error {
	if os.Getuid() != 0 {
		return fmt.Errorf("cannot take box %s away: not root (user id %d): run it as root", o.Place.Name, os.Getuid())
	}
	unlock, err := o.Place.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	b := &builder{Options: o}
	return b.withMachine(ctx, nil, func() error {
		return b.changeMachine(func(m *machine) error {
			r := down.Remover{Place: o.Place, Kernel: m.Kernel, Forget: func() error {
				m.Kernel = nil
				return place.WriteJSON(o.Place.Machine(), m)
			}}
			// The logs cannot lie in the folder that is removed.
			logs := filepath.Join(o.Place.Home, ".down-"+o.Place.Name)
			runner := &steps.Runner{Out: o.Out, Terminal: o.Terminal, LogDir: logs}
			if _, err := runner.Run(ctx, r.Steps()); err != nil {
				return err
			}
			if err := r.Verify(ctx, o.Out); err != nil {
				return err
			}
			return os.RemoveAll(logs)
		})
	})
}

// Purge is Down, and then the cache goes too. It says how to remove the packages that
// were installed: whether another client has come to need them, only the user knows.
func Purge(ctx context.Context, o Options) error {
	if err := Down(ctx, o); err != nil {
		return err
	}
	others, err := o.Place.Others()
	if err != nil {
		return err
	}
	if len(others) > 0 {
		return fmt.Errorf("cannot remove the cache %s: these boxes use it: %s: take them down first", o.Place.Cache(), strings.Join(others, ", "))
	}
	var m machine
	if err := place.ReadJSON(o.Place.Machine(), &m); err != nil {
		return err
	}
	if err := removeHome(o.Place.Home); err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "removed: %s\n", o.Place.Home)
	if len(m.Packages) > 0 {
		fmt.Fprintf(o.Out, "These packages were installed for boxes. To remove them:\n  apt-get remove %s\n", strings.Join(m.Packages, " "))
	}
	return nil
}

// removeHome removes what dcib keeps in the state folder, and the folder if nothing else
// is in it: DCIB_HOME may name one that has other things in it.
func removeHome(home string) error {
	ours := []string{"cache", "boxes", "machine.json", ".machine.lock"}
	locks, _ := filepath.Glob(filepath.Join(home, ".*.lock"))
	for _, l := range locks {
		ours = append(ours, filepath.Base(l))
	}
	for _, name := range ours {
		if err := os.RemoveAll(filepath.Join(home, name)); err != nil {
			return fmt.Errorf("cannot remove the cache: %w", err)
		}
	}
	if err := os.Remove(home); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) && !strings.Contains(err.Error(), "not empty") {
		return fmt.Errorf("cannot remove the state folder: %w", err)
	}
	return nil
}

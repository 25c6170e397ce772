// Package libdqlite provides the static dqlite library that Juju's agent and a current LXD
// are linked with, without upgrading anything on the machine.
package libdqlite

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/dcib/dcib/internal/box/apt"
	"github.com/dcib/dcib/internal/box/proc"
)

// Packages are what linking with the library needs on the machine.
var Packages = []string{"gcc", "libc6-dev", "libuv1-dev", "liblz4-dev", "libsqlite3-dev", "ca-certificates", "debian-archive-keyring"}

// release is the release of Debian whose libdqlite is new enough.
const release = "unstable"

// Debian unstable's library asks for three functions that older C libraries do not have.
//
//go:embed shim/shim.c
var shim string

// recipe changes when the way of making the library does.
const recipe = "2"

// ID names all that the library is made of, for the keys of what is linked with it.
func ID() string { return recipe + " " + release + " " + shim }

// Library is a folder with the unpacked library.
type Library struct{ dir string }

// Env is the environment for go build of programs that use the library through cgo.
func (l Library) Env() []string {
	return []string{
		"CGO_ENABLED=1",
		"CGO_CFLAGS=-O2 -I" + filepath.Join(l.dir, "usr/include"),
		"CGO_LDFLAGS=-L" + filepath.Join(l.dir, "usr/lib/x86_64-linux-gnu") + " -Wl,--start-group -ldqlite -lshim -Wl,--end-group -luv -llz4 -lsqlite3",
	}
}

// Get returns the library in the cache folder, and downloads it from the Debian mirror if it
// is not there. work is an empty folder for temporary files; say reports progress.
func Get(ctx context.Context, cache, work, mirror string, log io.Writer, say func(format string, args ...any)) (Library, error) {
	// Its folder keeps its name, as Go's own cache knows C packages by their flags.
	l := Library{filepath.Join(cache, "dqlite-"+recipe)}
	if _, err := os.Stat(l.dir); err == nil {
		return l, nil
	}
	say("libdqlite of Debian %s", release)
	fresh := filepath.Join(work, "dqlite")
	if err := apt.Unpack(ctx, mirror, release, "libdqlite-dev", filepath.Join(work, "apt"), fresh, log); err != nil {
		return l, err
	}
	if err := os.WriteFile(filepath.Join(work, "shim.c"), []byte(shim), 0o644); err != nil {
		return l, fmt.Errorf("cannot write the shim for libdqlite: %w", err)
	}
	for _, args := range [][]string{
		{"gcc", "-O2", "-c", "-o", "shim.o", "shim.c"},
		{"ar", "rcs", filepath.Join(fresh, "usr/lib/x86_64-linux-gnu/libshim.a"), "shim.o"},
	} {
		if _, err := proc.Run(ctx, proc.Cmd{Args: args, Dir: work, Log: log}); err != nil {
			return l, fmt.Errorf("cannot compile the shim for libdqlite: %w", err)
		}
	}
	if err := os.Rename(fresh, l.dir); err != nil {
		return l, fmt.Errorf("cannot keep libdqlite: %w", err)
	}
	return l, nil
}

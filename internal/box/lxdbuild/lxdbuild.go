// Package lxdbuild builds a current LXD from the Go module that pins it, for the box's
// machines: Debian's own is 5.0.2.
package lxdbuild

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/dcib/dcib/internal/box/libdqlite"
	"github.com/dcib/dcib/internal/box/proc"
)

// Packages are what the build needs on the machine, besides Go.
var Packages = slices.Concat(libdqlite.Packages, []string{"lxc-dev", "libacl1-dev", "libcap-dev", "libudev-dev", "libseccomp-dev", "pkg-config"})

// Names are the commands that are built, by their names in the folder of a Build.
var Names = []string{"lxd", "lxc"}

const (
	tags = "libsqlite3"
	// ldflagsAllow is what LXD's own Makefile lets its cgo files say to the linker.
	ldflagsAllow = "(-Wl,-wrap,pthread_create)|(-Wl,-z,now)"
)

// recipe changes when the way of building does.
const recipe = "1"

// Built is the folder with the built commands.
type Built struct{ Dir string }

// In returns where the commands are in a cache folder, and whether they are there. module
// is the folder of the Go module that pins them.
func In(cache, module string) (built Built, there bool, err error) {
	h := sha256.New()
	fmt.Fprintln(h, recipe, tags, runtime.Version(), libdqlite.ID())
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return Built{}, false, fmt.Errorf("cannot find the module that pins LXD's commands: %w: run dcib in the project's folder", err)
		}
		h.Write(data)
	}
	b := Built{filepath.Join(cache, "lxd-"+hex.EncodeToString(h.Sum(nil))[:12])}
	_, err = os.Stat(b.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return b, false, fmt.Errorf("cannot look for LXD's commands: %w", err)
	}
	return b, err == nil, nil
}

// Build builds the commands into the cache folder. mirror is the Debian archive that
// libdqlite is downloaded from; say reports progress.
func Build(ctx context.Context, cache, module, mirror string, log io.Writer, say func(format string, args ...any)) error {
	built, _, err := In(cache, module)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp(cache, "tmp-lxd-")
	if err != nil {
		return fmt.Errorf("cannot build LXD's commands: %w", err)
	}
	defer os.RemoveAll(work)
	out := filepath.Join(work, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		return fmt.Errorf("cannot build LXD's commands: %w", err)
	}
	dqlite, err := libdqlite.Get(ctx, cache, work, mirror, log, say)
	if err != nil {
		return err
	}
	say("go build lxd, lxc")
	args := []string{"go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-tags=" + tags, "-o", out + "/"}
	for _, name := range Names {
		args = append(args, "github.com/canonical/lxd/"+name)
	}
	env := append([]string{"GOWORK=off", "GOFLAGS=-mod=readonly", "CGO_LDFLAGS_ALLOW=" + ldflagsAllow}, dqlite.Env()...)
	if _, err := proc.Run(ctx, proc.Cmd{Args: args, Dir: module, Env: env, Log: log}); err != nil {
		return fmt.Errorf("cannot build LXD's commands: %w", err)
	}
	if err := os.Rename(out, built.Dir); err != nil {
		return fmt.Errorf("cannot keep LXD's commands: %w", err)
	}
	return nil
}

// Package commands builds Juju's commands from the Go module that pins them.
package commands

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/dcib/dcib/internal/box/libdqlite"
	"github.com/dcib/dcib/internal/box/proc"
)

// The providers that are left out are those whose SDKs the box has no use for. Without the
// tag dqlite the agent builds, but a controller of it cannot start.
const tags = "minimal,provider_lxd,provider_maas,provider_manual,dqlite,libsqlite3"

// recipe changes when the way of building does.
const recipe = "2"

// Built is a folder of built commands.
type Built struct{ Dir string }

// Bin has juju, juju-metadata, jujuc and jujuagentd.
func (b Built) Bin() string { return filepath.Join(b.Dir, "bin") }

// Metadata is what `juju bootstrap --metadata-source` takes: the agent's archive.
func (b Built) Metadata() string { return filepath.Join(b.Dir, "metadata") }

// In returns where the commands are in a cache folder, and whether they are there. module
// is the folder of the Go module that pins them.
func In(cache, module string) (built Built, there bool, err error) {
	h := sha256.New()
	fmt.Fprintln(h, recipe, tags, runtime.Version(), libdqlite.ID())
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return Built{}, false, fmt.Errorf("cannot find the module that pins Juju's commands: %w: run dcib in the project's folder", err)
		}
		h.Write(data)
	}
	b := Built{filepath.Join(cache, "juju-"+hex.EncodeToString(h.Sum(nil))[:12])}
	_, err = os.Stat(b.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return b, false, fmt.Errorf("cannot look for Juju's commands: %w", err)
	}
	return b, err == nil, nil
}

// Build builds the commands into the cache and returns where they are. say reports progress.
func Build(ctx context.Context, cache, module, mirror string, log io.Writer, say func(format string, args ...any)) error {
	built, _, err := In(cache, module)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp(cache, "tmp-juju-")
	if err != nil {
		return fmt.Errorf("cannot build Juju's commands: %w", err)
	}
	defer os.RemoveAll(work)
	bin := filepath.Join(work, "out", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return fmt.Errorf("cannot build Juju's commands: %w", err)
	}

	dqlite, err := libdqlite.Get(ctx, cache, work, mirror, log, say)
	if err != nil {
		return err
	}

	// One build for all: what they share is compiled once only if it is compiled alike.
	say("go build juju, juju-metadata, jujuc, jujuagentd")
	args := []string{"go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-tags=" + tags, "-o", bin + "/"}
	for _, name := range []string{"juju", "plugins/juju-metadata", "jujuc", "jujuagentd"} {
		args = append(args, "github.com/juju/juju/cmd/"+name)
	}
	env := append([]string{"GOWORK=off", "GOFLAGS=-mod=readonly"}, dqlite.Env()...)
	if _, err := proc.Run(ctx, proc.Cmd{Args: args, Dir: module, Env: env, Log: log}); err != nil {
		return fmt.Errorf("cannot build Juju's commands: %w", err)
	}

	say("agent binaries")
	if err := agents(ctx, filepath.Join(work, "out"), work, log); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(work, "out"), built.Dir); err != nil {
		return fmt.Errorf("cannot keep Juju's commands: %w", err)
	}
	return nil
}

// agents packs the agent's archive and the index that bootstrap reads.
func agents(ctx context.Context, out, work string, log io.Writer) error {
	b := Built{out}
	env := []string{"JUJU_DATA=" + filepath.Join(work, "juju-data"), "TMPDIR=" + work}
	version, err := proc.Run(ctx, proc.Cmd{Args: []string{filepath.Join(b.Bin(), "juju"), "version"}, Env: env, Log: log})
	if err != nil {
		return fmt.Errorf("cannot ask the built juju for its version: %w", err)
	}
	number, err := number(version)
	if err != nil {
		return err
	}
	tools := filepath.Join(b.Metadata(), "tools", "devel")
	if err := os.MkdirAll(tools, 0o755); err != nil {
		return fmt.Errorf("cannot pack Juju's agent: %w", err)
	}
	if err := tgz(filepath.Join(tools, "juju-"+number+"-ubuntu-amd64.tgz"), b.Bin(), "jujuagentd", "jujuc"); err != nil {
		return fmt.Errorf("cannot pack Juju's agent: %w", err)
	}
	if _, err := proc.Run(ctx, proc.Cmd{
		Args: []string{filepath.Join(b.Bin(), "juju"), "metadata", "generate-agent-binaries", "-d", b.Metadata(), "--stream", "devel"},
		Env:  append(env, "PATH="+b.Bin()+":"+os.Getenv("PATH")), Log: log,
	}); err != nil {
		return fmt.Errorf("cannot index Juju's agent: %w", err)
	}
	return nil
}

// number cuts "4.1-beta2" from "4.1-beta2-genericlinux-amd64".
func number(version string) (string, error) {
	parts := strings.Split(strings.TrimSpace(version), "-")
	if len(parts) < 3 {
		return "", fmt.Errorf("cannot read juju's version from %q: expected NUMBER-OS-ARCH", version)
	}
	return strings.Join(parts[:len(parts)-2], "-"), nil
}

func tgz(path, dir string, names ...string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// Every new machine unpacks it: fast is better here than small.
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	for _, name := range names {
		if err := add(t, filepath.Join(dir, name), name); err != nil {
			return err
		}
	}
	return errors.Join(t.Close(), z.Close())
}

func add(t *tar.Writer, path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: info.Size(), ModTime: info.ModTime()}); err != nil {
		return err
	}
	_, err = io.Copy(t, f)
	return err
}

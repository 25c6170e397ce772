package pack

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/version"
)

// build builds the Go program of a part of the charm in dir as a static Linux binary for
// arch, keeps it at out and returns it. The part may add build tags and environment (one
// that links C sets CGO_ENABLED there). The workspace is off: what ships is what the charm's
// own go.mod says; stamp is the version that it has for itself. A binary that is up to date is not linked again.
func build(ctx context.Context, dir string, part Part, arch, stamp, out string) ([]byte, error) {
	env := map[string]string{"CGO_ENABLED": "0", "GOWORK": "off"}
	own, err := part.Environment(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot build the %s of %s: %w", part.program(), dir, err)
	}
	maps.Copy(env, own)
	env["GOOS"], env["GOARCH"] = "linux", arch

	ldflags := "-s -w"
	if stamp != "" {
		ldflags += " -X " + version.Symbol + "=" + stamp
	}
	if env["CGO_ENABLED"] == "1" {
		ldflags += ` -linkmode external -extldflags "-static"`
	}
	// No VCS stamp: it would change every archive with every commit.
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=" + ldflags, "-o", out}
	if len(part.BuildTags) > 0 {
		args = append(args, "-tags="+strings.Join(part.BuildTags, ","))
	}
	folder, err := part.folder(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot build the %s of %s: %w", part.program(), dir, err)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./"+filepath.ToSlash(folder))...)
	cmd.Dir = dir
	cmd.Env = os.Environ()
	for _, k := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, k+"="+env[k])
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("cannot build the %s of %s with go: %w\n%s", part.program(), dir, err, strings.TrimRight(said.String(), "\n"))
	}
	data, err := os.ReadFile(out)
	if err != nil {
		return nil, fmt.Errorf("cannot read the %s of %s: %w", part.program(), dir, err)
	}
	if err := CheckStatic(data); err != nil {
		return nil, fmt.Errorf("cannot use the %s of %s: %w", part.program(), dir, err)
	}
	return data, nil
}

// Environment returns the part's build-environment, expanded.
func (p Part) Environment(ctx context.Context) (map[string]string, error) {
	env := map[string]string{}
	for _, vars := range p.BuildEnvironment {
		for name, value := range vars {
			expanded, err := expand(ctx, value)
			if err != nil {
				return nil, fmt.Errorf("build-environment: %s: %w", name, err)
			}
			env[name] = expanded
		}
	}
	return env, nil
}

// expand returns a value of build-environment as charmcraft has it: a shell expands what is
// behind a $ in it.
func expand(ctx context.Context, value string) (string, error) {
	if !strings.Contains(value, "$") {
		return value, nil
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", `printf %s "`+value+`"`)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("cannot expand %q: %w: %s", value, err, strings.TrimSpace(said.String()))
	}
	return string(out), nil
}

// CheckStatic returns an error unless data is an ELF executable that needs no dynamic
// linker: only such a one runs on every base, whatever its C library.
func CheckStatic(data []byte) error {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("expected an ELF executable: %w", err)
	}
	defer f.Close()
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return fmt.Errorf("expected an ELF executable, got %s: is the package main?", f.Type)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("expected a static executable, but it asks for a dynamic linker: build it with CGO_ENABLED=0")
		}
	}
	return nil
}

// scratch is where the binaries of out's archives are kept between builds.
func scratch(out, arch, name string) string {
	return filepath.Join(out, ".build", arch, name)
}

package pack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
)

// Options say how Pack makes an archive. The zero value is the usual way.
type Options struct {
	// Arch is the architecture that the charm will run on, in Go's spelling; empty means
	// this machine's.
	Arch string
	// Version is what Juju shows as the charm's own version, and what its programs print for
	// --version: one word. Empty leaves it out.
	Version string
}

// stampable is a version that needs no quotes in the linker's flags.
var stampable = regexp.MustCompile(`^[A-Za-z0-9.+~_-]*$`)

// Packed is what Pack made.
type Packed struct {
	Name    string // the charm's
	Path    string // of the archive
	Bytes   int    // its size
	SHA256  string // its hash, in hexadecimal
	Changed bool   // false when the archive was there already, byte for byte
}

// Pack builds the charm in dir and writes its archive to out/<name>.charm; out is made if
// need be. When the archive is there already with the same contents it is left alone. Two
// packs into one folder wait for each other.
func Pack(ctx context.Context, dir, out string, o Options) (Packed, error) {
	if o.Arch == "" {
		o.Arch = runtime.GOARCH
	}
	if !stampable.MatchString(o.Version) {
		return Packed{}, fmt.Errorf("cannot pack %s: version %q: expected letters, digits, dots, +, ~, _ and -", dir, o.Version)
	}
	src, err := ReadSource(dir)
	if err != nil {
		return Packed{}, err
	}
	files, err := Contents(dir, src, o.Arch)
	if err != nil {
		return Packed{}, err
	}
	if o.Version != "" {
		files = append(files, File{"version", 0o644, []byte(o.Version + "\n")})
	}

	if out, err = filepath.Abs(out); err != nil {
		return Packed{}, fmt.Errorf("cannot pack %s: %w", dir, err)
	}
	parts := src.goParts()
	if err := checkPrograms(parts); err != nil {
		return Packed{}, fmt.Errorf("cannot pack %s: %w", dir, err)
	}
	if text, err := notice("/", parts); err != nil {
		return Packed{}, fmt.Errorf("cannot pack %s: %w", dir, err)
	} else if text != nil {
		files = append(files, File{noticeFile, 0o644, text})
	}
	if err := os.MkdirAll(filepath.Dir(scratch(out, o.Arch, src.Name)), 0o755); err != nil {
		return Packed{}, fmt.Errorf("cannot pack %s: %w", dir, err)
	}
	unlock, err := lock(filepath.Join(out, ".build", "lock"))
	if err != nil {
		return Packed{}, fmt.Errorf("cannot pack %s: %w", dir, err)
	}
	defer unlock()

	for _, part := range parts {
		bin := scratch(out, o.Arch, src.Name)
		if part.program() != dispatch {
			bin += "." + part.program()
		}
		program, err := build(ctx, dir, part, o.Arch, o.Version, bin)
		if err != nil {
			return Packed{}, err
		}
		files = append(files, File{part.program(), 0o755, program})
	}
	data, err := Zip(files)
	if err != nil {
		return Packed{}, fmt.Errorf("cannot pack %s: %w", dir, err)
	}
	sum := sha256.Sum256(data)
	p := Packed{
		Name:   src.Name,
		Path:   filepath.Join(out, src.Name+".charm"),
		Bytes:  len(data),
		SHA256: hex.EncodeToString(sum[:]),
	}
	p.Changed, err = writeIfChanged(p.Path, data)
	return p, err
}

// lock holds path's lock until the returned function is called.
func lock(path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// Package place knows where on the machine a box keeps what is its own. It is the only
// component that knows paths; nothing of a box lies outside of them.
package place

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"

	"github.com/dcib/dcib/internal/host/atomicfile"
)

const (
	// DefaultHome is the machine's state folder, unless DCIB_HOME names another.
	DefaultHome = "/var/lib/dcib"
	// DefaultName is the name of the box that `make box` builds.
	DefaultName = "box"
	// Marker is the environment variable that every process of a box carries, with the
	// box folder as its value. It is how they are found again.
	Marker = "DCIB_BOX"
)

// A unix socket's path ends at 107 bytes. LXD's own sockets below the box folder are short
// today ("lxd/devlxd/sock"); 60 leaves space for those of other versions, and for instance
// names of Juju in them.
const maxDir = 60

var goodName = regexp.MustCompile(`^[a-z][a-z0-9]{0,9}$`)

// Place is where one box lives.
type Place struct {
	Home string // the machine's state folder
	Name string // the box's name
	// Snap is where the machine's own LXD and Juju are, where they are snaps: they are used
	// as they are, and the box keeps to a project of its own in that LXD. nil elsewhere.
	Snap *Snap
}

// Up returns the command that makes the box of that name, or starts it: make box, unless it has a name
// of its own.
func Up(name string) string {
	if name == DefaultName {
		return "make box"
	}
	return "make charms && bin/dcib box --name " + name + " up"
}

// Snap is where snaps keep what a box needs of them.
type Snap struct {
	Bin    string // with juju and lxc
	Socket string // LXD's
	Data   string // a folder that the confined juju can use
}

// findSnap returns nil unless both juju and lxd are there as snaps.
func findSnap() *Snap {
	for _, path := range []string{"/snap/bin/juju", "/snap/bin/lxc", "/var/snap/lxd/common/lxd/unix.socket"} {
		if _, err := os.Stat(path); err != nil {
			return nil
		}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil
	}
	return &Snap{Bin: "/snap/bin", Socket: "/var/snap/lxd/common/lxd/unix.socket", Data: filepath.Join(home, "snap", "juju", "common")}
}

// New checks the name (1 to 10 lower case letters and digits, so that the bridge's name
// fits into the kernel's 15) and the length of the path. An empty home means DCIB_HOME,
// or else DefaultHome.
func New(home, name string) (Place, error) {
	if home == "" {
		home = os.Getenv("DCIB_HOME")
	}
	if home == "" {
		home = DefaultHome
	}
	if !filepath.IsAbs(home) {
		return Place{}, fmt.Errorf("cannot use state folder %q: use an absolute path in DCIB_HOME", home)
	}
	if !goodName.MatchString(name) {
		return Place{}, fmt.Errorf("cannot use box name %q: use 1 to 10 lower case letters and digits, a letter first", name)
	}
	p := Place{Home: filepath.Clean(home), Name: name, Snap: findSnap()}
	if len(p.Dir()) > maxDir {
		return Place{}, fmt.Errorf("cannot use box folder %s: unix socket paths are short, and it has more than %d bytes: choose a shorter DCIB_HOME", p.Dir(), maxDir)
	}
	return p, nil
}

// Boxes is the folder of all boxes of the machine.
func (p Place) Boxes() string { return filepath.Join(p.Home, "boxes") }

// Dir is the box folder.
func (p Place) Dir() string { return filepath.Join(p.Boxes(), p.Name) }

// LXD is LXD_DIR, the daemon's folder.
func (p Place) LXD() string { return filepath.Join(p.Dir(), "lxd") }

// Socket is the LXD daemon's.
func (p Place) Socket() string {
	if p.Snap != nil {
		return p.Snap.Socket
	}
	return filepath.Join(p.LXD(), "unix.socket")
}

// Project is the LXD project that the box keeps to: the first one of an LXD of its own,
// one of its own in an LXD that is the machine's.
func (p Place) Project() string {
	if p.Snap != nil {
		return p.Bridge()
	}
	return "default"
}

// Pool is the name of the storage pool.
func (p Place) Pool() string { return p.Project() }

// Juju is JUJU_DATA, the client's folder.
func (p Place) Juju() string {
	if p.Snap != nil {
		return filepath.Join(p.Snap.Data, p.Bridge())
	}
	return filepath.Join(p.Dir(), "juju")
}

// Logs has one log per step, and the daemon's.
func (p Place) Logs() string { return filepath.Join(p.Dir(), "logs") }

// Tmp is the box's temporary folder: Juju's client would leave lock files in /tmp.
func (p Place) Tmp() string { return filepath.Join(p.Dir(), "tmp") }

// Bin has the Juju commands: a link to the folder of the built ones, or the snaps'.
func (p Place) Bin() string {
	if p.Snap != nil {
		return p.Snap.Bin
	}
	return filepath.Join(p.Dir(), "bin")
}

// Times is the JSON file with the times of the last run's steps.
func (p Place) Times() string { return filepath.Join(p.Dir(), "times.json") }

// Pid is the file that keeps the LXD daemon's process id.
func (p Place) Pid() string { return filepath.Join(p.Dir(), "lxd.pid") }

// Record is the JSON file of what was chosen for this box.
func (p Place) Record() string { return filepath.Join(p.Dir(), "record.json") }

// Cache is shared by the boxes of the machine; what is in it can be made again.
func (p Place) Cache() string { return filepath.Join(p.Home, "cache") }

// Machine is the JSON file of what was changed on the machine for all boxes together.
func (p Place) Machine() string { return filepath.Join(p.Home, "machine.json") }

// Bridge is the name of the box's network bridge.
func (p Place) Bridge() string { return "dcib-" + p.Name }

// Env is what must be added to the environment of every process of the box.
func (p Place) Env() []string {
	if p.Snap != nil {
		return []string{
			"JUJU_DATA=" + p.Juju(),
			"PATH=" + p.Snap.Bin + string(os.PathListSeparator) + os.Getenv("PATH"),
			Marker + "=" + p.Dir(),
		}
	}
	return []string{
		"LXD_DIR=" + p.LXD(),
		"JUJU_DATA=" + p.Juju(),
		"TMPDIR=" + p.Tmp(),
		"PATH=" + p.Bin() + string(os.PathListSeparator) + os.Getenv("PATH"),
		Marker + "=" + p.Dir(),
	}
}

// Make makes the folders of the box and of the cache. They can be passed through by
// everyone, as the root users of containers are no one in particular here, but listed by
// root only.
func (p Place) Make() error {
	for _, dir := range []string{p.Home, p.Boxes(), p.Dir(), p.LXD(), p.Logs(), p.Cache()} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("cannot make the state folder: %w", err)
		}
	}
	for _, dir := range []string{p.Juju(), p.Tmp()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("cannot make the state folder: %w", err)
		}
	}
	return nil
}

// Exists reports whether there is a box folder, of whatever content.
func (p Place) Exists() bool {
	_, err := os.Lstat(p.Dir())
	return err == nil
}

// Others returns the names of the other boxes of the machine.
func (p Place) Others() ([]string, error) {
	entries, err := os.ReadDir(p.Boxes())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the boxes: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && e.Name() != p.Name {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// ErrBusy is in the chain of what Lock returns when another process has the lock.
var ErrBusy = errors.New("another dcib is at work on it")

// Lock takes the box for this process until the returned function is called or the
// process ends, in whatever way.
func (p Place) Lock() (unlock func(), err error) { return p.lock("." + p.Name + ".lock") }

// LockMachine takes what the boxes share: subnets, kernel settings, packages, the cache.
func (p Place) LockMachine() (unlock func(), err error) { return p.lock(".machine.lock") }

func (p Place) lock(name string) (func(), error) {
	if err := os.MkdirAll(p.Home, 0o711); err != nil {
		return nil, fmt.Errorf("cannot make the state folder: %w", err)
	}
	path := filepath.Join(p.Home, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the box: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot take box %s: %w (lock: %s): wait for it to end", p.Name, ErrBusy, path)
	}
	return func() { f.Close() }, nil
}

// ReadJSON fills v from a file. A missing file leaves v as it is.
func ReadJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read the state of the box: %w", err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("cannot read the state of the box in %s: %w", path, err)
	}
	return nil
}

// WriteJSON writes v so that a reader sees the old or the new file, and never half of one.
func WriteJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot write the state of the box: %w", err)
	}
	return atomicfile.Write(path, append(data, '\n'), atomicfile.Options{Mode: 0o644})
}

package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
)

// User is the system user, with a group of its name, that the daemon runs as.
const User = "pet-scheduler"

// Account is that user, and what of a unit's state directory is whose: the directory, the
// configuration and LXD's client key are root's and the group may read them; the daemon's own
// two folders are the user's.
type Account interface {
	// Owns reports whether that is so.
	Owns(dir string) (bool, error)
	// Permit makes it so, and the user where there is none. The daemon may be running, but a
	// file that another user's daemon makes meanwhile is missed.
	Permit(ctx context.Context, dir string) error
}

// System is the machine's own users and files.
type System struct{}

// read are the files in a unit's state directory that the daemon reads. The other files there,
// such as a hook's session with LXD, are root's alone.
var read = []string{"daemon.json", "client.key", "client.crt"}

// modes of a unit's state directory, of the files that the daemon reads and of its own folders.
const (
	dirMode  fs.FileMode = 0o750
	fileMode fs.FileMode = 0o640
	ownMode  fs.FileMode = 0o700
)

// ids returns the user's and its group's number; ok is false when there is no such user.
func ids() (uid, gid int, ok bool, err error) {
	u, err := user.Lookup(User)
	var unknown user.UnknownUserError
	if errors.As(err, &unknown) {
		return 0, 0, false, nil
	}
	if err == nil {
		if uid, err = strconv.Atoi(u.Uid); err == nil {
			gid, err = strconv.Atoi(u.Gid)
		}
	}
	if err != nil {
		return 0, 0, false, fmt.Errorf("cannot look for user %s: %w", User, err)
	}
	return uid, gid, true, nil
}

// Owns implements Account.
func (System) Owns(dir string) (bool, error) {
	uid, gid, ok, err := ids()
	if err != nil || !ok {
		return false, err
	}
	return owns(dir, uid, gid)
}

func owns(dir string, uid, gid int) (bool, error) {
	// The parent is every unit's: the user has to come through it.
	if info, err := os.Stat(filepath.Dir(dir)); err != nil || info.Mode().Perm()&1 == 0 {
		return false, absent(err)
	}
	// The hooks' user, which is root.
	is := func(path string, owner int, mode fs.FileMode) (bool, error) {
		info, err := os.Lstat(path)
		if err != nil {
			return false, absent(err)
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		return ok && int(stat.Uid) == owner && int(stat.Gid) == gid && info.Mode().Perm() == mode, nil
	}
	if ok, err := is(dir, os.Geteuid(), dirMode); !ok {
		return false, err
	}
	for _, own := range []string{control.RunDir(dir), control.StoreDir(dir)} {
		if ok, err := is(own, uid, ownMode); !ok {
			return false, err
		}
	}
	for _, name := range read {
		if _, err := os.Lstat(filepath.Join(dir, name)); errors.Is(err, fs.ErrNotExist) {
			continue // the hooks have not written it yet
		}
		if ok, err := is(filepath.Join(dir, name), os.Geteuid(), fileMode); !ok {
			return false, err
		}
	}
	return true, nil
}

// absent drops the error of what is not there.
func absent(err error) error {
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("cannot see whose the unit's state directory is: %w", err)
}

// Permit implements Account.
func (System) Permit(ctx context.Context, dir string) error {
	_, _, ok, err := ids()
	if err != nil {
		return err
	}
	if !ok {
		ctx, cancel := context.WithTimeout(ctx, stopping)
		defer cancel()
		out, err := exec.CommandContext(ctx, "useradd", "--system", "--user-group", "--no-create-home",
			"--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", User).CombinedOutput()
		if err != nil {
			return fmt.Errorf("cannot make the system user %s: %w: %s", User, err, strings.TrimSpace(string(out)))
		}
	}
	uid, gid, ok, err := ids()
	if err == nil && !ok {
		err = fmt.Errorf("cannot make the system user %s: it is not there although useradd has made it", User)
	}
	if err != nil {
		return err
	}
	if err := permit(dir, uid, gid); err != nil {
		return fmt.Errorf("cannot prepare for the daemon what it needs of the unit's state directory: %w", err)
	}
	return nil
}

func permit(dir string, uid, gid int) error {
	parent := filepath.Dir(dir)
	info, err := os.Stat(parent)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&1 == 0 {
		if err := os.Chmod(parent, info.Mode().Perm()|1); err != nil {
			return err
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := errors.Join(root.Chown(".", os.Geteuid(), gid), root.Chmod(".", dirMode)); err != nil {
		return err
	}
	for _, name := range read {
		if _, err := root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := errors.Join(root.Lchown(name, os.Geteuid(), gid), root.Chmod(name, fileMode)); err != nil {
			return err
		}
	}
	// What the daemon of an earlier charm, which ran as root, left here.
	if err := root.Remove("daemon.sock"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, own := range []string{filepath.Base(control.RunDir(dir)), filepath.Base(control.StoreDir(dir))} {
		if err := root.Mkdir(own, ownMode); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		err := fs.WalkDir(root.FS(), own, func(path string, _ fs.DirEntry, err error) error {
			if err == nil {
				err = root.Lchown(path, uid, gid) // never what a link leads to
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil // the daemon has replaced it
			}
			return err
		})
		if err != nil {
			return err
		}
		if err := root.Chmod(own, ownMode); err != nil {
			return err
		}
	}
	return nil
}

// Package atomicfile writes and reads the files whose loss or damage matters: keys,
// configuration, records. After a crash at any moment, a power loss included, a file written
// here has its old content or its new one. Neither writing nor reading follows a symlink at
// the last component of the path, so it is safe in a directory that belongs to another user.
//
// github.com/google/renameio is not used: it does not flush the directory, so a file that was
// reported as written may be missing after a power loss, and it opens the directory by name
// for each operation.
package atomicfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// MaxSize is the largest file, in bytes, that Read returns.
const MaxSize = 16 << 20

// leftoverAge is the age from which a temporary file belongs to a process that was killed.
const leftoverAge = time.Hour

// ErrUnreadable is in the chain of what Read returns for a file that exists, but whose content
// is lost or was never written by this package: an empty file, a symlink, a directory or
// another non-regular file, a file larger than MaxSize, a file with damaged blocks. A caller
// that can make the content again treats it like fs.ErrNotExist. An error that says nothing
// about the content, such as too many open files, does not have it.
var ErrUnreadable = errors.New("the file is unreadable")

// Owner is the user and the group that a file belongs to.
type Owner struct{ UID, GID int }

// Options are what a written file has besides its content. The zero value is a file of the
// calling process that only its owner can read.
type Options struct {
	// Mode is the file's permission bits, whatever the umask. Zero means 0600.
	Mode fs.FileMode
	// Owner is the file's owner; nil means the process's own user and group.
	Owner *Owner
	// Keep has a regular file that is replaced pass on its owner and permission bits. Mode
	// and Owner then count only where no regular file is replaced.
	Keep bool
}

// Write makes content the content of the file at path. See Create for how.
func Write(path string, content []byte, opts Options) error {
	f, err := Create(path, opts)
	if err != nil {
		return err
	}
	defer f.Discard()
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Commit()
}

// WriteIn is Write below root, for a tree that belongs to another user: neither name nor a
// directory in it leads out of root.
func WriteIn(root *os.Root, name string, content []byte, opts Options) error {
	f, err := CreateIn(root, name, opts)
	if err != nil {
		return err
	}
	defer f.Discard()
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Commit()
}

// File is a file that is being written. Nothing is seen of it at its path before Commit.
type File struct {
	path    string
	name    string // path's last component
	temp    string // the temporary file's name
	dir     *os.Root
	file    *os.File
	options Options
	done    bool
}

// Create begins to write the file at path. The content goes to a temporary file in the same
// directory; Commit renames it to the path. The caller must call Commit or Discard; to defer
// Discard and call Commit last is the usual way. The directory must exist.
func Create(path string, opts Options) (*File, error) {
	// All names are resolved in this descriptor: a directory that is replaced meanwhile
	// does not lead elsewhere.
	dir, err := os.OpenRoot(filepath.Dir(path))
	return create(dir, err, path, filepath.Base(path), opts)
}

// CreateIn is Create below root; see WriteIn.
func CreateIn(root *os.Root, name string, opts Options) (*File, error) {
	dir, err := root.OpenRoot(filepath.Dir(name))
	return create(dir, err, filepath.Join(root.Name(), name), filepath.Base(name), opts)
}

func create(dir *os.Root, err error, path, name string, opts Options) (*File, error) {
	fail := func(err error) (*File, error) { return nil, fmt.Errorf("cannot write %s: %w", path, err) }
	if err != nil {
		return fail(err)
	}
	if name == "." || name == ".." || name == string(filepath.Separator) {
		return fail(errors.Join(errors.New("it is not the path of a file"), dir.Close()))
	}
	removeLeftovers(dir, name)
	// O_EXCL neither opens an existing file nor follows a symlink. No one else can read the
	// file before Commit sets its mode.
	temp := prefix(name) + rand.Text()
	file, err := dir.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fail(errors.Join(err, dir.Close()))
	}
	return &File{path: path, name: name, temp: temp, dir: dir, file: file, options: opts}, nil
}

// Write appends to the content.
func (f *File) Write(p []byte) (int, error) {
	n, err := f.file.Write(p)
	if err != nil {
		err = fmt.Errorf("cannot write %s: %w", f.path, err)
	}
	return n, err
}

// Commit sets owner and mode on the descriptor, flushes the file, renames it to its path, and
// flushes the directory. A symlink at the path is replaced. On an error nothing has changed
// at the path, except when only the flush of the directory failed.
func (f *File) Commit() error {
	if f.done {
		return fmt.Errorf("cannot write %s: %w", f.path, os.ErrClosed)
	}
	defer f.Discard()
	owner, mode := f.options.Owner, f.options.Mode
	if mode == 0 {
		mode = 0o600
	}
	if f.options.Keep {
		if info, err := f.dir.Lstat(f.name); err == nil && info.Mode().IsRegular() {
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				owner = &Owner{UID: int(stat.Uid), GID: int(stat.Gid)}
			}
			mode = info.Mode()
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot write %s: %w", f.path, err)
		}
	}
	var err error
	if owner != nil {
		err = f.file.Chown(owner.UID, owner.GID)
	}
	err = errors.Join(err, f.file.Chmod(mode.Perm()), f.file.Sync())
	if err == nil {
		err = f.dir.Rename(f.temp, f.name)
	}
	if err == nil {
		f.done = true
		err = syncDir(f.dir)
		err = errors.Join(err, f.file.Close(), f.dir.Close())
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", f.path, err)
	}
	return nil
}

// Discard removes the temporary file. It does nothing after a Commit that succeeded.
func (f *File) Discard() {
	if f.done {
		return
	}
	f.done = true
	_ = f.file.Close()
	_ = f.dir.Remove(f.temp)
	_ = f.dir.Close()
}

// Read returns the content of the regular file at path. The error has fs.ErrNotExist in its
// chain if there is no file, and ErrUnreadable if there is one whose content is lost.
func Read(path string) ([]byte, error) {
	content, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return content, nil
}

// ReadIn is Read below root; see WriteIn.
func ReadIn(root *os.Root, name string) ([]byte, error) {
	content, err := readIn(root, name)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", filepath.Join(root.Name(), name), err)
	}
	return content, nil
}

func readIn(root *os.Root, name string) ([]byte, error) {
	before, err := root.Lstat(name)
	if err != nil {
		return nil, damaged(err)
	}
	if !before.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: it is not a regular file", ErrUnreadable)
	}
	// A Root follows symlinks that stay in it, so what is opened may have been replaced.
	file, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, damaged(err)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil {
		return nil, damaged(err)
	} else if !os.SameFile(before, info) {
		return nil, fmt.Errorf("%w: it was replaced meanwhile", ErrUnreadable)
	}
	return readFile(file)
}

func read(path string) ([]byte, error) {
	// O_NONBLOCK: to open a named pipe must not wait for its writer.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("%w: it is a symlink", ErrUnreadable)
	case errors.Is(err, unix.ENXIO): // a socket
		return nil, fmt.Errorf("%w: it is not a regular file", ErrUnreadable)
	case err != nil:
		return nil, damaged(err)
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	return readFile(file)
}

func readFile(file *os.File) ([]byte, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, damaged(err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: it is not a regular file", ErrUnreadable)
	}
	content, err := io.ReadAll(io.LimitReader(file, MaxSize+1))
	switch {
	case err != nil:
		return nil, damaged(err)
	case len(content) > MaxSize:
		return nil, fmt.Errorf("%w: it is larger than %d bytes", ErrUnreadable, MaxSize)
	case len(content) == 0:
		return nil, fmt.Errorf("%w: it is empty", ErrUnreadable)
	}
	return content, nil
}

// damaged adds ErrUnreadable to an error of the disk or the file system.
func damaged(err error) error {
	for _, code := range []error{unix.EIO, unix.EUCLEAN, unix.EBADMSG} {
		if errors.Is(err, code) {
			return fmt.Errorf("%w: %w", ErrUnreadable, err)
		}
	}
	return err
}

// Unusable reports whether err is of Read and states that there is no content: the file does
// not exist, or it is unreadable. The caller then makes the content again.
func Unusable(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrUnreadable)
}

// Remove removes the file at path, and the temporary files of killed processes beside it, and
// flushes the directory. A file that does not exist is no error.
func Remove(path string) error {
	fail := func(err error) error { return fmt.Errorf("cannot remove %s: %w", path, err) }
	dir, err := os.OpenRoot(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fail(err)
	}
	defer dir.Close()
	removeLeftovers(dir, filepath.Base(path))
	if err := dir.Remove(filepath.Base(path)); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fail(err)
	}
	if err := syncDir(dir); err != nil {
		return fail(err)
	}
	return nil
}

func syncDir(dir *os.Root) error {
	d, err := dir.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// infix is in the names of temporary files, after the name of the file that is written.
const infix = ".dcib-new-"

// prefix begins the names of the temporary files of the file of that name.
func prefix(name string) string { return "." + name + infix }

// RemoveLeftovers removes the temporary files of all processes that were killed while they
// wrote a file in that directory, an hour after. Create does it for the one name that it
// writes; a caller whose names differ each time uses this.
func RemoveLeftovers(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("cannot remove unfinished files in %s: %w", dir, err)
	}
	defer root.Close()
	removeMatching(root, func(name string) bool {
		return strings.HasPrefix(name, ".") && strings.Contains(name, infix)
	})
	return nil
}

// removeLeftovers removes temporary files that killed processes left of one file.
func removeLeftovers(dir *os.Root, name string) {
	removeMatching(dir, func(n string) bool { return strings.HasPrefix(n, prefix(name)) })
}

// removeMatching removes temporary files that are old enough. It is no more than tidying, so
// an error is not reported.
func removeMatching(dir *os.Root, match func(name string) bool) {
	d, err := dir.Open(".")
	if err != nil {
		return
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return
	}
	for _, n := range names {
		if !match(n) {
			continue
		}
		if info, err := dir.Lstat(n); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > leftoverAge {
			_ = dir.Remove(n)
		}
	}
}

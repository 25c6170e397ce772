package atomicfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/dcib/dcib/internal/host/atomicfile"
)

// The test's own binary is also the process that is killed, or that has no space, while it
// writes the file that the variable names.
const (
	loopVariable = "ATOMICFILE_TEST_LOOP"
	fullVariable = "ATOMICFILE_TEST_FULL"
)

var old, fresh = bytes.Repeat([]byte("old\n"), 1<<17), bytes.Repeat([]byte("new\n"), 1<<17)

func TestMain(m *testing.M) {
	if path := os.Getenv(loopVariable); path != "" {
		for {
			for _, content := range [][]byte{fresh, old} {
				if err := atomicfile.Write(path, content, atomicfile.Options{}); err != nil {
					panic(err)
				}
			}
		}
	}
	if path := os.Getenv(fullVariable); path != "" {
		signal.Ignore(syscall.SIGXFSZ)
		limit := unix.Rlimit{Cur: 1 << 12, Max: 1 << 12}
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
			panic(err)
		}
		err := atomicfile.Write(path, fresh, atomicfile.Options{})
		fmt.Println(err)
		if errors.Is(err, unix.EFBIG) {
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func self(t *testing.T, variable, path string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), variable+"="+path)
	return cmd
}

func TestKilledWriterLeavesOldOrNewContent(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	require.NoError(t, atomicfile.Write(path, old, atomicfile.Options{}))
	for range 20 {
		cmd := self(t, loopVariable, path)
		require.NoError(t, cmd.Start())
		time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond) // a random moment, not a wait
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		content, err := atomicfile.Read(path)
		require.NoError(t, err)
		require.True(t, bytes.Equal(content, old) || bytes.Equal(content, fresh), "%d bytes", len(content))
	}
	// What the killed ones left is removed once it is an hour old, and not before.
	left := filepath.Join(dir, ".key.dcib-new-KILLED")
	young := filepath.Join(dir, ".key.dcib-new-YOUNG")
	other := filepath.Join(dir, ".keys.dcib-new-KILLED")
	past := time.Now().Add(-2 * time.Hour)
	for _, file := range []string{left, young, other} {
		require.NoError(t, os.WriteFile(file, []byte("secret"), 0o600))
	}
	require.NoError(t, errors.Join(os.Chtimes(left, past, past), os.Chtimes(other, past, past)))
	require.NoError(t, atomicfile.Write(path, old, atomicfile.Options{}))
	require.NoFileExists(t, left)
	require.FileExists(t, young)
	require.FileExists(t, other)
	require.NoError(t, atomicfile.RemoveLeftovers(dir))
	require.NoFileExists(t, other)
	require.FileExists(t, young)
	require.FileExists(t, path)
	require.Error(t, atomicfile.RemoveLeftovers(path))
}

func TestFullDiskChangesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	require.NoError(t, atomicfile.Write(path, old, atomicfile.Options{}))
	out, err := self(t, fullVariable, path).CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, "%s", out)
	require.Equal(t, 3, exit.ExitCode(), "%s", out)
	content, err := atomicfile.Read(path)
	require.NoError(t, err)
	require.Equal(t, old, content)
	require.Equal(t, []string{"key"}, names(t, dir), "the temporary file is removed")
}

func TestErrorsLeaveNoTemporaryFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	require.NoError(t, os.MkdirAll(filepath.Join(path, "below"), 0o755))
	err := atomicfile.Write(path, fresh, atomicfile.Options{})
	require.ErrorContains(t, err, "cannot write "+path)
	require.Equal(t, []string{"key"}, names(t, dir))

	require.ErrorIs(t, atomicfile.Write(filepath.Join(dir, "none", "key"), fresh, atomicfile.Options{}), fs.ErrNotExist)
	require.Error(t, atomicfile.Write(dir+"/..", fresh, atomicfile.Options{}))

	f, err := atomicfile.Create(filepath.Join(dir, "given-up"), atomicfile.Options{})
	require.NoError(t, err)
	_, err = f.Write(fresh)
	require.NoError(t, err)
	f.Discard()
	require.ErrorIs(t, f.Commit(), os.ErrClosed)
	require.Equal(t, []string{"key"}, names(t, dir))
}

func TestSymlinkAtTheDestinationIsReplaced(t *testing.T) {
	dir := t.TempDir()
	victim, path := filepath.Join(dir, "victim"), filepath.Join(dir, "key")
	require.NoError(t, os.WriteFile(victim, []byte("root's own"), 0o640))
	for _, target := range []string{victim, filepath.Join(dir, "missing")} {
		require.NoError(t, os.RemoveAll(path))
		require.NoError(t, os.Symlink(target, path))
		_, err := atomicfile.Read(path)
		require.ErrorIs(t, err, atomicfile.ErrUnreadable)

		require.NoError(t, atomicfile.Write(path, []byte("new"), atomicfile.Options{Mode: 0o644, Keep: true}))
		info, err := os.Lstat(path)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o644), info.Mode(), "a regular file, and not with the mode of the target")
	}
	content, err := os.ReadFile(victim)
	require.NoError(t, err)
	require.Equal(t, "root's own", string(content))
	info, err := os.Stat(victim)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o640), info.Mode())
	require.NoFileExists(t, filepath.Join(dir, "missing"))
}

// A directory that is replaced by a symlink while the file is written does not lead elsewhere.
func TestReplacedDirectoryIsNotFollowed(t *testing.T) {
	top := t.TempDir()
	dir, elsewhere := filepath.Join(top, "dir"), filepath.Join(top, "elsewhere")
	require.NoError(t, errors.Join(os.Mkdir(dir, 0o755), os.Mkdir(elsewhere, 0o755)))
	f, err := atomicfile.Create(filepath.Join(dir, "key"), atomicfile.Options{})
	require.NoError(t, err)
	require.NoError(t, errors.Join(os.Rename(dir, dir+".moved"), os.Symlink(elsewhere, dir)))
	require.NoError(t, f.Commit())
	require.Empty(t, names(t, elsewhere))
	require.Equal(t, []string{"key"}, names(t, dir+".moved"))
}

func TestModeAndOwner(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 12345, 23456 // only root can change the owner of a file
	}
	for _, c := range []struct {
		name         string
		existing     fs.FileMode // 0: none
		options      atomicfile.Options
		want         fs.FileMode
		wantOtherUID bool
	}{
		{name: "zero value", options: atomicfile.Options{}, want: 0o600},
		{name: "whatever the umask", options: atomicfile.Options{Mode: 0o666}, want: 0o666},
		{name: "an owner", options: atomicfile.Options{Mode: 0o640, Owner: &atomicfile.Owner{UID: uid, GID: gid}}, want: 0o640, wantOtherUID: true},
		{name: "not kept", existing: 0o644, options: atomicfile.Options{Mode: 0o600}, want: 0o600},
		{name: "kept", existing: 0o640, options: atomicfile.Options{Mode: 0o600, Keep: true}, want: 0o640, wantOtherUID: true},
		{name: "none to keep", options: atomicfile.Options{Mode: 0o604, Keep: true}, want: 0o604},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			if c.existing != 0 {
				require.NoError(t, os.WriteFile(path, nil, 0o600))
				require.NoError(t, errors.Join(os.Chown(path, uid, gid), os.Chmod(path, c.existing)))
			}
			require.NoError(t, atomicfile.Write(path, []byte("x"), c.options))
			info, err := os.Lstat(path)
			require.NoError(t, err)
			require.Equal(t, c.want, info.Mode())
			stat := info.Sys().(*syscall.Stat_t)
			if c.wantOtherUID {
				require.Equal(t, [2]int{uid, gid}, [2]int{int(stat.Uid), int(stat.Gid)})
			} else {
				require.Equal(t, [2]int{os.Getuid(), os.Getgid()}, [2]int{int(stat.Uid), int(stat.Gid)})
			}
		})
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.WriteFile(at("good"), []byte("content"), 0o600))
	require.NoError(t, os.WriteFile(at("empty"), nil, 0o600))
	require.NoError(t, os.WriteFile(at("large"), nil, 0o600))
	require.NoError(t, os.Truncate(at("large"), atomicfile.MaxSize+1))
	require.NoError(t, os.WriteFile(at("largest"), nil, 0o600))
	require.NoError(t, os.Truncate(at("largest"), atomicfile.MaxSize))
	require.NoError(t, os.Mkdir(at("folder"), 0o755))
	require.NoError(t, os.Symlink(at("good"), at("link")))
	require.NoError(t, syscall.Mkfifo(at("pipe"), 0o600))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: at("sock")}))

	content, err := atomicfile.Read(at("good"))
	require.NoError(t, err)
	require.Equal(t, "content", string(content))
	content, err = atomicfile.Read(at("largest"))
	require.NoError(t, err)
	require.Len(t, content, atomicfile.MaxSize)
	for _, name := range []string{"missing", "none/missing"} {
		_, err = atomicfile.Read(at(name))
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.NotErrorIs(t, err, atomicfile.ErrUnreadable)
		require.True(t, atomicfile.Unusable(err))
	}
	for _, name := range []string{"empty", "large", "folder", "link", "pipe", "sock"} {
		_, err = atomicfile.Read(at(name))
		require.ErrorIs(t, err, atomicfile.ErrUnreadable, name)
		require.NotErrorIs(t, err, fs.ErrNotExist)
		require.ErrorContains(t, err, "cannot read "+at(name))
		require.True(t, atomicfile.Unusable(err))
	}
	_, err = atomicfile.Read(at("good") + "/below")
	require.ErrorIs(t, err, unix.ENOTDIR)
	require.False(t, atomicfile.Unusable(err))
	_, err = atomicfile.Read(at(strings.Repeat("x", 300)))
	require.Error(t, err)
	require.False(t, atomicfile.Unusable(err))
	require.False(t, atomicfile.Unusable(nil))
}

func TestNothingLeadsOutOfARoot(t *testing.T) {
	top := t.TempDir()
	require.NoError(t, errors.Join(os.MkdirAll(filepath.Join(top, "tree", "16"), 0o755), os.Mkdir(filepath.Join(top, "etc"), 0o755)))
	victim := filepath.Join(top, "etc", "conf")
	require.NoError(t, os.WriteFile(victim, []byte("root's own"), 0o600))
	require.NoError(t, os.Symlink("../../etc", filepath.Join(top, "tree", "16", "main")))
	root, err := os.OpenRoot(filepath.Join(top, "tree"))
	require.NoError(t, err)
	defer root.Close()

	_, err = atomicfile.ReadIn(root, "16/main/conf")
	require.Error(t, err)
	require.False(t, atomicfile.Unusable(err), "that is no file that is lost")
	require.Error(t, atomicfile.WriteIn(root, "16/main/conf", fresh, atomicfile.Options{}))
	require.Error(t, atomicfile.WriteIn(root, "../etc/conf", fresh, atomicfile.Options{}))
	require.Error(t, atomicfile.WriteIn(root, ".", fresh, atomicfile.Options{}))
	require.Equal(t, []string{"conf"}, names(t, filepath.Dir(victim)))
	content, err := os.ReadFile(victim)
	require.NoError(t, err)
	require.Equal(t, "root's own", string(content))

	require.NoError(t, os.Symlink(victim, filepath.Join(top, "tree", "16", "link")))
	_, err = atomicfile.ReadIn(root, "16/link")
	require.ErrorIs(t, err, atomicfile.ErrUnreadable)
	_, err = atomicfile.ReadIn(root, "16/missing")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, atomicfile.WriteIn(root, "16/link", fresh, atomicfile.Options{Mode: 0o640}))
	content, err = atomicfile.ReadIn(root, "16/link")
	require.NoError(t, err)
	require.Equal(t, fresh, content)
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	require.NoError(t, atomicfile.Remove(filepath.Join(dir, "none", "key")))
	require.NoError(t, atomicfile.Remove(path))
	require.NoError(t, atomicfile.Write(path, old, atomicfile.Options{}))
	left, past := filepath.Join(dir, ".key.dcib-new-KILLED"), time.Now().Add(-2*time.Hour)
	require.NoError(t, os.WriteFile(left, []byte("secret"), 0o600))
	require.NoError(t, os.Chtimes(left, past, past))
	require.NoError(t, atomicfile.Remove(path))
	require.Empty(t, names(t, dir))
	require.NoError(t, os.MkdirAll(filepath.Join(path, "below"), 0o755))
	require.Error(t, atomicfile.Remove(path))
}

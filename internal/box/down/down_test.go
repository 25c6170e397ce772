package down

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/box/place"
	"github.com/dcib/dcib/internal/steps"
)

func TestMountsBelow(t *testing.T) {
	mountinfo := `21 1 8:1 / / rw - ext4 /dev/sda rw
30 21 7:0 / /home/b/lxd/storage-pools/d rw - btrfs /dev/loop0 rw
31 30 7:0 / /home/b/lxd/storage-pools/d/with\040blank rw - btrfs /dev/loop0 rw
32 21 0:40 / /home/b2/lxd/devlxd rw - tmpfs tmpfs rw
33 21 0:41 / /home/b rw - tmpfs tmpfs rw
`
	require.Equal(t, []string{
		"/home/b",
		"/home/b/lxd/storage-pools/d/with blank",
		"/home/b/lxd/storage-pools/d",
	}, mountsBelow(mountinfo, "/home/b"), "the last mounted first, and none of another box")
}

func TestLoops(t *testing.T) {
	sys := t.TempDir()
	add := func(name, number, file string) {
		require.NoError(t, os.MkdirAll(filepath.Join(sys, name, "loop"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(sys, name, "dev"), []byte(number+"\n"), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(sys, name, "loop", "backing_file"), []byte(file+"\n"), 0o600))
	}
	add("loop0", "7:0", "/home/b/lxd/disks/default.img")
	add("loop1", "7:1", "/home/b/lxd/disks/juju.img (deleted)")
	add("loop2", "7:2", "/home/b2/lxd/disks/default.img")
	require.NoError(t, os.MkdirAll(filepath.Join(sys, "loop3"), 0o700)) // free
	found, err := loops(sys, "/home/b")
	require.NoError(t, err)
	require.Len(t, found, 2)
	require.Equal(t, "7:0", found[0].number)
	require.Equal(t, "loop1", found[1].name)
}

const ruleset = `{"nftables": [{"metainfo": {"version": "1.0.6"}},
 {"table": {"family": "inet", "name": "lxd", "handle": 1}},
 {"chain": {"family": "inet", "table": "lxd", "name": "fwd.dcib-box", "handle": 1}},
 {"chain": {"family": "inet", "table": "lxd", "name": "fwd.dcib-t1", "handle": 2}},
 {"chain": {"family": "inet", "table": "lxd", "name": "fwd.lxdbr0", "handle": 3}},
 {"rule": {"family": "inet", "table": "lxd", "chain": "fwd.dcib-box", "handle": 9, "expr": []}},
 {"table": {"family": "bridge", "name": "lxd", "handle": 2}},
 {"table": {"family": "ip", "name": "mine", "handle": 3}},
 {"chain": {"family": "ip", "table": "mine", "name": "fwd.dcib-box", "handle": 1}}]}`

func TestChains(t *testing.T) {
	ours, err := ourChains([]byte(ruleset), "dcib-box")
	require.NoError(t, err)
	require.Equal(t, []chain{{"inet", "lxd", "fwd.dcib-box"}}, ours, "neither another box's nor another table's")

	empty, err := emptyTables([]byte(ruleset))
	require.NoError(t, err)
	require.Equal(t, []chain{{"bridge", "lxd", ""}}, empty)

	_, err = ourChains([]byte("no json"), "x")
	require.Error(t, err)
	ours, err = ourChains([]byte(`{"nftables": []}`), "dcib-box")
	require.NoError(t, err)
	require.Empty(t, ours)
}

func TestFindCgroups(t *testing.T) {
	root := t.TempDir()
	make := func(path, procs string) {
		require.NoError(t, os.MkdirAll(filepath.Join(root, path), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(root, path, "cgroup.procs"), []byte(procs), 0o600))
	}
	make("memory/lxc.payload.juju-1-0", "")
	make("memory/lxc.payload.juju-1-0/system.slice", "")
	make("memory/lxc.monitor.juju-1-0", "")
	make("memory/lxc.payload.juju-1-1", "")
	make("memory/lxc.payload.juju-1-1/system.slice", "77\n") // something still runs there
	make("memory/lxc.payload.other", "")
	make("lxc.payload.juju-1-0", "") // cgroup v2
	found, err := findCgroups(root, map[string]bool{"juju-1-0": true, "juju-1-1": true})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{
		filepath.Join(root, "memory/lxc.payload.juju-1-0"),
		filepath.Join(root, "memory/lxc.monitor.juju-1-0"),
		filepath.Join(root, "lxc.payload.juju-1-0"),
	}, found)
}

func TestVerifyNamesWhatIsLeft(t *testing.T) {
	p := place.Place{Home: t.TempDir(), Name: "gone"}
	r := Remover{Place: p, Forget: func() error { return nil }}
	var out strings.Builder
	require.NoError(t, r.Verify(t.Context(), &out))
	require.Contains(t, out.String(), "no mounts")

	require.NoError(t, p.Make())
	require.ErrorContains(t, r.Verify(t.Context(), &out), "files left: "+p.Dir())
}

func TestStepsLookAgain(t *testing.T) {
	p := place.Place{Home: t.TempDir(), Name: "gone"}
	require.NoError(t, p.Make())
	runner := steps.Runner{Out: &strings.Builder{}, LogDir: t.TempDir()}
	var folder []steps.Step
	for _, s := range (Remover{Place: p}).Steps() {
		if s.Name == "folder" {
			folder = append(folder, s)
		}
	}
	times, err := runner.Run(t.Context(), folder)
	require.NoError(t, err)
	require.Equal(t, steps.Done, times[0].State)
	require.NoDirExists(t, p.Dir())

	// A removal that removes nothing is found out.
	folder[0].Do = func(context.Context, *steps.Log) error { return nil }
	require.NoError(t, p.Make())
	_, err = runner.Run(t.Context(), folder)
	require.ErrorContains(t, err, "1 files: "+p.Dir())
	require.False(t, errors.Is(err, context.Canceled))
}

// A process in another mount namespace keeps a box's loop devices busy; it is named.
func TestUsersOfAFolder(t *testing.T) {
	proc := t.TempDir()
	add := func(pid, namespace, comm, mountinfo string) {
		dir := filepath.Join(proc, pid)
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "ns"), 0o755))
		require.NoError(t, os.Symlink(namespace, filepath.Join(dir, "ns", "mnt")))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "comm"), []byte(comm+"\n"), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "mountinfo"), []byte(mountinfo), 0o644))
	}
	const below = "21 1 7:0 / /home/b/pool rw - btrfs /dev/loop0 rw\n"
	add("self", "mnt:[1]", "dcib", "")
	add("7", "mnt:[1]", "sh", below)
	add("8", "mnt:[2]", "unshare", below)
	add("9", "mnt:[2]", "postgres", below)
	add("10", "mnt:[3]", "sleep", "21 1 8:1 / / rw - ext4 /dev/sda rw\n")
	require.Equal(t, []string{"8 (unshare)"}, usersOf(proc, "/home/b"))
	require.Empty(t, usersOf(proc, "/home/other"))
}

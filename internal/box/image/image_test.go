package image

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

func TestKeyDependsOnWhatTheImageIsMadeOf(t *testing.T) {
	noble := Image{Base: Noble}
	require.Equal(t, noble.Key(), Image{Base: Noble}.Key())
	require.NotEqual(t, noble.Key(), Image{Base: Base{"22.04", "jammy", "Jammy Jellyfish"}}.Key())
	built := Image{Base: Noble, LXD: "/cache/lxd-1"}
	require.NotEqual(t, noble.Key(), built.Key())
	require.NotEqual(t, built.Key(), Image{Base: Noble, LXD: "/cache/lxd-2"}.Key())
	require.Equal(t, built.Key(), Image{Base: Noble, LXD: "/elsewhere/lxd-1"}.Key())
	require.Equal(t, "juju/ubuntu@24.04/amd64", Noble.Alias())
}

func TestIn(t *testing.T) {
	cache, noble := t.TempDir(), Image{Base: Noble}
	_, there := noble.In(cache)
	require.False(t, there)
	require.NoError(t, os.Mkdir(filepath.Join(cache, noble.Key()), 0o700))
	files, there := noble.In(cache)
	require.True(t, there)
	require.Equal(t, filepath.Join(cache, noble.Key(), "rootfs.squashfs"), files.Rootfs)
}

func TestReplaceLXD(t *testing.T) {
	root, built := t.TempDir(), t.TempDir()
	bin := filepath.Join(root, "usr/bin")
	require.NoError(t, os.MkdirAll(bin, 0o755))
	write := func(dir, text string) {
		for _, name := range []string{"lxd", "lxc"} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text+name), 0o700))
		}
	}
	write(built, "new ")
	i := Image{Base: Noble, LXD: built}
	require.ErrorContains(t, i.replaceLXD(root), "cannot find Debian's lxd", "a package that moved its command is noticed")

	write(bin, "old ")
	require.NoError(t, Image{Base: Noble}.replaceLXD(root))
	got, err := os.ReadFile(filepath.Join(bin, "lxd"))
	require.NoError(t, err)
	require.Equal(t, "old lxd", string(got))

	require.NoError(t, i.replaceLXD(root))
	for _, name := range []string{"lxd", "lxc"} {
		got, err := os.ReadFile(filepath.Join(bin, name))
		require.NoError(t, err)
		require.Equal(t, "new "+name, string(got))
		info, err := os.Stat(filepath.Join(bin, name))
		require.NoError(t, err)
		require.EqualValues(t, 0o755, info.Mode().Perm())
	}
}

func TestDress(t *testing.T) {
	root, outside := t.TempDir(), filepath.Join(t.TempDir(), "outside")
	require.NoError(t, os.WriteFile(outside, []byte("mine"), 0o600))
	for _, dir := range []string{"etc/ssh", "usr/lib", "usr/share/doc/x", "var/lib/apt/lists/y"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(root, "etc/ssh/ssh_host_rsa_key"), nil, 0o600))
	// A link in the image that leads to a file of the machine.
	require.NoError(t, os.Symlink(outside, filepath.Join(root, "etc/subuid")))

	require.NoError(t, dress(root, Noble))
	release, err := os.ReadFile(filepath.Join(root, "usr/lib/os-release"))
	require.NoError(t, err)
	require.Contains(t, string(release), "ID=ubuntu\n")
	require.Contains(t, string(release), `VERSION_ID="24.04"`)
	info, err := os.Stat(filepath.Join(root, "usr/local/lib/dcib/cgroups"))
	require.NoError(t, err)
	require.EqualValues(t, 0o755, info.Mode().Perm())
	machineID, err := os.ReadFile(filepath.Join(root, "etc/machine-id"))
	require.NoError(t, err)
	require.Empty(t, machineID, "each instance makes its own")
	require.NoFileExists(t, filepath.Join(root, "etc/ssh/ssh_host_rsa_key"))
	require.NoDirExists(t, filepath.Join(root, "usr/share/doc/x"))
	require.NoDirExists(t, filepath.Join(root, "var/lib/apt/lists/y"))
	kept, err := os.ReadFile(outside)
	require.NoError(t, err)
	require.Equal(t, "mine", string(kept), "a link is not followed out of the image")
}

func TestMetadata(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metadata.tar")
	require.NoError(t, writeMetadata(path, Noble))
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	r := tar.NewReader(f)
	h, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, "metadata.yaml", h.Name)
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	var m struct {
		Architecture string
		Properties   map[string]string
		Templates    map[string]struct{ Template string }
	}
	require.NoError(t, yaml.Unmarshal(data, &m))
	require.Equal(t, "x86_64", m.Architecture)
	require.Equal(t, "24.04", m.Properties["version"])
	h, err = r.Next()
	require.NoError(t, err)
	require.Equal(t, "templates/"+m.Templates["/etc/hostname"].Template, h.Name)
	require.True(t, strings.Contains(metadata(Noble, time.Unix(7, 0)), "creation_date: 7\n"))
}

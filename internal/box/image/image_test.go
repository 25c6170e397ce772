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

func TestKeyDependsOnTheBase(t *testing.T) {
	require.Equal(t, Key(Noble), Key(Noble))
	require.NotEqual(t, Key(Noble), Key(Base{"22.04", "jammy", "Jammy Jellyfish"}))
	require.Equal(t, "juju/ubuntu@24.04/amd64", Noble.Alias())
}

func TestIn(t *testing.T) {
	cache := t.TempDir()
	_, there := In(cache, Noble)
	require.False(t, there)
	require.NoError(t, os.Mkdir(filepath.Join(cache, Key(Noble)), 0o700))
	files, there := In(cache, Noble)
	require.True(t, there)
	require.Equal(t, filepath.Join(cache, Key(Noble), "rootfs.squashfs"), files.Rootfs)
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

package controller

import (
	"archive/zip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/internal/box/lxdhost"
	"github.com/dcib/dcib/internal/box/place"
)

func TestWriteCharm(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.charm")
	require.NoError(t, writeCharm(path))
	z, err := zip.OpenReader(path)
	require.NoError(t, err)
	defer z.Close()
	mode := map[string]os.FileMode{}
	for _, f := range z.File {
		mode[f.Name] = f.Mode()
	}
	require.Len(t, mode, 4)
	require.NotZero(t, mode["dispatch"]&0o100, "juju executes it")
	for _, name := range []string{"metadata.yaml", "config.yaml", "manifest.yaml"} {
		require.Contains(t, mode, name)
	}
}

func TestWriteCloudKeepsOthers(t *testing.T) {
	p := place.Place{Home: t.TempDir(), Name: "t"}
	require.NoError(t, p.Make())
	require.NoError(t, WriteCloud(p, "one", lxdhost.Credential{Endpoint: "https://1:8443", Key: "k1"}))
	require.NoError(t, WriteCloud(p, "two", lxdhost.Credential{Endpoint: "https://2:8443"}))
	require.NoError(t, WriteCloud(p, "two", lxdhost.Credential{Endpoint: "https://3:8443", Key: "k3"}))

	var clouds struct {
		Clouds map[string]struct{ Endpoint string }
	}
	read(t, filepath.Join(p.Juju(), "clouds.yaml"), &clouds)
	require.Equal(t, "https://1:8443", clouds.Clouds["one"].Endpoint)
	require.Equal(t, "https://3:8443", clouds.Clouds["two"].Endpoint)

	path := filepath.Join(p.Juju(), "credentials.yaml")
	var credentials struct {
		Credentials map[string]map[string]map[string]string
	}
	read(t, path, &credentials)
	require.Equal(t, "k1", credentials.Credentials["one"]["one"]["client-key"])
	require.Equal(t, "k3", credentials.Credentials["two"]["two"]["client-key"])
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())
}

func read(t *testing.T, path string, v any) {
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(data, v))
}

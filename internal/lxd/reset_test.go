package lxd

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// lxdDir makes a folder as LXD has one; a path that ends in a slash is a folder.
func lxdDir(t *testing.T, paths ...string) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("LXD_DIR", dir)
	for _, path := range append(paths, "unix.socket") {
		full := filepath.Join(dir, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(full), 0o755))
		if path[len(path)-1] == '/' {
			require.NoError(t, os.MkdirAll(full, 0o755))
		} else {
			require.NoError(t, os.WriteFile(full, nil, 0o600))
		}
	}
	return dir
}

func TestRemains(t *testing.T) {
	lxdDir(t, "containers/web", "virtual-machines/win", "storage-pools/local/custom/default_data/",
		"storage-pools/local/images/abc", "storage-pools/other/containers/", "database/global/open-1")
	leftovers, err := LeftoverData()
	require.NoError(t, err)
	require.Equal(t, []string{"instance web", "instance win", "volume local/default_data"}, leftovers)

	lxdDir(t, "containers/")
	leftovers, err = LeftoverData()
	require.NoError(t, err)
	require.Empty(t, leftovers)
}

func TestTheBackupHasAllFilesOfTheCluster(t *testing.T) {
	dir := lxdDir(t, "database/global/open-1", "cluster.crt", "cluster.key", "server.crt", "server.key",
		"networks/nosuchbridge/dnsmasq.leases", "storage-pools/local/custom/", "images/abc")
	backupDir := filepath.Join(dir, "lost-1")
	// Killed anywhere and run again it ends the same.
	require.NoError(t, os.MkdirAll(backupDir, 0o700))
	require.NoError(t, os.Rename(filepath.Join(dir, "networks"), filepath.Join(backupDir, "networks")))
	for range 2 {
		require.NoError(t, moveToBackup(context.Background(), dir, backupDir))
	}
	for _, name := range stateOfCluster {
		if name != "disks" {
			require.NoFileExists(t, filepath.Join(dir, name))
			_, err := os.Stat(filepath.Join(backupDir, name))
			require.NoError(t, err, name)
		}
	}
	require.FileExists(t, filepath.Join(dir, "server.key"))
	require.FileExists(t, filepath.Join(dir, "images/abc"))
}

func TestPidLine(t *testing.T) {
	for text, want := range map[string]string{
		"724\n":                        "724",
		"name: dnsmasq\npid: 724\n":    " 724",
		"":                             "",
		"name: dnsmasq\nargs: [\"a\"]": "",
	} {
		require.Equal(t, want, pidLine([]byte(text)), text)
	}
}

package ceph

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A unit that leaves takes its key along, and leaves what is not its own.
func TestNothingOfOursStaysBehind(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	names, err := LeftoverFiles(dir, "lxd-cluster")
	require.NoError(t, err)
	require.Empty(t, names)

	put("ceph.client.lxd-cluster.keyring", "[client.lxd-cluster]\n")
	put("ceph.client.admin.keyring", "[client.admin]\n")
	put("ceph.conf", "[global]\nmon_host = 192.0.2.1\n")
	names, err = LeftoverFiles(dir, "lxd-cluster")
	require.NoError(t, err)
	require.Equal(t, []string{"ceph.client.lxd-cluster.keyring"}, names, "the machine's own ceph.conf is kept")

	put("ceph.conf", mark+"[global]\n")
	names, err = LeftoverFiles(dir, "lxd-cluster")
	require.NoError(t, err)
	steps := Leave(names)
	require.Len(t, steps, 2)
	for range 2 { // a hook may be run twice
		for _, step := range steps {
			require.NoError(t, step.Apply(context.Background(), Env{Dir: dir}))
		}
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Equal(t, "ceph.client.admin.keyring", left[0].Name())
}

package apt

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMissing(t *testing.T) {
	dpkg := "gcc installed\nlxd config-files\nlxd-client not-installed\n"
	require.Equal(t, []string{"lxd", "lxd-client", "nftables"}, missing([]string{"gcc", "lxd", "lxd-client", "nftables"}, dpkg))
}

func TestNewOnes(t *testing.T) {
	plan := "Reading package lists...\nInst liblxc1 (1:5.0.2-1 Debian:12.9/stable [amd64])\nInst tar [1.34] (1.35 Debian [amd64])\nInst lxd (5.0.2-5 Debian:12 [amd64])\nConf lxd (5.0.2-5 Debian:12 [amd64])\n"
	require.Equal(t, []string{"liblxc1", "lxd"}, newOnes(plan))
}

func TestMirror(t *testing.T) {
	got, err := mirror("http://deb.nodesource.com/node/ . nodistro main\nhttp://m.example/debian/ Debian bookworm main\nhttp://m.example/debian-security/ Debian bookworm-security main\n")
	require.NoError(t, err)
	require.Equal(t, "http://m.example/debian", got)
	_, err = mirror("")
	require.ErrorContains(t, err, "cannot find a Debian archive")
}

func TestPolicy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy-rc.d")
	remove, err := keepServicesDown(file)
	require.NoError(t, err)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&0o100, "it must be executable")
	require.NoError(t, remove())
	require.NoFileExists(t, file)

	// The machine's own stays as it is.
	require.NoError(t, os.WriteFile(file, []byte("#!/bin/sh\nexit 101\n"), 0o755))
	remove, err = keepServicesDown(file)
	require.NoError(t, err)
	require.NoError(t, remove())
	require.FileExists(t, file)

	// One that a killed run left is removed.
	require.NoError(t, os.WriteFile(file, []byte(policy), 0o755))
	remove, err = keepServicesDown(file)
	require.NoError(t, err)
	require.NoError(t, remove())
	require.NoFileExists(t, file)
}

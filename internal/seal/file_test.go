package seal_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/seal"
)

func TestLoadOrCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "seal.key")
	none, err := seal.Load(path)
	require.NoError(t, err)
	require.Nil(t, none)

	key, err := seal.LoadOrCreate(path)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	again, err := seal.LoadOrCreate(path)
	require.NoError(t, err)
	require.Equal(t, key.Public(), again.Public())

	require.NoError(t, os.Truncate(path, 7))
	damaged, err := seal.Load(path)
	require.NoError(t, err)
	require.Nil(t, damaged, "a damaged key counts as none")
	other, err := seal.LoadOrCreate(path)
	require.NoError(t, err)
	require.NotEqual(t, key.Public(), other.Public())
}

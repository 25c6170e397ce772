package commands

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNumber(t *testing.T) {
	got, err := number("4.1-beta2-genericlinux-amd64\n")
	require.NoError(t, err)
	require.Equal(t, "4.1-beta2", got)
	got, err = number("3.6.11-ubuntu-amd64")
	require.NoError(t, err)
	require.Equal(t, "3.6.11", got)
	_, err = number("4.1")
	require.Error(t, err)
}

func TestInDependsOnTheModule(t *testing.T) {
	module, cache := t.TempDir(), t.TempDir()
	_, _, err := In(cache, module)
	require.ErrorContains(t, err, "run dcib in the project's folder")

	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(module, name), []byte(text), 0o600))
	}
	write("go.mod", "module a")
	write("go.sum", "")
	one, there, err := In(cache, module)
	require.NoError(t, err)
	require.False(t, there)
	require.NoError(t, os.Mkdir(one.Dir, 0o700))
	_, there, err = In(cache, module)
	require.NoError(t, err)
	require.True(t, there)

	write("go.sum", "another version")
	two, there, err := In(cache, module)
	require.NoError(t, err)
	require.False(t, there)
	require.NotEqual(t, one, two)
}

func TestTgz(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "agent"), []byte("binary"), 0o600))
	path := filepath.Join(dir, "a.tgz")
	require.NoError(t, tgz(path, dir, "agent"))

	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	r := tar.NewReader(z)
	h, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, "agent", h.Name)
	require.EqualValues(t, 0o755, h.Mode)
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "binary", string(data))
	_, err = r.Next()
	require.True(t, errors.Is(err, io.EOF))
}

package lxdbuild

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

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

	write("go.mod", "module b")
	two, there, err := In(cache, module)
	require.NoError(t, err)
	require.False(t, there)
	require.NotEqual(t, one, two)
}

// The module that dcib requires for LXD's client is the one that the box's machines run.
func TestThePinnedModuleIsTheClients(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	want := required(t, filepath.Join(root, "go.mod"))
	require.Equal(t, want, required(t, filepath.Join(root, "tests", "testbed", "lxd", "go.mod")))
}

// required returns the version of LXD's module that a go.mod requires.
func required(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(f) > 1 && f[0] == "github.com/canonical/lxd" {
			return f[1]
		}
	}
	require.Fail(t, "no github.com/canonical/lxd in "+file)
	return ""
}

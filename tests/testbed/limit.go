package testbed

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Limit is what the kernel of this machine holds a container to, wherever on it that is.
type Limit struct{ File string }

// limitFiles are the names that cgroup v1 and v2 have for it.
var limitFiles = map[string][]string{"memory": {"memory.limit_in_bytes", "memory.max"}, "pids": {"pids.max"}}

// LimitOf finds the limit of a running container, for "memory" or "pids".
func LimitOf(t testing.TB, container, of string) Limit {
	t.Helper()
	found := ""
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || d.Name() != "lxc.payload."+container {
			return nil // an error is a cgroup that just went
		}
		for _, name := range limitFiles[of] {
			if _, err := os.Stat(filepath.Join(path, name)); err == nil {
				found = filepath.Join(path, name)
				return filepath.SkipAll
			}
		}
		return filepath.SkipDir
	})
	require.NoError(t, err)
	require.NotEmpty(t, found, "a cgroup of %s with its %s", container, of)
	return Limit{found}
}

// Read returns the limit, in bytes or processes; -1 when there is none.
func (l Limit) Read(t testing.TB) int64 {
	t.Helper()
	content, err := os.ReadFile(l.File)
	require.NoError(t, err)
	text := strings.TrimSpace(string(content))
	if text == "max" {
		return -1
	}
	n, err := strconv.ParseInt(text, 10, 64)
	require.NoError(t, err)
	if n > 1<<60 {
		return -1 // cgroup v1 says so with the largest page count
	}
	return n
}

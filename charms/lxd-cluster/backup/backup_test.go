package backup

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
)

// answers is an LXD that answers by path.
type answers struct{ fails string }

func (a answers) RawQuery(method, path string, _ any, _ string) (*api.Response, string, error) {
	switch {
	case method != "GET":
		return nil, "", errors.New("a backup changes nothing")
	case path == a.fails:
		return nil, "", errors.New("database is locked")
	case strings.HasPrefix(path, "/internal/sql"):
		text, _ := json.Marshal(map[string]string{"text": "-- " + path})
		return &api.Response{Metadata: text}, "", nil
	}
	return &api.Response{Metadata: json.RawMessage(fmt.Sprintf(`{"path":%q}`, path))}, "", nil
}

func TestBackup(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lxd-cluster-0")
	var said []string
	env := Env{Unit: "lxd-cluster/0", LXD: answers{}, StateDir: dir, Now: func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }}
	call := charm.Call{Progress: func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }}
	results, err := Backup(t.Context(), env, call)
	require.NoError(t, err)
	path := filepath.Join(dir, "backup-20260102T030405Z.tar.gz")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, map[string]string{
		"path": path, "unit": "lxd-cluster/0", "bytes": fmt.Sprint(info.Size()),
		"fetch": "juju ssh --pty=false lxd-cluster/0 sudo cat " + path + " > backup-20260102T030405Z.tar.gz",
	}, results)
	require.Len(t, said, len(files))
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	above, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), above.Mode().Perm())

	content := map[string]string{}
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	compressed, err := gzip.NewReader(f)
	require.NoError(t, err)
	for all := tar.NewReader(compressed); ; {
		header, err := all.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		text, err := io.ReadAll(all)
		require.NoError(t, err)
		content[header.Name] = string(text)
	}
	require.Len(t, content, len(files))
	require.Equal(t, "-- /internal/sql?database=global", content["global.sql"])
	require.Equal(t, "{\n  \"path\": \"/1.0\"\n}", content["config/server.json"])
}

func TestABackupThatFailsLeavesNothing(t *testing.T) {
	env := Env{Unit: "lxd-cluster/0", LXD: answers{fails: "/1.0/projects?recursion=1"}, StateDir: t.TempDir(), Now: time.Now}
	// Nor does one that was killed, once another runs.
	killed, past := filepath.Join(env.StateDir, ".backup-20250102T030405Z.tar.gz.dcib-new-KILLED"), time.Now().Add(-2*time.Hour)
	require.NoError(t, os.WriteFile(killed, []byte("keys"), 0o600))
	require.NoError(t, os.Chtimes(killed, past, past))
	_, err := Backup(t.Context(), env, charm.Call{Progress: func(string, ...any) {}})
	require.ErrorContains(t, err, "cannot back up LXD to "+env.StateDir)
	require.ErrorContains(t, err, "cannot read config/projects.json from LXD (/1.0/projects?recursion=1): database is locked")
	left, err := os.ReadDir(env.StateDir)
	require.NoError(t, err)
	require.Empty(t, left)

	_, err = Backup(t.Context(), Env{}, charm.Call{})
	require.ErrorContains(t, err, "this unit's machine has none yet")
}

// Backups do not fill the disk: the newest are kept, and nothing else of the unit is touched.
func TestOldBackupsAreRemoved(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	env := Env{Unit: "lxd-cluster/0", LXD: answers{}, StateDir: dir, Now: func() time.Time { return now }}
	run := func(params map[string]any) map[string]string {
		now = now.Add(time.Hour)
		results, err := Backup(t.Context(), env, charm.Call{Params: params, Progress: func(string, ...any) {}})
		require.NoError(t, err)
		return results
	}
	for _, name := range []string{"join.key", "backup-of-mine.tar.gz", "backup-20200101T000000Z.tar.gz.asc"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	backups := func() []string {
		found, err := filepath.Glob(filepath.Join(dir, "backup-2026*Z.tar.gz"))
		require.NoError(t, err)
		return found
	}
	for range DefaultKeep {
		require.Empty(t, run(nil)["removed"])
	}
	require.Equal(t, "backup-20260102T040405Z.tar.gz", run(nil)["removed"])
	require.Len(t, backups(), DefaultKeep)
	results := run(map[string]any{"keep": 1.0})
	require.Equal(t, []string{results["path"]}, backups())
	for _, name := range []string{"join.key", "backup-of-mine.tar.gz", "backup-20200101T000000Z.tar.gz.asc"} {
		require.FileExists(t, filepath.Join(dir, name))
	}

	_, err := Backup(t.Context(), env, charm.Call{Params: map[string]any{"keep": 0.0}})
	require.ErrorContains(t, err, "parameter keep is 0, wanted how many backups to keep, 1 or more")
	require.Len(t, backups(), 1)
	env.LXD = answers{fails: "/1.0"}
	_, err = Backup(t.Context(), env, charm.Call{Params: map[string]any{"keep": 1.0}, Progress: func(string, ...any) {}})
	require.Error(t, err)
	require.Len(t, backups(), 1, "a backup that failed costs none")
}

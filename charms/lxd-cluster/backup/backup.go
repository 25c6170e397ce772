// Package backup writes LXD's databases and its configuration, in readable form, to an archive. The content
// of instances and volumes is not included; `lxc export` saves it.
package backup

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/host/atomicfile"
)

// LXD is what this package uses of LXD; the client library's InstanceServer implements it.
type LXD interface {
	RawQuery(method, path string, data any, etag string) (*api.Response, string, error)
}

// Env is what this package works on. LXD is nil if there is none.
type Env struct {
	Unit     string
	LXD      LXD
	StateDir string // backups are written there, readable by root only
	Now      func() time.Time
}

// file is one file of a backup, and its path in LXD's API.
type file struct{ name, path string }

// files are the files of a backup. The first two are what `lxd sql global .dump` and `lxd sql local .dump`
// print; they have everything, the local one for this machine alone. Of networks and profiles the readable
// files only have those of LXD's project default.
var files = []file{
	{"global.sql", "/internal/sql?database=global"},
	{"local.sql", "/internal/sql?database=local"},
	{"config/server.json", "/1.0"},
	{"config/members.json", "/1.0/cluster/members?recursion=1"},
	{"config/groups.json", "/1.0/cluster/groups?recursion=1"},
	{"config/projects.json", "/1.0/projects?recursion=1"},
	{"config/pools.json", "/1.0/storage-pools?recursion=1"},
	{"config/networks.json", "/1.0/networks?recursion=1"},
	{"config/profiles.json", "/1.0/profiles?recursion=1"},
	{"config/instances.json", "/1.0/instances?recursion=1&all-projects=true"},
}

// archiveName matches the name of an archive; the names sort by time.
var archiveName = regexp.MustCompile(`^backup-[0-9]{8}T[0-9]{6}Z\.tar\.gz$`)

// DefaultKeep is how many archives are kept without parameter keep.
const DefaultKeep = 5

// Backup is the action create-backup. It writes an archive on this unit's machine, and removes the oldest
// ones beyond parameter `keep`, which counts the new one (DefaultKeep if it is missing). The results have
// its path, how to fetch it, and what was removed.
func Backup(ctx context.Context, env Env, call charm.Call) (map[string]string, error) {
	if env.LXD == nil {
		return nil, errors.New("cannot back up LXD: this unit's machine has none yet: see the unit's status")
	}
	keep := DefaultKeep
	if _, set := call.Params["keep"]; set {
		keep = call.Int("keep")
	}
	if keep < 1 {
		return nil, fmt.Errorf("cannot back up LXD: parameter keep is %v, wanted how many backups to keep, 1 or more", call.Params["keep"])
	}
	name := "backup-" + env.Now().UTC().Format("20060102T150405Z") + ".tar.gz"
	path := filepath.Join(env.StateDir, name)
	size, err := write(ctx, path, env, call)
	if err != nil {
		return nil, fmt.Errorf("cannot back up LXD to %s: %w", path, err)
	}
	results := map[string]string{
		"path":  path,
		"unit":  env.Unit,
		"bytes": fmt.Sprint(size),
		"fetch": fmt.Sprintf("juju ssh --pty=false %s sudo cat %s > %s", env.Unit, path, name),
	}
	removed, err := prune(env.StateDir, keep)
	if len(removed) > 0 {
		results["removed"] = strings.Join(removed, ",")
	}
	return results, err
}

// prune removes the oldest archives beyond keep, and returns their names.
func prune(dir string, keep int) (removed []string, err error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, fmt.Errorf("cannot remove old backups: %w", err)
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return !e.Type().IsRegular() || !archiveName.MatchString(e.Name()) })
	for _, e := range entries[:max(0, len(entries)-keep)] {
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, fmt.Errorf("cannot remove old backup %s: %w", e.Name(), err)
		}
		removed = append(removed, e.Name())
	}
	return removed, nil
}

// write writes the archive completely or not at all: the action may be killed here.
func write(ctx context.Context, path string, env Env, call charm.Call) (size int64, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return 0, err
	}
	if err := atomicfile.RemoveLeftovers(filepath.Dir(path)); err != nil {
		return 0, err
	}
	file, err := atomicfile.Create(path, atomicfile.Options{}) // for root only: it has keys
	if err != nil {
		return 0, err
	}
	defer file.Discard()
	if err := archive(ctx, file, env, call); err != nil {
		return 0, err
	}
	if err := file.Commit(); err != nil {
		return 0, err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func archive(ctx context.Context, to io.Writer, env Env, call charm.Call) error {
	compressed := gzip.NewWriter(to)
	all := tar.NewWriter(compressed)
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		content, err := f.read(env.LXD)
		if err != nil {
			return fmt.Errorf("cannot read %s from LXD (%s): %w", f.name, f.path, err)
		}
		call.Progress("%s: %d bytes", f.name, len(content))
		header := &tar.Header{Name: f.name, Mode: 0o600, Size: int64(len(content)), ModTime: env.Now()}
		if err := all.WriteHeader(header); err != nil {
			return err
		}
		if _, err := all.Write(content); err != nil {
			return err
		}
	}
	return errors.Join(all.Close(), compressed.Close())
}

func (f file) read(lxd LXD) ([]byte, error) {
	response, _, err := lxd.RawQuery("GET", f.path, nil, "")
	if err != nil {
		return nil, err
	}
	if filepath.Ext(f.name) == ".json" {
		return json.MarshalIndent(response.Metadata, "", "  ")
	}
	var dump struct {
		Text string `json:"text"`
	}
	if err := response.MetadataAsStruct(&dump); err != nil {
		return nil, err
	}
	if dump.Text == "" {
		return nil, errors.New("the dump is empty")
	}
	return []byte(dump.Text), nil
}

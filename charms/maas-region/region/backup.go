package region

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

	"github.com/dcib/dcib/charms/maas-region/database"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/host/atomicfile"
	"github.com/dcib/dcib/internal/maas"
	"github.com/dcib/dcib/internal/maas/node"
)

// What a backup has: the database (MAAS's secret and certificates are in it), MAAS's
// configuration, and what says what it is. Images are not in it: MAAS fetches them again, but for
// those that were uploaded, which are named.
const (
	dumpFile = "database.dump"
	metaFile = "backup.json"
	confDir  = "etc/maas"
)

// The folders that backup, restore and config-tls work in, below StateDir. What a killed one leaves
// has the whole database, or a key; the next hook removes it.
var workDirs = []string{".backup-*", ".restore-*", ".tls-*", ".query-*"}

// backupName matches the names of backups in StateDir. They sort by their time.
var backupName = regexp.MustCompile(`^maas-[0-9]{8}T[0-9]{6}Z\.tar\.gz$`)

// meta says what a backup is.
type meta struct {
	Version  string   `json:"version"` // of the package
	SystemID string   `json:"system-id"`
	URL      string   `json:"url"`
	Images   []string `json:"uploaded-images,omitempty"` // that MAAS had, and cannot fetch again
}

// leftovers lists what killed actions have left: hooks and actions of a unit run one at a
// time, so nothing else works there.
func (w *Env) leftovers() []string {
	var left []string
	for _, pattern := range workDirs {
		found, _ := filepath.Glob(filepath.Join(w.StateDir, pattern))
		left = append(left, found...)
	}
	return left
}

// workDir makes a folder to work in, for root only.
func (w *Env) workDir(pattern string) (string, error) {
	if err := os.MkdirAll(w.StateDir, 0o700); err != nil {
		return "", err
	}
	if err := removeAll(w.leftovers()); err != nil {
		return "", err
	}
	return os.MkdirTemp(w.StateDir, pattern)
}

func removeAll(paths []string) error {
	for _, path := range paths {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

// backUp is the action backup. Parameter keep is how many backups stay on the machine, this
// one included; 0 keeps all.
func backUp(ctx context.Context, f Facts, w *Env, call charm.Call) (results map[string]string, err error) {
	keep := call.Int("keep")
	switch {
	case f.Connection == nil || !f.Listening:
		return nil, errors.New("cannot back up MAAS: its database does not answer: see the unit's status")
	case keep < 0:
		return nil, fmt.Errorf("cannot back up MAAS: parameter keep is %d: use how many backups are to stay, or 0 for all", keep)
	}
	images, lacks := f.uploadedImages(ctx, w)
	if lacks != "" {
		call.Progress("not in this backup: %s", lacks)
	}
	work, err := w.workDir(workDirs[0])
	if err != nil {
		return nil, fmt.Errorf("cannot back up MAAS: %w", err)
	}
	defer os.RemoveAll(work)
	dump := filepath.Join(work, dumpFile)
	call.Progress("saving the database")
	if err := f.Connection.Dump(ctx, w.Machine, dump); err != nil {
		return nil, fmt.Errorf("cannot back up MAAS: %w", err)
	}
	about, err := json.Marshal(meta{f.Packages[node.RegionPackage].Version, f.SystemID, f.url(), images})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(work, metaFile), about, 0o600); err != nil {
		return nil, fmt.Errorf("cannot back up MAAS: %w", err)
	}
	name := "maas-" + w.Now().UTC().Format("20060102T150405Z") + ".tar.gz"
	path := filepath.Join(w.StateDir, name)
	if err := w.pack(path, work); err != nil {
		return nil, fmt.Errorf("cannot back up MAAS to %s: %w", path, err)
	}
	results = map[string]string{
		"path": path, "unit": f.Unit, "version": f.Packages[node.RegionPackage].Version,
		"fetch": fmt.Sprintf("juju ssh --pty=false %s sudo cat %s > %s", f.Unit, path, name),
	}
	if lacks != "" {
		results["not-saved"] = lacks
	}
	stay, removed, err := w.prune(keep)
	if err != nil {
		return results, fmt.Errorf("cannot remove old backups: %w", err)
	}
	results["backups"], results["removed"] = fmt.Sprint(stay), fmt.Sprint(removed)
	return results, nil
}

// uploadedImages returns the images that MAAS cannot fetch again, and what an operator has to know of
// them; both are empty where there are none.
func (f Facts) uploadedImages(ctx context.Context, w *Env) (images []string, lacks string) {
	err := errors.New("MAAS does not answer")
	if f.Version != "" {
		var c *maas.Client
		if c, err = w.client(ctx); err == nil {
			images, err = c.UploadedImages(ctx)
		}
	}
	switch {
	case err != nil:
		lacks = fmt.Sprintf("images that were uploaded to MAAS, if there are any: %s: keep their files", err)
	case len(images) > 0:
		lacks = fmt.Sprintf("images %s: they were uploaded, and MAAS cannot fetch them again: keep their files", strings.Join(images, ", "))
	}
	return images, lacks
}

// prune removes all backups but the newest ones, and counts both.
func (w *Env) prune(keep int) (stay, removed int, err error) {
	entries, err := os.ReadDir(w.StateDir)
	if err != nil {
		return 0, 0, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && backupName.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	for keep > 0 && len(names) > keep {
		if err := atomicfile.Remove(filepath.Join(w.StateDir, names[0])); err != nil {
			return len(names), removed, err
		}
		names, removed = names[1:], removed+1
	}
	return len(names), removed, atomicfile.RemoveLeftovers(w.StateDir)
}

// pack writes what is in the work folder, and MAAS's configuration, into an archive: whole or
// not at all, for root only.
func (w *Env) pack(path, work string) error {
	file, err := atomicfile.Create(path, atomicfile.Options{})
	if err != nil {
		return err
	}
	defer file.Discard()
	compressed := gzip.NewWriter(file)
	all := tar.NewWriter(compressed)
	for _, part := range []struct{ dir, as string }{{work, ""}, {filepath.Join(w.Root, confDir), confDir}} {
		if err := packTree(all, part.dir, part.as); err != nil {
			return err
		}
	}
	if err := errors.Join(all.Close(), compressed.Close()); err != nil {
		return err
	}
	return file.Commit()
}

// packTree adds a folder's regular files, with owners and modes, as those of folder as. No
// symlink in it leads out: MAAS's folder belongs to user maas.
func packTree(all *tar.Writer, dir, as string) error {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		as := filepath.Join(as, name)
		if err != nil || !entry.Type().IsRegular() || node.Stale(as) || as == database.PassFile {
			return err
		}
		file, err := root.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return err
		}
		// It may have been replaced since it was listed.
		if listed, err := entry.Info(); err != nil {
			return err
		} else if !os.SameFile(listed, info) {
			return fmt.Errorf("cannot read %s: it was replaced meanwhile: run it again", filepath.Join(dir, name))
		}
		header, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		header.Name = as
		if err := all.WriteHeader(header); err != nil {
			return err
		}
		_, err = io.Copy(all, io.LimitReader(file, info.Size()))
		return err
	})
}

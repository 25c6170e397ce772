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
	"strings"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/maas/node"
)

// What a backup has: the database (MAAS's secret and certificates are in it), MAAS's
// configuration, and what says what it is. Images are not in it: MAAS fetches them again.
const (
	dumpFile = "database.dump"
	metaFile = "backup.json"
	confDir  = "etc/maas"
)

// meta says what a backup is.
type meta struct {
	Version  string `json:"version"` // of the package
	SystemID string `json:"system_id"`
	URL      string `json:"url"`
}

// backUp is the action backup.
func backUp(ctx context.Context, f Facts, w *World, call charm.Call) (results map[string]string, err error) {
	if f.Connection == nil || !f.Listening {
		return nil, errors.New("cannot back up MAAS: its database does not answer: see the unit's status")
	}
	if err := os.MkdirAll(w.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot back up MAAS: %w", err)
	}
	work, err := os.MkdirTemp(w.StateDir, ".backup-*")
	if err != nil {
		return nil, fmt.Errorf("cannot back up MAAS: %w", err)
	}
	defer os.RemoveAll(work)
	dump := filepath.Join(work, dumpFile)
	call.Progress("saving the database")
	if err := f.Connection.Dump(ctx, w.Machine, dump); err != nil {
		return nil, fmt.Errorf("cannot back up MAAS: %w", err)
	}
	about, err := json.Marshal(meta{f.Packages[node.RegionPackage].Version, f.SystemID, f.url()})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(work, metaFile), about, 0o600); err != nil {
		return nil, fmt.Errorf("cannot back up MAAS: %w", err)
	}
	name := "maas-" + w.Now().UTC().Format("20060102T150405Z") + ".tar.gz"
	unfinished, path := filepath.Join(work, name), filepath.Join(w.StateDir, name)
	if err := pack(unfinished, map[string]string{dumpFile: dump, metaFile: filepath.Join(work, metaFile), confDir: filepath.Join(w.Root, confDir)}); err != nil {
		return nil, fmt.Errorf("cannot back up MAAS to %s: %w", path, err)
	}
	// Whole or not at all: the action may be killed here.
	if err := os.Rename(unfinished, path); err != nil {
		return nil, fmt.Errorf("cannot back up MAAS: %w", err)
	}
	return map[string]string{
		"path": path, "unit": f.Unit, "version": f.Packages[node.RegionPackage].Version,
		"fetch": fmt.Sprintf("juju ssh --pty=false %s sudo cat %s > %s", f.Unit, path, name),
	}, nil
}

// pack writes files and folders, by their names in it, into an archive.
func pack(path string, from map[string]string) error {
	to, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer to.Close()
	compressed := gzip.NewWriter(to)
	all := tar.NewWriter(compressed)
	for name, at := range from {
		err := filepath.WalkDir(at, func(file string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			inside, err := filepath.Rel(at, file)
			if err != nil {
				return err
			}
			return add(all, filepath.Join(name, inside), file)
		})
		if err != nil {
			return err
		}
	}
	return errors.Join(all.Close(), compressed.Close(), to.Sync())
}

func add(all *tar.Writer, name, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := all.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: info.Size(), ModTime: info.ModTime()}); err != nil {
		return err
	}
	_, err = io.Copy(all, file)
	return err
}

// restore is the action restore. The database becomes what the backup says; the unit's own
// connection to it, and its address, stay.
func restore(ctx context.Context, f Facts, w *World, call charm.Call) (map[string]string, error) {
	path := call.String("path")
	switch {
	case f.Connection == nil || !f.Listening:
		return nil, errors.New("cannot restore MAAS: its database does not answer: see the unit's status")
	case len(f.Units) > 1:
		return nil, errors.New("cannot restore MAAS: the other units work on the same database: remove them first, and add units after it")
	case !f.Leader:
		return nil, errors.New("cannot restore MAAS: this unit does not lead yet: wait until juju status shows it")
	case !filepath.IsAbs(path):
		return nil, fmt.Errorf("cannot restore MAAS from %q: give the path of a backup on this unit's machine (juju scp brings one there)", path)
	}
	if err := os.MkdirAll(w.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot restore MAAS: %w", err)
	}
	work, err := os.MkdirTemp(w.StateDir, ".restore-*")
	if err != nil {
		return nil, fmt.Errorf("cannot restore MAAS: %w", err)
	}
	defer os.RemoveAll(work)
	about, err := unpack(path, work)
	if err != nil {
		return nil, fmt.Errorf("cannot restore MAAS from %s: %w", path, err)
	}
	if has := f.Packages[node.RegionPackage].Version; version(about.Version) != version(has) {
		return nil, fmt.Errorf("cannot restore MAAS from %s: it is of MAAS %s, and this is %s: install that one (option source)", path, version(about.Version), version(has))
	}
	if !call.Bool("force") {
		return nil, fmt.Errorf("cannot restore MAAS from %s: what MAAS at %s knows now would be lost (machines, users, settings): force=true does it", path, f.url())
	}
	call.Progress("stopping MAAS")
	if err := w.stop(ctx); err != nil {
		return nil, err
	}
	call.Progress("restoring the database")
	if err := f.Connection.Restore(ctx, w.Machine, filepath.Join(work, dumpFile)); err != nil {
		return nil, fmt.Errorf("cannot restore MAAS: %w: the database is as it was; MAAS is stopped until the next hook", err)
	}
	if _, err := w.Run.Run(ctx, "maas-region", "dbupgrade"); err != nil {
		return nil, fmt.Errorf("cannot restore MAAS: %w", err)
	}
	if err := w.restoreFiles(work); err != nil {
		return nil, fmt.Errorf("cannot restore MAAS's files: %w", err)
	}
	// It has another administrator, and other settings, than those that are remembered.
	if err := w.Tools.RelationSetApp(ctx, f.Peers, map[string]string{keyAdmin: "", keySettings: ""}); err != nil {
		return nil, err
	}
	if err := (start{}).Apply(ctx, w); err != nil {
		return nil, err
	}
	return map[string]string{"restored": path, "was": about.URL, "is": f.url()}, nil
}

// restoreFiles puts back what is not in the database. Secret and certificates are: the
// region writes them anew when it starts, and refuses to start on others.
func (w *World) restoreFiles(work string) error {
	from := filepath.Join(work, confDir)
	err := filepath.WalkDir(from, func(file string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		inside, err := filepath.Rel(work, file)
		if err != nil {
			return err
		}
		if inside == node.RegionConf || inside == node.RackConf {
			return nil // this machine's own
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		to := filepath.Join(w.Root, inside)
		return errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, text, 0o644))
	})
	if err != nil {
		return err
	}
	return w.Remove(node.SecretFile, "var/lib/maas/maas_uuid", "var/lib/maas/certificates", node.SystemIDFile)
}

// unpack unpacks a backup into a folder. What is in it, besides what a backup has, is
// refused.
func unpack(path, into string) (about meta, err error) {
	file, err := os.Open(path)
	if err != nil {
		return about, err
	}
	defer file.Close()
	compressed, err := gzip.NewReader(file)
	if err != nil {
		return about, fmt.Errorf("that is no backup: %w", err)
	}
	all := tar.NewReader(compressed)
	for {
		header, err := all.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return about, fmt.Errorf("that is no backup: %w", err)
		}
		name := filepath.Clean(header.Name)
		if header.Typeflag != tar.TypeReg || name != dumpFile && name != metaFile && !strings.HasPrefix(name, confDir+"/") {
			return about, fmt.Errorf("that is no backup: it has %q in it", header.Name)
		}
		to := filepath.Join(into, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return about, err
		}
		out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return about, err
		}
		_, err = io.Copy(out, all)
		if err = errors.Join(err, out.Close()); err != nil {
			return about, err
		}
	}
	text, err := os.ReadFile(filepath.Join(into, metaFile))
	if err == nil {
		err = json.Unmarshal(text, &about)
	}
	if err == nil && about.Version == "" {
		err = errors.New("it names no version")
	}
	if err == nil {
		_, err = os.Stat(filepath.Join(into, dumpFile))
	}
	if err != nil {
		return about, fmt.Errorf("that is no backup: %w", err)
	}
	return about, nil
}

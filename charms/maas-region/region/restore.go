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
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/host/atomicfile"
	"github.com/dcib/dcib/internal/maas/node"
)

// restore is the action restore. The database becomes what the backup says; the unit's own
// connection to it, and its address, stay.
func restore(ctx context.Context, f Facts, w *Env, call charm.Call) (map[string]string, error) {
	path := call.String("path")
	switch {
	case f.Connection == nil || !f.Listening:
		return nil, errors.New("cannot restore MAAS: its database does not answer: see the unit's status")
	case len(f.Units) > 1:
		return nil, errors.New("cannot restore MAAS: the other units work on the same database: remove them first, and add units after it")
	case !f.Leader:
		return nil, errors.New("cannot restore MAAS: this unit does not lead yet: wait until juju status shows it")
	case !filepath.IsAbs(path):
		return nil, fmt.Errorf("cannot restore MAAS from %q: pass the path of a backup on this unit's machine (juju scp brings one there)", path)
	}
	work, err := w.workDir(workDirs[1])
	if err != nil {
		return nil, fmt.Errorf("cannot restore MAAS: %w", err)
	}
	defer os.RemoveAll(work)
	about, files, err := unpack(path, work)
	if err != nil {
		return nil, fmt.Errorf("cannot restore MAAS from %s: %w", path, err)
	}
	// The migration that follows takes an older database to this version; none goes back.
	if has := f.Packages[node.RegionPackage].Version; newer(version(about.Version), version(has)) {
		return nil, fmt.Errorf("cannot restore MAAS from %s: it is of MAAS %s, and this is %s: install that one or a later one (option source)", path, version(about.Version), version(has))
	}
	upload := ""
	if len(about.Images) > 0 {
		upload = fmt.Sprintf("%s: these images were uploaded, and are not in the backup: upload them again where this machine does not have them", strings.Join(about.Images, ", "))
	}
	if !call.Bool("force") {
		why := fmt.Sprintf("cannot restore MAAS from %s: what MAAS at %s knows now would be lost (machines, users, settings): force=true does it", path, f.url())
		if upload != "" {
			why += "; " + upload
		}
		return nil, errors.New(why)
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
	if err := w.restoreFiles(files); err != nil {
		return nil, fmt.Errorf("cannot restore MAAS's files: %w", err)
	}
	if systemID.MatchString(about.SystemID) {
		// This is that region now, which has the images; others of the backup are deleted.
		if err := w.Write(node.SystemIDFile, about.SystemID, true); err != nil {
			return nil, fmt.Errorf("cannot restore MAAS: %w", err)
		}
	}
	// It has another administrator, and other settings, than those that are remembered.
	if err := w.Tools.RelationSetApp(ctx, f.Peers, map[string]string{keyAdmin: "", keySettings: "", keyImages: "", keyRestored: "true"}); err != nil {
		return nil, err
	}
	if err := (start{}).Apply(ctx, w); err != nil {
		return nil, err
	}
	results := map[string]string{"restored": path, "old-url": about.URL, "new-url": f.url()}
	if upload != "" {
		results["upload-again"] = upload
	}
	return results, nil
}

// systemID matches the ids that MAAS makes up.
var systemID = regexp.MustCompile(`^[0-9a-z]{1,64}$`)

// newer reports whether version a of MAAS, like 3.7.0~rc1, is later than version b.
func newer(a, b string) bool {
	baseA, suffixA, preA := strings.Cut(a, "~")
	baseB, suffixB, preB := strings.Cut(b, "~")
	partsA, partsB := strings.Split(baseA, "."), strings.Split(baseB, ".")
	number := func(parts []string, n int) int {
		if n >= len(parts) {
			return 0
		}
		value, _ := strconv.Atoi(parts[n])
		return value
	}
	for n := range max(len(partsA), len(partsB)) {
		if x, y := number(partsA, n), number(partsB, n); x != y {
			return x > y
		}
	}
	if preA != preB {
		return preB // what has a suffix comes before what has none
	}
	return suffixA > suffixB
}

// restoreFiles puts back what is not in the database. Secret and certificates are: the
// region writes them again when it starts, and refuses to start on others. Nor are files put
// back that are this machine's own, or belong to the identity that it had.
func (w *Env) restoreFiles(files []savedFile) error {
	if err := os.MkdirAll(filepath.Join(w.Root, confDir), 0o755); err != nil {
		return err
	}
	// MAAS's folder belongs to user maas: nothing in it leads out.
	root, err := os.OpenRoot(filepath.Join(w.Root, confDir))
	if err != nil {
		return err
	}
	defer root.Close()
	for _, file := range files {
		if file.name == node.RegionConf || file.name == node.RackConf || node.Stale(file.name) {
			continue
		}
		owner, err := w.Owner(file.user)
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(confDir, file.name)
		if err != nil {
			return err
		}
		if err := makeDirs(root, filepath.Dir(inside), owner); err != nil {
			return err
		}
		if err := atomicfile.WriteIn(root, inside, file.content, atomicfile.Options{Mode: file.mode, Owner: &owner}); err != nil {
			return err
		}
	}
	return w.Remove(fromDatabase...)
}

// makeDirs makes a folder below root, and those above it; new ones have that owner.
func makeDirs(root *os.Root, dir string, owner atomicfile.Owner) error {
	if dir == "." {
		return nil
	}
	if err := makeDirs(root, filepath.Dir(dir), owner); err != nil {
		return err
	}
	if err := root.Mkdir(dir, 0o750); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	return root.Lchown(dir, owner.UID, owner.GID)
}

// savedFile is a file of MAAS's configuration in a backup.
type savedFile struct {
	name    string
	user    string      // its owner: root, or maas
	mode    fs.FileMode // never wider than 0640
	content []byte
}

// Bounds on what a backup has, apart from the database.
const (
	maxFiles    = 10000
	maxFileSize = 16 << 20
)

// unpack unpacks a backup: the database and what it is about into a folder, the other files
// into memory. What is in it besides what a backup has is refused, and so is what the disk
// has no capacity for.
func unpack(path, into string) (about meta, files []savedFile, err error) {
	file, err := os.Open(path)
	if err != nil {
		return about, nil, err
	}
	defer file.Close()
	compressed, err := gzip.NewReader(file)
	if err != nil {
		return about, nil, fmt.Errorf("that is no backup: %w", err)
	}
	var text []byte
	size, dumped := int64(0), false
	for all := tar.NewReader(compressed); ; {
		header, err := all.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return about, nil, fmt.Errorf("that is no backup: %w", err)
		}
		name := filepath.Clean(header.Name)
		switch {
		case header.Typeflag != tar.TypeReg:
			return about, nil, fmt.Errorf("that is no backup: %q in it is no regular file", header.Name)
		case name == dumpFile && !dumped:
			if err := writeDump(filepath.Join(into, dumpFile), all, header.Size); err != nil {
				return about, nil, err
			}
			dumped = true
			continue
		case name != metaFile && !strings.HasPrefix(name, confDir+"/"):
			return about, nil, fmt.Errorf("that is no backup: it has %q in it", header.Name)
		}
		if size += header.Size; size > maxFileSize || len(files) >= maxFiles {
			return about, nil, fmt.Errorf("that is no backup: what it has besides the database is more than %d files or %d bytes", maxFiles, maxFileSize)
		}
		content, err := io.ReadAll(io.LimitReader(all, header.Size))
		if err != nil {
			return about, nil, fmt.Errorf("that is no backup: %w", err)
		}
		if name == metaFile {
			text = content
			continue
		}
		saved := savedFile{name: name, user: "maas", mode: fs.FileMode(header.Mode) & 0o640, content: content}
		if header.Uname == "root" {
			saved.user = "root"
		}
		if header.Uname == "" { // of a backup that kept neither owners nor modes
			saved.mode = 0o640
		}
		files = append(files, saved)
	}
	switch {
	case text == nil:
		err = fmt.Errorf("it has no %s", metaFile)
	case !dumped:
		err = fmt.Errorf("it has no %s", dumpFile)
	default:
		err = json.Unmarshal(text, &about)
	}
	if err == nil && about.Version == "" {
		err = errors.New("it names no version")
	}
	if err != nil {
		return about, nil, fmt.Errorf("that is no backup: %w", err)
	}
	return about, files, nil
}

// writeDump writes the database's dump, of which there are size bytes, to a file.
func writeDump(path string, from io.Reader, size int64) error {
	var disk unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &disk); err != nil {
		return err
	}
	if free := int64(disk.Bavail) * disk.Bsize; size > free/10*9 {
		return fmt.Errorf("its database has %d bytes, and the disk of %s has %d left: free some", size, filepath.Dir(path), free)
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyN(out, from, size)
	return errors.Join(err, out.Close())
}

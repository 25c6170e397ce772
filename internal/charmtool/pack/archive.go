package pack

import (
	"archive/zip"
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dcib/dcib/internal/host/atomicfile"
)

// File is one entry of an archive.
type File struct {
	Name string // slash-separated, relative to the archive's root
	Mode fs.FileMode
	Data []byte
}

// entryTime stands in every entry, so that an archive depends on contents alone. It is the
// earliest that a zip can say.
var entryTime = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// Zip returns an archive of the files, sorted by name. The same files have the same bytes.
func Zip(files []File) ([]byte, error) {
	files = slices.SortedFunc(slices.Values(files), func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.Name, Method: zip.Deflate, Modified: entryTime}
		h.SetMode(f.Mode)
		out, err := w.CreateHeader(h)
		if err != nil {
			return nil, fmt.Errorf("cannot add %s to the archive: %w", f.Name, err)
		}
		if _, err := out.Write(f.Data); err != nil {
			return nil, fmt.Errorf("cannot add %s to the archive: %w", f.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("cannot finish the archive: %w", err)
	}
	return buf.Bytes(), nil
}

// shipped are the files that go into the archive as they lie in the charm folder, where
// they are there.
var shipped = []string{"README.md", "icon.svg", "lxd-profile.yaml"}

// Contents returns what an archive of the charm in dir holds apart from its dispatch: the
// documents split from its source, the shipped files and the licence.
func Contents(dir string, s *Source, arch string) ([]File, error) {
	docs, err := s.Documents(arch)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", filepath.Join(dir, SourceFile), err)
	}
	var files []File
	for name, data := range docs {
		files = append(files, File{name, 0o644, data})
	}
	for _, name := range shipped {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read charm: %w", err)
		}
		files = append(files, File{name, 0o644, data})
	}
	if data := licence(dir); data != nil {
		files = append(files, File{"LICENSE", 0o644, data})
	}
	return files, nil
}

// licence returns the LICENSE that holds for dir: its own, or the nearest one above it
// within the same repository.
func licence(dir string) []byte {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil
	}
	for {
		if data, err := os.ReadFile(filepath.Join(dir, "LICENSE")); err == nil {
			return data
		}
		_, err := os.Stat(filepath.Join(dir, ".git"))
		if up := filepath.Dir(dir); err != nil && up != dir {
			dir = up
			continue
		}
		return nil
	}
}

// writeIfChanged puts data at path in one step, unless it is there already: an archive
// that says nothing new keeps its time, and no one refreshes a charm for it. It reports
// whether it wrote.
func writeIfChanged(path string, data []byte) (bool, error) {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return false, nil
	}
	if err := atomicfile.Write(path, data, atomicfile.Options{Mode: 0o644}); err != nil {
		return false, err
	}
	return true, nil
}

package testkit

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const kits = "github.com/dcib/dcib/internal/testkit"

// imports returns the paths that a Go file imports.
func imports(t *testing.T, path string) []string {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	require.NoError(t, err)
	var paths []string
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		require.NoError(t, err)
		paths = append(paths, imported)
	}
	return paths
}

func TestOnlyTestsImportTestKits(t *testing.T) {
	root := filepath.Join("..", "..")
	files, users := 0, 0
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		case entry.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		for _, imported := range imports(t, path) {
			if imported != kits && !strings.HasPrefix(imported, kits+"/") {
				continue
			}
			users++
			below := func(dir ...string) bool {
				return strings.HasPrefix(path, filepath.Join(append([]string{root}, dir...)...)+string(filepath.Separator))
			}
			// The programs below tests are deployed by the suites alone.
			if !below("internal", "testkit") && !below("tests") && !strings.HasSuffix(path, "_test.go") {
				t.Errorf("%s imports %s: only tests may", path, imported)
			}
		}
		files++
		return nil
	}))
	require.Greater(t, files, 100, "the whole tree was read")
	require.Positive(t, users)
}

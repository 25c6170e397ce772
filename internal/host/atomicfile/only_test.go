package atomicfile_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// exempt is what may write, rename or change the owner of files by other means, and why.
var exempt = map[string]string{
	"charms/maas-region/region/backup.go":     "WriteFile: in a temporary folder for root only, which an archive is made of",
	"charms/pet-scheduler/daemon/daemon.go":   "Chmod: of a socket",
	"charms/pet-scheduler/service/account.go": "Chmod: of a folder",
	"internal/lxd/reset.go":                   "Rename: moves LXD's own files",
	"internal/charm/main.go":                  "WriteFile: a measurement",
	"internal/testkit/machine/machinetest.go": "WriteFile: a fake",
	"internal/host/atomicfile/atomicfile.go":  "it is the one",
}

// There is one writer of files that matter. The test bed (internal/box) is not held to it.
func TestThereIsOneWriter(t *testing.T) {
	const root = "../../.."
	banned := []string{"WriteFile", "CreateTemp", "Rename", "Chown", "Chmod"}
	seen := 0
	for _, top := range []string{"charms", "internal", "cmd"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, top), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			name, err := filepath.Rel(root, path)
			switch {
			case err != nil:
				return err
			case entry.IsDir() && (name == filepath.Join("internal", "box") || entry.Name() == "testdata"):
				return filepath.SkipDir
			case entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
				return nil
			}
			seen++
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if pkg, ok := call.X.(*ast.Ident); ok && pkg.Name == "os" && slices.Contains(banned, call.Sel.Name) && exempt[filepath.ToSlash(name)] == "" {
					t.Errorf("%s uses os.%s: a file that matters is written by atomicfile; another one is named in exempt", name, call.Sel.Name)
				}
				return true
			})
			return nil
		}))
	}
	require.Greater(t, seen, 100)
}

package pack_test

import (
	"archive/zip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charmtool/pack"
)

// Every program of every charm prints the version that it was packed with.
func TestProgramsHaveTheVersion(t *testing.T) {
	charms, err := filepath.Glob("../../../charms/*/" + pack.SourceFile)
	require.NoError(t, err)
	require.NotEmpty(t, charms)
	for _, source := range charms {
		dir := filepath.Dir(source)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			p, err := pack.Pack(t.Context(), dir, t.TempDir(), pack.Options{Version: "v1.2-3-gabc"})
			require.NoError(t, err)
			archive, err := zip.OpenReader(p.Path)
			require.NoError(t, err)
			defer archive.Close()
			programs := 0
			for _, f := range archive.File {
				if f.Mode()&0o111 == 0 || f.Mode().IsDir() {
					continue
				}
				programs++
				in, err := f.Open()
				require.NoError(t, err)
				data, err := io.ReadAll(in)
				require.NoError(t, err)
				program := filepath.Join(t.TempDir(), f.Name)
				require.NoError(t, os.WriteFile(program, data, 0o700))
				out, err := exec.CommandContext(t.Context(), program, "--version").CombinedOutput()
				require.NoError(t, err, "%s: %s", f.Name, out)
				assert.Equal(t, f.Name+" version v1.2-3-gabc\n", string(out))
			}
			assert.Positive(t, programs)
		})
	}
}

func TestPackRefusesVersions(t *testing.T) {
	for _, version := range []string{"a b", "a\"b", "a'b", "v1\n"} {
		_, err := pack.Pack(t.Context(), fixture, t.TempDir(), pack.Options{Version: version})
		assert.ErrorContains(t, err, "expected letters, digits", version)
	}
}

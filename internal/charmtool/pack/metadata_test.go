package pack_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charmtool/pack"
)

// The links of all charms are of one repository: the one that the module is named after.
func TestLinksOfOurCharms(t *testing.T) {
	mod, err := os.ReadFile("../../../go.mod")
	require.NoError(t, err)
	module := regexp.MustCompile(`(?m)^module (\S+)$`).FindSubmatch(mod)
	require.NotNil(t, module)
	repository := "https://" + string(module[1])
	for dir, s := range ourCharms(t) {
		assert.Equal(t, pack.Links{
			Contact: pack.Strings{repository + "/issues"}, Documentation: repository,
			Issues: pack.Strings{repository + "/issues"}, Source: pack.Strings{repository}, Website: pack.Strings{repository},
		}, s.Links, dir)
	}
}

// A charm that charmcraft builds has the files that one of dcib pack has: charmcraft takes what parts
// stage, and its go plugin makes programs alone.
func TestCharmcraftStagesWhatPackShips(t *testing.T) {
	for dir, s := range ourCharms(t) {
		staged := map[string]string{} // name to contents
		for name, part := range s.Parts {
			if part.Plugin != "dump" {
				continue
			}
			files, ok := part.Rest["stage"].([]any)
			require.True(t, ok, "%s: part %s stages all of %s", dir, name, part.Source)
			for _, file := range files {
				data, err := os.ReadFile(filepath.Join(dir, part.Source, file.(string)))
				require.NoError(t, err, "part %s", name)
				staged[file.(string)] = string(data)
			}
		}
		contents, err := pack.Contents(dir, s, "amd64")
		require.NoError(t, err)
		documents, err := s.Documents("amd64") // charmcraft writes them too
		require.NoError(t, err)
		shipped := map[string]string{}
		for _, f := range contents {
			if _, ok := documents[f.Name]; !ok {
				shipped[f.Name] = string(f.Data)
			}
		}
		require.Contains(t, shipped, "LICENSE", dir)
		assert.Equal(t, shipped, staged, dir)
	}
}

// ourCharms are the charms of this repository, by their folders.
func ourCharms(t *testing.T) map[string]*pack.Source {
	t.Helper()
	files, err := filepath.Glob("../../../charms/*/" + pack.SourceFile)
	require.NoError(t, err)
	require.Len(t, files, 5)
	charms := map[string]*pack.Source{}
	for _, file := range files {
		s, err := pack.ReadSource(filepath.Dir(file))
		require.NoError(t, err)
		charms[filepath.Dir(file)] = s
	}
	return charms
}

// The page of versions names the bases, the architectures and the Juju that each charm declares.
func TestThePageOfVersions(t *testing.T) {
	text, err := os.ReadFile("../../../docs/reference/versions.md")
	require.NoError(t, err)
	row := func(name string) string {
		m := regexp.MustCompile(`(?m)^\| ` + name + ` \| ([^|]*) \|`).FindSubmatch(text)
		require.NotNil(t, m, name)
		return string(m[1])
	}
	declared := regexp.MustCompile(`[0-9]+\.[0-9]+|amd64|arm64`).FindAllString(row("base of the machines"), -1)
	for dir, s := range ourCharms(t) {
		bases := map[string]bool{}
		for platform := range s.Platforms {
			base, arch, _ := strings.Cut(strings.TrimPrefix(platform, "ubuntu@"), ":")
			bases[base], bases[arch] = true, true
		}
		assert.ElementsMatch(t, slices.Collect(maps.Keys(bases)), declared, dir)
		assert.Equal(t, []any{"juju >= " + row("Juju")[:3]}, s.Assumes, dir)
	}
}

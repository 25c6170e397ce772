package lint_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charmtool/lint"
	"github.com/dcib/dcib/internal/charmtool/pack"
)

const fixture = "../pack/testdata/fixture"

// lines returns the problems as text.
func lines(problems []lint.Problem) string {
	var all []string
	for _, p := range problems {
		all = append(all, p.String())
	}
	return strings.Join(all, "\n")
}

func TestFolderIsGood(t *testing.T) {
	ch, problems := lint.Folder(fixture)
	assert.Empty(t, lines(problems))
	require.NotNil(t, ch)
	assert.Equal(t, "fixture", ch.Meta().Name)
}

// Each fault is seeded into a good charm, and has to be found under its own name.
func TestFolderFaults(t *testing.T) {
	for _, tc := range []struct {
		name           string
		file, old, new string // an empty new file is removed
		want           string
	}{
		{"name is not the folder's", "charmcraft.yaml", "name: fixture\n", "name: other\n", `name: expected the folder's name, "fixture", got "other"`},
		{"no title", "charmcraft.yaml", "title: Fixture\n", "", "title: is missing"},
		{"long summary", "charmcraft.yaml", "summary: A charm", "summary: A charm that goes on and on, and on and on, and does not come to its end", "summary: expected 1 to 78 characters"},
		{"no assumes", "charmcraft.yaml", "assumes:\n  - juju >= 3.6\n", "", "assumes: expected juju >= 3.6"},
		{"old Juju", "charmcraft.yaml", "juju >= 3.6", "juju >= 3.5", "assumes: expected juju >= 3.6"},
		{"one of several", "charmcraft.yaml", "- juju >= 3.6", "- any-of: [juju >= 3.6, juju >= 2.9]", "assumes: expected juju >= 3.6"},
		{"Juju 4 kept out", "charmcraft.yaml", "  - juju >= 3.6", "  - juju >= 3.6\n  - juju < 4.0", "assumes: expected no upper bound"},
		{"a base is missing", "charmcraft.yaml", "  ubuntu@22.04:amd64:\n  ubuntu@22.04:arm64:\n", "", "platforms: expected base ubuntu@22.04"},
		{"option without type", "charmcraft.yaml", "      type: int\n      default: 3\n", "", "config.options.floor.type: is missing"},
		{"option without description", "charmcraft.yaml", "      description: How many units stay, whatever happens.\n", "", "config.options.floor.description: is missing"},
		{"default of another type", "charmcraft.yaml", "default: 3", "default: three", `option "floor" expected int`},
		{"unknown type", "charmcraft.yaml", "type: int", "type: integer", `option "floor" has unknown type "integer"`},
		{"action without description", "charmcraft.yaml", "    description: Say the greeting. Returns it as text.\n", "", "actions.greet.description: is missing"},
		{"parameter without description", "charmcraft.yaml", "        description: A name.\n", "", "actions.greet.params.whom.description: is missing"},
		{"parameter without type", "charmcraft.yaml", "        type: string\n        description: A name.\n", "        description: A name.\n", "actions.greet.params.whom.type: is missing"},
		{"parameter that juju run cannot take", "charmcraft.yaml", "      whom:\n", "      toWhom:\n", "actions.greet.params.toWhom: expected a name"},
		{"requires what is not there", "charmcraft.yaml", "required: [whom]", "required: [who]", `actions.greet.required: expected names from params, got "who"`},
		{"open to anything", "charmcraft.yaml", "    additionalProperties: false\n", "", "actions.greet.additionalProperties: expected false"},
		{"bad action name", "charmcraft.yaml", "  greet:", "  Greet_It:", "Juju cannot read the charm: bad action name"},
		{"reserved endpoint", "charmcraft.yaml", "  website: http", "  juju-website: http", "reserved relation name"},
		{"relation without interface", "charmcraft.yaml", "    interface: postgresql_client\n", "", "requires.database.interface"},
		{"same endpoint twice", "charmcraft.yaml", "  website: http", "  database: postgresql_client", "duplicated relation name"},
		{"subordinate to nothing", "charmcraft.yaml", "assumes:", "subordinate: true\nassumes:", "lacks \"requires\" relation with container scope"},
		{"nothing builds it", "charmcraft.yaml", "plugin: go", "plugin: dump", "parts: expected one with plugin: go"},
		{"unknown field", "charmcraft.yaml", "links:", "lings:", `field "lings" is not one of charmcraft.yaml's`},
		{"no program", "main.go", "", "", "expected main.go beside it"},
		{"no README", "README.md", "", "", "README.md: is missing"},
		{"no icon", "icon.svg", "", "", "icon.svg: is missing"},
		{"an icon that is none", "icon.svg", "<svg", "<gif", "icon.svg: expected an SVG image"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "fixture")
			require.NoError(t, os.CopyFS(dir, os.DirFS(fixture)))
			file := filepath.Join(dir, tc.file)
			if tc.old == "" {
				require.NoError(t, os.Remove(file))
			} else {
				data, err := os.ReadFile(file)
				require.NoError(t, err)
				require.Contains(t, string(data), tc.old)
				require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(data), tc.old, tc.new, 1)), 0o644))
			}
			_, problems := lint.Folder(dir)
			assert.Contains(t, lines(problems), tc.want)
			assert.Contains(t, lines(problems), dir, "it says where")
		})
	}
}

func TestArchive(t *testing.T) {
	good, err := pack.Pack(t.Context(), fixture, t.TempDir(), pack.Options{})
	require.NoError(t, err)
	ch, problems := lint.Archive(good.Path)
	assert.Empty(t, lines(problems))
	require.NotNil(t, ch)

	src, err := pack.ReadSource(fixture)
	require.NoError(t, err)
	contents, err := pack.Contents(fixture, src, "amd64")
	require.NoError(t, err)
	script := pack.File{Name: "dispatch", Mode: 0o755, Data: []byte("#!/bin/sh\n")}
	plain := script
	plain.Mode = 0o644
	series := pack.File{Name: "metadata.yaml", Mode: 0o644, Data: []byte("name: fixture\nsummary: s\ndescription: d\nseries: [jammy]\n")}

	for _, tc := range []struct {
		name, file string
		without    string
		with       []pack.File
		want       string
	}{
		{"no dispatch", "fixture.charm", "", nil, "dispatch: is missing"},
		{"a script", "fixture.charm", "", []pack.File{script}, "dispatch: expected an ELF executable"},
		{"not executable", "fixture.charm", "", []pack.File{plain}, "dispatch: expected an executable file"},
		{"no metadata", "fixture.charm", "metadata.yaml", nil, `archive file "metadata.yaml" not found`},
		{"no manifest", "fixture.charm", "manifest.yaml", nil, "assumes in metadata v1"},
		{"series", "fixture.charm", "metadata.yaml", []pack.File{series}, "metadata.yaml: series: expected none"},
		{"another name", "other.charm", "", nil, `metadata.yaml: name: expected the archive's name, "other"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var files []pack.File
			for _, f := range contents {
				if f.Name != tc.without {
					files = append(files, f)
				}
			}
			data, err := pack.Zip(append(files, tc.with...))
			require.NoError(t, err)
			path := filepath.Join(t.TempDir(), tc.file)
			require.NoError(t, os.WriteFile(path, data, 0o644))
			_, problems := lint.Archive(path)
			assert.Contains(t, lines(problems), tc.want)
			assert.Contains(t, lines(problems), path)
		})
	}

	path := filepath.Join(t.TempDir(), "x.charm")
	require.NoError(t, os.WriteFile(path, []byte("not a zip"), 0o644))
	_, problems = lint.Archive(path)
	assert.Contains(t, lines(problems), "cannot read archive")
}

package pack_test

import (
	"archive/zip"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/juju/charm/v12"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dcib/dcib/internal/charmtool/pack"
)

const fixture = "testdata/fixture"

// copyFixture returns a copy of the fixture charm that a test may change.
func copyFixture(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "fixture")
	require.NoError(t, os.CopyFS(dir, os.DirFS(fixture)))
	return dir
}

// replace changes a file of a charm, and insists that there was something to change.
func replace(t *testing.T, file, old, new string) {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(data), old)
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(data), old, new, 1)), 0o644))
}

func TestPack(t *testing.T) {
	out := t.TempDir()
	p, err := pack.Pack(t.Context(), fixture, out, pack.Options{Version: "v1"})
	require.NoError(t, err)
	assert.Equal(t, "fixture", p.Name)
	assert.Equal(t, filepath.Join(out, "fixture.charm"), p.Path)
	assert.True(t, p.Changed)
	assert.Len(t, p.SHA256, 64)

	// What Juju reads is what was written.
	ch, err := charm.ReadCharmArchive(p.Path)
	require.NoError(t, err)
	require.NoError(t, charm.CheckMeta(ch))
	assert.Equal(t, "v1", ch.Version())
	assert.Equal(t, "It does nothing, for no one, in every shape that a charm can have.\n", ch.Meta().Description)
	assert.Equal(t, charm.Relation{
		Name: "database", Role: charm.RoleRequirer, Interface: "postgresql_client",
		Optional: true, Limit: 1, Scope: charm.ScopeGlobal,
	}, ch.Meta().Requires["database"])
	assert.Contains(t, ch.Meta().ExtraBindings, "public")
	assert.Equal(t, "/srv/fixture", ch.Meta().Storage["data"].Location)
	assert.Equal(t, "on", ch.Config().Options["greeting"].Default, "a string stays one, whatever YAML 1.1 makes of it")
	assert.EqualValues(t, 3, ch.Config().Options["floor"].Default)
	assert.Equal(t, false, ch.Actions().ActionSpecs["greet"].Params["additionalProperties"])
	var bases []string
	for _, b := range ch.Manifest().Bases {
		bases = append(bases, b.Name+"@"+b.Channel.Track)
		assert.Equal(t, []string{runtime.GOARCH}, b.Architectures)
	}
	assert.Equal(t, []string{"ubuntu@22.04", "ubuntu@24.04"}, bases)

	z, err := zip.OpenReader(p.Path)
	require.NoError(t, err)
	defer z.Close()
	modes := map[string]os.FileMode{}
	for _, f := range z.File {
		modes[f.Name] = f.Mode()
		if f.Name == "dispatch" {
			r, err := f.Open()
			require.NoError(t, err)
			data, err := io.ReadAll(r)
			require.NoError(t, err)
			assert.NoError(t, pack.CheckStatic(data))
		}
	}
	assert.Equal(t, os.FileMode(0o755), modes["dispatch"])
	for _, name := range []string{"metadata.yaml", "config.yaml", "actions.yaml", "manifest.yaml", "README.md", "icon.svg", "LICENSE"} {
		assert.Equal(t, os.FileMode(0o644), modes[name], name)
	}
}

func TestPackLeavesAnUnchangedArchiveAlone(t *testing.T) {
	dir, out := copyFixture(t), t.TempDir()
	first, err := pack.Pack(t.Context(), dir, out, pack.Options{})
	require.NoError(t, err)
	long := time.Now().Add(-time.Hour).Truncate(time.Second)
	require.NoError(t, os.Chtimes(first.Path, long, long))

	// Newer inputs that say the same.
	now := time.Now()
	require.NoError(t, os.Chtimes(filepath.Join(dir, "main.go"), now, now))
	again, err := pack.Pack(t.Context(), dir, out, pack.Options{})
	require.NoError(t, err)
	assert.False(t, again.Changed)
	info, err := os.Stat(first.Path)
	require.NoError(t, err)
	assert.Equal(t, long, info.ModTime().Truncate(time.Second))

	// A clone elsewhere has the same bytes.
	other, err := pack.Pack(t.Context(), copyFixture(t), t.TempDir(), pack.Options{})
	require.NoError(t, err)
	assert.Equal(t, first.SHA256, other.SHA256)

	// New code is a new archive.
	replace(t, filepath.Join(dir, "main.go"), `println("fixture")`, `println("changed")`)
	changed, err := pack.Pack(t.Context(), dir, out, pack.Options{})
	require.NoError(t, err)
	assert.True(t, changed.Changed)
	assert.NotEqual(t, first.SHA256, changed.SHA256)
}

// A charm may have a second program beside its dispatch.
func TestPackTwoPrograms(t *testing.T) {
	second := `
  second:
    plugin: go
    source: .
    source-subdir: second
    organize: {bin/second: other}
`
	dir, out := copyFixture(t), t.TempDir()
	replace(t, filepath.Join(dir, "charmcraft.yaml"), "\nparts:\n", "\nparts:"+second)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "second"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "second", "main.go"), []byte("package main\n\nfunc main() { println(\"second\") }\n"), 0o644))
	p, err := pack.Pack(t.Context(), dir, out, pack.Options{})
	require.NoError(t, err)
	z, err := zip.OpenReader(p.Path)
	require.NoError(t, err)
	defer z.Close()
	var programs []string
	for _, f := range z.File {
		if f.Mode() == 0o755 {
			programs = append(programs, f.Name)
		}
	}
	assert.Equal(t, []string{"dispatch", "other"}, programs)

	for _, tc := range []struct{ old, new, want string }{
		{"bin/second: other", "bin/second: dispatch", "two with plugin: go make dispatch"},
		{"bin/second: dispatch", "bin/second: ../other", `expected the name of a program, got "../other"`},
		{"source-subdir: second", "source-subdir: ../second", "to lead into the charm's folder"},
	} {
		replace(t, filepath.Join(dir, "charmcraft.yaml"), tc.old, tc.new)
		_, err := pack.Pack(t.Context(), dir, out, pack.Options{})
		assert.ErrorContains(t, err, tc.want)
		if tc.want[0] == 'e' {
			replace(t, filepath.Join(dir, "charmcraft.yaml"), tc.new, "bin/second: other")
		}
	}
}

func TestPackFaults(t *testing.T) {
	for _, tc := range []struct {
		name           string
		file, old, new string
		want           string
	}{
		{"misspelt field", "charmcraft.yaml", "\nrequires:", "\nrequries:", `field "requries" is not one of charmcraft.yaml's`},
		{"series", "charmcraft.yaml", "\nassumes:", "\nseries: [jammy]\nassumes:", `field "series" is not one`},
		{"a bundle", "charmcraft.yaml", "type: charm", "type: bundle", `type: expected charm, got "bundle"`},
		{"no name", "charmcraft.yaml", "name: fixture\n", "", "name: expected lower-case"},
		{"a name that leads elsewhere", "charmcraft.yaml", "name: fixture\n", "name: ../fixture\n", "name: expected lower-case"},
		{"a platform without base", "charmcraft.yaml", "ubuntu@22.04:amd64:", "amd64:", "platforms: amd64: expected a base and an architecture"},
		{"code that does not compile", "main.go", "println", "pirntln", "undefined: pirntln"},
		{"a library", "main.go", "package main", "package lib", "expected an ELF executable"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, out := copyFixture(t), t.TempDir()
			replace(t, filepath.Join(dir, tc.file), tc.old, tc.new)
			_, err := pack.Pack(t.Context(), dir, out, pack.Options{})
			require.Error(t, err)
			assert.Contains(t, err.Error(), tc.want)
			assert.Contains(t, err.Error(), "cannot ")
			assert.Contains(t, err.Error(), dir, "it says where")
			assert.NoFileExists(t, filepath.Join(out, "fixture.charm"))
		})
	}

	t.Run("no charm there", func(t *testing.T) {
		_, err := pack.Pack(t.Context(), t.TempDir(), t.TempDir(), pack.Options{})
		assert.ErrorContains(t, err, "expected a charm folder with a charmcraft.yaml")
	})
	t.Run("no platform for the architecture", func(t *testing.T) {
		_, err := pack.Pack(t.Context(), fixture, t.TempDir(), pack.Options{Arch: "s390x"})
		assert.ErrorContains(t, err, "platforms: expected one for architecture s390x")
	})
}

func TestPackForAnotherArchitecture(t *testing.T) {
	p, err := pack.Pack(t.Context(), fixture, t.TempDir(), pack.Options{Arch: "arm64"})
	require.NoError(t, err)
	ch, err := charm.ReadCharmArchive(p.Path)
	require.NoError(t, err)
	for _, b := range ch.Manifest().Bases {
		assert.Equal(t, []string{"arm64"}, b.Architectures)
	}
}

// Juju refuses an empty config.yaml, and an empty actions.yaml says nothing.
func TestDocumentsLeavesOutWhatIsEmpty(t *testing.T) {
	for _, config := range []string{"", "config:\n", "config: {options: {}}\n"} {
		s, err := pack.ParseSource([]byte("type: charm\nname: bare\nplatforms: {'ubuntu@24.04:amd64': }\n" + config))
		require.NoError(t, err)
		docs, err := s.Documents("amd64")
		require.NoError(t, err)
		assert.Contains(t, docs, "metadata.yaml")
		assert.Contains(t, docs, "manifest.yaml")
		assert.Len(t, docs, 2, config)
	}
}

func TestPlatforms(t *testing.T) {
	for _, tc := range []struct{ name, platforms, want string }{
		{"shorthand", "platforms: {'ubuntu@24.04:amd64': }", "ubuntu 24.04"},
		{"one base for all", "base: ubuntu@22.04\nplatforms: {amd64: , arm64: }", "ubuntu 22.04"},
		{"named", "platforms: {noble: {build-on: ['ubuntu@24.04:arm64'], build-for: ['ubuntu@24.04:amd64']}}", "ubuntu 24.04"},
		{"any architecture", "base: ubuntu@24.04\nplatforms: {any: {build-on: [amd64], build-for: all}}", "ubuntu 24.04"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := pack.ParseSource([]byte("type: charm\nname: bare\n" + tc.platforms))
			require.NoError(t, err)
			docs, err := s.Documents("amd64")
			require.NoError(t, err)
			m, err := charm.ReadManifest(strings.NewReader(string(docs["manifest.yaml"])))
			require.NoError(t, err)
			require.Len(t, m.Bases, 1)
			assert.Equal(t, tc.want, m.Bases[0].Name+" "+m.Bases[0].Channel.Track)
		})
	}
}

// A dynamic program runs on the base that it was built on, and on no other.
func TestCheckStatic(t *testing.T) {
	assert.ErrorContains(t, pack.CheckStatic([]byte("#!/bin/sh\n")), "expected an ELF executable")
	sh, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Skip("no /bin/sh to look at")
	}
	assert.ErrorContains(t, pack.CheckStatic(sh), "expected a static executable")
}

// The archive depends on what is in it, not on the order in which it came.
func TestZipIsReproducible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z]{1,8}`), 1, 6, rapid.ID).Draw(t, "names")
		var files []pack.File
		for _, n := range names {
			files = append(files, pack.File{Name: n, Mode: 0o644, Data: rapid.SliceOf(rapid.Byte()).Draw(t, "data")})
		}
		a, err := pack.Zip(files)
		require.NoError(t, err)
		b, err := pack.Zip(rapid.Permutation(files).Draw(t, "order"))
		require.NoError(t, err)
		assert.Equal(t, a, b)
	})
}

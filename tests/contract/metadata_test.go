//go:build contract

package contract

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charmtool/lint"
	"github.com/dcib/dcib/internal/charmtool/pack"
)

// read is what the agent says of a charm; see its reader.go.
type read struct {
	Name, Summary string
	Subordinate   bool
	Relations     map[string]struct {
		Role, Interface, Scope string
		Limit                  int
		Optional               bool
	}
	Bindings []string
	Storage  map[string]struct {
		Type     string
		Min, Max int
		Location string
	}
	Options map[string]struct {
		Type    string
		Default any
	}
	Actions map[string]struct {
		Description string
		Parallel    bool
		Params      map[string]any
	}
	Bases   []string
	Assumes bool
}

// packAll lays the repository's bundles and overlays, and its charms as dcib pack makes them but for
// the programs in them, into a folder.
func packAll(t *testing.T) (dir string, charms []string) {
	t.Helper()
	dir = t.TempDir()
	for _, pattern := range []string{"bundles/*.yaml", "overlays/*.yaml"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			to := filepath.Join(dir, filepath.Dir(pattern), filepath.Base(file))
			require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
			require.NoError(t, os.WriteFile(to, text, 0o644))
		}
	}
	sources, err := filepath.Glob(filepath.Join(root, "charms/*", pack.SourceFile))
	require.NoError(t, err)
	require.NotEmpty(t, sources)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "dist"), 0o755))
	for _, source := range sources {
		s, err := pack.ReadSource(filepath.Dir(source))
		require.NoError(t, err)
		files, err := pack.Contents(filepath.Dir(source), s, "amd64")
		require.NoError(t, err)
		archive, err := pack.Zip(append(files, pack.File{Name: "dispatch", Mode: 0o755, Data: []byte("#!/bin/sh\n")}))
		require.NoError(t, err)
		path := filepath.Join(dir, "dist", s.Name+".charm")
		require.NoError(t, os.WriteFile(path, archive, 0o644))
		charms = append(charms, path)
	}
	return dir, charms
}

// Either version reads the charms, takes them for its own, and reads in them what charmcraft.yaml
// has.
func TestCharms(t *testing.T) {
	_, paths := packAll(t)
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			var all []read
			require.NoError(t, v.read(t, &all, append([]string{"charm"}, paths...)...))
			require.Len(t, all, len(paths))
			for _, got := range all {
				t.Run(got.Name, func(t *testing.T) {
					source, err := pack.ReadSource(filepath.Join(root, "charms", got.Name))
					require.NoError(t, err)
					compare(t, source, got)
				})
			}
		})
	}
}

func compare(t *testing.T, source *pack.Source, got read) {
	require.Equal(t, source.Summary, got.Summary)
	require.Equal(t, source.Subordinate, got.Subordinate)
	require.True(t, got.Assumes, "which Juju the charm needs is not read")
	require.NotEmpty(t, got.Bases)
	for platform := range source.Platforms {
		require.Contains(t, got.Bases, platform)
	}
	require.Len(t, got.Bases, len(source.Platforms))

	wanted := 0
	for role, endpoints := range map[string]map[string]any{"provider": source.Provides, "requirer": source.Requires, "peer": source.Peers} {
		for name, says := range endpoints {
			wanted++
			e, ok := got.Relations[name]
			require.True(t, ok, "no relation %s", name)
			require.Equal(t, role, e.Role)
			want := table(says)
			require.Equal(t, want["interface"], e.Interface)
			require.Equal(t, or(want["optional"], false), e.Optional)
			require.Equal(t, or(want["scope"], "global"), e.Scope)
			if limit, ok := want["limit"]; ok {
				require.EqualValues(t, limit, e.Limit)
			}
		}
	}
	require.Len(t, got.Relations, wanted)

	require.Len(t, got.Bindings, len(source.ExtraBindings))
	for name := range source.ExtraBindings {
		require.Contains(t, got.Bindings, name)
	}

	require.Len(t, got.Storage, len(source.Storage))
	for name, says := range source.Storage {
		require.Equal(t, table(says)["type"], got.Storage[name].Type)
	}

	options := table(source.Config["options"])
	require.Len(t, got.Options, len(options))
	for name, says := range options {
		want := table(says)
		require.Equal(t, want["type"], got.Options[name].Type, name)
		require.EqualValues(t, want["default"], got.Options[name].Default, name)
	}

	require.Len(t, got.Actions, len(source.Actions))
	for name, says := range source.Actions {
		want, a := table(says), got.Actions[name]
		require.Equal(t, want["description"], a.Description)
		require.Equal(t, or(want["parallel"], false), a.Parallel)
		require.Equal(t, or(want["params"], map[string]any{}), a.Params["properties"], name)
		require.Equal(t, or(want["additionalProperties"], true), or(a.Params["additionalProperties"], true), name)
		if required, ok := want["required"]; ok {
			require.Equal(t, required, a.Params["required"], name)
		}
	}
}

// table is YAML as JSON has it, numbers above all.
func table(says any) map[string]any {
	text, err := json.Marshal(says)
	if err != nil {
		panic(err) // not of a YAML file
	}
	var t map[string]any
	if err := json.Unmarshal(text, &t); err != nil {
		panic(err)
	}
	return t
}

func or(value, otherwise any) any {
	if value == nil {
		return otherwise
	}
	return value
}

// Either version's juju deploy reads the bundles, and each overlay over what its first lines say,
// and knows each field in them.
func TestBundles(t *testing.T) {
	dir, _ := packAll(t)
	bundles, err := filepath.Glob(filepath.Join(dir, "bundles/*.yaml"))
	require.NoError(t, err)
	overlays, err := filepath.Glob(filepath.Join(dir, "overlays/*.yaml"))
	require.NoError(t, err)
	deployments := map[string][]string{}
	for _, bundle := range bundles {
		deployments[filepath.Base(bundle)] = []string{bundle}
	}
	for _, overlay := range overlays {
		under, err := new(lint.Files).Over(overlay)
		require.NoError(t, err)
		require.NotEmpty(t, under, "%s does not say what it is laid over", overlay)
		deployments[filepath.Base(overlay)] = append(under, overlay)
	}
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			for name, files := range deployments {
				t.Run(name, func(t *testing.T) {
					var got struct{ Applications, Problems []string }
					require.NoError(t, v.read(t, &got, append([]string{"bundle"}, files...)...))
					require.NotEmpty(t, got.Applications)
					require.Empty(t, got.Problems)
				})
			}
		})
	}
}

// What is wrong is found by either version: the two tests above can fail.
func TestWhatIsWrongIsFound(t *testing.T) {
	dir, charms := packAll(t)
	bundle := filepath.Join(dir, "bundles/dcib.yaml")
	text, err := os.ReadFile(bundle)
	require.NoError(t, err)
	wrong := filepath.Join(dir, "bundles/wrong.yaml")
	require.NoError(t, os.WriteFile(wrong, []byte(strings.Replace(string(text), "\nmachines:", "\nmachine:", 1)), 0o644))
	require.NotEqual(t, string(text), strings.Replace(string(text), "\nmachines:", "\nmachine:", 1))
	i := slices.IndexFunc(charms, func(c string) bool { return filepath.Base(c) == "maas-rack.charm" })
	source, err := os.ReadFile(filepath.Join(root, "charms/maas-rack", pack.SourceFile))
	require.NoError(t, err)
	s, err := pack.ParseSource([]byte(strings.Replace(string(source), "juju >= 3.6", "juju >= 5", 1)))
	require.NoError(t, err)
	files, err := pack.Contents(filepath.Join(root, "charms/maas-rack"), s, "amd64")
	require.NoError(t, err)
	archive, err := pack.Zip(files)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(charms[i], archive, 0o644))
	for _, v := range versions {
		var got struct{ Problems []string }
		err := v.read(t, &got, "bundle", wrong)
		require.True(t, err != nil || len(got.Problems) > 0, "Juju %s took a field that it does not know", v.name)
		require.ErrorContains(t, v.read(t, new([]read), "charm", charms[i]), "requires Juju version >= 5", v.name)
	}
}

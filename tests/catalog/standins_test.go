package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/juju/charm/v12"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charmtool/catalog"
	"github.com/dcib/dcib/internal/charmtool/lint"
)

// Each stand-in is a charm that Juju takes, with what the catalogue knows of the real one,
// and the bundles with them in the places of the real ones are as right as before.
func TestStandIns(t *testing.T) {
	root := t.TempDir()
	program := filepath.Join(t.TempDir(), "dispatch")
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755))
	out := filepath.Join(root, "dist", "standins")
	names, err := write(out, program)
	require.NoError(t, err)
	require.NotEmpty(t, names)
	for _, name := range names {
		got, err := charm.ReadCharmArchive(filepath.Join(out, name+".charm"))
		require.NoError(t, err, name)
		require.NoError(t, charm.CheckMeta(got), name)
		c, _, _ := catalog.Find(name, "")
		want, err := c.Juju()
		require.NoError(t, err)
		assert.Equal(t, want.Meta().CombinedRelations(), got.Meta().CombinedRelations(), name)
		assert.Equal(t, want.Meta().Storage, got.Meta().Storage, name)
		assert.Equal(t, want.Config(), got.Config(), name)
		assert.Equal(t, want.Meta().Subordinate, got.Meta().Subordinate, name)
	}

	for _, dir := range []string{"bundles", "overlays", "tests/overlays"} {
		require.NoError(t, os.CopyFS(filepath.Join(root, dir), os.DirFS(filepath.Join("../..", dir))))
	}
	charms, err := filepath.Abs("../../charms")
	require.NoError(t, err)
	require.NoError(t, os.Symlink(charms, filepath.Join(root, "charms")))
	overlays, err := filepath.Glob(filepath.Join(root, "tests/overlays/*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, overlays)
	for _, overlay := range overlays {
		under, err := new(lint.Files).Over(overlay)
		require.NoError(t, err)
		require.NotEmpty(t, under)
		for _, p := range new(lint.Files).Bundle(under[0], append(under[1:], overlay), nil) {
			t.Error(p)
		}
		bundle, err := charm.LocalBundleDataSource(under[0])
		require.NoError(t, err)
		sources := []charm.BundleDataSource{bundle}
		for _, file := range append(under[1:], overlay) {
			src, err := charm.LocalBundleDataSource(file)
			require.NoError(t, err)
			sources = append(sources, src)
		}
		merged, err := charm.ReadAndMergeBundleData(sources...)
		require.NoError(t, err)
		for name, app := range merged.Applications {
			assert.True(t, filepath.IsAbs(app.Charm), "%s of %s is from Charmhub", name, overlay)
		}
	}
}

// Writing again changes no file.
func TestWriteTwice(t *testing.T) {
	program := filepath.Join(t.TempDir(), "dispatch")
	require.NoError(t, os.WriteFile(program, []byte("x"), 0o755))
	out := t.TempDir()
	names, err := write(out, program)
	require.NoError(t, err)
	path := filepath.Join(out, names[0]+".charm")
	require.NoError(t, os.Chmod(path, 0o400))
	before, err := os.Stat(path)
	require.NoError(t, err)
	_, err = write(out, program)
	require.NoError(t, err)
	after, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, before.ModTime(), after.ModTime())
	_, err = write(out, "nowhere")
	require.Error(t, err)
}

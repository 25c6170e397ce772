package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheck(t *testing.T) {
	words, allowed, err := parse(list)
	require.NoError(t, err)
	for _, c := range []struct {
		line string
		want []string
	}{
		{line: "// Next returns the first window."},
		{line: "// Next gives the first window.", want: []string{"gives"}},
		{line: "it gives up after 10 s"},
		{line: "func founderIsMissing() bool {", want: []string{"founder"}},
		{line: "the profile's founder_name", want: []string{"founder"}},
		{line: "foundered: not the word"},
		{line: "Somebody has mended a LXD by itself", want: []string{"Somebody", "by itself", "mended", "a LXD"}},
		{line: "a LXDs"},
		{line: "the plan of lanes and rooms", want: []string{"lanes", "rooms"}},
		{line: "control planes, mushrooms, talents"},
	} {
		var got []string
		for _, f := range check(c.line, words, allowed) {
			got = append(got, f.text)
		}
		require.Equal(t, c.want, got, c.line)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, bad := range []string{"word without a replacement", "a(\tb", "=allowed\twith a replacement"} {
		_, _, err := parse(bad)
		require.Error(t, err, bad)
	}
}

// Each word of the list, put into a file of a repository, is found there.
func TestSearch(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, exec.Command("git", "init", "-q", dir).Run())
	write := func(name, content string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
	}
	write("a.go", "package a // fine\n")
	write("image.png", "nobody")
	write("docs/explanation/glossary.md", "nobody\n")
	found, err := search(dir, new(strings.Builder))
	require.NoError(t, err)
	require.Zero(t, found)

	for _, name := range []string{"a.go", "docs/page.md", "charmcraft.yaml", "Makefile", "t.txtar"} {
		write(name, "line\nnobody\n")
		var out strings.Builder
		found, err := search(dir, &out)
		require.NoError(t, err)
		require.Equal(t, 1, found, name)
		require.Contains(t, out.String(), name+`:2: "nobody": write `)
		write(name, "")
	}
}

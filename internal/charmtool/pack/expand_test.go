package pack

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestExpand(t *testing.T) {
	t.Setenv("DCIB_WORD", "word")
	for value, want := range map[string]string{"1": "1", "-a 'b'  c": "-a 'b'  c", "x$DCIB_WORD": "xword", "$(echo a b)": "a b", "$(false || echo c)": "c"} {
		got, err := expand(t.Context(), value)
		require.NoError(t, err, value)
		assert.Equal(t, want, got, value)
	}
	_, err := expand(t.Context(), "$(")
	assert.ErrorContains(t, err, `cannot expand "$("`)
}

// petSchedulerFlags returns what pet-scheduler is linked with, as written, and its build-packages.
func petSchedulerFlags(t *testing.T) (flags string, packages []string) {
	t.Helper()
	source, err := ReadSource("../../../charms/pet-scheduler")
	require.NoError(t, err)
	for _, part := range source.goParts() {
		for _, vars := range part.BuildEnvironment {
			flags += vars["CGO_LDFLAGS"]
		}
	}
	require.NotEmpty(t, flags)
	return flags, source.BuildPackages()
}

// liblz4 of Debian 13 needs libxxhash, whose licence has to be in the NOTICE. libdqlite of Debian 13 has
// raft in it: it comes first, since the linker takes what an earlier library has from there, and the two
// must not be mixed.
func TestPetSchedulerLinksOnDebian13(t *testing.T) {
	flags, packages := petSchedulerFlags(t)
	assert.Contains(t, packages, "libxxhash-dev")
	fields := strings.Fields(flags)
	assert.Contains(t, fields, "-lxxhash")
	assert.Contains(t, fields, "-lraft")
	assert.Less(t, slices.Index(fields, "-ldqlite"), slices.Index(fields, "-lraft"))
}

// pet-scheduler is linked with libuv's static library under either of its names.
func TestPetSchedulerFindsLibuv(t *testing.T) {
	flags, _ := petSchedulerFlags(t)
	for _, name := range []string{"libuv_a.a", "libuv.a"} {
		// As gcc does it: the path of a file that is there, else the name.
		bin := t.TempDir()
		gcc := "#!/bin/sh\nif [ \"$1\" = -print-file-name=" + name + " ]; then echo /usr/lib/x/" + name + "; else echo \"${1#*=}\"; fi\n"
		require.NoError(t, os.WriteFile(filepath.Join(bin, "gcc"), []byte(gcc), 0o755))
		t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
		got, err := expand(t.Context(), flags)
		require.NoError(t, err)
		assert.Contains(t, strings.Fields(got), "/usr/lib/x/"+name)
		assert.Equal(t, 1, strings.Count(got, "uv"), got)
	}
}

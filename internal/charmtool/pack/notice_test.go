package pack

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNotice(t *testing.T) {
	docs := t.TempDir()
	for name, text := range map[string]string{"libdqlite-dev": "LGPL-3 with an exception\n", "libuv1-dev": "MIT\n", "gcc": "GPL-3\n"} {
		require.NoError(t, os.MkdirAll(filepath.Join(docs, copyrights, name), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(docs, copyrights, name, "copyright"), []byte(text), 0o600))
	}
	static := Part{BuildPackages: Strings{"gcc", "libuv1-dev", "libdqlite-dev"}, BuildEnvironment: []map[string]string{{"CGO_ENABLED": "1"}}}
	plain := Part{BuildPackages: Strings{"libnone-dev"}, BuildEnvironment: []map[string]string{{"CGO_ENABLED": "0"}}}

	text, err := notice(docs, []Part{plain})
	require.NoError(t, err)
	require.Nil(t, text, "Go alone links no library")

	text, err = notice(docs, []Part{plain, static, static})
	require.NoError(t, err)
	require.Regexp(t, `(?s)^Programs .*==== libdqlite-dev ====\n\nLGPL-3 with an exception\n\n==== libuv1-dev ====\n\nMIT\n$`, string(text))

	static.BuildPackages = append(static.BuildPackages, "libraft-dev")
	_, err = notice(docs, []Part{static})
	require.ErrorContains(t, err, "cannot find the licence of libraft-dev")

	// What a licence only names is there, too.
	static.BuildPackages = Strings{"libuv1-dev"}
	require.NoError(t, os.WriteFile(filepath.Join(docs, copyrights, "libuv1-dev", "copyright"), []byte("see `/usr/share/common-licenses/LGPL-3'. Or\n/usr/share/common-licenses/LGPL-3."), 0o600))
	_, err = notice(docs, []Part{static})
	require.ErrorContains(t, err, "common-licenses/LGPL-3")
	require.NoError(t, os.MkdirAll(filepath.Join(docs, "usr/share/common-licenses"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(docs, "usr/share/common-licenses/LGPL-3"), []byte("GNU LESSER\n"), 0o600))
	text, err = notice(docs, []Part{static})
	require.NoError(t, err)
	require.Regexp(t, "(?s)==== /usr/share/common-licenses/LGPL-3 ====\n\nGNU LESSER\n$", string(text))
}

// What pet-scheduler's store links is in its NOTICE.
func TestNoticeOfPetScheduler(t *testing.T) {
	source, err := ReadSource("../../../charms/pet-scheduler")
	require.NoError(t, err)
	docs := t.TempDir()
	for _, name := range source.BuildPackages() {
		require.NoError(t, os.MkdirAll(filepath.Join(docs, copyrights, name), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(docs, copyrights, name, "copyright"), []byte("licence of "+name), 0o600))
	}
	text, err := notice(docs, source.goParts())
	require.NoError(t, err)
	for _, name := range []string{"libdqlite-dev", "libraft-dev", "libuv1-dev", "libsqlite3-dev", "liblz4-dev", "libc6-dev"} {
		require.Contains(t, string(text), "licence of "+name)
	}
}

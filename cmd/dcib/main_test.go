package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts run this binary under the name dcib.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"dcib": main})
}

// TestScripts runs testdata/script/*.txtar: the commands as a user types them.
func TestScripts(t *testing.T) {
	fixture, err := filepath.Abs("../../internal/charmpack/testdata/fixture")
	if err != nil {
		t.Fatal(err)
	}
	docs, err := filepath.Abs("../../docs")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"maas": maasCmd},
		Setup: func(e *testscript.Env) error {
			e.Setenv("DOCS", docs)
			setUpMAAS(e)
			// Without the user's caches each script would compile Go's library again.
			for _, k := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GOFLAGS"} {
				if v, ok := os.LookupEnv(k); ok {
					e.Setenv(k, v)
				}
			}
			if cache, err := os.UserCacheDir(); err == nil && os.Getenv("GOCACHE") == "" {
				e.Setenv("GOCACHE", filepath.Join(cache, "go-build"))
			}
			return os.CopyFS(filepath.Join(e.WorkDir, "fixture"), os.DirFS(fixture))
		},
	})
}

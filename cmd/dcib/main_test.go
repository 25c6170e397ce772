package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts run this binary under the name dcib.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"dcib": main})
}

// TestScripts runs testdata/script/*.txtar: the commands as a user types them.
func TestScripts(t *testing.T) {
	fixture, err := filepath.Abs("../../internal/charmtool/pack/testdata/fixture")
	if err != nil {
		t.Fatal(err)
	}
	docs, err := filepath.Abs("../../docs")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"maas": maasCmd, "status": statusCmd},
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

// statusCmd is `status N PROGRAM ARG…`: the program has to end with that exit status.
func statusCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N PROGRAM ARG…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = strconv.Itoa(exit.ExitCode())
	} else if err != nil {
		ts.Fatalf("cannot run %s: %v", args[1], err)
	}
	if got != args[0] {
		ts.Fatalf("%s ended with status %s, expected %s", strings.Join(args[1:], " "), got, args[0])
	}
}

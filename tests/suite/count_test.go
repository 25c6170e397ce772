package main

import (
	"errors"
	"strings"
	"testing"
)

func TestCount(t *testing.T) {
	for _, tc := range []struct {
		name   string
		events []string
		err    error
		shows  []string // in the report
		hides  []string
		ok     bool
	}{{
		name: "passes and skips are counted, by subtest",
		events: []string{
			`{"Action":"run","Package":"p","Test":"TestA"}`,
			`{"Action":"run","Package":"p","Test":"TestA/one"}`,
			`{"Action":"output","Package":"p","Test":"TestA/one","Output":"chatter\n"}`,
			`{"Action":"run","Package":"p","Test":"TestA/two"}`,
			`{"Action":"pass","Package":"p","Test":"TestA/one"}`,
			`{"Action":"skip","Package":"p","Test":"TestA/two"}`,
			`{"Action":"pass","Package":"p","Test":"TestA"}`,
			`{"Action":"pass","Package":"p"}`,
		},
		shows: []string{"s: 1 passed, 0 failed, 1 skipped\n"},
		hides: []string{"chatter"},
		ok:    true,
	}, {
		name: "a failure is shown, and counted once",
		events: []string{
			`{"Action":"run","Package":"p","Test":"TestA"}`,
			`{"Action":"run","Package":"p","Test":"TestA/one"}`,
			`{"Action":"output","Package":"p","Test":"TestA/one","Output":"expected 3, got 4\n"}`,
			`{"Action":"fail","Package":"p","Test":"TestA/one","Elapsed":0.5}`,
			`{"Action":"fail","Package":"p","Test":"TestA"}`,
			`{"Action":"fail","Package":"p"}`,
		},
		err:   errors.New("exit status 1"),
		shows: []string{"FAILED p TestA/one (0.50 s)\nexpected 3, got 4\n", "s: 0 passed, 1 failed, 0 skipped\n"},
	}, {
		name: "a package that does not build is a failure",
		events: []string{
			`{"ImportPath":"p","Action":"build-output","Output":"p.go:1: syntax error\n"}`,
			`{"ImportPath":"p","Action":"build-fail"}`,
			`{"Action":"output","Package":"p","Output":"FAIL\tp [build failed]\n"}`,
			`{"Action":"fail","Package":"p","FailedBuild":"p"}`,
		},
		err:   errors.New("exit status 1"),
		shows: []string{"syntax error", "s: 0 passed, 1 failed, 0 skipped\n"},
	}, {
		name:   "go test that failed without a word is a failure",
		events: []string{`{"Action":"pass","Package":"p","Test":"TestA"}`},
		err:    errors.New("exit status 2"),
		shows:  []string{"exit status 2", "s: 1 passed, 1 failed, 0 skipped\n"},
	}, {
		name:   "a suite in which nothing ran is not good",
		events: []string{`{"Action":"skip","Package":"p"}`},
		shows:  []string{"no test ran", "s: 0 passed, 1 failed, 0 skipped\n"},
	}, {
		name:   "tests that were only skipped are no good suite either",
		events: []string{`{"Action":"skip","Package":"p","Test":"TestA"}`},
		shows:  []string{"no test ran", "s: 0 passed, 1 failed, 1 skipped\n"},
	}} {
		t.Run(tc.name, func(t *testing.T) {
			var report strings.Builder
			c := newCount(&report, false)
			c.read(strings.NewReader(strings.Join(tc.events, "\n")))
			if ok := c.close("s", tc.err); ok != tc.ok {
				t.Errorf("good: expected %v, got %v", tc.ok, ok)
			}
			for _, want := range tc.shows {
				if !strings.Contains(report.String(), want) {
					t.Errorf("expected %q in the report:\n%s", want, report.String())
				}
			}
			for _, not := range tc.hides {
				if strings.Contains(report.String(), not) {
					t.Errorf("expected no %q in the report:\n%s", not, report.String())
				}
			}
		})
	}
}

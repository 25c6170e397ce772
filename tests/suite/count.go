package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// event is one line of go test -json (see go doc test2json).
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output
	Test       string
	Output     string
	Elapsed    float64 // seconds
}

// count turns events into a report. A test with subtests is counted by its subtests,
// unless it failed of itself; a package that failed without a failed test counts as one.
type count struct {
	w       io.Writer
	verbose bool

	output  map[string]*strings.Builder // by package and test, until it ended
	parents map[string]bool             // tests that have subtests
	failing map[string]bool             // packages, and tests, below which something failed

	passed, failed, skipped int
}

func newCount(w io.Writer, verbose bool) *count {
	return &count{
		w: w, verbose: verbose,
		output:  map[string]*strings.Builder{},
		parents: map[string]bool{},
		failing: map[string]bool{},
	}
}

// read takes events until r ends. A line that is not an event is passed on.
func (c *count) read(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) == nil && e.Action != "" {
				c.take(e)
			} else {
				fmt.Fprint(c.w, line)
			}
		}
		if err != nil {
			return
		}
	}
}

func (c *count) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "run":
		for _, up := range above(e) {
			c.parents[up] = true
		}
	case "output", "build-output":
		c.keep(key, e)
	case "pass", "skip":
		delete(c.output, key)
		switch {
		case e.Test == "" || c.parents[key]:
		case e.Action == "pass":
			c.passed++
		default:
			c.skipped++
		}
	case "fail":
		c.fail(key, e)
	}
}

// above returns the keys of the tests that e's test runs below. A subtest's own name may
// hold slashes, too, so some of them may not exist.
func above(e event) []string {
	var keys []string
	for i, r := range e.Test {
		if r == '/' {
			keys = append(keys, e.Package+" "+e.Test[:i])
		}
	}
	return keys
}

// keep holds output back until it is known whether anyone wants it.
func (c *count) keep(key string, e event) {
	if c.verbose || e.Action == "build-output" {
		fmt.Fprint(c.w, e.Output)
		return
	}
	b := c.output[key]
	if b == nil {
		b = &strings.Builder{}
		c.output[key] = b
	}
	b.WriteString(e.Output)
}

// fail shows what failed and counts it, once: at the lowest place where it did.
func (c *count) fail(key string, e event) {
	below := c.failing[key]
	if e.Test != "" {
		c.failing[e.Package+" "] = true
		for _, up := range above(e) {
			c.failing[up] = true
		}
	}
	if b := c.output[key]; b != nil && (!below || e.Test != "") {
		fmt.Fprintf(c.w, "FAILED %s (%.2f s)\n%s", strings.TrimSpace(key), e.Elapsed, b)
	}
	delete(c.output, key)
	if !below {
		c.failed++
	}
}

// close writes the last line and returns whether the suite is good. err is how go test
// ended.
func (c *count) close(name string, err error) bool {
	if err != nil && c.failed == 0 {
		fmt.Fprintf(c.w, "go test failed: %v\n", err)
		c.failed++
	}
	if c.passed+c.failed == 0 {
		fmt.Fprintln(c.w, "no test ran: a suite that checks nothing is not a good one")
		c.failed++
	}
	fmt.Fprintf(c.w, "%s: %d passed, %d failed, %d skipped\n", name, c.passed, c.failed, c.skipped)
	return c.failed == 0
}

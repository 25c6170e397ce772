package howto

import (
	"fmt"
	"regexp"
	"strings"
)

// varies is what is another on each machine and at each time, and what Like puts in its place.
var varies = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`juju-[0-9a-f]{6}-\d+`), "MACHINE"},
	{regexp.MustCompile(`\b\d{1,3}(\.\d{1,3}){3}\b`), "ADDRESS"},
	{regexp.MustCompile(`\b\d{1,3}(\.\d{1,3}){1,2}\b`), "VERSION"},
	{regexp.MustCompile(`\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b`), "DAY"},
	{regexp.MustCompile(`\b\d{1,2} (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b`), "DATE"},
	{regexp.MustCompile(`\b(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +\d{1,2}\b`), "DATE"},
	{regexp.MustCompile(`\b\d{4}-\d{2}-\d{2}\b`), "DATE"},
	{regexp.MustCompile(`\b\d{2}:\d{2}(:\d{2})?\b`), "TIME"},
	{regexp.MustCompile(`\bTIME \d{4}\b`), "TIME YEAR"},
	{regexp.MustCompile(`\b(\d+(\.\d+)?(h|ms|µs|m|s))+\b`), "DURATION"},
	{regexp.MustCompile(`-{2,}`), "-"}, // the border of a table
	{regexp.MustCompile(`\s+`), " "},   // its columns
}

// left is what a page puts in the place of what it leaves out: lines, or the rest of one.
const left = "…"

// shape is a line without what varies.
func shape(line string) string {
	for _, v := range varies {
		line = v.what.ReplaceAllString(line, v.with)
	}
	return strings.TrimSpace(line)
}

// trace is what bash says of a command that it runs.
var trace = regexp.MustCompile(`^\++ `)

// Like compares what commands said with what a page shows of it. All lines that the page shows have
// to be there in that order, one right after the other; "…" in a line of its own stands for any
// lines, at the end of one for the rest of that. Lines before and after may be there, and
// empty ones. Names of Juju's machines, addresses, versions, times and durations may be others, and
// columns wider; all else has to be the same. The error names the lines that are not there.
func Like(shown, said string) error {
	var lines []string
	for line := range strings.Lines(said) {
		if line = shape(line); line != "" && !trace.MatchString(line) {
			lines = append(lines, line)
		}
	}
	var together []string
	find := func() error {
		for at := 0; at+len(together) <= len(lines); at++ {
			if begins(lines[at:], together) {
				lines, together = lines[at+len(together):], nil
				return nil
			}
		}
		return fmt.Errorf("cannot find these lines, one after the other, in what was printed:\n%s\nlooked in:\n%s", strings.Join(together, "\n"), strings.Join(lines, "\n"))
	}
	for line := range strings.Lines(shown) {
		line = shape(line)
		switch line {
		case "":
		case left:
			if err := find(); err != nil {
				return err
			}
		default:
			together = append(together, line)
		}
	}
	return find()
}

// begins reports whether lines begin with those.
func begins(lines, with []string) bool {
	for n, want := range with {
		if start, cut := strings.CutSuffix(want, left); cut {
			if !strings.HasPrefix(lines[n], strings.TrimSpace(start)) {
				return false
			}
		} else if lines[n] != want {
			return false
		}
	}
	return true
}

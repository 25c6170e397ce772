// Package report writes what happened during a failed test on a box: one list of events in the
// order of time, and a picture of them.
package report

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Event is one line of a log, or something that the test did.
type Event struct {
	At     time.Time
	Source string // a machine, "juju", or Test
	Text   string
}

// Test is the source of what the test did: faults that it injected.
const Test = "test"

// Journal returns the events of `journalctl -o short-unix` of a machine. Lines without a time
// continue the event before them.
func Journal(machine, text string) []Event {
	return parse(text, machine, func(line string) (time.Time, string, bool) {
		stamp, rest, ok := strings.Cut(line, " ")
		seconds, err := strconv.ParseFloat(stamp, 64)
		if !ok || err != nil {
			return time.Time{}, "", false
		}
		_, rest, _ = strings.Cut(rest, " ") // the machine's own name
		return time.UnixMicro(int64(seconds * 1e6)).UTC(), rest, true
	})
}

// lxdTime is how LXD's log begins a line.
var lxdTime = regexp.MustCompile(`^time="([^"]+)"\s*`)

// LXD returns the events of the log file of a machine's LXD.
func LXD(machine, text string) []Event {
	return parse(text, machine, func(line string) (time.Time, string, bool) {
		m := lxdTime.FindStringSubmatch(line)
		if m == nil {
			return time.Time{}, "", false
		}
		at, err := time.Parse(time.RFC3339, m[1])
		return at.UTC(), "lxd: " + line[len(m[0]):], err == nil
	})
}

// DebugLog returns the events of `juju debug-log --date --ms --utc`.
func DebugLog(text string) []Event {
	const layout = "2006-01-02 15:04:05.000"
	return parse(text, "juju", func(line string) (time.Time, string, bool) {
		// "unit-a-0: 2026-01-02 15:04:05.000 INFO …"
		who, rest, ok := strings.Cut(line, ": ")
		if !ok || len(rest) < len(layout) {
			return time.Time{}, "", false
		}
		at, err := time.ParseInLocation(layout, rest[:len(layout)], time.UTC)
		return at, who + rest[len(layout):], err == nil
	})
}

func parse(text, source string, split func(line string) (time.Time, string, bool)) (events []Event) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if at, rest, ok := split(line); ok {
			events = append(events, Event{at, source, rest})
		} else if len(events) > 0 && line != "" {
			events[len(events)-1].Text += "\n" + line
		}
	}
	return events
}

// Sort returns the events from since on in the order of time; what the test did precedes what
// others logged at the same moment.
func Sort(events []Event, since time.Time) []Event {
	events = slices.DeleteFunc(slices.Clone(events), func(e Event) bool { return e.At.Before(since) })
	slices.SortStableFunc(events, func(a, b Event) int {
		test := func(e Event) int {
			if e.Source == Test {
				return 0
			}
			return 1
		}
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(test(a), test(b)))
	})
	return events
}

// severe is text of events that the picture shows in red.
var severe = regexp.MustCompile(`(?i)\b(error|panic|fatal|failed|cannot)\b`)

// Write writes report.md and timeline.svg into the folder. state is what Juju and LXD report
// at the end.
func Write(dir, test string, events []Event, state string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "report.md"), []byte(markdown(test, events, state)), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "timeline.svg"), []byte(picture(test, events)), 0o644)
}

func markdown(test string, events []Event, state string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n![timeline](timeline.svg)\n\n## Injected faults\n\n", test)
	injected := 0
	for _, e := range events {
		if e.Source == Test {
			injected++
			fmt.Fprintf(&b, "- %s %s\n", e.At.Format(clock), e.Text)
		}
	}
	if injected == 0 {
		b.WriteString("none\n")
	}
	b.WriteString("\n## Events\n\n```\n")
	for _, e := range events {
		fmt.Fprintf(&b, "%s %-20s %s\n", e.At.Format(clock), e.Source, strings.ReplaceAll(e.Text, "\n", "\n    "))
	}
	fmt.Fprintf(&b, "```\n\n## State at the end\n\n```\n%s\n```\n", strings.TrimSpace(state))
	return b.String()
}

const clock = "15:04:05.000"

// Sizes of the picture, in pixels.
const (
	margin    = 180 // left of the rows, for their names
	width     = 1000
	rowHeight = 34
	ticks     = 8
)

// picture returns an SVG with a row for each source: a mark for each event, at its time. The
// faults that the test injected are lines through all rows, with their text.
func picture(test string, events []Event) string {
	rows := []string{Test}
	for _, e := range events {
		if !slices.Contains(rows, e.Source) {
			rows = append(rows, e.Source)
		}
	}
	slices.Sort(rows[1:])
	height := (len(rows) + 2) * rowHeight
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", margin+width+20, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="4" y="16" font-size="13">%s</text>`+"\n", escape(test))
	if len(events) == 0 {
		return b.String() + "</svg>\n"
	}
	first := events[0].At
	whole := max(events[len(events)-1].At.Sub(first), time.Second)
	x := func(at time.Time) float64 { return margin + width*at.Sub(first).Seconds()/whole.Seconds() }
	y := func(source string) int { return (slices.Index(rows, source) + 2) * rowHeight }
	for i := range ticks + 1 {
		at := first.Add(whole * time.Duration(i) / ticks)
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle" fill="#666">%s</text>`+"\n",
			x(at), rowHeight, x(at), height, x(at), rowHeight-4, at.Format("15:04:05"))
	}
	for _, row := range rows {
		fmt.Fprintf(&b, `<text x="4" y="%d">%s</text><line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#bbb"/>`+"\n",
			y(row), escape(row), margin, y(row), margin+width, y(row))
	}
	for _, e := range events {
		title := escape(e.At.Format(clock) + " " + e.Text)
		switch {
		case e.Source == Test:
			fmt.Fprintf(&b, `<g><title>%s</title><line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#c00" stroke-dasharray="4 2"/><text x="%.1f" y="%d" fill="#c00">%s</text></g>`+"\n",
				title, x(e.At), rowHeight, x(e.At), height, x(e.At)+3, y(Test)-4, escape(e.Text))
		case severe.MatchString(e.Text):
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%d" r="4" fill="#c00"><title>%s</title></circle>`+"\n", x(e.At), y(e.Source), title)
		default:
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%d" r="3" fill="#36c" fill-opacity="0.5"><title>%s</title></circle>`+"\n", x(e.At), y(e.Source), title)
		}
	}
	return b.String() + "</svg>\n"
}

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a strings.Builder does not fail
	return b.String()
}

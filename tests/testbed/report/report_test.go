package report

import (
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var start = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

func TestParse(t *testing.T) {
	require.Equal(t, []Event{
		{start.Add(250 * time.Millisecond), "m-1", "petd[12]: drain begins\nmore of it"},
		{start.Add(time.Second), "m-1", "lxd[3]: error: gone"},
	}, Journal("m-1", "1767366245.250000 m-1 petd[12]: drain begins\nmore of it\n1767366246.000000 m-1 lxd[3]: error: gone\n"))

	require.Equal(t, []Event{{start, "m-1", `lxd: level=error msg="cannot"`}},
		LXD("m-1", "cut off line\ntime=\"2026-01-02T15:04:05Z\" level=error msg=\"cannot\"\n"))

	require.Equal(t, []Event{{start.Add(7 * time.Millisecond), "juju", "unit-a-0 INFO juju.worker hello"}},
		DebugLog("unit-a-0: 2026-01-02 15:04:05.007 INFO juju.worker hello\n"))
}

func TestSort(t *testing.T) {
	kill := Event{start, Test, "kill -9 lxd"}
	log, old := Event{start, "m-1", "lxd starts"}, Event{start.Add(-time.Hour), "m-1", "old"}
	require.Equal(t, []Event{kill, log}, Sort([]Event{log, old, kill}, start))
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	require.NoError(t, Write(dir, "TestX/kind <1>", []Event{
		{start, Test, "kill -9 <lxd>"}, {start.Add(time.Second), "m-1", "error: \x1b gone"}, {start.Add(2 * time.Second), "juju", "idle"},
	}, "m-1 evacuated"))

	text, err := os.ReadFile(filepath.Join(dir, "report.md"))
	require.NoError(t, err)
	for _, want := range []string{"# TestX/kind <1>", "- 15:04:05.000 kill -9 <lxd>", "15:04:07.000 juju ", "m-1 evacuated"} {
		require.Contains(t, string(text), want)
	}

	svg, err := os.ReadFile(filepath.Join(dir, "timeline.svg"))
	require.NoError(t, err)
	for d := xml.NewDecoder(strings.NewReader(string(svg))); ; {
		_, err := d.Token()
		if err == io.EOF {
			break
		}
		require.NoError(t, err, string(svg))
	}
	require.Contains(t, string(svg), "kill -9 &lt;lxd&gt;")
	require.Equal(t, 2, strings.Count(string(svg), "<circle"))
}

// A test that fails before anything was logged has a report as well.
func TestWriteNothing(t *testing.T) {
	require.NoError(t, Write(t.TempDir(), "TestX", nil, ""))
}

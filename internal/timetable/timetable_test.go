package timetable_test

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dcib/dcib/internal/timetable"
)

func berlin(t *testing.T) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	return zone
}

func table(t *testing.T, first string, days int, rows ...timetable.Row) timetable.Table {
	t.Helper()
	day, err := time.ParseInLocation(time.DateOnly, first, berlin(t))
	require.NoError(t, err)
	return timetable.Table{First: day, Days: days, Rows: rows, Busy: "its own work", Free: "lends"}
}

func span(t *testing.T, from, to string) timetable.Span {
	t.Helper()
	const layout = "2006-01-02 15:04"
	a, err := time.ParseInLocation(layout, from, berlin(t))
	require.NoError(t, err)
	b, err := time.ParseInLocation(layout, to, berlin(t))
	require.NoError(t, err)
	return timetable.Span{From: a, To: b}
}

func TestText(t *testing.T) {
	got := table(t, "2026-11-20", 9,
		timetable.Row{Name: "render-1", Busy: []timetable.Span{
			span(t, "2026-11-19 20:00", "2026-11-20 04:00"), // begins before
			span(t, "2026-11-20 21:00", "2026-11-21 05:00"),
			span(t, "2026-11-28 12:00", "2026-12-01 00:00"), // ends after
		}},
		timetable.Row{Name: "a-name-that-is-too-long"}).Text()
	assert.Equal(t, `               Fri 20   Sat 21   Sun 22   Mon 23   Tue 24   Wed 25   Thu 26
render-1       █▄·····█ █▄······ ········ ········ ········ ········ ········
a-name-that-i… ········ ········ ········ ········ ········ ········ ········

               Fri 27   Sat 28
render-1       ········ ····████
a-name-that-i… ········ ········

               · lends  █ its own work  ▄ a part of three hours (Europe/Berlin)
`, got)
	for line := range strings.Lines(got) {
		assert.LessOrEqual(t, len([]rune(strings.TrimRight(line, "\n"))), 80)
	}
	assert.Empty(t, table(t, "2026-11-20", 9).Text())
}

// When clocks go forward an hour of the day is missing, and a mark that is busy for all that
// is left of its three hours is full.
func TestClocksChange(t *testing.T) {
	spring := table(t, "2026-03-29", 1, timetable.Row{Name: "p", Busy: []timetable.Span{span(t, "2026-03-29 00:00", "2026-03-29 03:00")}})
	assert.Contains(t, spring.Text(), "p              █·······\n")
	assert.Equal(t, 23*time.Hour, spring.Span().To.Sub(spring.Span().From))
	assert.InDelta(t, 2.0/23, spring.Share(spring.Rows[0]), 1e-9)
	autumn := table(t, "2026-10-25", 1)
	assert.Equal(t, 25*time.Hour, autumn.Span().To.Sub(autumn.Span().From))
}

// A picture is well-formed XML, whatever the names, and every bar lies in the table.
func TestSVG(t *testing.T) {
	first := table(t, "2026-03-27", 1).First
	rapid.Check(t, func(t *rapid.T) {
		row := timetable.Row{Name: rapid.String().Draw(t, "name")}
		at := first.Add(-24 * time.Hour)
		for _, hours := range rapid.SliceOfN(rapid.IntRange(1, 30), 0, 12).Draw(t, "hours") {
			row.Busy = append(row.Busy, timetable.Span{From: at, To: at.Add(time.Duration(hours) * time.Hour)})
			at = at.Add(time.Duration(hours+3) * time.Hour)
		}
		picture := timetable.Table{First: first, Days: rapid.IntRange(1, 9).Draw(t, "days"), Rows: []timetable.Row{row}, Busy: "a<b", Free: "&"}.SVG()
		decoder := xml.NewDecoder(strings.NewReader(picture))
		for {
			if _, err := decoder.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%v in %s", err, picture)
			}
		}
	})
	picture := table(t, "2026-11-20", 2, timetable.Row{Name: "p", Busy: []timetable.Span{span(t, "2026-11-20 12:00", "2026-11-21 12:00")}}).SVG()
	assert.Contains(t, picture, `<rect x="172.0" y="40" width="104.0" height="18" fill="#b4432f"><title>Fri 20 Nov 12:00 – Sat 21 Nov 12:00</title></rect>`)
}

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

	"github.com/dcib/dcib/internal/scheduler/timetable"
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
	return timetable.Table{First: day, Days: days, Rows: rows, Busy: "reserved", Free: "shared"}
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
		timetable.Row{Name: "node-1.rack-7.example.org"}, timetable.Row{Name: "node-2.rack-7.example.org"}).Text()
	assert.Equal(t, `Nov 2026       Fri 20   Sat 21   Sun 22   Mon 23   Tue 24   Wed 25   Thu 26
render-1       █▄·····█ █▄······ ········ ········ ········ ········ ········
node-1.rack-7.example.org
               ········ ········ ········ ········ ········ ········ ········
node-2.rack-7.example.org
               ········ ········ ········ ········ ········ ········ ········

Nov 2026       Fri 27   Sat 28
render-1       ········ ····████
node-1.rack-7.example.org
               ········ ········
node-2.rack-7.example.org
               ········ ········

               · shared  █ reserved  ▄ a part of three hours (Europe/Berlin)
`, got)
	for line := range strings.Lines(got) {
		assert.LessOrEqual(t, len([]rune(strings.TrimRight(line, "\n"))), 80)
	}
	assert.Empty(t, table(t, "2026-11-20", 9).Text())
}

// Each week says its month, and both of two.
func TestMonths(t *testing.T) {
	for first, want := range map[string]string{
		"2026-05-01": "May 2026       Fri  1   Sat  2   Sun  3",
		"2026-04-30": "Apr/May 2026   Thu 30   Fri  1   Sat  2",
		"2026-12-31": "Dec 26/Jan 27  Thu 31   Fri  1   Sat  2",
	} {
		header, _, _ := strings.Cut(table(t, first, 3, timetable.Row{Name: "p"}).Text(), "\n")
		assert.Equal(t, want, header)
	}
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

// Where midnight is skipped, and where a day is left out, each day is shown once, under its own name.
func TestSkippedMidnights(t *testing.T) {
	for _, c := range []struct{ zone, first, want, from, to string }{
		{"America/Santiago", "2026-09-06", "Sun  6   Mon  7   Tue  8", "2026-09-06 01:00", "2026-09-09 00:00"},
		{"America/Havana", "2026-03-08", "Sun  8   Mon  9   Tue 10", "2026-03-08 01:00", "2026-03-11 00:00"},
		{"Atlantic/Azores", "2026-03-28", "Sat 28   Sun 29   Mon 30", "2026-03-28 00:00", "2026-03-31 00:00"},
		{"America/Sao_Paulo", "2018-11-03", "Sat  3   Sun  4   Mon  5", "2018-11-03 00:00", "2018-11-06 00:00"},
		{"Pacific/Apia", "2011-12-29", "Thu 29   Sat 31   Sun  1", "2011-12-29 00:00", "2012-01-02 00:00"},
		{"Asia/Beirut", "2026-03-29", "Sun 29   Mon 30   Tue 31", "2026-03-29 01:00", "2026-04-01 00:00"},
	} {
		t.Run(c.zone, func(t *testing.T) {
			zone, err := time.LoadLocation(c.zone)
			require.NoError(t, err)
			day, err := time.ParseInLocation("2006-01-02 15:04", c.first+" 12:00", zone)
			require.NoError(t, err)
			table := timetable.Table{First: day, Days: 3, Rows: []timetable.Row{{Name: "p"}}}
			header, _, _ := strings.Cut(table.Text(), "\n")
			assert.Equal(t, c.want, strings.TrimSpace(header[14:]))
			const layout = "2006-01-02 15:04"
			assert.Equal(t, []string{c.from, c.to}, []string{table.Span().From.Format(layout), table.Span().To.Format(layout)})
		})
	}
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
	long := table(t, "2026-11-20", 2, timetable.Row{Name: "p"}, timetable.Row{Name: strings.Repeat("n", 63)}).SVG()
	assert.Contains(t, long, strings.Repeat("n", 63)+"</text>", "no two rows have the same name")
	assert.Contains(t, long, `<text x="502" y="53" text-anchor="end">p</text>`, "and there is space for it")
}

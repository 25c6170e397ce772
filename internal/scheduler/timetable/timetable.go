// Package timetable draws days for people: a row for each thing that is busy now and then,
// as text for a terminal and as a picture. It is pure.
package timetable

import (
	"encoding/xml"
	"fmt"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dcib/dcib/internal/wallclock"
)

// Row is one thing and when it is busy.
type Row struct {
	Name string
	Busy []Span // in order, apart from each other
}

// Span is a stretch of time; To is no longer in it.
type Span struct{ From, To time.Time }

// Table is what is drawn: whole days by the clock of a zone.
type Table struct {
	First time.Time // its day, in its zone, is the first
	Days  int
	Rows  []Row
	// Busy and Free say what the marks mean: "reserved", "shared".
	Busy, Free string
}

const (
	nameWidth = 14 // characters that a terminal of 80 leaves for names beside a week; longer ones have a line
	cells     = 8  // marks for a day
	perLine   = 7  // days beside each other
)

// grid is where the days of a table begin.
type grid struct {
	zone  *time.Location
	days  []time.Time // midnights by the clock, as wallclock has them; the last is no longer shown
	begin []time.Time // the moments at which they begin: a midnight that is skipped is when the clock shows more
}

// grid returns where the days of the table begin. A day that the zone left out is none of them.
func (t Table) grid() grid {
	g := grid{zone: t.First.Location()}
	y, m, d := t.First.Date()
	for day := time.Date(y, m, d, 0, 0, 0, 0, time.UTC); len(g.days) <= max(0, t.Days); day = day.AddDate(0, 0, 1) {
		if at := wallclock.Instant(day, g.zone); at.Before(wallclock.Instant(day.AddDate(0, 0, 1), g.zone)) {
			g.days, g.begin = append(g.days, day), append(g.begin, at)
		}
	}
	return g
}

// cell returns a mark's part of a day.
func (g grid) cell(day, n int) Span {
	at := func(hour int) time.Time {
		return wallclock.Instant(g.days[day].Add(time.Duration(hour)*time.Hour), g.zone)
	}
	return Span{at(n * 24 / cells), at((n + 1) * 24 / cells)}
}

func (g grid) span() Span { return Span{g.begin[0], g.begin[len(g.begin)-1]} }

// Span is all the time that the table shows.
func (t Table) Span() Span { return t.grid().span() }

// within is how much of a stretch is busy.
func (r Row) within(s Span) time.Duration {
	var sum time.Duration
	first := sort.Search(len(r.Busy), func(i int) bool { return r.Busy[i].To.After(s.From) })
	for _, b := range r.Busy[first:] {
		if !b.From.Before(s.To) {
			break
		}
		if part := b.clip(s); part.To.After(part.From) {
			sum += part.To.Sub(part.From)
		}
	}
	return sum
}

// clip is the part of a stretch that lies in another; it ends before it begins when there is
// none.
func (s Span) clip(in Span) Span {
	if s.From.Before(in.From) {
		s.From = in.From
	}
	if s.To.After(in.To) {
		s.To = in.To
	}
	return s
}

// Share is how much of the time shown a row is busy, from 0 to 1.
func (t Table) Share(r Row) float64 {
	all := t.Span()
	return float64(r.within(all)) / float64(all.To.Sub(all.From))
}

// Text draws the table for a terminal of 80 columns, a week on a line and three hours in a
// mark.
func (t Table) Text() string {
	if len(t.Rows) == 0 || t.Days < 1 {
		return ""
	}
	var b strings.Builder
	g := t.grid()
	for week := 0; week < t.Days; week += perLine {
		days := min(perLine, t.Days-week)
		fmt.Fprintf(&b, "%-*s", nameWidth, months(g.days[week], g.days[week+days-1]))
		var parts []Span
		for day := week; day < week+days; day++ {
			fmt.Fprintf(&b, " %-*s", cells, g.days[day].Format("Mon _2"))
			for n := range cells {
				parts = append(parts, g.cell(day, n))
			}
		}
		trim(&b)
		for _, r := range t.Rows {
			name := r.Name
			if utf8.RuneCountInString(name) > nameWidth {
				// A name that is cut may be another row's too, as of hosts of one domain.
				b.WriteString(name + "\n")
				name = ""
			}
			fmt.Fprintf(&b, "%-*s", nameWidth, name)
			for i, s := range parts {
				if i%cells == 0 {
					b.WriteByte(' ')
				}
				b.WriteRune(mark(r.within(s), s.To.Sub(s.From)))
			}
			b.WriteByte('\n')
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%-*s · %s  █ %s  ▄ a part of three hours (%s)\n", nameWidth, "", t.Free, t.Busy, t.First.Location())
	return b.String()
}

// months returns the month, or the two months, in which a week's days lie, within nameWidth.
func months(first, last time.Time) string {
	switch {
	case first.Year() != last.Year():
		return first.Format("Jan 06") + "/" + last.Format("Jan 06")
	case first.Month() != last.Month():
		return first.Format("Jan") + "/" + last.Format("Jan 2006")
	}
	return first.Format("Jan 2006")
}

// mark is for a stretch of which so much is busy. One that the clock skips has no length.
func mark(busy, of time.Duration) rune {
	switch {
	case busy <= 0:
		return '·'
	case busy < of:
		return '▄'
	}
	return '█'
}

// trim ends a line, without spaces before its end.
func trim(b *strings.Builder) {
	text := strings.TrimRight(b.String(), " ")
	b.Reset()
	b.WriteString(text + "\n")
}

// escape makes a text fit for XML, which has no place for control characters.
func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes everything
	return b.String()
}

// Sizes of the picture, in its own units.
const (
	nameLeft    = 120 // what names of nameWidth need
	nameRune    = 8   // and each further character
	top         = 34
	dayWidth    = 104
	rowHeight   = 30
	barHeight   = 18
	bottom      = 34
	colourFree  = "#dfeee0"
	colourBusy  = "#b4432f"
	colourLine  = "#9aa3ad"
	colourText  = "#222c36"
	pictureFont = "Ubuntu, 'DejaVu Sans', Helvetica, sans-serif"
)

// SVG draws the table as a picture in which every busy stretch stands where it is, with its
// times to read when one points at it.
func (t Table) SVG() string {
	g := t.grid()
	all := g.span()
	left := nameLeft
	for _, r := range t.Rows {
		left = max(left, nameLeft+nameRune*(utf8.RuneCountInString(r.Name)-nameWidth))
	}
	// What the marks mean needs the width of three days.
	width, height := left+max(t.Days, 4)*dayWidth+10, top+len(t.Rows)*rowHeight+bottom
	// Days are equally wide, also those on which clocks change.
	x := func(at time.Time) float64 {
		day := min(sort.Search(t.Days, func(day int) bool { return at.Before(g.begin[day+1]) }), t.Days-1)
		from, to := g.begin[day], g.begin[day+1]
		return float64(left) + dayWidth*(float64(day)+float64(at.Sub(from))/float64(to.Sub(from)))
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="%s" font-size="13" fill="%s">`, width, height, pictureFont, colourText)
	line(`  <rect width="%d" height="%d" fill="#ffffff"/>`, width, height)
	for day := range t.Days {
		line(`  <text x="%d" y="22">%s</text>`, left+day*dayWidth+4, g.days[day].Format("Mon 2 Jan"))
	}
	for i, r := range t.Rows {
		y := top + i*rowHeight + (rowHeight-barHeight)/2
		line(`  <text x="%d" y="%d" text-anchor="end">%s</text>`, left-10, y+13, escape(r.Name))
		line(`  <rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`, left, y, t.Days*dayWidth, barHeight, colourFree)
		for _, s := range r.Busy {
			part := s.clip(all)
			if !part.To.After(part.From) {
				continue
			}
			zone := t.First.Location()
			line(`  <rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"><title>%s – %s</title></rect>`, x(part.From), y, max(1, x(part.To)-x(part.From)), barHeight, colourBusy,
				s.From.In(zone).Format("Mon 2 Jan 15:04"), s.To.In(zone).Format("Mon 2 Jan 15:04"))
		}
	}
	for day := range t.Days + 1 {
		line(`  <path d="M%d %d V%d" stroke="%s" stroke-width="0.6"/>`, left+day*dayWidth, top-6, height-bottom, colourLine)
	}
	y := height - bottom + 10
	line(`  <rect x="%d" y="%d" width="14" height="14" fill="%s"/><text x="%d" y="%d">%s</text>`, left, y, colourFree, left+20, y+12, escape(t.Free))
	line(`  <rect x="%d" y="%d" width="14" height="14" fill="%s"/><text x="%d" y="%d">%s</text>`, left+150, y, colourBusy, left+170, y+12, escape(t.Busy))
	line(`  <text x="%d" y="%d" text-anchor="end">%s</text>`, width-10, y+12, escape(t.First.Location().String()))
	line(`</svg>`)
	return b.String()
}

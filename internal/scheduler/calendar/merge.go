package calendar

import (
	"cmp"
	"slices"
	"time"

	"github.com/dcib/dcib/internal/wallclock"
)

// occurrence is one time that a window is open.
type occurrence struct{ start, end time.Time }

// merger makes reserved windows of the occurrences of a pet's windows, in order.
type merger struct {
	pet      *Pet
	since, t time.Time
	reach    time.Duration
	heads    []*occurrences // a heap: the window that starts next is the first
	named    []int          // by window: the last stretch that it is part of
	stretch  int            // how many stretches have begun
	// mayAbandon says to stop at a stretch that t is in and of which the beginning may lie before
	// since; abandoned reports that this was done.
	mayAbandon, abandoned bool
	steps                 int // starts looked at and compared: what an answer takes
}

// merge returns what makes stretches of the occurrences that end after since. A stretch that
// overlaps since may lack what came before.
func (p *Pet) merge(since, t time.Time, reach time.Duration) *merger {
	m := &merger{pet: p, since: since, t: t, reach: reach, named: make([]int, len(p.Windows))}
	exceptions := slices.Clone(p.Exceptions)
	slices.SortFunc(exceptions, func(a, b Days) int { return a.First.Compare(b.First) })
	for i := range p.Windows {
		o := p.occurrences(i, exceptions, since, t.Add(horizon))
		if o.next(m) {
			m.heads = append(m.heads, o)
		}
	}
	for i := len(m.heads)/2 - 1; i >= 0; i-- {
		m.sink(i)
	}
	return m
}

// before reports whether one head comes before another: what starts first, and of those the window that
// was written first.
func (m *merger) before(a, b *occurrences) bool {
	m.steps++
	return a.key < b.key || a.key == b.key && a.index < b.index
}

// sink puts the head at i in its place in the heap. (container/heap calls each comparison and swap
// through an interface, which takes longer than they do.)
func (m *merger) sink(i int) {
	for {
		least := 2*i + 1
		if least >= len(m.heads) {
			return
		}
		if right := least + 1; right < len(m.heads) && m.before(m.heads[right], m.heads[least]) {
			least = right
		}
		if !m.before(m.heads[least], m.heads[i]) {
			return
		}
		m.heads[i], m.heads[least] = m.heads[least], m.heads[i]
		i = least
	}
}

// advance goes on to the occurrence that starts next.
func (m *merger) advance() {
	if !m.heads[0].next(m) {
		last := len(m.heads) - 1
		m.heads[0] = m.heads[last]
		m.heads = m.heads[:last]
	}
	m.sink(0)
}

// next returns the next reserved window; ok is false after the last.
func (m *merger) next() (span Span, ok bool) {
	if len(m.heads) == 0 {
		return Span{}, false
	}
	p := m.pet
	first := m.heads[0]
	span = Span{EmptyBy: p.EmptyBy.of(first.start, p.Zone), Start: first.start, End: first.end}
	span.StartOpen = !span.EmptyBy.Add(-p.MinShare).After(m.since)
	m.stretch++
	m.name(&span, first)
	for {
		if m.mayAbandon && span.StartOpen && span.End.After(m.t) {
			m.abandoned = true
			return Span{}, false
		}
		m.advance()
		if len(m.heads) == 0 {
			return span, true
		}
		o := m.heads[0]
		// What starts within the stretch is part of it, whenever the pet has to be empty for it.
		if o.start.After(span.End) || o.start.Sub(m.t) > m.reach {
			back := p.EmptyBy.of(o.start, p.Zone)
			gap := back.Sub(span.End)
			if gap > 0 && gap >= p.MinShare {
				return span, true
			}
			if o.start.Sub(m.t) > m.reach && o.start.Sub(span.Start) > m.reach {
				span.EndOpen = true
				return span, true
			}
		}
		if o.end.After(span.End) {
			span.End = o.end
		}
		m.name(&span, o)
	}
}

// name notes that a window is part of a stretch.
func (m *merger) name(span *Span, o *occurrences) {
	if m.named[o.index] != m.stretch {
		m.named[o.index] = m.stretch
		span.Windows = append(span.Windows, o.window.text)
	}
}

// occurrences are those of one window, without those that an exception or a skip takes away. They
// are at one of them at a time.
type occurrences struct {
	occurrence
	key            int64 // start, to compare
	index          int
	window         *Window
	starts         func() (time.Time, bool)
	since          time.Time
	atStart, atEnd *wallclock.Hands // the clock at starts and at ends
	exceptions     []Days           // those that may still come, by their first day
	skips          []Skip
}

// occurrences returns those of a window that end after since and start before until, before the
// first of them. exceptions are in order.
func (p *Pet) occurrences(index int, exceptions []Days, since, until time.Time) *occurrences {
	w := &p.Windows[index]
	zone := cmp.Or(w.zone, p.Zone)
	return &occurrences{
		index: index, window: w, since: since, exceptions: exceptions, skips: p.Skips,
		atStart: wallclock.NewHands(zone), atEnd: wallclock.NewHands(zone),
		starts: w.starts.from(wallclock.Of(since.Add(-w.exact), zone).Add(-w.nominal), wallclock.Of(until, zone)),
	}
}

// next goes on to the next occurrence; it reports whether there is one.
func (o *occurrences) next(m *merger) bool {
	for {
		m.steps++
		wall, ok := o.starts()
		if !ok {
			return false
		}
		if o.window.excluded(wall) || o.excepted(wall) {
			continue
		}
		o.end = o.atEnd.Instant(wall.Add(o.window.nominal)).Add(o.window.exact)
		if !o.end.After(o.since) {
			continue
		}
		o.start = o.atStart.Instant(wall)
		if !o.start.Before(o.end) || slices.ContainsFunc(o.skips, func(s Skip) bool { return s.has(o.start) }) {
			continue
		}
		o.key = o.start.UnixNano()
		return true
	}
}

// excepted reports whether a start lies on a day that is excepted. Starts come in order, so what
// is over is dropped.
func (o *occurrences) excepted(wall time.Time) bool {
	if len(o.exceptions) == 0 {
		return false
	}
	day := wallclock.Midnight(wall)
	for len(o.exceptions) > 0 && o.exceptions[0].Last.Before(day) {
		o.exceptions = o.exceptions[1:]
	}
	for _, d := range o.exceptions {
		if d.First.After(day) {
			break
		}
		if d.has(wall) {
			return true
		}
	}
	return false
}

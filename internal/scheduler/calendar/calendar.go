// Package calendar knows when pets belong to their own work: it reads what operators write
// (a list of pets with windows, in YAML, with RFC 5545 rules and .ics calendars) and reports
// what is on at a moment and what comes next.
//
// It is pure: it reads no clock and no file but the zone database that Go finds (a program
// that has to run anywhere imports time/tzdata). What is read once never changes; all
// methods may be used by several goroutines.
//
// The rules, in full, are in docs/reference/pets.md. The one that carries the others: a
// wall-clock time stands for the first moment at which the clock of its zone shows that
// date and time or a later one.
package calendar

import (
	"slices"
	"time"

	"github.com/dcib/dcib/internal/wallclock"
)

// Pet is a machine that shares its capacity while its own work does not need it.
type Pet struct {
	Name   string
	Member string   // of the LXD cluster
	Node   string   // of Kubernetes; empty when it is none
	Traits []string // what sets it apart; for people and for the one who chooses among pets
	Zone   *time.Location

	Windows []Window
	// Exceptions are days on which no window starts, by the clock of the window's zone.
	Exceptions []Days
	// Skips are stretches in which no window starts, see SkipNext.
	Skips []Skip

	// MinShare is the shortest time for which the pet is worth sharing.
	MinShare time.Duration
	// EmptyBy says by when the pet has to be empty.
	EmptyBy Deadline
	// StopUnmovable states that instances which cannot move may be stopped where they are.
	StopUnmovable bool

	Line int // where the pet begins in the text it was read from
}

// Span is one reserved window of a pet: a window, or several that overlap, touch, or
// have too little time between them to share the pet meanwhile.
type Span struct {
	EmptyBy    time.Time // by when the pet has to be empty; not after Start
	Start, End time.Time // End is no longer in it
	Windows    []string  // what it is made of, as in Window.String
	// StartOpen and EndOpen report that it goes on further than the calendar looks. Start, Return and
	// End are then how far it looked: they move on as time does.
	StartOpen, EndOpen bool
}

// Transition is a moment at which a pet changes hands by its calendar.
type Transition struct {
	At    time.Time
	Opens bool // a reserved window begins; else it ends
	Span  Span
}

// Skip is a stretch of time. A window that would start in it (To is no longer in it) does
// not happen.
type Skip struct{ From, To time.Time }

// How far the calendar looks. A pet whose windows leave no gap for longer than its reach is
// told a Start and an End that far away; they move on as time does.
const (
	horizon  = 50 * 366 * 24 * time.Hour // for a window that comes next
	farReach = 400 * 24 * time.Hour      // for what is one with a window
	// The reach of a pet whose windows start very often is shorter: as far as they start so
	// many times. So the work for one answer has a bound that is not that of the text times
	// that of the days.
	reachStarts = 250_000
	// MaxDays is for how many days stretches are made at most, and of so many starts: within about a
	// second.
	maxDays   = 400
	maxStarts = 2_500_000
)

// daily returns how often its windows start in a day at most, and one more.
func (p *Pet) daily() int {
	daily := 1
	for i := range p.Windows {
		daily += p.Windows[i].starts.daily()
	}
	return daily
}

// reach returns how far to look for what is one with a window.
func (p *Pet) reach() time.Duration {
	const day = 24 * time.Hour
	return day * time.Duration(min(int(farReach/day), reachStarts/p.daily()))
}

// MaxDays returns for how many days Between should be asked at most: 400, and fewer where the windows
// start very often.
func (p *Pet) MaxDays() int { return min(maxDays, maxStarts/p.daily()) }

// Span returns the first reserved window that ends after t: the one that t is in, or
// else the next one. ok is false when there is none in the next 50 years.
func (p *Pet) Span(t time.Time) (span Span, ok bool) {
	span, _, ok = p.span(t)
	return span, ok
}

// Next returns the first moment after t at which the pet changes hands; ok as in Span.
func (p *Pet) Next(t time.Time) (next Transition, ok bool) {
	span, ok := p.Span(t)
	switch {
	case !ok:
		return Transition{}, false
	case span.Start.After(t):
		return Transition{At: span.Start, Opens: true, Span: span}, true
	}
	return Transition{At: span.End, Span: span}, true
}

// SkipNext returns what to add to Skips so that the next reserved window which has not
// begun at now does not happen, and that stretch; ok is false when there is none.
func (p *Pet) SkipNext(now time.Time) (skip Skip, skipped Span, ok bool) {
	span, more, ok := p.span(now)
	if ok && !span.Start.After(now) {
		span, ok = more()
	}
	return Skip{From: span.Start, To: span.End}, span, ok
}

// span is Span; more returns the stretches that follow.
func (p *Pet) span(t time.Time) (span Span, more func() (Span, bool), ok bool) {
	// A reserved window that ends after t may be one with windows that ended before: look back far
	// enough to see the gap before it.
	back := p.MinShare + p.EmptyBy.Before + 24*time.Hour
	for i := range p.Windows {
		back = max(back, p.Windows[i].length()+p.MinShare)
	}
	reach := p.reach()
	for far := max(back, reach); ; back *= 4 {
		m := p.merge(t.Add(-min(back, far)), t, reach)
		m.mayAbandon = back < far
		span, ok = m.next()
		if m.abandoned {
			continue
		}
		m.mayAbandon = false
		for ok && !span.End.After(t) {
			span, ok = m.next()
		}
		return span, m.next, ok
	}
}

// Between returns the reserved windows of which some part lies in [from, to), in order.
func (p *Pet) Between(from, to time.Time) []Span {
	var spans []Span
	span, more, ok := p.span(from)
	for ; ok && span.Start.Before(to); span, ok = more() {
		if last := len(spans) - 1; last >= 0 && spans[last].EndOpen {
			spans[last].goOn(span) // it was cut at the reach
			continue
		}
		spans = append(spans, span)
	}
	return spans
}

// goOn adds what follows a stretch that was cut.
func (s *Span) goOn(next Span) {
	s.End, s.EndOpen = next.End, next.EndOpen
	for _, w := range next.Windows {
		if !slices.Contains(s.Windows, w) {
			s.Windows = append(s.Windows, w)
		}
	}
}

func (s Skip) has(start time.Time) bool { return !start.Before(s.From) && start.Before(s.To) }

// Deadline says by when a pet has to be empty, ahead of a window's start. Zero is: at the
// start.
type Deadline struct {
	Before time.Duration // so long before the start
	// Clock is a time of day (as a duration since midnight): by when the clock showed it
	// last, at the start or before. It counts only with OnClock, and then instead of Before.
	Clock   time.Duration
	OnClock bool
}

// of returns the moment for a window that starts at start.
func (r Deadline) of(start time.Time, zone *time.Location) time.Time {
	if !r.OnClock {
		return start.Add(-r.Before)
	}
	day := wallclock.Midnight(wallclock.Of(start, zone))
	at := wallclock.Instant(day.Add(r.Clock), zone)
	if at.After(start) {
		at = wallclock.Instant(day.AddDate(0, 0, -1).Add(r.Clock), zone)
	}
	return at
}

// Days are dates, the last one included, as midnights in UTC.
type Days struct{ First, Last time.Time }

func (d Days) has(wall time.Time) bool {
	day := wallclock.Midnight(wall)
	return !day.Before(d.First) && !day.After(d.Last)
}

// String returns the days as they are written.
func (d Days) String() string {
	if d.First.Equal(d.Last) {
		return d.First.Format(time.DateOnly)
	}
	return d.First.Format(time.DateOnly) + "–" + d.Last.Format(time.DateOnly)
}

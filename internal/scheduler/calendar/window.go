package calendar

import (
	"slices"
	"time"

	"github.com/dcib/dcib/internal/wallclock"
)

// Bounds on windows, so that looking ahead stays cheap.
const (
	maxLength   = 31 * 24 * time.Hour // of one occurrence
	maxCount    = 10_000              // occurrences of a counted rule
	maxInterval = 1000                // days, weeks, months or years between occurrences
	maxDaily    = 24                  // occurrences of a rule in a day
)

// Window is a rule for when a pet belongs to its own work.
type Window struct {
	text   string
	zone   *time.Location // nil: the pet's
	starts series
	days   bool // it is whole days of a calendar, which dates take out
	// An occurrence ends where the clock shows nominal more than at its start, and then
	// exact later.
	nominal, exact time.Duration
	// Starts that do not happen: single ones, and whole days. Both are in order.
	not     []time.Time
	notDays []time.Time
}

// String returns the window in one line: as it was written, or what of a calendar it is.
func (w Window) String() string { return w.text }

func (w *Window) length() time.Duration { return w.nominal + w.exact }

func (w *Window) excluded(wall time.Time) bool {
	return in(w.not, wall) || len(w.notDays) > 0 && in(w.notDays, wallclock.Midnight(wall))
}

// in reports whether sorted times have one.
func in(times []time.Time, t time.Time) bool {
	_, found := slices.BinarySearchFunc(times, t, time.Time.Compare)
	return found
}

// series are the wall-clock times at which a window starts.
type series interface {
	// from returns those in [first, limit], one at a time and in order.
	from(first, limit time.Time) func() (time.Time, bool)
	// daily returns how many there are in a day at most; 0 is a fixed number in all.
	daily() int
}

// weekly starts at a time of day on some days of the week.
type weekly struct {
	days [7]bool // by time.Weekday
	at   time.Duration
}

func (weekly) daily() int { return 1 }

func (s weekly) from(first, limit time.Time) func() (time.Time, bool) {
	day := wallclock.Midnight(first)
	return func() (time.Time, bool) {
		for ; !day.After(limit); day = day.Add(24 * time.Hour) {
			if at := day.Add(s.at); s.days[day.Weekday()] && !at.Before(first) && !at.After(limit) {
				day = day.Add(24 * time.Hour)
				return at, true
			}
		}
		return time.Time{}, false
	}
}

// dates are single starts, sorted.
type dates []time.Time

func (dates) daily() int { return 0 }

func (s dates) from(first, limit time.Time) func() (time.Time, bool) {
	i, _ := slices.BinarySearchFunc(s, first, time.Time.Compare)
	return func() (time.Time, bool) {
		if i >= len(s) || s[i].After(limit) {
			return time.Time{}, false
		}
		i++
		return s[i-1], true
	}
}

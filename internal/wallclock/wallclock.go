// Package wallclock turns what a clock on the wall shows into moments, and back.
//
// A wall-clock time, without a zone, is kept as if it were in UTC: there each day has 24
// hours, so that adding to it moves the hands of a clock and nothing else.
package wallclock

import "time"

// Of returns what a clock in zone shows at t.
func Of(t time.Time, zone *time.Location) time.Time {
	_, offset := t.In(zone).Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// Instant returns the first moment at which a clock in zone shows wall or a later time. So a
// time that is skipped when clocks go forward stands for the moment they do, and one that
// comes twice when they go back for the first of the two. A later wall never has an
// earlier moment. (time.Date does not say which it takes.)
func Instant(wall time.Time, zone *time.Location) time.Time {
	// Before any zone shows it: no offset was ever larger than 16 hours.
	t := wall.Add(-24 * time.Hour).In(zone)
	for {
		_, offset := t.Zone()
		_, end := t.ZoneBounds()
		if !end.IsZero() && !end.After(t) {
			// For zones that go by a rule for all years to come Go ends each year after 365
			// days: on the last of a leap year that is over already.
			end = t.Truncate(24 * time.Hour).Add(24 * time.Hour)
		}
		at := wall.Add(-time.Duration(offset) * time.Second)
		switch {
		case at.Before(t):
			return t
		case end.IsZero() || at.Before(end):
			return at.In(zone)
		}
		t = end
	}
}

// Hands is Instant for many times of one zone: it keeps the stretch of time in which the clock's
// offset was last the same. It is not for several goroutines.
type Hands struct {
	zone     *time.Location
	from, to time.Time // the offset is the same in [from, to); both zero before the first use
	offset   time.Duration
}

// NewHands returns the hands of a clock in a zone.
func NewHands(zone *time.Location) *Hands { return &Hands{zone: zone} }

// always is a time after all that are asked for.
var always = time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)

// Instant returns what the function Instant does.
func (h *Hands) Instant(wall time.Time) time.Time {
	// As the function begins, a day before any zone shows wall.
	t := wall.Add(-24 * time.Hour)
	if !t.Before(h.from) {
		if at := wall.Add(-h.offset); at.Before(h.to) {
			return at.In(h.zone)
		}
	}
	local := t.In(h.zone)
	_, offset := local.Zone()
	h.offset = time.Duration(offset) * time.Second
	if h.from, h.to = local.ZoneBounds(); h.to.IsZero() {
		h.to = always
	}
	return Instant(wall, h.zone)
}

// Midnight returns the beginning of a wall-clock time's day.
func Midnight(wall time.Time) time.Time { return wall.Truncate(24 * time.Hour) }

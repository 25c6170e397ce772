package calendar

import "time"

// A wall-clock time, without a zone, is kept as if it were in UTC: there each day has 24
// hours, so that adding to it moves the hands of a clock and nothing else.

// wallOf gives what a clock in zone shows at t.
func wallOf(t time.Time, zone *time.Location) time.Time {
	_, offset := t.In(zone).Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// instant gives the first moment at which a clock in zone shows wall or a later time. So a
// time that is skipped when clocks go forward stands for the moment they do, and one that
// comes twice when they go back for the first of the two. A later wall never gives an
// earlier moment. (time.Date does not say which it takes.)
func instant(wall time.Time, zone *time.Location) time.Time {
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

// hands is instant for many times of one zone: it keeps the stretch of time in which the clock's
// offset was last the same. The zero value with a zone is ready for use.
type hands struct {
	zone     *time.Location
	from, to time.Time // the offset is the same in [from, to); both zero before the first use
	offset   time.Duration
}

// instant returns what the function instant does.
func (h *hands) instant(wall time.Time) time.Time {
	// As instant begins, a day before any zone shows wall.
	t := wall.Add(-24 * time.Hour)
	if !t.Before(h.from) {
		if at := wall.Add(-h.offset); at.Before(h.to) {
			return at.In(h.zone)
		}
	}
	at := instant(wall, h.zone)
	local := t.In(h.zone)
	_, offset := local.Zone()
	h.offset = time.Duration(offset) * time.Second
	h.from, h.to = local.ZoneBounds()
	if h.to.IsZero() {
		h.to = at.Add(horizon)
	}
	return at
}

// midnight gives the beginning of a wall-clock time's day.
func midnight(wall time.Time) time.Time { return wall.Truncate(24 * time.Hour) }

package drain

import (
	"slices"
	"time"
)

// track notes in the record where the drain's instances are, and removes those that another client took
// away before the drain did.
func (r *Record) track(view View, member string) {
	if r.Phase != Draining {
		return
	}
	r.Entries = slices.DeleteFunc(r.Entries, func(e Entry) bool {
		i, there := view.find(e)
		// A drain and an evacuation set the origin before anything moves; the one who moves an instance
		// out of a drain that is in progress moves it for that drain.
		return there && !i.Unobserved && i.Member != member && e.To == "" && i.Origin == ""
	})
	for n := range r.Entries {
		e := &r.Entries[n]
		if i, there := view.find(*e); there && i.Member != member && e.To == "" {
			e.To = i.Member
		}
	}
	// LXD may have moved one that was created after the drain listed them.
	for _, i := range view.Instances {
		if i.Origin == member && i.Member != member && r.entry(i) == nil && !slices.Contains(r.ForeignOrigins, i.Ref) {
			r.Entries = append(r.Entries, Entry{Ref: i.Ref, ID: i.ID, Ran: i.Running || i.ShouldRun, To: i.Member})
		}
	}
}

// resumeDrain returns the record of an undrain that did not complete, for a drain that follows: what is
// still away is where a drain has put it, and what ran has to run again after the next undrain.
func (r Record) resumeDrain(view View, member string) Record {
	next := *r.clone()
	next.Phase, next.Entries = Draining, nil
	for _, e := range r.Entries {
		i, there := view.find(e)
		if !there {
			continue
		}
		if e.Returning {
			e.Ran = e.StartAfter
		}
		e.To = ""
		if i.Member != member {
			e.To = i.Member
		}
		e.Returning, e.StartAfter, e.Verified, e.Stopping, e.Down, e.FailedReturns, e.RetryAfter, e.LastError = false, false, false, false, 0, 0, time.Time{}, ""
		next.Entries = append(next.Entries, e)
	}
	return next
}

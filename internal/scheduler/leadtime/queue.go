package leadtime

import (
	"cmp"
	"slices"
	"time"
)

// Need is a drain to come.
type Need struct {
	By   time.Time     // when it has to be done
	Lead time.Duration // how long it takes alone
}

// Queue returns how long before its deadline each of the needs has to begin, so that all are
// done in time although they share the move slots: never less than its own
// lead, and never more than most, unless the lead is.
//
// It is the schedule that, of all in which one is worked on at a time and the one that is due
// first goes before the others, begins latest: what is due first takes the time just before
// its deadline, and each that is due later what was left free before its own. Equals go in the
// order given. See J. R. Jackson, "Scheduling a production line to minimize maximum
// tardiness", 1955, for why that order misses no deadline that can be kept.
func Queue(needs []Need, most time.Duration) []time.Duration {
	order := make([]int, len(needs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Or(needs[a].By.Compare(needs[b].By), a-b) })
	type stretch struct{ from, to time.Time }
	var taken []stretch // apart from each other, in order
	leads := make([]time.Duration, len(needs))
	for _, i := range order {
		at, left := needs[i].By, needs[i].Lead
		for n := len(taken); n > 0 && at.Add(-left).Before(taken[n-1].to); n-- {
			left -= at.Sub(taken[n-1].to)
			at = taken[n-1].from
			taken = taken[:n-1]
		}
		leads[i] = max(needs[i].Lead, min(most, needs[i].By.Sub(at)+left))
		taken = append(taken, stretch{needs[i].By.Add(-leads[i]), needs[i].By})
	}
	return leads
}

// Package lead says how long before its deadline a drain has to begin: just in time, as the
// pet's own past drains teach it. It is pure.
package leadtime

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// Drain is a past drain of a pet that came to its end.
type Drain struct {
	Took      time.Duration // from its beginning until the pet was seen empty, failed tries included
	Instances int           // that were on the pet when it began
}

// Options bound what is learned. The zero value is not useful, see Defaults.
type Options struct {
	Quantile          float64       // of the past drains that would have been in time, in (0, 1]
	Margin            float64       // is added, as a share: the next drain may be the slowest yet
	FailoverAllowance time.Duration // is added too: the unit that begins may be lost, and another has to take over
	Min, Max          time.Duration // the lead is never outside
	Initial           time.Duration // the lead as long as there is little to learn from
	MinSamples        int           // so many past drains are no longer little
}

// Defaults are the options of a pet-scheduler that was told nothing else.
func Defaults() Options {
	return Options{Quantile: 0.95, Margin: 0.25, FailoverAllowance: 10 * time.Second, Min: time.Minute, Max: 2 * time.Hour, Initial: 15 * time.Minute, MinSamples: 5}
}

// remembered is how many of the last drains count: a pet's work and its network change.
const remembered = 100

// Lead is how early to begin, and why so early.
type Lead struct {
	Time time.Duration
	Why  string
}

// Of returns the lead of a pet that has that many instances now. past is in order, the last
// drain last.
//
// Each past drain is taken as if it had had as many instances as there are now, if they are
// more; never fewer, since what a drain takes has a part that does not shrink with them.
// The lead is the quantile of these (the nearest rank, so that a short past has its
// slowest), the margin and the spare time, in whole seconds.
func Of(past []Drain, instances int, o Options) Lead {
	past = past[max(0, len(past)-remembered):]
	type grown struct {
		took time.Duration
		past int // which one
	}
	all := make([]grown, len(past))
	for i, d := range past {
		factor := max(1, float64(instances)/float64(max(1, d.Instances)))
		all[i] = grown{time.Duration(min(float64(d.Took)*factor, float64(math.MaxInt64/2))), i}
	}
	slices.SortFunc(all, func(a, b grown) int { return cmp.Or(cmp.Compare(a.took, b.took), a.past-b.past) })

	lead := Lead{Time: o.Initial, Why: "as for each pet that was never drained"}
	if n := len(all); n > 0 {
		rank := min(n, max(1, int(math.Ceil(o.Quantile*float64(n)))))
		grown := all[rank-1].took
		at := past[all[rank-1].past]
		lead.Time = (time.Duration(min(float64(grown)*(1+o.Margin), math.MaxInt64/2)) + o.FailoverAllowance).Round(time.Second)
		lead.Why = fmt.Sprintf("%.0f%% of %d past drains were done in %s", o.Quantile*100, n, short(at.Took))
		if n == 1 {
			lead.Why = fmt.Sprintf("the one past drain took %s", short(at.Took))
		} else if rank == n {
			lead.Why = fmt.Sprintf("the slowest of %d past drains took %s", n, short(at.Took))
		}
		if grown > at.Took {
			lead.Why += fmt.Sprintf(" with %d instances, there are %d now", at.Instances, instances)
		}
		lead.Why += fmt.Sprintf(", and %.0f%% and %s more", o.Margin*100, short(o.FailoverAllowance))
		if n < o.MinSamples && lead.Time < o.Initial {
			lead.Why += fmt.Sprintf("; at least %s until there were %d drains", short(o.Initial), o.MinSamples)
			lead.Time = o.Initial
		}
	}
	switch {
	case lead.Time > o.Max:
		lead = Lead{o.Max, lead.Why + fmt.Sprintf("; at most %s is allowed", short(o.Max))}
	case lead.Time < o.Min:
		lead = Lead{o.Min, lead.Why + fmt.Sprintf("; at least %s is kept", short(o.Min))}
	}
	return lead
}

// short writes a duration in whole seconds.
func short(d time.Duration) string { return d.Round(time.Second).String() }

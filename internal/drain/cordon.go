package drain

import "fmt"

// uncordon ends what Cordoned reports.
func (r *Record) uncordon() { r.Cordoned, r.PreviousScheduler = false, "" }

// SchedulerFor returns the scheduler.instance of a member whose record changes from before to after,
// where it is now: manual from when the drain begins; afterwards what it was before, unless an operator
// has set another meanwhile. Written together with the record it cannot be lost, whenever the writer
// dies. It fails with ErrConflict when now is not what the drain was planned with.
func SchedulerFor(now string, before, after *Record) (string, error) {
	was, cordon := before != nil && before.Cordoned, after != nil && after.Cordoned
	switch {
	case cordon && !was && now != after.PreviousScheduler:
		return "", fmt.Errorf("scheduler.instance has become %q: %w", now, ErrConflict)
	case cordon && !was:
		return schedulerManual, nil
	case was && !cordon && now == schedulerManual:
		return before.PreviousScheduler, nil
	}
	return now, nil
}

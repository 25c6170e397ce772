package drain

import (
	"slices"
	"time"
)

// MemberStatus is a cluster member's status, in LXD's words.
type MemberStatus string

// The statuses that matter here; LXD has others ("Blocked").
const (
	Online    MemberStatus = "Online"
	Evacuated MemberStatus = "Evacuated"
	Offline   MemberStatus = "Offline"
)

// Member is a cluster member.
type Member struct {
	Name   string
	Status MemberStatus
	// Architectures are those of the instances that it can run.
	Architectures []string
	// Scheduler is its scheduler.instance: "" (as "all"), "all", "group" or "manual".
	Scheduler string
	// Groups are the cluster groups that it is in.
	Groups []string
	// Voter and Standby are its role in LXD's database. ControlPlane reports that it is in the control
	// plane (LXD 6.9): where that has three members or more, no other member may vote.
	Voter, Standby, ControlPlane bool
	// EmptyBy is when it has to be empty itself, if that is soon: it gets instances only where no
	// member with more time has capacity for them. Zero is not soon.
	EmptyBy time.Time
}

// schedulerManual is the scheduler.instance of a member on which LXD places instances only by request.
const schedulerManual = "manual"

// AcceptsInstances reports whether LXD's scheduler may place any instance there, unless the member is
// evacuated.
func (m Member) AcceptsInstances() bool {
	return m.Scheduler != schedulerManual && m.Scheduler != "group"
}

// accepts reports whether LXD's scheduler may place an instance of that cluster group there; "" is an
// instance of none.
func (m Member) accepts(group string) bool {
	if group == "" {
		return m.AcceptsInstances()
	}
	return m.Scheduler != schedulerManual && slices.Contains(m.Groups, group)
}

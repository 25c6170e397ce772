// Package draintest is an LXD cluster in memory for tests of package drain and of its users. It evacuates
// and restores its members as LXD 5.0.2 does (lxd/api_cluster.go), with its faults. Tests can make any
// call fail, and kill the client at any call. It keeps the journal as well.
package draintest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dcib/dcib/internal/drain"
)

// ErrKilled is what every call returns after the client was killed.
var ErrKilled = errors.New("killed")

// LXD is one cluster. Tests read and change it between calls.
type LXD struct {
	Member      []drain.Member
	Instance    []*drain.Instance
	Capacity    map[string]drain.Capacity // by member; nil is not known
	Journal     map[string]string         // member → record
	Calls       []string                  // all calls that change something
	Evacuations int
	Starts      []string // the instances that were started, each with its id for cloud-init

	// CallsLeft is how many more calls the client makes before it is killed; negative is no limit. An
	// operation that was started by then continues without the client.
	CallsLeft int
	// BeforeCall is called before each call of the client, with the number of the call; it may be nil.
	BeforeCall func(calls int)
	calls      int
	ids        int
	// CPUs is how many processors each member has.
	CPUs int
	// Unreachable members cannot be reached by the others.
	Unreachable map[string]bool
	// BackupCount counts the backups of instances. A move is refused where there are any, and an evacuation
	// deletes them.
	BackupCount map[drain.Ref]int
	// LostError is the error of an Evacuate and a Restore that LXD has completed, but whose result was lost.
	LostError error
	// RestoresWithoutInstances reports that its restore has a mode that changes no instance.
	RestoresWithoutInstances bool
	// Relocates reports that it can stop, move and start an instance in one operation.
	Relocates bool
	// Copies reports that it can copy instances while they run, but for those with a CopyBlocker.
	Copies      bool
	CopyBlocker map[drain.Ref]string
	// Content is what each instance contains: it grows with each call while the instance runs.
	Content map[*drain.Instance]int
	// Lost is what was deleted although its copy was not equal.
	Lost []string

	lastStart map[*drain.Instance]time.Time
	starts    int
	// VoterCheck reports that it refuses an evacuation that leaves its database with too few voters.
	VoterCheck bool
	// Fail returns the error of a call ("start", "stop", "move", "copy", "origin") on an instance.
	Fail func(call string, instance drain.Ref) error
}

var (
	_ drain.Cluster = (*LXD)(nil)
	_ drain.Journal = (*LXD)(nil)
)

// New returns a cluster of Online members.
func New(members ...string) *LXD {
	l := &LXD{Journal: map[string]string{}, CallsLeft: -1, Content: map[*drain.Instance]int{}, lastStart: map[*drain.Instance]time.Time{}}
	for _, name := range members {
		l.Member = append(l.Member, drain.Member{Name: name, Status: drain.Online, Architectures: []string{"x86_64"}})
	}
	return l
}

// Add adds an instance to a member.
func (l *LXD) Add(name, member string, running bool) *drain.Instance {
	i := &drain.Instance{
		Ref:          drain.Ref{Project: "default", Name: name},
		ID:           fmt.Sprintf("id-%s-%d", name, len(l.Calls)),
		Member:       member,
		Running:      running,
		ShouldRun:    running,
		Architecture: "x86_64",
	}
	l.Instance = append(l.Instance, i)
	return i
}

// Find returns an instance; nil when there is none of that name.
func (l *LXD) Find(ref drain.Ref) *drain.Instance {
	for _, i := range l.Instance {
		if i.Ref == ref {
			return i
		}
	}
	return nil
}

// Status returns a member's status.
func (l *LXD) Status(member string) drain.MemberStatus { return l.member(member).Status }

// SetStatus sets a member's status.
func (l *LXD) SetStatus(member string, status drain.MemberStatus) { l.member(member).Status = status }

// Delete deletes an instance.
func (l *LXD) Delete(ref drain.Ref) {
	l.Instance = slices.DeleteFunc(l.Instance, func(i *drain.Instance) bool { return i.Ref == ref })
}

func (l *LXD) member(name string) *drain.Member {
	for n := range l.Member {
		if l.Member[n].Name == name {
			return &l.Member[n]
		}
	}
	panic("no member " + name)
}

// call counts a call of the client. The error is that it was killed before.
func (l *LXD) call() error {
	l.calls++
	l.write()
	if l.BeforeCall != nil {
		l.BeforeCall(l.calls)
	}
	if l.CallsLeft == 0 {
		return ErrKilled
	}
	l.CallsLeft--
	return nil
}

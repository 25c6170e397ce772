// Package drain empties a cluster member of its instances and brings them back.
//
// Its parts are apart so that each can change for its own reason:
//
//	plan   pure: what would happen to each instance, and why (plan.go, undrain.go)
//	apply  does it, and finds its way again after it was killed anywhere (apply.go, bringback.go,
//	       move.go); report.go says what came of it
//	proof  pure: looks whether it is true (proof.go)
//	record what the drain did, kept in a Journal (record.go)
//
// Only what a drain moved is brought back by its undrain. What an operator did meanwhile
// stays: an instance that they moved, stopped or deleted, a member that they evacuated.
//
// The rules of evacuation are LXD's own, read from lxd 5.0.2, lxd/api_cluster.go
// (evacuateClusterMember, restoreClusterMember) and lxd/instance/drivers/driver_common.go
// (canMigrate).
package drain

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
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
	// Runs are the architectures of the instances that it can run.
	Architectures []string
	// Scheduler is its scheduler.instance: "" (as "all"), "all", "group" or "manual".
	Scheduler string
	// Groups are the cluster groups that it is in.
	Groups []string
	// Votes and StandsBy tell its part in LXD's database, Controls that it is in the control plane
	// (LXD 6.9), which alone may vote where three members or more are.
	Voter, Standby, ControlPlane bool
	// Until is when it has to be empty itself, if that is soon: it gets instances only where no
	// member that is later has room for them. Zero is not soon.
	EmptyBy time.Time
}

// manual is the scheduler.instance of a member on which LXD places nothing by itself.
const schedulerManual = "manual"

// Takes tells whether LXD places any instance there by itself, unless the member is
// evacuated.
func (m Member) AcceptsInstances() bool {
	return m.Scheduler != schedulerManual && m.Scheduler != "group"
}

// takes reports whether LXD places an instance of that cluster group there; "" is an instance of
// none.
func (m Member) accepts(group string) bool {
	if group == "" {
		return m.AcceptsInstances()
	}
	return m.Scheduler != schedulerManual && slices.Contains(m.Groups, group)
}

// Ref names an instance.
type Ref struct {
	Project string `json:"project"`
	Name    string `json:"name"`
}

// String gives the name as an operator knows it: with its project unless that is LXD's
// default one.
func (r Ref) String() string {
	if r.Project == "" || r.Project == "default" {
		return r.Name
	}
	return r.Project + "/" + r.Name
}

// Instance is a container or a virtual machine.
type Instance struct {
	Ref
	// ID stays the same wherever the instance goes (volatile.uuid); it tells a new
	// instance from a deleted one of the same name. Empty when LXD gave it none.
	ID     string
	Member string // where it is
	// Half reports that LXD has it under a temporary name: a move put it on its member, deleted what
	// was elsewhere, and then failed, or was killed, before it gave it its name back.
	HalfMoved bool
	// Unseen reports that only its name and member are known: the member is Offline, or its LXD
	// does not answer. All other fields are empty then, and nothing may be concluded from them.
	Unobserved   bool
	Running      bool
	Architecture string
	// Group is the cluster group that it was launched in (volatile.cluster.group, LXD 5.21.5 and
	// 6.6): it moves to members of that group only, and LXD forgets it with each move to a member.
	Group string
	// CloudInit is the id by which cloud-init inside knows the instance
	// (volatile.cloud-init.instance-id). LXD makes another with each move, and cloud-init then takes
	// the next start for the first: it makes new SSH host keys and runs the user data again.
	CloudInitID  string
	Frozen       bool // it runs, and is frozen
	Requirements Requirements
	Ephemeral    bool // LXD deletes it when it stops
	LiveMovable  bool // LXD can move it while it runs
	// Evacuate is its cluster.evacuate: "" (as "auto"), "migrate", "live-migrate", "stop".
	Evacuate string
	// MayStop tells that, when it cannot move, it may be stopped where it is, whatever its
	// cluster.evacuate: option on-immovable of the pet that it is on.
	MayStop bool
	// Ties are the devices that keep it on its member when Evacuate is "auto": LXD does not move
	// them, and nothing is known of a counterpart elsewhere.
	LocalDevices []string
	// Uses are the devices that need something of the host, which other members may have: it
	// moves to these only.
	HostDevices []HostDevice
	// Origin is the member that an evacuation took it from (volatile.evacuate.origin).
	Origin string
	// Wanted tells that LXD means it to run (volatile.last_state.power is RUNNING): it
	// stands still because of an evacuation and not because somebody stopped it.
	ShouldRun bool
}

// Cluster is what this package asks of a LXD cluster. Each method returns when what it
// was asked for is done; calling one again does no harm. Errors begin with "cannot".
type Cluster interface {
	// Members lists the members.
	Members(ctx context.Context) ([]Member, error)
	// Instances lists the instances of all projects.
	Instances(ctx context.Context) ([]Instance, error)
	// Rooms gives the members' room, by name, as far as those instances ask for it.
	Capacities(ctx context.Context, instances []Instance) (map[string]Capacity, error)
	// Processors tells how many processors a member has; 0 is not known.
	Processors(ctx context.Context, member string) int
	// Backups counts the backups of those instances that have any: LXD refuses to move them, and its
	// evacuation, which moves them all the same, deletes the backups.
	Backups(ctx context.Context, instances []Instance) (map[Ref]int, error)
	// AsksForVoters reports whether LXD refuses to evacuate a member whose vote its database needs,
	// and to evacuate two members at a time.
	ChecksVoters(ctx context.Context) (bool, error)
	// Settle waits until no evacuation or restore of the member is under way, begun by
	// whomever.
	WaitIdle(ctx context.Context, member string) error
	// Evacuate has LXD evacuate the member; progress gets LXD's own words. Where LXD evacuates one
	// member at a time it waits for its turn.
	Evacuate(ctx context.Context, member string, progress func(string)) error
	// Restore has LXD restore the member: it is Online again, instances that LXD stopped
	// on it start, and instances elsewhere whose Origin is the member come back.
	Restore(ctx context.Context, member string, progress func(string)) error
	// Reopen has LXD restore the member without touching any instance. It fails with
	// errors.ErrUnsupported where LXD cannot.
	RestoreWithoutInstances(ctx context.Context, member string) error
	// Reach waits until LXD on one member can hand an instance to another, and makes ready what
	// it takes to Start one there. After LXD was started anew on either that is so only once
	// they have heard of each other, up to ten seconds later.
	WaitReachable(ctx context.Context, from, to string) error
	// SetOrigin sets an instance's Origin; "" takes it away.
	SetOrigin(ctx context.Context, instance Ref, origin string) error
	// SetGroup sets an instance's Group.
	SetGroup(ctx context.Context, instance Ref, group string) error
	// SetCloudInit sets an instance's CloudInit.
	SetCloudInitID(ctx context.Context, instance Ref, id string) error
	// Freeze freezes an instance that runs; Member is as in Start.
	Freeze(ctx context.Context, instance Ref, member string) error
	// Start starts an instance. Member is where it is, as far as is known: LXD is quickest when
	// it is asked there.
	Start(ctx context.Context, instance Ref, member string) error
	// Stop shuts an instance down, by force when it does not obey.
	Stop(ctx context.Context, instance Ref) error
	// Landed waits until no move of an instance is under way, begun by whomever, and gives
	// the member that it is on.
	WaitMoved(ctx context.Context, instance Ref) (member string, err error)
	// Move moves an instance to another member; live tells that it runs on meanwhile, else
	// it has to be stopped. No move of it may be under way.
	Move(ctx context.Context, instance Ref, member string, live bool) error
	// Rename gives an instance that is Half, and stopped, its name back, unless LXD still does.
	Rename(ctx context.Context, instance Ref, name string) error
	// Relocate is Stop, Move and Start of an instance that runs, as one operation of LXD's: it is
	// down for a tenth less. It is for instances without cloud-init only, see Instance.CloudInit. No
	// move of it may be under way. It gives how long the instance took
	// from having stopped to having started, 0 if that is not known. ErrInSteps, before anything
	// has changed, is that LXD would not do it as gently. After any other error it runs where it
	// was only if LXD could not be asked; what is left is for Landed, Stop, Move and Start.
	Relocate(ctx context.Context, instance Ref, member string) (moved time.Duration, err error)
}

// ErrInSteps is returned by Relocate where Stop, Move and Start have to be asked for.
var ErrNotRelocatable = errors.New("cannot stop, move and start in one")

// ErrConflict is returned (wrapped) by a Journal when somebody else wrote first.
var ErrConflict = errors.New("somebody else changed it first")

// Journal keeps one record for each drained member. It has to outlive the process, and
// every unit that may act has to see the same one.
type Journal interface {
	// Records gives all records, by member.
	Records(ctx context.Context) (map[string]Record, error)
	// Write replaces the record of a member, nil stands for none, and in the same moment
	// its scheduler.instance by what Placement says. It fails with ErrConflict when the
	// record there is not before.
	Write(ctx context.Context, member string, before, after *Record) error
}

// View is what plans and proofs are made from.
type View struct {
	Members    []Member
	Instances  []Instance
	HalfMoved  []Instance // those that are Half; they are not among Instances
	Records    map[string]Record
	Capacities map[string]Capacity // nil when nobody asked, see Survey
	// Backups is what Cluster.Backups returns; nil when nobody asked.
	Backups map[Ref]int
	// AsksForVoters is what Cluster.AsksForVoters reports; false when nobody asked.
	ChecksVoters bool
	// Now is when the view was made, for what is not to be tried again before some time; zero has
	// all tried.
	Now time.Time
}

// Look observes a cluster and its journal.
func Observe(ctx context.Context, cluster Cluster, journal Journal) (View, error) {
	var view View
	var err error
	if view.Members, err = cluster.Members(ctx); err != nil {
		return View{}, err
	}
	if view.Instances, err = cluster.Instances(ctx); err != nil {
		return View{}, err
	}
	for _, i := range view.Instances {
		if i.HalfMoved {
			view.HalfMoved = append(view.HalfMoved, i)
		}
	}
	view.Instances = slices.DeleteFunc(view.Instances, func(i Instance) bool { return i.HalfMoved })
	view.Records, err = journal.Records(ctx)
	return view, err
}

// Member finds a member; ok is false when the cluster has none of that name.
func (v View) Member(name string) (m Member, ok bool) {
	for _, m := range v.Members {
		if m.Name == name {
			return m, true
		}
	}
	return Member{}, false
}

// names lists the members' names.
func (v View) memberNames() string {
	names := make([]string, len(v.Members))
	for i, m := range v.Members {
		names[i] = m.Name
	}
	return strings.Join(names, ", ")
}

// on lists the instances that are located on a member.
func (v View) instancesOn(member string) []Instance {
	var there []Instance
	for _, i := range v.Instances {
		if i.Member == member {
			there = append(there, i)
		}
	}
	return there
}

// find finds the instance of an entry; ok is false when it was deleted.
func (v View) find(e Entry) (i Instance, ok bool) {
	for _, i := range v.Instances {
		if e.matches(i) {
			return i, true
		}
	}
	return Instance{}, false
}

// hosts lists the members other than from where LXD would place an instance of i's
// architecture, an empty one matches all, and that have what its devices use and may have it: those first that have room for it, of these those
// that need not be empty soon, or latest, and of these the one with the fewest instances, those
// that are coming included.
func (v View) targets(from string, i Instance, coming map[string]int) []Member {
	load := map[string]int{}
	maps.Copy(load, coming)
	for _, i := range v.Instances {
		load[i.Member]++
	}
	var hosts []Member
	for _, m := range v.Members {
		if m.Name != from && m.Status == Online && m.accepts(i.Group) && !v.Capacities[m.Name].DeniedProjects[i.Project] && (i.Architecture == "" || slices.Contains(m.Architectures, i.Architecture)) && v.missingOn(m.Name, i) == "" {
			hosts = append(hosts, m)
		}
	}
	slices.SortFunc(hosts, func(a, b Member) int {
		return cmp.Or(compareByFit(v, i.Requirements, a, b), compareByNextDrain(a, b), load[a.Name]-load[b.Name], strings.Compare(a.Name, b.Name))
	})
	return hosts
}

// lasting compares two members: the one comes first that can have instances for longer.
func compareByNextDrain(a, b Member) int {
	if a.EmptyBy.IsZero() || b.EmptyBy.IsZero() {
		return a.EmptyBy.Compare(b.EmptyBy)
	}
	return b.EmptyBy.Compare(a.EmptyBy)
}

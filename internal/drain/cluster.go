package drain

import (
	"context"
	"errors"
	"time"
)

// ErrNotRelocatable is returned by Mover.Relocate where Stop, Move and Start have to be used.
var ErrNotRelocatable = errors.New("cannot stop, move and start in one operation")

// ErrChanged is returned (wrapped) by Mover.Adopt where the copy is not equal to the instance any more.
var ErrChanged = errors.New("it was changed meanwhile")

// ErrConflict is returned (wrapped) by a Journal when another writer was first.
var ErrConflict = errors.New("another writer changed it first")

// Cluster is what this package needs of an LXD cluster. Each method returns when what it was asked for
// is done; to call one again does no harm. Errors begin with "cannot".
type Cluster interface {
	Observer
	Evacuator
	Mover
}

// Observer reads the state of a cluster.
type Observer interface {
	// Members lists the members.
	Members(ctx context.Context) ([]Member, error)
	// Instances lists the instances of all projects.
	Instances(ctx context.Context) ([]Instance, error)
	// Capacities returns the members' capacity, by name, as far as those instances require it.
	Capacities(ctx context.Context, instances []Instance) (map[string]Capacity, error)
	// Processors returns how many processors a member has; 0 is not known.
	Processors(ctx context.Context, member string) int
	// Backups counts the backups of those instances that have any: LXD refuses to move them, and its
	// evacuation, which moves them all the same, deletes the backups.
	Backups(ctx context.Context, instances []Instance) (map[Ref]int, error)
	// CopyBlockers returns why LXD cannot copy each of those instances while it runs, see Mover.Copy;
	// the text of one that it can copy is empty.
	CopyBlockers(ctx context.Context, instances []Instance) (map[Ref]string, error)
	// ChecksVoters reports whether LXD refuses to evacuate a member whose vote its database needs,
	// and to evacuate two members at a time.
	ChecksVoters(ctx context.Context) (bool, error)
}

// Evacuator has LXD evacuate and restore members.
type Evacuator interface {
	// WaitIdle waits until no evacuation or restore of the member is in progress, by any client.
	WaitIdle(ctx context.Context, member string) error
	// Evacuate has LXD evacuate the member; progress gets LXD's own words. Where LXD evacuates one
	// member at a time it waits for the others.
	Evacuate(ctx context.Context, member string, progress func(string)) error
	// Restore has LXD restore the member: it is Online again, instances that LXD stopped on it start,
	// and instances elsewhere whose Origin is the member come back.
	Restore(ctx context.Context, member string, progress func(string)) error
	// RestoreWithoutInstances has LXD restore the member without a change to any instance. It fails
	// with errors.ErrUnsupported where LXD cannot.
	RestoreWithoutInstances(ctx context.Context, member string) error
}

// Mover changes single instances.
type Mover interface {
	// WaitReachable waits until LXD on one member can hand an instance to another, and prepares the
	// connection to Start one there. After LXD was restarted on either that takes until they have had
	// each other's heartbeat, up to ten seconds.
	WaitReachable(ctx context.Context, from, to string) error
	// WaitMoved waits until no move of an instance is in progress, by any client, and returns the
	// member that it is on.
	WaitMoved(ctx context.Context, instance Ref) (member string, err error)
	// Stop shuts an instance down, by force when it does not obey.
	Stop(ctx context.Context, instance Ref) error
	// Move moves an instance to another member; with live it runs on meanwhile, else it has to be
	// stopped. No move of it may be in progress.
	Move(ctx context.Context, instance Ref, member string, live bool) error
	// Relocate is Stop, Move and Start of an instance that runs, as one operation of LXD's: it is down
	// for a tenth less. It is for instances without cloud-init only, see Instance.CloudInitID. No move
	// of it may be in progress. It returns how long the instance took from having stopped to having
	// started, 0 if that is not known. ErrNotRelocatable, before anything has changed, is that LXD
	// would not do it as gently. After any other error the instance runs where it was only if LXD could
	// not be asked; what is left is for WaitMoved, Stop, Move and Start.
	Relocate(ctx context.Context, instance Ref, member string) (moved time.Duration, err error)
	// Start starts an instance. Member is where it is, as far as is known: LXD is quickest when it is
	// asked there.
	Start(ctx context.Context, instance Ref, member string) error
	// Freeze freezes an instance that runs; member is as in Start.
	Freeze(ctx context.Context, instance Ref, member string) error
	// Rename renames an instance that is HalfMoved, and stopped, unless LXD still does.
	Rename(ctx context.Context, instance Ref, name string) error
	// Copy makes a copy of an instance, which may run meanwhile, on another member, or brings the copy up
	// to date. Nothing starts the copy, and it has no address. One on another member is made again.
	Copy(ctx context.Context, instance Ref, copy Copy) (CopyState, error)
	// Adopt sets on a copy, which may have its final name already, all that the instance has besides the
	// content: configuration, devices, profiles and description. With settle it is no copy any more, and
	// nothing starts the original. It fails with ErrChanged (wrapped) where the instance runs, or was
	// started or changed its snapshots since state was returned; a zero LastStart is not compared.
	Adopt(ctx context.Context, instance, copy Ref, state CopyState, settle bool) error
	// DeleteTemporary deletes a stopped instance that has the name of a copy or of a replaced instance; it is no
	// error if there is none.
	DeleteTemporary(ctx context.Context, instance Ref) error
	// SetOrigin sets an instance's Origin; "" removes it.
	SetOrigin(ctx context.Context, instance Ref, origin string) error
	// SetGroup sets an instance's Group.
	SetGroup(ctx context.Context, instance Ref, group string) error
	// SetCloudInitID sets an instance's CloudInitID.
	SetCloudInitID(ctx context.Context, instance Ref, id string) error
}

// Journal keeps one record for each drained member. It has to outlive the process, and every unit that
// may drain has to see the same one.
type Journal interface {
	// Records returns all records, by member.
	Records(ctx context.Context) (map[string]Record, error)
	// Write replaces the record of a member, nil stands for none, and in the same moment its
	// scheduler.instance by what SchedulerFor returns. It fails with ErrConflict when the record there
	// is not before.
	Write(ctx context.Context, member string, before, after *Record) error
}

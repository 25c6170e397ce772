package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/lxd"
	"github.com/dcib/dcib/internal/relation/lxdcluster"
	"github.com/dcib/dcib/internal/seal"
)

// leaveTimeout limits the evacuation of a member that leaves. Juju retries the hook after it; what has
// moved stays moved.
const leaveTimeout = time.Hour

// ClusterClient is the client for the instances and volumes of a cluster.
type ClusterClient interface {
	drain.Cluster
	drain.Journal
	// Volumes returns the custom storage volumes and the storage buckets that only that member has: "volume
	// data (pool local, project default)".
	Volumes(ctx context.Context, member string) ([]string, error)
}

// Removal has the facts of a unit that is being removed.
type Removal struct {
	// Kept are the units of this application that Juju means to keep.
	Kept []string
	// View is the cluster; empty if this machine's LXD is in none.
	View drain.View
	// Volumes are those of this member, see ClusterClient.
	Volumes []string
	// CanPublish reports whether the other units can still read this unit's databag.
	CanPublish bool
	// DatabaseError is the reason why LXD's database does not answer; nothing else is known then.
	DatabaseError string
}

// mayLeave reports whether Juju runs this hook for a unit that is being removed. Which of these hooks is
// the first depends on the relations, and some of them also run for units that stay; so the caller asks
// Juju whether it keeps this unit. A member's other hooks do not need that.
func mayLeave(e hooktool.Event) bool {
	return e.Hook == "stop" || e.Hook == "remove" || e.Departing == e.Unit ||
		strings.HasSuffix(e.Hook, "-relation-broken")
}

// observeRemoval asks Juju whether this unit is being removed, and then fills in Removal. An error fails
// the hook, including one of LXD: while it is unknown what is on this machine, Juju must not release the
// machine.
func (f *Facts) observeRemoval(ctx context.Context, event hooktool.Event, w Env, lookErr error) (going bool, err error) {
	kept, err := w.Tools.Units(ctx)
	if err != nil || slices.Contains(kept, event.Unit) {
		return false, err
	}
	if errors.Is(lookErr, lxd.ErrDatabaseUnavailable) {
		f.Removal = &Removal{DatabaseError: lookErr.Error()}
		return true, nil
	}
	if lookErr != nil {
		return true, fmt.Errorf("cannot leave the cluster: %w: start LXD on this machine, or discard what is on it: juju remove-unit --force %s", lookErr, event.Unit)
	}
	f.Removal = &Removal{Kept: kept, CanPublish: event.Hook != "stop" && event.Hook != "remove"}
	return true, f.observeMember(ctx, event, w)
}

// observeMember observes what is left on this unit's member.
func (f *Facts) observeMember(ctx context.Context, event hooktool.Event, w Env) error {
	if key, err := seal.Load(filepath.Join(w.StateDir, keyFile)); err != nil {
		return err
	} else if key != nil {
		f.JoinKey = key.Public()
	}
	relations, err := w.Tools.RelationIDs(ctx, lxdcluster.Endpoint)
	if err != nil {
		return err
	}
	if len(relations) > 0 {
		f.Relation = relations[0]
		if f.Mine, err = readPeerData(ctx, w.Tools, f.Relation, event.Unit); err != nil {
			return err
		}
	}
	if !f.shouldLeaveCluster() {
		return nil
	}
	client, err := w.LXD.ClusterClient(ctx)
	if err != nil {
		return err
	}
	d := f.Removal
	if d.View, err = drain.ObserveWithCapacity(ctx, client, client, f.LXD.Member); err != nil {
		return err
	}
	d.Volumes, err = client.Volumes(ctx, f.LXD.Member)
	return err
}

// shouldLeaveCluster reports whether this machine's LXD has to leave its cluster: this unit was a member,
// and other units stay. A member that is alone keeps everything. So does a cluster of which no unit stays:
// its machines may live on without this application.
func (f Facts) shouldLeaveCluster() bool {
	return f.LXD.Clustered && f.wasMember() && len(f.LXD.Members) > 1 && len(f.Removal.Kept) > 0
}

// wasMember reports whether this unit was a member, by what it published. A cluster that the LXD joined
// without this charm stays as it is.
func (f Facts) wasMember() bool {
	request := f.Mine.Request
	return request.Cluster != "" && (!f.LXD.Clustered || request.Cluster == f.LXD.Identity)
}

// planRemoval plans what a unit does that is being removed.
func (f Facts) planRemoval() ([]charm.Step[Env], charm.Status) {
	if f.Removal.DatabaseError != "" {
		return []charm.Step[Env]{restartUnresponsiveLXD{f.Unit, f.Removal.DatabaseError}}, charm.Maintenancef("leaving the cluster")
	}
	if f.shouldLeaveCluster() {
		return f.planLeaveCluster(), charm.Maintenancef("leaving the cluster")
	}
	var steps []charm.Step[Env]
	address := f.Mine.Request.Address
	if !f.LXD.Clustered && f.wasMember() && address != "" && (f.LXD.Listens == address || f.LXD.Clusters == address) {
		steps = append(steps, unlisten{address})
	}
	if f.JoinKey != "" {
		steps = append(steps, removeJoinKey{})
	}
	if f.Removal.CanPublish && f.Relation != "" && f.Mine.HasRequest && f.Mine.Request != (lxdcluster.JoinRequest{}) {
		steps = append(steps, clearPeerData{f.Relation})
	}
	if f.LXD.Clustered {
		return steps, charm.Maintenancef("being removed; this machine's LXD stays as it is")
	}
	return steps, charm.Maintenancef("left the cluster")
}

func (f Facts) planLeaveCluster() []charm.Step[Env] {
	d, member := f.Removal, f.LXD.Member
	plan := drain.PlanRemoval(d.View, member)
	if reasons := d.blockers(plan); len(reasons) > 0 {
		return []charm.Step[Env]{blockRemoval{f.Unit, member, reasons}}
	}
	if !plan.Done {
		return []charm.Step[Env]{evacuateMember{member, f.Unit}}
	}
	var steps []charm.Step[Env]
	if foreign := d.View.ForeignOrigins(member); len(foreign) > 0 {
		steps = append(steps, clearEvacuationOrigins{member, foreign})
	}
	if !slices.ContainsFunc(f.LXD.Members, func(m Member) bool { return m.Name != member && m.Live() && m.Voter }) {
		steps = append(steps, handOver{member})
	}
	return append(steps, deleteSelf{member})
}

// blockers returns the reasons why the member cannot be evacuated.
func (d *Removal) blockers(plan drain.Plan) []string {
	var reasons []string
	if plan.Refusal != "" {
		reasons = append(reasons, plan.Refusal)
	}
	for _, i := range plan.Items {
		if i.Verdict == drain.Error {
			reasons = append(reasons, "instance "+i.Ref.String()+" "+i.Reason)
		}
	}
	return append(reasons, d.Volumes...)
}

// blockRemoval fails the hook of a unit whose member cannot be evacuated. It is the only problem of an
// operator that fails a hook: Juju removes a unit, and its machine, as soon as its last hooks succeed,
// whatever its status is. Juju retries a failed hook, so the removal continues once the blockers are gone.
type blockRemoval struct {
	unit, member string
	reasons      []string
}

func (s blockRemoval) Name() string { return "leave the cluster" }

func (s blockRemoval) Apply(context.Context, Env) error {
	return fmt.Errorf("%s still has %s: move it away%s or delete it, removal then continues; to discard it: juju remove-unit --force %s",
		s.member, some(s.reasons, "; "), waysAway(s.member, s.reasons), s.unit)
}

// evacuateMember has LXD evacuate the member, and moves what LXD leaves there.
type evacuateMember struct{ member, by string }

func (s evacuateMember) Name() string { return "evacuate " + s.member }

// Bound implements charm.Bounded: an evacuation takes as long as its instances need, and no other unit of
// the machine has anything to do meanwhile.
func (s evacuateMember) Bound() time.Duration { return leaveTimeout + time.Minute }

func (s evacuateMember) Apply(ctx context.Context, w Env) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	client, err := w.LXD.ClusterClient(ctx)
	if err != nil {
		return err
	}
	_, err = drain.Drainer{
		Cluster: client, Journal: client, By: s.by, Now: w.Now,
		Progress: func(format string, args ...any) { _ = w.Tools.Log(ctx, "INFO", fmt.Sprintf(format, args...)) },
	}.DrainForRemoval(ctx, s.member)
	return err
}

// clearEvacuationOrigins clears LXD's record that instances belong on the member. Otherwise another member
// of the same name would get them.
type clearEvacuationOrigins struct {
	member    string
	instances []drain.Ref
}

func (s clearEvacuationOrigins) Name() string {
	return fmt.Sprintf("clear the origin of %d instances that belonged on %s", len(s.instances), s.member)
}

func (s clearEvacuationOrigins) Apply(ctx context.Context, w Env) error {
	client, err := w.LXD.ClusterClient(ctx)
	if err != nil {
		return err
	}
	var problems []error
	for _, i := range s.instances {
		problems = append(problems, client.SetOrigin(ctx, i, ""))
	}
	return errors.Join(problems...)
}

// handOver passes the database on before its only voter leaves. LXD 5.0.2 does so only if the other one of
// two members is a standby. With a spare, which is what is left of three, the database would be lost
// (clusterNodeDelete in lxd/api_cluster.go).
type handOver struct{ member string }

func (s handOver) Name() string { return "hand over LXD's database from " + s.member }

func (s handOver) Apply(ctx context.Context, w Env) error {
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	return w.LXD.HandOver(ctx)
}

// restartUnresponsiveLXD restarts an LXD whose database does not answer, as after an interrupted handover.
// The hook fails, since it is not known yet what is on this machine; Juju retries it.
type restartUnresponsiveLXD struct{ unit, why string }

func (s restartUnresponsiveLXD) Name() string {
	return "restart LXD, whose database does not answer"
}

func (s restartUnresponsiveLXD) Apply(ctx context.Context, w Env) error {
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	if err := w.LXD.Restart(ctx); err != nil {
		return fmt.Errorf("cannot leave the cluster: %s: %w: fix LXD on this machine, or discard what is on it: juju remove-unit --force %s", s.why, err, s.unit)
	}
	return fmt.Errorf("cannot leave the cluster yet: %s; LXD was restarted, and this hook is retried automatically", s.why)
}

// deleteSelf removes this machine's LXD from the cluster; LXD refuses while anything is located there. The
// machine keeps an empty LXD.
type deleteSelf struct{ member string }

func (s deleteSelf) Name() string { return "remove " + s.member + " from the cluster" }

func (s deleteSelf) Apply(ctx context.Context, w Env) error {
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	return w.LXD.DeleteMember(ctx, s.member, false)
}

// unlisten removes the address on which LXD listens for the cluster.
type unlisten struct{ address string }

func (s unlisten) Name() string { return "stop LXD listening on " + s.address }

func (s unlisten) Apply(ctx context.Context, w Env) error { return w.LXD.Unlisten(ctx, s.address) }

// removeJoinKey removes this unit's files on the machine.
type removeJoinKey struct{}

func (s removeJoinKey) Name() string { return "remove this unit's join key" }

func (s removeJoinKey) Apply(_ context.Context, w Env) error {
	if err := os.RemoveAll(w.StateDir); err != nil {
		return fmt.Errorf("cannot remove this unit's files: %w", err)
	}
	return nil
}

// clearPeerData withdraws what this unit published. The other units then get a hook; Juju 4 does not report
// to them that a unit has left, and still shows its databag.
type clearPeerData struct{ relation string }

func (s clearPeerData) Name() string { return "withdraw what this unit published" }

func (s clearPeerData) Apply(ctx context.Context, w Env) error {
	values, err := lxdcluster.JoinRequest{}.Encode()
	if err != nil {
		return err
	}
	return w.Tools.RelationSet(ctx, s.relation, values)
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/lxd"
	"github.com/dcib/dcib/internal/relation/lxdcluster"
)

// leaveTimeout bounds how long a member may take to become empty. Juju tries again after
// it, and what has moved by then has moved.
const leaveTimeout = time.Hour

// ClusterClient is what is located on the members of a cluster, and how it gets from one to
// another.
type ClusterClient interface {
	drain.Cluster
	drain.Journal
	// Volumes lists the custom storage volumes and the storage buckets that only that member has:
	// "volume data (pool local, project default)".
	Volumes(ctx context.Context, member string) ([]string, error)
}

// Removal is what a unit that goes away looks at.
type Removal struct {
	// Kept are the units of this application that Juju means to keep.
	Kept []string
	// View is the cluster as it was; empty when this machine's LXD is in none.
	View drain.View
	// Volumes are those of this member, see ClusterClient.
	Volumes []string
	// CanPublish is whether the other units can still be told anything.
	CanPublish bool
	// Stuck says how LXD's database fails to answer; nothing else is known then.
	DatabaseError string
}

// mayLeave reports whether this hook is one of those that Juju runs for a unit that goes
// away. Which of them is the first depends on the relations that there are, and some of
// them run for units that stay, too; so Juju is then asked whether it keeps this unit. All
// other hooks of a member are spared the question.
func mayLeave(e hooktool.Event) bool {
	return e.Hook == "stop" || e.Hook == "remove" || e.Departing == e.Unit ||
		strings.HasSuffix(e.Hook, "-relation-broken")
}

// observeRemoval asks Juju whether this unit is going away, and then fills in Removal.
// An error fails the hook, also the one that LXD gave when it was looked at: while it
// cannot say what is on this machine, Juju must not take the machine away.
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
		return true, fmt.Errorf("cannot leave the cluster: %w: start LXD on this machine, or give up what is on it with: juju remove-unit --force %s", lookErr, event.Unit)
	}
	f.Removal = &Removal{Kept: kept, CanPublish: event.Hook != "stop" && event.Hook != "remove"}
	return true, f.observeMember(ctx, event, w)
}

// observeMember gathers what this unit was, and what is left on its member.
func (f *Facts) observeMember(ctx context.Context, event hooktool.Event, w Env) error {
	if key, err := loadKey(w.StateDir); err != nil {
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

// dismantles reports whether this machine's LXD is to be taken out of its cluster: it is in
// the one that this unit took part in, and somebody stays there. A member that is alone
// keeps everything, and so does a cluster none of whose units stays: it has nobody to hand
// over to, and its machines may live on without this application.
func (f Facts) shouldLeaveCluster() bool {
	return f.LXD.Clustered && f.wasMember() && len(f.LXD.Members) > 1 && len(f.Removal.Kept) > 0
}

// wasMember reports whether this unit was a member, by what it told the others. A cluster that
// the machine's LXD was in without us is not ours to leave.
func (f Facts) wasMember() bool {
	request := f.Mine.Request
	return request.Cluster != "" && (!f.LXD.Clustered || request.Cluster == f.LXD.Identity)
}

// leave plans the way out of the cluster.
func (f Facts) leave() ([]charm.Step[Env], charm.Status) {
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
		return steps, charm.Maintenancef("going; this machine's LXD stays as it is")
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

// stays lists why the member cannot be emptied.
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

// stay keeps a unit whose member cannot be emptied. It is the one thing an operator has to
// mend that fails the hook: Juju takes a unit away as soon as its last hooks succeed, and
// the machine with it, whatever the unit's status says. A failed hook is tried again by
// itself, so the unit goes once what holds it is gone.
type blockRemoval struct {
	unit, member string
	reasons      []string
}

func (s blockRemoval) Name() string { return "leave the cluster" }

func (s blockRemoval) Apply(context.Context, Env) error {
	return fmt.Errorf("%s still has what cannot leave it: %s: move it away%s or delete it, and the unit goes by itself; to lose it: juju remove-unit --force %s",
		s.member, some(s.reasons, "; "), waysAway(s.member, s.reasons), s.unit)
}

// empty has LXD evacuate the member, and sees to what that leaves undone.
type evacuateMember struct{ member, by string }

func (s evacuateMember) Name() string { return "evacuate " + s.member }

// Bound implements charm.Bounded: an evacuation takes as long as its instances do, and no other
// unit of the machine can do better meanwhile.
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

// release makes LXD forget that instances once belonged on the member: another member of
// its name would get them.
type clearEvacuationOrigins struct {
	member    string
	instances []drain.Ref
}

func (s clearEvacuationOrigins) Name() string {
	return fmt.Sprintf("let %d instances belong where they are instead of on %s", len(s.instances), s.member)
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

// handOver passes the database on before its only voter goes. LXD 5.0.2 does that by
// itself only when the other member of two is a standby; with a spare, which is what is
// left of three, the database would be gone (clusterNodeDelete in lxd/api_cluster.go).
type handOver struct{ member string }

func (s handOver) Name() string { return "hand over LXD's database from " + s.member }

func (s handOver) Apply(ctx context.Context, w Env) error {
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	return w.LXD.HandOver(ctx)
}

// restartUnresponsiveLXD starts an LXD again whose database does not answer, as after a handover that was
// not seen to its end. The hook fails, since what is on this machine is not known yet; Juju
// tries it again by itself.
type restartUnresponsiveLXD struct{ unit, why string }

func (s restartUnresponsiveLXD) Name() string {
	return "start LXD anew, whose database does not answer"
}

func (s restartUnresponsiveLXD) Apply(ctx context.Context, w Env) error {
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	if err := w.LXD.Restart(ctx); err != nil {
		return fmt.Errorf("cannot leave the cluster: %s: %w: mend LXD on this machine, or give up what is on it with: juju remove-unit --force %s", s.why, err, s.unit)
	}
	return fmt.Errorf("cannot leave the cluster yet: %s; LXD was started anew, and this hook is retried automatically", s.why)
}

// deleteSelf takes this machine's LXD out of the cluster; LXD refuses as long as anything
// is located there. What comes back is an empty LXD.
type deleteSelf struct{ member string }

func (s deleteSelf) Name() string { return "remove " + s.member + " from the cluster" }

func (s deleteSelf) Apply(ctx context.Context, w Env) error {
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	return w.LXD.DeleteMember(ctx, s.member, false)
}

// unlisten takes back the address that LXD got for the cluster.
type unlisten struct{ address string }

func (s unlisten) Name() string { return "stop LXD listening on " + s.address }

func (s unlisten) Apply(ctx context.Context, w Env) error { return w.LXD.Unlisten(ctx, s.address) }

// removeJoinKey removes what this unit kept on the machine.
type removeJoinKey struct{}

func (s removeJoinKey) Name() string { return "remove this unit's join key" }

func (s removeJoinKey) Apply(_ context.Context, w Env) error {
	if err := os.RemoveAll(w.StateDir); err != nil {
		return fmt.Errorf("cannot remove what this unit kept: %w", err)
	}
	return nil
}

// clearPeerData takes back what this unit told the others. That wakes them, where Juju 4 does
// not tell them that a unit has left and goes on showing them its databag.
type clearPeerData struct{ relation string }

func (s clearPeerData) Name() string { return "tell the other units that this one is leaving" }

func (s clearPeerData) Apply(ctx context.Context, w Env) error {
	values, err := lxdcluster.JoinRequest{}.Encode()
	if err != nil {
		return err
	}
	return w.Tools.RelationSet(ctx, s.relation, values)
}

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

// Guests is what is located on the members of a cluster, and how it gets from one to
// another.
type Guests interface {
	drain.Cluster
	drain.Journal
	// Volumes lists the custom storage volumes and the storage buckets that only that member has:
	// "volume data (pool local, project default)".
	Volumes(ctx context.Context, member string) ([]string, error)
}

// Departure is what a unit that goes away looks at.
type Departure struct {
	// Kept are the units of this application that Juju means to keep.
	Kept []string
	// View is the cluster as it was; empty when this machine's LXD is in none.
	View drain.View
	// Volumes are those of this member, see Guests.
	Volumes []string
	// Tells is whether the other units can still be told anything.
	Tells bool
	// Stuck says how LXD's database fails to answer; nothing else is known then.
	Stuck string
}

// mayLeave reports whether this hook is one of those that Juju runs for a unit that goes
// away. Which of them is the first depends on the relations that there are, and some of
// them run for units that stay, too; so Juju is then asked whether it keeps this unit. All
// other hooks of a member are spared the question.
func mayLeave(e hooktool.Event) bool {
	return e.Hook == "stop" || e.Hook == "remove" || e.Departing == e.Unit ||
		strings.HasSuffix(e.Hook, "-relation-broken")
}

// observeDeparture asks Juju whether this unit is going away, and then fills in Departure.
// An error fails the hook, also the one that LXD gave when it was looked at: while it
// cannot say what is on this machine, Juju must not take the machine away.
func (f *Facts) observeDeparture(ctx context.Context, event hooktool.Event, w Env, lookErr error) (going bool, err error) {
	kept, err := w.Tools.Units(ctx)
	if err != nil || slices.Contains(kept, event.Unit) {
		return false, err
	}
	if errors.Is(lookErr, lxd.ErrStuck) {
		f.Departure = &Departure{Stuck: lookErr.Error()}
		return true, nil
	}
	if lookErr != nil {
		return true, fmt.Errorf("cannot leave the cluster: %w: start LXD on this machine, or give up what is on it with: juju remove-unit --force %s", lookErr, event.Unit)
	}
	f.Departure = &Departure{Kept: kept, Tells: event.Hook != "stop" && event.Hook != "remove"}
	return true, f.lookBack(ctx, event, w)
}

// lookBack gathers what this unit was, and what is left on its member.
func (f *Facts) lookBack(ctx context.Context, event hooktool.Event, w Env) error {
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
		if f.Mine, err = readBag(ctx, w.Tools, f.Relation, event.Unit); err != nil {
			return err
		}
	}
	if !f.dismantles() {
		return nil
	}
	guests, err := w.LXD.Guests(ctx)
	if err != nil {
		return err
	}
	d := f.Departure
	if d.View, err = drain.ObserveWithCapacity(ctx, guests, guests, f.LXD.Member); err != nil {
		return err
	}
	d.Volumes, err = guests.Volumes(ctx, f.LXD.Member)
	return err
}

// dismantles reports whether this machine's LXD is to be taken out of its cluster: it is in
// the one that this unit took part in, and somebody stays there. A member that is alone
// keeps everything, and so does a cluster none of whose units stays: it has nobody to hand
// over to, and its machines may live on without this application.
func (f Facts) dismantles() bool {
	return f.LXD.Clustered && f.tookPart() && len(f.LXD.Members) > 1 && len(f.Departure.Kept) > 0
}

// tookPart reports whether this unit was a member, by what it told the others. A cluster that
// the machine's LXD was in without us is not ours to leave.
func (f Facts) tookPart() bool {
	wish := f.Mine.Wish
	return wish.Cluster != "" && (!f.LXD.Clustered || wish.Cluster == f.LXD.Identity)
}

// leave plans the way out of the cluster.
func (f Facts) leave() ([]charm.Step[Env], charm.Status) {
	if f.Departure.Stuck != "" {
		return []charm.Step[Env]{unstick{f.Unit, f.Departure.Stuck}}, charm.Maintenancef("leaving the cluster")
	}
	if f.dismantles() {
		return f.dismantle(), charm.Maintenancef("leaving the cluster")
	}
	var steps []charm.Step[Env]
	address := f.Mine.Wish.Address
	if !f.LXD.Clustered && f.tookPart() && address != "" && (f.LXD.Listens == address || f.LXD.Clusters == address) {
		steps = append(steps, unlisten{address})
	}
	if f.JoinKey != "" {
		steps = append(steps, forget{})
	}
	if f.Departure.Tells && f.Relation != "" && f.Mine.HasWish && f.Mine.Wish != (lxdcluster.Wish{}) {
		steps = append(steps, farewell{f.Relation})
	}
	if f.LXD.Clustered {
		return steps, charm.Maintenancef("going; this machine's LXD stays as it is")
	}
	return steps, charm.Maintenancef("left the cluster")
}

func (f Facts) dismantle() []charm.Step[Env] {
	d, member := f.Departure, f.LXD.Member
	plan := drain.PlanRemoval(d.View, member)
	if reasons := d.stays(plan); len(reasons) > 0 {
		return []charm.Step[Env]{stay{f.Unit, member, reasons}}
	}
	if !plan.Done {
		return []charm.Step[Env]{empty{member, f.Unit}}
	}
	var steps []charm.Step[Env]
	if foreign := d.View.ForeignOrigins(member); len(foreign) > 0 {
		steps = append(steps, release{member, foreign})
	}
	if !slices.ContainsFunc(f.LXD.Members, func(m Member) bool { return m.Name != member && m.Live() && m.Voter }) {
		steps = append(steps, handOver{member})
	}
	return append(steps, deleteSelf{member})
}

// stays lists why the member cannot be emptied.
func (d *Departure) stays(plan drain.Plan) []string {
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
type stay struct {
	unit, member string
	reasons      []string
}

func (s stay) Name() string { return "leave the cluster" }

func (s stay) Apply(context.Context, Env) error {
	return fmt.Errorf("%s still has what cannot leave it: %s: move it away%s or delete it, and the unit goes by itself; to lose it: juju remove-unit --force %s",
		s.member, some(s.reasons, "; "), waysAway(s.member, s.reasons), s.unit)
}

// empty has LXD evacuate the member, and sees to what that leaves undone.
type empty struct{ member, by string }

func (s empty) Name() string { return "evacuate " + s.member }

// Bound implements charm.Bounded: an evacuation takes as long as its instances do, and no other
// unit of the machine can do better meanwhile.
func (s empty) Bound() time.Duration { return leaveTimeout + time.Minute }

func (s empty) Apply(ctx context.Context, w Env) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	guests, err := w.LXD.Guests(ctx)
	if err != nil {
		return err
	}
	_, err = drain.Drainer{
		Cluster: guests, Journal: guests, By: s.by, Now: w.Now,
		Progress: func(format string, args ...any) { _ = w.Tools.Log(ctx, "INFO", fmt.Sprintf(format, args...)) },
	}.DrainForRemoval(ctx, s.member)
	return err
}

// release makes LXD forget that instances once belonged on the member: another member of
// its name would get them.
type release struct {
	member    string
	instances []drain.Ref
}

func (s release) Name() string {
	return fmt.Sprintf("let %d instances belong where they are instead of on %s", len(s.instances), s.member)
}

func (s release) Apply(ctx context.Context, w Env) error {
	guests, err := w.LXD.Guests(ctx)
	if err != nil {
		return err
	}
	var problems []error
	for _, i := range s.instances {
		problems = append(problems, guests.SetOrigin(ctx, i, ""))
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

// unstick starts an LXD again whose database does not answer, as after a handover that was
// not seen to its end. The hook fails, since what is on this machine is not known yet; Juju
// tries it again by itself.
type unstick struct{ unit, why string }

func (s unstick) Name() string { return "start LXD anew, whose database does not answer" }

func (s unstick) Apply(ctx context.Context, w Env) error {
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

// forget removes what this unit kept on the machine.
type forget struct{}

func (s forget) Name() string { return "remove this unit's join key" }

func (s forget) Apply(_ context.Context, w Env) error {
	if err := os.RemoveAll(w.StateDir); err != nil {
		return fmt.Errorf("cannot remove what this unit kept: %w", err)
	}
	return nil
}

// farewell takes back what this unit told the others. That wakes them, where Juju 4 does
// not tell them that a unit has left and goes on showing them its databag.
type farewell struct{ relation string }

func (s farewell) Name() string { return "tell the other units that this one is leaving" }

func (s farewell) Apply(ctx context.Context, w Env) error {
	values, err := lxdcluster.Wish{}.Encode()
	if err != nil {
		return err
	}
	return w.Tools.RelationSet(ctx, s.relation, values)
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/drain"
)

// RemoveMember is the action remove-member. It removes a member whose machine has died. Without force it
// only names what would be lost.
func RemoveMember(ctx context.Context, f Facts, w Env, call charm.Call) (map[string]string, error) {
	name := call.String("member")
	if !f.LXD.Clustered {
		return nil, errors.New("cannot remove a member: this machine's LXD is in no cluster: see the unit's status")
	}
	f, err := f.awaitHeartbeats(ctx, w, call)
	if err != nil {
		return nil, fmt.Errorf("cannot remove member %s: %w", name, err)
	}
	at := slices.IndexFunc(f.LXD.Members, func(m Member) bool { return m.Name == name })
	if at < 0 {
		if results, ok, err := f.removeUnfinished(ctx, w, call, name); ok || err != nil {
			return results, err
		}
		return nil, fmt.Errorf("cannot remove member %q: LXD has none of that name: its members are %s", name, strings.Join(memberNames(f.LXD.Members), ", "))
	}
	if m := f.LXD.Members[at]; m.Live() {
		way := "lxc cluster evacuate " + name + ", then lxc cluster remove " + name
		if unit := f.unit(name); unit != "" {
			way = "juju remove-unit " + unit
		}
		return nil, fmt.Errorf("cannot remove member %s: it is %s, only an offline member can be removed by this action: %s", name, m.Status, way)
	}
	lost, err := resourcesOn(ctx, w, name)
	if err != nil {
		return nil, err
	}
	results := map[string]string{"member": name}
	if len(lost) > 0 {
		results["lost"] = strings.Join(lost, "\n")
	}
	if !call.Bool("force") {
		return results, fmt.Errorf("cannot remove member %s without force=true: %s", name, describeLoss(name, lost))
	}
	call.Progress("removing %s: %s", name, describeLoss(name, lost))
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	if err := w.LXD.DeleteMember(ctx, name, true); err != nil {
		return results, err
	}
	if unit := f.unit(name); unit != "" {
		results["next"] = "juju remove-unit --force " + unit
	}
	results["members"] = strings.Join(slices.DeleteFunc(memberNames(f.LXD.Members), func(m string) bool { return m == name }), ", ")
	return results, nil
}

// heartbeatTimeout is how long LXD may have no heartbeats: a few rounds, each of which takes ten seconds,
// and more with a dead member.
const heartbeatTimeout = time.Minute

// heartbeatPoll is the time between two observations meanwhile.
const heartbeatPoll = time.Second

// awaitHeartbeats returns the facts once LXD has recent heartbeats, so that "Offline" means something; see
// ServerState.hasNoHeartbeats.
func (f Facts) awaitHeartbeats(ctx context.Context, w Env, call charm.Call) (Facts, error) {
	if !f.LXD.hasNoHeartbeats() {
		return f, nil
	}
	call.Progress("waiting for LXD's heartbeats")
	deadline := time.After(heartbeatTimeout)
	tick := time.NewTicker(heartbeatPoll)
	defer tick.Stop()
	var last error // an observation may fail while the database has no leader
	for f.LXD.hasNoHeartbeats() {
		select {
		case <-tick.C:
		case <-deadline:
			return f, errors.Join(fmt.Errorf("LXD has no heartbeats, not even of %s, so Offline means nothing: look at LXD's log, and try again when `lxc cluster list` shows %s online", f.LXD.Member, f.LXD.Member), last)
		case <-ctx.Done():
			return f, fmt.Errorf("cannot wait for LXD's heartbeats: %w", ctx.Err())
		}
		var local ServerState
		if local, last = w.LXD.Observe(ctx); last == nil {
			f.LXD = local
		}
	}
	return f, nil
}

func describeLoss(member string, lost []string) string {
	if len(lost) == 0 {
		return "nothing is located there; if its machine comes back, its LXD still counts itself as a member"
	}
	return fmt.Sprintf("lost with it: %s: they cannot be recovered; start %s instead if possible; move what is on shared storage first (lxc move NAME --target MEMBER)", some(lost, "; "), member)
}

// resourcesOn describes what only that member has.
func resourcesOn(ctx context.Context, w Env, member string) ([]string, error) {
	client, err := w.LXD.ClusterClient(ctx)
	if err != nil {
		return nil, err
	}
	instances, err := client.Instances(ctx)
	if err != nil {
		return nil, err
	}
	var there []string
	for _, i := range instances {
		if i.Member == member {
			there = append(there, describeInstance(i.Ref))
		}
	}
	slices.Sort(there)
	volumes, err := client.Volumes(ctx, member)
	return append(there, volumes...), err
}

func describeInstance(i drain.Ref) string {
	return fmt.Sprintf("instance %s (project %s)", i.Name, i.Project)
}

// unit returns the unit of a member; "" if it belongs to no unit of this application.
func (f Facts) unit(member string) string {
	if member == f.LXD.Member {
		return f.Unit
	}
	for _, unit := range f.sortedPeers() {
		if f.Peers[unit].Request.Member == member {
			return unit
		}
	}
	return ""
}

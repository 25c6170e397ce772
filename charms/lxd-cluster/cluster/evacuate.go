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
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/lxd"
)

// stateTimeout bounds how long a member may take to be evacuated or restored. What has moved
// by then has moved, and the action can be run again.
const stateTimeout = time.Hour

// Evacuate is the action that has LXD move a member's instances to the others, as
// `lxc cluster evacuate` does. What LXD would only stop, because it is on a bridge of the host that
// another member has as well, is moved before. It succeeds when LXD's own lists say so; what LXD
// cannot move it stops where it is, and the results name that.
func Evacuate(ctx context.Context, f Facts, w Env, call charm.Call) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	s, err := f.memberState(ctx, w, "evacuate", call)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(s.before.Members, func(m drain.Member) bool { return m.Name != s.name && m.Status == drain.Online }) {
		return nil, fmt.Errorf("cannot evacuate %s: no other member is Online to take its instances", s.name)
	}
	var lost []string
	for _, i := range s.before.DeletedByEvacuation(s.name) {
		lost = append(lost, i.String())
	}
	if len(lost) > 0 {
		return nil, fmt.Errorf("cannot evacuate %s: LXD would stop and thereby delete its ephemeral instances %s: stop or delete them first, or have pet-scheduler drain it with force=true", s.name, strings.Join(lost, ", "))
	}
	if why := s.before.EvacuationRefusal(s.name); why != "" {
		return nil, fmt.Errorf("cannot evacuate %s: %s", s.name, why)
	}
	return s.change(ctx, drain.Evacuated, func(ctx context.Context, member string, progress func(string)) error {
		d := drain.Drainer{Cluster: s.client, Journal: s.client, By: f.Unit, Now: w.Now, Progress: func(format string, args ...any) { progress(fmt.Sprintf(format, args...)) }}
		if err := d.MoveBeforeEvacuation(ctx, s.before, member); err != nil {
			return err
		}
		return s.client.Evacuate(ctx, member, progress)
	})
}

// Restore is the action that brings a member back that was evacuated, as
// `lxc cluster restore` does: its instances come back and run.
func Restore(ctx context.Context, f Facts, w Env, call charm.Call) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	s, err := f.memberState(ctx, w, "restore", call)
	if err != nil {
		return nil, err
	}
	if s.before.Records[s.name].Evacuating {
		// An evacuation was killed before LXD had begun with it.
		d := drain.Drainer{Cluster: s.client, Journal: s.client, By: f.Unit, Now: w.Now, Progress: call.Progress}
		if _, err := d.Undrain(ctx, s.name); err != nil {
			return nil, err
		}
		after, err := drain.Observe(ctx, s.client, s.client)
		return s.results(after, drain.Online), err
	}
	return s.change(ctx, drain.Online, s.client.Restore)
}

// memberState is one change of a member's state.
type memberState struct {
	verb, name string
	client     ClusterClient
	before     drain.View
	call       charm.Call
}

// memberState looks whether the state of parameter `member` may be changed by hand.
func (f Facts) memberState(ctx context.Context, w Env, verb string, call charm.Call) (*memberState, error) {
	s := &memberState{verb: verb, name: call.String("member"), call: call}
	if !f.LXD.Clustered {
		return nil, fmt.Errorf("cannot %s a member: this machine's LXD is in no cluster: see the unit's status", verb)
	}
	if names := memberNames(f.LXD.Members); !slices.Contains(names, s.name) {
		return nil, fmt.Errorf("cannot %s member %q: LXD has none of that name: its members are %s", verb, s.name, strings.Join(names, ", "))
	}
	var err error
	if s.client, err = w.LXD.ClusterClient(ctx); err != nil {
		return nil, err
	}
	// An earlier run may have been killed while LXD works on.
	if err := s.client.WaitIdle(ctx, s.name); err != nil {
		return nil, err
	}
	if s.before, err = drain.ObserveWithCapacity(ctx, s.client, s.client, s.name); err != nil {
		return nil, err
	}
	if record, drained := s.before.Records[s.name]; drained && !record.Evacuating {
		if hooktool.AppOf(record.By) == hooktool.AppOf(f.Unit) {
			return nil, fmt.Errorf("cannot %s %s: unit %s is leaving the cluster with it", verb, s.name, record.By)
		}
		return nil, fmt.Errorf("cannot %s %s: %s has drained it (it is %s), and knows what to bring back: juju run %s/leader undrain pet=%s", verb, s.name, record.By, record.Phase, hooktool.AppOf(record.By), s.name)
	}
	if m, _ := s.before.Member(s.name); m.Status == drain.Offline {
		return nil, fmt.Errorf("cannot %s %s: it is Offline: start its machine and the LXD there", verb, s.name)
	}
	return s, nil
}

// change has LXD do it unless it is so already, and looks whether it is.
func (s *memberState) change(ctx context.Context, want drain.MemberStatus, do func(context.Context, string, func(string)) error) (map[string]string, error) {
	if m, _ := s.before.Member(s.name); m.Status == want {
		return s.results(s.before, want), s.incomplete(s.before, want)
	}
	s.call.Progress("%s: LXD begins to %s it, with %d instances on it", s.name, s.verb, len(s.on(s.before)))
	did := do(ctx, s.name, func(line string) { s.call.Progress("%s: %s", s.name, line) })
	after, err := drain.Observe(ctx, s.client, s.client)
	if err != nil {
		return nil, errors.Join(did, err)
	}
	m, there := after.Member(s.name)
	switch {
	case did != nil && !(errors.Is(did, lxd.ErrOperationLost) && there && m.Status == want): // else LXD shows how far it came
		return s.results(after, m.Status), fmt.Errorf("%w: run it again when that is mended", did)
	case !there || m.Status != want:
		return s.results(after, m.Status), fmt.Errorf("cannot see that LXD could %s %s: its member list says that it is %q: look at lxc cluster list", s.verb, s.name, m.Status)
	}
	return s.results(after, m.Status), s.incomplete(after, want)
}

// undone is the error about what LXD has left half done: it sets a member's state when it begins to
// evacuate, and when it ends to restore, whatever becomes of single instances (evacuateClusterMember
// and restoreClusterMember in lxd/api_cluster.go; LXD 6.9 also keeps the state of an evacuation that
// failed).
func (s *memberState) incomplete(view drain.View, want drain.MemberStatus) error {
	var refs []string
	for _, i := range view.Instances {
		left := i.Member == s.name && i.Running
		if want == drain.Online {
			left = i.Member != s.name && i.Origin == s.name
		}
		if left {
			refs = append(refs, i.Ref.String())
		}
	}
	slices.Sort(refs)
	switch {
	case len(refs) == 0:
		return nil
	case want == drain.Online:
		return fmt.Errorf("cannot restore %s to the end: it is Online, but LXD has left elsewhere what was there before: %s: move each back (lxc move NAME --target %s)", s.name, some(refs, ", "), s.name)
	}
	return fmt.Errorf("cannot evacuate %s to the end: LXD counts it as evacuated, but this still runs there: %s: action restore-member member=%s first, then evacuate it again", s.name, some(refs, ", "), s.name)
}

// Settled waits until no evacuation or restore of a member is under way, begun by whomever, and
// returns its status and what runs on it then, sorted.
func Settled(ctx context.Context, w Env, member string) (drain.MemberStatus, []string, error) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	client, err := w.LXD.ClusterClient(ctx)
	if err != nil {
		return "", nil, err
	}
	if err := client.WaitIdle(ctx, member); err != nil {
		return "", nil, err
	}
	view, err := drain.Observe(ctx, client, client)
	if err != nil {
		return "", nil, err
	}
	var runs []string
	for _, i := range view.Instances {
		if i.Member == member && i.Running {
			runs = append(runs, i.Ref.String())
		}
	}
	slices.Sort(runs)
	m, _ := view.Member(member)
	return m.Status, runs, nil
}

// results tell how the member is, what is on it, and what went where.
func (s *memberState) results(after drain.View, status drain.MemberStatus) map[string]string {
	results := map[string]string{"member": s.name, "status": strings.ToLower(string(status)), "instances": fmt.Sprint(len(s.on(after)))}
	where := map[drain.Ref]string{}
	for _, i := range s.before.Instances {
		where[i.Ref] = i.Member
	}
	var moved, stopped []string
	for _, i := range after.Instances {
		if from, there := where[i.Ref]; there && from != i.Member {
			moved = append(moved, fmt.Sprintf("%s from %s to %s", i.Ref, from, i.Member))
		}
		if i.Member == s.name && !i.Running && i.ShouldRun {
			stopped = append(stopped, i.Ref.String())
		}
	}
	for key, lines := range map[string][]string{"moved": moved, "stopped": stopped} {
		if len(lines) > 0 {
			slices.Sort(lines)
			results[key] = strings.Join(lines, "\n")
		}
	}
	return results
}

// on lists what is on the member.
func (s *memberState) on(view drain.View) []drain.Instance {
	return slices.DeleteFunc(slices.Clone(view.Instances), func(i drain.Instance) bool { return i.Member != s.name })
}

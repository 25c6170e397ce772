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

// stateTimeout limits the evacuation or restore of a member. What has moved stays moved, and the action can
// be run again.
const stateTimeout = time.Hour

// Evacuate is the action evacuate-member. It has LXD move a member's instances to the others, as `lxc
// cluster evacuate` does. Instances that LXD would only stop, because they are on a bridge of the host, are
// moved before to members that have the bridge. It succeeds when LXD's own lists confirm it; the results
// name the instances that LXD stopped.
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
		return nil, fmt.Errorf("cannot evacuate %s: LXD would delete its ephemeral instances %s: stop or delete them first, or have pet-scheduler drain it with force=true", s.name, strings.Join(lost, ", "))
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

// Restore is the action restore-member. It brings back an evacuated member and its instances, as `lxc
// cluster restore` does.
func Restore(ctx context.Context, f Facts, w Env, call charm.Call) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	s, err := f.memberState(ctx, w, "restore", call)
	if err != nil {
		return nil, err
	}
	if s.before.Records[s.name].Evacuating {
		// An evacuation was killed before LXD had started it.
		d := drain.Drainer{Cluster: s.client, Journal: s.client, By: f.Unit, Now: w.Now, Progress: call.Progress}
		if _, err := d.Undrain(ctx, s.name); err != nil {
			return nil, err
		}
		after, err := drain.Observe(ctx, s.client, s.client)
		return s.results(after, drain.Online), err
	}
	return s.change(ctx, drain.Online, s.client.Restore)
}

// memberState is a change of a member's state.
type memberState struct {
	verb, name string
	client     ClusterClient
	before     drain.View
	call       charm.Call
}

// memberState checks whether the state of parameter `member` may be changed by an operator.
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
	// An earlier run may have been killed while LXD continues.
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

// change has LXD do it unless it is done already, and verifies it.
func (s *memberState) change(ctx context.Context, want drain.MemberStatus, do func(context.Context, string, func(string)) error) (map[string]string, error) {
	if m, _ := s.before.Member(s.name); m.Status == want {
		return s.results(s.before, want), s.incomplete(s.before, want)
	}
	s.call.Progress("%s: LXD starts to %s it, with %d instances on it", s.name, s.verb, len(s.on(s.before)))
	did := do(ctx, s.name, func(line string) { s.call.Progress("%s: %s", s.name, line) })
	after, err := drain.Observe(ctx, s.client, s.client)
	if err != nil {
		return nil, errors.Join(did, err)
	}
	m, there := after.Member(s.name)
	switch {
	case did != nil && !(errors.Is(did, lxd.ErrOperationLost) && there && m.Status == want): // otherwise LXD shows the result
		return s.results(after, m.Status), fmt.Errorf("%w: fix that, then run the action again", did)
	case !there || m.Status != want:
		return s.results(after, m.Status), fmt.Errorf("cannot %s %s: LXD lists it as %q: look at lxc cluster list", s.verb, s.name, m.Status)
	}
	return s.results(after, m.Status), s.incomplete(after, want)
}

// incomplete returns the error about what LXD left half done. LXD sets a member's state when an evacuation
// begins and when a restore ends, whatever happens to single instances (evacuateClusterMember and
// restoreClusterMember in lxd/api_cluster.go; LXD 6.9 also keeps the state of an evacuation that failed).
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
		return fmt.Errorf("cannot restore all of %s: it is Online, but LXD left these elsewhere: %s: move each back (lxc move NAME --target %s)", s.name, some(refs, ", "), s.name)
	}
	return fmt.Errorf("cannot evacuate all of %s: these still run there: %s: run restore-member member=%s, then evacuate it again", s.name, some(refs, ", "), s.name)
}

// Settled waits until no evacuation or restore of a member is under way, and returns its status and what
// runs on it then, sorted.
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

// results returns the member's status, how many instances it has, and what moved.
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

// on returns the instances on the member.
func (s *memberState) on(view drain.View) []drain.Instance {
	return slices.DeleteFunc(slices.Clone(view.Instances), func(i drain.Instance) bool { return i.Member != s.name })
}

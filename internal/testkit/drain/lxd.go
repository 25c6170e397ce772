// Package draintest is a LXD cluster in memory that evacuates and restores its members as
// LXD 5.0.2 does (lxd/api_cluster.go), its faults and oddities included. It can be told to
// fail, and to leave its client dead at any call. It keeps the journal as well.
package draintest

import (
	"cmp"
	"context"
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

	// Life is how many more calls the client makes before it is killed; negative is for
	// ever. An operation that was asked for by then goes on without it.
	CallsLeft int
	// Before is called before each call of the client, with how many there were; nil is nothing.
	BeforeCall func(calls int)
	calls      int
	ids        int
	// CPUs is how many processors each member has.
	CPUs int
	// Silent members cannot be reached by the others.
	Unreachable map[string]bool
	// Backup counts the backups of instances. A move is refused where there are any, and an
	// evacuation deletes them.
	BackupCount map[drain.Ref]int
	// End is the error of an Evacuate and a Restore that LXD has done: their end was not learned.
	LostError error
	// Skips reports that its restore can leave instances alone.
	RestoresWithoutInstances bool
	// InOne tells that it is a LXD that stops, moves and starts an instance in one.
	Relocates bool
	// Voters tells that it is an LXD that refuses an evacuation for its voters.
	VoterCheck bool
	// Fail gives the error of a call ("start", "stop", "move", "origin") on an instance.
	Fail func(call string, instance drain.Ref) error
}

var (
	_ drain.Cluster = (*LXD)(nil)
	_ drain.Journal = (*LXD)(nil)
)

// New gives a cluster of Online members.
func New(members ...string) *LXD {
	l := &LXD{Journal: map[string]string{}, CallsLeft: -1}
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

// Find gives an instance; nil when there is none of that name.
func (l *LXD) Find(ref drain.Ref) *drain.Instance {
	for _, i := range l.Instance {
		if i.Ref == ref {
			return i
		}
	}
	return nil
}

// Status gives a member's status.
func (l *LXD) Status(member string) drain.MemberStatus { return l.member(member).Status }

// SetStatus sets it.
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

// alive counts a call of the client.
func (l *LXD) call() error {
	l.calls++
	if l.BeforeCall != nil {
		l.BeforeCall(l.calls)
	}
	if l.CallsLeft == 0 {
		return ErrKilled
	}
	l.CallsLeft--
	return nil
}

// Members implements drain.Cluster.
func (l *LXD) Members(context.Context) ([]drain.Member, error) {
	return slices.Clone(l.Member), l.call()
}

// Instances implements drain.Cluster.
func (l *LXD) Instances(context.Context) ([]drain.Instance, error) {
	all := make([]drain.Instance, len(l.Instance))
	for n, i := range l.Instance {
		all[n] = *i
		if l.offline(i) {
			all[n] = drain.Instance{Ref: i.Ref, Member: i.Member, Unobserved: true}
		}
	}
	return all, l.call()
}

// offline reports whether an instance is on a member that cannot be asked.
func (l *LXD) offline(i *drain.Instance) bool {
	return slices.ContainsFunc(l.Member, func(m drain.Member) bool { return m.Name == i.Member && m.Status == drain.Offline })
}

// Rooms implements drain.Cluster.
func (l *LXD) Capacities(context.Context, []drain.Instance) (map[string]drain.Capacity, error) {
	return l.Capacity, l.call()
}

// Processors implements drain.Cluster.
func (l *LXD) Processors(context.Context, string) int { return l.CPUs }

// Records implements drain.Journal.
func (l *LXD) Records(context.Context) (map[string]drain.Record, error) {
	records := map[string]drain.Record{}
	for member, text := range l.Journal {
		r, err := drain.Decode(text)
		if err != nil {
			return nil, err
		}
		records[member] = r
	}
	return records, l.call()
}

// Write implements drain.Journal.
func (l *LXD) Write(_ context.Context, member string, before, after *drain.Record) error {
	if err := l.call(); err != nil {
		return err
	}
	there, ok := l.Journal[member]
	if ok != (before != nil) || before != nil && before.Encode() != there {
		return fmt.Errorf("cannot write the record of %s: %w", member, drain.ErrConflict)
	}
	m := l.member(member)
	placement, err := drain.SchedulerFor(m.Scheduler, before, after)
	if err != nil {
		return fmt.Errorf("cannot write the record of %s: %w", member, err)
	}
	m.Scheduler = placement
	if after == nil {
		delete(l.Journal, member)
	} else {
		l.Journal[member] = after.Encode()
	}
	return nil
}

// Backups implements drain.Cluster.
func (l *LXD) Backups(_ context.Context, instances []drain.Instance) (map[drain.Ref]int, error) {
	all := map[drain.Ref]int{}
	for _, i := range instances {
		if n := l.BackupCount[i.Ref]; n > 0 {
			all[i.Ref] = n
		}
	}
	return all, nil // asked in one with the instances, as far as the count of calls goes
}

// AsksForVoters implements drain.Cluster.
func (l *LXD) ChecksVoters(context.Context) (bool, error) { return l.VoterCheck, l.call() }

// SetGroup implements drain.Cluster.
func (l *LXD) SetGroup(_ context.Context, ref drain.Ref, group string) error {
	return l.change("group", ref, func(i *drain.Instance) error {
		i.Group = group
		return nil
	})
}

// SetCloudInit implements drain.Cluster.
func (l *LXD) SetCloudInitID(_ context.Context, ref drain.Ref, id string) error {
	return l.change("cloud-init", ref, func(i *drain.Instance) error {
		i.CloudInitID = id
		return nil
	})
}

// Freeze implements drain.Cluster.
func (l *LXD) Freeze(_ context.Context, ref drain.Ref, _ string) error {
	return l.change("freeze", ref, func(i *drain.Instance) error {
		if !i.Running {
			return errors.New("the instance isn't running")
		}
		i.Frozen = true
		return nil
	})
}

// Rename implements drain.Cluster.
func (l *LXD) Rename(_ context.Context, ref drain.Ref, name string) error {
	return l.change("rename", ref, func(i *drain.Instance) error {
		if i.Running {
			return errors.New("renaming of running instance not allowed")
		}
		l.newCloudInitID(i)
		i.Name, i.HalfMoved = name, false
		return nil
	})
}

// another is the id for cloud-init that LXD makes when it renames an instance.
func (l *LXD) newCloudInitID(i *drain.Instance) {
	if i.CloudInitID != "" {
		l.ids++
		i.CloudInitID = fmt.Sprint("id-", l.ids)
	}
}

// Settle implements drain.Cluster; operations here end before their call returns.
func (l *LXD) WaitIdle(context.Context, string) error { return l.call() }

// Reach implements drain.Cluster.
func (l *LXD) WaitReachable(_ context.Context, from, to string) error {
	if l.Unreachable[from] || l.Unreachable[to] {
		return fmt.Errorf("cannot reach LXD on %s from %s", to, from)
	}
	return l.call()
}

// Evacuate implements drain.Cluster.
func (l *LXD) Evacuate(ctx context.Context, name string, progress func(string)) error {
	if err := l.call(); err != nil {
		return err
	}
	err := l.EvacuateByHand(name)
	if l.CallsLeft == 0 {
		return ErrKilled
	}
	return cmp.Or(err, l.LostError)
}

// EvacuateByHand is `lxc cluster evacuate`.
func (l *LXD) EvacuateByHand(name string) error {
	l.Calls = append(l.Calls, "evacuate "+name)
	l.Evacuations++
	m := l.member(name)
	if m.Status == drain.Evacuated {
		return errors.New("cannot evacuate: Cluster member is already evacuated")
	}
	if why := (drain.View{Members: l.Member, ChecksVoters: l.VoterCheck}).EvacuationRefusal(name); why != "" {
		return errors.New("cannot evacuate: Insufficient online voters")
	}
	m.Status = drain.Evacuated
	for _, i := range slices.Clone(l.Instance) {
		if i.Member != name {
			continue
		}
		if err := l.evacuate(i, name); err != nil {
			m.Status = drain.Online // what has moved stays moved, what was stopped stays stopped
			return err
		}
	}
	return nil
}

func (l *LXD) evacuate(i *drain.Instance, from string) error {
	ran := i.Running
	// drainlxd has LXD stop what has backups.
	spared := l.BackupCount[i.Ref] > 0 && (i.Evacuate == "" || i.Evacuate == "auto")
	migrate := !spared && (i.Evacuate == "migrate" || i.Evacuate == "live-migrate" || i.Evacuate != "stop" && len(i.LocalDevices) == 0 && !l.stoppedByEvacuation(i))
	if ran && !(migrate && i.LiveMovable) {
		if err := l.injected("stop", i.Ref); err != nil {
			return err
		}
		l.stopInstance(i)
		i.ShouldRun = true
		if i.Ephemeral {
			return fmt.Errorf("cannot migrate %s: not found", i.Ref)
		}
	}
	if !migrate {
		return nil
	}
	to := l.leastLoaded(from, i.Architecture, i.Group)
	if to == "" {
		return nil
	}
	if i.Origin == "" {
		i.Origin = from
	}
	if err := l.injected("move", i.Ref); err != nil {
		return err
	}
	i.Member = to
	delete(l.BackupCount, i.Ref)
	l.newCloudInitID(i)
	if !ran || i.LiveMovable {
		return nil
	}
	return l.startInstance(i)
}

// held tells whether LXD's evacuation stops an instance because of what its devices use.
func (l *LXD) stoppedByEvacuation(i *drain.Instance) bool {
	return slices.ContainsFunc(i.HostDevices, func(use drain.HostDevice) bool { return !l.Capacity[i.Member].ManagedResources[use.Resource] })
}

// run starts an instance where it is, which has to have what its devices use.
func (l *LXD) startInstance(i *drain.Instance) error {
	if err := l.injected("start", i.Ref); err != nil {
		return err
	}
	for _, use := range i.HostDevices {
		if !l.Capacity[i.Member].HostResources[use.Resource] {
			return fmt.Errorf("failed to start device %q: %s does not exist", use.Device, use.Resource)
		}
	}
	i.Running, i.ShouldRun = true, true
	l.Starts = append(l.Starts, i.Name+" "+i.CloudInitID)
	return nil
}

// Place is where LXD places a new instance; "" when nowhere.
func (l *LXD) PlaceNew() string { return l.leastLoaded("", "x86_64", "") }

func (l *LXD) leastLoaded(from, architecture, group string) string {
	load := map[string]int{}
	for _, i := range l.Instance {
		load[i.Member]++
	}
	var hosts []string
	for _, m := range l.Member {
		if m.Name != from && m.Status == drain.Online && m.AcceptsInstances() && slices.Contains(m.Architectures, architecture) && (group == "" || slices.Contains(m.Groups, group)) {
			hosts = append(hosts, m.Name)
		}
	}
	if len(hosts) == 0 {
		return ""
	}
	return slices.MinFunc(hosts, func(a, b string) int { return cmp.Or(load[a]-load[b], cmp.Compare(a, b)) })
}

// Restore implements drain.Cluster.
func (l *LXD) Restore(_ context.Context, name string, _ func(string)) error {
	if err := l.call(); err != nil {
		return err
	}
	err := l.RestoreByHand(name)
	if l.CallsLeft == 0 {
		return ErrKilled
	}
	return cmp.Or(err, l.LostError)
}

// RestoreByHand is `lxc cluster restore`.
func (l *LXD) RestoreByHand(name string) error {
	l.Calls = append(l.Calls, "restore "+name)
	m := l.member(name)
	if m.Status == drain.Online {
		return errors.New("cannot restore: Cluster member is already restored")
	}
	m.Status = drain.Online
	err := func() error {
		for _, i := range l.Instance {
			if i.Member == name && i.ShouldRun && !i.Running {
				if err := l.startInstance(i); err != nil {
					return err
				}
			}
		}
		for _, i := range l.Instance {
			if i.Member == name || i.Origin != name {
				continue
			}
			if l.offline(i) {
				return errors.New("failed to connect to source: connection refused")
			}
			if err := l.injected("move", i.Ref); err != nil {
				return err
			}
			i.Member, i.Origin = name, ""
		}
		return nil
	}()
	if err != nil {
		m.Status = drain.Evacuated
	}
	return err
}

// Reopen implements drain.Cluster.
func (l *LXD) RestoreWithoutInstances(_ context.Context, name string) error {
	if err := l.call(); err != nil {
		return err
	}
	if !l.RestoresWithoutInstances {
		return errors.ErrUnsupported
	}
	l.Calls = append(l.Calls, "reopen "+name)
	l.member(name).Status = drain.Online
	if l.CallsLeft == 0 {
		return ErrKilled
	}
	return nil
}

// SetOrigin implements drain.Cluster.
func (l *LXD) SetOrigin(_ context.Context, ref drain.Ref, origin string) error {
	return l.change("origin", ref, func(i *drain.Instance) error {
		i.Origin = origin
		return nil
	})
}

// Start implements drain.Cluster.
func (l *LXD) Start(_ context.Context, ref drain.Ref, _ string) error {
	return l.change("start", ref, l.startInstance)
}

// Stop implements drain.Cluster.
func (l *LXD) Stop(_ context.Context, ref drain.Ref) error {
	return l.change("stop", ref, func(i *drain.Instance) error {
		l.stopInstance(i)
		return nil
	})
}

// Landed implements drain.Cluster: here a move is over when it was asked for.
func (l *LXD) WaitMoved(_ context.Context, ref drain.Ref) (string, error) {
	if err := l.call(); err != nil {
		return "", err
	}
	i := l.Find(ref)
	if i == nil {
		return "", fmt.Errorf("no instance %s", ref)
	}
	return i.Member, nil
}

// Move implements drain.Cluster.
func (l *LXD) Move(_ context.Context, ref drain.Ref, to string, live bool) error {
	return l.change("move", ref, func(i *drain.Instance) error {
		if i.Running && !live {
			return errors.New("it runs")
		}
		return l.place(i, to)
	})
}

// land puts an instance on a member.
func (l *LXD) place(i *drain.Instance, to string) error {
	switch {
	case l.member(to).Status == drain.Offline:
		return errors.New("target member is offline")
	case i.Member == to:
		return errors.New("it is there already")
	}
	if l.BackupCount[i.Ref] > 0 {
		return errors.New("migration API failure: Instance has backups")
	}
	l.newCloudInitID(i)
	// The rename is the last that a move does.
	if err := l.injected("rename", i.Ref); err != nil {
		i.Member, i.Name, i.HalfMoved = to, "lxd-move-of-"+i.ID, true
		return err
	}
	i.Member, i.Group = to, "" // LXD takes what is moved to a member by its name out of its group
	return nil
}

// Relocate implements drain.Cluster.
func (l *LXD) Relocate(_ context.Context, ref drain.Ref, to string) (time.Duration, error) {
	if i := l.Find(ref); !l.Relocates || i != nil && i.CloudInitID != "" {
		return 0, drain.ErrNotRelocatable
	}
	return 0, l.change("relocate", ref, func(i *drain.Instance) error {
		// LXD does these by itself, and leaves the instance where one fails.
		l.stopInstance(i)
		if err := l.injected("move", ref); err != nil {
			return err
		}
		if err := l.place(i, to); err != nil {
			return err
		}
		return l.startInstance(i)
	})
}

func (l *LXD) change(call string, ref drain.Ref, do func(*drain.Instance) error) error {
	if err := l.call(); err != nil {
		return err
	}
	l.Calls = append(l.Calls, call+" "+ref.String())
	i := l.Find(ref)
	if i == nil {
		return fmt.Errorf("cannot %s %s: not found", call, ref)
	}
	if l.offline(i) {
		return fmt.Errorf("cannot %s %s: %s is offline", call, ref, i.Member)
	}
	if call != "start" { // run asks
		if err := l.injected(call, ref); err != nil {
			return err
		}
	}
	if err := do(i); err != nil {
		return fmt.Errorf("cannot %s %s: %w", call, ref, err)
	}
	if l.CallsLeft == 0 {
		return ErrKilled // it was done, but nobody was told
	}
	return nil
}

func (l *LXD) injected(call string, ref drain.Ref) error {
	if l.Fail == nil {
		return nil
	}
	return l.Fail(call, ref)
}

func (l *LXD) stopInstance(i *drain.Instance) {
	i.Running, i.ShouldRun, i.Frozen = false, false, false
	if i.Ephemeral {
		l.Delete(i.Ref)
	}
}

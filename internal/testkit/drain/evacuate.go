package draintest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dcib/dcib/internal/drain"
)

// WaitIdle implements drain.Evacuator; operations here end before their call returns.
func (l *LXD) WaitIdle(context.Context, string) error { return l.call() }

// Evacuate implements drain.Evacuator.
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
	// drainlxd has LXD stop instances with backups.
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

// stoppedByEvacuation reports whether LXD's evacuation stops an instance because of what its devices use.
func (l *LXD) stoppedByEvacuation(i *drain.Instance) bool {
	return slices.ContainsFunc(i.HostDevices, func(use drain.HostDevice) bool { return !l.Capacity[i.Member].ManagedResources[use.Resource] })
}

// PlaceNew returns where LXD's scheduler places a new instance; "" when nowhere.
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

// Restore implements drain.Evacuator.
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

// RestoreWithoutInstances implements drain.Evacuator.
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

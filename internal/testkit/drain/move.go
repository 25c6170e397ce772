package draintest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dcib/dcib/internal/drain"
)

// SetGroup implements drain.Mover.
func (l *LXD) SetGroup(_ context.Context, ref drain.Ref, group string) error {
	return l.change("group", ref, func(i *drain.Instance) error {
		i.Group = group
		return nil
	})
}

// SetCloudInitID implements drain.Mover.
func (l *LXD) SetCloudInitID(_ context.Context, ref drain.Ref, id string) error {
	return l.change("cloud-init", ref, func(i *drain.Instance) error {
		i.CloudInitID = id
		return nil
	})
}

// Freeze implements drain.Mover.
func (l *LXD) Freeze(_ context.Context, ref drain.Ref, _ string) error {
	return l.change("freeze", ref, func(i *drain.Instance) error {
		if !i.Running {
			return errors.New("the instance isn't running")
		}
		i.Frozen = true
		return nil
	})
}

// Rename implements drain.Mover.
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

// newCloudInitID sets the id for cloud-init that LXD makes when it renames an instance.
func (l *LXD) newCloudInitID(i *drain.Instance) {
	if i.CloudInitID != "" {
		l.ids++
		i.CloudInitID = fmt.Sprint("id-", l.ids)
	}
}

// WaitReachable implements drain.Mover.
func (l *LXD) WaitReachable(_ context.Context, from, to string) error {
	if l.Unreachable[from] || l.Unreachable[to] {
		return fmt.Errorf("cannot reach LXD on %s from %s", to, from)
	}
	return l.call()
}

// startInstance starts an instance on its member, which has to have what its devices use.
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
	l.started(i)
	l.Starts = append(l.Starts, i.Name+" "+i.CloudInitID)
	return nil
}

// SetOrigin implements drain.Mover.
func (l *LXD) SetOrigin(_ context.Context, ref drain.Ref, origin string) error {
	return l.change("origin", ref, func(i *drain.Instance) error {
		i.Origin = origin
		return nil
	})
}

// Start implements drain.Mover.
func (l *LXD) Start(_ context.Context, ref drain.Ref, _ string) error {
	return l.change("start", ref, l.startInstance)
}

// Stop implements drain.Mover.
func (l *LXD) Stop(_ context.Context, ref drain.Ref) error {
	return l.change("stop", ref, func(i *drain.Instance) error {
		l.stopInstance(i)
		return nil
	})
}

// WaitMoved implements drain.Mover; a move here ends before its call returns.
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

// Move implements drain.Mover.
func (l *LXD) Move(_ context.Context, ref drain.Ref, to string, live bool) error {
	return l.change("move", ref, func(i *drain.Instance) error {
		if i.Running && !live {
			return errors.New("it runs")
		}
		return l.place(i, to)
	})
}

// place puts an instance on a member.
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
	// The rename is the last step of a move.
	if err := l.injected("rename", i.Ref); err != nil {
		i.Member, i.Name, i.HalfMoved = to, "lxd-move-of-"+i.ID, true
		return err
	}
	i.Member, i.Group = to, "" // LXD removes the group of what is moved to a member by its name
	return nil
}

// Relocate implements drain.Mover.
func (l *LXD) Relocate(_ context.Context, ref drain.Ref, to string) (time.Duration, error) {
	if i := l.Find(ref); !l.Relocates || i != nil && i.CloudInitID != "" {
		return 0, drain.ErrNotRelocatable
	}
	return 0, l.change("relocate", ref, func(i *drain.Instance) error {
		// LXD does these in one operation, and leaves the instance where one fails.
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
	if call != "start" { // startInstance does it
		if err := l.injected(call, ref); err != nil {
			return err
		}
	}
	if err := do(i); err != nil {
		return fmt.Errorf("cannot %s %s: %w", call, ref, err)
	}
	if l.CallsLeft == 0 {
		return ErrKilled // it was done, but the client did not learn it
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

// StartByHand is `lxc start`.
func (l *LXD) StartByHand(ref drain.Ref) error { return l.startInstance(l.Find(ref)) }

package draintest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/drain"
)

// write has each running instance write something: its content is a number that grows with each call of
// the client.
func (l *LXD) write() {
	for _, i := range l.Instance {
		if i.Running && !l.offline(i) {
			l.Content[i]++
		}
	}
}

// named sets what an instance is by its name: see drain.Instance.
func (l *LXD) named(i drain.Instance) drain.Instance {
	id, replaced := strings.CutPrefix(i.Name, "dcib-old-")
	if of, isCopy := strings.CutPrefix(i.Name, "dcib-copy-"); isCopy {
		i.CopyOf = of
	}
	if !replaced {
		return i
	}
	i.ID, i.HalfMoved = id, true
	for _, other := range l.Instance {
		if other.ID == i.ID && !strings.HasPrefix(other.Name, "dcib-") {
			i.HalfMoved, i.Replaced = false, true
		}
	}
	return i
}

// CopyBlockers implements drain.Observer.
func (l *LXD) CopyBlockers(_ context.Context, instances []drain.Instance) (map[drain.Ref]string, error) {
	if !l.Copies {
		return nil, nil
	}
	all := map[drain.Ref]string{}
	for _, i := range instances {
		all[i.Ref] = l.CopyBlocker[i.Ref]
		if i.Ephemeral {
			all[i.Ref] = "it is ephemeral"
		}
	}
	return all, nil // no call of its own: part of the observation of the instances
}

// Copy implements drain.Mover.
func (l *LXD) Copy(_ context.Context, ref drain.Ref, to drain.Copy) (drain.CopyState, error) {
	var state drain.CopyState
	err := l.change("copy", ref, func(i *drain.Instance) error {
		if l.member(to.Member).Status == drain.Offline {
			return fmt.Errorf("%s is offline", to.Member)
		}
		there := l.Find(drain.Ref{Project: ref.Project, Name: to.Name})
		if there != nil && there.Member != to.Member {
			l.Delete(there.Ref)
			there = nil
		}
		if there == nil {
			there = &drain.Instance{Ref: drain.Ref{Project: ref.Project, Name: to.Name}, ID: "copy-" + i.ID, Member: to.Member, Architecture: i.Architecture}
			there.CopyOf, there.CopyFor = to.Of, to.For
			l.Instance = append(l.Instance, there)
		}
		l.Content[there] = l.Content[i]
		state = drain.CopyState{Running: i.Running, LastStart: l.lastStart[i]}
		return nil
	})
	return state, err
}

// Adopt implements drain.Mover.
func (l *LXD) Adopt(_ context.Context, ref, to drain.Ref, state drain.CopyState, settle bool) error {
	return l.change("adopt", ref, func(i *drain.Instance) error {
		c := l.Find(to)
		switch {
		case c == nil:
			return fmt.Errorf("no instance %s", to)
		case i.Running || !state.LastStart.IsZero() && !state.LastStart.Equal(l.lastStart[i]):
			return fmt.Errorf("%s: %w", ref, drain.ErrChanged)
		}
		was := *c
		*c = *i
		c.Ref, c.Member, c.CopyOf, c.CopyFor, c.Running = was.Ref, was.Member, was.CopyOf, was.CopyFor, false
		if settle {
			c.CopyOf, c.CopyFor = "", ""
		}
		return nil
	})
}

// DeleteTemporary implements drain.Mover.
func (l *LXD) DeleteTemporary(_ context.Context, ref drain.Ref) error {
	if !strings.HasPrefix(ref.Name, "dcib-") {
		panic("deletes " + ref.String())
	}
	if l.Find(ref) == nil {
		return l.call()
	}
	return l.change("delete", ref, func(i *drain.Instance) error {
		if i.Running {
			return errors.New("it runs")
		}
		if strings.HasPrefix(i.Name, "dcib-old-") {
			l.checkReplaced(i)
		}
		l.Instance = slices.DeleteFunc(l.Instance, func(o *drain.Instance) bool { return o == i })
		return nil
	})
}

// checkReplaced notes what is lost with an original that is deleted.
func (l *LXD) checkReplaced(original *drain.Instance) {
	for _, i := range l.Instance {
		if i.ID == original.ID && i != original && !strings.HasPrefix(i.Name, "dcib-") {
			if l.Content[i] < l.Content[original] {
				l.Lost = append(l.Lost, fmt.Sprintf("%s: %d of %d", i.Ref, l.Content[i], l.Content[original]))
			}
			return
		}
	}
	l.Lost = append(l.Lost, original.Ref.String())
}

// started notes when an instance was started.
func (l *LXD) started(i *drain.Instance) {
	l.starts++
	l.lastStart[i] = time.Unix(int64(l.starts), 0)
}

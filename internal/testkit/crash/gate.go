package crashtest

import (
	"runtime"
	"sync"
)

// Gate is where a hook dies. A fake world has one and reports it of every change it makes:
//
//	func (l *fakeLXD) CreatePool(name string) error {
//		if l.pools[name] {
//			return errExists // nothing changed: nothing to report
//		}
//		defer l.gate.Effect("create pool " + name)()
//		l.pools[name] = true
//		return nil
//	}
//
// The zero Gate, and nil, let everything pass.
type Gate struct {
	mu      sync.Mutex
	where   string  // the hook that runs
	passed  []point // all points so far, in order
	killAt  int     // the point, counted from 1, where the hook dies; 0 is none
	dead    bool    // the hook was killed, and what is left of it does nothing more
	hooks   int     // how many hooks have begun
	running bool    // a hook runs; what a test does to the world automatically is no effect
}

// point is a moment at which a hook may be killed.
type point struct{ where, what string }

func (p point) String() string { return p.where + ": " + p.what }

// Effect is called with the name of a change just before it, and what it returns right
// after it. The hook may be killed at either, so neither may ever return. Names have to be
// the same each time a scenario is played: no random ids, no times.
func (g *Gate) Effect(name string) (done func()) {
	g.point("before " + name)
	return func() { g.point("after " + name) }
}

// KillAt lets the n-th point from now be the last thing that the hook does; each effect
// has two, before and after it. With n 0 nothing is killed. It is for tests that choose the
// moment themselves; Check goes through all of them.
func (g *Gate) KillAt(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.killAt = 0
	if n > 0 {
		g.killAt = len(g.passed) + n
	}
}

// point lets the hook pass, or ends it. It ends by runtime.Goexit: an error could be
// swallowed by a step that makes a status of it, a panic could be recovered, and a context
// need not be looked at. What a dying hook has deferred does run, unlike in life, but
// changes nothing any more: it comes to a point, too.
func (g *Gate) point(what string) {
	if g == nil {
		return
	}
	g.mu.Lock()
	if g.running && !g.dead {
		g.passed = append(g.passed, point{g.where, what})
		g.dead = len(g.passed) == g.killAt
	}
	dead := g.dead
	g.mu.Unlock()
	if dead {
		runtime.Goexit()
	}
}

// begin lets a hook run.
func (g *Gate) begin() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running = true
}

// end reports whether the hook that ran was killed, and lets the next one live.
func (g *Gate) end() (killed bool) {
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	killed, g.dead, g.running = g.dead, false, false
	return killed
}

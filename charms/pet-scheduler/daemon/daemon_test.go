//go:build cgo && libsqlite3

package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/scheduler/store"
	"github.com/dcib/dcib/internal/scheduler/store/dqlite"
	draintest "github.com/dcib/dcib/internal/testkit/drain"
)

const within = 30 * time.Second

// lxd is an LXD cluster that several units use. Its calls go one at a time.
type lxd struct {
	draintest.Gated
	mu *sync.Mutex
}

// diesWith returns a client of the same cluster; it calls died when the client is killed.
func (l lxd) diesWith(died func()) lxd {
	locked := l.Gate
	l.Gate = func(change string, do func() error) error {
		return locked(change, func() error {
			err := do()
			if errors.Is(err, draintest.ErrKilled) {
				died()
			}
			return err
		})
	}
	return l
}

func newLXD() lxd {
	l := lxd{mu: &sync.Mutex{}}
	l.Gated = draintest.Gated{LXD: draintest.New("m1", "m2", "m3"), Gate: draintest.Locked(l.mu)}
	l.Add("c1", "m1", true)
	l.Add("c2", "m1", true)
	l.Add("c3", "m1", false)
	l.Add("other", "m2", true)
	return l
}

// units are daemons on real nodes of loopback addresses, over one LXD.
type units struct {
	t       *testing.T
	lxd     lxd
	configs []control.Config
	dirs    []string
	stops   []func() error
	away    atomic.Bool  // LXD cannot be reached
	asked   atomic.Int64 // how often it was tried to reach LXD
	lines   atomic.Int64 // of the daemons' logs
}

func newUnits(t *testing.T, n int) *units {
	certificate, err := dqlite.NewCertificate()
	require.NoError(t, err)
	u := &units{t: t, lxd: newLXD()}
	base := t.TempDir()
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		address := l.Addr().String()
		require.NoError(t, l.Close())
		c := control.Config{Unit: fmt.Sprintf("pet-scheduler/%d", i), Address: address, Certificate: certificate}
		c.Founds = i == 0
		for _, other := range u.configs {
			c.Join = append(c.Join, other.Address)
		}
		dir := filepath.Join(base, fmt.Sprint(i))
		require.NoError(t, os.Mkdir(dir, 0o700))
		require.NoError(t, c.Write(dir))
		u.configs, u.dirs = append(u.configs, c), append(u.dirs, dir)
		u.stops = append(u.stops, nil)
		u.start(i)
	}
	t.Cleanup(func() {
		for i := range u.stops {
			u.stop(i)
		}
	})
	return u
}

func (u *units) start(n int) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		d := Daemon{
			Dir:     u.dirs[n],
			limiter: drain.NewMoveLimiter(drain.DefaultMaxMoves, 0),
			Connect: func(context.Context, control.Config, string, func() error) (Cluster, error) {
				if n := u.asked.Add(1); u.away.Load() {
					return nil, fmt.Errorf("cannot reach LXD: read 10.0.0.1:%d: connection reset", 40000+n)
				}
				return u.lxd, nil
			},
			Log: func(format string, args ...any) { u.lines.Add(1) },
		}
		done <- d.Run(ctx)
	}()
	u.stops[n] = func() error { cancel(); return <-done }
	require.Eventually(u.t, func() bool {
		s, err := u.client(n).Status(context.Background())
		return err == nil && s.Open
	}, within, 20*time.Millisecond)
}

func (u *units) stop(n int) {
	if u.stops[n] != nil {
		assert.NoError(u.t, u.stops[n]())
		u.stops[n] = nil
	}
}

func (u *units) client(n int) control.Client { return control.NewClient(u.dirs[n]) }

// run orders a run at a unit and waits for its end.
func (u *units) run(n int, q control.Request) store.Run {
	u.t.Helper()
	id, err := u.client(n).Order(context.Background(), q)
	require.NoError(u.t, err)
	var run store.Run
	require.Eventually(u.t, func() bool {
		run, err = u.client(n).Run(context.Background(), id)
		return err == nil && !run.Ended.IsZero()
	}, within, 20*time.Millisecond)
	return run
}

func TestDaemon(t *testing.T) {
	ctx := t.Context()
	u := newUnits(t, 1)
	for _, file := range []string{"daemon.json", "run/daemon.sock"} {
		info, err := os.Stat(filepath.Join(u.dirs[0], file))
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), file)
	}

	run := u.run(0, control.Request{Pet: "m1", Kind: store.Drain, Why: "ana"})
	assert.Equal(t, store.Done, run.State, run.Note)
	assert.Equal(t, 3, run.Moved)
	assert.Equal(t, "ana", run.Why)
	require.Len(t, run.Steps, 3)
	for _, step := range run.Steps {
		assert.Equal(t, store.StepDone, step.State, "%s", step.Instance)
		assert.Equal(t, "m1", step.From)
		assert.Contains(t, step.Note, "m1 → ")
	}
	assert.Equal(t, drain.Evacuated, u.lxd.Status("m1"))

	run = u.run(0, control.Request{Pet: "m1", Kind: store.Undrain})
	assert.Equal(t, store.Done, run.State, run.Note)
	assert.Equal(t, drain.Online, u.lxd.Status("m1"))
	assert.Equal(t, "m1", u.lxd.Find(drain.Ref{Project: "default", Name: "c2"}).Member)

	// What cannot be done is a run that says why.
	run = u.run(0, control.Request{Pet: "m9", Kind: store.Drain})
	assert.Equal(t, store.Failed, run.State)
	assert.Contains(t, run.Note, "LXD has no member of that name: its members are m1, m2, m3")

	past, err := u.client(0).History(ctx, "m1", 0)
	require.NoError(t, err)
	require.Len(t, past, 2)
	assert.Equal(t, store.Undrain, past[0].Kind)
	past, err = u.client(0).History(ctx, "", 1)
	require.NoError(t, err)
	assert.Len(t, past, 1)

	// One order is one run, however often it is given.
	first := u.run(0, control.Request{ID: "once", Pet: "m1", Kind: store.Drain})
	again := u.run(0, control.Request{ID: "once", Pet: "m1", Kind: store.Drain})
	assert.Equal(t, first, again)

	for _, bad := range []struct {
		q    control.Request
		says string
	}{
		{control.Request{Kind: store.Drain}, "pet is missing"},
		{control.Request{Pet: "m1"}, `kind is ""`},
		{control.Request{Pet: "m1", Kind: "reboot"}, `kind is "reboot"`},
		{control.Request{Pet: "m1", Kind: store.Drain, Seconds: -1}, "seconds is -1"},
	} {
		_, err := u.client(0).Order(ctx, bad.q)
		assert.ErrorContains(t, err, bad.says)
	}
	_, err = u.client(0).Run(ctx, "no/such run")
	assert.EqualError(t, err, "cannot find run no/such run: not found")
	_, err = u.client(0).History(ctx, "", -1)
	assert.NoError(t, err)

	u.stop(0)
	_, err = u.client(0).Status(ctx)
	assert.ErrorContains(t, err, "cannot reach the daemon")
	u.start(0)
	past, err = u.client(0).History(ctx, "", 0)
	require.NoError(t, err)
	assert.Len(t, past, 4)
}

// What takes longer than it may is given up, and says so.
func TestTimeout(t *testing.T) {
	u := newUnits(t, 1)
	u.lxd.Fail = func(call string, ref drain.Ref) error {
		if call == "move" && ref.Name == "c2" {
			return errors.New("cannot move: no")
		}
		return nil
	}
	u.lxd.mu.Lock() // LXD does not answer
	time.AfterFunc(2*time.Second, u.lxd.mu.Unlock)
	run := u.run(0, control.Request{Pet: "m1", Kind: store.Drain, Seconds: 1})
	assert.Equal(t, store.Failed, run.State)
	assert.NotEmpty(t, run.Note)
}

// The one who is asked, one unit does it; and when that one stops, another.
func TestUnits(t *testing.T) {
	ctx := t.Context()
	u := newUnits(t, 3)
	acting := func(not int) int {
		var n int
		require.Eventually(t, func() bool {
			for i := range u.stops {
				if i == not {
					continue
				}
				s, err := u.client(i).Status(ctx)
				if err != nil || s.Acting == "" {
					return false
				}
				if _, err := fmt.Sscanf(s.Acting, "pet-scheduler/%d", &n); err != nil || n == not {
					return false
				}
			}
			return true
		}, within, 50*time.Millisecond)
		return n
	}
	first := acting(-1)
	run := u.run((first+1)%3, control.Request{Pet: "m1", Kind: store.Drain})
	assert.Equal(t, store.Done, run.State, run.Note)
	u.stop(first)
	second := acting(first)
	run = u.run(second, control.Request{Pet: "m1", Kind: store.Undrain})
	assert.Equal(t, store.Done, run.State, run.Note)
	assert.Greater(t, run.Term, int64(1))
	assert.Equal(t, drain.Online, u.lxd.Status("m1"))
}

// A unit that leaves takes its node along; the node of one that is gone without a word is
// taken out when no unit has had it for long enough.
func TestNodesGo(t *testing.T) {
	ctx := t.Context()
	certificate, err := dqlite.NewCertificate()
	require.NoError(t, err)
	u := &units{t: t, lxd: newLXD()}
	base := t.TempDir()
	var daemons []*Daemon
	for n := range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, l.Close())
		u.configs = append(u.configs, control.Config{Unit: fmt.Sprint("pet-scheduler/", n), Address: l.Addr().String()})
		var join []string
		for _, other := range u.configs[:n] {
			join = append(join, other.Address)
		}
		dir := filepath.Join(base, fmt.Sprint(n))
		require.NoError(t, os.Mkdir(dir, 0o700))
		node, db, err := dqlite.Open(ctx, dqlite.Config{Dir: filepath.Join(dir, "store"), Address: l.Addr().String(), Join: join, Certificate: certificate})
		require.NoError(t, err)
		t.Cleanup(func() { db.Close(); node.Close() })
		require.NoError(t, node.Ready(ctx))
		s, err := store.Open(ctx, db, store.Options{Unit: fmt.Sprint("pet-scheduler/", n)})
		require.NoError(t, err)
		d := &Daemon{Dir: dir, unit: fmt.Sprint("pet-scheduler/", n), Log: func(string, ...any) {}}
		d.node.Store(&member{node, l.Addr().String()})
		d.store.Store(s)
		daemons = append(daemons, d)
	}
	nodes := func(n int) int {
		members, err := daemons[n].node.Load().Members(ctx)
		require.NoError(t, err)
		return len(members)
	}
	require.Equal(t, 3, nodes(0))

	require.NoError(t, daemons[2].leave(ctx, daemons[2].store.Load()))
	require.Equal(t, 2, nodes(0))

	known := control.Config{Unit: "pet-scheduler/0", Join: []string{u.configs[1].Address}}
	require.NoError(t, known.Write(daemons[0].Dir))
	gone, now := orphanNodes{}, time.Now()
	require.NoError(t, gone.removeOrphans(ctx, daemons[0], now))
	require.Empty(t, gone)
	require.NoError(t, control.Config{Unit: "pet-scheduler/0"}.Write(daemons[0].Dir))
	require.NoError(t, gone.removeOrphans(ctx, daemons[0], now))
	require.NoError(t, gone.removeOrphans(ctx, daemons[0], now.Add(orphanGracePeriod-time.Second)))
	require.Equal(t, 2, nodes(0), "it may be new")
	require.NoError(t, known.Write(daemons[0].Dir))
	require.NoError(t, gone.removeOrphans(ctx, daemons[0], now.Add(orphanGracePeriod)))
	require.NoError(t, control.Config{Unit: "pet-scheduler/0"}.Write(daemons[0].Dir))
	require.NoError(t, gone.removeOrphans(ctx, daemons[0], now.Add(2*orphanGracePeriod)))
	require.Equal(t, 2, nodes(0), "it was known meanwhile")
	require.NoError(t, os.WriteFile(filepath.Join(daemons[0].Dir, "daemon.json"), nil, 0o600))
	require.NoError(t, gone.removeOrphans(ctx, daemons[0], now.Add(9*orphanGracePeriod)))
	require.Equal(t, 2, nodes(0), "a configuration that was lost names no unit")
	require.NoError(t, control.Config{Unit: "pet-scheduler/0"}.Write(daemons[0].Dir))
	require.NoError(t, gone.removeOrphans(ctx, daemons[0], now.Add(3*orphanGracePeriod)))
	require.Equal(t, 1, nodes(0))

	require.NoError(t, daemons[0].leave(ctx, daemons[0].store.Load()), "the last one has no one to leave to")
	require.Equal(t, 1, nodes(0))
}

// The unit that acts dies at each call that it makes to LXD, in turn; another finishes,
// and the end is the same.
func TestDeathAtEachCall(t *testing.T) {
	ctx := t.Context()
	certificate, err := dqlite.NewCertificate()
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	node, db, err := dqlite.Open(ctx, dqlite.Config{Dir: t.TempDir(), Address: l.Addr().String(), Certificate: certificate})
	require.NoError(t, err)
	defer node.Close()
	defer db.Close()
	require.NoError(t, node.Ready(ctx))

	// lead has a unit act until done reports that it is over, or it dies.
	lead := func(unit string, cluster lxd, done func(*store.Store) bool) {
		s, err := store.Open(ctx, db, store.Options{Unit: unit})
		require.NoError(t, err)
		life, die := context.WithCancel(ctx)
		defer die()
		cluster = cluster.diesWith(die)
		d := Daemon{
			unit:    unit,
			limiter: drain.NewMoveLimiter(drain.DefaultMaxMoves, 0),
			Connect: func(context.Context, control.Config, string, func() error) (Cluster, error) { return cluster, nil },
			Log:     func(string, ...any) {},
		}
		d.node.Store(&member{node, l.Addr().String()})
		over := make(chan struct{})
		go func() {
			defer close(over)
			assert.NoError(t, s.Lead(life, d.runAsLeader))
		}()
		for life.Err() == nil && !done(s) {
			pause(life, 10*time.Millisecond)
		}
		die()
		<-over
	}
	for _, kind := range []store.Kind{store.Drain, store.Undrain} {
		for calls := 1; ; calls++ {
			cluster := newLXD()
			id := fmt.Sprint(kind, calls)
			ended := func(id string) func(*store.Store) bool {
				return func(s *store.Store) bool {
					run, _, err := s.Run(ctx, id)
					return err == nil && !run.Ended.IsZero()
				}
			}
			s, err := store.Open(ctx, db, store.Options{Unit: "operator"})
			require.NoError(t, err)
			if kind == store.Undrain {
				require.NoError(t, s.AddOrder(ctx, store.Order{ID: id + "-before", Pet: "m1", Kind: store.Drain}))
				lead("pet-scheduler/0", cluster, ended(id+"-before"))
			}
			require.NoError(t, s.AddOrder(ctx, store.Order{ID: id, Pet: "m1", Kind: kind}))
			cluster.CallsLeft = calls
			lead("pet-scheduler/0", cluster, ended(id))
			died := cluster.CallsLeft == 0
			cluster.CallsLeft = -1
			lead("pet-scheduler/1", cluster, ended(id))

			run, _, err := s.Run(ctx, id)
			require.NoError(t, err)
			require.Equal(t, store.Done, run.State, "%s, killed after %d calls: %s", kind, calls, run.Note)
			for _, step := range run.Steps {
				require.Equal(t, store.StepDone, step.State, "%s, killed after %d calls: %s", kind, calls, step.Instance)
			}
			status := map[store.Kind]drain.MemberStatus{store.Drain: drain.Evacuated, store.Undrain: drain.Online}[kind]
			require.Equal(t, status, cluster.Status("m1"))
			require.Len(t, cluster.Instance, 4, "no instance lost or doubled")
			for _, i := range cluster.Instance {
				require.Equal(t, i.Name != "c3", i.Running, "%s, killed after %d calls: %s", kind, calls, i.Name)
				require.Equal(t, kind == store.Undrain && i.Name != "other", i.Member == "m1", i.Name)
			}
			if !died {
				require.Greater(t, calls, 5)
				t.Logf("%s: killed at each of %d calls", kind, calls-1)
				break
			}
		}
	}
}

//go:build cgo && libsqlite3

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/dcib/dcib/internal/scheduler/store/dqlite"
)

func openNode(t *testing.T, c dqlite.Config) (dqlite.Node, *sql.DB) {
	t.Helper()
	node, db, err := dqlite.Open(ctx, c)
	require.NoError(t, err)
	return node, db
}

const within = 30 * time.Second

// A unit that joins, dies, returns, is replaced or leaves costs nothing that was written.
func TestMembership(t *testing.T) {
	c := newCluster(t, 3)
	require.Eventually(t, func() bool { return c.roles(0)["voter"] == 3 }, within, 100*time.Millisecond)
	s := c.open(1, Options{})
	require.NoError(t, s.SetPets(ctx, "before"))

	c.stop(0) // the bootstrap node, who leads the database
	start := time.Now()
	require.NoError(t, s.SetPets(ctx, "while one is away"))
	t.Logf("the database answered %s after its leader had stopped", time.Since(start).Round(time.Millisecond))
	c.start(0)
	back := c.open(0, Options{})
	i, err := back.Intents(ctx)
	require.NoError(t, err)
	assert.Equal(t, "while one is away", i.Pets)

	// One dies for good, another comes in its place and votes.
	c.stop(2)
	c.join()
	require.NoError(t, c.nodes[1].Remove(ctx, c.nodes[2].address))
	require.NoError(t, c.nodes[1].Remove(ctx, c.nodes[2].address), "what is gone is removed")
	require.Eventually(t, func() bool { return c.roles(1)["voter"] == 3 }, within, 100*time.Millisecond)

	// One leaves in order.
	require.NoError(t, c.nodes[0].Handover(ctx))
	c.stop(0)
	require.NoError(t, c.nodes[3].Remove(ctx, c.nodes[0].address))
	i, err = c.open(3, Options{}).Intents(ctx)
	require.NoError(t, err)
	assert.Equal(t, "while one is away", i.Pets)
}

// A unit whose first leader candidate is itself not in the cluster, or is gone, joins by the others
// that it is told of later.
func TestJoinByOthers(t *testing.T) {
	c := newCluster(t, 1)
	lonely := c.config(0)
	lonely.Dir, lonely.Address, lonely.Join = filepath.Join(c.dir, "lonely"), freeAddress(t), []string{freeAddress(t)}
	node, db := openNode(t, lonely)
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	require.Error(t, node.Ready(short))
	require.NoError(t, node.AddJoinAddresses([]string{c.nodes[0].address}))
	long, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	require.NoError(t, node.Ready(long))
	members, err := node.Members(long)
	require.NoError(t, err)
	require.Len(t, members, 2)

	// Once it is in, what it is told does not matter any more.
	require.NoError(t, errors.Join(db.Close(), node.Close()))
	lonely.Join = []string{freeAddress(t)}
	node, db = openNode(t, lonely)
	defer func() { require.NoError(t, errors.Join(db.Close(), node.Close())) }()
	require.NoError(t, node.Ready(long))
	require.NoError(t, node.AddJoinAddresses([]string{freeAddress(t)}))
}

// A new unit has the address of one that is gone without having left, as networks assign it:
// it takes its place.
func TestAddressGivenOutAgain(t *testing.T) {
	for name, gone := range map[string]int{"bootstrap node": 0, "voter": 2, "stand-by": 3} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 5)
			require.NoError(t, c.open(1, Options{}).SetPets(ctx, "kept"))
			c.settled(3)
			id := func() (id uint64) {
				for _, m := range c.members() {
					if m.Address == c.nodes[gone].address {
						require.Zero(t, id, "an address is there twice")
						id = m.ID
					}
				}
				return id
			}
			before := id()
			c.stop(gone)
			c.nodes = append(c.nodes, &member{address: c.nodes[gone].address})
			c.start(5)
			require.NotEqual(t, before, id())
			c.settled(3)
			i, err := c.open(5, Options{}).Intents(ctx)
			require.NoError(t, err)
			assert.Equal(t, "kept", i.Pets)
		})
	}
}

// A unit that has the address of one that is gone, and is not in the store yet, does not pass for
// that one: it takes no connection.
func TestPassesForNoUnit(t *testing.T) {
	c := newCluster(t, 4)
	c.settled(3)
	c.stop(2)
	other := c.config(2)
	other.Dir, other.Join = filepath.Join(c.dir, "other"), []string{freeAddress(t)}
	node, db := openNode(t, other)
	defer func() { require.NoError(t, errors.Join(db.Close(), node.Close())) }()
	conn, err := net.Dial("tcp", other.Address)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(within)))
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)

	// So the one that is gone loses its vote.
	require.Eventually(t, func() bool {
		members := c.members()
		return len(members) == 4 && !slices.ContainsFunc(members, func(m dqlite.Member) bool {
			return m.Address == other.Address && m.Role == "voter"
		}) && c.roles(0)["voter"] == 3
	}, within, 100*time.Millisecond)
}

// A unit that died after the store had taken it in, and before it could note that, is in.
func TestJoinCutShort(t *testing.T) {
	c := newCluster(t, 3)
	c.settled(3)
	c.stop(2)
	require.NoError(t, os.WriteFile(filepath.Join(c.config(2).Dir, "join"), nil, 0o600))
	c.start(2)
	c.settled(3)
	require.Len(t, c.members(), 3)
}

// A node's address is for good.
func TestAddressChanged(t *testing.T) {
	c := newCluster(t, 1)
	moved := c.config(0)
	moved.Address = freeAddress(t)
	c.stop(0)
	_, _, err := dqlite.Open(ctx, moved)
	require.EqualError(t, err, fmt.Sprintf("cannot start the store's node in %s at %s: it was %s before: a node's address cannot change", moved.Dir, moved.Address, c.nodes[0].address))
}

// Machines that go one after the other, and from then on answer no one, cost no more than
// one: each time another node leads soon, and all that are left have the store again, also over
// the connections that they had with the one that is gone.
func TestMachinesGo(t *testing.T) {
	c := newCluster(t, 6)
	var stores []*Store
	for n := range c.nodes {
		stores = append(stores, c.open(n, Options{}))
	}
	// left has something done at each node that is there, all at once.
	left := func(do func(n int) error) {
		var doing errgroup.Group
		for n := range c.nodes {
			if c.nodes[n].up {
				doing.Go(func() error { return do(n) })
			}
		}
		require.NoError(t, doing.Wait())
	}
	for lost := range 4 {
		c.settled(3) // others have the votes of those that went
		leader := -1
		for _, m := range c.members() {
			if m.Leads {
				leader = c.at(m.Address)
			}
		}
		require.NotEqual(t, -1, leader)
		left(func(n int) error {
			var several errgroup.Group
			for range 2 {
				several.Go(func() error {
					_, err := stores[n].Intents(ctx)
					return err
				})
			}
			return several.Wait()
		})
		c.stop(leader)
		silent, err := net.Listen("tcp", c.nodes[leader].address) // it takes connections, and says nothing
		require.NoError(t, err)
		defer silent.Close()

		start := time.Now()
		left(func(n int) error { return stores[n].SetPets(ctx, fmt.Sprint("without ", lost+1)) })
		t.Logf("%d lost: written by all that are left %s later", lost+1, time.Since(start).Round(time.Millisecond))
	}
}

// Units lead in turn; each that acts is killed, and the next one acts within ten seconds.
func TestTakeover(t *testing.T) {
	c := newCluster(t, 0)
	for range 3 {
		c.nodes = append(c.nodes, &member{address: freeAddress(t)})
	}
	children := make([]*exec.Cmd, 3)
	spawn := func(n int) {
		config, err := json.Marshal(c.config(n))
		require.NoError(t, err)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+string(config), "DCIB_TEST_UNIT="+fmt.Sprintf("pets/%d", n))
		cmd.Stderr = os.Stderr
		require.NoError(t, cmd.Start())
		children[n] = cmd
	}
	t.Cleanup(func() {
		for _, cmd := range children {
			if cmd != nil {
				_ = cmd.Process.Signal(syscall.SIGCONT)
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}
		}
	})
	for n := range 3 {
		spawn(n)
	}
	// A fourth node looks on.
	c.join()
	s := c.open(3, Options{Unit: "looker-on"})
	require.Eventually(t, func() bool { return c.roles(3)["voter"] == 3 && len(c.nodes) == 4 }, within, 100*time.Millisecond)
	holder := func() Lease {
		short, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		l, err := s.Lease(short)
		if err != nil {
			return Lease{}
		}
		return l
	}
	for _, how := range []struct {
		name string
		sig  syscall.Signal
	}{{"killed", syscall.SIGKILL}, {"frozen", syscall.SIGSTOP}, {"killed", syscall.SIGKILL}} {
		var before Lease
		require.Eventually(t, func() bool { before = holder(); return before.Holder != "" }, within, 50*time.Millisecond)
		var n int
		_, err := fmt.Sscanf(before.Holder, "pets/%d", &n)
		require.NoError(t, err)
		start := time.Now()
		require.NoError(t, children[n].Process.Signal(how.sig))
		var after Lease
		require.Eventually(t, func() bool {
			after = holder()
			return after.Holder != "" && after.Term > before.Term
		}, within, 20*time.Millisecond)
		took := time.Since(start)
		t.Logf("%s %s in term %d: %s acts in term %d, %s later", before.Holder, how.name, before.Term, after.Holder, after.Term, took.Round(10*time.Millisecond))
		assert.NotEqual(t, before.Holder, after.Holder)
		assert.Less(t, took, 10*time.Second)
		if how.sig == syscall.SIGSTOP {
			require.NoError(t, children[n].Process.Signal(syscall.SIGCONT))
		} else {
			_ = children[n].Wait()
			spawn(n)
		}
		require.Eventually(t, func() bool { return c.roles(3)["voter"] == 3 }, within, 100*time.Millisecond)
	}
	// Each actor writes under its term as fast as it can: none wrote after a later one.
	runs, err := s.History(ctx, "", 1000)
	require.NoError(t, err)
	require.NotEmpty(t, runs)
	for n := 1; n < len(runs); n++ {
		assert.GreaterOrEqual(t, runs[n-1].Term, runs[n].Term)
	}
}

// childVariable makes the test program a unit, by the node's configuration.
const childVariable = "DCIB_TEST_NODE"

// child is a unit that acts whenever it may, until it is killed.
func child() {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, os.Getenv("DCIB_TEST_UNIT"), err)
			os.Exit(1)
		}
	}
	var config dqlite.Config
	fail(json.Unmarshal([]byte(os.Getenv(childVariable)), &config))
	node, db, err := dqlite.Open(ctx, config)
	fail(err)
	fail(node.Ready(ctx))
	s, err := Open(ctx, db, Options{Unit: os.Getenv("DCIB_TEST_UNIT")})
	fail(err)
	fail(s.Lead(ctx, func(ctx context.Context, a *Leader) error {
		for n := 0; ctx.Err() == nil; n++ {
			id := fmt.Sprintf("%d-%d", a.Term(), n)
			if open, _, err := a.OpenRun(ctx, "pet"); err == nil && open.ID != "" {
				id = open.ID
			} else if err := a.Begin(ctx, Run{ID: id, Pet: "pet", Kind: Drain}); err != nil {
				return err
			}
			if err := a.End(ctx, id, Done, ""); err != nil {
				return err
			}
			_ = sleep(ctx, 50*time.Millisecond)
		}
		return nil
	}))
}

// Who acts releases the lease when it stops, and the next one need not wait.
func TestGivesUp(t *testing.T) {
	s := newCluster(t, 1).open(0, Options{})
	var acting atomic.Int32
	lead := func(unit string) (stop func(), acts chan struct{}) {
		ctx, cancel := context.WithCancel(ctx)
		acts = make(chan struct{}, 1)
		done := make(chan error)
		go func() {
			done <- s.as(unit).Lead(ctx, func(ctx context.Context, a *Leader) error {
				assert.EqualValues(t, 1, acting.Add(1), "one at a time")
				defer acting.Add(-1)
				acts <- struct{}{}
				<-ctx.Done()
				return ctx.Err()
			})
		}()
		return func() { cancel(); require.NoError(t, <-done) }, acts
	}
	stopA, actsA := lead("a")
	<-actsA
	stopB, actsB := lead("b")
	stopA()
	start := time.Now()
	<-actsB
	assert.Less(t, time.Since(start), take)
	stopB()
	l, err := s.Lease(ctx)
	require.NoError(t, err)
	assert.Empty(t, l.Holder)

	wrong := errors.New("wrong")
	require.ErrorIs(t, s.Lead(ctx, func(context.Context, *Leader) error { return wrong }), wrong)
}

// A holder that cannot reach the store stops acting before another may begin.
func TestCutOff(t *testing.T) {
	c := newCluster(t, 1)
	s := c.open(0, Options{})
	acts := make(chan *Leader)
	over := make(chan time.Time)
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_ = s.Lead(stop, func(ctx context.Context, a *Leader) error {
			acts <- a
			<-ctx.Done()
			over <- time.Now()
			return ctx.Err()
		})
	}()
	a := <-acts
	require.NoError(t, a.Check())
	start := time.Now()
	c.stop(0)
	took := (<-over).Sub(start)
	t.Logf("stopped acting after %s", took.Round(10*time.Millisecond))
	assert.LessOrEqual(t, took, renewDeadline+time.Second/2)
	cancel()
	require.Eventually(t, func() bool { return errors.Is(a.Check(), ErrFenced) }, renewDeadline, 10*time.Millisecond)
}

// What an older schema holds is there after each real step to the newest.
func TestEveryMigration(t *testing.T) {
	c := newCluster(t, 1)
	s := c.open(0, Options{migrations: migrations[:1]})
	require.NoError(t, s.SetPets(ctx, "old"))
	a := grab(t, s)
	// As the first version wrote it.
	require.NoError(t, s.exec(ctx, `INSERT INTO runs (id, pet, kind, state, why, due, started, plan, term)
		VALUES ('r', 'big', 'drain', 'running', '', 0, 1, '[{"project": "default", "instance": "c", "what": "move", "from": "big", "to": ""}]', ?)`, a.term))
	require.NoError(t, s.exec(ctx, `INSERT INTO holds VALUES ('big', 0, 'why', 'by', 1)`))
	for version := 2; version <= len(migrations); version++ {
		s = c.open(0, Options{migrations: migrations[:version]})
	}
	i, err := s.Intents(ctx)
	require.NoError(t, err)
	assert.Equal(t, "old", i.Pets)
	r, ok, err := s.OpenRun(ctx, "big")
	require.NoError(t, err)
	require.True(t, ok)
	assert.Len(t, r.Steps, 1)
	assert.Equal(t, "big", r.Where())
	require.Len(t, i.Holds, 1)
	assert.Equal(t, "paused", i.Holds[0].State)
}

// From one schema to the next, while a unit that knows only the old one is there.
func TestMigration(t *testing.T) {
	c := newCluster(t, 3)
	old := migrations
	newer := append(append([]string{}, old...), `CREATE TABLE more (id TEXT PRIMARY KEY); INSERT INTO more SELECT text FROM pets;`)
	a, b := c.open(0, Options{}), c.open(1, Options{})
	require.NoError(t, a.SetPets(ctx, "kept"))

	// pets/2 is refreshed first, and waits.
	waits := make(chan string, 100)
	opened := make(chan error, 1)
	go func() {
		_, err := Open(ctx, c.nodes[2].db, Options{Unit: "pets/2", migrations: newer, Log: func(f string, args ...any) { waits <- fmt.Sprintf(f, args...) }})
		opened <- err
	}()
	from, to := len(old), len(newer)
	assert.Equal(t, fmt.Sprintf("waiting for pets/0, pets/1 to be refreshed: the store's schema is to go from %d to %d", from, to), <-waits)
	require.NoError(t, a.SetPets(ctx, "still written"), "the old ones work on")
	// pets/0 is refreshed, pets/1 is removed.
	go func() {
		_, err := Open(ctx, c.nodes[0].db, Options{Unit: "pets/0", migrations: newer})
		opened <- err
	}()
	assert.Equal(t, fmt.Sprintf("waiting for pets/1 to be refreshed: the store's schema is to go from %d to %d", from, to), <-waits)
	require.NoError(t, a.Forget(ctx, "pets/1"))
	require.NoError(t, <-opened)
	require.NoError(t, <-opened)
	var text string
	require.NoError(t, c.nodes[0].db.QueryRow(`SELECT id FROM more`).Scan(&text))
	assert.Equal(t, "still written", text)

	// One that was away meanwhile is behind, and says so.
	require.ErrorIs(t, b.Heartbeat(ctx), ErrSchemaTooNew)
	_, err := Open(ctx, c.nodes[1].db, Options{Unit: "pets/1"})
	require.ErrorIs(t, err, ErrSchemaTooNew)
	assert.EqualError(t, err, fmt.Sprintf("cannot use the store: its schema is %d and this unit knows %d: this unit is behind: refresh it", to, from))

	// A migration that fails changes nothing, and says which one.
	broken := append(append([]string{}, newer...), `CREATE TABLE half (id TEXT); CREATE TABLE half (id TEXT)`)
	require.NoError(t, a.Forget(ctx, "pets/2"))
	_, err = Open(ctx, c.nodes[0].db, Options{Unit: "pets/0", migrations: broken})
	require.ErrorContains(t, err, fmt.Sprintf("cannot bring the store's schema to %d", to+1))
	version, err := a.version(ctx)
	require.NoError(t, err)
	assert.Equal(t, to, version)
	require.Error(t, c.nodes[0].db.QueryRow(`SELECT id FROM half`).Scan(&text))
}

//go:build cgo && libsqlite3

package store

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/scheduler/store/dqlite"
)

// cluster is a real database: nodes on loopback addresses, with TLS.
type cluster struct {
	t           *testing.T
	dir         string
	certificate dqlite.Certificate
	nodes       []*member
}

// member is one node of it.
type member struct {
	dqlite.Node
	db      *sql.DB
	address string
	up      bool
}

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		child()
		return
	}
	os.Exit(m.Run())
}

func newCluster(t *testing.T, size int) *cluster {
	t.Helper()
	certificate, err := dqlite.NewCertificate()
	require.NoError(t, err)
	c := &cluster{t: t, dir: t.TempDir(), certificate: certificate}
	for range size {
		c.join()
	}
	t.Cleanup(func() {
		for n := range c.nodes {
			c.stop(n)
		}
	})
	return c
}

// join starts one more node.
func (c *cluster) join() {
	c.t.Helper()
	c.nodes = append(c.nodes, &member{address: freeAddress(c.t)})
	c.start(len(c.nodes) - 1)
}

func (c *cluster) config(n int) dqlite.Config {
	config := dqlite.Config{
		Dir:         filepath.Join(c.dir, fmt.Sprint(n)),
		Address:     c.nodes[n].address,
		Certificate: c.certificate,
	}
	for m := range n {
		config.Join = append(config.Join, c.nodes[m].address)
	}
	return config
}

func (c *cluster) start(n int) {
	c.t.Helper()
	node, db, err := dqlite.Open(context.Background(), c.config(n))
	require.NoError(c.t, err)
	c.nodes[n].Node, c.nodes[n].db, c.nodes[n].up = node, db, true
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	require.NoError(c.t, node.Ready(ctx))
}

// stop stops a node without a word to the others.
func (c *cluster) stop(n int) {
	if c.nodes[n].up {
		c.nodes[n].up = false
		c.nodes[n].db.Close()
		c.nodes[n].Close()
	}
}

// open opens the store at a node.
func (c *cluster) open(n int, o Options) *Store {
	c.t.Helper()
	if o.Unit == "" {
		o.Unit = fmt.Sprintf("pets/%d", n)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s, err := Open(ctx, c.nodes[n].db, o)
	require.NoError(c.t, err)
	return s
}

// roles counts the cluster's nodes by role.
func (c *cluster) roles(n int) map[string]int {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	members, err := c.nodes[n].Members(ctx)
	if err != nil {
		return nil
	}
	roles := map[string]int{}
	for _, m := range members {
		roles[m.Role]++
	}
	return roles
}

// members returns the cluster's nodes as it knows them; none when it cannot be asked.
func (c *cluster) members() []dqlite.Member {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	all, _ := c.nodes[c.anyUp()].Members(ctx)
	return all
}

// settled waits until the cluster has so many votes, all of nodes that are up.
func (c *cluster) settled(votes int) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		up := 0
		for _, m := range c.members() {
			if m.Role == "voter" && slices.ContainsFunc(c.nodes, func(n *member) bool { return n.up && n.address == m.Address }) {
				up++
			}
		}
		return up == votes && c.roles(c.anyUp())["voter"] == votes
	}, within, 100*time.Millisecond)
}

// anyUp returns a node that is up.
func (c *cluster) anyUp() int {
	return slices.IndexFunc(c.nodes, func(m *member) bool { return m.up })
}

// at is the node of an address.
func (c *cluster) at(address string) int {
	return slices.IndexFunc(c.nodes, func(m *member) bool { return m.address == address })
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// grab takes the lease for a unit, as if the one before had not been heard of for long.
func grab(t interface {
	require.TestingT
	Helper()
}, s *Store) *Leader {
	t.Helper()
	l, err := s.Lease(context.Background())
	require.NoError(t, err)
	a, err := s.acquire(context.Background(), l)
	require.NoError(t, err)
	require.NotNil(t, a)
	return a
}

// as is the store of another unit over the same database.
func (s *Store) as(unit string) *Store {
	other := *s
	other.unit = unit
	return &other
}

//go:build cgo && libsqlite3

package dqlite

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	library "github.com/canonical/go-dqlite"
	"github.com/canonical/go-dqlite/client"
	"github.com/canonical/go-dqlite/driver"

	"github.com/dcib/dcib/internal/host/lograte"
)

// node is a Node. It is what go-dqlite's package app is, with two things that one cannot be
// told: how other nodes are reached (see connect), and whom to ask for being taken in after
// the first start (see AddJoinAddresses).
type node struct {
	dir    string
	who    identity
	say    func(format string, args ...any)
	notes  *lograte.Limiter // writes to say
	server *library.Node
	nodes  *client.YamlNodeStore     // the cluster's, as they were last seen
	listed atomic.Pointer[time.Time] // when that was, nil when not since the node began
	others *peerDialer

	ctx   context.Context // the node's life
	end   context.CancelFunc
	in    atomic.Bool   // the cluster has taken it in
	told  chan struct{} // an operator told it whom to ask
	ready chan struct{} // closed when it is in and has its role

	incoming atomic.Pointer[tls.Config]
	served   sessions
	listener net.Listener
	working  sync.WaitGroup
}

// Open starts a node and opens the database, which may not answer before Ready does. The
// database is closed first, then the node.
func Open(_ context.Context, c Config) (Node, *sql.DB, error) {
	n, err := start(c)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot start the store's node in %s at %s: %w", c.Dir, c.Address, err)
	}
	d, err := driver.New(leaderCandidates{n}, driver.WithDialFunc(withDeadlines(n.others.dial)), driver.WithLogFunc(n.log),
		driver.WithAttemptTimeout(exchangeTimeout), driver.WithConnectionBackoffCap(exchangeTimeout/4))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("cannot open the store: %w", err), n.Close())
	}
	connector, err := d.OpenConnector(Database)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("cannot open the store: %w", err), n.Close())
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(4)
	return n, db, nil
}

// start starts a node.
func start(c Config) (*node, error) {
	incoming, outgoing, err := c.Certificate.configs(c.Trusted...)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	who, in, err := identify(c.Dir, c.Address, len(c.Join) == 0)
	if err != nil {
		return nil, err
	}
	nodes, err := client.NewYamlNodeStore(filepath.Join(c.Dir, nodesFile))
	if err != nil {
		// It is no more than whom to ask first.
		if err := os.Remove(filepath.Join(c.Dir, nodesFile)); err != nil {
			return nil, err
		}
		if nodes, err = client.NewYamlNodeStore(filepath.Join(c.Dir, nodesFile)); err != nil {
			return nil, err
		}
	}
	n := &node{dir: c.Dir, who: who, say: c.Log, nodes: nodes, others: newReacher(outgoing), told: make(chan struct{}, 1), ready: make(chan struct{})}
	if n.say == nil {
		n.say = func(string, ...any) {}
	}
	n.notes = lograte.New(n.say)
	n.in.Store(in)
	n.ctx, n.end = context.WithCancel(context.Background())
	if err := n.AddJoinAddresses(c.Join); err != nil {
		return nil, err
	}
	// An abstract socket that the kernel names, on which the node takes connections of its
	// own process only.
	n.server, err = library.New(who.ID, who.Address, c.Dir, library.WithBindAddress("@"),
		library.WithDialFunc(n.connect), library.WithNetworkLatency(latency))
	if err == nil {
		err = n.server.Start()
	}
	if err != nil {
		n.end()
		return nil, err
	}
	if n.listener, err = listen(n.ctx, who.Address); err != nil {
		n.end()
		return nil, errors.Join(err, n.server.Close())
	}
	local := n.server.BindAddress() // the C library's memory, which goes with the node
	n.incoming.Store(incoming)
	n.working.Go(func() { n.serve(n.listener, local) })
	n.working.Go(n.keep)
	return n, nil
}

// Ready implements Node.
func (n *node) Ready(ctx context.Context) error {
	select {
	case <-n.ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot join the store: no node of it has answered: %w", ctx.Err())
	}
}

func (n *node) leader(ctx context.Context) (*client.Client, error) {
	c, err := client.FindLeader(ctx, leaderCandidates{n}, n.options()...)
	if err != nil {
		return nil, fmt.Errorf("cannot find the store's leader: is a majority of its nodes up? %w", err)
	}
	return c, nil
}

// cluster returns a client of the store's leader, which the caller closes, and the store's nodes.
func (n *node) cluster(ctx context.Context) (*client.Client, []client.NodeInfo, error) {
	c, err := n.leader(ctx)
	if err != nil {
		return nil, nil, err
	}
	nodes, err := list(ctx, c)
	if err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	return c, nodes, nil
}

// list returns the store's nodes as its leader has them.
func list(ctx context.Context, leader *client.Client) ([]client.NodeInfo, error) {
	nodes, err := leader.Cluster(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot list the store's nodes: %w", err)
	}
	return nodes, nil
}

// options are those of every client.
func (n *node) options() []client.Option {
	return []client.Option{client.WithDialFunc(n.others.dial), client.WithLogFunc(n.log)}
}

// Members implements Node.
func (n *node) Members(ctx context.Context) ([]Member, error) {
	c, nodes, err := n.cluster(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	leader, err := c.Leader(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot ask who leads the store: %w", err)
	}
	members := make([]Member, len(nodes))
	for i, node := range nodes {
		members[i] = Member{ID: node.ID, Address: node.Address, Role: node.Role.String(), Leads: node.ID == leader.ID}
	}
	return members, nil
}

// Remove implements Node.
func (n *node) Remove(ctx context.Context, address string) error {
	c, nodes, err := n.cluster(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, node := range nodes {
		if node.Address != address {
			continue
		}
		if err := c.Remove(ctx, node.ID); err != nil {
			return fmt.Errorf("cannot remove node %s from the store: %w", address, err)
		}
	}
	return nil
}

// Certify implements Node.
func (n *node) Certify(c Certificate, trusted []string) error {
	incoming, outgoing, err := c.configs(trusted...)
	if err != nil {
		return err
	}
	before := n.incoming.Swap(incoming)
	n.others.config.Store(outgoing)
	if !before.ClientCAs.Equal(incoming.ClientCAs) {
		n.served.end() // the one who is still trusted begins another
	}
	return nil
}

// Close implements Node.
func (n *node) Close() error {
	n.end()
	err := n.listener.Close()
	n.working.Wait()
	return errors.Join(err, n.server.Close())
}

// log takes what the library has to say. What it calls a warning is mostly a node that is
// not the leader.
func (n *node) log(level client.LogLevel, format string, args ...any) {
	if level >= client.LogError {
		n.notes.Note("library: "+format, fmt.Sprintf(format, args...))
	}
}

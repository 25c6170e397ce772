//go:build cgo && libsqlite3

package dqlite

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/canonical/go-dqlite/app"
	"github.com/canonical/go-dqlite/client"
	"github.com/canonical/go-dqlite/driver"
)

// node is a Node.
type node struct {
	app   *app.App
	store client.NodeStore
	dial  client.DialFunc
}

// Open starts a node and opens the database, which may not answer before Ready does. The
// database is closed first, then the node.
func Open(_ context.Context, c Config) (Node, *sql.DB, error) {
	listen, dial, err := c.Certificate.configs()
	if err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("cannot make the store's folder: %w", err)
	}
	if err := introduce(c.Dir, c.Join); err != nil {
		return nil, nil, err
	}
	said := log(c.Log)
	a, err := app.New(c.Dir,
		app.WithAddress(c.Address),
		app.WithCluster(c.Join),
		app.WithTLS(listen, dial),
		app.WithVoters(voters),
		app.WithStandBys(standbys),
		app.WithNetworkLatency(latency),
		app.WithRolesAdjustmentFrequency(adjust),
		app.WithLogFunc(said),
	)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot start the store's node in %s at %s: %w", c.Dir, c.Address, err)
	}
	n := &node{app: a, store: nodesFile(filepath.Join(c.Dir, "cluster.yaml")), dial: patient(dial)}
	// Not the application's own driver: that one waits a quarter of a minute for each node
	// that does not answer.
	d, err := driver.New(n.store, driver.WithDialFunc(n.dial), driver.WithLogFunc(said),
		driver.WithAttemptTimeout(patience), driver.WithConnectionBackoffCap(patience/4))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("cannot open the store: %w", err), a.Close())
	}
	connector, err := d.OpenConnector(Database)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("cannot open the store: %w", err), a.Close())
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(4)
	return n, db, nil
}

// introduce tells a node that no cluster has taken in yet whom to ask. The application asks
// only those that it was told of when its folder was made: one of them may itself not have
// been taken in, or be gone.
func introduce(dir string, join []string) error {
	_, err := os.Stat(filepath.Join(dir, "join")) // the application's mark of such a node
	if errors.Is(err, fs.ErrNotExist) || len(join) == 0 {
		return nil
	}
	var nodes []client.NodeInfo
	for _, address := range join {
		nodes = append(nodes, client.NodeInfo{Address: address})
	}
	if err == nil {
		var store *client.YamlNodeStore
		if store, err = client.NewYamlNodeStore(filepath.Join(dir, "cluster.yaml")); err == nil {
			err = store.Set(context.Background(), nodes)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot tell the store's node in %s whom to join: %w", dir, err)
	}
	return nil
}

// Ready implements Node.
func (n *node) Ready(ctx context.Context) error {
	if err := n.app.Ready(ctx); err != nil {
		return fmt.Errorf("cannot join the store: no node of it has answered: %w", err)
	}
	return nil
}

func (n *node) leader(ctx context.Context) (*client.Client, error) {
	c, err := client.FindLeader(ctx, n.store, client.WithDialFunc(n.dial), client.WithLogFunc(log(nil)))
	if err != nil {
		return nil, fmt.Errorf("cannot find the store's leader: is a majority of its nodes up? %w", err)
	}
	return c, nil
}

// Members implements Node.
func (n *node) Members(ctx context.Context) ([]Member, error) {
	c, err := n.leader(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	nodes, err := c.Cluster(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot list the store's nodes: %w", err)
	}
	members := make([]Member, len(nodes))
	for i, node := range nodes {
		members[i] = Member{ID: node.ID, Address: node.Address, Role: node.Role.String()}
	}
	return members, nil
}

// Remove implements Node.
func (n *node) Remove(ctx context.Context, address string) error {
	c, err := n.leader(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	nodes, err := c.Cluster(ctx)
	if err != nil {
		return fmt.Errorf("cannot list the store's nodes: %w", err)
	}
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

// Handover implements Node.
func (n *node) Handover(ctx context.Context) error {
	if err := n.app.Handover(ctx); err != nil {
		return fmt.Errorf("cannot hand the store over: %w", err)
	}
	return nil
}

// Close implements Node.
func (n *node) Close() error { return n.app.Close() }

// nodesFile is the list of nodes that the application keeps in a file, read each time: the
// list in its memory cannot be had.
type nodesFile string

// Get implements client.NodeStore.
func (f nodesFile) Get(ctx context.Context) ([]client.NodeInfo, error) {
	store, err := client.NewYamlNodeStore(string(f))
	if err != nil {
		return nil, err
	}
	return store.Get(ctx)
}

// Set implements client.NodeStore; the application writes the file.
func (nodesFile) Set(context.Context, []client.NodeInfo) error { return nil }

// patient dials with a deadline for each exchange.
func patient(config *tls.Config) client.DialFunc {
	dialer := tls.Dialer{NetDialer: &net.Dialer{}, Config: config}
	return func(ctx context.Context, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, patience/2)
		defer cancel()
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		return &patientConn{Conn: conn}, nil
	}
}

// patientConn bounds each exchange, where the library sets a later deadline or none: a
// leader that is frozen would otherwise hold its clients for as long as TCP believes in it.
type patientConn struct {
	net.Conn
	given bool // the library has set a deadline of its own
}

// SetDeadline implements net.Conn.
func (c *patientConn) SetDeadline(t time.Time) error {
	c.given = !t.IsZero()
	if latest := time.Now().Add(patience); t.After(latest) {
		t = latest
	}
	return c.Conn.SetDeadline(t)
}

// Read implements net.Conn.
func (c *patientConn) Read(b []byte) (int, error) {
	if !c.given {
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(b)
}

// Write implements net.Conn.
func (c *patientConn) Write(b []byte) (int, error) {
	if !c.given {
		if err := c.SetWriteDeadline(time.Now().Add(patience)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(b)
}

// log gives the library somebody to talk to. What it calls a warning is mostly a node that
// is not the leader.
func log(say func(string, ...any)) client.LogFunc {
	return func(level client.LogLevel, format string, args ...any) {
		if say != nil && level >= client.LogError {
			say(format, args...)
		}
	}
}

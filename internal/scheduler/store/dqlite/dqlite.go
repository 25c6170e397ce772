// Package dqlite runs a node of the store's database and opens it: SQLite, replicated by
// Raft between the units of an application (https://dqlite.io). One unit is a database of
// one; three or more lose one and carry on. Between nodes everything is TLS with one
// certificate, which is both key and authority: who has it is a member.
//
// The node itself needs cgo and the C library, and so is behind the build tag libsqlite3
// that the library's own binding wants; without it Open states that the program has none.
package dqlite

import (
	"context"
	"time"
)

// Database is the name of the one database.
const Database = "pets"

// Config says which node to run.
type Config struct {
	// Dir is where the node keeps its data; it is made if need be, for its user alone.
	Dir string
	// Address is what the other nodes reach this one by, "10.0.0.5:17666". It must stay
	// what it was when Dir was first used.
	Address string
	// Join are addresses of nodes that may be in the cluster already, for one that is not.
	// Without any when Dir is first used, this node founds a cluster.
	Join []string
	// Certificate is the cluster's. Trusted are certificates, PEM, that other nodes may show
	// beside it, while the cluster changes from one to another.
	Certificate Certificate
	Trusted     []string
	// Log takes what the library has to say that may matter; nil drops it.
	Log func(format string, args ...any) `json:"-"`
}

// Member is a node as the cluster knows it.
type Member struct {
	ID      uint64
	Address string
	Role    string // voter, stand-by or spare
	Leads   bool   // it leads the voters
}

// How the cluster is kept.
const (
	voters   = 3
	standbys = 2
	// adjust is how often the leader looks for voters that died, to move their vote to
	// another.
	adjust = 5 * time.Second
	// latency is what the library makes its Raft timeouts from: a leader shows that it lives
	// every 1.5, and others stand for election after 15 to 30 without it. Its default is
	// three times as slow, too slow for another unit to act within ten seconds.
	latency = 60 * time.Millisecond
	// exchangeTimeout is how long one exchange over the network may take before the connection
	// counts as dead: also a COMMIT, for which database/sql has no deadline.
	exchangeTimeout = 2 * time.Second
)

// Node is a running node.
type Node interface {
	// Ready waits until the node is in the cluster.
	Ready(ctx context.Context) error
	// AddJoinAddresses informs a node that is not in the cluster yet of more nodes that may be: the
	// first that it was told of may itself never have got in, or be gone.
	AddJoinAddresses(join []string) error
	// Members lists the cluster's nodes.
	Members(ctx context.Context) ([]Member, error)
	// Remove takes a node that will not come back out of the cluster, by its address. One
	// that is not there is removed already.
	Remove(ctx context.Context, address string) error
	// Handover returns this node's vote and leadership to others, before a planned stop.
	Handover(ctx context.Context) error
	// Certify has the node show another certificate from now on, and trust that one and those
	// alone. Connections with nodes that were trusted before and are not any more end.
	Certify(c Certificate, trusted []string) error
	// Close stops the node.
	Close() error
}

package cluster

import (
	"context"
	"slices"
	"time"

	"github.com/canonical/lxd/shared/api"
)

// LXD is what this package uses of the machine's LXD.
type LXD interface {
	// Observe returns the state of the LXD. A machine without LXD is no error: Present is false. With an
	// error that wraps lxd.ErrDatabaseUnavailable it returns what LXD knows without its database.
	Observe(ctx context.Context) (ServerState, error)
	// Listen sets the address (host:port) of the API or, if the API listens on all addresses, of the
	// cluster.
	Listen(ctx context.Context, address string) error
	// CreatePool creates a storage pool.
	CreatePool(ctx context.Context, pool Pool) error
	// CreateBridge creates a managed bridge with NAT; address as in Config.
	CreateBridge(ctx context.Context, name, address string) error
	// PutProfile creates or overwrites a profile.
	PutProfile(ctx context.Context, profile Profile) error
	// Bootstrap makes the LXD the first member of a cluster.
	Bootstrap(ctx context.Context, member string) error
	// Join makes the LXD a member of the cluster that issued the token. If the cluster has a pool of that
	// name, this member's part of it is at the pool's source. parents are this machine's interfaces for
	// networks of the cluster, by network.
	Join(ctx context.Context, token, address string, pool Pool, parents map[string]string) error
	// Token issues a join token for a member.
	Token(ctx context.Context, member string) (token string, expires time.Time, err error)
	// DeleteResource deletes a local resource; a running instance is stopped first.
	DeleteResource(ctx context.Context, what LocalResource) error
	// SetGroups puts a member into cluster groups, which it creates if needed, and removes it from other
	// groups that SetGroups put it into before.
	SetGroups(ctx context.Context, member string, want []string) error
	// SetFailureDomain changes a member's failure domain if it is still from.
	SetFailureDomain(ctx context.Context, member, from, to string) error
	// ClusterClient returns a client for the instances and volumes of the cluster.
	ClusterClient(ctx context.Context) (ClusterClient, error)
	// HandOver passes this member's vote in LXD's database to another member, restarts this machine's LXD,
	// and returns when another member votes.
	HandOver(ctx context.Context) error
	// Restart restarts this machine's LXD; instances keep running.
	Restart(ctx context.Context) error
	// Replicas returns the replicas of LXD's database without using the database.
	Replicas(ctx context.Context) ([]Replica, error)
	// LeftoverData returns what is on this machine's disks without using LXD, see lxd.LeftoverData.
	LeftoverData() ([]string, error)
	// Reset makes this machine's LXD a new one in no cluster, see lxd.Reset.
	Reset(ctx context.Context, now time.Time) (backupDir string, err error)
	// Answers reports whether another member's address accepts connections.
	Answers(ctx context.Context, address string) bool
	// RecoverQuorum makes this machine's replica the only one, and starts LXD again.
	RecoverQuorum(ctx context.Context) error
	// DeleteMember removes a member, this one too, and returns when it is gone. LXD refuses while anything
	// is located there, unless forced.
	DeleteMember(ctx context.Context, member string, force bool) error
	// Unfinished returns the members that LXD has accepted and that have not joined.
	Unfinished(ctx context.Context) ([]Unfinished, error)
	// DropUnfinished removes one of them.
	DropUnfinished(ctx context.Context, name string) error
	// Unlisten undoes Listen.
	Unlisten(ctx context.Context, address string) error
}

// ServerState is the state of one machine's LXD.
type ServerState struct {
	Present  bool
	Version  string
	Listens  string          // core.https_address
	Clusters string          // cluster.https_address
	Pools    []string        // storage pools
	Networks map[string]bool // LXD's networks (true), and the machine's own bridges (false)
	// IsolatedNetworks are LXD's bridges of which each member has its own, without a connection between
	// them.
	IsolatedNetworks []string
	// Uplinks are LXD's networks that need an interface on each machine, see needsParent.
	Uplinks []string
	// Interfaces are this machine's network interfaces that LXD does not manage.
	Interfaces []string
	Drivers    []string        // storage drivers that it supports; nil if it does not report them
	Resources  []LocalResource // what joining would delete, in the order of deletion
	Profiles   map[string]Profile
	// PoolDrivers are the pools' drivers by name; only outside a cluster.
	PoolDrivers map[string]string

	Groups    bool // it has cluster groups
	buckets   bool // its pools have buckets
	Clustered bool
	Member    string // its name in the cluster
	Identity  string // of the cluster, see IdentityKey
	Members   []Member
}

// IdentityKey is the key in LXD's configuration with the cluster's identity, once its certificate was
// replaced. Until then the identity is the fingerprint of its certificate, so members agree on it before
// and after.
const IdentityKey = "user.dcib.cluster"

func identity(info *api.Server) string {
	if kept := text(info.Config[IdentityKey]); kept != "" {
		return kept
	}
	return info.Environment.CertificateFingerprint
}

// address returns the address that the cluster knows this member by; "" outside a cluster.
func (l ServerState) address() string {
	for _, m := range l.Members {
		if l.Clustered && m.Name == l.Member {
			return m.Address
		}
	}
	return ""
}

// hasNoHeartbeats reports whether LXD has no heartbeats at all: this member is shown offline too. This
// happens for some seconds after the database leader died; "Offline" then means nothing.
func (l ServerState) hasNoHeartbeats() bool {
	return slices.ContainsFunc(l.Members, func(m Member) bool { return m.Name == l.Member && !m.Live() })
}

// Member is one line of LXD's member list.
type Member struct {
	Name, Address, Status, Message string
	FailureDomain                  string
	Groups                         []string // cluster groups that it is in
	OurGroups                      string   // those that the charm put it into, separated by commas
	// Voter reports whether the member has a vote on LXD's database. Without a quorum no member can do
	// anything.
	Voter bool
}

// Live reports whether the member answers, as an evacuated one does.
func (m Member) Live() bool { return m.Status != "Offline" }

// Profile is an LXD profile.
type Profile struct {
	Name, Description string
	Config            map[string]string
	Devices           map[string]map[string]string
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sort"
	"strings"
	"time"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"

	drainlxd "github.com/dcib/dcib/internal/drain/lxd"
	"github.com/dcib/dcib/internal/lxd"
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

// Local LXD ---------------------------------------------------------------------------

// LocalLXD implements LXD over this machine's unix socket. It connects when it is first used.
type LocalLXD struct {
	server *lxd.CachedServer
	limits lxd.Limits
}

// Within sets the context that bounds requests to LXD from now on, also those of other components; see
// charm.Within.
func (s *LocalLXD) Within(ctx context.Context) { s.limits.Set(ctx) }

// Server returns the connection, also for other components. It outlives ctx; Within bounds its requests.
func (s *LocalLXD) Server(ctx context.Context) (lxdclient.InstanceServer, error) {
	if s.server == nil {
		server, err := lxd.OpenWithin(context.WithoutCancel(ctx), &s.limits)
		if err != nil {
			return nil, err
		}
		s.server = &lxd.CachedServer{InstanceServer: server}
	}
	return s.server, nil
}

// Observe implements LXD.
func (s *LocalLXD) Observe(ctx context.Context) (ServerState, error) {
	server, err := s.Server(ctx)
	if errors.Is(err, lxd.ErrAbsent) {
		return ServerState{}, nil
	}
	if err != nil {
		return ServerState{}, err
	}
	s.server.Invalidate()
	info, _, err := server.GetServer()
	if err != nil {
		return ServerState{}, fmt.Errorf("cannot read the state of this machine's LXD: %w", err)
	}
	l := ServerState{
		Present:   true,
		Version:   info.Environment.ServerVersion,
		Listens:   text(info.Config["core.https_address"]),
		Clusters:  text(info.Config["cluster.https_address"]),
		Clustered: info.Environment.ServerClustered,
		Member:    info.Environment.ServerName,
		Identity:  identity(info),
		Profiles:  map[string]Profile{},
	}
	for _, driver := range info.Environment.StorageSupportedDrivers {
		l.Drivers = append(l.Drivers, driver.Name)
	}
	slices.Sort(l.Drivers)
	features := lxd.FeaturesOf(info)
	l.Groups, l.buckets = features.ClusterGroups, features.Buckets
	around, err := l.observeWithTimeout(server)
	if err != nil {
		if l.Clustered && databaseFails(err) {
			// It knows these facts without its database.
			return l, fmt.Errorf("LXD does not work: %w: %w", lxd.ErrDatabaseUnavailable, err)
		}
		return ServerState{}, fmt.Errorf("cannot list what this machine's LXD has: %w", err)
	}
	return around, nil
}

// DatabaseTime is how long LXD may take to answer from its database, many times what it needs. An LXD that
// lost the other member while it joined never answers.
const DatabaseTime = 45 * time.Second

// observeWithTimeout is observeCluster, within DatabaseTime.
func (l ServerState) observeWithTimeout(server lxdclient.InstanceServer) (ServerState, error) {
	type answer struct {
		local ServerState
		err   error
	}
	l.Profiles = map[string]Profile{}
	answers := make(chan answer, 1)
	go func() {
		err := l.observeCluster(server)
		answers <- answer{l, err}
	}()
	select {
	case a := <-answers:
		return a.local, a.err
	case <-time.After(DatabaseTime):
		return ServerState{}, fmt.Errorf("no answer within %s: %w", DatabaseTime, context.DeadlineExceeded)
	}
}

// databaseFails reports whether LXD answered that its database does not. LXD has no code for that, only
// these words (lxd/db/query, go-dqlite).
func databaseFails(err error) bool {
	return slices.ContainsFunc([]string{context.DeadlineExceeded.Error(), "dqlite", "FailedTokens to begin transaction"}, func(words string) bool {
		return strings.Contains(err.Error(), words)
	})
}

// observeCluster fills in the lists. What only matters before joining is read only then.
func (l *ServerState) observeCluster(server lxdclient.InstanceServer) error {
	profiles, err := server.GetProfiles()
	if err != nil {
		return err
	}
	for _, p := range profiles {
		l.Profiles[p.Name] = Profile{p.Name, p.Description, p.Config, p.Devices}
	}
	if l.Clustered {
		members, err := server.GetClusterMembers()
		if err != nil {
			return err
		}
		for _, m := range members {
			l.Members = append(l.Members, Member{
				Name: m.ServerName, Address: hostPort(m.URL), Status: m.Status, Message: m.Message, FailureDomain: m.FailureDomain,
				Groups: m.Groups, OurGroups: m.Config[groupsKey], Voter: slices.Contains(m.Roles, voterRole),
			})
		}
		sort.Slice(l.Members, func(i, j int) bool { return l.Members[i].Name < l.Members[j].Name })
	}
	if l.Pools, err = server.GetStoragePoolNames(); err != nil {
		return err
	}
	networks, err := server.GetNetworks()
	if err != nil {
		return err
	}
	l.Networks = map[string]bool{}
	for _, n := range networks {
		if n.Managed || n.Type == "bridge" {
			l.Networks[n.Name] = n.Managed
		}
		switch {
		case l.Clustered && isIsolated(n):
			l.IsolatedNetworks = append(l.IsolatedNetworks, n.Name)
		case n.Managed && slices.Contains(needsParent, n.Type):
			l.Uplinks = append(l.Uplinks, n.Name)
		case !n.Managed && n.Type != "loopback":
			l.Interfaces = append(l.Interfaces, n.Name)
		}
	}
	if l.Clustered {
		return l.observeBridgeLinks(server)
	}
	return l.observeLocalResources(server)
}

// text returns a value of the server's configuration, which newer clients type as string and older ones as
// any.
func text(v any) string {
	s, _ := v.(string)
	return s
}

// hostPort removes the scheme from a member's URL.
func hostPort(url string) string {
	const scheme = "https://"
	if len(url) > len(scheme) && url[:len(scheme)] == scheme {
		return url[len(scheme):]
	}
	return url
}

// Listen implements LXD.
func (s *LocalLXD) Listen(ctx context.Context, address string) error {
	return s.Configure(ctx, "listen on "+address, func(config map[string]any) {
		key := "core.https_address"
		if text(config[key]) != "" {
			key = "cluster.https_address"
		}
		config[key] = address
	})
}

// Configure changes LXD's own configuration, also for other components; what describes the change in an
// error.
func (s *LocalLXD) Configure(ctx context.Context, what string, change func(config map[string]any)) error {
	server, err := s.Server(ctx)
	if err != nil {
		return err
	}
	s.server.Invalidate() // the change needs the current values
	info, etag, err := server.GetServer()
	if err != nil {
		return err
	}
	put := info.Writable()
	change(put.Config)
	if err := server.UpdateServer(put, etag); err != nil {
		return fmt.Errorf("cannot make LXD %s: %w", what, err)
	}
	return nil
}

// CreatePool implements LXD.
func (s *LocalLXD) CreatePool(ctx context.Context, pool Pool) error {
	server, err := s.Server(ctx)
	if err != nil {
		return err
	}
	post := api.StoragePoolsPost{Name: pool.Name, Driver: pool.Driver}
	if pool.Source != "" {
		post.Config = map[string]string{"source": pool.Source}
	}
	return ignoreExists(server.CreateStoragePool(post))
}

// CreateBridge implements LXD.
func (s *LocalLXD) CreateBridge(ctx context.Context, name, address string) error {
	server, err := s.Server(ctx)
	if err != nil {
		return err
	}
	network := api.NetworksPost{Name: name, Type: "bridge"}
	network.Config = map[string]string{"ipv4.address": address, "ipv4.nat": "true", "ipv6.address": "none"}
	return ignoreExists(server.CreateNetwork(network))
}

// PutProfile implements LXD.
func (s *LocalLXD) PutProfile(ctx context.Context, p Profile) error {
	server, err := s.Server(ctx)
	if err != nil {
		return err
	}
	put := api.ProfilePut{Description: p.Description, Config: p.Config, Devices: p.Devices}
	names, err := server.GetProfileNames()
	if err != nil {
		return err
	}
	if slices.Contains(names, p.Name) {
		return lxd.Await(ctx, server)(server.UpdateProfile(p.Name, put, ""))
	}
	return server.CreateProfile(api.ProfilesPost{Name: p.Name, ProfilePut: put})
}

// Bootstrap implements LXD.
func (s *LocalLXD) Bootstrap(ctx context.Context, member string) error {
	server, err := s.Server(ctx)
	if err != nil {
		return err
	}
	return lxd.Bootstrap(ctx, server, member)
}

// Join implements LXD.
func (s *LocalLXD) Join(ctx context.Context, token, address string, pool Pool, parents map[string]string) error {
	server, err := s.Server(ctx)
	if err != nil {
		return err
	}
	return lxd.Join(ctx, server, token, address, append(pool.memberConfig(), parentConfig(parents)...))
}

// Token implements LXD.
func (s *LocalLXD) Token(ctx context.Context, member string) (string, time.Time, error) {
	server, err := s.Server(ctx)
	if err != nil {
		return "", time.Time{}, err
	}
	return lxd.Token(server, member)
}

// ClusterClient implements LXD. It does not use the cache of Observe.
func (s *LocalLXD) ClusterClient(ctx context.Context) (ClusterClient, error) {
	if _, err := s.Server(ctx); err != nil {
		return nil, err
	}
	// The client knows the server's extensions only after GetServer.
	info, _, err := s.server.GetServer()
	if err != nil {
		return nil, fmt.Errorf("cannot read the state of this machine's LXD: %w", err)
	}
	return clusterClient{drainlxd.Cluster{Server: s.server.InstanceServer}, lxd.FeaturesOf(info).Buckets}, nil
}

// clusterClient implements ClusterClient.
type clusterClient struct {
	drainlxd.Cluster
	buckets bool // see lxd.Features
}

// pollInterval is the time between two checks of a change that LXD makes in the background.
const pollInterval = 200 * time.Millisecond

// voterRole is LXD's name for a member with a vote.
const voterRole = "database"

// handOverTime is how long LXD may take to pass on its vote, which takes it about 5 s. This member may not
// see it happen.
const handOverTime = 15 * time.Second

// HandOver implements LXD with the request that LXD sends to itself when it shuts down; the public API has
// none for it. LXD 5.0.2 may answer "not leader", since it no longer is, or not at all, and its own
// connection to the database may stay blocked until it restarts. So the answer is ignored, LXD is
// restarted, and the result is whether another member votes.
func (s *LocalLXD) HandOver(ctx context.Context) error {
	server, err := s.Server(ctx)
	if err != nil {
		return err
	}
	s.server.Invalidate()
	info, _, err := server.GetServer()
	if err != nil {
		return fmt.Errorf("cannot read the state of this machine's LXD: %w", err)
	}
	self := info.Environment.ServerName
	there, _, err := server.GetClusterMember(self)
	if err != nil {
		return fmt.Errorf("cannot hand over LXD's database: %w", err)
	}
	go func() {
		_, _, _ = server.RawQuery("POST", "/internal/cluster/handover", map[string]string{"address": hostPort(there.URL)}, "")
	}()
	seen := make(chan struct{})
	giveUp, cancel := context.WithTimeout(ctx, handOverTime)
	defer cancel()
	go func() {
		for giveUp.Err() == nil && !otherVotes(server, self) {
			time.Sleep(pollInterval)
		}
		close(seen)
	}()
	select {
	case <-seen:
	case <-giveUp.Done():
	}
	// The connections above may hang as long as that LXD runs.
	s.server = nil
	if err := lxd.Restart(ctx); err != nil {
		return err
	}
	if server, err = s.Server(ctx); err != nil {
		return err
	}
	// The client knows the server's extensions only after GetServer.
	if _, _, err := server.GetServer(); err != nil {
		return fmt.Errorf("cannot read the state of this machine's LXD: %w", err)
	}
	if !otherVotes(server, self) {
		return errors.New("cannot hand over LXD's database: no other member has taken it: look at `lxc cluster list`")
	}
	return nil
}

// otherVotes reports whether another member has a vote.
func otherVotes(server lxdclient.InstanceServer, self string) bool {
	if cached, ok := server.(*lxd.CachedServer); ok {
		server = cached.InstanceServer // without the cache
	}
	members, err := server.GetClusterMembers()
	return err == nil && slices.ContainsFunc(members, func(m api.ClusterMember) bool {
		return m.ServerName != self && slices.Contains(m.Roles, voterRole)
	})
}

// Replicas implements LXD with LXD's local database.
func (s *LocalLXD) Replicas(ctx context.Context) ([]Replica, error) {
	rows, err := s.query(ctx, "local", "SELECT address, role FROM raft_nodes ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("cannot list the replicas of LXD's database: %w", err)
	}
	var replicas []Replica
	for _, row := range rows {
		if len(row) != 2 {
			return nil, fmt.Errorf("cannot list the replicas of LXD's database: row is %v, wanted an address and a role", row)
		}
		// The roles of go-dqlite's client.NodeRole: 0 votes, 1 stands by, 2 is spare.
		role := fmt.Sprint(row[1])
		replicas = append(replicas, Replica{Address: fmt.Sprint(row[0]), Votes: role == "0", Spare: role != "0" && role != "1"})
	}
	return replicas, nil
}

// LeftoverData implements LXD.
func (s *LocalLXD) LeftoverData() ([]string, error) { return lxd.LeftoverData() }

// Reset implements LXD.
func (s *LocalLXD) Reset(ctx context.Context, now time.Time) (string, error) {
	s.server = nil
	return lxd.Reset(ctx, now)
}

// answerTime is how long a member that counts as gone may take to accept a connection.
const answerTime = 3 * time.Second

// Answers implements LXD.
func (s *LocalLXD) Answers(ctx context.Context, address string) bool {
	conn, err := (&net.Dialer{Timeout: answerTime}).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// RecoverQuorum implements LXD.
func (s *LocalLXD) RecoverQuorum(ctx context.Context) error {
	s.server = nil
	return lxd.RecoverQuorum(ctx)
}

// Restart implements LXD.
func (s *LocalLXD) Restart(ctx context.Context) error {
	s.server = nil
	return lxd.Restart(ctx)
}

// DeleteMember implements LXD. An LXD that removes itself clears its database and restarts after it has
// answered, if it answers.
func (s *LocalLXD) DeleteMember(ctx context.Context, member string, force bool) error {
	server, err := s.Server(ctx)
	if err != nil {
		return err
	}
	s.server.Invalidate()
	info, _, err := server.GetServer()
	if err != nil {
		return fmt.Errorf("cannot read the state of this machine's LXD: %w", err)
	}
	self := info.Environment.ServerName == member
	deleted := server.DeleteClusterMember(member, force)
	if deleted != nil && (!self || api.StatusErrorCheck(deleted)) {
		return fmt.Errorf("cannot remove %s from the cluster: LXD refuses: %w", member, deleted)
	}
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		gone, err := s.gone(member, self)
		if gone {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("cannot see that %s has left the cluster: look at `lxc cluster list`, and at LXD's log on this machine: %w", member, errors.Join(err, deleted, ctx.Err()))
		}
	}
}

// gone reports whether a member has left: by the member list or, for this machine's own LXD, when it is
// back and in no cluster.
func (s *LocalLXD) gone(member string, self bool) (bool, error) {
	s.server.Invalidate()
	if self {
		info, _, err := s.server.GetServer()
		return err == nil && !info.Environment.ServerClustered, err
	}
	members, err := s.server.GetClusterMembers()
	return err == nil && !slices.ContainsFunc(members, func(m api.ClusterMember) bool { return m.ServerName == member }), err
}

// Unlisten implements LXD.
func (s *LocalLXD) Unlisten(ctx context.Context, address string) error {
	return s.Configure(ctx, "stop listening on "+address, func(config map[string]any) {
		for _, key := range []string{"cluster.https_address", "core.https_address"} {
			if text(config[key]) == address {
				delete(config, key)
			}
		}
	})
}

// ignoreExists ignores "already exists": a hook that was killed after the effect runs again.
func ignoreExists(err error) error {
	if err != nil && api.StatusErrorCheck(err, 409) {
		return nil
	}
	return err
}

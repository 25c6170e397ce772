package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"

	drainlxd "github.com/dcib/dcib/internal/drain/lxd"
	"github.com/dcib/dcib/internal/lxd"
)

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
		_, _, _ = server.RawQuery("POST", "/internal/cluster/handover", map[string]string{"address": strings.TrimPrefix(there.URL, urlScheme)}, "")
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

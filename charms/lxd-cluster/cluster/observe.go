package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	lxdclient "github.com/canonical/lxd/client"

	"github.com/dcib/dcib/internal/lxd"
)

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
	return slices.ContainsFunc([]string{context.DeadlineExceeded.Error(), "dqlite", "Failed to begin transaction"}, func(words string) bool {
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
				Name: m.ServerName, Address: strings.TrimPrefix(m.URL, urlScheme), Status: m.Status, Message: m.Message, FailureDomain: m.FailureDomain,
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

// urlScheme begins the URL of a member.
const urlScheme = "https://"

// Package drainlxd is the LXD backend of package drain: a cluster's members, its instances, and the
// journal, which is kept in the members' own config.
//
// It works with LXD 5.0 and later. Where the client library requires API extensions that 5.0 lacks
// although the call is older, the request is made directly.
package drainlxd

import (
	"context"
	"fmt"
	"net/http"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/drain"
)

// Cluster is an LXD cluster, reached through any of its members.
type Cluster struct {
	Server lxdclient.InstanceServer
	// MemberClient returns a client for that member's own LXD; nil has Server forward the requests.
	MemberClient func(member string) lxdclient.InstanceServer
}

var (
	_ drain.Cluster = Cluster{}
	_ drain.Journal = Cluster{}
)

// onMember returns the cluster with requests sent to that member itself, if there is a way to.
func (c Cluster) onMember(member string) Cluster {
	if c.MemberClient != nil {
		c.Server = c.MemberClient(member)
	}
	return c
}

// project returns a client for an instance's project.
func (c Cluster) project(i drain.Ref) lxdclient.InstanceServer {
	if i.Project == "" {
		return c.Server
	}
	return c.Server.UseProject(i.Project)
}

// WaitReachable implements drain.Mover. LXD forwards a request to a member, as it does an instance, once
// it receives events from there, for which it waits up to ten seconds: lxd 5.0.2,
// lxd/cluster/connect.go. The request that is made here reads nothing that is used. The connection for
// Start is made too: made when it is needed, an instance would be down for as long.
func (c Cluster) WaitReachable(_ context.Context, from, to string) error {
	c.onMember(to)
	if _, _, err := c.onMember(from).Server.RawQuery(http.MethodGet, api.NewURL().Path("1.0").Target(to).String(), nil, ""); err != nil {
		return fmt.Errorf("cannot reach LXD on %s from %s: %w", to, from, err)
	}
	return nil
}

// retryConflict repeats a change that lost a race against another, a few times.
func retryConflict(change func() error) error {
	var err error
	for range 5 {
		if err = change(); !api.StatusErrorCheck(err, http.StatusPreconditionFailed) {
			return err
		}
	}
	return err
}

package lxd

import (
	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
)

// CachedServer reads a few things of LXD only once: the components of a charm use the same facts, and each
// answer costs about half a millisecond to decode.
type CachedServer struct {
	lxdclient.InstanceServer

	server   *answer[*api.Server]
	members  *answer[[]api.ClusterMember]
	profiles *answer[[]api.Profile]
}

type answer[T any] struct {
	value T
	etag  string
	err   error
}

// Invalidate makes the next calls reach LXD again.
func (c *CachedServer) Invalidate() { c.server, c.members, c.profiles = nil, nil, nil }

// GetServer is InstanceServer's, cached.
func (c *CachedServer) GetServer() (*api.Server, string, error) {
	if c.server == nil {
		value, etag, err := c.InstanceServer.GetServer()
		c.server = &answer[*api.Server]{value, etag, err}
	}
	return c.server.value, c.server.etag, c.server.err
}

// GetClusterMembers is InstanceServer's, cached.
func (c *CachedServer) GetClusterMembers() ([]api.ClusterMember, error) {
	if c.members == nil {
		value, err := c.InstanceServer.GetClusterMembers()
		c.members = &answer[[]api.ClusterMember]{value: value, err: err}
	}
	return c.members.value, c.members.err
}

// GetProfiles is InstanceServer's, cached.
func (c *CachedServer) GetProfiles() ([]api.Profile, error) {
	if c.profiles == nil {
		value, err := c.InstanceServer.GetProfiles()
		c.profiles = &answer[[]api.Profile]{value: value, err: err}
	}
	return c.profiles.value, c.profiles.err
}

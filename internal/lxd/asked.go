package lxd

import (
	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
)

// Asked is an LXD that is asked each of a few things once: the rooms of a charm look at the
// same facts, and each answer costs about half a millisecond to decode. Forget begins a
// new look.
type Asked struct {
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

// Forget makes the next questions reach LXD again.
func (a *Asked) Forget() { a.server, a.members, a.profiles = nil, nil, nil }

// GetServer is InstanceServer's, asked once.
func (a *Asked) GetServer() (*api.Server, string, error) {
	if a.server == nil {
		value, etag, err := a.InstanceServer.GetServer()
		a.server = &answer[*api.Server]{value, etag, err}
	}
	return a.server.value, a.server.etag, a.server.err
}

// GetClusterMembers is InstanceServer's, asked once.
func (a *Asked) GetClusterMembers() ([]api.ClusterMember, error) {
	if a.members == nil {
		value, err := a.InstanceServer.GetClusterMembers()
		a.members = &answer[[]api.ClusterMember]{value: value, err: err}
	}
	return a.members.value, a.members.err
}

// GetProfiles is InstanceServer's, asked once.
func (a *Asked) GetProfiles() ([]api.Profile, error) {
	if a.profiles == nil {
		value, err := a.InstanceServer.GetProfiles()
		a.profiles = &answer[[]api.Profile]{value: value, err: err}
	}
	return a.profiles.value, a.profiles.err
}

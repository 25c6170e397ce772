package ceph

import (
	"context"
	"fmt"
	"net/http"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
)

// Server is LXD over its own client.
type Server struct{ lxdclient.InstanceServer }

// Pool implements LXD.
func (s Server) Pool(_ context.Context, name string) (*Pool, error) {
	there, _, err := s.GetStoragePool(name)
	if api.StatusErrorCheck(err, http.StatusNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot ask LXD about storage pool %s: %w", name, err)
	}
	return &Pool{Driver: there.Driver, Created: there.Status == api.StoragePoolStatusCreated, Defined: there.Locations}, nil
}

// Define implements LXD.
func (s Server) Define(_ context.Context, name, member string, config map[string]string) error {
	return s.UseTarget(member).CreateStoragePool(post(name, config))
}

// Create implements LXD.
func (s Server) Create(_ context.Context, name string, config map[string]string) error {
	return s.CreateStoragePool(post(name, config))
}

func post(name string, config map[string]string) api.StoragePoolsPost {
	p := api.StoragePoolsPost{Name: name, Driver: Driver}
	p.Config = config
	return p
}

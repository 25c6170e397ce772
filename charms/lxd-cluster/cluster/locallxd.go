package cluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/lxd"
)

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

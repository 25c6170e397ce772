package lxdlayer

import (
	"context"
	"testing"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/drain"
)

// server is a LXD that still moves an instance for a client that is gone.
type server struct {
	lxdclient.InstanceServer
	location string
	moving   int    // how often it is asked until it has moved the instance
	to       string // where to
	asked    []string
}

func (s *server) UseTarget(member string) lxdclient.InstanceServer {
	s.asked = append(s.asked, member)
	return s
}

func (s *server) GetOperations() ([]api.Operation, error) {
	ops := []api.Operation{
		{Description: "Migrating instance", StatusCode: api.Running, Resources: map[string][]string{"instances": {"/1.0/instances/c11"}}},
		{Description: "Starting instance", StatusCode: api.Running, Resources: map[string][]string{"instances": {"/1.0/instances/c1"}}},
	}
	if s.moving > 0 {
		if s.moving--; s.moving == 0 {
			s.location = s.to
		}
		ops = append(ops, api.Operation{Description: "Migrating instance", StatusCode: api.Running, Resources: map[string][]string{"instances": {"/1.0/instances/c1"}}})
	}
	return ops, nil
}

func (s *server) GetInstance(name string) (*api.Instance, string, error) {
	return &api.Instance{Name: name, Location: s.location}, "", nil
}

func (s *server) MigrateInstance(string, api.InstancePost) (lxdclient.Operation, error) {
	s.location = s.asked[len(s.asked)-1]
	return done{}, nil
}

type done struct{ lxdclient.Operation }

func (done) WaitContext(context.Context) error { return nil }

// A move that LXD goes on with is not begun again, and where it has put the instance is good.
func TestMoveUnderWay(t *testing.T) {
	for name, c := range map[string]struct {
		moving int
		to     string
		asked  []string
	}{
		"none":               {0, "", []string{"m2"}},
		"to the same member": {2, "m2", nil},
		"to another member":  {2, "m3", nil},
		"it fails":           {2, "m1", []string{"m2"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &server{location: "m1", moving: c.moving, to: c.to}
			require.NoError(t, Cluster{s}.Move(t.Context(), drain.Ref{Name: "c1"}, "m2", false))
			require.Equal(t, c.asked, s.asked)
			require.NotEqual(t, "m1", s.location)
		})
	}
}

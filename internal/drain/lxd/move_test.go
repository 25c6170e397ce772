package drainlxd

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/drain"
)

// server is an LXD that moves an instance.
type server struct {
	lxdclient.InstanceServer
	location string
	moving   int    // how often it is asked until it has moved the instance
	to       string // where to
	ends     api.Operation
	asked    []string
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
		ops = append(ops, api.Operation{Description: "Migrating instance", StatusCode: api.Running, Resources: map[string][]string{"instances": {"/1.0/instances/c1?project=default"}}})
	}
	return ops, nil
}

func (s *server) GetInstance(name string) (*api.Instance, string, error) {
	return &api.Instance{Name: name, Location: s.location}, "", nil
}

func (s *server) RawQuery(method, path string, data any, _ string) (*api.Response, string, error) {
	s.asked = append(s.asked, method+" "+path)
	if s.to == "" {
		return nil, "", errors.New("not found")
	}
	op := s.ends
	if s.moving > 0 {
		s.moving--
		op = api.Operation{StatusCode: api.Running}
	}
	op.ID = "op1"
	text, err := json.Marshal(op)
	return &api.Response{Metadata: text}, "", err
}

// A move that LXD continues for a client that is gone is waited for.
func TestWaitMoved(t *testing.T) {
	for name, c := range map[string]struct {
		moving int
		to     string
		lands  string
	}{
		"none":              {0, "", "m1"},
		"to another member": {2, "m3", "m3"},
		"it fails":          {2, "m1", "m1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &server{location: "m1", moving: c.moving, to: c.to}
			at, err := Cluster{Server: s}.WaitMoved(t.Context(), drain.Ref{Name: "c1"})
			require.NoError(t, err)
			require.Equal(t, c.lands, at)
			require.Zero(t, s.moving)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		_, err := Cluster{Server: &server{moving: 9}}.WaitMoved(ctx, drain.Ref{Name: "c1"})
		require.EqualError(t, err, "cannot move c1: LXD still moves it for another client: context deadline exceeded")
	})
}

// An operation is waited for until it ends, and its result is returned.
func TestOperation(t *testing.T) {
	for name, c := range map[string]struct {
		moving int
		ends   api.Operation
		err    string
	}{
		"at once":   {0, api.Operation{StatusCode: api.Success}, ""},
		"later":     {4, api.Operation{StatusCode: api.Success}, ""},
		"fails":     {2, api.Operation{StatusCode: api.Failure, Err: "no capacity"}, "cannot move p/c1 to m2: no capacity"},
		"cancelled": {2, api.Operation{StatusCode: api.Cancelled, Status: "Cancelled"}, "cannot move p/c1 to m2: LXD reports that it is Cancelled"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &server{moving: c.moving, to: "m2", ends: c.ends}
			err := Cluster{Server: s}.Move(t.Context(), drain.Ref{Project: "p", Name: "c1"}, "m2", false)
			if c.err == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, c.err)
			}
			require.Equal(t, http.MethodPost+" /1.0/instances/c1?project=p&target=m2", s.asked[0])
			for _, asked := range s.asked[1:] {
				assert.Equal(t, http.MethodGet+" /1.0/operations/op1/wait?timeout=2", asked)
			}
		})
	}
	err := Cluster{Server: &server{}}.Move(t.Context(), drain.Ref{Name: "c1"}, "m2", false)
	require.EqualError(t, err, "cannot move c1 to m2: not found")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = Cluster{Server: &server{moving: 1 << 20, to: "m2"}}.Move(ctx, drain.Ref{Name: "c1"}, "m2", false)
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, strings.HasPrefix(err.Error(), "cannot move c1 to m2: "))
}

// patched is an LXD with one instance. A PATCH without the description empties it, and keeps the rest (lxd
// 5.0.2 to 6.9, lxd/instance_patch.go).
type patched struct {
	lxdclient.InstanceServer
	instance api.Instance
}

func (p *patched) GetInstance(string) (*api.Instance, string, error) {
	i := p.instance
	return &i, "", nil
}

func (p *patched) RawQuery(_, _ string, data any, _ string) (*api.Response, string, error) {
	text, err := json.Marshal(data)
	if err != nil {
		return nil, "", err
	}
	var patch api.InstancePut
	if err := json.Unmarshal(text, &patch); err != nil {
		return nil, "", err
	}
	p.instance.Description = patch.Description
	for key, value := range patch.Config {
		p.instance.Config[key] = value
		if value == "" {
			delete(p.instance.Config, key)
		}
	}
	return &api.Response{}, "", nil
}

func TestSetOriginKeepsTheDescription(t *testing.T) {
	p := &patched{instance: api.Instance{Name: "web", Description: "shop front", Config: map[string]string{"user.x": "1"}}}
	require.NoError(t, Cluster{Server: p}.SetOrigin(t.Context(), drain.Ref{Name: "web"}, "pet"))
	require.Equal(t, map[string]string{"user.x": "1", "volatile.evacuate.origin": "pet"}, p.instance.Config)
	require.Equal(t, "shop front", p.instance.Description)
	require.NoError(t, Cluster{Server: p}.SetOrigin(t.Context(), drain.Ref{Name: "web"}, ""))
	require.Equal(t, map[string]string{"user.x": "1"}, p.instance.Config)
	require.Equal(t, "shop front", p.instance.Description)
}

package drainlxd

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"
)

// fragile is an LXD before 6.8: its evacuation crashes over a disk without a pool.
type fragile struct {
	lxdclient.InstanceServer
	extensions []string
	instances  []*api.Instance
	refuses    bool // changes of instances
	dies       bool // the client, after LXD was asked to evacuate

	asked   map[string]string // cluster.evacuate of each instance when LXD evacuated
	crashed bool
	gone    bool // the client
}

var errGone = errors.New("the client is gone")

func (f *fragile) GetServer() (*api.Server, string, error) {
	s := &api.Server{Environment: api.ServerEnvironment{ServerVersion: "5.0.2"}}
	s.APIExtensions = f.extensions
	return s, "", nil
}

func (f *fragile) UseProject(string) lxdclient.InstanceServer { return f }
func (f *fragile) GetOperations() ([]api.Operation, error)    { return nil, nil }
func (f *fragile) GetInstancesAllProjects(api.InstanceType) ([]api.Instance, error) {
	if f.gone {
		return nil, errGone
	}
	var all []api.Instance
	for _, i := range f.instances {
		c := *i
		c.ExpandedConfig = maps.Clone(i.Config)
		all = append(all, c)
	}
	return all, nil
}

func (f *fragile) GetInstance(name string) (*api.Instance, string, error) {
	for _, i := range f.instances {
		if i.Name == name {
			c := *i
			c.Config = maps.Clone(i.Config)
			return &c, "etag", nil
		}
	}
	return nil, "", api.StatusErrorf(http.StatusNotFound, "Instance not found")
}

func (f *fragile) UpdateInstance(name string, put api.InstancePut, etag string) (lxdclient.Operation, error) {
	if f.refuses || etag != "etag" {
		return nil, errors.New("database is locked")
	}
	for _, i := range f.instances {
		if i.Name == name {
			i.SetWritable(put)
		}
	}
	return over{}, nil
}

// over is an operation that has ended.
type over struct{ lxdclient.Operation }

func (over) Get() api.Operation { return api.Operation{ID: "done"} }

func (f *fragile) RawQuery(method, path string, data any, _ string) (*api.Response, string, error) {
	op := api.Operation{ID: "done", StatusCode: api.Success}
	switch {
	case method == http.MethodPost && strings.HasPrefix(path, "/1.0/cluster/members/pet/state"):
		f.asked, op.ID, f.gone = map[string]string{}, "evacuation", f.dies
		restores := data.(map[string]string)["action"] == "restore"
		for _, i := range f.instances {
			if !restores && i.Location != "pet" || restores && (i.Location == "pet" || i.Config["volatile.evacuate.origin"] != "pet") {
				continue
			}
			f.asked[i.Name] = i.Config["cluster.evacuate"]
			for _, d := range i.Devices {
				f.crashed = f.crashed || f.extensions == nil && isAuto(f.asked[i.Name]) && d["type"] == "disk" && d["pool"] == "" && d["path"] != "/"
			}
		}
	case f.crashed && strings.Contains(path, "evacuation"):
		return nil, "", api.StatusErrorf(http.StatusNotFound, "Operation not found")
	case f.gone:
		return nil, "", errGone
	}
	text, err := json.Marshal(op)
	return &api.Response{Metadata: text}, "", err
}

// add adds an instance with a root disk and that device.
func (f *fragile) add(name, member, evacuate string, device map[string]string) {
	i := &api.Instance{Name: name, Project: "default", Location: member, Config: map[string]string{"user.x": "1"}, Description: "shop front"}
	if evacuate != "" {
		i.Config["cluster.evacuate"] = evacuate
	}
	i.Devices = map[string]map[string]string{"root": {"type": "disk", "path": "/", "pool": "local"}, "extra": device}
	i.ExpandedDevices = i.Devices
	f.instances = append(f.instances, i)
}

var folder = map[string]string{"type": "disk", "source": "/srv/x", "path": "/x"}

// An LXD that would crash over a disk without a pool is made to stop the instance instead, for the time of
// the evacuation.
func TestEvacuationDoesNotCrashLXD(t *testing.T) {
	newFragile := func() *fragile {
		f := &fragile{}
		f.add("unset", "pet", "", folder)
		f.add("auto", "pet", "auto", folder)
		f.add("moves", "pet", "migrate", folder)
		f.add("stays", "pet", "stop", folder)
		f.add("volume", "pet", "", map[string]string{"type": "disk", "pool": "local", "source": "v", "path": "/x"})
		f.add("elsewhere", "b", "", folder)
		return f
	}
	before, _ := newFragile().GetInstancesAllProjects(api.InstanceTypeAny)
	nothing := func(string) {}

	f := newFragile()
	require.NoError(t, Cluster{Server: f}.Evacuate(t.Context(), "pet", nothing))
	require.False(t, f.crashed)
	require.Equal(t, map[string]string{"unset": "stop", "auto": "stop", "moves": "migrate", "stays": "stop", "volume": ""}, f.asked)
	after, _ := f.GetInstancesAllProjects(api.InstanceTypeAny)
	require.Equal(t, before, after)

	// A restore does not crash it either: it checks the instances elsewhere.
	f.instances[5].Config["volatile.evacuate.origin"] = "pet"
	require.NoError(t, Cluster{Server: f}.Restore(t.Context(), "pet", nothing))
	require.False(t, f.crashed)
	require.Equal(t, map[string]string{"elsewhere": "stop"}, f.asked)
	require.NotContains(t, f.instances[5].Config, "cluster.evacuate")

	// A newer LXD needs no change.
	f = newFragile()
	f.extensions = []string{"bulk_operations"}
	require.NoError(t, Cluster{Server: f}.Evacuate(t.Context(), "pet", nothing))
	require.Equal(t, "", f.asked["unset"])

	// Where the option cannot be changed, LXD is not asked to evacuate.
	f = newFragile()
	f.refuses = true
	require.EqualError(t, Cluster{Server: f}.Evacuate(t.Context(), "pet", nothing),
		"cannot evacuate pet: LXD 5.0.2 crashes over a disk without a pool, which unset has: set cluster.evacuate of unset to stop: database is locked")
	require.Nil(t, f.asked)

	// A run that takes over from a killed one restores the option; what an operator set meanwhile stays.
	f = newFragile()
	f.dies = true
	synctest.Test(t, func(t *testing.T) {
		require.Error(t, Cluster{Server: f}.Evacuate(t.Context(), "pet", nothing))
	})
	require.Equal(t, "stop", f.instances[0].Config["cluster.evacuate"])
	f.gone, f.dies = false, false
	all, _ := f.GetInstancesAllProjects(api.InstanceTypeAny)
	require.Equal(t, "auto", instanceOf(all[1], nil).Evacuate, "that is what its owner has said")
	require.NoError(t, Cluster{Server: f}.WaitIdle(t.Context(), "b"))
	require.Equal(t, "stop", f.instances[0].Config["cluster.evacuate"], "another member's")
	f.instances[1].Config["cluster.evacuate"] = "migrate"
	require.NoError(t, Cluster{Server: f}.WaitIdle(t.Context(), "pet"))
	require.Equal(t, "migrate", f.instances[1].Config["cluster.evacuate"])
	f.instances[1].Config["cluster.evacuate"] = "auto"
	after, _ = f.GetInstancesAllProjects(api.InstanceTypeAny)
	require.Equal(t, before, after)
}

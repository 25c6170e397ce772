package drainlxd

import (
	"net/http"
	"testing"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/drain"
)

// id is an instance's volatile.uuid.
const id = "1f0a8f8e-6a5b-4f9e-9d5f-0a1b2c3d4e5f"

func TestCopyBlocker(t *testing.T) {
	root := map[string]string{"type": "disk", "path": "/", "pool": "local"}
	one := func(change func(*api.Instance)) string {
		i := api.Instance{Type: "container", Config: map[string]string{uuidKey: id}, ExpandedDevices: map[string]map[string]string{
			"root": root, "eth0": {"type": "nic"}, "share": {"type": "disk", "pool": "fs", "path": "/srv"}, "host": {"type": "disk", "source": "/srv", "path": "/x"},
		}}
		change(&i)
		return copyBlocker(i, map[string]bool{"ceph": true, "fs": true})
	}
	require.Empty(t, one(func(*api.Instance) {}))
	for want, change := range map[string]func(*api.Instance){
		"it is a virtual machine": func(i *api.Instance) { i.Type = "virtual-machine" },
		"it is ephemeral":         func(i *api.Instance) { i.Ephemeral = true },
		"it has no volatile.uuid": func(i *api.Instance) { i.Config = nil },
		"its root disk is on pool ceph, which all members share": func(i *api.Instance) {
			i.ExpandedDevices["root"] = map[string]string{"type": "disk", "path": "/", "pool": "ceph"}
		},
		"it has local volumes: data, more": func(i *api.Instance) {
			i.ExpandedDevices["more"] = map[string]string{"type": "disk", "pool": "local", "path": "/m"}
			i.ExpandedDevices["data"] = map[string]string{"type": "disk", "pool": "local", "path": "/d"}
		},
	} {
		require.Equal(t, want, one(change))
	}
}

// listed is an LXD with those instances.
type listed struct {
	lxdclient.InstanceServer
	all []api.Instance
}

func (l listed) GetInstancesAllProjects(api.InstanceType) ([]api.Instance, error) { return l.all, nil }

// What an instance is by the name that a drain gave it.
func TestTemporaryInstances(t *testing.T) {
	config := map[string]string{uuidKey: id}
	copied := api.Instance{Name: "dcib-copy-" + id, Config: map[string]string{uuidKey: "2", copyOfKey: id, copyForKey: "pet"}}
	original := api.Instance{Name: "dcib-old-" + id, Config: config}
	for name, test := range map[string]struct {
		all  []api.Instance
		want []drain.Instance // of each the fields that matter
	}{
		"a copy":                   {[]api.Instance{copied}, []drain.Instance{{ID: "2", CopyOf: id, CopyFor: "pet"}}},
		"a name like a copy's":     {[]api.Instance{{Name: "dcib-copy-" + id, Config: config}}, []drain.Instance{{ID: id}}},
		"renamed, not yet swapped": {[]api.Instance{original}, []drain.Instance{{ID: id, HalfMoved: true}}},
		"adopted, not yet renamed": {
			[]api.Instance{original, {Name: "dcib-copy-" + id, Config: map[string]string{uuidKey: id, copyOfKey: id, copyForKey: "pet"}}},
			[]drain.Instance{{ID: id, HalfMoved: true}, {ID: id, CopyOf: id, CopyFor: "pet"}},
		},
		"swapped": {
			[]api.Instance{original, {Name: "web", Config: config}},
			[]drain.Instance{{ID: id, Replaced: true}, {ID: id}},
		},
		"of another instance": {[]api.Instance{{Name: "dcib-old-" + id, Config: map[string]string{uuidKey: "3"}}}, []drain.Instance{{ID: "3"}}},
		"on a member that does not answer": {
			[]api.Instance{{Name: "dcib-old-" + id, StatusCode: api.Error}, {Name: "dcib-copy-" + id, StatusCode: api.Error}, {Name: "web", Config: config}},
			[]drain.Instance{{ID: id, Replaced: true, Unobserved: true}, {CopyOf: id, Unobserved: true}, {ID: id}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := Cluster{Server: listed{all: test.all}}.Instances(t.Context())
			require.NoError(t, err)
			for n := range all {
				all[n] = drain.Instance{ID: all[n].ID, CopyOf: all[n].CopyOf, CopyFor: all[n].CopyFor, HalfMoved: all[n].HalfMoved, Replaced: all[n].Replaced, Unobserved: all[n].Unobserved}
			}
			require.Equal(t, test.want, all)
		})
	}
}

// Nothing is deleted that does not have a name of a drain's.
func TestDeleteTemporaryRefusesOthers(t *testing.T) {
	for _, name := range []string{"web", "dcib-copy-web", "dcib-old-", "dcib-copy-" + id + "x"} {
		require.ErrorContains(t, Cluster{}.DeleteTemporary(t.Context(), drain.Ref{Name: name}), "cannot delete "+name)
	}
}

// adopting is an LXD with an instance and its copy.
type adopting struct {
	lxdclient.InstanceServer
	from, to api.InstanceFull
	put      []api.InstancePut
}

func (a *adopting) GetInstanceFull(name string) (*api.InstanceFull, string, error) {
	if name == "dcib-old-"+id {
		return &a.from, "", nil
	}
	return &a.to, "", nil
}

func (a *adopting) RawQuery(method, _ string, data any, _ string) (*api.Response, string, error) {
	if method == http.MethodPut {
		a.put = append(a.put, data.(api.InstancePut))
	}
	return &api.Response{Metadata: []byte(`{"id": "op1", "status_code": 200}`)}, "", nil
}

func TestAdopt(t *testing.T) {
	from := drain.Ref{Name: "dcib-old-" + id}
	a := &adopting{}
	a.from.Description, a.from.Profiles, a.from.StatusCode = "shop", []string{"web"}, api.Stopped
	a.from.Config = map[string]string{"user.x": "1", uuidKey: id}
	a.to.Config = map[string]string{copyOfKey: id, copyForKey: "pet"}
	require.NoError(t, Cluster{Server: a}.Adopt(t.Context(), from, drain.Ref{Name: "dcib-copy-" + id}, drain.CopyState{}, false))
	require.Equal(t, map[string]string{"user.x": "1", uuidKey: id, copyOfKey: id, copyForKey: "pet"}, a.put[0].Config)
	require.NoError(t, Cluster{Server: a}.Adopt(t.Context(), from, drain.Ref{Name: "web"}, drain.CopyState{}, true))
	require.Equal(t, a.from.Writable(), a.put[1])

	a.from.Snapshots = []api.InstanceSnapshot{{Name: "s1"}}
	require.ErrorIs(t, Cluster{Server: a}.Adopt(t.Context(), from, drain.Ref{Name: "web"}, drain.CopyState{}, true), drain.ErrChanged)
	a.from.Snapshots, a.from.StatusCode = nil, api.Running
	require.ErrorIs(t, Cluster{Server: a}.Adopt(t.Context(), from, drain.Ref{Name: "web"}, drain.CopyState{}, true), drain.ErrChanged)
	require.Len(t, a.put, 2)
}

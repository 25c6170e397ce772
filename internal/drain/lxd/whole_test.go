package drainlxd_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dcib/dcib/internal/drain"
	drainlxd "github.com/dcib/dcib/internal/drain/lxd"
	draintest "github.com/dcib/dcib/internal/testkit/drain"
)

// whole is an LXD cluster at the level of its API, with all fields of its instances. It changes them as
// LXD 5.0.2 does, and keeps the fields that LXD keeps.
type whole struct {
	lxdclient.InstanceServer
	members   []*api.ClusterMember
	instances []*api.InstanceFull
	version   string
	ids       int
}

func (w *whole) UseProject(string) lxdclient.InstanceServer { return w }
func (w *whole) UseTarget(string) lxdclient.InstanceServer  { return w }

func (w *whole) GetServer() (*api.Server, string, error) {
	return &api.Server{Environment: api.ServerEnvironment{ServerVersion: w.version}}, "", nil
}

func (w *whole) GetServerResources() (*api.Resources, error) { return &api.Resources{}, nil }
func (w *whole) GetOperations() ([]api.Operation, error)     { return nil, nil }
func (w *whole) GetStoragePools() ([]api.StoragePool, error) {
	return []api.StoragePool{{Name: "local", Driver: "dir"}}, nil
}

func (w *whole) GetStoragePoolResources(string) (*api.ResourcesStoragePool, error) {
	return nil, api.StatusErrorf(http.StatusNotFound, "Not known")
}

func (w *whole) GetProject(name string) (*api.Project, string, error) {
	return &api.Project{Name: name}, "", nil
}

func (w *whole) GetNetwork(string) (*api.Network, string, error) {
	return nil, "", api.StatusErrorf(http.StatusNotFound, "Network not found")
}

func (w *whole) GetClusterMembers() ([]api.ClusterMember, error) {
	var all []api.ClusterMember
	for _, m := range w.members {
		c := *m
		c.Config = maps.Clone(m.Config)
		all = append(all, c)
	}
	return all, nil
}

func (w *whole) member(name string) *api.ClusterMember {
	return w.members[slices.IndexFunc(w.members, func(m *api.ClusterMember) bool { return m.ServerName == name })]
}

func (w *whole) GetClusterMember(name string) (*api.ClusterMember, string, error) {
	c := *w.member(name)
	c.Config = maps.Clone(c.Config)
	return &c, "etag", nil
}

func (w *whole) UpdateClusterMember(name string, put api.ClusterMemberPut, _ string) error {
	m := w.member(name)
	m.Description, m.Config, m.Roles, m.FailureDomain, m.Groups = put.Description, put.Config, put.Roles, put.FailureDomain, put.Groups
	return nil
}

// shown is an instance as LXD's API returns it.
func shown(i *api.InstanceFull) api.Instance {
	c := i.Instance
	c.Config, c.ExpandedConfig, c.ExpandedDevices = maps.Clone(i.Config), maps.Clone(i.Config), i.Devices
	return c
}

func (w *whole) GetInstancesAllProjects(api.InstanceType) ([]api.Instance, error) {
	var all []api.Instance
	for _, i := range w.instances {
		all = append(all, shown(i))
	}
	return all, nil
}

func (w *whole) find(name string) (*api.InstanceFull, error) {
	for _, i := range w.instances {
		if i.Name == name {
			return i, nil
		}
	}
	return nil, api.StatusErrorf(http.StatusNotFound, "Instance not found")
}

func (w *whole) GetInstance(name string) (*api.Instance, string, error) {
	i, err := w.find(name)
	if err != nil {
		return nil, "", err
	}
	c := shown(i)
	return &c, "etag", nil
}

// ended is an operation that has ended.
type ended struct{ lxdclient.Operation }

func (ended) Get() api.Operation { return api.Operation{ID: "op"} }

func (w *whole) GetInstanceFile(string, string) (io.ReadCloser, *lxdclient.InstanceFileResponse, error) {
	return nil, nil, api.StatusErrorf(http.StatusNotFound, "Not Found") // none has cloud-init
}

func (w *whole) UpdateInstance(name string, put api.InstancePut, _ string) (lxdclient.Operation, error) {
	i, err := w.find(name)
	if err != nil {
		return nil, err
	}
	i.SetWritable(put)
	return ended{}, nil
}

func (w *whole) RawQuery(method, path string, data any, _ string) (*api.Response, string, error) {
	u, err := url.Parse(path)
	if err != nil {
		return nil, "", err
	}
	text, err := json.Marshal(data)
	if err != nil {
		return nil, "", err
	}
	if name, is := strings.CutSuffix(strings.TrimPrefix(u.Path, "/1.0/instances/"), "/backups"); is {
		urls := []string{}
		if i, err := w.find(name); err == nil {
			for _, b := range i.Backups {
				urls = append(urls, "/1.0/instances/"+name+"/backups/"+b.Name)
			}
		}
		text, err := json.Marshal(urls)
		return &api.Response{Metadata: text}, "", err
	}
	op := api.Operation{ID: "op", StatusCode: api.Success}
	parts := strings.Split(strings.TrimPrefix(u.Path, "/1.0/"), "/")
	switch {
	case method == http.MethodPost && parts[0] == "cluster":
		err = w.state(parts[2], text)
	case parts[0] == "instances":
		err = w.instance(method, parts[1], u.Query().Get("target"), text)
	}
	if err != nil {
		op.StatusCode, op.Err = api.Failure, err.Error()
	}
	text, err = json.Marshal(op)
	return &api.Response{Metadata: text}, "", err
}

// instance changes an instance: LXD's lxd/instance_patch.go, instance_state.go and instance_post.go.
func (w *whole) instance(method, name, target string, text []byte) error {
	i, err := w.find(name)
	if err != nil {
		return err
	}
	switch method {
	case http.MethodPatch:
		var patch api.InstancePut
		if err := json.Unmarshal(text, &patch); err != nil {
			return err
		}
		i.Description = patch.Description // all else that is left out is kept
		for key, value := range patch.Config {
			i.Config[key] = value
			if value == "" {
				delete(i.Config, key)
			}
		}
	case http.MethodPut:
		var put api.InstanceStatePut
		if err := json.Unmarshal(text, &put); err != nil {
			return err
		}
		w.power(i, put.Action != "stop")
		if put.Action == "freeze" {
			i.StatusCode, i.Status = api.Frozen, "Frozen"
		}
	case http.MethodPost:
		ran := i.StatusCode != api.Stopped
		if len(i.Backups) > 0 {
			return fmt.Errorf("Instance has backups")
		}
		if ran {
			w.power(i, true)
		}
		w.renamed(i)
		if ran && w.version != "5.0.2" {
			return fmt.Errorf("instance is running")
		}
		i.Location, i.LastUsedAt = target, i.LastUsedAt.Add(time.Second)
	}
	return nil
}

// renamed is what LXD does to an instance at the end of a move.
func (w *whole) renamed(i *api.InstanceFull) {
	w.ids++
	i.Config["volatile.cloud-init.instance-id"] = fmt.Sprint("another ", w.ids)
}

func (w *whole) power(i *api.InstanceFull, on bool) {
	i.StatusCode, i.Status, i.Config["volatile.last_state.power"] = api.Stopped, "Stopped", "STOPPED"
	if on {
		i.StatusCode, i.Status, i.Config["volatile.last_state.power"] = api.Running, "Running", "RUNNING"
	}
}

// state evacuates and restores: lxd 5.0.2, lxd/api_cluster.go.
func (w *whole) state(member string, text []byte) error {
	var post api.ClusterMemberStatePost
	if err := json.Unmarshal(text, &post); err != nil {
		return err
	}
	m := w.member(member)
	if post.Action == "restore" {
		m.Status = "Online"
		for _, i := range w.instances {
			switch ran := i.Config["volatile.last_state.power"] == "RUNNING"; {
			case i.Location == member && ran:
				w.power(i, true)
			case i.Config["volatile.evacuate.origin"] == member:
				i.Location = member
				delete(i.Config, "volatile.evacuate.origin")
			}
		}
		return nil
	}
	m.Status = "Evacuated"
	for _, i := range w.instances {
		if i.Location != member {
			continue
		}
		evacuate := i.Config["cluster.evacuate"]
		stays := evacuate == "stop"
		for _, d := range i.Devices {
			if evacuate != "" && evacuate != "auto" || d["type"] != "disk" || d["path"] == "/" {
				continue
			}
			if d["pool"] == "" {
				return fmt.Errorf("panic: invalid memory address or nil pointer dereference")
			}
			stays = true
		}
		if stays {
			power := i.Config["volatile.last_state.power"]
			w.power(i, false)
			i.Config["volatile.last_state.power"] = power
			continue
		}
		if i.StatusCode != api.Stopped {
			w.power(i, true)
		}
		w.renamed(i)
		i.Config["volatile.evacuate.origin"], i.Location, i.Backups = member, "b", nil
	}
	return nil
}

// TestInstancesAreUnchangedAfterAnUndrain drains a member with random instances and undrains it. Each
// instance is the same as before.
func TestInstancesAreUnchangedAfterAnUndrain(t *testing.T) {
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		w := &whole{version: rapid.SampledFrom([]string{"5.0.2", "5.0.3", "6.6"}).Draw(t, "version")}
		for _, name := range []string{"pet", "b", "c"} {
			m := &api.ClusterMember{ServerName: name, Status: "Online", Architecture: "x86_64", Description: "rack 1", Config: map[string]string{"user.rack": "1"}, Groups: []string{"default"}}
			w.members = append(w.members, m)
		}
		text := rapid.SampledFrom([]string{"", "shop front", "a \"quoted\" one", "two\nlines"})
		for n := range rapid.IntRange(1, 5).Draw(t, "instances") {
			i := &api.InstanceFull{Instance: api.Instance{
				Name: fmt.Sprintf("c%d", n), Project: rapid.SampledFrom([]string{"default", "lab"}).Draw(t, "project"), Type: "container",
				Location: rapid.SampledFrom([]string{"pet", "pet", "b"}).Draw(t, "member"), Architecture: "x86_64",
				Description: text.Draw(t, "description"), Profiles: rapid.SampledFrom([][]string{{}, {"default"}, {"default", "web"}}).Draw(t, "profiles"),
				Config:  map[string]string{"volatile.uuid": fmt.Sprint("u", n), "volatile.eth0.hwaddr": fmt.Sprintf("00:16:3e:00:00:0%d", n), "user.text": text.Draw(t, "option")},
				Devices: map[string]map[string]string{"root": {"type": "disk", "path": "/", "pool": "local", "size": "1GiB"}},
			}}
			if rapid.Bool().Draw(t, "folder") {
				i.Devices["data"] = map[string]string{"type": "disk", "source": "/srv/x", "path": "/x"}
			}
			if evacuate := rapid.SampledFrom([]string{"", "", "auto", "migrate", "stop"}).Draw(t, "evacuate"); evacuate != "" {
				i.Config["cluster.evacuate"] = evacuate
			}
			i.Config["volatile.cloud-init.instance-id"] = fmt.Sprint("first ", n)
			w.power(i, rapid.Bool().Draw(t, "runs"))
			if i.StatusCode == api.Running && rapid.Bool().Draw(t, "frozen") {
				i.StatusCode, i.Status = api.Frozen, "Frozen"
			}
			i.Snapshots = []api.InstanceSnapshot{{Name: "s0", CreatedAt: noon, Config: map[string]string{"user.text": text.Draw(t, "snapshot")}}}
			if rapid.Bool().Draw(t, "backup") {
				i.Backups = []api.InstanceBackup{{Name: "b0", CreatedAt: noon}}
			}
			w.instances = append(w.instances, i)
		}
		before := map[string]api.InstanceFull{}
		for _, i := range w.instances {
			c := *i
			c.Config, c.Devices = maps.Clone(i.Config), maps.Clone(i.Devices)
			before[i.Name] = c
		}
		members, _ := w.GetClusterMembers()

		cluster := drainlxd.Cluster{Server: w}
		d := drain.Drainer{Cluster: cluster, Journal: cluster, By: "pet-scheduler/0"}
		if rapid.Bool().Draw(t, "limiter") {
			d.Limiter = drain.NewMoveLimiter(1, 0)
		}
		report, err := d.Drain(t.Context(), "pet", true)
		require.NoError(t, err)
		for _, item := range report.Plan.Items {
			i, err := w.find(item.Name)
			require.NoError(t, err)
			was := before[item.Name]
			lost := len(was.Backups) > 0 && was.Config["cluster.evacuate"] == "migrate"
			require.Equal(t, lost, strings.Contains(item.Reason, "LXD deletes its 1 backup on the way"), "%s: %s", item.Name, item.Reason)
			if lost {
				require.Empty(t, i.Backups)
				was.Backups = nil // the plan has said so
				before[item.Name] = was
			}
		}
		for _, i := range w.instances {
			require.False(t, i.Location == "pet" && i.StatusCode != api.Stopped, "%s runs on", i.Name)
		}
		_, err = d.Undrain(t.Context(), "pet")
		require.NoError(t, err)
		for _, i := range w.instances {
			require.Empty(t, draintest.Differences(before[i.Name], *i), i.Name)
		}
		after, _ := w.GetClusterMembers()
		require.Equal(t, members, after)
	})
}

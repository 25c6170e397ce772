package broker_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sort"
	"time"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/charm/crashtest"
	"github.com/dcib/dcib/internal/lxd/profiles"
	"github.com/dcib/dcib/internal/profile"
)

// fakeLXD is one project of a cluster in memory, with etags and used_by.
type fakeLXD struct {
	instances map[string]*api.Instance
	profiles  map[string]*api.Profile
	version   map[string]int // of instances and profiles, for etags

	now        time.Time // when it is
	extensions map[string]bool

	gate   *crashtest.Gate         // where a hook may be killed
	writes []string                // what was written, in order
	before func(what string)       // runs before a write, as somebody else would
	refuse func(what string) error // may refuse a write
	halfOf func(what string) error // lets a write through, and then fails
}

var _ profiles.Server = (*fakeLXD)(nil)

func newLXD() *fakeLXD {
	l := &fakeLXD{instances: map[string]*api.Instance{}, profiles: map[string]*api.Profile{}, version: map[string]int{}, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	for _, name := range []string{"default", "juju-shop-abc"} {
		l.profiles[name] = &api.Profile{Name: name, Config: map[string]string{"user.theirs": name}}
	}
	return l
}

// add makes an instance as Juju makes one.
func (l *fakeLXD) add(name, model, units string) *api.Instance {
	config := map[string]string{"user.juju-model-uuid": model, "volatile.uuid": name, "user.user-data": "#cloud-config"}
	if units != "" {
		config["user.juju-units-deployed"] = units
	}
	l.instances[name] = &api.Instance{
		Name: name, Config: config, Profiles: []string{"default", "juju-shop-abc"},
		Status: "Running", StatusCode: api.Running, Location: "node1",
		Devices:    map[string]map[string]string{"root": {"type": "disk", "path": "/"}},
		Type:       "container",
		LastUsedAt: l.now,
	}
	return l.instances[name]
}

// clock tells the time, a second later each time it is asked.
func (l *fakeLXD) clock() time.Time {
	l.now = l.now.Add(time.Second)
	return l.now
}

func (l *fakeLXD) etag(what string) string { return fmt.Sprint(what, " ", l.version[what]) }

// write is the one way in: it counts, checks the etag and may be refused.
func (l *fakeLXD) write(what, target, etag string, do func()) error {
	if l.before != nil {
		l.before(what)
	}
	if etag != "" && etag != l.etag(target) {
		return api.StatusErrorf(http.StatusPreconditionFailed, "ETag doesn't match")
	}
	if l.refuse != nil {
		if err := l.refuse(what); err != nil {
			return err
		}
	}
	defer l.gate.Effect(what)()
	l.writes = append(l.writes, what)
	l.version[target]++
	do()
	if l.halfOf != nil {
		return l.halfOf(what)
	}
	return nil
}

func (l *fakeLXD) GetInstances(api.InstanceType) ([]api.Instance, error) {
	var all []api.Instance
	for _, name := range slices.Sorted(maps.Keys(l.instances)) {
		i := l.instances[name]
		if i.StatusCode == api.Error {
			all = append(all, api.Instance{Name: name, Status: "Error", StatusCode: api.Error, Location: i.Location})
			continue
		}
		all = append(all, l.copyInstance(i))
	}
	return all, nil
}

// copyInstance gives an instance as LXD shows it: with what its profiles and its own
// options make together.
func (l *fakeLXD) copyInstance(i *api.Instance) api.Instance {
	c := *i
	c.Config, c.Profiles = maps.Clone(i.Config), slices.Clone(i.Profiles)
	var layers []profile.Profile
	for _, name := range i.Profiles {
		if p := l.profiles[name]; p != nil {
			layers = append(layers, profile.Profile{Config: p.Config, Devices: p.Devices})
		}
	}
	merged := profile.Merge(append(layers, profile.Profile{Config: i.Config, Devices: i.Devices})...)
	c.ExpandedConfig, c.ExpandedDevices = merged.Config, merged.Devices
	return c
}

func (l *fakeLXD) HasExtension(name string) bool { return l.extensions[name] }

func (l *fakeLXD) UpdateInstanceState(name string, put api.InstanceStatePut, _ string) (lxdclient.Operation, error) {
	if put.Action != "restart" || put.Force || put.Timeout <= 0 {
		return nil, api.StatusErrorf(http.StatusBadRequest, "Not a restart that lets it stop")
	}
	if err := l.write("restart instance "+name, "instance "+name, "", func() { l.instances[name].LastUsedAt = l.now }); err != nil {
		return nil, err
	}
	return done{}, nil
}

func (l *fakeLXD) GetInstance(name string) (*api.Instance, string, error) {
	i, ok := l.instances[name]
	if !ok {
		return nil, "", api.StatusErrorf(http.StatusNotFound, "Instance not found")
	}
	c := l.copyInstance(i)
	return &c, l.etag("instance " + name), nil
}

func (l *fakeLXD) UpdateInstance(name string, put api.InstancePut, etag string) (lxdclient.Operation, error) {
	i, ok := l.instances[name]
	if !ok {
		return nil, api.StatusErrorf(http.StatusNotFound, "Instance not found")
	}
	for _, p := range put.Profiles {
		if l.profiles[p] == nil {
			return nil, api.StatusErrorf(http.StatusNotFound, "Requested profile %q doesn't exist", p)
		}
	}
	if err := l.write("update instance "+name, "instance "+name, etag, func() { i.SetWritable(put) }); err != nil {
		return nil, err
	}
	return done{}, nil
}

func (l *fakeLXD) usedBy(name string) []string {
	var urls []string
	for _, i := range l.instances {
		if slices.Contains(i.Profiles, name) {
			urls = append(urls, "/1.0/instances/"+i.Name)
		}
	}
	sort.Strings(urls)
	return urls
}

func (l *fakeLXD) copyProfile(name string) api.Profile {
	c := *l.profiles[name]
	c.Config, c.Devices, c.UsedBy = maps.Clone(c.Config), maps.Clone(c.Devices), l.usedBy(name)
	return c
}

func (l *fakeLXD) GetProfiles() ([]api.Profile, error) {
	var all []api.Profile
	for _, name := range slices.Sorted(maps.Keys(l.profiles)) {
		all = append(all, l.copyProfile(name))
	}
	return all, nil
}

func (l *fakeLXD) GetProfile(name string) (*api.Profile, string, error) {
	if l.profiles[name] == nil {
		return nil, "", api.StatusErrorf(http.StatusNotFound, "Profile not found")
	}
	c := l.copyProfile(name)
	return &c, l.etag("profile " + name), nil
}

func (l *fakeLXD) CreateProfile(post api.ProfilesPost) error {
	if l.profiles[post.Name] != nil {
		return api.StatusErrorf(http.StatusConflict, "The profile already exists")
	}
	return l.write("create profile "+post.Name, "profile "+post.Name, "", func() {
		l.profiles[post.Name] = &api.Profile{Name: post.Name, Config: post.Config, Devices: post.Devices, Description: post.Description}
	})
}

func (l *fakeLXD) UpdateProfile(name string, put api.ProfilePut, etag string) (lxdclient.Operation, error) {
	if err := l.write("update profile "+name, "profile "+name, etag, func() { l.profiles[name].SetWritable(put) }); err != nil {
		return nil, err
	}
	return done{}, nil
}

func (l *fakeLXD) DeleteProfile(name string) error {
	if len(l.usedBy(name)) > 0 {
		return api.StatusErrorf(http.StatusBadRequest, "Profile is currently in use")
	}
	return l.write("delete profile "+name, "profile "+name, "", func() { delete(l.profiles, name) })
}

// done is an operation that has ended well.
type done struct{ lxdclient.Operation }

func (done) WaitContext(context.Context) error { return nil }

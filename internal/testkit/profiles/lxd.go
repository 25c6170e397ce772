// Package profilestest is one project of an LXD cluster in memory, for what writes profiles.
package profilestest

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sort"
	"strings"
	"time"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/lxd/profiles"
	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/testkit/crash"
)

// LXD is one project of a cluster in memory, with etags and used_by.
type LXD struct {
	Instances map[string]*api.Instance
	Profiles  map[string]*api.Profile
	Version   map[string]int // of instances and profiles, for etags

	Now        time.Time // when it is
	Extensions map[string]bool

	// GivesUp is in which state the instance is after LXD gave up on restarting it, for each
	// restart from now on that it gives up on.
	GivesUp []api.StatusCode

	// Hangs are the instances that do not shut down: LXD's restart of one goes on until Restarted
	// or Stuck says otherwise.
	Hangs map[string]bool
	// Disturbed are the updates of an instance during its restart, which end that half-way on a
	// real LXD.
	Disturbed  []string
	restarting map[string]bool

	Gate   *crashtest.Gate         // where a hook may be killed
	Writes []string                // what was written, in order
	Before func(what string)       // runs before a write, as another client would
	Refuse func(what string) error // may refuse a write
	HalfOf func(what string) error // lets a write through, and then fails
}

var _ profiles.Server = (*LXD)(nil)

// New returns an LXD that has only what Juju made: no instances yet.
func New() *LXD {
	l := &LXD{Instances: map[string]*api.Instance{}, Profiles: map[string]*api.Profile{}, Version: map[string]int{}, Now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	for _, name := range []string{"default", "juju-shop-abc"} {
		l.Profiles[name] = &api.Profile{Name: name, Config: map[string]string{"user.theirs": name}}
	}
	return l
}

// Add makes an instance as Juju makes one.
func (l *LXD) Add(name, model, units string) *api.Instance {
	config := map[string]string{"user.juju-model-uuid": model, "volatile.uuid": name, "user.user-data": "#cloud-config"}
	if units != "" {
		config["user.juju-units-deployed"] = units
	}
	l.Instances[name] = &api.Instance{
		Name: name, Config: config, Profiles: []string{"default", "juju-shop-abc"},
		Status: "Running", StatusCode: api.Running, Location: "node1",
		Devices:    map[string]map[string]string{"root": {"type": "disk", "path": "/"}},
		Type:       "container",
		LastUsedAt: l.Now,
	}
	return l.Instances[name]
}

// Clock reports the time, a second later each time it is asked.
func (l *LXD) Clock() time.Time {
	l.Now = l.Now.Add(time.Second)
	return l.Now
}

func (l *LXD) etag(what string) string { return fmt.Sprint(what, " ", l.Version[what]) }

// write is the one way in: it counts, checks the etag and may be refused.
func (l *LXD) write(what, target, etag string, do func()) error {
	if l.Before != nil {
		l.Before(what)
	}
	if etag != "" && etag != l.etag(target) {
		return api.StatusErrorf(http.StatusPreconditionFailed, "ETag doesn't match")
	}
	if l.Refuse != nil {
		if err := l.Refuse(what); err != nil {
			return err
		}
	}
	defer l.Gate.Effect(what)()
	l.Writes = append(l.Writes, what)
	l.Version[target]++
	do()
	if l.HalfOf != nil {
		return l.HalfOf(what)
	}
	return nil
}

// GetInstances implements profiles.Server.
func (l *LXD) GetInstances(api.InstanceType) ([]api.Instance, error) {
	var all []api.Instance
	for _, name := range slices.Sorted(maps.Keys(l.Instances)) {
		i := l.Instances[name]
		if i.StatusCode == api.Error {
			all = append(all, api.Instance{Name: name, Status: "Error", StatusCode: api.Error, Location: i.Location})
			continue
		}
		all = append(all, l.copyInstance(i))
	}
	return all, nil
}

// copyInstance returns an instance as LXD shows it: with what its profiles and its own
// options make together.
func (l *LXD) copyInstance(i *api.Instance) api.Instance {
	c := *i
	c.Config, c.Profiles = maps.Clone(i.Config), slices.Clone(i.Profiles)
	var layers []profile.Profile
	for _, name := range i.Profiles {
		if p := l.Profiles[name]; p != nil {
			layers = append(layers, profile.Profile{Config: p.Config, Devices: p.Devices})
		}
	}
	merged := profile.Merge(append(layers, profile.Profile{Config: i.Config, Devices: i.Devices})...)
	c.ExpandedConfig, c.ExpandedDevices = merged.Config, merged.Devices
	return c
}

// RawQuery implements profiles.Server. Operations here are over when their call returns.
func (l *LXD) RawQuery(method, path string, _ any, _ string) (*api.Response, string, error) {
	return nil, "", api.StatusErrorf(http.StatusNotFound, "No %s %s", method, path)
}

// HasExtension implements profiles.Server.
func (l *LXD) HasExtension(name string) bool { return l.Extensions[name] }

// Restarts lists the instances that were restarted, in order.
func (l *LXD) Restarts() []string {
	var names []string
	for _, write := range l.Writes {
		if name, ok := strings.CutPrefix(write, "restart instance "); ok {
			names = append(names, name)
		}
	}
	return names
}

// UpdateInstanceState implements profiles.Server.
func (l *LXD) UpdateInstanceState(name string, put api.InstanceStatePut, _ string) (lxdclient.Operation, error) {
	i := l.Instances[name]
	starts := func() { i.StatusCode, i.Status, i.LastUsedAt = api.Running, "Running", l.Now }
	switch {
	case put.Action == "start" && i.StatusCode == api.Stopped:
		return done{}, l.write("start instance "+name, "instance "+name, "", starts)
	case put.Action != "restart" || put.Force || put.Timeout <= 0:
		return nil, api.StatusErrorf(http.StatusBadRequest, "Not a restart that lets it stop")
	case i.StatusCode == api.Stopped:
		return nil, api.StatusErrorf(http.StatusBadRequest, "The instance is already stopped")
	case len(l.GivesUp) > 0:
		i.StatusCode, i.Status, l.GivesUp = l.GivesUp[0], l.GivesUp[0].String(), l.GivesUp[1:]
		return done{err: api.StatusErrorf(http.StatusInternalServerError, `Failed shutting down instance, status is "Running": shutting down the container failed`)}, nil
	}
	if l.Hangs[name] {
		if l.restarting[name] {
			return nil, api.StatusErrorf(http.StatusBadRequest, `Instance is busy running a "restart" operation`)
		}
		if l.restarting == nil {
			l.restarting = map[string]bool{}
		}
		l.restarting[name] = true
		return hanging{}, l.write("restart instance "+name, "instance "+name, "", func() {})
	}
	return done{}, l.write("restart instance "+name, "instance "+name, "", starts)
}

// Restarted ends the restart of an instance that hung: it has been started again.
func (l *LXD) Restarted(name string) {
	delete(l.restarting, name)
	l.Instances[name].LastUsedAt = l.Clock()
}

// Stuck ends the restart of an instance that hung as LXD does after its timeout: the instance
// runs as before.
func (l *LXD) Stuck(name string) { delete(l.restarting, name) }

// disturb notes an update of an instance that is being restarted.
func (l *LXD) disturb(name, what string) {
	if l.restarting[name] {
		l.Disturbed = append(l.Disturbed, what)
	}
}

// hanging is an operation that does not end.
type hanging struct{ lxdclient.Operation }

// Get implements lxdclient.Operation.
func (hanging) Get() api.Operation { return api.Operation{} }

// WaitContext implements lxdclient.Operation.
func (hanging) WaitContext(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// GetInstance implements profiles.Server.
func (l *LXD) GetInstance(name string) (*api.Instance, string, error) {
	i, ok := l.Instances[name]
	if !ok {
		return nil, "", api.StatusErrorf(http.StatusNotFound, "Instance not found")
	}
	c := l.copyInstance(i)
	return &c, l.etag("instance " + name), nil
}

// UpdateInstance implements profiles.Server.
func (l *LXD) UpdateInstance(name string, put api.InstancePut, etag string) (lxdclient.Operation, error) {
	i, ok := l.Instances[name]
	if !ok {
		return nil, api.StatusErrorf(http.StatusNotFound, "Instance not found")
	}
	l.disturb(name, "update instance "+name)
	for _, p := range put.Profiles {
		if l.Profiles[p] == nil {
			return nil, api.StatusErrorf(http.StatusNotFound, "Requested profile %q doesn't exist", p)
		}
	}
	if err := l.write("update instance "+name, "instance "+name, etag, func() { i.SetWritable(put) }); err != nil {
		return nil, err
	}
	return done{}, nil
}

func (l *LXD) usedBy(name string) []string {
	var urls []string
	for _, i := range l.Instances {
		if slices.Contains(i.Profiles, name) {
			urls = append(urls, "/1.0/instances/"+i.Name)
		}
	}
	sort.Strings(urls)
	return urls
}

// CopyProfile returns a profile as LXD shows it.
func (l *LXD) CopyProfile(name string) api.Profile {
	c := *l.Profiles[name]
	c.Config, c.Devices, c.UsedBy = maps.Clone(c.Config), maps.Clone(c.Devices), l.usedBy(name)
	return c
}

// GetProfiles implements profiles.Server.
func (l *LXD) GetProfiles() ([]api.Profile, error) {
	var all []api.Profile
	for _, name := range slices.Sorted(maps.Keys(l.Profiles)) {
		all = append(all, l.CopyProfile(name))
	}
	return all, nil
}

// GetProfile implements profiles.Server.
func (l *LXD) GetProfile(name string) (*api.Profile, string, error) {
	if l.Profiles[name] == nil {
		return nil, "", api.StatusErrorf(http.StatusNotFound, "Profile not found")
	}
	c := l.CopyProfile(name)
	return &c, l.etag("profile " + name), nil
}

// CreateProfile implements profiles.Server.
func (l *LXD) CreateProfile(post api.ProfilesPost) error {
	if l.Profiles[post.Name] != nil {
		return api.StatusErrorf(http.StatusConflict, "The profile already exists")
	}
	return l.write("create profile "+post.Name, "profile "+post.Name, "", func() {
		l.Profiles[post.Name] = &api.Profile{Name: post.Name, Config: post.Config, Devices: post.Devices, Description: post.Description}
	})
}

// UpdateProfile implements profiles.Server.
func (l *LXD) UpdateProfile(name string, put api.ProfilePut, etag string) (lxdclient.Operation, error) {
	for _, i := range l.Instances {
		if slices.Contains(i.Profiles, name) {
			l.disturb(i.Name, "update profile "+name)
		}
	}
	if err := l.write("update profile "+name, "profile "+name, etag, func() { l.Profiles[name].SetWritable(put) }); err != nil {
		return nil, err
	}
	return done{}, nil
}

// DeleteProfile implements profiles.Server.
func (l *LXD) DeleteProfile(name string) error {
	if len(l.usedBy(name)) > 0 {
		return api.StatusErrorf(http.StatusBadRequest, "Profile is currently in use")
	}
	return l.write("delete profile "+name, "profile "+name, "", func() { delete(l.Profiles, name) })
}

// done is an operation that has ended.
type done struct {
	lxdclient.Operation
	err error
}

// Get implements lxdclient.Operation.
func (d done) Get() api.Operation { return api.Operation{} }

// WaitContext implements lxdclient.Operation.
func (d done) WaitContext(context.Context) error { return d.err }

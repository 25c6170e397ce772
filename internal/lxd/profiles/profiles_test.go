package profiles_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dcib/dcib/internal/lxd/profiles"
	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/testkit/hooktool"
	"github.com/dcib/dcib/internal/testkit/profiles"
)

const owner, relation, name = "uuid/lxd-cluster", "lxd-profile:3", "dcib-shop-web"

func newEnv() (*profiles.Env, *profilestest.LXD, *hooktooltest.Unit) {
	juju, lxd := hooktooltest.New(), profilestest.New()
	unit := juju.AddUnit("u/0", "")
	tools, _ := juju.Hook("u/0")
	return &profiles.Env{Tools: tools, LXD: lxd, Project: "default", Now: lxd.Clock}, lxd, unit
}

func write(t require.TestingT, w *profiles.Env, content profile.Profile) {
	instances, err := profiles.Instances(w.LXD)
	require.NoError(t, err)
	s := profiles.Write{Profile: name, Owner: owner, Relation: relation, Application: "uuid/web", Content: content, Instances: instances}
	require.NoError(t, s.Apply(context.Background(), w))
	require.Empty(t, w.Failed())
}

func attach(t require.TestingT, w *profiles.Env, instance string) {
	s := profiles.Attach{Instance: instance, Profiles: map[string]profiles.Claim{name: {Relation: relation, Holds: func(map[string]string) bool { return true }}}}
	require.NoError(t, s.Apply(context.Background(), w))
	require.Empty(t, w.Failed())
}

// Whatever is changed, attached and restarted in whatever order: what waits for a restart
// is what has changed since the instance was started or got the profile, and needs one.
func TestPending(t *testing.T) {
	keys := []string{"security.nesting", "security.privileged", "limits.memory", "raw.lxc"}
	restart := map[string]bool{"config.security.nesting": true, "config.security.privileged": true, "config.raw.lxc": true}
	rapid.Check(t, func(t *rapid.T) {
		w, lxd, _ := newEnv()
		names := []string{"a", "b"}
		for _, i := range names {
			lxd.Add(i, "uuid", "")
		}
		content := profile.Profile{Config: map[string]string{}}
		write(t, w, content)
		waits := map[string]map[string]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				next := profile.Merge(content)
				key := rapid.SampledFrom(keys).Draw(t, "key")
				if rapid.Bool().Draw(t, "remove") {
					delete(next.Config, key)
				} else {
					next.Config[key] = rapid.SampledFrom([]string{"x", "y"}).Draw(t, "value")
				}
				for _, path := range profile.Changes(content, next) {
					for _, i := range names {
						if waits[i] != nil && restart[path] {
							waits[i][path] = true
						}
					}
				}
				content = next
				write(t, w, content)
			},
			"attach": func(t *rapid.T) {
				i := rapid.SampledFrom(names).Draw(t, "instance")
				attach(t, w, i)
				if waits[i] != nil {
					return
				}
				waits[i] = map[string]bool{}
				for key := range content.Config {
					if restart["config."+key] {
						waits[i]["config."+key] = true
					}
				}
			},
			"restart": func(t *rapid.T) {
				i := rapid.SampledFrom(names).Draw(t, "instance")
				lxd.Instances[i].LastUsedAt = lxd.Clock()
				if waits[i] != nil {
					waits[i] = map[string]bool{}
				}
			},
			"": func(t *rapid.T) {
				instances, err := profiles.Instances(lxd)
				require.NoError(t, err)
				listed, err := profiles.List(lxd, owner)
				require.NoError(t, err)
				for _, i := range names {
					if waits[i] == nil {
						continue
					}
					got := append([]string{}, instances[i].Pending(listed[name])...)
					require.Equal(t, append([]string{}, slices.Sorted(maps.Keys(waits[i]))...), got, "instance %s with %v", i, listed[name].Content)
				}
				require.LessOrEqual(t, len(listed[name].Changed), len(keys))
			},
		})
	})
}

func TestWhatIsNotOursStays(t *testing.T) {
	w, lxd, unit := newEnv()
	lxd.Profiles[name] = &api.Profile{Name: name, Config: map[string]string{"limits.cpu": "1"}}
	s := profiles.Write{Profile: name, Owner: owner, Relation: relation, Content: profile.Profile{}}
	require.NoError(t, s.Apply(context.Background(), w))
	d := profiles.Delete{Profile: name, Owner: owner}
	require.NoError(t, d.Apply(context.Background(), w))
	assert.Empty(t, lxd.Writes)
	assert.Equal(t, "cannot write profile "+name+": it is not ours", w.Failed()[s.Name()])
	assert.Equal(t, "cannot delete profile "+name+": it is not ours", w.Failed()[d.Name()])
	assert.Contains(t, strings.Join(unit.Log, "\n"), "WARNING cannot write profile "+name)
}

// An instance that has said that it is ready, and one that is frozen, run.
func TestWhatRuns(t *testing.T) {
	for code, running := range map[api.StatusCode]bool{
		api.Running: true, api.Ready: true, api.Frozen: true, api.Stopped: false, api.Error: false,
	} {
		w, lxd, _ := newEnv()
		lxd.Add("a", "uuid", "").StatusCode = code
		write(t, w, profile.Profile{Config: map[string]string{"security.nesting": "true"}})
		if code != api.Error {
			attach(t, w, "a")
		}
		instances, err := profiles.Instances(lxd)
		require.NoError(t, err)
		listed, err := profiles.List(lxd, owner)
		require.NoError(t, err)
		assert.Equal(t, running, instances["a"].Running, code.String())
		assert.Equal(t, running, len(instances["a"].Pending(listed[name])) > 0, code.String())
	}
}

// LXD refuses a profile to a virtual machine that runs: the message says what to do.
func TestARunningVirtualMachine(t *testing.T) {
	w, lxd, unit := newEnv()
	lxd.Add("a", "uuid", "").Type = string(api.InstanceTypeVM)
	write(t, w, profile.Profile{Config: map[string]string{"security.nesting": "true"}})
	lxd.Refuse = func(string) error {
		return api.StatusErrorf(400, `Key "security.nesting" cannot be updated when VM is running`)
	}
	s := profiles.Attach{Instance: "a", Profiles: map[string]profiles.Claim{name: {Relation: relation, Holds: func(map[string]string) bool { return true }}}}
	require.NoError(t, s.Apply(context.Background(), w))
	assert.Contains(t, w.Failed()[s.Name()], "cannot be updated when VM is running: stop the virtual machine")
	assert.Contains(t, strings.Join(unit.Log, "\n"), "stop the virtual machine")
}

func TestName(t *testing.T) {
	free := func(string) bool { return false }
	assert.Equal(t, "dcib-shop-web", profiles.Name("shop", "web", "u", free))
	for _, c := range []struct {
		model, app string
		taken      func(string) bool
	}{
		{"shop", "web", func(string) bool { return true }}, {"../shop", "web", free}, {"shop", strings.Repeat("w", 99), free}, {"shöp", "web", free},
	} {
		got := profiles.Name(c.model, c.app, "u", c.taken)
		assert.Regexp(t, `^dcib-[a-z0-9-]{1,58}$`, got)
		assert.NotEqual(t, got, profiles.Name(c.model, c.app, "another", c.taken), fmt.Sprint(c.model, c.app))
	}
}

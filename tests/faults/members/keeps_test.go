//go:build box

package members

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testKeeps drains and undrains a member that has an instance of each kind.
func (s *stage) testKeeps(t *testing.T) {
	s.run(t, `lxc project create lab -c features.images=false -c features.profiles=false
lxc profile create extra
lxc profile set extra user.extra=yes
lxc storage volume create local papers --target %[1]s
lxc launch tiny web --profile dcib --profile extra --target %[1]s -c limits.memory=64MiB -c user.who=us
lxc query -X PATCH /1.0/instances/web -d '{"description": "shop front"}'
lxc snapshot web before
lxc launch tiny twin --profile dcib --target %[1]s --project lab
lxc query -X PATCH '/1.0/instances/twin?project=lab' -d '{"description": "in the lab"}'
lxc init tiny still --profile dcib --target %[1]s
lxc query -X PATCH /1.0/instances/still -d '{"description": "stands still"}'
lxc snapshot still one
lxc snapshot still two
lxc launch tiny cold --profile dcib --target %[1]s
lxc pause cold
lxc init tiny brief --ephemeral --profile dcib --target %[1]s
lxc launch tiny zero --profile dcib --target %[1]s -c cluster.evacuate=migrate
lxc config device add zero zero unix-char path=/dev/zero
lxc launch tiny clerk --profile dcib --target %[1]s -c cluster.evacuate=stop
lxc config device add clerk papers disk pool=local source=papers path=/papers
lxc launch tiny kept --profile dcib --target %[1]s
lxc query -X POST /1.0/instances/kept/backups -d '{"name": "night"}' --wait
lxc launch tiny other --profile dcib --target %[2]s`, s.pet, s.target)
	defer func() {
		if !t.Failed() {
			s.clean(t)
		}
	}()
	before := s.instances(t)
	volumes := s.run(t, "lxc query '/1.0/storage-pools/local/volumes/custom?recursion=1'")
	require.Equal(t, s.pet+" Frozen", places(before)["cold"])

	_, err := box.TryAction(t, model, scheduler+"/0", "drain", "pet="+s.pet)
	require.ErrorContains(t, err, "kept: has 1 backup")
	require.Equal(t, places(before), places(s.instances(t)), "a drain that is refused changes nothing")
	t.Log(s.drain(t, "force=true"))
	s.requireStatus(t, s.pet, "evacuated")
	during := s.instances(t)
	moved := s.placesAway(t, before, during)
	require.Equal(t, s.pet+" Stopped", moved["clerk"])
	require.Equal(t, s.pet+" Stopped", moved["kept"])

	t.Log(s.undrain(t))
	s.requireStatus(t, s.pet, "online")
	after := s.instances(t)
	assert.Equal(t, places(before), places(after))
	requireUnchanged(t, before, after, "after undrain")
	require.Equal(t, volumes, s.run(t, "lxc query '/1.0/storage-pools/local/volumes/custom?recursion=1'"))
}

// placesAway asserts where instances are while the pet is drained, and returns it: what may move is
// elsewhere in the same state.
func (s *stage) placesAway(t *testing.T, before, during map[string]instance) map[string]string {
	t.Helper()
	now := places(during)
	for name, was := range before {
		is := during[name]
		stays := was.At != s.pet || name == "default/kept" || configOf(was)["cluster.evacuate"] == "stop"
		if stays {
			require.Equal(t, was.At, is.At, name)
			continue
		}
		assert.NotEqual(t, s.pet, is.At, name)
		assert.Equal(t, was.Status, is.Status, name)
	}
	return now
}

func configOf(i instance) map[string]any {
	config, _ := i.Content["expanded_config"].(map[string]any)
	return config
}

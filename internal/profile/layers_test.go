package profile_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dcib/dcib/internal/profile"
)

func TestOverlay(t *testing.T) {
	got := profile.Overlay(
		profile.Layer{From: "preset a", Profile: profile.Profile{Config: map[string]string{"limits.cpu": "1", "user.x": "a"}, Devices: map[string]map[string]string{"d": {"type": "gpu", "id": "1"}}}},
		profile.Layer{From: "option profile", Profile: profile.Profile{Config: map[string]string{"limits.cpu": "2"}, Devices: map[string]map[string]string{"d": {"type": "gpu"}}}},
	)
	assert.Equal(t, map[string]string{"config.limits.cpu": "option profile", "config.user.x": "preset a", "devices.d": "option profile"}, got.From)
	assert.Equal(t, `config:
    # option profile
    limits.cpu: "2"
    # preset a
    user.x: a
devices:
    # option profile
    d:
        type: gpu
`, got.Profile.YAML(got.From))
}

// What is shown can be given back as the option.
func TestYAMLIsReadBack(t *testing.T) {
	value := rapid.StringMatching(`[ -~\n\t]{0,20}`)
	rapid.Check(t, func(t *rapid.T) {
		p := profile.Profile{
			Config:  rapid.MapOfN(rapid.StringMatching(`[a-z][a-z.]{0,8}`), value, 0, 4).Draw(t, "config"),
			Devices: rapid.MapOfN(rapid.StringMatching(`[a-z0-9]{1,4}`), rapid.MapOfN(rapid.StringMatching(`[a-z]{1,5}`), value, 0, 3), 0, 3).Draw(t, "devices"),
		}
		again, err := profile.Parse([]byte(p.YAML(map[string]string{"config.a": "a note"})))
		require.NoError(t, err)
		require.True(t, p.Equal(again), "%v became %v", p, again)
	})
}

func TestConflictsAndDifferences(t *testing.T) {
	a := profile.Profile{Config: map[string]string{"limits.cpu": "1", "limits.memory": "1GiB", "user.x": "a", "user.same": "s"}, Devices: map[string]map[string]string{"d": {"type": "gpu"}, "e": {"type": "none"}}}
	b := profile.Profile{Config: map[string]string{"limits.cpu": "2", "user.x": "b", "user.y": "c", "user.same": "s"}, Devices: map[string]map[string]string{"d": {"type": "nic"}}}
	assert.Equal(t, []string{"config.limits.cpu", "config.user.x", "devices.d"}, profile.Conflicts(a, b))
	assert.Equal(t, []string{"config.limits.cpu", "config.limits.memory", "config.user.x", "config.user.y", "devices.d", "devices.e"}, profile.Changes(a, b))
	assert.Equal(t, map[string]string{
		"config.limits.cpu": `"2"`, "config.limits.memory": "", "config.user.x": "another text", "devices.d": `another device, of type "nic"`, "devices.e": "",
	}, profile.Differences(a, b))
	assert.Empty(t, profile.Changes(a, profile.Merge(a)))
	assert.Equal(t, profile.Restart, profile.EffectOf("config.security.nesting", profile.Profile{}, profile.Profile{Config: map[string]string{"security.nesting": "true"}}))
	assert.Equal(t, profile.Live, profile.EffectOf("devices.d", a, profile.Profile{}))
}

package policy_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/profile/policy"
)

func rules(t require.TestingT, text string) policy.Policy {
	parsed, err := policy.Parse(text)
	require.NoError(t, err)
	return parsed.Default
}

// Whatever the profile: something is refused exactly when the charms refuse the profile, each
// key and device has one verdict, and each refusal has a reason.
func TestVerdictsAreTheCharms(t *testing.T) {
	keys := []string{"limits.memory", "limits.cpu", "limits.cpu.nodes", "limits.kernel.nofile", "security.nesting", "raw.lxc", "user.x", "user.dcib.x", "environment.X", "environment.PATH", "no.such"}
	values := []string{"1", "50%", "true", "a\nb", "1GiB", ""}
	kinds := []string{"disk", "gpu", "unix-char", "proxy", "tunnel", "pci", ""}
	rapid.Check(t, func(t *rapid.T) {
		p := profile.Profile{
			Config: rapid.MapOf(rapid.SampledFrom(keys), rapid.SampledFrom(values)).Draw(t, "config"), Devices: map[string]map[string]string{},
		}
		for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"d", "d.source", "../d"}), rapid.ID).Draw(t, "devices") {
			p.Devices[name] = map[string]string{
				"type": rapid.SampledFrom(kinds).Draw(t, "type"), "source": rapid.SampledFrom([]string{"/srv/a", "../x", ""}).Draw(t, "source"),
				"path": rapid.SampledFrom([]string{"/dev/kvm", "/a", "a"}).Draw(t, "path"),
			}
		}
		allowed := rules(t, rapid.SampledFrom([]string{"", "keys: ['*']\ndevices: ['*']\nhost-paths: [/srv/*, /dev/kvm]", "keys: []"}).Draw(t, "policy"))
		server, err := profile.ParseServer(rapid.SampledFrom([]string{"5.0.2", "6.6"}).Draw(t, "lxd"))
		require.NoError(t, err)

		// As the broker decides.
		refused := profile.Validate(p) != nil || profile.Unsupported(p, server.Has) != nil || len(allowed.Refuse(p)) > 0
		verdicts := policy.Evaluate(p, allowed, policy.Target{Has: server.Has})
		require.Len(t, verdicts, len(p.Config)+len(p.Devices))
		classes, some := profile.Classify(p), false
		for _, v := range verdicts {
			require.Contains(t, classes, v.Path)
			require.Equal(t, v.Effect == profile.Refused, len(v.Reasons) > 0, v.Path)
			if v.Effect != profile.Refused {
				require.Equal(t, classes[v.Path], v.Effect)
			}
			some = some || v.Effect == profile.Refused
		}
		require.Equal(t, refused, some, "%v", verdicts)
	})
}

func TestVerdictsForAVirtualMachine(t *testing.T) {
	verdicts := policy.Evaluate(profile.Profile{
		Config:  map[string]string{"limits.memory": "1GiB", "security.nesting": "true"},
		Devices: map[string]map[string]string{"kvm": {"type": "unix-char", "path": "/dev/kvm"}},
	}, rules(t, "keys: ['*']\ndevices: ['*']\nhost-paths: [/dev/kvm]"), policy.Target{Has: func(string) bool { return true }, VM: true})
	require.Len(t, verdicts, 3)
	assert.Equal(t, policy.Verdict{Path: "config.limits.memory", Effect: profile.Live}, verdicts[0])
	assert.True(t, verdicts[1].Ignored)
	assert.Equal(t, []string{"devices.kvm: LXD refuses it to a virtual machine, and the profile with it"}, verdicts[2].Reasons)
}

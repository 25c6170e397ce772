package profile_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/profile"
)

func TestServer(t *testing.T) {
	for _, c := range []struct {
		version, extension string
		has                bool
	}{
		{"5.0.2", "numa_cpu_placement", false}, {"5.0.3", "numa_cpu_placement", true}, {"5.21.0", "numa_cpu_placement", true},
		{"5.21.1", "container_syscall_intercept_finit_module", false}, {"5.21.2", "container_syscall_intercept_finit_module", true},
		{"6.3", "container_bpf_delegation", false}, {"6.4", "container_bpf_delegation", true},
		{"5.21.9", "instance_placement_groups", false}, {"6.5", "instance_placement_groups", false}, {"6.6", "instance_placement_groups", true},
		{"7.0", "instance_placement_groups", true}, {"5.10", "numa_cpu_placement", false}, {"6.9", "no_such", false},
	} {
		s, err := profile.ParseServer(c.version)
		require.NoError(t, err)
		assert.Equal(t, c.has, s.Has(c.extension), "%s of %s", c.extension, c.version)
	}
	for _, bad := range []string{"", "5", "4.0.9", "latest", "5.0.2-5+deb12u3", "5.0.2.1", "v6.6"} {
		_, err := profile.ParseServer(bad)
		assert.ErrorContains(t, err, "cannot use LXD version", bad)
	}
}

// Each extension that a key needs has a release.
func TestEachExtensionHasARelease(t *testing.T) {
	newest, err := profile.ParseServer("99.0")
	require.NoError(t, err)
	for _, key := range []string{
		"limits.cpu.nodes", "linux.kernel_modules.load", "placement.group", "security.delegate_bpf", "security.delegate_bpf.map_types",
		"security.devlxd.management.volumes", "security.protection.start", "ubuntu_pro.guest_attach",
	} {
		p := profile.Profile{Config: map[string]string{key: ""}}
		require.Error(t, profile.Unsupported(p, func(string) bool { return false }), key)
		assert.NoError(t, profile.Unsupported(p, newest.Has), key)
	}
}

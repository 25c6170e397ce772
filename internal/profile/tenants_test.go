package profile_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/profile/policy"
)

// extremes are the values with which a tenant could reach beyond its own container, where a
// key takes them.
var extremes = []string{
	"", "0", "1", "-1", "10", "100", "60", "65535", "4194304", "2147483648", "9223372036854775807", "-9223372036854775808", "18446744073709551615",
	"99999999999999999999", "true", "false", "1%", "100%", "101%", "1ms/1ms", "9999999ms/1ms", "1kB", "7EiB", "8EiB", "0-65534", "0-65535", "0,0",
	"unlimited", "unlimited:unlimited", "0:unlimited", "migrate", "live-migrate", "stop", "auto", "soft", "hard", "boot", "ondemand", "on", "available",
	"ext4", "overlay", "@every 1m", "../../etc", "/etc/shadow", "a\nlxc.hook.pre-start = /x", "a\rb", "a\x00b", "\x7f", strings.Repeat("x", 60000),
}

// harmless are the keys that the default policy allows, and why even their extremes do
// nothing to other tenants, to the host's boot or shutdown, or to an operator's windows.
var harmless = map[string]string{
	"boot.autostart":              "it starts or does not; LXD tries a start that fails three times, ten seconds in all",
	"environment.":                "one line in its own container; what the host's hooks follow is refused",
	"limits.cpu":                  "no more than the host has; a drain does not count what the present member lacks",
	"limits.cpu.allowance":        "a bound on itself",
	"limits.memory":               "likewise",
	"limits.memory.enforce":       "how its own bound is enforced",
	"limits.memory.swap":          "whether its own memory is swapped",
	"limits.memory.swap.priority": "which of its own pages are swapped first, from 0 to 10",
	"limits.processes":            "a bound on itself",
	"user.":                       "notes that nothing of ours or LXD's reads; those of Juju and lxd-cluster are refused",
}

// Each key that a tenant controls is, at each extreme value, refused by the rules for every
// profile or by the default policy, or is known to be harmless to others. A key that is new
// in the table has to be put into the list, or be refused.
func TestNoKeyReachesOtherTenants(t *testing.T) {
	defaults, err := policy.Parse("")
	require.NoError(t, err)
	allowed := map[string]bool{}
	for _, row := range profile.Rows() {
		for _, suffix := range suffixesOf(row) {
			for _, value := range extremes {
				p := profile.Profile{Config: map[string]string{row + suffix: value}}
				if profile.Validate(p) == nil && len(defaults.Default.Refuse(p)) == 0 {
					allowed[row] = true
					assert.Contains(t, harmless, row, "a tenant may set %s%s to %.40q", row, suffix, value)
				}
			}
		}
	}
	for row := range harmless {
		assert.True(t, allowed[row], "%s is not allowed at all: take it out of the list", row)
	}
}

// suffixesOf returns what a tenant may try behind the name of a row.
func suffixesOf(row string) []string {
	if !strings.HasSuffix(row, ".") && !strings.HasSuffix(row, "-") {
		return []string{""}
	}
	return []string{"x", "X", "rtprio", "nofile", "memlock", "net.ipv4.ip_forward", "kernel.core_pattern", "PATH", "LD_PRELOAD", "dcib.nonce.1", "juju-model-uuid", "user-data"}
}

// No device is allowed by default, whatever its type and its properties.
func TestNoDeviceByDefault(t *testing.T) {
	defaults, err := policy.Parse("")
	require.NoError(t, err)
	for _, kind := range []string{"disk", "gpu", "infiniband", "nic", "none", "proxy", "tpm", "unix-block", "unix-char", "unix-hotplug", "usb", "pci", ""} {
		p := profile.Profile{Devices: map[string]map[string]string{"d": {"type": kind, "path": "/x", "nictype": "p2p", "parent": "x", "connect": "x", "listen": "x"}}}
		assert.True(t, profile.Validate(p) != nil || len(defaults.Default.Refuse(p)) > 0, kind)
	}
}

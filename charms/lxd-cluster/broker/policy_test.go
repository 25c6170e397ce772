package broker_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/charms/lxd-cluster/broker"
	"github.com/dcib/dcib/internal/profile"
)

func TestPolicy(t *testing.T) {
	wanted := profile.Profile{
		Config: map[string]string{"limits.memory": "1GiB", "security.privileged": "true", "raw.lxc": "x", "boot.host_shutdown_timeout": "9999"},
		Devices: map[string]map[string]string{
			"gpu0": {"type": "gpu"},
			"etc":  {"type": "disk", "source": "/etc", "path": "/mnt"},
			"kvm":  {"type": "unix-char", "path": "/dev/kvm"},
			"data": {"type": "disk", "source": "/srv/data/a", "path": "/data"},
			"vol":  {"type": "disk", "pool": "p", "source": "volume", "path": "/vol"},
		},
	}
	safe, err := broker.ParsePolicy("")
	require.NoError(t, err)
	assert.Equal(t, []string{
		"config.boot.host_shutdown_timeout: profile-policy allows the keys boot.autostart, boot.autostart.*, boot.stop.priority, environment.*, limits.*, user.*",
		"config.raw.lxc: profile-policy allows the keys boot.autostart, boot.autostart.*, boot.stop.priority, environment.*, limits.*, user.*",
		"config.security.privileged: profile-policy allows the keys boot.autostart, boot.autostart.*, boot.stop.priority, environment.*, limits.*, user.*",
		"devices.data: is of type disk, profile-policy allows no devices",
		"devices.etc: is of type disk, profile-policy allows no devices",
		"devices.gpu0: is of type gpu, profile-policy allows no devices",
		"devices.kvm: is of type unix-char, profile-policy allows no devices",
		"devices.vol: is of type disk, profile-policy allows no devices",
	}, safe.Refuse(wanted))

	wide, err := broker.ParsePolicy("keys: [\"*\"]\ndevices: [gpu, disk, unix-*]\nhost-paths: [/srv/*, /dev/kvm]")
	require.NoError(t, err)
	assert.Equal(t, []string{"devices.etc: shows /etc of the host, profile-policy allows the host-paths /srv/*, /dev/kvm"}, wide.Refuse(wanted))

	for text, says := range map[string]string{
		"keys: limits.*":           "wanted YAML with lists of text",
		"kyes: []":                 "field kyes not found",
		"host-paths: [/srv/../*]":  `host-paths has "/srv/../*"`,
		"host-paths: [srv]":        `host-paths has "srv"`,
		"keys: [\"limits.*\"\n- x": "cannot use option profile-policy",
	} {
		_, err := broker.ParsePolicy(text)
		assert.ErrorContains(t, err, says, text)
	}
}

func TestPolicyPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, key string
		fits         bool
	}{
		{"limits.*", "limits.cpu", true}, {"limits.*", "limits.kernel.nofile", true}, {"limits.*", "limits", false},
		{"limits.cpu", "limits.cpu", true}, {"limits.cpu", "limits.cpu.allowance", false}, {"*", "raw.lxc", true},
		{"*.cpu", "limits.cpu", true}, {"l*.c*u", "limits.cpu", true}, {"l*.c*u", "limits.cpux", false}, {"a*a", "a", false}, {"", "x", false},
	} {
		p := broker.Policy{Keys: []string{c.pattern}}
		refused := p.Refuse(profile.Profile{Config: map[string]string{c.key: ""}})
		assert.Equal(t, c.fits, len(refused) == 0, "%s on %s", c.pattern, c.key)
	}
}

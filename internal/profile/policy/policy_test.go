package policy_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/profile/policy"
)

func TestPolicy(t *testing.T) {
	wanted := profile.Profile{
		Config: map[string]string{"limits.memory": "1GiB", "security.privileged": "true", "raw.lxc": "x", "boot.host_shutdown_timeout": "9999"},
		Devices: map[string]map[string]string{
			"gpu0": {"type": "gpu"},
			"etc":  {"type": "disk", "source": "/etc", "path": "/mnt"},
			"kvm":  {"type": "unix-char", "path": "/dev/kvm"},
			"data": {"type": "disk", "source": "/srv/data", "path": "/data"},
			"vol":  {"type": "disk", "pool": "p", "source": "volume", "path": "/vol"},
		},
	}
	safe, err := policy.Parse("")
	require.NoError(t, err)
	assert.Equal(t, []string{
		`config.boot.host_shutdown_timeout: profile-policy does not allow it: its keys (line 1) would need "boot.host_shutdown_timeout"`,
		`config.raw.lxc: profile-policy does not allow it: its keys (line 1) would need "raw.lxc"`,
		`config.security.privileged: profile-policy does not allow it: its keys (line 1) would need "security.privileged"`,
		`devices.data: profile-policy does not allow it: its devices (line 10) would need "disk"`,
		`devices.data: profile-policy does not allow it: its host-paths (line 11) would need "/srv/data"`,
		`devices.etc: profile-policy does not allow it: its devices (line 10) would need "disk"`,
		`devices.etc: profile-policy does not allow it: its host-paths (line 11) would need "/etc"`,
		`devices.gpu0: profile-policy does not allow it: its devices (line 10) would need "gpu"`,
		`devices.kvm: profile-policy does not allow it: its devices (line 10) would need "unix-char"`,
		`devices.kvm: profile-policy does not allow it: its host-paths (line 11) would need "/dev/kvm"`,
		`devices.vol: profile-policy does not allow it: its devices (line 10) would need "disk"`,
		`devices.vol: profile-policy does not allow it: its host-paths (line 11) would need "pool:p/volume"`,
	}, safe.Default.Refuse(wanted))

	wide, err := policy.Parse("keys: [\"*\"]\ndevices: [gpu, disk, unix-*]\nhost-paths: [/srv/*, /dev/kvm, \"pool:p/*\"]")
	require.NoError(t, err)
	assert.Equal(t, []string{`devices.etc: profile-policy does not allow it: its host-paths (line 3) would need "/etc"`}, wide.Default.Refuse(wanted))

	short, err := policy.Parse("devices: [gpu]")
	require.NoError(t, err)
	assert.Equal(t, `config.boot.host_shutdown_timeout: profile-policy does not allow it: it would need keys "boot.host_shutdown_timeout"`, short.Default.Refuse(wanted)[0])

	for text, says := range map[string]string{
		"keys: limits.*":                      "wanted YAML with lists at keys",
		"kyes: []":                            "field kyes not found",
		"host-paths: [/srv/../*]":             `host-paths has "/srv/../*"`,
		"host-paths: [/srv//x]":               `host-paths has "/srv//x"`,
		"host-paths: [srv]":                   `host-paths has "srv"`,
		"host-paths: [/]":                     `host-paths has "/"`,
		"host-paths: [/srv, /srv/a]":          `host-paths has "/srv" and, inside it, "/srv/a"`,
		"host-paths: [/srv/a/b, /srv/*]":      `host-paths has "/srv/*" and, inside it, "/srv/a/b"`,
		"host-paths: [/srv/*/data, /*/a*]":    `host-paths has "/*/a*" and, inside it, "/srv/*/data"`,
		"keys: [\"limits.*\"\n- x":            "cannot use option profile-policy",
		strings.Repeat("# a comment\n", 9999): "wanted at most 65536",
	} {
		_, err := policy.Parse(text)
		assert.ErrorContains(t, err, says, text)
	}
	_, err = policy.Parse("host-paths: [/srv/a, /srv2/a/b, /dev/*, /dev/net/tun2, cephfs:cephfs]")
	assert.ErrorContains(t, err, `host-paths has "/dev/*" and, inside it, "/dev/net/tun2"`)
}

// The default policy allows a tenant its own share and nothing that takes from other
// containers, delays the host or reaches out of the container.
func TestDefaultPolicy(t *testing.T) {
	allowed, err := policy.Parse("")
	require.NoError(t, err)
	refused := func(key string) bool {
		return len(allowed.Default.Refuse(profile.Profile{Config: map[string]string{key: "1"}})) > 0
	}
	for _, key := range []string{
		"boot.autostart", "environment.LANG", "limits.cpu", "limits.cpu.allowance", "limits.memory", "limits.memory.enforce",
		"limits.memory.swap", "limits.memory.swap.priority", "limits.processes", "user.note",
	} {
		assert.False(t, refused(key), key)
	}
	for _, key := range []string{
		"boot.autostart.delay", "boot.autostart.priority", "boot.stop.priority", "boot.host_shutdown_timeout", "cluster.evacuate",
		"limits.cpu.nodes", "limits.cpu.priority", "limits.cpu.pin_strategy", "limits.disk.priority", "limits.network.priority",
		"limits.hugepages.2MB", "limits.kernel.rtprio", "limits.kernel.nice", "limits.kernel.memlock", "limits.kernel.nofile",
		"linux.kernel_modules", "linux.sysctl.net.ipv4.ip_forward", "raw.lxc", "security.nesting", "security.privileged",
		"snapshots.schedule", "nvidia.runtime", "migration.incremental.memory",
	} {
		assert.True(t, refused(key), key)
	}
}

// What a device reaches on the host is what its path says, or it is refused.
func TestHostPaths(t *testing.T) {
	allowed, err := policy.Parse("devices: [\"*\"]\nhost-paths: [/srv/*, /opt/data, /dev/kvm, cephfs:cephfs, \"ceph:rbd/*\", \"pool:p/web-*\", \"unix-char:10:*\", /run/app.sock, \"tcp:10.0.8.1:*\", \"udp:127.0.0.1:53\", \"nic:br0\", \"network:lxdbr*\", \"route:10.9.0.0/*\"]")
	require.NoError(t, err)
	for _, c := range []struct {
		device  string // properties, with spaces
		allowed bool
	}{
		{"type=disk source=/srv/a", true},
		{"type=disk source=/srv", false},
		{"type=disk source=/srv/", false},
		{"type=disk source=/srv/a/b", false}, // a container with /srv/a could make b a symlink
		{"type=disk source=/srv2", false},
		{"type=disk source=/srv2/a", false},
		{"type=disk source=/srv/..", false},
		{"type=disk source=/srv/.", false},
		{"type=disk source=/srv/../etc", false},
		{"type=disk source=//srv/a", false},
		{"type=disk source=/SRV/a", false},
		{"type=disk source=/opt/data", true},
		{"type=disk source=/opt/data2", false},
		{"type=disk source=/opt/data/..", false},
		{"type=disk source=etc", false}, // LXD runs in /
		{"type=disk source=./srv/a", false},
		{"type=disk source=cephfs:cephfs/", true},
		{"type=disk source=cephfs:cephfs/other", false},
		{"type=disk source=ceph:rbd/x", true},
		{"type=disk pool=p source=web-1", true},
		{"type=disk pool=p source=db-1", false},
		{"type=disk pool=q source=web-1", false},
		{"type=disk pool=p source=web-1 source.type=custom", true},
		{"type=disk pool=p source=web-1 source.type=virtual-machine", false},
		{"type=disk source=/srv/a raw.mount.options=noatime", false},
		{"type=nic nictype=p2p ipv4.routes=10.9.0.0/24", true},
		{"type=nic nictype=p2p ipv4.routes=10.9.0.0/24,0.0.0.0/0", false},
		{"type=nic network=lxdbr0 ipv6.routes.external=::/0", false},
		{"type=infiniband nictype=sriov parent=ib0", false},
		{"type=disk pool=p source=/etc", false},
		{"type=disk pool=p source=web-1/../db-1", false},
		{"type=unix-char path=/dev/kvm", true},
		{"type=unix-char path=/dev/kvm source=/dev/mem", false},
		{"type=unix-char path=/dev/kvm major=1 minor=1", false}, // that is /dev/mem
		{"type=unix-char path=/dev/x major=10 minor=232", true},
		{"type=unix-block path=/dev/kvm major=8 minor=0", false},
		{"type=proxy listen=tcp:10.0.8.1:80 connect=tcp:127.0.0.1:80", true},
		{"type=proxy listen=tcp:0.0.0.0:22 connect=tcp:127.0.0.1:80", false},
		{"type=proxy bind=instance listen=udp:127.0.0.1:53 connect=udp:127.0.0.1:53", true},
		{"type=proxy bind=instance listen=tcp:127.0.0.1:1 connect=tcp:127.0.0.1:5432", false}, // what trusts the host's loopback
		{"type=nic nictype=bridged parent=br0", true},
		{"type=nic nictype=physical parent=eth0", false},
		{"type=nic network=lxdbr0", true},
		{"type=nic network=ovn", false},
		{"type=nic nictype=p2p", true},
		{"type=proxy bind=instance listen=unix:/x connect=unix:/var/lib/lxd/unix.socket", false},
		{"type=proxy bind=instance listen=unix:/x connect=unix:/run/app.sock", true},
		{"type=proxy listen=unix:/etc/x connect=unix:/run/app.sock", false},
		{"type=proxy bind=container listen=unix:/x connect=unix:@/tmp/x", false},
		{"type=gpu", true},
	} {
		device := map[string]string{}
		for property := range strings.FieldsSeq(c.device) {
			name, value, _ := strings.Cut(property, "=")
			device[name] = value
		}
		refused := allowed.Default.Refuse(profile.Profile{Devices: map[string]map[string]string{"d": device}})
		assert.Equal(t, c.allowed, len(refused) == 0, "%s: %v", c.device, refused)
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
		p := policy.Policy{Keys: []policy.Key{{Pattern: c.pattern}}}
		refused := p.Refuse(profile.Profile{Config: map[string]string{c.key: ""}})
		assert.Equal(t, c.fits, len(refused) == 0, "%s on %s", c.pattern, c.key)
	}
}

package profile_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/profile"
)

// injection is a value that ends its line in a container's configuration file, where the
// next line has the host run a program of the container's as root.
// https://github.com/advisories/GHSA-x6jc-phwx-hp32
const injection = "a\nlxc.hook.pre-start = /var/lib/lxd/containers/c/rootfs/x"

// What LXD and liblxc write into a file line by line cannot add a line to it.
func TestNoValueAddsALine(t *testing.T) {
	for _, key := range []string{
		"environment.X", "linux.sysctl.net.core.somaxconn", "linux.kernel_modules", "limits.kernel.nofile", "limits.memory",
		"limits.cpu", "limits.cpu.nodes", "limits.cpu.allowance", "nvidia.driver.capabilities", "nvidia.require.cuda", "nvidia.require.driver",
		"security.syscalls.intercept.mount.allowed", "security.syscalls.intercept.mount.fuse", "security.delegate_bpf.map_types",
		"snapshots.pattern", "snapshots.schedule", "snapshots.expiry", "placement.group", "cluster.evacuate", "boot.autostart",
	} {
		for _, value := range []string{injection, strings.ReplaceAll(injection, "\n", "\r"), "1\n", "\n1", "1\x7f", "1\x1b[2J", "1\u0085"} {
			err := profile.Validate(profile.Profile{Config: map[string]string{key: value}})
			assert.ErrorContains(t, err, "config."+key, "%s: %q", key, value)
			if strings.HasPrefix(key, "environment.") {
				assert.NotContains(t, err.Error(), "hook", "a value that may be a secret is not shown")
			}
		}
	}
	for _, property := range []string{"source", "path", "raw.mount.options", "mode"} {
		device := map[string]string{"type": "disk", "source": "/srv/a", "path": "/a"}
		device[property] += injection
		err := profile.Validate(profile.Profile{Devices: map[string]map[string]string{"d": device}})
		assert.ErrorContains(t, err, "devices.d."+property)
	}
	for _, key := range []string{"environment.A\nlxc.x", "environment.A=B", "environment.A B", "linux.sysctl.a\nb", "linux.sysctl.a=b", "limits.kernel.nofile\nx", "user.a\nb"} {
		err := profile.Validate(profile.Profile{Config: map[string]string{key: "1"}})
		assert.ErrorContains(t, err, "is not an option of LXD containers", key)
	}
	require.NoError(t, profile.Validate(profile.Profile{Config: map[string]string{
		"raw.lxc": "lxc.a = 1\nlxc.b = 2\n", "user.note": "two\nlines\t", "security.syscalls.deny": "mount\numount",
	}}), "what is lines by its meaning")
}

func TestKernelLimits(t *testing.T) {
	for value, fits := range map[string]bool{
		"0": true, "1024": true, "unlimited": true, "1024:4096": true, "1024:unlimited": true, "unlimited:unlimited": true, "18446744073709551615": true,
		"": false, "-1": false, "+1": false, " 1": false, "1k": false, "1:": false, ":1": false, "1:2:3": false, "unlimited:1": false, "2:1": false,
		"Unlimited": false, "18446744073709551616": false, "1\n": false, "0x10": false,
	} {
		err := profile.Validate(profile.Profile{Config: map[string]string{"limits.kernel.nofile": value}})
		assert.Equal(t, fits, err == nil, "%q: %v", value, err)
	}
	for name, fits := range map[string]bool{"as": true, "rtprio": true, "stack": true, "nothing": false, "7": false, "nofile.x": false, "NOFILE": false} {
		err := profile.Validate(profile.Profile{Config: map[string]string{"limits.kernel." + name: "1"}})
		assert.Equal(t, fits, err == nil, "%s: %v", name, err)
	}
}

// liblxc sets a container's environment before it runs the hooks of the host.
func TestVariablesThatHooksFollow(t *testing.T) {
	for name, fits := range map[string]bool{
		"LANG": true, "http_proxy": true, "_X1": true, "LDAP_HOST": true, "JAVA_HOME": true, "PATHS": true,
		"LD_PRELOAD": false, "LD_LIBRARY_PATH": false, "PATH": false, "IFS": false, "BASH_ENV": false, "GLIBC_TUNABLES": false,
		"LXC_ROOTFS_MOUNT": false, "NVIDIA_VISIBLE_DEVICES": false, "1X": false, "A.B": false, "A-B": false,
	} {
		err := profile.Validate(profile.Profile{Config: map[string]string{"environment." + name: "/x"}})
		assert.Equal(t, fits, err == nil, "%s: %v", name, err)
	}
}

// No value is an option of modprobe, and no pattern is a template that reads files.
func TestValuesThatProgramsRead(t *testing.T) {
	for _, c := range []struct {
		key, value string
		fits       bool
	}{
		{"linux.kernel_modules", "overlay", true},
		{"linux.kernel_modules", "overlay,br_netfilter, nf-nat", true},
		{"linux.kernel_modules", "-r", false},
		{"linux.kernel_modules", "overlay,-d/srv", false},
		{"linux.kernel_modules", "overlay,", false},
		{"linux.kernel_modules", "../x", false},
		{"snapshots.pattern", "snap%d", true},
		{"snapshots.pattern", "{{ creation_date }}", true},
		{"snapshots.pattern", "s-{{ creation_date|date:'2006-01-02_15-04-05' }}", true},
		{"snapshots.pattern", `{% include "/etc/shadow" %}`, false},
		{"snapshots.pattern", "{{ creation_date.x }}", false},
		{"snapshots.pattern", "a/b", false},
		{"linux.sysctl.net.ipv4.ip_forward", "1", true},
		{"linux.sysctl.net/ipv4/conf/eth0.1/rp_filter", "1 2", true},
		{"linux.sysctl.x", "1", false},
		{"linux.sysctl.net..x", "1", false},
	} {
		err := profile.Validate(profile.Profile{Config: map[string]string{c.key: c.value}})
		assert.Equal(t, c.fits, err == nil, "%s=%q: %v", c.key, c.value, err)
	}
}

// Keys that came after LXD 5.0 are known, and an LXD without their extension refuses them.
func TestKeysOfLaterLXD(t *testing.T) {
	for key, value := range map[string]string{
		"ubuntu_pro.guest_attach": "available", "security.devlxd.management.volumes": "true", "placement.group": "web",
	} {
		p := profile.Profile{Config: map[string]string{key: value}}
		require.NoError(t, profile.Validate(p), key)
		require.ErrorContains(t, profile.Unsupported(p, func(string) bool { return false }), "config."+key+" is not an option of this LXD")
		require.NoError(t, profile.Unsupported(p, func(string) bool { return true }), key)
	}
	images := profile.Profile{Config: map[string]string{"security.devlxd.images": "true"}}
	require.NoError(t, profile.Validate(images))
	require.NoError(t, profile.Unsupported(images, func(string) bool { return false }), "LXD 5.0 has it")
	firmware := profile.Profile{Config: map[string]string{"boot.debug_edk2": "true"}}
	require.ErrorContains(t, profile.Validate(firmware), "is not for a profile: it is for the firmware of virtual machines")
}

// Whatever the key and the value: a profile that is accepted has control characters only
// where lines are meant, and no key has one.
func FuzzValidate(f *testing.F) {
	f.Add("environment.X", injection)
	f.Add("linux.sysctl.kernel.domainname", injection)
	f.Add("limits.kernel.nofile", "1\nlxc.hook.pre-start = /x")
	f.Add("nvidia.require.cuda", "cuda>=1\r\nlxc.x = y")
	f.Add("user.x\ny", "")
	f.Add("raw.lxc", "lxc.a = b\nlxc.c = d")
	multiline := map[string]bool{"raw.apparmor": true, "raw.idmap": true, "raw.lxc": true, "raw.seccomp": true, "security.syscalls.allow": true, "security.syscalls.deny": true}
	f.Fuzz(func(t *testing.T, key, value string) {
		control := func(s, but string) bool {
			return strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune(but, r) })
		}
		config := profile.Profile{Config: map[string]string{key: value}}
		if profile.Validate(config) == nil {
			but := ""
			if multiline[key] || strings.HasPrefix(key, "user.") {
				but = "\n\t"
			}
			if control(key, "") || control(value, but) {
				t.Fatalf("accepted %q: %q", key, value)
			}
		}
		for _, kind := range []string{"disk", "nic", "unix-char", "proxy", "gpu"} {
			device := map[string]string{"type": kind, "path": "/x", "connect": "tcp:127.0.0.1:1", "listen": "tcp:127.0.0.1:1", key: value}
			if profile.Validate(profile.Profile{Devices: map[string]map[string]string{"d": device}}) == nil && (control(key, "") || control(value, "")) {
				t.Fatalf("accepted %s with %q: %q", kind, key, value)
			}
			if profile.Validate(profile.Profile{Devices: map[string]map[string]string{key: {"type": "none"}}}) == nil && control(key, "") {
				t.Fatalf("accepted device %q", key)
			}
		}
	})
}

// The waits of a host for a container are bounded: LXD starts and stops one group of
// instances after the other.
func TestBootValuesAreBounded(t *testing.T) {
	for key, most := range map[string]int{
		"boot.autostart.delay": 60, "boot.autostart.priority": 100, "boot.host_shutdown_timeout": 600, "boot.stop.priority": 10,
	} {
		for value, fits := range map[string]bool{
			"0": true, fmt.Sprint(most): true, fmt.Sprint(most + 1): false, "-1": false, "999999999": false,
			"9223372036854775807": false, "-9223372036854775808": false, "99999999999999999999": false,
		} {
			err := profile.Validate(profile.Profile{Config: map[string]string{key: value}})
			assert.Equal(t, fits, err == nil, "%s=%s: %v", key, value, err)
		}
	}
}

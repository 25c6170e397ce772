package profile_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/document"
	"github.com/dcib/dcib/internal/profile"
)

func TestParse(t *testing.T) {
	p, err := profile.Parse([]byte("config:\n  limits.memory: 512MiB\n  limits.cpu: 2\n  boot.autostart: True\ndevices:\n  tun:\n    type: unix-char\n    path: /dev/net/tun\n"))
	require.NoError(t, err)
	assert.Equal(t, profile.Profile{
		Config:  map[string]string{"limits.memory": "512MiB", "limits.cpu": "2", "boot.autostart": "true"},
		Devices: map[string]map[string]string{"tun": {"type": "unix-char", "path": "/dev/net/tun"}},
	}, p)
	require.NoError(t, profile.Validate(p))

	for _, empty := range []string{"", "# nothing\n", "null", "config:\n", "config: {}\ndevices:"} {
		p, err := profile.Parse([]byte(empty))
		require.NoError(t, err, empty)
		assert.True(t, p.IsEmpty(), empty)
	}
}

// What is wrong is named by its path, with what would be right.
func TestRefusals(t *testing.T) {
	bomb := "config:\n  a: &a [x,x,x,x,x,x,x,x]\n  b: &b [*a,*a,*a,*a,*a,*a,*a]\n  c: [*b,*b,*b,*b,*b,*b,*b]\n"
	for name, c := range map[string]struct {
		text string
		says []string
	}{
		"too long":           {strings.Repeat("#", 1<<20), []string{"is 1048576 bytes long, wanted at most 65536"}},
		"not UTF-8":          {"config: {user.x: \xff}", []string{"the text is not in UTF-8"}},
		"not YAML":           {"config: [", []string{"is not YAML"}},
		"no mapping":         {"limits.memory=1GiB", []string{`is "limits.memory=1GiB", wanted a mapping`}},
		"two documents":      {"config: {}\n---\nconfig: {}", []string{"second YAML document"}},
		"bomb":               {bomb, []string{"config.a is a YAML alias", "config.b is a YAML alias", "config.c is a list"}},
		"alias":              {"config: &c {limits.cpu: 1}\ndevices: {x: *c}", []string{"line 1: config is a YAML alias, wanted the content itself", "line 2: devices.x is a YAML alias"}},
		"merge key":          {"config: {<<: {limits.cpu: 1}}", []string{"config.<< is a YAML merge key"}},
		"twice":              {"config:\n  limits.cpu: 1\n  limits.cpu: 2", []string{"line 3: config.limits.cpu is there twice"}},
		"unknown part":       {"name: x\nconfig: {}", []string{"name is not a part of a profile, wanted config or devices"}},
		"no value":           {"config: {limits.cpu: }", []string{"config.limits.cpu has no value"}},
		"list":               {"config: {limits.cpu: [1, 2]}", []string{"config.limits.cpu is a list"}},
		"float":              {"config: {limits.cpu: 1.5}", []string{`config.limits.cpu is "1.5", wanted text, a whole number`}},
		"octal":              {"config: {limits.cpu: 010}", []string{"config.limits.cpu is the number 010"}},
		"binary":             {"config: {user.x: !!binary aGk=}", []string{`config.user.x is "aGk="`}},
		"unknown key":        {"config: {limits.memroy: 1GiB}", []string{"config.limits.memroy is not an option of LXD containers"}},
		"bare namespace":     {"config: {user.: x}", []string{"config.user. is not an option"}},
		"odd key":            {"config: {\"user.a b\": x}", []string{"config.user.a b is not an option"}},
		"wrong size":         {"config: {limits.memory: lots}", []string{`config.limits.memory is "lots", wanted a size such as 512MiB, or a share of the host such as 50%`}},
		"no memory":          {"config: {limits.memory: 0}", []string{`config.limits.memory is "0"`}},
		"huge":               {"config: {limits.memory: 99EiB}", []string{`config.limits.memory is "99EiB"`}},
		"percent":            {"config: {limits.memory: 101%}", []string{`config.limits.memory is "101%"`}},
		"cpus":               {"config: {limits.cpu: 3-1}", []string{`config.limits.cpu is "3-1", wanted a number of CPUs`}},
		"cpu twice":          {"config: {limits.cpu: \"1-3,3\"}", []string{`config.limits.cpu is "1-3,3"`}},
		"boolean":            {"config: {security.nesting: maybe}", []string{`config.security.nesting is "maybe", wanted true or false`}},
		"ours":               {"config: {user.dcib.nonce: x}", []string{"config.user.dcib.nonce is not for a profile: it is lxd-cluster's own"}},
		"Juju's":             {"config: {user.juju-model-uuid: x}", []string{"config.user.juju-model-uuid is not for a profile: it is Juju's own"}},
		"volatile":           {"config: {volatile.uuid: x}", []string{"config.volatile.uuid is not for a profile"}},
		"no type":            {"devices: {tun: {path: /dev/net/tun}}", []string{"devices.tun.type is missing, wanted one of disk, gpu"}},
		"unknown type":       {"devices: {tun: {type: tunnel}}", []string{`devices.tun.type is "tunnel"`}},
		"traversal":          {"devices: {d: {type: disk, source: /srv/../etc, path: /mnt}}", []string{`devices.d.source is "/srv/../etc", wanted a whole path`}},
		"relative traversal": {"devices: {d: {type: disk, source: ../../etc, path: /mnt}}", []string{`devices.d.source is "../../etc"`}},
		"relative path":      {"devices: {d: {type: disk, source: /srv, path: mnt}}", []string{`devices.d.path is "mnt"`}},
		"root disk":          {"devices: {root: {type: disk, path: /, pool: p}}", []string{"devices.root.path is the root disk"}},
		"missing property":   {"devices: {d: {type: disk, source: /srv}}", []string{"devices.d.path is missing"}},
		"Ceph's files":       {"devices: {d: {type: disk, source: \"cephfs:f/p\", path: /m, ceph.cluster_name: ../../srv/x}}", []string{`devices.d.ceph.cluster_name is "../../srv/x"`}},
		"device name":        {"devices: {../x: {type: gpu}}", []string{"devices.../x is not a name for a device"}},
		"all at once":        {"config: {limits.cpu: x, limits.memory: y}\ndevices: {d: {}}", []string{"config.limits.cpu", "config.limits.memory", "devices.d.type"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := profile.Parse([]byte(c.text))
			if err == nil {
				err = profile.Validate(p)
			}
			require.Error(t, err)
			var problems document.Problems
			require.ErrorAs(t, err, &problems)
			for _, says := range c.says {
				assert.Contains(t, err.Error(), says)
			}
			assert.Less(t, len(err.Error()), 4096, "a status line must stay readable")
		})
	}
}

func TestValuesThatFit(t *testing.T) {
	for _, line := range []string{
		"limits.memory: 512MiB", "limits.memory: 50%", "limits.memory: 1000000",
		"limits.cpu: 1", "limits.cpu: \"0-3,6\"", "limits.cpu: 2-2", "limits.cpu.allowance: 25ms/100ms", "limits.cpu.allowance: 20%",
		"limits.processes: 100", "limits.kernel.nofile: 1024", "linux.sysctl.net.ipv4.ip_forward: 1",
		"limits.memory.enforce: soft", "security.syscalls.intercept.mknod: true", "user.note: \"\"", "environment.LANG: C.UTF-8",
	} {
		p, err := profile.Parse([]byte("config: {" + line + "}"))
		require.NoError(t, err)
		require.NoError(t, profile.Validate(p), line)
	}
}

func TestClassify(t *testing.T) {
	assert.Equal(t, map[string]profile.Effect{
		"config.limits.memory":       profile.Live,
		"config.security.privileged": profile.Restart,
		"config.limits.kernel.cpu":   profile.Restart,
		"config.user.dcib.x":         profile.Refused,
		"config.no.such":             profile.Refused,
		"devices.gpu0":               profile.Live,
		"devices.tpm0":               profile.Restart,
	}, profile.Classify(profile.Profile{
		Config:  map[string]string{"limits.memory": "", "security.privileged": "", "limits.kernel.cpu": "", "user.dcib.x": "", "no.such": ""},
		Devices: map[string]map[string]string{"gpu0": {"type": "gpu"}, "tpm0": {"type": "tpm"}},
	}))
	assert.Equal(t, "live restart refused", fmt.Sprint(profile.Live, " ", profile.Restart, " ", profile.Refused))
}

// The tables name only rows that are there, and every row can be told apart.
func TestTables(t *testing.T) {
	none := func(string) bool { return false }
	young := profile.Profile{Config: map[string]string{"limits.cpu.nodes": "0", "linux.kernel_modules.load": "ondemand", "security.delegate_bpf": "true", "security.delegate_bpf.map_types": "x", "security.protection.start": "true", "limits.cpu": "1"}}
	require.NoError(t, profile.Validate(young))
	err := profile.Unsupported(young, none)
	for key := range young.Config {
		assert.Equal(t, key != "limits.cpu", strings.Contains(err.Error(), "config."+key+" is not an option of this LXD"), key)
	}
	require.NoError(t, profile.Unsupported(young, func(string) bool { return true }))
}

func TestForContainers(t *testing.T) {
	ignored, refused := profile.ForContainers(profile.Profile{
		Config:  map[string]string{"limits.memory": "1GiB", "limits.processes": "9", "user.x": "y", "security.nesting": "true", "boot.autostart": "true"},
		Devices: map[string]map[string]string{"gpu0": {"type": "gpu"}, "kvm": {"type": "unix-char"}},
	})
	assert.Equal(t, []string{"config.limits.processes", "config.security.nesting", "devices.kvm"}, ignored)
	assert.Equal(t, []string{"devices.kvm"}, refused)
}

func TestSummaryShowsNoFreeText(t *testing.T) {
	assert.Equal(t, "environment.TOKEN, limits.cpu=2, limits.memory=1GiB, gpu0 (gpu)", profile.Profile{
		Config:  map[string]string{"limits.memory": "1GiB", "limits.cpu": "2", "environment.TOKEN": "secret"},
		Devices: map[string]map[string]string{"gpu0": {"type": "gpu"}},
	}.Summary())
}

func TestMerge(t *testing.T) {
	a := profile.Profile{Config: map[string]string{"limits.cpu": "1", "user.a": "a"}, Devices: map[string]map[string]string{"d": {"type": "disk", "path": "/a"}}}
	b := profile.Profile{Config: map[string]string{"limits.cpu": "2"}, Devices: map[string]map[string]string{"d": {"type": "gpu"}}}
	merged := profile.Merge(a, b)
	assert.Equal(t, profile.Profile{
		Config:  map[string]string{"limits.cpu": "2", "user.a": "a"},
		Devices: map[string]map[string]string{"d": {"type": "gpu"}},
	}, merged)
	merged.Devices["d"]["type"] = "nic"
	assert.Equal(t, "gpu", b.Devices["d"]["type"], "merging does not share")
	assert.True(t, profile.Profile{}.Equal(profile.Merge()))
	assert.False(t, a.Equal(b))
}

// Whatever the text, reading it ends, and what was accepted is small and is read the same
// from its own strings.
func FuzzParse(f *testing.F) {
	f.Add("config:\n  limits.memory: 512MiB\ndevices:\n  tun: {type: unix-char, path: /dev/net/tun}\n")
	f.Add("a: &a [*a]")
	f.Add("config: {<<: *x}")
	f.Add("? [a, b]\n: c")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := profile.Parse([]byte(text))
		if err != nil {
			if err.Error() == "" {
				t.Fatal("a refusal without a reason")
			}
			return
		}
		again := profile.Merge(p)
		if !again.Equal(p) && !p.IsEmpty() {
			t.Fatalf("%v became %v", p, again)
		}
		bad, classes := profile.Validate(p), profile.Classify(p)
		for path, effect := range classes {
			if bad == nil && effect == profile.Refused {
				t.Fatalf("%s is valid and refused", path)
			}
		}
	})
}

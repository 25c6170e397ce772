package brokered_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// bad are options profile that are always refused, with the text of the refusal: where, and
// why.
var bad = map[string]struct{ text, says string }{
	"unknown key":              {"config: {limits.memroy: 1GiB}", "config.limits.memroy is not an option of LXD containers"},
	"unknown part":             {"cfg: {limits.memory: 1GiB}", "cfg is not a part of a profile"},
	"wrong type: list":         {"config: {limits.cpu: [1, 2]}", "config.limits.cpu is a list"},
	"wrong type: mapping":      {"config: {limits.cpu: {a: b}}", "config.limits.cpu is a mapping"},
	"wrong type: null":         {"config: {limits.cpu: ~}", "config.limits.cpu has no value"},
	"wrong type: device":       {"devices: {tun: /dev/net/tun}", `devices.tun is "/dev/net/tun"`},
	"wrong value":              {"config: {limits.memory: lots}", `config.limits.memory is "lots", wanted a size`},
	"wrong boolean":            {"config: {security.nesting: perhaps}", `config.security.nesting is "perhaps"`},
	"forbidden: Juju's":        {"config: {user.juju-units-deployed: web/0}", "config.user.juju-units-deployed is not for a profile"},
	"forbidden: ours":          {"config: {user.dcib.nonce.1: x}", "config.user.dcib.nonce.1 is not for a profile"},
	"forbidden: cloud-init":    {"config: {cloud-init.user-data: x}", "config.cloud-init.user-data is not for a profile"},
	"forbidden: volatile":      {"config: {volatile.idmap.base: 0}", "config.volatile.idmap.base is not for a profile"},
	"forbidden: devlxd":        {"config: {security.devlxd: false}", "config.security.devlxd is not for a profile"},
	"device without type":      {"devices: {tun: {path: /dev/net/tun}}", "devices.tun.type is missing"},
	"device of no type":        {"devices: {tun: {type: tunnel}}", `devices.tun.type is "tunnel"`},
	"root disk":                {"devices: {root: {type: disk, path: /, pool: p}}", "devices.root.path is the root disk"},
	"traversal: source":        {"devices: {d: {type: disk, source: /srv/../etc, path: /m}}", `devices.d.source is "/srv/../etc"`},
	"traversal: relative":      {"devices: {d: {type: disk, source: ../etc, path: /m}}", `devices.d.source is "../etc"`},
	"traversal: path":          {"devices: {d: {type: disk, source: /srv, path: /m/../../etc}}", `devices.d.path is "/m/../../etc"`},
	"traversal: name":          {"devices: {../../x: {type: gpu}}", "devices.../../x is not a name for a device"},
	"traversal: double slash":  {"devices: {d: {type: unix-char, path: /dev//kvm}}", `devices.d.path is "/dev//kvm"`},
	"1 MiB":                    {"config: {user.x: " + strings.Repeat("x", 1<<20) + "}", "bytes long, wanted at most 65536"},
	"1 MiB of keys":            {"config: {" + strings.Repeat("a: b, ", 1<<18) + "}", "bytes long, wanted at most 65536"},
	"too many keys":            {"config:\n" + strings.Repeat("  user.x: y\n", 600), "config has 600 keys, wanted at most 512"},
	"bomb: laughs":             {"config:\n  a: &a [x,x,x,x,x,x,x,x,x]\n  b: &b [*a,*a,*a,*a,*a,*a,*a,*a]\n  c: [*b,*b,*b,*b,*b,*b,*b,*b]", "config.c is a list"},
	"bomb: of mappings":        {"config: &a {user.x: y}\ndevices: {d: *a}", "devices.d is a YAML alias"},
	"bomb: merge":              {"config: {<<: {user.x: y}}", "config.<< is a YAML merge key"},
	"bomb: itself":             {"config: &a {user.x: *a}", "config"},
	"bomb: depth":              {strings.Repeat("[", 30000), "is not YAML"},
	"bomb: flow depth":         {"config: " + strings.Repeat("{a: ", 9000), "is not YAML"},
	"no UTF-8":                 {"config: {user.x: \xff\xfe}", "the text is not in UTF-8"},
	"UTF-8 in pieces":          {"config: {user.x: \xc3}", "the text is not in UTF-8"},
	"a NUL":                    {"config: {user.x: \"a\\0b\"}", "config.user.x has the control character U+0000 at byte 2"},
	"twice":                    {"config:\n  limits.cpu: 1\n  limits.cpu: 2", "config.limits.cpu is there twice"},
	"octal":                    {"config: {limits.processes: 0777}", "config.limits.processes is the number 0777"},
	"two documents":            {"config: {}\n---\nconfig: {}", "second YAML document"},
	"a tag":                    {"config: {user.x: !!binary aGk=}", "config.user.x is"},
	"a key that is no text":    {"config: {[a]: b}", "config has a key that is a list"},
	"a key with a line in it":  {"config: {\"limits.cpu\\nraw.lxc\": x}", "is not an option of LXD containers"},
	"a property with a slash?": {"devices: {d: {type: gpu, \"a b\": c}}", `devices.d has the property "a b"`},
}

// Every one of them blocks the unit with the place and the reason, and changes nothing.
func TestEveryBadProfileIsRefused(t *testing.T) {
	for name, c := range bad {
		t.Run(name, func(t *testing.T) {
			m := newModel(t)
			m.hook("sub/0")
			before := m.request()
			m.config(c.text)
			for _, unit := range []string{"sub/0", "sub/1"} {
				m.hook(unit)
				require.True(t, strings.HasPrefix(m.status(unit), "blocked: cannot use option profile: "), m.status(unit))
				assert.Contains(t, m.status(unit), c.says)
				assert.Less(t, len(m.status(unit)), 2000)
			}
			assert.Equal(t, before, m.request())
		})
	}
}

package broker_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// A requirer that does not validate, or lies, gets nothing past the broker: what was in
// force stays, and the answer says where and why.
func TestEveryInvalidRequestIsRefused(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for name, c := range map[string]struct{ profile, says string }{
		"unknown key":         {`{"config": {"limits.memroy": "1GiB"}}`, "config.limits.memroy is not an option"},
		"wrong type":          {`{"config": {"limits.memory": 5}}`, "profile is not as in version 1"},
		"wrong value":         {`{"config": {"limits.memory": "lots"}}`, `config.limits.memory is "lots"`},
		"not JSON":            {`config: {}`, "profile is not as in version 1"},
		"forbidden":           {`{"config": {"user.juju-model-uuid": "x"}}`, "config.user.juju-model-uuid is not for a profile"},
		"ours":                {`{"config": {"user.dcib.owner": "x"}}`, "config.user.dcib.owner is not for a profile"},
		"not allowed":         {`{"config": {"raw.lxc": "x"}}`, `config.raw.lxc: profile-policy does not allow it: its keys (line 1) would need "raw.lxc"`},
		"device without type": {`{"devices": {"tun": {"path": "/dev/net/tun"}}}`, "devices.tun.type is missing"},
		"device not allowed":  {`{"devices": {"gpu0": {"type": "gpu"}}}`, `devices.gpu0: profile-policy does not allow it: its devices (line 10) would need "gpu"`},
		"traversal":           {`{"devices": {"d": {"type": "disk", "source": "/srv/../etc", "path": "/m"}}}`, `devices.d.source is "/srv/../etc"`},
		"root":                {`{"devices": {"root": {"type": "disk", "path": "/"}}}`, "devices.root.path is the root disk"},
		"1 MiB":               {`{"config": {"user.x": "` + long + `"}}`, "bytes long, wanted at most"},
		"deep":                {strings.Repeat(`{"config":`, 10000), "profile is not as in version 1"},
		"no UTF-8":            {"{\"config\": {\"user.\xff\": \"x\"}}", "is not an option"},
		"a NUL":               {`{"config": {"user.x": "a\u0000b"}}`, "config.user.x has the control character U+0000 at byte 2"},
	} {
		t.Run(name, func(t *testing.T) {
			c1 := newCluster(t)
			a := c1.ask(shop, "web", 2, "limits.memory=1GiB").settle()
			revision := a.state(0).Revision
			c1.lxd.Writes = nil
			a.relation.Databags[a.app]["profile"] = c.profile
			c1.hook()
			for i := range 2 {
				assert.Equal(t, lxdprofile.Refused, a.state(i).State)
				assert.Contains(t, a.state(i).Message, c.says)
				assert.Less(t, len(a.state(i).Message), 2000)
				assert.Equal(t, revision, a.state(i).Revision)
			}
			assert.Empty(t, c1.lxd.Writes)
			assert.Equal(t, "1GiB", c1.lxd.Profiles["dcib-shop-web"].Config["limits.memory"])
		})
	}
}

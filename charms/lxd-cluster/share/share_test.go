package share_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/charms/lxd-cluster/share"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/charm/crashtest"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/hooktool/hooktooltest"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
	"github.com/dcib/dcib/internal/seal"
)

const key = "QVFEU0VDUkVUU0VDUkVUU0VDUkVU"

// host is two units of lxd-cluster, each with a host of its own, and one application.
type host struct {
	t        *testing.T
	juju     *hooktooltest.Juju
	relation *hooktooltest.Relation
	dirs     map[string]string
	cluster  string
}

func newHost(t *testing.T) *host {
	h := &host{t: t, juju: hooktooltest.New(), dirs: map[string]string{}, cluster: lxdprofile.CephCluster("uuid", "web")}
	for _, unit := range []string{"lxd-cluster/0", "lxd-cluster/1"} {
		h.juju.AddUnit(unit, "")
		h.dirs[unit] = t.TempDir()
	}
	h.relation = h.juju.Relate("lxd-cluster:lxd-profile", "sub:lxd-profile")
	h.ask(lxdprofile.Ceph{})
	return h
}

func (h *host) ask(c lxdprofile.Ceph) {
	bag := lxdprofile.Wish{Application: "web", Model: "shop", ModelUUID: "uuid"}.Encode()
	bag["ceph"] = c.Encode()["ceph"]
	h.relation.Databags["sub"] = bag
}

func (h *host) hook(unit string) lxdprofile.Member {
	h.t.Helper()
	c := charm.Charm[share.Facts, share.World]{
		World: func(event hooktool.Event, tools hooktool.Tools) share.World {
			return share.World{Tools: tools, Folder: filepath.Join(h.dirs[event.Unit], "ceph"), StateDir: filepath.Join(h.dirs[event.Unit], "state")}
		},
		Observe: func(ctx context.Context, event hooktool.Event, w share.World) (share.Facts, error) {
			return share.Observe(ctx, event, w)
		},
		Plan: func(f share.Facts) charm.Plan[share.World] {
			return charm.Plan[share.World]{Steps: share.Plan(f), Status: charm.Active("")}
		},
	}
	require.NoError(h.t, crashtest.Try(nil, h.juju, c, hooktool.Event{Hook: "update-status", Unit: unit}))
	m, err := lxdprofile.DecodeMember(h.relation.Databags[unit])
	if err != nil {
		return lxdprofile.Member{}
	}
	return m
}

// sealTo seals an access to some units, by their numbers.
func (h *host) sealTo(access lxdprofile.CephAccess, of string, keys map[string]string) {
	text, err := json.Marshal(access)
	require.NoError(h.t, err)
	c := lxdprofile.Ceph{Of: of, Sealed: map[string]string{}}
	for n, public := range keys {
		c.Sealed[n], err = seal.Seal(public, lxdprofile.CephPurpose(h.cluster), text)
		require.NoError(h.t, err)
	}
	h.ask(c)
}

func (h *host) files(unit string) map[string]string {
	files := map[string]string{}
	found, _ := filepath.Glob(filepath.Join(h.dirs[unit], "ceph", "*"))
	for _, file := range found {
		text, err := os.ReadFile(file)
		require.NoError(h.t, err)
		info, err := os.Stat(file)
		require.NoError(h.t, err)
		assert.Equal(h.t, os.FileMode(0o600), info.Mode().Perm(), file)
		files[filepath.Base(file)] = string(text)
	}
	return files
}

var access = lxdprofile.CephAccess{Monitors: []string{"10.0.0.1", "[fd00::1]:6789"}, User: "web", Key: key}

func TestEachHostGetsItsOwn(t *testing.T) {
	h := newHost(t)
	require.NoError(t, os.MkdirAll(filepath.Join(h.dirs["lxd-cluster/0"], "ceph"), 0o755))
	theirs := filepath.Join(h.dirs["lxd-cluster/0"], "ceph", "dcib-theirs.conf")
	require.NoError(t, os.WriteFile(theirs, []byte("[global]\n"), 0o600))
	keys := map[string]string{}
	for n, unit := range map[string]string{"0": "lxd-cluster/0", "1": "lxd-cluster/1"} {
		m := h.hook(unit)
		require.NotEmpty(t, m.SealKey)
		assert.Empty(t, m.Ceph)
		assert.Equal(t, m, h.hook(unit), "the key stays")
		keys[n] = m.SealKey
	}
	h.sealTo(access, "one", keys)
	for _, unit := range []string{"lxd-cluster/0", "lxd-cluster/1"} {
		assert.Equal(t, "one", h.hook(unit).Ceph)
		files := h.files(unit)
		assert.Equal(t, "[client.web]\n\tkey = "+key+"\n", files[h.cluster+".client.web.keyring"])
		assert.Contains(t, files[h.cluster+".conf"], "\n[global]\nmon_host = 10.0.0.1,[fd00::1]:6789\n")
	}
	for owner, bag := range h.relation.Databags {
		for _, value := range bag {
			assert.NotContains(t, value, key, owner)
		}
	}
	for _, unit := range h.juju.Units {
		assert.NotContains(t, strings.Join(unit.Log, "\n"), key)
	}

	// Another user: nothing of the one before is left. Only to unit 1, so unit 0 stays.
	other := access
	other.User = "db"
	h.sealTo(other, "two", map[string]string{"1": keys["1"]})
	assert.Equal(t, "two", h.hook("lxd-cluster/1").Ceph)
	assert.NotContains(t, h.files("lxd-cluster/1"), h.cluster+".client.web.keyring")
	assert.Equal(t, "one", h.hook("lxd-cluster/0").Ceph)

	// The share, or the relation, goes: so does the key. What is not ours stays.
	h.ask(lxdprofile.Ceph{})
	delete(h.relation.Databags["sub"], "ceph")
	h.hook("lxd-cluster/1")
	assert.Empty(t, h.files("lxd-cluster/1"))
	h.juju.Unrelate(h.relation)
	h.hook("lxd-cluster/0")
	assert.Equal(t, map[string]string{"dcib-theirs.conf": "[global]\n"}, h.files("lxd-cluster/0"))
}

// What would become another line of a file, or another file, is not written.
func TestBadAccess(t *testing.T) {
	for name, bad := range map[string]lxdprofile.CephAccess{
		"no monitor":     {User: "web", Key: key},
		"a line":         {Monitors: []string{"10.0.0.1\nkeyring=/etc/shadow"}, User: "web", Key: key},
		"a user's path":  {Monitors: []string{"10.0.0.1"}, User: "../x", Key: key},
		"no user":        {Monitors: []string{"10.0.0.1"}, Key: key},
		"no key":         {Monitors: []string{"10.0.0.1"}, User: "web"},
		"a key's line":   {Monitors: []string{"10.0.0.1"}, User: "web", Key: "x\n[client.admin]"},
		"for another":    {},
		"sealed to them": {},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			public := h.hook("lxd-cluster/0").SealKey
			switch name {
			case "for another":
				h.cluster = "dcib-another"
				bad = access
			case "sealed to them":
				public = h.hook("lxd-cluster/1").SealKey
				bad = access
			}
			h.sealTo(bad, "one", map[string]string{"0": public})
			m := h.hook("lxd-cluster/0")
			assert.Empty(t, m.Ceph)
			assert.Contains(t, m.Problem, "cannot ")
			assert.NotContains(t, m.Problem, "shadow")
			assert.Empty(t, h.files("lxd-cluster/0"))
		})
	}
}

func TestNobodyAsks(t *testing.T) {
	h := newHost(t)
	delete(h.relation.Databags["sub"], "ceph")
	assert.Empty(t, h.hook("lxd-cluster/0").SealKey)
	assert.NoDirExists(t, filepath.Join(h.dirs["lxd-cluster/0"], "state"))
}

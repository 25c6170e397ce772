package brokered_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/relation/lxdprofile"
	"github.com/dcib/dcib/internal/seal"
)

const cephKey = "QVFEU0VDUkVUU0VDUkVUU0VDUkVU"

// The key goes to each host of the broker's, sealed, before the share is asked for.
func TestTheKeyOfAShareIsSent(t *testing.T) {
	m := newModel(t)
	m.juju.AddUnit("lxd-cluster/1", "10.0.1.2")
	options := map[string]any{"preset": "cephfs", "profile": "config: {limits.cpu: 1}", "cephfs-monitors": "10.9.0.1, 10.9.0.2:6789", "cephfs-user": "web"}
	m.options(options)
	m.hook("sub/0")
	assert.Equal(t, "blocked: missing option cephfs-secret: wanted a secret with the key of cephfs-user as key", m.status("sub/0"))
	options["cephfs-secret"] = "secret:c"
	m.options(options)
	m.hook("sub/0")
	assert.Contains(t, m.status("sub/0"), "blocked: cannot read the secret of option cephfs-secret: ")
	m.juju.Secrets = map[string]map[string]string{"secret:c": {"password": "x"}}
	m.hook("sub/0")
	assert.Equal(t, "blocked: cannot use the secret of option cephfs-secret: it has no key", m.status("sub/0"))
	m.juju.Secrets["secret:c"] = map[string]string{"key": cephKey}

	cluster := lxdprofile.CephCluster("the broker's", "lxd-profile:7")
	asked := func() *lxdprofile.Ceph {
		c, err := lxdprofile.DecodeCeph(m.relation.Databags["sub"])
		require.NoError(t, err)
		return c
	}
	m.hook("sub/0")
	assert.Equal(t, &lxdprofile.Ceph{Source: "cephfs:cephfs/"}, asked(), "keys to seal to")
	assert.Empty(t, m.request().Profile.Devices)
	assert.Equal(t, "1", m.request().Profile.Config["limits.cpu"], "the rest does not wait")
	assert.Equal(t, "waiting: waiting for the key of the share on lxd-cluster/0, lxd-cluster/1", m.status("sub/0"))

	keys := map[string]*seal.Key{}
	member := func(unit, ceph string) {
		if keys[unit] == nil {
			key, err := seal.NewKey()
			require.NoError(t, err)
			keys[unit] = key
		}
		m.relation.Databags[unit] = lxdprofile.Member{SealKey: keys[unit].Public(), Ceph: ceph}.Encode()
	}
	member("lxd-cluster/0", "")
	m.hook("sub/0")
	assert.Empty(t, asked().Sealed, "the broker has not named the cluster yet")
	m.relation.Databags["lxd-cluster"] = lxdprofile.ProfileStatus{Units: map[string]lxdprofile.State{}, CephCluster: cluster}.Encode()
	m.hook("sub/0")
	first := asked().Digest
	member("lxd-cluster/1", "")
	digest := lxdprofile.CephAccess{Monitors: []string{"10.9.0.1", "10.9.0.2:6789"}, User: "web", Key: cephKey}.Digest()
	member("lxd-cluster/0", digest)
	m.hook("sub/0")
	ceph := asked()
	assert.NotEqual(t, first, ceph.Digest, "a unit more is another handing over")
	for n, unit := range map[string]string{"0": "lxd-cluster/0", "1": "lxd-cluster/1"} {
		text, err := keys[unit].Open(lxdprofile.CephPurpose(cluster), ceph.Sealed[n])
		require.NoError(t, err)
		var access lxdprofile.CephAccess
		require.NoError(t, json.Unmarshal(text, &access))
		assert.Equal(t, lxdprofile.CephAccess{Monitors: []string{"10.9.0.1", "10.9.0.2:6789"}, User: "web", Key: cephKey}, access)
		member(unit, digest)
	}
	m.hook("sub/0")
	assert.Equal(t, map[string]string{
		"type": "disk", "source": "cephfs:cephfs/", "path": "/mnt/cephfs", "ceph.cluster_name": cluster, "ceph.user_name": "web",
	}, m.request().Profile.Devices["cephfs"])
	assert.Equal(t, ceph, asked(), "what is sealed is not sealed again")

	for _, bag := range m.relation.Databags {
		assert.NotContains(t, fmt.Sprint(bag), cephKey)
	}
	for _, unit := range m.juju.Units {
		assert.NotContains(t, unit.Message+strings.Join(unit.Log, " "), cephKey)
	}
	m.relation.Databags["lxd-cluster/1"]["ceph-problem"] = "cannot use the access to a share: no"
	m.hook("sub/0")
	assert.Equal(t, "blocked: lxd-cluster/1: cannot use the access to a share: no", m.status("sub/0"))

	m.config("config: {limits.cpu: 1}")
	m.hook("sub/0")
	assert.Nil(t, asked(), "no share, no key")
}

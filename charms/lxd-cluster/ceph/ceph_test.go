package ceph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/relation/lxdcluster"
	"github.com/dcib/dcib/internal/testkit/crash"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

const key = "AQBUfpVeNl7CHxAA8/f6WTcYFxW2dJ5VyvWmJg=="

// model is a cluster of three members and a Ceph with two monitors, of which the second one
// leads.
type model struct {
	t        require.TestingT
	gate     *crashtest.Gate
	juju     *hooktooltest.Juju
	relation *hooktooltest.Relation
	dirs     map[string]string
	member   map[string]bool // units whose LXD is a member
	root     bool
	refuse   string // what Ceph answers

	// LXD, with the rules of its own that matter here.
	pool    *Pool
	sources map[string]string
	config  map[string]string
	broken  error // what creating the pool fails with
}

func newModel(t require.TestingT, tmp func() string) *model {
	m := &model{t: t, gate: &crashtest.Gate{}, juju: hooktooltest.New(), dirs: map[string]string{}, member: map[string]bool{}, sources: map[string]string{}}
	m.juju.Config["lxd-cluster"] = map[string]any{"ceph-osd-pool": "", "ceph-osd-replication-count": 3.0}
	m.juju.Relate("lxd-cluster:cluster", "lxd-cluster:cluster")
	for n := range 3 {
		unit := fmt.Sprintf("lxd-cluster/%d", n)
		m.juju.AddUnit(unit, "10.0.0.1")
		m.dirs[unit], m.member[unit] = filepath.Join(tmp(), "ceph"), true
	}
	m.juju.AddUnit("ceph-mon/0", "192.0.2.1")
	m.juju.AddUnit("ceph-mon/1", "192.0.2.2")
	return m
}

func (m *model) relate() { m.relation = m.juju.Relate("lxd-cluster:ceph", "ceph-mon:client") }

// ceph is what ceph-mon's hooks do.
func (m *model) ceph() {
	if m.relation == nil {
		return
	}
	for n, unit := range []string{"ceph-mon/0", "ceph-mon/1"} {
		bag := map[string]string{}
		for _, client := range m.units() {
			text := m.relation.Databags[client]["broker_req"]
			if text == "" {
				continue
			}
			bag["auth"], bag["key"], bag["ceph-public-address"] = "cephx", key, m.juju.Units[unit].Address
			if n == 0 {
				continue // does not lead
			}
			var request struct {
				ID string `json:"request-id"`
			}
			require.NoError(m.t, json.Unmarshal([]byte(text), &request))
			answer, err := json.Marshal(map[string]any{"request-id": request.ID, "exit-code": len(m.refuse), "stderr": m.refuse})
			require.NoError(m.t, err)
			bag["broker-rsp-"+strings.ReplaceAll(client, "/", "-")] = string(answer)
		}
		m.relation.Databags[unit] = bag
	}
}

func (m *model) units() []string { return []string{"lxd-cluster/0", "lxd-cluster/1", "lxd-cluster/2"} }

func name(unit string) string { return "node" + unit[len(unit)-1:] }

func (m *model) info(unit string) ClusterInfo {
	s := ClusterInfo{Unit: unit, App: "lxd-cluster", Peers: "cluster:0", Clustered: m.member[unit], PoolName: "ceph", Root: m.root, Drivers: []string{"ceph", "dir"}}
	for _, u := range m.units() {
		bag := m.juju.Relations[0].Databags[u]
		if m.member[u] {
			s.Members = append(s.Members, name(u))
		}
		if lxdcluster.ReadCeph(bag) {
			s.Ready = append(s.Ready, name(u))
		}
	}
	s.Told = slices.Contains(s.Ready, name(unit))
	s.IsCoordinator = len(s.Members) > 0 && s.Members[0] == name(unit)
	return s
}

func (m *model) charm() charm.Charm[Facts, Env] {
	return charm.Charm[Facts, Env]{
		Env: func(e hooktool.Event, tools hooktool.Tools) Env {
			return Env{Tools: tools, LXD: m, Dir: m.dirs[e.Unit]}
		},
		Observe: func(ctx context.Context, e hooktool.Event, w Env) (Facts, error) {
			return Observe(ctx, w, m.info(e.Unit))
		},
		Plan: func(f Facts) charm.Plan[Env] {
			p := Plan(f)
			if p.Status.Level == "" {
				p.Status = charm.Active("%s", f.Pending())
			}
			return p
		},
	}
}

func (m *model) settle(rounds int) {
	for range rounds {
		for _, unit := range m.units() {
			require.NoError(m.t, crashtest.Try(m.gate, m.juju, m.charm(), hooktool.Event{Hook: "update-status", Unit: unit}))
		}
		m.ceph()
	}
}

func (m *model) status(unit string) string {
	return m.juju.Units[unit].Status + ": " + m.juju.Units[unit].Message
}

func (m *model) Pool(context.Context, string) (*Pool, error) {
	if m.pool == nil {
		return nil, nil
	}
	pool := *m.pool
	return &pool, nil
}

func (m *model) Define(_ context.Context, _, member string, config map[string]string) error {
	if m.pool != nil && slices.Contains(m.pool.Defined, member) {
		return errors.New("the storage pool is already defined on member " + member)
	}
	defer m.gate.Effect("define on " + member)()
	if m.pool == nil {
		m.pool = &Pool{Driver: Driver}
	}
	m.pool.Defined = append(slices.Clone(m.pool.Defined), member)
	m.sources[member] = config["source"]
	return nil
}

func (m *model) Create(_ context.Context, _ string, config map[string]string) error {
	if m.broken != nil {
		return m.broken
	}
	for _, unit := range m.units() {
		if !m.member[unit] {
			continue
		}
		require.Contains(m.t, m.pool.Defined, name(unit))
		_, err := os.Stat(filepath.Join(m.dirs[unit], "ceph.client."+config["ceph.user.name"]+".keyring"))
		require.NoError(m.t, err, "LXD on %s cannot reach Ceph", unit)
	}
	require.False(m.t, m.pool.Created, "created twice")
	require.Empty(m.t, config["source"], "which is for one member")
	defer m.gate.Effect("create pool")()
	m.pool.Created, m.config = true, config
	return nil
}

func TestAPoolOnCephForAllMembers(t *testing.T) {
	m := newModel(t, t.TempDir)
	m.settle(1)
	for _, unit := range m.units() {
		require.Equal(t, "active: ", m.status(unit), "without a relation there is nothing to say")
	}
	m.relate()
	m.settle(5)
	for _, unit := range m.units() {
		require.Equal(t, "active: ", m.status(unit))
		conf, mode, err := read(filepath.Join(m.dirs[unit], "ceph.conf"))
		require.NoError(t, err)
		require.Equal(t, mark+"[global]\nmon_host = 192.0.2.1,192.0.2.2\nauth_client_required = cephx\n", conf)
		require.Equal(t, os.FileMode(0o644), mode)
		keyring, mode, err := read(filepath.Join(m.dirs[unit], "ceph.client.lxd-cluster.keyring"))
		require.NoError(t, err)
		require.Equal(t, "[client.lxd-cluster]\n\tkey = "+key+"\n", keyring)
		require.Equal(t, os.FileMode(0o600), mode, "readable by root only")
		for _, line := range append(m.juju.Units[unit].Log, m.status(unit)) {
			require.NotContains(t, line, key)
		}
	}
	for owner, bag := range m.juju.Relations[0].Databags {
		for _, value := range bag {
			require.NotContains(t, value, key, "in the peer databag of %s", owner)
		}
	}
	require.Equal(t, map[string]string{"node0": "lxd-cluster", "node1": "lxd-cluster", "node2": "lxd-cluster"}, m.sources)
	require.Equal(t, map[string]string{"ceph.cluster_name": "ceph", "ceph.osd.pool_name": "lxd-cluster", "ceph.user.name": "lxd-cluster"}, m.config)

	t.Run("and follows its monitors", func(t *testing.T) {
		m.juju.Units["ceph-mon/0"].Address = "192.0.2.9"
		m.settle(2)
		conf, _, err := read(filepath.Join(m.dirs["lxd-cluster/1"], "ceph.conf"))
		require.NoError(t, err)
		require.Contains(t, conf, "mon_host = 192.0.2.2,192.0.2.9")
	})
}

func TestAllThatIsMissingIsReported(t *testing.T) {
	const unit = "lxd-cluster/0"
	t.Run("the relation", func(t *testing.T) {
		m := newModel(t, t.TempDir)
		m.root = true
		m.settle(1)
		require.Equal(t, "blocked: option storage-driver is ceph, and there is no relation to Ceph: juju integrate lxd-cluster:ceph ceph-mon", m.status(unit))
		m.relate()
		m.settle(5)
		require.Equal(t, "active: ", m.status(unit))
	})
	t.Run("Ceph's answer, to one that has not joined either", func(t *testing.T) {
		m := newModel(t, t.TempDir)
		m.relate()
		for unit := range m.member {
			m.member[unit] = false
		}
		require.NoError(t, crashtest.Try(m.gate, m.juju, m.charm(), hooktool.Event{Hook: "update-status", Unit: unit}))
		require.Contains(t, m.status(unit), "waiting: waiting for the addresses and the key of Ceph's monitors")
		m.settle(3)
		require.Equal(t, "active: ", m.status(unit), "it has what LXD needs to join")
		require.Nil(t, m.pool)
	})
	t.Run("the configuration of one member", func(t *testing.T) {
		m := newModel(t, t.TempDir)
		m.relate()
		for range 4 {
			for _, unit := range m.units()[:2] {
				require.NoError(t, crashtest.Try(m.gate, m.juju, m.charm(), hooktool.Event{Hook: "update-status", Unit: unit}))
			}
			m.ceph()
		}
		require.Equal(t, "waiting: waiting for Ceph's configuration on node2, to create storage pool ceph", m.status(unit))
		require.Nil(t, m.pool)
		m.settle(3)
		require.True(t, m.pool.Created)
	})
	t.Run("Ceph refuses", func(t *testing.T) {
		m := newModel(t, t.TempDir)
		m.relate()
		m.refuse = "no OSDs"
		m.settle(3)
		require.Contains(t, m.status(unit), "blocked: cannot use OSD pool lxd-cluster: Ceph refuses: no OSDs")
		m.refuse = ""
		m.settle(3)
		require.Equal(t, "active: ", m.status(unit))
	})
	t.Run("LXD refuses, and what is defined by then is gone on with", func(t *testing.T) {
		m := newModel(t, t.TempDir)
		m.relate()
		m.broken = errors.New("no such user")
		m.settle(4)
		require.Contains(t, m.status(unit), "blocked: cannot create storage pool ceph on Ceph's OSD pool lxd-cluster: LXD says: no such user")
		m.broken = nil
		m.settle(2)
		require.Equal(t, "active: ", m.status(unit))
	})
	t.Run("a pool of that name", func(t *testing.T) {
		m := newModel(t, t.TempDir)
		m.relate()
		m.pool = &Pool{Driver: "dir", Created: true}
		m.settle(4)
		require.Contains(t, m.status(unit), "has one of that name with driver dir")
	})
	t.Run("a foreign ceph.conf", func(t *testing.T) {
		m := newModel(t, t.TempDir)
		m.relate()
		path := filepath.Join(m.dirs[unit], "ceph.conf")
		require.NoError(t, os.MkdirAll(m.dirs[unit], 0o700))
		theirs := "[global]\nmon host = [v2:192.0.2.7:3300/0,v1:192.0.2.7:6789/0]\n"
		require.NoError(t, os.WriteFile(path, []byte(theirs), 0o600))
		m.settle(4)
		require.Contains(t, m.status(unit), "is not this charm's and names none of the monitors 192.0.2.1, 192.0.2.2")
		theirs = strings.ReplaceAll(theirs, "192.0.2.7", "192.0.2.2")
		require.NoError(t, os.WriteFile(path, []byte(theirs), 0o600))
		m.settle(4)
		require.Equal(t, "active: ", m.status(unit), "of the same Ceph it will do")
		kept, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, theirs, string(kept))
	})
	t.Run("a monitor whose address has an option of its own", func(t *testing.T) {
		m := newModel(t, t.TempDir)
		m.relate()
		m.settle(5)
		conf := filepath.Join(m.dirs[unit], "ceph.conf")
		before, _, err := read(conf)
		require.NoError(t, err)
		m.juju.Units["ceph-mon/1"].Address = "192.0.2.66\nadmin_socket = /etc/cron.d/x"
		m.settle(3)
		require.Contains(t, m.status(unit), "blocked: cannot use Ceph: ceph-mon/1: cannot use a monitor's address (ceph-public-address)")
		after, _, err := read(conf)
		require.NoError(t, err)
		require.Equal(t, before, after)
		m.juju.Units["ceph-mon/1"].Address = "192.0.2.2"
		m.settle(3)
		require.Equal(t, "active: ", m.status(unit))
	})
	t.Run("an answer that is no JSON", func(t *testing.T) {
		m := newModel(t, t.TempDir)
		m.relate()
		m.settle(5)
		m.relation.Databags["ceph-mon/1"]["broker-rsp-lxd-cluster-0"] = "AOK"
		require.NoError(t, crashtest.Try(m.gate, m.juju, m.charm(), hooktool.Event{Hook: "update-status", Unit: unit}))
		require.Contains(t, m.status(unit), "blocked: cannot use Ceph: ceph-mon/1: cannot read what Ceph's broker answered")
	})
	t.Run("a monitor that has just left is still listed", func(t *testing.T) {
		m := newModel(t, t.TempDir)
		m.relate()
		m.settle(5)
		tools, _ := m.juju.Hook(unit)
		f, err := Observe(t.Context(), Env{Tools: gone{tools, "ceph-mon/0"}, LXD: m, Dir: m.dirs[unit]}, m.info(unit))
		require.NoError(t, err)
		require.Equal(t, []string{"192.0.2.2"}, f.Monitors)
	})
	t.Run("good options", func(t *testing.T) {
		m := newModel(t, t.TempDir)
		m.relate()
		m.juju.Config["lxd-cluster"] = map[string]any{"ceph-osd-pool": "a b", "ceph-osd-replication-count": 0.0}
		m.settle(2)
		require.Contains(t, m.status(unit), `blocked: option ceph-osd-pool is "a b"`)
		require.Contains(t, m.status(unit), "option ceph-osd-replication-count is 0")
		require.Empty(t, m.relation.Databags[unit])
		m.juju.Config["lxd-cluster"] = map[string]any{"ceph-osd-pool": "vms", "ceph-osd-replication-count": 2.0}
		m.settle(5)
		require.Equal(t, "vms", m.config["ceph.osd.pool_name"])
	})
}

// gone has the databag of a unit not found, as Juju has it of one that has just left.
type gone struct {
	hooktool.Tools
	unit string
}

func (g gone) RelationGet(ctx context.Context, relation, owner string) (map[string]string, error) {
	if owner == g.unit {
		return nil, fmt.Errorf("cannot run relation-get: %w", hooktool.ErrNotFound)
	}
	return g.Tools.RelationGet(ctx, relation, owner)
}

func TestCephSurvivesCrashes(t *testing.T) {
	crashtest.Check(t, func(run *crashtest.Run) any {
		m := newModel(run, t.TempDir)
		m.gate = run.Gate
		m.relate()
		for range 6 {
			for _, unit := range m.units() {
				_ = crashtest.Hook(run, m.juju, m.charm(), hooktool.Event{Hook: "update-status", Unit: unit})
			}
			m.ceph()
		}
		require.NotNil(run, m.pool)
		slices.Sort(m.pool.Defined)
		return []any{*m.pool, m.sources, m.config, m.status("lxd-cluster/0"), m.status("lxd-cluster/2")}
	}, crashtest.Late, crashtest.Lost)
}

func TestMonitorsInACephConf(t *testing.T) {
	for conf, want := range map[string]bool{
		"mon_host = 192.0.2.1,192.0.2.2\n":             true,
		"mon host=192.0.2.1:6789 192.0.2.3\n":          true,
		"mon-host = [v2:192.0.2.1:3300,v1:192.0.2.1]":  true,
		"mon_host = 192.0.2.11\n":                      false,
		"# 192.0.2.1\nfsid = x\nmon_host = 192.0.2.2 ": false,
		"": false,
	} {
		require.True(t, names("mon_host = [2001:db8::1]:6789\n", "[2001:db8::1]"))
		require.Equal(t, want, names(conf, "192.0.2.1"), conf)
	}
}

func FuzzMonitorsInACephConf(f *testing.F) {
	f.Add("mon_host = [v2:192.0.2.1:3300,v1:192.0.2.1]")
	f.Fuzz(func(t *testing.T, conf string) {
		if names(conf, "192.0.2.1") {
			require.Contains(t, conf, "192.0.2.1")
		}
	})
}

package maas

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/testkit/crash"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

const (
	at      = "http://maas.example:5240/MAAS"
	key     = "CONSUMER:TOKEN:HUSHHUSH"
	unit    = "lxd-cluster/0"
	another = "lxd-cluster/1"
)

// model is a cluster of two members.
type model struct {
	gate       *crashtest.Gate
	juju       *hooktooltest.Juju
	extensions []string
	shared     map[string]any            // LXD's configuration of the cluster
	own        map[string]map[string]any // and of each member, by unit
	managed    bool
	refuse     error
	facts      Facts // as they were seen last
}

func newModel() *model {
	m := &model{gate: &crashtest.Gate{}, juju: hooktooltest.New(), extensions: []string{"maas_network"}, shared: map[string]any{}, own: map[string]map[string]any{unit: {}, another: {}}}
	m.juju.Config["lxd-cluster"] = map[string]any{"maas-url": at, "maas-secret": "secret:d1", "maas-subnet-ipv4": "", "maas-subnet-ipv6": ""}
	m.juju.Secrets = map[string]map[string]string{"secret:d1": {"api-key": key + "\n"}}
	m.juju.AddUnit(unit, "10.0.0.1")
	m.juju.AddUnit(another, "10.0.0.2")
	return m
}

// server is one member's LXD.
type server struct {
	m    *model
	unit string
}

func (s server) GetServer() (*api.Server, string, error) {
	info := &api.Server{}
	info.APIExtensions, info.Environment.ServerVersion = s.m.extensions, "5.0.2"
	info.Config = map[string]any{}
	maps.Copy(info.Config, s.m.shared)
	maps.Copy(info.Config, s.m.own[s.unit])
	return info, "", nil
}

func (s server) configure(_ context.Context, what string, change func(map[string]any)) error {
	if s.m.refuse != nil {
		return fmt.Errorf("cannot make LXD %s: %w", what, s.m.refuse)
	}
	defer s.m.gate.Effect(what)()
	info, _, err := s.GetServer()
	if err != nil {
		return err
	}
	change(info.Config)
	s.m.own[s.unit] = map[string]any{keyMachine: info.Config[keyMachine]}
	delete(info.Config, keyMachine)
	s.m.shared = info.Config
	return nil
}

func (m *model) charm() charm.Charm[Facts, Env] {
	return charm.Charm[Facts, Env]{
		Env: func(e hooktool.Event, tools hooktool.Tools) Env {
			s := server{m, e.Unit}
			return Env{Tools: tools, LXD: s, Configure: s.configure}
		},
		Observe: func(ctx context.Context, e hooktool.Event, w Env) (Facts, error) {
			return Observe(ctx, w, ClusterInfo{IsCoordinator: e.Unit == unit, Hostname: "node" + e.Unit[len(e.Unit)-1:], App: "lxd-cluster", Bridge: "br0", Managed: m.managed})
		},
		Plan: func(f Facts) charm.Plan[Env] {
			m.facts = f
			p := Plan(f)
			p.Status = charm.Merge(charm.Active(""), p.Status)
			return p
		},
	}
}

func (m *model) hook(t require.TestingT, who string) string {
	require.NoError(t, crashtest.Try(m.gate, m.juju, m.charm(), hooktool.Event{Hook: "update-status", Unit: who}))
	u := m.juju.Units[who]
	for _, line := range append(u.Log, u.Message) {
		require.NotContains(t, line, "HUSHHUSH")
		require.NotContains(t, line, "TOKEN")
	}
	return u.Status + ": " + u.Message
}

func TestLXDIsToldOfMAAS(t *testing.T) {
	m := newModel()
	m.juju.Config["lxd-cluster"]["maas-subnet-ipv4"] = "10.0.0.0/24"
	require.Equal(t, "active: ", m.hook(t, another))
	require.Equal(t, map[string]any{keyMachine: "node1"}, m.own[another])
	require.Empty(t, m.shared, "which the other unit does")
	require.Empty(t, m.facts.NIC(), "LXD refuses instances that name a subnet of a MAAS it does not know")
	require.Equal(t, "active: ", m.hook(t, unit))
	require.Equal(t, map[string]any{keyMachine: "node0"}, m.own[unit])
	require.Equal(t, map[string]any{keyURL: at, keyKey: key}, m.shared)
	require.Equal(t, map[string]string{"maas.subnet.ipv4": "10.0.0.0/24"}, m.facts.NIC())
	require.Equal(t, "active: ", m.hook(t, another))

	m.juju.Secrets["secret:d1"]["api-key"] = "a:b:c"
	m.own[unit][keyMachine] = "by-hand"
	require.Equal(t, "active: ", m.hook(t, unit))
	require.Equal(t, "a:b:c", m.shared[keyKey], "a new key is followed")
	require.Equal(t, "by-hand", m.own[unit][keyMachine], "what an operator put there stays")
}

func TestWithoutOptionsNothingIsAsked(t *testing.T) {
	m := newModel()
	m.juju.Config["lxd-cluster"] = map[string]any{}
	m.extensions = nil
	require.Equal(t, "active: ", m.hook(t, unit))
	require.Nil(t, m.facts.Has)
	require.Nil(t, m.facts.NIC())
}

func TestWhatIsWrongIsSaidAndHeals(t *testing.T) {
	option := func(name, value string) func(*model) {
		return func(m *model) { m.juju.Config["lxd-cluster"][name] = value }
	}
	for name, c := range map[string]struct {
		spoil func(*model)
		says  []string
	}{
		"url":           {option("maas-url", "maas.example"), []string{`option maas-url is "maas.example"`, "like http://maas.example:5240/MAAS"}},
		"url with user": {option("maas-url", "http://me:pw@maas.example/MAAS"), []string{"option maas-url is"}},
		"no secret":     {option("maas-secret", ""), []string{"option maas-url is set, and option maas-secret is not", "juju add-secret maas api-key=KEY"}},
		"no url": {func(m *model) {
			option("maas-url", "")(m)
			option("maas-subnet-ipv6", "six")(m)
		}, []string{"option maas-secret is set, and option maas-url is not", `option maas-subnet-ipv6 is "six", and option maas-url is not set`}},
		"another secret": {option("maas-secret", "secret:d2"), []string{"option maas-secret is secret:d2", "not found", "juju grant-secret secret:d2 lxd-cluster"}},
		"no key":         {func(m *model) { m.juju.Secrets["secret:d1"] = map[string]string{"key": key} }, []string{"its field api-key is not the key of a MAAS user"}},
		"half a key":     {func(m *model) { m.juju.Secrets["secret:d1"] = map[string]string{"api-key": "TOKEN:HUSHHUSH"} }, []string{"wanted the output of `maas apikey`"}},
		"LXD 6.8":        {func(m *model) { m.extensions = nil }, []string{"LXD 5.0.2 has no MAAS integration", "(option bridge)"}},
		"a network of LXD's own": {func(m *model) {
			m.managed = true
			option("maas-subnet-ipv4", "lan")(m)
		}, []string{"lxc network set br0 maas.subnet.ipv4=lan"}},
		"MAAS refuses": {func(m *model) { m.refuse = errors.New("bad key " + key + ": HUSHHUSH") }, []string{"cannot make LXD be machine node0 in MAAS: bad key", "options maas-url and maas-secret"}},
		"MAAS refuses the key": {func(m *model) {
			m.own[unit][keyMachine] = "node0"
			m.refuse = errors.New("bad key " + key + ": HUSHHUSH")
		}, []string{"cannot make LXD know the MAAS at " + at + ": bad key …: …: check"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newModel()
			c.spoil(m)
			if name == "MAAS refuses" {
				m.refuse = errors.New("bad key")
			}
			status := m.hook(t, unit)
			require.Contains(t, status, "blocked: ")
			for _, text := range c.says {
				require.Contains(t, status, text)
			}
			if name != "a network of LXD's own" {
				require.Empty(t, m.shared)
			}
			require.Empty(t, m.facts.NIC())
			good := newModel()
			m.juju.Config, m.juju.Secrets, m.extensions, m.managed, m.refuse = good.juju.Config, good.juju.Secrets, good.extensions, false, nil
			require.Equal(t, "active: ", m.hook(t, unit))
			require.Equal(t, map[string]any{keyURL: at, keyKey: key}, m.shared)
		})
	}
}

func TestMAASSurvivesCrashes(t *testing.T) {
	crashtest.Check(t, func(run *crashtest.Run) any {
		m := newModel()
		m.gate = run.Gate
		for range 2 {
			for _, who := range []string{another, unit} {
				_ = crashtest.Hook(run, m.juju, m.charm(), hooktool.Event{Hook: "update-status", Unit: who})
			}
		}
		return []any{m.shared, m.own, m.juju.Units[unit].Status}
	}, crashtest.Late, crashtest.Lost)
}

package rack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/maas/node"
	"github.com/dcib/dcib/internal/relation/maascontroller"
	"github.com/dcib/dcib/internal/testkit/crash"
	"github.com/dcib/dcib/internal/testkit/hooktool"
	"github.com/dcib/dcib/internal/testkit/machine"
)

const (
	secret     = "5ec7e75ec7e75ec7e75ec7e75ec7e75e"
	another    = "0a0b0c0d0a0b0c0d0a0b0c0d0a0b0c0d"
	pkgVersion = "1:3.7.3-0ubuntu1"
)

// site is a rack's machine, its model, and what the region there knows.
type site struct {
	juju     *hooktooltest.Juju
	relation *hooktooltest.Relation
	machine  *machinetest.Machine
	gate     *crashtest.Gate
	secret   string   // the region's
	racks    []string // hostnames, in the order that the region took them in
}

func newSite(t require.TestingT, gate *crashtest.Gate, dir string) *site {
	s := &site{juju: hooktooltest.New(), gate: gate, secret: secret}
	s.juju.Config["maas-rack"] = map[string]any{"source": "deb [trusted=yes] file:/srv/maas ./"}
	s.juju.AddUnit("maas-rack/0", "10.0.0.7")
	s.juju.AddUnit("maas-region/0", "10.0.0.1")
	root, err := os.MkdirTemp(dir, "")
	require.NoError(t, err)
	s.machine = machinetest.New(gate, root, "rack0", "00:16:3e:00:00:01")
	s.machine.Archive[node.RackPackage] = pkgVersion
	s.machine.Started = s.started
	return s
}

// started is rackd: with the secret of the region at its address it gets an identity, by
// the one it has, or else by its host name.
func (s *site) started(service string) error {
	m := s.machine
	if service != "maas-rackd" || m.Text(node.SecretFile) != s.secret || !strings.Contains(m.Text(node.RackConf), "http://10.0.0.1:5240/MAAS") {
		return nil
	}
	at := -1
	for n, name := range s.racks {
		if m.Text(node.SystemIDFile) == fmt.Sprintf("rack%d", n) || at < 0 && name == m.Hostname {
			at = n
		}
	}
	if at < 0 {
		at = len(s.racks)
		s.racks = append(s.racks, m.Hostname)
	}
	m.Put(node.SystemIDFile, fmt.Sprintf("rack%d", at))
	m.Put("etc/maas/agent.yaml", "system_id: x")
	m.Put("var/lib/maas/http/nginx.conf", "http {}")
	return errors.Join(m.Start("maas-agent"), m.Start("maas-http"))
}

// relate is the region's side.
func (s *site) relate() {
	s.relation = s.juju.Relate("maas-rack:maas", "maas-region:maas")
	s.offer(s.secret)
}

func (s *site) offer(content string) {
	s.juju.Secrets = map[string]map[string]string{"secret:maas": {maascontroller.SecretField: content}}
	s.relation.Databags["maas-region"] = maascontroller.Offer{URL: "http://10.0.0.1:5240/MAAS", SecretID: "secret:maas"}.Encode()
}

func (s *site) charm() charm.Charm[Facts, Env] {
	return charm.Charm[Facts, Env]{
		Env: func(event hooktool.Event, tools hooktool.Tools) Env {
			return Env{Machine: s.machine.Node(), Tools: tools, Unit: event.Unit, App: event.App(), CharmDir: s.machine.Root, Wait: func(context.Context, func() bool) {}}
		},
		Observe: Observe,
		Plan:    Plan,
		Actions: map[string]charm.Action[Facts, Env]{"reset-identity": ResetIdentity, "prepare-clone": PrepareClone, "show-plan": ShowPlan, "upgrade-maas": UpgradeMAAS},
	}
}

func (s *site) hook(t *testing.T, name ...string) (status, message string) {
	t.Helper()
	event := hooktool.Event{Hook: "update-status", Unit: "maas-rack/0"}
	if len(name) > 0 {
		event.Hook = name[0]
	}
	require.NoError(t, crashtest.Try(s.gate, s.juju, s.charm(), event))
	unit := s.juju.Units["maas-rack/0"]
	return unit.Status, unit.Message
}

func (s *site) act(t *testing.T, name string, params map[string]any) *hooktooltest.Tools {
	t.Helper()
	tools, commit := s.juju.Hook("maas-rack/0")
	tools.Params = params
	require.NoError(t, s.charm().Run(t.Context(), hooktool.Event{Action: name, Unit: "maas-rack/0"}, tools))
	commit()
	return tools
}

// clear fails when a secret is where others can read it.
func (s *site) clear(t require.TestingT) {
	var all strings.Builder
	for _, r := range s.juju.Relations {
		fmt.Fprintln(&all, r.Databags)
	}
	for _, u := range s.juju.Units {
		fmt.Fprintln(&all, u.Log, u.Status, u.Message)
	}
	fmt.Fprintln(&all, s.machine.Ran)
	for _, word := range []string{secret, another} {
		require.NotContains(t, all.String(), word)
	}
	require.NotContains(t, s.machine.Text(preseed), secret)
}

func ready(t *testing.T) *site {
	t.Helper()
	s := newSite(t, nil, t.TempDir())
	s.relate()
	status, message := s.hook(t)
	require.Equal(t, "active", status, message)
	return s
}

func TestARackEnrolsAndLeaves(t *testing.T) {
	s := newSite(t, nil, t.TempDir())
	status, message := s.hook(t)
	require.Equal(t, "blocked", status)
	require.Contains(t, message, "juju integrate maas-rack:maas maas-region:maas")
	require.False(t, s.machine.Running["maas-rackd"], "no one is asked while there is no region")

	s.relation = s.juju.Relate("maas-rack:maas", "maas-region:maas")
	status, _ = s.hook(t)
	require.Equal(t, "waiting", status)
	s.offer(secret)
	status, message = s.hook(t)
	require.Equal(t, "active", status)
	require.Equal(t, "rack rack0 of http://10.0.0.1:5240/MAAS", message)
	require.ElementsMatch(t, slices.Concat(ports, shared), s.juju.Units["maas-rack/0"].Ports)
	require.Contains(t, s.juju.Units["maas-rack/0"].Said, "maintenance installing MAAS")
	require.Equal(t, "3.7.3", s.juju.Units["maas-rack/0"].Version)
	require.Equal(t, secret, s.machine.Text(node.SecretFile))
	require.Equal(t, map[string]string{"unit": "maas-rack/0", "url": "rack0", "dcib-system-id": "rack0", "dcib-version": pkgVersion}, s.relation.Databags["maas-rack/0"])
	s.clear(t)

	// A hook that has nothing to do changes nothing, and asks the machine twice.
	ran, reads := len(s.machine.Ran), s.machine.Reads
	s.hook(t)
	require.Len(t, s.machine.Ran, ran)
	require.LessOrEqual(t, s.machine.Reads-reads, 2)

	s.juju.Unrelate(s.relation)
	status, message = s.hook(t)
	require.Equal(t, "blocked", status, message)
	require.False(t, s.machine.Running["maas-rackd"])
	require.Empty(t, s.machine.Text(node.SecretFile))
	require.Empty(t, s.machine.Text(node.SystemIDFile))
	require.Empty(t, s.juju.Units["maas-rack/0"].Ports, "nothing listens any more")
	s.relate()
	status, _ = s.hook(t)
	require.Equal(t, "active", status)
	require.Equal(t, []string{"rack0"}, s.racks, "it is the same to MAAS")
	_, message = s.hook(t, "stop")
	require.Equal(t, "left its region", message)
	require.False(t, s.machine.Running["maas-rackd"])
	s.clear(t)
}

func TestRefreshing(t *testing.T) {
	s := ready(t)
	const next = "1:3.7.4-0ubuntu1"
	s.machine.Archive[node.RackPackage] = next
	require.Equal(t, map[string]string{"old-version": pkgVersion, "new-version": next}, s.act(t, "upgrade-maas", nil).Results)
	status, _ := s.hook(t)
	require.Equal(t, "active", status)
	require.Equal(t, next, s.relation.Databags["maas-rack/0"]["dcib-version"])
}

func TestNeverInstalled(t *testing.T) {
	s := ready(t)
	for _, line := range s.machine.Ran {
		if _, packages, ok := strings.Cut(line, " install "); ok {
			require.Equal(t, node.RackPackage, packages, "maas and maas-region-controller bring a region and a database")
		}
	}
}

func TestWhatTheRegionChanges(t *testing.T) {
	s := ready(t)
	s.machine.Put("var/lib/maas/certificates/cluster.pem", "old")
	s.secret = another
	s.racks = nil
	s.offer(another)
	status, message := s.hook(t)
	require.Equal(t, "active", status, message)
	require.Equal(t, another, s.machine.Text(node.SecretFile))
	require.Empty(t, s.machine.Text("var/lib/maas/certificates/cluster.pem"), "the old one's certificate does for the new one else")

	offer := maascontroller.Offer{URL: "http://10.0.0.9:5240/MAAS", SecretID: "secret:maas"}
	s.relation.Databags["maas-region"] = offer.Encode()
	status, message = s.hook(t)
	require.Equal(t, "active", status)
	require.Contains(t, message, "10.0.0.9")
	require.Contains(t, s.machine.Text(node.RackConf), "10.0.0.9")
	require.Equal(t, "rack0", s.machine.Text(node.SystemIDFile), "the same MAAS elsewhere: the same rack")
	s.clear(t)
}

// DELETE on a rack that is connected has it erase its secret and restart.
func TestARackThatMAASDeletedComesBack(t *testing.T) {
	s := ready(t)
	require.NoError(t, os.Remove(s.machine.Root+"/"+node.SecretFile))
	s.racks = nil
	status, message := s.hook(t)
	require.Equal(t, "active", status, message)
	require.Equal(t, []string{"rack0"}, s.racks)
	require.Equal(t, secret, s.machine.Text(node.SecretFile))
}

func TestWhatGoesWrongIsSaidAndHeals(t *testing.T) {
	for name, c := range map[string]struct {
		harm           func(s *site)
		fix            func(s *site)
		status, reason string
	}{
		"source unreachable": {
			func(s *site) { s.machine.Fails["update"] = "Failed to fetch file:/srv/maas: Could not connect" },
			func(s *site) { clear(s.machine.Fails) }, "waiting", "Could not connect",
		},
		"source unreachable in the middle": {
			func(s *site) {
				s.machine.Fails[" install "] = "Failed to fetch http://a/maas-common.deb: Connection timed out"
			},
			func(s *site) { clear(s.machine.Fails) }, "waiting", "Connection timed out",
		},
		"disk full": {
			func(s *site) { s.machine.Fails[" install "] = "dpkg: error: failed to write (No space left on device)" },
			func(s *site) { clear(s.machine.Fails) }, "blocked", "the disk is full",
		},
		"wrong source line": {
			func(s *site) { s.juju.Config["maas-rack"]["source"] = "maas/3.7" },
			func(s *site) { s.juju.Config["maas-rack"]["source"] = "ppa:maas/3.7" }, "blocked", "option source",
		},
		"a source without MAAS": {
			func(s *site) { s.machine.Archive = map[string]string{} },
			func(s *site) { s.machine.Archive[node.RackPackage] = pkgVersion }, "blocked", "apt knows no package maas-rack-controller",
		},
		"a package half configured": {
			func(s *site) { s.machine.HalfDone = true }, func(*site) {}, "blocked", "post-installation script",
		},
		"the region says nonsense": {
			func(s *site) { s.relation.Databags["maas-region"]["api_url"] = "10.0.0.1" },
			func(s *site) { s.offer(secret) }, "blocked", "wanted a URL",
		},
		"a secret that is none": {
			func(s *site) { s.offer("not hexadecimal") }, func(s *site) { s.offer(secret) }, "blocked", "is not a MAAS secret",
		},
		"a secret that is not granted yet": {
			func(s *site) { clear(s.juju.Secrets) }, func(s *site) { s.offer(secret) }, "waiting", "waiting for the region",
		},
		"a service that will not start": {
			func(s *site) { s.machine.Fails["enable --now maas-rackd"] = "Job for maas-rackd.service failed" },
			func(s *site) { clear(s.machine.Fails) }, "blocked", "journalctl -u maas-rackd",
		},
		"a region that does not take it in": {
			func(s *site) { s.secret = another }, func(s *site) { s.secret = secret; _ = s.started("maas-rackd") }, "waiting", "to take this rack in",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, nil, t.TempDir())
			s.relate()
			c.harm(s)
			status, message := s.hook(t)
			require.Equal(t, c.status, status, message)
			require.Contains(t, message, c.reason)
			c.fix(s)
			status, message = s.hook(t)
			require.Equal(t, "active", status, message)
			s.clear(t)
		})
	}
}

func TestARackBesideARegion(t *testing.T) {
	s := newSite(t, nil, t.TempDir())
	m := s.machine
	m.Dpkg[node.RegionPackage] = [2]string{"installed", pkgVersion}
	m.Put(node.RegionConf, "maas_url: http://10.0.0.1:5240/MAAS\n")
	m.Put(node.SecretFile, secret)
	m.Put(node.SystemIDFile, "rack0")
	s.racks = []string{"rack0"}
	s.relate()
	status, message := s.hook(t)
	require.Equal(t, "active", status, message)
	require.ElementsMatch(t, ports, s.juju.Units["maas-rack/0"].Ports, "the region has the others open")
	s.offer(another) // the region is the one that knows
	status, _ = s.hook(t)
	require.Equal(t, "active", status)
	require.Equal(t, secret, m.Text(node.SecretFile))
	require.Contains(t, s.act(t, "reset-identity", map[string]any{"force": true}).Failure, "is a region, too")
	s.juju.Unrelate(s.relation)
	s.hook(t)
	require.False(t, m.Running["maas-rackd"])
	require.Equal(t, secret, m.Text(node.SecretFile), "what is the region's stays")
	require.Equal(t, "rack0", m.Text(node.SystemIDFile))
}

// A rack whose agent or web server is dead boots no machine: it is not active.
func TestARackWithDeadServicesSaysSo(t *testing.T) {
	for _, name := range []string{"maas-agent", "maas-http", "maas-dhcpd"} {
		s := ready(t)
		m := s.machine
		m.Put("var/lib/maas/dhcpd.conf", "subnet")
		m.Running["maas-dhcpd"], m.Running[name] = true, false
		m.Fails["start "+name] = "Job for " + name + ".service failed"
		status, message := s.hook(t)
		require.Equal(t, "waiting", status, message)
		require.Contains(t, message, name+" does not run")
		require.Contains(t, message, "journalctl -u "+name)
		require.Contains(t, s.act(t, "show-plan", nil).Results["rackd"], name+" does not run")
		clear(m.Fails)
		status, message = s.hook(t)
		require.Equal(t, "active", status, message)
		require.True(t, m.Running[name])
	}
	// Without a configuration no DHCP server runs, and none has to.
	s := ready(t)
	require.False(t, s.machine.Running["maas-dhcpd"])
}

func TestIdentity(t *testing.T) {
	s := ready(t)
	s.machine.Put("dispatch", "program")
	require.Empty(t, s.act(t, "prepare-clone", nil).Failure)
	require.Contains(t, s.act(t, "reset-identity", nil).Failure, "force=true")

	// The files of a copy, on a machine of another name and address.
	s.machine.Hostname, s.machine.MAC = "rack1", "00:16:3e:00:00:02"
	s.machine.Running = map[string]bool{}
	status, message := s.hook(t)
	require.Equal(t, "active", status, message)
	require.Equal(t, []string{"rack0", "rack1"}, s.racks, "not merged with the original")
	require.Contains(t, message, "rack rack1 of")

	s.machine.MAC = "00:16:3e:00:00:03" // another network card
	status, message = s.hook(t)
	require.Equal(t, "active", status, message)
	require.Len(t, s.racks, 2)

	s.machine.Hostname = "rack2"
	require.Equal(t, map[string]string{"old-id": "rack1", "new-id": "rack2"}, s.act(t, "reset-identity", map[string]any{"force": true}).Results)
	require.Equal(t, "running", s.act(t, "show-plan", nil).Results["rackd"])
}

func TestCrashes(t *testing.T) {
	dir := t.TempDir()
	crashtest.Check(t, func(run *crashtest.Run) any {
		s := newSite(run, run.Gate, dir)
		run.Always = func() { s.clear(run) }
		hooks := func() any {
			for range 3 {
				_ = crashtest.Hook(run, s.juju, s.charm(), hooktool.Event{Hook: "update-status", Unit: "maas-rack/0"})
			}
			m := s.machine
			return []any{s.juju.Units["maas-rack/0"].Status, m.Running["maas-rackd"], m.Text(node.SecretFile), m.Text(node.SystemIDFile), m.Text(node.RackConf)}
		}
		s.relate()
		ends := []any{hooks(), s.relation.Databags["maas-rack/0"]}
		s.secret = another
		s.offer(another)
		ends = append(ends, hooks())
		s.machine.Hostname, s.machine.MAC = "rack1", "00:16:3e:00:00:02" // a copy
		ends = append(ends, hooks())
		s.juju.Unrelate(s.relation)
		return append(ends, hooks(), s.racks)
	}, crashtest.Late, crashtest.Lost)
}

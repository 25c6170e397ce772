package region

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/charms/maas-region/database"
	"github.com/dcib/dcib/internal/maas/node"
)

// MAAS puts hosts before ports without brackets (dbupgrade, Temporal's configuration), and looks
// names up as IPv4 alone: what it cannot use is refused before anything is changed.
func TestIPv6IsRefused(t *testing.T) {
	s := fresh(t, 1)
	unit, m := s.juju.Units[unit0], s.machines[unit0]
	unit.Address = "fd00::5"
	s.settle()
	require.Equal(t, "blocked", unit.Status)
	require.Contains(t, unit.Message, "juju bind maas-region maas=SPACE")
	require.Empty(t, m.Ran)
	unit.MoreAddresses = []string{"fe80::1", "10.0.0.1"}
	s.juju.Config["maas-region"]["maas-url"] = "http://[fd00::9]:5240/MAAS"
	s.settle()
	require.Equal(t, "blocked", unit.Status)
	require.Contains(t, unit.Message, "option maas-url")
	require.Contains(t, unit.Message, "IPv6")
	require.Empty(t, m.Ran)
	s.juju.Config["maas-region"]["maas-url"] = ""
	require.Error(t, database.Connection{Host: "fd00::7", Port: 5432, Name: "a", User: "a", Password: "a"}.Check())
	require.NoError(t, database.Connection{Host: "db.example", Port: 5432, Name: "a", User: "a", Password: "a"}.Check())

	// Of both families the IPv4 address is taken, by all.
	unit.Address, unit.MoreAddresses = "fd00::5", []string{"10.0.0.1"}
	hostOf := s.worlds[unit0]
	require.NotEmpty(t, hostOf)
	s.hook(unit0)
	require.Equal(t, "10.0.0.1", s.peers.Databags[unit0][keyAddress])
	require.NotContains(t, m.Text(node.RegionConf), "fd00")
}

func TestTheStatusNamesTheServiceThatIsDown(t *testing.T) {
	s := ready(t, 1)
	unit, m := s.juju.Units[unit0], s.machines[unit0]
	// One that ends after it has started.
	m.Running["maas-temporal"] = false
	s.waits = func() { m.Running["maas-temporal"] = false }
	s.hook(unit0)
	require.Equal(t, "waiting", unit.Status)
	require.Contains(t, unit.Message, "maas-temporal does not run (journalctl -u maas-temporal)")
	require.NotContains(t, unit.Message, "regiond")
	s.waits = nil
	s.hook(unit0)
	require.Equal(t, "active", unit.Status)

	s.dead = true
	s.hook(unit0)
	require.Contains(t, unit.Message, "maas-regiond runs, and does not answer yet (journalctl -u maas-regiond)")
	m.Put("usr/lib/systemd/system/maas-http.service", "")
	s.hook(unit0)
	require.Contains(t, unit.Message, "maas-http does not run (journalctl -u maas-http)")
	s.dead = false

	// What regiond starts again itself is named beside.
	s.hook(unit0)
	require.Equal(t, "active", unit.Status)
	require.Contains(t, unit.Message, "maas-http does not run (journalctl -u maas-http)")
	m.Running["maas-http"] = true
	s.hook(unit0)
	require.NotContains(t, unit.Message, "maas-http")
}

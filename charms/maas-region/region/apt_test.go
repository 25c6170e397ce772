package region

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/maas/node"
)

// MAAS's packages conflict with others that a machine may have for a purpose of its own.
func TestNoOtherPackageIsRemoved(t *testing.T) {
	s := fresh(t, 1)
	m := s.machines[unit0]
	m.Beside = map[string][]string{node.RegionPackage: {"dnsmasq", "systemd-timesyncd"}}
	m.Dpkg["dnsmasq"], m.Dpkg["systemd-timesyncd"] = [2]string{"installed", "2.90"}, [2]string{"installed", "255"}
	s.settle()
	require.Equal(t, "blocked", s.juju.Units[unit0].Status)
	require.Contains(t, s.juju.Units[unit0].Message, "it would remove dnsmasq from this machine")
	require.Contains(t, m.Dpkg, "dnsmasq")
	require.NotContains(t, m.Dpkg, node.RegionPackage)
	delete(m.Dpkg, "dnsmasq")
	s.settle()
	require.Equal(t, "active", s.juju.Units[unit0].Status, s.juju.Units[unit0].Message)
	require.NotContains(t, m.Dpkg, "systemd-timesyncd", "chrony replaces it")
}

package region

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What the unit itself works on is maintenance; waiting is for what others have to do.
func TestOwnWorkIsMaintenance(t *testing.T) {
	s := fresh(t, 2)
	s.settle()
	said := strings.Join(s.juju.Units[unit0].Said, "\n")
	for _, work := range []string{"maintenance setting the source of packages", "maintenance installing MAAS", "maintenance migrating the database to MAAS 3.7.3"} {
		require.Contains(t, said, work)
	}
	said = strings.Join(s.juju.Units[unit1].Said, "\n")
	require.Contains(t, said, "maintenance starting MAAS\nactive")
	require.Contains(t, said, "waiting waiting for the database on 10.0.0.1")
	require.Equal(t, "active", s.juju.Units[unit1].Status)
	s.juju.Units[unit1].Dying = true
	s.hook(unit1, "stop")
	require.Equal(t, "maintenance left", s.juju.Units[unit1].Status+" "+s.juju.Units[unit1].Message)
}

func TestPortsAreOpened(t *testing.T) {
	s := fresh(t, 1)
	unit := s.juju.Units[unit0]
	s.hook(unit0)
	require.Empty(t, unit.Ports, "nothing listens yet")
	s.settle()
	require.Equal(t, "active", unit.Status)
	open := slices.Sorted(slices.Values(unit.Ports))
	require.Equal(t, slices.Sorted(slices.Values(ports)), open)
	for _, port := range []string{"5240/tcp", "5242/tcp", "5250-5270/tcp", "5271-5274/tcp", "53/udp"} {
		require.Contains(t, open, port)
	}
	one := issue(t, time.Unix(1900000000, 0))
	s.juju.Secrets["secret:tls"] = map[string]string{"certificate": one.certificate, "key": one.key}
	s.juju.Config["maas-region"]["tls-secret"] = "secret:tls"
	s.settle()
	require.Len(t, unit.Ports, len(ports)+1)
	unit.Dying = true
	s.hook(unit0, "stop")
	require.Empty(t, unit.Ports)
}

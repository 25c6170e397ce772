package region

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Ubuntu 22.04 has PostgreSQL 14, whose pg_dump saves no newer server.
func TestBackupNeedsAPgDumpOfTheServersVersion(t *testing.T) {
	s := fresh(t, 1)
	s.server("hunter2")
	s.settle()
	require.Equal(t, "active", s.juju.Units[unit0].Status, s.juju.Units[unit0].Message)
	s.old = true
	m := s.machines[unit0]
	version := m.Dpkg["maas-region-api"][1]
	m.Archive["maas-region-api"] = "1:3.7.4-0ubuntu1"
	for _, action := range []string{"create-backup", "upgrade-maas"} {
		got := s.act(t, unit0, action, nil)
		require.Contains(t, got.Failure, "server version: 16.4; pg_dump version: 14.13")
		require.Contains(t, got.Failure, "postgresql-client")
	}
	require.Equal(t, version, m.Dpkg["maas-region-api"][1], "nothing was changed")
	require.True(t, m.Running["maas-regiond"])
}

// Each region takes up to 40 connections, and the PostgreSQL charm allows 100 by default.
func TestTheStatusReportsThatTheDatabaseAllowsTooFewConnections(t *testing.T) {
	s := fresh(t, 3)
	s.server("hunter2")
	s.settle()
	unit := s.juju.Units[unit0]
	require.Equal(t, "active", unit.Status)
	require.Contains(t, unit.Message, "PostgreSQL allows 100 connections, and 3 regions take up to 130: juju config postgresql experimental-max-connections=160")
	left, err := filepath.Glob(filepath.Join(s.machines[unit0].Root, "var/lib/dcib/unit/.*"))
	require.NoError(t, err)
	require.Empty(t, left, "nor does the password stay there")
	s.clear(t)
	s.limit = 160
	s.hook(unit0)
	require.NotContains(t, unit.Message, "connections")
}

package region

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/charms/maas-region/database"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/maas/node"
	"github.com/dcib/dcib/internal/relation/maascontroller"
	"github.com/dcib/dcib/internal/testkit/crash"
	"github.com/dcib/dcib/internal/testkit/hooktool"
	"github.com/dcib/dcib/internal/testkit/maas"
	"github.com/dcib/dcib/internal/testkit/machine"
)

const unit0, unit1 = "maas-region/0", "maas-region/1"

func fresh(t *testing.T, units int) *site {
	s := newSite(t, nil, t.TempDir())
	t.Cleanup(s.close)
	for n := range units {
		s.add(n)
	}
	return s
}

func ready(t *testing.T, units int) *site {
	t.Helper()
	s := fresh(t, units)
	s.settle()
	for _, unit := range s.units() {
		require.Equal(t, "active", s.juju.Units[unit].Status, "%s: %s", unit, s.juju.Units[unit].Message)
	}
	return s
}

// relate adds a rack application with some units, which have enrolled.
func (s *site) relate(racks ...maascontroller.Rack) *hooktooltest.Relation {
	r := s.juju.Relate("maas-region:maas", "maas-rack:maas")
	for _, rack := range racks {
		s.juju.AddUnit(rack.Unit, "10.0.1.1")
		r.Databags[rack.Unit] = rack.Encode()
		s.maas.Racks = append(s.maas.Racks, &maastest.Controller{SystemID: rack.SystemID, Hostname: rack.FQDN})
	}
	return r
}

func TestOneRegion(t *testing.T) {
	s := ready(t, 1)
	require.Equal(t, "MAAS 3.7.3 at http://10.0.0.1:5240/MAAS, 0 racks related", s.juju.Units[unit0].Message)
	require.Equal(t, "3.7.3", s.juju.Units[unit0].Version)
	m := s.machines[unit0]
	require.Equal(t, 1, s.dbs["10.0.0.1"].upgrades)
	require.Contains(t, s.dbs["10.0.0.1"].users["admin"], "PASSWORD")
	conf, err := m.Node().Conf(node.RegionConf)
	require.NoError(t, err)
	require.Equal(t, "localhost", conf["database_host"])
	require.Equal(t, "10.0.0.1", conf["broadcast_address"])
	for _, line := range m.Ran {
		if _, packages, ok := strings.Cut(line, " install "); ok {
			for _, p := range strings.Fields(packages) {
				require.Contains(t, []string{node.RegionPackage, database.Package, database.Client}, p, "the others point regiond.conf at a database on the machine")
			}
		}
	}
	s.clear(t)
	ran, reads := len(m.Ran), m.Reads
	s.hook(unit0)
	require.Len(t, m.Ran, ran, "a hook that has nothing to do changes nothing")
	require.LessOrEqual(t, m.Reads-reads, 2)
	require.Equal(t, 2, s.made, "passwords, each once")
}

func TestASecondRegionJoinsTheDatabase(t *testing.T) {
	s := ready(t, 2)
	require.Equal(t, 1, s.dbs["10.0.0.1"].upgrades, "migrated once")
	require.Nil(t, s.dbs["10.0.0.2"])
	require.Len(t, s.maas.Regions, 2)
	for _, unit := range s.units() {
		conf, err := s.machines[unit].Node().Conf(node.RegionConf)
		require.NoError(t, err)
		require.Equal(t, "http://10.0.0.1:5240/MAAS", conf["maas_url"], "the same on each, or the last one that starts wins")
	}
	require.NotContains(t, s.machines[unit1].Dpkg, database.Package)
	s.clear(t)

	s.juju.RemoveUnit(unit1)
	s.settle()
	require.NotContains(t, s.machines[unit0].Text("etc/postgresql/16/main/pg_hba.conf"), "10.0.0.2", "who has gone is not let in any more")
}

// A crash, a full disk or an operator has emptied pg_hba.conf. The charm does not write its
// own lines alone into it, which would lock out the database's superuser.
func TestEmptiedClientAuthenticationIsRefused(t *testing.T) {
	s := ready(t, 2)
	const hba = "etc/postgresql/16/main/pg_hba.conf"
	m := s.machines[unit0]
	good := m.Text(hba) + "\n"
	m.Put(hba, "")
	ran := len(m.Ran)
	status, message := s.hook(unit0)
	require.Equal(t, "blocked", status)
	require.Contains(t, message, "pg_hba.conf")
	require.Contains(t, message, "restore it from a backup")
	require.Len(t, m.Ran, ran)
	require.Empty(t, m.Text(hba))
	m.Put(hba, good)
	status, _ = s.hook(unit0)
	require.Equal(t, "active", status)
}

// A program that hangs keeps neither the machine's lock nor the unit in error.
func TestWhatHangsLeavesTheUnitWaiting(t *testing.T) {
	for _, c := range []struct{ program, args string }{
		{"maas-region", "dbupgrade"}, {"maas", "createadmin"}, {"systemctl", "enable --now maas-regiond"}, {"apt-get", "install"}, {"systemctl", "restart postgresql"},
	} {
		t.Run(c.program+" "+c.args, func(t *testing.T) {
			s := fresh(t, 1)
			s.machines[unit0].Hangs = c.program + " " + c.args
			for range 8 {
				s.hook(unit0)
			}
			require.Equal(t, "waiting", s.juju.Units[unit0].Status, s.juju.Units[unit0].Message)
			require.Contains(t, s.juju.Units[unit0].Message, "has not ended within")
			s.machines[unit0].Hangs = ""
			s.settle()
			require.Equal(t, "active", s.juju.Units[unit0].Status, s.juju.Units[unit0].Message)
		})
	}
}

// PostgreSQL that started before the machine had its address does not listen there.
func TestDatabaseThatDoesNotListenForTheOthersIsRestarted(t *testing.T) {
	s := ready(t, 2)
	s.deaf = true
	m := s.machines[unit0]
	ran := len(m.Ran)
	s.hook(unit0)
	require.Contains(t, m.Ran[ran:], "systemctl restart postgresql")
	require.False(t, s.deaf)
}

func TestTheUnitWithTheDatabaseDoesNotLeaveTheOthers(t *testing.T) {
	s := ready(t, 2)
	s.juju.Units[unit0].Dying = true
	err := crashtest.Try(nil, s.juju, s.charm(), hooktool.Event{Hook: "update-status", Unit: unit0})
	require.ErrorContains(t, err, "remove the other units first")
	require.True(t, s.machines[unit0].Running["maas-regiond"])
	// By force.
	s.juju.RemoveUnit(unit0)
	s.juju.Leaders["maas-region"] = unit1
	s.settle()
	require.Equal(t, "blocked", s.juju.Units[unit1].Status)
	require.Contains(t, s.juju.Units[unit1].Message, "was on maas-region/0, which is gone")
	require.Nil(t, s.dbs["10.0.0.2"], "no second, empty MAAS")

	s = ready(t, 2)
	s.juju.Units[unit1].Dying = true
	status, message := s.hook(unit1)
	require.Equal(t, "maintenance left", status+" "+message)
	require.False(t, s.machines[unit1].Running["maas-regiond"])
}

// server is PostgreSQL's charm.
func (s *site) server(password string) *hooktooltest.Relation {
	s.juju.Config["maas-region"]["database"] = Relation
	verifier, err := database.Verifier(password)
	require.NoError(s.t, err)
	s.dbs["10.0.9.9"] = &db{verifier: verifier, users: map[string]string{}}
	r := s.juju.Relate("maas-region:maas-db", "postgresql:database")
	if s.juju.Secrets == nil {
		s.juju.Secrets = map[string]map[string]string{}
	}
	s.juju.Secrets["secret:user"] = map[string]string{"username": "relation-1", "password": password}
	r.Databags["postgresql"] = map[string]string{"endpoints": "10.0.9.9:5432", "database": "maas_region_db", "secret-user": "secret:user"}
	return r
}

func TestADatabaseOverARelation(t *testing.T) {
	s := fresh(t, 2)
	s.juju.Config["maas-region"]["database"] = Relation
	s.settle()
	require.Contains(t, s.juju.Units[unit0].Message, "juju integrate maas-region:maas-db postgresql")
	r := s.server("hunter2")
	s.settle()
	require.Equal(t, map[string]string{"database": "maas_region_db", "requested-secrets": `["username","password"]`}, r.Databags["maas-region"])
	for _, unit := range s.units() {
		require.Equal(t, "active", s.juju.Units[unit].Status, s.juju.Units[unit].Message)
	}
	require.Equal(t, 1, s.dbs["10.0.9.9"].upgrades)
	require.NotContains(t, s.machines[unit0].Dpkg, database.Package)
	s.clear(t)

	// The unit that migrates goes: another does.
	s.machines[unit0].Running = map[string]bool{}
	s.juju.RemoveUnit(unit0)
	s.juju.Leaders["maas-region"] = unit1
	s.settle()
	require.Equal(t, "active", s.juju.Units[unit1].Status, s.juju.Units[unit1].Message)

	// Its password changes.
	s.juju.Secrets["secret:user"]["password"] = "hunter22"
	verifier, err := database.Verifier("hunter22")
	require.NoError(t, err)
	s.dbs["10.0.9.9"].verifier = verifier
	s.settle()
	require.Equal(t, "active", s.juju.Units[unit1].Status, s.juju.Units[unit1].Message)

	s.juju.Config["maas-region"]["database"] = Embedded
	status, message := s.hook(unit1)
	require.Equal(t, "blocked", status)
	require.Contains(t, message, "it does not move automatically")
}

// The PostgreSQL charm writes another address when another of its units becomes primary. The
// data is the same: nothing has to be migrated, and no region waits for the database unit.
func TestRegionsFollowThePrimaryWithoutTheDatabaseUnit(t *testing.T) {
	for _, written := range []string{"", pkgVersion + " on 10.0.9.9:5432/maas_region_db"} { // by an earlier version of the charm
		s := fresh(t, 3)
		r := s.server("hunter2")
		s.settle()
		if written != "" {
			s.peers.Databags[unit0][keyMigrated] = written
			s.settle()
		}
		s.dbs["10.0.9.10"], s.dbs["10.0.9.9"] = s.dbs["10.0.9.9"], nil
		r.Databags["postgresql"]["endpoints"] = "10.0.9.10:5432"
		for range 2 {
			for _, unit := range []string{unit1, "maas-region/2"} {
				status, message := s.hook(unit)
				require.Equal(t, "active", status, message)
				require.True(t, s.machines[unit].Running["maas-regiond"])
				require.Contains(t, s.machines[unit].Text(node.RegionConf), "10.0.9.10")
			}
		}
		s.settle() // the database unit is back
		require.Equal(t, "active", s.juju.Units[unit0].Status, s.juju.Units[unit0].Message)
		require.Equal(t, 1, s.dbs["10.0.9.10"].upgrades)
	}
}

// Another PostgreSQL is another database.
func TestAnotherDatabaseIsMigrated(t *testing.T) {
	s := fresh(t, 2)
	first := s.server("hunter2")
	s.settle()
	s.juju.Unrelate(first)
	s.server("hunter2")
	s.settle()
	require.Equal(t, 1, s.dbs["10.0.9.9"].upgrades)
	for _, unit := range s.units() {
		require.Equal(t, "active", s.juju.Units[unit].Status, s.juju.Units[unit].Message)
		require.Equal(t, s.dbs["10.0.9.9"].cert, s.machines[unit].Text(clusterCertificate), "those of the first database are gone")
	}
	// Nor is what was done in the first one taken for done in this one.
	require.Contains(t, s.dbs["10.0.9.9"].users, "admin")
	// Where an earlier version of the charm has left no record, the files are taken to be the database's.
	m := s.machines[unit0]
	require.NoError(t, m.Node().Remove(databaseRecord))
	m.Put("var/lib/maas/maas_uuid", "kept")
	s.settle()
	require.Equal(t, "kept", m.Text("var/lib/maas/maas_uuid"))
	require.NotEmpty(t, m.Text(databaseRecord))
}

func TestAPasswordThatMAASDoesNotQuoteIsRefused(t *testing.T) {
	for _, password := range []string{"hunter2@x", "a:hunter2", "hunter2/", "%hunter2", "hunter2?", "hunter2#"} {
		s := fresh(t, 1)
		s.server(password)
		s.settle()
		require.Equal(t, "blocked", s.juju.Units[unit0].Status)
		require.Contains(t, s.juju.Units[unit0].Message, "its password has characters that MAAS does not quote")
		require.Zero(t, s.dbs["10.0.9.9"].upgrades)
		s.clear(t)
		s.juju.Secrets["secret:user"]["password"] = "hunter2"
		s.dbs["10.0.9.9"].verifier, _ = database.Verifier("hunter2")
		s.settle()
		require.Equal(t, "active", s.juju.Units[unit0].Status, s.juju.Units[unit0].Message)
	}
}

// maas-region-controller, when an operator installs it, points regiond.conf at localhost.
func TestAnOverwrittenDatabaseHostIsPutBack(t *testing.T) {
	s := fresh(t, 1)
	s.server("hunter2")
	s.settle()
	m := s.machines[unit0]
	_, err := m.Run(t.Context(), "apt-get", "install", "maas-region-controller")
	require.NoError(t, err)
	require.Contains(t, m.Text(node.RegionConf), "localhost")
	s.settle()
	require.Equal(t, "active", s.juju.Units[unit0].Status, s.juju.Units[unit0].Message)
	require.Contains(t, m.Text(node.RegionConf), "10.0.9.9")
}

// A package upgrade does not migrate where only maas-region-api is installed.
func TestAnUpgradedPackageIsMigratedByOne(t *testing.T) {
	s := ready(t, 2)
	const next = "1:3.7.4-0ubuntu1"
	for _, unit := range s.units() {
		m := s.machines[unit]
		m.Archive[node.RegionPackage] = next
		_, err := m.Run(t.Context(), "apt-get", "update")
		require.NoError(t, err)
		_, _ = m.Run(t.Context(), "apt-get", "install", node.RegionPackage)
	}
	m := s.machines[unit1]
	m.Running["maas-regiond"] = false // it did not start on the old schema
	status, message := s.hook(unit1)
	require.Equal(t, "waiting", status)
	require.Contains(t, message, "waiting for maas-region/0 to migrate the database to MAAS 3.7.4")
	s.settle()
	require.Equal(t, 2, s.dbs["10.0.0.1"].upgrades)
	for _, unit := range s.units() {
		require.Equal(t, "active", s.juju.Units[unit].Status, s.juju.Units[unit].Message)
	}
}

// The others first, the one that migrates last: no region's code ever runs on another's
// schema, and as long as they wait for it MAAS is there.
func TestRefreshing(t *testing.T) {
	s := ready(t, 3)
	const next = "1:3.7.4-0ubuntu1"
	m := s.machines[unit0]
	for _, unit := range s.units() {
		s.machines[unit].Archive[node.RegionPackage] = next
	}
	got := s.act(t, unit0, "upgrade-maas", nil)
	require.Contains(t, got.Failure, "maas-region/1 and maas-region/2 have MAAS 3.7.3 and would run on the database as 3.7.4 wants it: refresh them first")
	require.True(t, m.Running["maas-regiond"])
	require.Equal(t, pkgVersion, m.Dpkg[node.RegionPackage][1])
	early := 0
	for _, unit := range s.units() {
		m := s.machines[unit]
		started := m.Started
		m.Started = func(service string) error {
			if service == "maas-regiond" && s.dbs["10.0.0.1"].schema != m.Dpkg[node.RegionPackage][1] {
				early++
			}
			return started(service)
		}
	}
	for _, unit := range []string{unit1, "maas-region/2"} {
		got = s.act(t, unit, "upgrade-maas", nil)
		require.Empty(t, got.Failure)
		require.Equal(t, pkgVersion+" "+next, got.Results["old-version"]+" "+got.Results["new-version"])
		require.Contains(t, got.Results["next"], "maas-region/0")
		status, message := s.hook(unit)
		require.Equal(t, "waiting", status)
		require.Contains(t, message, "waiting for maas-region/0 to migrate the database to MAAS 3.7.4; it has 3.7.3: juju run maas-region/0 upgrade-maas")
		require.False(t, s.machines[unit].Running["maas-regiond"])
		require.True(t, m.Running["maas-regiond"], "MAAS is there")
	}
	got = s.act(t, unit0, "upgrade-maas", nil)
	require.Empty(t, got.Failure)
	require.FileExists(t, got.Results["backup"])
	s.settle()
	require.Zero(t, early, "new code never ran on the old schema")
	require.Equal(t, 2, s.dbs["10.0.0.1"].upgrades)
	for _, unit := range s.units() {
		require.Equal(t, "active", s.juju.Units[unit].Status, s.juju.Units[unit].Message)
		require.Equal(t, "3.7.4", s.juju.Units[unit].Version)
	}
	require.Empty(t, s.act(t, unit0, "upgrade-maas", nil).Failure, "again: there is nothing newer")

	// One that was killed in the middle.
	for _, service := range services {
		m.Put("run/systemd/system/"+service+".service", "")
		m.Running[service] = false
	}
	s.settle()
	require.Equal(t, "active", s.juju.Units[unit0].Status, s.juju.Units[unit0].Message)

	one := s.machines[unit1]
	one.Archive[node.RegionPackage] = "1:3.7.5-0ubuntu1"
	one.Fails[" install "] = "Connection timed out"
	require.Contains(t, s.act(t, unit1, "upgrade-maas", nil).Failure, "Connection timed out")
	clear(one.Fails)
	s.settle()
	require.Equal(t, "active", s.juju.Units[unit1].Status, s.juju.Units[unit1].Message)
	s.clear(t)
}

// An operator upgrades one unit by apt itself.
func TestARegionThatIsAheadOrBehindDoesNotRun(t *testing.T) {
	for _, ahead := range []string{unit0, unit1} {
		s := ready(t, 2)
		m := s.machines[ahead]
		m.Archive[node.RegionPackage] = "1:3.7.4-0ubuntu1"
		_, err := m.Run(t.Context(), "apt-get", "install", node.RegionPackage)
		require.NoError(t, err)
		if ahead == unit0 { // nothing can keep it from running on until its charm hears of it
			s.machines[unit1].Running["maas-regiond"] = false
			s.hook(unit0)
			s.machines[unit1].Running["maas-regiond"] = true
		}
		status, message := s.hook(unit1)
		require.Equal(t, "waiting", status, message)
		require.Contains(t, message, "to migrate the database to MAAS")
		require.Contains(t, message, "upgrade-maas")
		require.False(t, s.machines[unit1].Running["maas-regiond"])
		for _, unit := range []string{unit1, unit0} {
			s.machines[unit].Archive[node.RegionPackage] = "1:3.7.4-0ubuntu1"
			require.Empty(t, s.act(t, unit, "upgrade-maas", nil).Failure)
		}
		s.settle()
		for _, unit := range s.units() {
			require.Equal(t, "active", s.juju.Units[unit].Status, s.juju.Units[unit].Message)
		}
	}
}

func TestWhatGoesWrongIsSaidAndHeals(t *testing.T) {
	for name, c := range map[string]struct {
		harm           func(s *site)
		fix            func(s *site)
		status, reason string
	}{
		"source unreachable": {
			func(s *site) {
				s.machines[unit0].Fails["add-apt-repository"] = "TimeoutError: timed out"
			},
			func(s *site) { clear(s.machines[unit0].Fails) }, "waiting", "timed out",
		},
		"source unreachable in the middle": {
			func(s *site) {
				s.machines[unit0].Fails[" install "] = "Failed to fetch http://a/maas-common.deb: Connection timed out"
			},
			func(s *site) { clear(s.machines[unit0].Fails) }, "waiting", "Connection timed out",
		},
		"disk full": {
			func(s *site) {
				s.machines[unit0].Fails[" install "] = "dpkg: error: failed to write (No space left on device)"
			},
			func(s *site) { clear(s.machines[unit0].Fails) }, "blocked", "the disk is full",
		},
		"disk full in the migration": {
			func(s *site) { s.machines[unit0].Fails["dbupgrade"] = "could not extend file: No space left on device" },
			func(s *site) { clear(s.machines[unit0].Fails) }, "blocked", "the disk is full",
		},
		"a package that cannot be configured": {
			func(s *site) {
				s.machines[unit0].HalfDone = true
				s.machines[unit0].Fails["dpkg --force-confold"] = "dpkg: error processing package maas-region-api"
				s.machines[unit0].Fails["--fix-broken"] = "dpkg: error processing package maas-region-api"
			},
			func(s *site) { clear(s.machines[unit0].Fails) }, "blocked", "dpkg: error processing package",
		},
		"wrong source line": {
			func(s *site) { s.juju.Config["maas-region"]["source"] = "deb maas" },
			func(s *site) { s.juju.Config["maas-region"]["source"] = "ppa:maas/3.7" }, "blocked", "option source",
		},
		"a source without MAAS": {
			func(s *site) { delete(s.machines[unit0].Archive, node.RegionPackage) },
			func(s *site) { s.machines[unit0].Archive[node.RegionPackage] = pkgVersion }, "blocked", "apt knows no package maas-region-api",
		},
		"a service that will not start": {
			func(s *site) {
				s.machines[unit0].Fails["enable --now maas-regiond"] = "Job for maas-regiond.service failed"
			},
			func(s *site) { clear(s.machines[unit0].Fails) }, "waiting", "journalctl -u maas-regiond",
		},
		"an administrator's password that is not granted": {
			func(s *site) { s.juju.Config["maas-region"]["admin-password"] = "secret:admin" },
			func(s *site) { s.juju.Secrets["secret:admin"] = map[string]string{"password": "hunter2"} }, "blocked", "juju grant-secret secret:admin maas-region",
		},
		"regiond.conf is no YAML": {
			func(s *site) { s.settle(); s.machines[unit0].Put(node.RegionConf, "database_pass: hunter2: x") },
			func(s *site) { _ = os.Remove(filepath.Join(s.machines[unit0].Root, node.RegionConf)) }, "blocked", "it is no YAML",
		},
		"a setting that MAAS has no source for": {
			func(s *site) {
				s.juju.Config["maas-region"]["boot-resources"] = "ubuntu/noble/amd64"
				s.maas.NoSources = true
			},
			func(s *site) { s.maas.NoSources = false }, "waiting", "no source of images",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := fresh(t, 1)
			c.harm(s)
			s.settle()
			require.Equal(t, c.status, s.juju.Units[unit0].Status, s.juju.Units[unit0].Message)
			require.Contains(t, s.juju.Units[unit0].Message, c.reason)
			s.clear(t)
			c.fix(s)
			s.settle()
			require.Equal(t, "active", s.juju.Units[unit0].Status, s.juju.Units[unit0].Message)
			s.clear(t)
		})
	}
}

func TestAKilledDatabaseIsStarted(t *testing.T) {
	s := ready(t, 2)
	s.machines[unit0].Running["postgresql"] = false
	status, message := s.hook(unit1)
	require.Equal(t, "waiting", status)
	require.Contains(t, message, "the database on 10.0.0.1 port 5432, which does not answer")
	s.machines[unit0].Fails["restart postgresql"] = "Job for postgresql.service failed"
	status, message = s.hook(unit0)
	require.Equal(t, "blocked", status)
	require.Contains(t, message, "journalctl -u 'postgresql*'")
	clear(s.machines[unit0].Fails)
	// The service counts as started when its cluster did not start.
	psql := s.machines[unit0].Programs["runuser"]
	s.machines[unit0].Programs["runuser"] = func(*machinetest.Machine, []string, string) (string, error) {
		return "", errors.New("cannot run runuser: could not connect to server")
	}
	status, message = s.hook(unit0)
	require.Equal(t, "blocked", status)
	require.Contains(t, message, "PostgreSQL does not start: cannot run runuser: could not connect to server: look at journalctl -u 'postgresql*'")
	s.machines[unit0].Programs["runuser"] = psql
	clear(s.machines[unit0].Fails)
	s.settle()
	require.True(t, s.machines[unit0].Running["postgresql"])
	for _, unit := range s.units() {
		require.Equal(t, "active", s.juju.Units[unit].Status, s.juju.Units[unit].Message)
	}
}

func TestSettings(t *testing.T) {
	s := ready(t, 1)
	config := s.juju.Config["maas-region"]
	config["ntp-servers"], config["dns-forwarders"], config["http-proxy"] = "ntp.example, 10.0.0.2", "1.1.1.1 fd00::1", "http://proxy.example:3128"
	config["boot-resources"] = "ubuntu/noble/amd64+arm64 ubuntu/jammy/amd64"
	s.settle()
	require.Equal(t, map[string]string{"ntp_servers": "ntp.example 10.0.0.2", "upstream_dns": "1.1.1.1 fd00::1", "http_proxy": "http://proxy.example:3128", "enable_http_proxy": "true", "use_peer_proxy": "false", "boot_images_no_proxy": "false"}, s.maas.Config)
	config["use-peer-proxy"], config["boot-images-no-proxy"] = true, true
	s.settle()
	require.Equal(t, "true", s.maas.Config["use_peer_proxy"])
	require.Equal(t, "true", s.maas.Config["boot_images_no_proxy"])
	config["use-peer-proxy"] = false
	s.settle()
	require.Equal(t, "false", s.maas.Config["use_peer_proxy"])
	require.Len(t, s.maas.Selections, 2)
	require.Equal(t, 1, s.maas.Imports)
	s.maas.Config["ntp_servers"] = "by hand"
	s.settle()
	require.Equal(t, "by hand", s.maas.Config["ntp_servers"], "what an operator does stays")
	for option, bad := range map[string]string{
		"maas-url": "maas.example", "admin-username": "a b", "database": "mysql", "http-proxy": "proxy:3128", "ntp-servers": "a_b", "dns-forwarders": "dns.example",
		"boot-resources": "ubuntu/noble", "source": "x",
	} {
		was := config[option]
		config[option] = bad
		status, message := s.hook(unit0)
		require.Equal(t, "blocked", status)
		require.Contains(t, message, "option "+option)
		config[option] = was
	}
	_, problems := ParseConfig(map[string]any{"admin-username": "a", "database": Embedded, "boot-resources": "a/b/c a/b/d"})
	require.Len(t, problems, 1)
	for _, option := range []string{"use-peer-proxy", "boot-images-no-proxy"} {
		_, problems = ParseConfig(map[string]any{"admin-username": "a", "database": Embedded, option: true})
		require.Len(t, problems, 1)
		require.Contains(t, problems[0], "option "+option+" is true: set option http-proxy too")
	}
}

// A new MAAS knows no image for some minutes, and one without a way to the stream never does.
// Nor does a refused setting keep racks from being enrolled, others from being set, or racks
// that have left in MAAS.
func TestWhatMAASRefusesKeepsNothingElseFromBeingDone(t *testing.T) {
	s := ready(t, 1)
	r := s.relate(maascontroller.Rack{Unit: "maas-rack/0", FQDN: "rack0", SystemID: "aaa"})
	s.maas.Unread = true
	config := s.juju.Config["maas-region"]
	config["boot-resources"], config["ntp-servers"], config["http-proxy"] = "ubuntu/noble/amd64", "ntp.example", "http://proxy.example:3128"
	s.settle()
	unit := s.juju.Units[unit0]
	require.Equal(t, "waiting", unit.Status, unit.Message)
	require.Contains(t, unit.Message, "MAAS does not know an image of option boot-resources yet")
	require.NotEmpty(t, r.Databags["maas-region"]["maas_secret_id"], "the rack is told")
	require.Equal(t, "ntp.example", s.maas.Config["ntp_servers"])
	s.maas.Config["ntp_servers"] = "by hand"

	s.maas.Refuses = map[string]bool{"http_proxy": true}
	config["http-proxy"], config["dns-forwarders"] = "http://other.example:3128", "1.1.1.1"
	s.stopped("rack0")
	s.juju.RemoveUnit("maas-rack/0")
	s.settle()
	require.Equal(t, "blocked", unit.Status, unit.Message)
	require.Contains(t, unit.Message, "cannot set http_proxy")
	require.Equal(t, "1.1.1.1", s.maas.Config["upstream_dns"])
	require.Empty(t, s.maas.Racks, "struck off")
	s.maas.Refuses, s.maas.Unread = nil, false
	s.settle()
	require.Equal(t, "active", unit.Status, unit.Message)
	require.Equal(t, "http://other.example:3128", s.maas.Config["http_proxy"])
	require.Len(t, s.maas.Selections, 1)
	require.Equal(t, 1, s.maas.Imports)

	// One digest for both is what earlier versions wrote: nothing is set again.
	parsed, problems := ParseConfig(config)
	require.Empty(t, problems)
	s.peers.Databags["maas-region"][keySettings] = parsed.digest()
	delete(s.peers.Databags["maas-region"], keyImages)
	s.maas.Config["ntp_servers"] = "by hand"
	s.settle()
	require.Equal(t, "active", unit.Status, unit.Message)
	require.Equal(t, "by hand", s.maas.Config["ntp_servers"])
	require.Equal(t, 1, s.maas.Imports)
}

func TestRacks(t *testing.T) {
	s := ready(t, 1)
	r := s.relate(
		maascontroller.Rack{Unit: "maas-rack/0", FQDN: "rack0", SystemID: "aaa"},
		maascontroller.Rack{Unit: "maas-rack/1", FQDN: "rack1", SystemID: "bbb"},
	)
	s.settle()
	require.Contains(t, s.juju.Units[unit0].Message, "2 racks related")
	offer, ok, err := maascontroller.DecodeOffer(r.Databags["maas-region"])
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "http://10.0.0.1:5240/MAAS region0", offer.URL+" "+offer.Regions[0])
	rack, _ := s.juju.Hook("maas-rack/0")
	content, err := rack.Secret(t.Context(), offer.SecretID)
	require.NoError(t, err, "it is granted to the racks")
	require.Equal(t, map[string]string{"maas-secret": mainSecret}, content)
	s.clear(t)

	// The secret changes: the same Juju secret has another content.
	s.secret = "0a0b"
	s.machines[unit0].Put(node.SecretFile, s.secret)
	s.settle()
	require.Equal(t, "0a0b", s.juju.Secrets[offer.SecretID]["maas-secret"])
	require.Equal(t, offer.SecretID, r.Databags["maas-region"]["maas_secret_id"])

	// One leaves.
	s.stopped("rack0")
	s.juju.RemoveUnit("maas-rack/0")
	s.settle()
	require.Len(t, s.maas.Racks, 1)
	require.Equal(t, "bbb", s.maas.Racks[0].SystemID)

	// The last that serves DHCP somewhere is not deleted without a word.
	s.maas.Racks[0].OnlyDHCP = true
	s.stopped("rack1")
	s.juju.RemoveUnit("maas-rack/1")
	s.settle()
	require.Equal(t, "blocked", s.juju.Units[unit0].Status)
	require.Contains(t, s.juju.Units[unit0].Message, "remove-controller system-id=bbb force=true")
	s.maas.Racks[0].OnlyDHCP = false
	s.settle()
	require.Empty(t, s.maas.Racks)
	require.Equal(t, "active", s.juju.Units[unit0].Status)
}

// A related rack counts for nothing when MAAS has lost it.
func TestDeadAndDegradedRacksAreNamed(t *testing.T) {
	s := ready(t, 1)
	s.relate(maascontroller.Rack{Unit: "maas-rack/0", FQDN: "rack0", SystemID: "aaa"}, maascontroller.Rack{Unit: "maas-rack/1", FQDN: "rack1", SystemID: "bbb"})
	s.settle()
	require.Equal(t, "MAAS 3.7.3 at http://10.0.0.1:5240/MAAS, 2 racks related", s.juju.Units[unit0].Message)
	s.maas.Racks[0].Dead = true
	s.maas.Racks[1].Services = map[string]string{"rackd": "degraded", "agent": "dead"}
	_, message := s.hook(unit0)
	require.Contains(t, message, "2 racks related; rack0 (aaa): dead; rack1 (bbb): degraded, agent dead")
	s.maas.Racks[0].Dead, s.maas.Racks[1].Services = false, nil
	_, message = s.hook(unit0)
	require.NotContains(t, message, "rack0")
}

func TestRacksThatMAASTakesForOneAreNamed(t *testing.T) {
	s := ready(t, 1)
	r := s.relate(maascontroller.Rack{Unit: "maas-rack/0", FQDN: "rack0", SystemID: "aaa"})
	s.juju.AddUnit("maas-rack/1", "10.0.1.2")
	r.Databags["maas-rack/1"] = maascontroller.Rack{Unit: "maas-rack/1", FQDN: "rack0", SystemID: "aaa"}.Encode()
	s.settle()
	require.Equal(t, "blocked", s.juju.Units[unit0].Status)
	require.Contains(t, s.juju.Units[unit0].Message, "maas-rack/0 and maas-rack/1 are one rack (aaa) in MAAS")
	s.juju.RemoveUnit("maas-rack/1")
	s.settle()
	require.Equal(t, "active", s.juju.Units[unit0].Status)
	require.Len(t, s.maas.Racks, 1, "what one that left had in common with one that is here stays")
}

func TestARackCannotHaveAnotherDeleted(t *testing.T) {
	s := ready(t, 1)
	s.relate(maascontroller.Rack{Unit: "maas-rack/0", FQDN: "rack0", SystemID: "aaa"})
	other := s.juju.Relate("maas-region:maas", "remote-7:maas")
	s.juju.AddUnit("remote-7/0", "10.0.2.1")
	s.maas.Racks = append(s.maas.Racks, &maastest.Controller{SystemID: "ccc", Hostname: "byhand"}) // of no unit
	for _, claimed := range []string{"aaa", "ccc"} {
		s.juju.AddUnit("remote-7/0", "10.0.2.1")
		other.Databags["remote-7/0"] = maascontroller.Rack{Unit: "x/0", FQDN: "evil", SystemID: claimed}.Encode()
		s.settle()
		s.juju.RemoveUnit("remote-7/0")
		s.settle()
		require.Len(t, s.maas.Racks, 2)
	}
	require.Equal(t, "active", s.juju.Units[unit0].Status, s.juju.Units[unit0].Message)
}

// Name and identity of a rack can be had by the one who sees it: one that runs, and is none of the
// relation's, is not the one that left.
func TestARackThatRunsIsNotStruckOff(t *testing.T) {
	s := ready(t, 1)
	s.relate(maascontroller.Rack{Unit: "maas-rack/0", FQDN: "rack0", SystemID: "aaa"})
	s.maas.Racks = append(s.maas.Racks, &maastest.Controller{SystemID: "ccc", Hostname: "byhand"}) // of no unit
	other := s.juju.Relate("maas-region:maas", "remote-7:maas")
	s.juju.AddUnit("remote-7/0", "10.0.2.1")
	other.Databags["remote-7/0"] = maascontroller.Rack{Unit: "x/0", FQDN: "byhand", SystemID: "ccc"}.Encode()
	s.settle()
	s.juju.RemoveUnit("remote-7/0")
	s.settle()
	require.Len(t, s.maas.Racks, 2)
	require.Equal(t, "active", s.juju.Units[unit0].Status, s.juju.Units[unit0].Message)
	require.Contains(t, strings.Join(s.juju.Units[unit0].Log, "\n"), "rack byhand (ccc), which remote-7/0 was, runs and stays in MAAS")
	s.clear(t)

	// MAAS sees a moment later that a rack which left has stopped.
	s.waits = func() { s.stopped("rack0") }
	s.juju.RemoveUnit("maas-rack/0")
	s.settle()
	require.Len(t, s.maas.Racks, 1)
	require.Equal(t, "ccc", s.maas.Racks[0].SystemID)
}

func TestActions(t *testing.T) {
	s := ready(t, 1)
	s.relate(maascontroller.Rack{Unit: "maas-rack/0", FQDN: "rack0", SystemID: "aaa"}, maascontroller.Rack{Unit: "maas-rack/1", FQDN: "rack1", SystemID: "bbb"})
	s.settle()
	s.maas.Racks[1].Dead = true
	require.Equal(t, map[string]string{"api-url": "http://10.0.0.1:5240/MAAS"}, s.act(t, unit0, "get-api-endpoint", nil).Results)
	require.Equal(t, map[string]string{"regions": "reg0 region0 3.7.3", "racks": "aaa rack0 3.7.3 running\nbbb rack1 3.7.3 dead"}, s.act(t, unit0, "list-controllers", nil).Results)

	got := s.act(t, unit0, "get-api-key", nil)
	require.NotContains(t, got.Results, "api-key")
	require.Equal(t, apiKey, s.juju.Secrets[got.Results["secret"]]["api-key"])
	require.Equal(t, apiKey, s.act(t, unit0, "get-api-key", map[string]any{"reveal": true}).Results["api-key"])
	require.Contains(t, s.act(t, unit0, "get-api-key", map[string]any{"username": "nosuch", "reveal": true}).Failure, "User does not exist")

	made := s.act(t, unit0, "create-admin", map[string]any{"username": "ann"})
	require.Empty(t, made.Failure)
	require.Equal(t, s.dbs["10.0.0.1"].users["ann"], s.juju.Secrets[made.Results["secret"]]["password"])
	require.Contains(t, s.act(t, unit0, "create-admin", map[string]any{"username": "ann"}).Failure, "already exists")
	require.Contains(t, s.act(t, unit0, "create-admin", map[string]any{"username": "bob", "password": "secret:none"}).Failure, "the id of a Juju secret")
	s.juju.Secrets["secret:bob"] = map[string]string{"password": "hunter2"}
	require.Equal(t, map[string]string{"username": "bob"}, s.act(t, unit0, "create-admin", map[string]any{"username": "bob", "password": "secret:bob"}).Results)

	require.Contains(t, s.act(t, unit0, "remove-controller", map[string]any{"system-id": "aaa"}).Failure, "it runs, and would forget")
	require.Equal(t, "bbb", s.act(t, unit0, "remove-controller", map[string]any{"system-id": "bbb"}).Results["removed"])
	require.Contains(t, s.act(t, unit0, "remove-controller", map[string]any{"system-id": "reg0"}).Failure, "has to be stopped before")
	require.Contains(t, s.act(t, unit0, "import-boot-resources", nil).Results["import"], "started")
	require.Equal(t, 1, s.maas.Imports)
	require.Contains(t, s.act(t, unit0, "show-plan", nil).Results["status"], "active")
	require.Contains(t, s.act(t, unit0, "reset-identity", nil).Failure, "force=true")
	require.Contains(t, s.act(t, unit0, "prepare-clone", nil).Failure, "database=relation")
	s.clear(t)
}

func TestBackupAndRestore(t *testing.T) {
	s := ready(t, 1)
	m := s.machines[unit0]
	m.Put("etc/maas/preseeds/curtin_userdata_custom", "mine")
	saved := s.act(t, unit0, "create-backup", nil)
	require.Empty(t, saved.Failure)
	path := saved.Results["path"]
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	s.act(t, unit0, "create-admin", map[string]any{"username": "later"})
	m.Put("etc/maas/preseeds/curtin_userdata_custom", "other")
	params := map[string]any{"path": path}
	require.Contains(t, s.act(t, unit0, "restore-backup", params).Failure, "force=true")
	require.Contains(t, s.dbs["10.0.0.1"].users, "later")
	params["force"] = true
	got := s.act(t, unit0, "restore-backup", params)
	require.Empty(t, got.Failure)
	require.NotContains(t, s.dbs["10.0.0.1"].users, "later")
	require.Equal(t, "mine", m.Text("etc/maas/preseeds/curtin_userdata_custom"))
	s.settle()
	require.Equal(t, "active", s.juju.Units[unit0].Status, s.juju.Units[unit0].Message)
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*-*"))
	require.NoError(t, err)
	require.Empty(t, left)

	params["path"] = filepath.Join(m.Root, "dispatch")
	m.Put("dispatch", "no backup")
	require.Contains(t, s.act(t, unit0, "restore-backup", params).Failure, "that is no backup")
	params["path"] = path
	m.Dpkg[node.RegionPackage] = [2]string{"installed", "1:3.8.0-0ubuntu1"}
	s.settle()
	require.Empty(t, s.act(t, unit0, "restore-backup", params).Failure, "an older one is migrated")
	require.Equal(t, "1:3.8.0-0ubuntu1", s.dbs["10.0.0.1"].schema)
	m.Dpkg[node.RegionPackage] = [2]string{"installed", "1:3.7.2-0ubuntu1"}
	s.dbs["10.0.0.1"].schema = "1:3.7.2-0ubuntu1"
	require.Contains(t, s.act(t, unit0, "restore-backup", params).Failure, "it is of MAAS 3.7.3, and this is 3.7.2")
	s.clear(t)
	s = ready(t, 2)
	require.Contains(t, s.act(t, unit0, "restore-backup", params).Failure, "the other units")
}

// Images that were uploaded cannot be fetched again: who makes a backup is told of them, and who
// restores it, before anything is lost.
func TestBackupNamesTheImagesThatItLacks(t *testing.T) {
	s := ready(t, 1)
	saved := s.act(t, unit0, "create-backup", nil)
	require.NotContains(t, saved.Results, "not-saved")
	s.maas.Uploaded = []string{"rocky9/amd64", "custom/arm64"}
	saved = s.act(t, unit0, "create-backup", nil)
	require.Empty(t, saved.Failure)
	require.Contains(t, saved.Results["not-saved"], "custom/arm64, rocky9/amd64")
	require.Contains(t, strings.Join(saved.Progress, "\n"), "custom/arm64, rocky9/amd64")
	params := map[string]any{"path": saved.Results["path"]}
	require.Contains(t, s.act(t, unit0, "restore-backup", params).Failure, "custom/arm64, rocky9/amd64")
	params["force"] = true
	got := s.act(t, unit0, "restore-backup", params)
	require.Empty(t, got.Failure)
	require.Contains(t, got.Results["upload-again"], "custom/arm64, rocky9/amd64")
	s.settle()

	// While MAAS is down nothing is known of them.
	s.dead = true
	saved = s.act(t, unit0, "create-backup", nil)
	require.Empty(t, saved.Failure)
	require.Contains(t, saved.Results["not-saved"], "MAAS does not answer")
}

// With Vault regiond takes the database's credentials out of regiond.conf when it starts; they
// are neither missed nor written to the disk again.
func TestCredentialsInVaultStayThere(t *testing.T) {
	c := &database.Connection{Host: "10.0.9.9", Port: 5432, Name: "maas", User: "maas", Password: "hunter2"}
	f := Facts{Address: "10.0.0.1", Connection: c, Config: Config{URL: "http://maas.example:5240/MAAS"}}
	require.Equal(t, "hunter2", f.conf()["database_pass"])
	f.Conf = map[string]any{"vault_url": "https://vault.example:8200", "database_host": "10.0.9.9", "database_port": 5432, "maas_url": "http://maas.example:5240/MAAS", "broadcast_address": "10.0.0.1"}
	require.False(t, node.Differs(f.Conf, f.conf()))
	require.NotContains(t, f.conf(), "database_pass")
	c.Host = "10.0.9.10"
	require.True(t, node.Differs(f.Conf, f.conf()))
}

func TestVersionsAreCompared(t *testing.T) {
	ordered := []string{"3.5.10", "3.7.0~beta1", "3.7.0~rc1", "3.7.0", "3.7.3", "3.10.0"}
	for n, a := range ordered {
		for k, b := range ordered {
			require.Equal(t, n > k, newer(a, b), "%s, %s", a, b)
		}
	}
}

// MAAS syncs images only when each region that it lists does its part.
func TestARegionThatLeavesIsDeleted(t *testing.T) {
	s := ready(t, 3)
	s.settle()
	require.Len(t, s.maas.Regions, 3)
	// Its machine runs on: MAAS refuses, and the leader says so.
	s.juju.RemoveUnit("maas-region/2")
	s.settle()
	require.Equal(t, "waiting", s.juju.Units[unit0].Status)
	require.Contains(t, s.juju.Units[unit0].Message, "region region2 (reg2) of maas-region/2 has left; MAAS syncs no images until it is deleted")
	s.machines["maas-region/2"].Running = map[string]bool{}
	s.settle()
	require.Equal(t, "active", s.juju.Units[unit0].Status, s.juju.Units[unit0].Message)
	require.Len(t, s.maas.Regions, 2)

	// The new identity of a unit leaves the old one behind.
	m := s.machines[unit1]
	m.Hostname = "another"
	require.Empty(t, s.act(t, unit1, "reset-identity", map[string]any{"force": true}).Failure)
	s.settle()
	require.Len(t, s.maas.Regions, 2)
	require.Empty(t, s.act(t, unit0, "import-boot-resources", nil).Failure)
	require.Equal(t, 1, s.maas.Synced)
}

// Juju's relation-list may have a unit that was removed by force for ever. Its region is deleted all
// the same, and it keeps no unit from being refreshed.
func TestARegionThatWasRemovedByForceIsDeleted(t *testing.T) {
	s := ready(t, 3)
	s.settle()
	const dead = "maas-region/2"
	bag := s.peers.Databags[dead]
	s.machines[dead].Running = map[string]bool{}
	s.juju.RemoveUnit(dead)
	s.peers.Databags[dead], s.peers.Stale = bag, []string{dead}
	s.settle()
	require.Equal(t, "active", s.juju.Units[unit0].Status, s.juju.Units[unit0].Message)
	require.Len(t, s.maas.Regions, 2)

	for _, unit := range []string{unit1, unit0} {
		s.machines[unit].Archive[node.RegionPackage] = "1:3.7.4-0ubuntu1"
		require.Empty(t, s.act(t, unit, "upgrade-maas", nil).Failure, unit)
	}
}

// A backup that is restored elsewhere makes this the region that it was made on; its other
// regions, and the administrator's password, are not what they were.
func TestRestoreInAnotherApplication(t *testing.T) {
	old := ready(t, 1)
	saved := old.act(t, unit0, "create-backup", nil)
	require.Empty(t, saved.Failure)

	s := newSite(t, nil, t.TempDir())
	t.Cleanup(s.close)
	s.add(0)
	s.settle()
	s.machines[unit0].Hostname = "elsewhere"
	s.maas.Regions = []*maastest.Controller{{SystemID: "reg0", Hostname: "region0"}, {SystemID: "reg7", Hostname: "region7"}}
	s.machines[unit0].Put(node.SystemIDFile, "reg9")
	require.Empty(t, s.act(t, unit0, "restore-backup", map[string]any{"path": saved.Results["path"], "force": true}).Failure)
	require.Equal(t, "reg0", s.machines[unit0].Text(node.SystemIDFile))
	s.settle()
	require.Equal(t, "active", s.juju.Units[unit0].Status, s.juju.Units[unit0].Message)
	require.Len(t, s.maas.Regions, 1)
	require.Equal(t, "reg0", s.maas.Regions[0].SystemID)
	id := s.peers.Databags["maas-region"][keyPassword]
	require.Equal(t, s.juju.Secrets[id]["password"], s.dbs["10.0.0.1"].users["admin"], "what the secret says")
	s.clear(t)
}

// entries reads a backup.
func entries(t *testing.T, path string) map[string]*tar.Header {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	compressed, err := gzip.NewReader(file)
	require.NoError(t, err)
	all := map[string]*tar.Header{}
	for archive := tar.NewReader(compressed); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all[header.Name] = header
	}
}

// No file is wider after a restore than it was, none that belongs to the machine's identity
// comes back, and nothing leads out of MAAS's folder, which is user maas'.
func TestRestoreKeepsFilesFromOthers(t *testing.T) {
	s := ready(t, 1)
	m := s.machines[unit0]
	m.Put("etc/maas/preseeds/secret", "hunter2")
	m.Put("etc/maas/preseeds/open", "open")
	m.Put("etc/maas/agent.yaml", "secret: 5ec7e7")
	m.Put("etc/shadow", "root:x")
	at := func(name string) string { return filepath.Join(m.Root, name) }
	require.NoError(t, errors.Join(os.Chmod(at("etc/maas/preseeds/secret"), 0o600), os.Chmod(at("etc/maas/preseeds/open"), 0o666),
		os.Symlink("../../shadow", at("etc/maas/preseeds/link"))))
	saved := s.act(t, unit0, "create-backup", nil)
	require.Empty(t, saved.Failure)
	has := entries(t, saved.Results["path"])
	require.Contains(t, has, "etc/maas/preseeds/secret")
	require.NotContains(t, has, "etc/maas/agent.yaml")
	require.NotContains(t, has, "etc/maas/preseeds/link")
	require.NotContains(t, has, database.PassFile)
	for name := range has {
		require.False(t, node.Stale(name), name)
	}

	require.NoError(t, os.RemoveAll(at("etc/maas/preseeds")))
	require.NoError(t, os.Remove(at("etc/maas/agent.yaml")))
	params := map[string]any{"path": saved.Results["path"], "force": true}
	require.Empty(t, s.act(t, unit0, "restore-backup", params).Failure)
	for name, mode := range map[string]os.FileMode{"secret": 0o600, "open": 0o640} {
		info, err := os.Lstat(at("etc/maas/preseeds/" + name))
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode(), name)
	}
	info, err := os.Stat(at("etc/maas/preseeds"))
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o007)
	require.NoFileExists(t, at("etc/maas/agent.yaml"))

	// A backup that was made before owners and modes were kept, with a file of an identity.
	old := filepath.Join(t.TempDir(), "old.tar.gz")
	writeBackup(t, old, []tar.Header{{Name: dumpFile}, {Name: metaFile}, {Name: "etc/maas/agent.yaml"}, {Name: "etc/maas/preseeds/plain"}})
	params["path"] = old
	got := s.act(t, unit0, "restore-backup", params)
	require.Empty(t, got.Failure)
	require.NoFileExists(t, at("etc/maas/agent.yaml"))
	info, err = os.Lstat(at("etc/maas/preseeds/plain"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode())

	// User maas puts a link in the place of a folder.
	require.NoError(t, os.RemoveAll(at("etc/maas/preseeds")))
	require.NoError(t, os.MkdirAll(at("etc/cron.d"), 0o755))
	require.NoError(t, os.Symlink("../cron.d", at("etc/maas/preseeds")))
	require.Contains(t, s.act(t, unit0, "restore-backup", params).Failure, "cannot restore MAAS's files")
	planted, err := os.ReadDir(at("etc/cron.d"))
	require.NoError(t, err)
	require.Empty(t, planted)
}

// writeBackup writes an archive; the dump is of no users.
func writeBackup(t *testing.T, path string, headers []tar.Header) {
	t.Helper()
	file, err := os.Create(path)
	require.NoError(t, err)
	defer file.Close()
	compressed := gzip.NewWriter(file)
	all := tar.NewWriter(compressed)
	for _, header := range headers {
		text := "text"
		switch header.Name {
		case dumpFile:
			text = "dump of admin"
		case metaFile:
			text = `{"version": "` + pkgVersion + `"}`
		}
		size := header.Size
		if size == 0 {
			header.Size = int64(len(text))
		}
		header.Typeflag, header.Mode = tar.TypeReg, 0o600
		require.NoError(t, all.WriteHeader(&header))
		if size == 0 {
			_, err = all.Write([]byte(text))
			require.NoError(t, err)
		}
	}
	_ = all.Close() // it misses the bytes of a file that is too large
	require.NoError(t, compressed.Close())
}

func TestWhatIsNoBackupIsRefusedBeforeAnythingChanges(t *testing.T) {
	s := ready(t, 1)
	ran := len(s.machines[unit0].Ran)
	for name, c := range map[string]struct {
		headers []tar.Header
		why     string
	}{
		"another file":     {[]tar.Header{{Name: dumpFile}, {Name: metaFile}, {Name: "etc/shadow"}}, `it has "etc/shadow" in it`},
		"a way out":        {[]tar.Header{{Name: dumpFile}, {Name: metaFile}, {Name: "etc/maas/../shadow"}}, `it has "etc/maas/../shadow" in it`},
		"two dumps":        {[]tar.Header{{Name: dumpFile}, {Name: dumpFile}, {Name: metaFile}}, `it has "database.dump" in it`},
		"no dump":          {[]tar.Header{{Name: metaFile}}, "it has no database.dump"},
		"nothing about it": {[]tar.Header{{Name: dumpFile}}, "it has no backup.json"},
		"a huge dump":      {[]tar.Header{{Name: metaFile}, {Name: dumpFile, Size: 1 << 60}}, "free some"},
		"a huge file":      {[]tar.Header{{Name: metaFile}, {Name: "etc/maas/x", Size: 1 << 40}}, "besides the database"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "backup.tar.gz")
			writeBackup(t, path, c.headers)
			require.Contains(t, s.act(t, unit0, "restore-backup", map[string]any{"path": path, "force": true}).Failure, c.why)
			require.Len(t, s.machines[unit0].Ran, ran)
			left, err := filepath.Glob(filepath.Join(s.machines[unit0].Root, "var/lib/dcib/unit/.*-*"))
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func TestBackupsArePruned(t *testing.T) {
	s := ready(t, 1)
	dir := filepath.Join(s.machines[unit0].Root, "var/lib/dcib/unit")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	for _, name := range []string{"maas-20260101T000000Z.tar.gz", "maas-20260102T000000Z.tar.gz", "maas-20260103T000000Z.tar.gz", "maas-mine.tar.gz"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	got := s.act(t, unit0, "create-backup", nil)
	require.Equal(t, "4", got.Results["backups"])
	require.Equal(t, "0", got.Results["removed"], "unless it is asked for")
	got = s.act(t, unit0, "create-backup", map[string]any{"keep": 2.0})
	require.Equal(t, "2", got.Results["backups"])
	require.Equal(t, "2", got.Results["removed"])
	require.FileExists(t, got.Results["path"])
	require.FileExists(t, filepath.Join(dir, "maas-20260103T000000Z.tar.gz"))
	require.NoFileExists(t, filepath.Join(dir, "maas-20260102T000000Z.tar.gz"))
	require.FileExists(t, filepath.Join(dir, "maas-mine.tar.gz"), "no backup of this charm's")
	require.Contains(t, s.act(t, unit0, "create-backup", map[string]any{"keep": -1.0}).Failure, "parameter keep is -1")

	// What killed actions have left has the whole database in it.
	for _, name := range []string{".backup-123", ".restore-123"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, name, "etc"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name, dumpFile), []byte("dump"), 0o600))
	}
	s.hook(unit0)
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	require.NoError(t, err)
	require.Empty(t, left)
	s.clear(t)
}

// MAAS's Temporal server would never get in, and MAAS not start: that is said beforehand.
func TestDatabaseThatRequiresTLSIsRefused(t *testing.T) {
	s := fresh(t, 1)
	r := s.server("hunter2")
	r.Databags["postgresql"]["tls"] = "True"
	s.settle()
	require.Equal(t, "blocked", s.juju.Units[unit0].Status)
	require.Contains(t, s.juju.Units[unit0].Message, "cannot use the database on 10.0.9.9: it requires TLS")
	require.Zero(t, s.dbs["10.0.9.9"].upgrades)
	r.Databags["postgresql"]["tls"] = "False"
	s.settle()
	require.Equal(t, "active", s.juju.Units[unit0].Status, s.juju.Units[unit0].Message)
}

func TestACopyBecomesARegionOfItsOwn(t *testing.T) {
	s := fresh(t, 1)
	s.server("hunter2")
	s.settle()
	m := s.machines[unit0]
	m.Put("dispatch", "program")
	require.Empty(t, s.act(t, unit0, "prepare-clone", nil).Failure)
	m.Hostname, m.MAC, m.Running = "copy0", "00:16:3e:00:00:0f", map[string]bool{}
	s.settle()
	require.Equal(t, "active", s.juju.Units[unit0].Status, s.juju.Units[unit0].Message)
	require.Equal(t, "reg1", m.Text(node.SystemIDFile), "not merged with the original")
	require.Len(t, s.maas.Regions, 1, "the unit's former identity is deleted")
	require.Equal(t, "reg1", s.maas.Regions[0].SystemID)
}

func TestCrashes(t *testing.T) {
	dir := t.TempDir()
	certificate := issue(t, time.Unix(1900000000, 0))
	crashtest.Check(t, func(run *crashtest.Run) any {
		s := newSite(run, run.Gate, dir)
		defer s.close()
		s.add(0)
		s.add(1)
		run.Always = func() {
			s.clear(run)
			require.LessOrEqual(run, len(s.dbs), 1, "one database")
		}
		hooks := func(rounds int) any {
			var ends []any
			for range rounds {
				for _, unit := range s.units() {
					_ = crashtest.Hook(run, s.juju, s.charm(), hooktool.Event{Hook: "update-status", Unit: unit})
				}
			}
			for _, unit := range s.units() {
				m := s.machines[unit]
				ends = append(ends, s.juju.Units[unit].Status, m.Running, m.Text(node.SystemIDFile), m.Text(node.SecretFile))
			}
			return ends
		}
		ends := []any{hooks(5)}
		r := s.relate(maascontroller.Rack{Unit: "maas-rack/0", FQDN: "rack0", SystemID: "aaa"})
		s.juju.Config["maas-region"]["ntp-servers"] = "ntp.example"
		s.juju.Secrets["secret:tls"] = map[string]string{"certificate": certificate.certificate, "key": certificate.key}
		s.juju.Config["maas-region"]["tls-secret"] = "secret:tls"
		ends = append(ends, hooks(3), s.maas.Config["ntp_servers"], r.Databags["maas-region"]["api_url"], s.dbs["10.0.0.1"].tls.certificate == certificate.certificate)
		left, err := filepath.Glob(filepath.Join(s.machines[unit0].Root, "var/lib/dcib/unit/.*"))
		require.NoError(run, err)
		require.Empty(run, left, "the key is removed")
		s.machines[unit0].Running["postgresql"] = false
		s.juju.Leaders["maas-region"] = unit1
		s.juju.RemoveUnit("maas-rack/0")
		return append(ends, hooks(3), len(s.maas.Racks), s.dbs["10.0.0.1"].schema, len(s.dbs["10.0.0.1"].users))
	}, crashtest.Late, crashtest.Lost)
}

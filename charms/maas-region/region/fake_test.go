package region

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/charms/maas-region/database"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/maas/node"
	"github.com/dcib/dcib/internal/testkit/crash"
	"github.com/dcib/dcib/internal/testkit/hooktool"
	"github.com/dcib/dcib/internal/testkit/maas"
	"github.com/dcib/dcib/internal/testkit/machine"
)

const (
	pkgVersion = "1:3.7.3-0ubuntu1"
	apiKey     = "consumer1:token2:secret3"
	mainSecret = "5ec7e75ec7e75ec7e75ec7e75ec7e75e"
)

const clusterCertificate = "var/lib/maas/certificates/cluster.pem"

// db is a PostgreSQL with MAAS's database.
type db struct {
	verifier string            // of MAAS's role; empty without one
	schema   string            // the version that it was migrated to
	users    map[string]string // passwords
	upgrades int
	cert     string  // the certificates that MAAS made when it was first started on it
	tls      *issued // what MAAS serves its API with; nil without TLS
}

// site is a model with region units on their machines, and the MAAS that they make.
type site struct {
	t        require.TestingT
	dir      string
	gate     *crashtest.Gate
	juju     *hooktooltest.Juju
	peers    *hooktooltest.Relation
	machines map[string]*machinetest.Machine // by unit
	worlds   map[string]string               // the API's address, by unit
	dbs      map[string]*db                  // by address
	maas     *maastest.Region
	secret   string          // MAAS's
	made     int             // passwords made up
	deaf     bool            // PostgreSQL listens on localhost alone, until it starts again
	waits    func()          // what happens while a hook waits
	limits   []time.Duration // of the waits that had one of their own; 0 for those that had none
	servers  []*httptest.Server
	handlers map[string]http.Handler     // of regiond, by unit
	secure   map[string]*httptest.Server // where nginx serves the API with TLS, by address
	limit    int                         // connections that PostgreSQL takes
	old      bool                        // pg_dump is older than the server
	dead     bool                        // no region answers
	torn     bool                        // nginx does not take a new certificate
}

// stopped is a rack whose unit has stopped it, as it does before it leaves.
func (s *site) stopped(hostname string) {
	for _, r := range s.maas.Racks {
		r.Dead = r.Dead || r.Hostname == hostname
	}
}

func newSite(t require.TestingT, gate *crashtest.Gate, dir string) *site {
	s := &site{
		t: t, dir: dir, gate: gate, juju: hooktooltest.New(), machines: map[string]*machinetest.Machine{}, worlds: map[string]string{},
		dbs: map[string]*db{}, handlers: map[string]http.Handler{}, secure: map[string]*httptest.Server{}, maas: &maastest.Region{Version: "3.7.3", Keys: []string{apiKey}}, secret: mainSecret, limit: 100,
	}
	s.juju.Config["maas-region"] = map[string]any{
		"source": "ppa:maas/3.7", "maas-url": "", "admin-username": "admin", "database": Embedded,
		"http-proxy": "", "ntp-servers": "", "dns-forwarders": "", "boot-resources": "",
	}
	s.peers = s.juju.Relate("maas-region:cluster", "maas-region:cluster")
	return s
}

// close ends the servers.
func (s *site) close() {
	for _, server := range s.servers {
		server.Close()
	}
}

func (s *site) add(n int) string {
	unit, address := fmt.Sprintf("maas-region/%d", n), fmt.Sprintf("10.0.0.%d", n+1)
	s.juju.AddUnit(unit, address)
	s.peers.Databags[unit] = map[string]string{"egress-subnets": address + "/32", "ingress-address": address} // as Juju does
	root, err := os.MkdirTemp(s.dir, "")
	require.NoError(s.t, err)
	m := machinetest.New(s.gate, root, fmt.Sprintf("region%d", n), fmt.Sprintf("00:16:3e:00:00:0%d", n))
	m.Archive = map[string]string{node.RegionPackage: pkgVersion, database.Package: "16", database.Client: "16", "maas-region-controller": pkgVersion}
	m.Started = func(service string) error { return s.started(m, address, service) }
	m.Programs = map[string]machinetest.Program{
		"runuser": func(m *machinetest.Machine, _ []string, input string) (string, error) {
			return s.psql(m, address, input)
		},
		"maas-region": func(m *machinetest.Machine, _ []string, _ string) (string, error) { return "", s.dbupgrade(m, address) },
		"maas": func(m *machinetest.Machine, args []string, input string) (string, error) {
			return s.cli(m, address, args, input)
		},
		"psql":       s.connections(address),
		"pg_dump":    s.dump(address),
		"pg_restore": s.dump(address),
	}
	s.handlers[unit] = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.TLS == nil && s.redirects(m, address, w, req) {
			return
		}
		if s.dead || !m.Running["maas-regiond"] || s.reach(m, address) != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		for _, region := range s.maas.Regions { // a region is alive while its process is
			region.Dead = true
			for _, m := range s.machines {
				region.Dead = region.Dead && !(m.Running["maas-regiond"] && m.Text(node.SystemIDFile) == region.SystemID)
			}
		}
		s.maas.ServeHTTP(w, req)
	})
	server := httptest.NewServer(s.handlers[unit])
	s.servers = append(s.servers, server)
	s.machines[unit], s.worlds[unit] = m, server.URL+"/MAAS"
	return unit
}

// server returns the machine that an address stands for, as seen from another; nil for a
// database that is on no machine of ours.
func (s *site) at(from, host string) (address string, m *machinetest.Machine) {
	if host == "localhost" {
		host = from
	}
	for unit, m := range s.machines {
		if s.juju.Units[unit] != nil && s.juju.Units[unit].Address == host {
			return host, m
		}
	}
	return host, nil
}

// reach reports whether a machine gets into the database that its regiond.conf names, and
// finds it there as it wants it.
func (s *site) reach(m *machinetest.Machine, from string) error {
	conf, err := m.Node().Conf(node.RegionConf)
	if err != nil {
		return err
	}
	host, _ := conf["database_host"].(string)
	password, _ := conf["database_pass"].(string)
	address, server := s.at(from, host)
	d := s.dbs[address]
	if d == nil || server != nil && !server.Running["postgresql"] {
		return errors.New("could not connect to server: Connection refused")
	}
	if server != nil && server != m && !strings.Contains(server.Text("etc/postgresql/16/main/pg_hba.conf"), "host maasdb maas "+from+"/32 scram-sha-256") {
		return fmt.Errorf("no pg_hba.conf entry for host %q", from)
	}
	if server != nil && server != m && !strings.Contains(server.Text("etc/postgresql/16/main/conf.d/dcib-maas.conf"), "listen_addresses = 'localhost,"+address+"'") {
		return errors.New("could not connect to server: Connection refused")
	}
	if s.verifier(password) != d.verifier {
		return errors.New("password authentication failed")
	}
	return nil
}

// verifiers of passwords, which are made slowly on purpose.
var verifiers = map[string]string{}

var verifying sync.Mutex

func (s *site) verifier(password string) string {
	verifying.Lock()
	defer verifying.Unlock()
	if verifiers[password] == "" {
		verifier, err := database.Verifier(password)
		require.NoError(s.t, err)
		verifiers[password] = verifier
	}
	return verifiers[password]
}

func (s *site) psql(m *machinetest.Machine, address, input string) (string, error) {
	if !m.Running["postgresql"] {
		return "", errors.New("cannot run runuser: could not connect to server")
	}
	d := s.dbs[address]
	if strings.Contains(input, "SELECT 'ready'") {
		if d != nil && strings.Contains(input, "'"+d.verifier+"'") {
			return "ready\n", nil
		}
		return "", nil
	}
	defer m.Gate.Effect("make the database")()
	if d == nil {
		d = &db{users: map[string]string{}}
		s.dbs[address] = d
	}
	_, rest, _ := strings.Cut(input, "PASSWORD '")
	d.verifier, _, _ = strings.Cut(rest, "'")
	return "", nil
}

// mine returns the database that a machine's regiond.conf names.
func (s *site) mine(m *machinetest.Machine, from string) (*db, error) {
	if err := s.reach(m, from); err != nil {
		return nil, err
	}
	conf, _ := m.Node().Conf(node.RegionConf)
	address, _ := s.at(from, conf["database_host"].(string))
	return s.dbs[address], nil
}

func (s *site) dbupgrade(m *machinetest.Machine, address string) error {
	d, err := s.mine(m, address)
	if err != nil {
		return fmt.Errorf("cannot run maas-region: %w", err)
	}
	for _, service := range services {
		require.False(s.t, m.Running[service], "%s runs while its database is migrated", service)
	}
	for unit, other := range s.machines {
		if from := s.juju.Units[unit]; from != nil && other.Running["maas-regiond"] && other.Dpkg[node.RegionPackage][1] != m.Dpkg[node.RegionPackage][1] {
			if on, err := s.mine(other, from.Address); err == nil && on == d {
				require.Fail(s.t, "old code runs on the new schema", unit)
			}
		}
	}
	defer m.Gate.Effect("migrate")()
	d.schema = m.Dpkg[node.RegionPackage][1]
	d.upgrades++
	return nil
}

func (s *site) cli(m *machinetest.Machine, address string, args []string, input string) (string, error) {
	d, err := s.mine(m, address)
	if err != nil || d.schema == "" {
		return "", errors.New("cannot run maas: no such table")
	}
	if args[0] == "config-tls" {
		return "", s.configTLS(m, d, args[1:])
	}
	name := args[len(args)-1]
	if len(args) > 2 {
		name = args[2]
	}
	switch args[0] {
	case "apikey":
		if d.users[name] == "" {
			return "", errors.New("cannot run maas: User does not exist.")
		}
		return apiKey + "\n", nil
	case "createadmin":
		require.Equal(s.t, []string{"--username", "--email", "--ssh-import"}, []string{args[1], args[3], args[5]}, "what is missing is asked for")
		lines := strings.Split(input, "\n")
		require.Len(s.t, lines, 3)
		require.Equal(s.t, lines[0], lines[1])
		if d.users[name] != "" {
			return "", errors.New("cannot run maas: A user with the email " + args[4] + " already exists.")
		}
		defer m.Gate.Effect("create " + name)()
		d.users[name] = lines[0]
		return "", nil
	case "changepassword":
		lines := strings.Split(input, "\n")
		require.Len(s.t, lines, 3)
		require.Equal(s.t, lines[0], lines[1])
		name = args[1]
		if d.users[name] == "" {
			return "", errors.New("cannot run maas: user '" + name + "' does not exist")
		}
		defer m.Gate.Effect("change password of " + name)()
		d.users[name] = lines[0]
		return "", nil
	}
	return "", fmt.Errorf("cannot run maas: no command %s", args[0])
}

// connections is psql, over the network: it is asked for the server's limit.
func (s *site) connections(address string) machinetest.Program {
	return func(m *machinetest.Machine, args []string, input string) (string, error) {
		require.Equal(s.t, "SHOW max_connections;\n", input)
		_, rest, _ := strings.Cut(args[len(args)-1], "passfile=")
		text, err := os.ReadFile(rest)
		require.NoError(s.t, err)
		require.Contains(s.t, string(text), "hunter2")
		if _, err := s.mine(m, address); err != nil {
			return "", err
		}
		return fmt.Sprintln(s.limit), nil
	}
}

// dump is pg_dump and pg_restore: what they write is the schema's version and the users.
func (s *site) dump(address string) machinetest.Program {
	return func(m *machinetest.Machine, args []string, _ string) (string, error) {
		d, err := s.mine(m, address)
		if err != nil {
			return "", err
		}
		if s.old {
			return "", errors.New("cannot run pg_dump: pg_dump: error: aborting because of server version mismatch: pg_dump: detail: server version: 16.4; pg_dump version: 14.13")
		}
		for _, arg := range args {
			if path, ok := strings.CutPrefix(arg, "--file="); ok {
				return "", os.WriteFile(path, []byte("dump of "+strings.Join(slices.Sorted(mapKeys(d.users)), ",")), 0o600)
			}
		}
		text, err := os.ReadFile(args[len(args)-1])
		d.users = map[string]string{}
		for name := range strings.SplitSeq(strings.TrimPrefix(string(text), "dump of "), ",") {
			d.users[name] = "restored"
		}
		return "", err
	}
}

func mapKeys(m map[string]string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// started is what services do when they start.
func (s *site) started(m *machinetest.Machine, address, service string) error {
	switch service {
	case "postgresql":
		s.deaf = false
	case "maas-regiond":
		d, err := s.mine(m, address)
		if err != nil {
			return err
		}
		if d.schema != m.Dpkg[node.RegionPackage][1] {
			return errors.New("the database's schema is another version's")
		}
		// It keeps files that are there (src/maasserver/start_up.py), also those of another database.
		if d.cert == "" {
			d.cert = fmt.Sprintf("certificates of %p", d)
		}
		if has := m.Text(clusterCertificate); has != "" && has != d.cert {
			return errors.New("crypto/rsa: verification error")
		}
		m.Put(clusterCertificate, d.cert)
		// By the identity it has, or else by host name.
		id := m.Text(node.SystemIDFile)
		at := slices.IndexFunc(s.maas.Regions, func(c *maastest.Controller) bool { return c.SystemID == id || id == "" && c.Hostname == m.Hostname })
		if at < 0 {
			at = len(s.maas.Regions)
			s.maas.Regions = append(s.maas.Regions, &maastest.Controller{SystemID: fmt.Sprintf("reg%d", at), Hostname: m.Hostname})
		}
		m.Put(node.SystemIDFile, s.maas.Regions[at].SystemID)
		m.Put(node.SecretFile, s.secret)
		m.Put("var/lib/maas/temporal/production.yaml", "rendered")
		s.configureNginx(m, address, d)
	case "maas-temporal":
		if m.Text("var/lib/maas/temporal/production.yaml") == "" {
			return errors.New("no configuration yet")
		}
	}
	return nil
}

func (s *site) charm() charm.Charm[Facts, *Env] {
	return charm.Charm[Facts, *Env]{
		Env: func(event hooktool.Event, tools hooktool.Tools) *Env {
			m, address := s.machines[event.Unit], s.juju.Units[event.Unit].Address
			return &Env{
				Machine: m.Node(), Tools: tools, Unit: event.Unit, App: event.App(), CharmDir: m.Root, StateDir: filepath.Join(m.Root, "var/lib/dcib/unit"),
				API: s.worlds[event.Unit], Now: func() time.Time { return time.Unix(1800000000, 0) },
				Random: func() string { s.made++; return fmt.Sprintf("MADEUP%dPASSWORD", s.made) },
				Dial: func(_ context.Context, at string) error {
					host, _, err := net.SplitHostPort(at)
					require.NoError(s.t, err)
					if s.deaf && host != "localhost" {
						return errors.New("connection refused")
					}
					if where, server := s.at(address, host); server != nil && server.Running["postgresql"] || server == nil && s.dbs[where] != nil {
						return nil
					}
					return errors.New("connection refused")
				},
				Wait: func(ctx context.Context, done func() bool) {
					limit := time.Duration(0)
					if at, ok := ctx.Deadline(); ok && time.Until(at) < 2*time.Minute {
						limit = time.Until(at)
					}
					s.limits = append(s.limits, limit)
					if s.waits != nil {
						s.waits()
						done()
					}
				},
			}
		},
		Observe: Observe,
		Plan:    Plan,
		Actions: Actions,
	}
}

func (s *site) hook(unit string, name ...string) (status, message string) {
	event := hooktool.Event{Hook: "update-status", Unit: unit}
	if len(name) > 0 {
		event.Hook = name[0]
	}
	require.NoError(s.t, crashtest.Try(s.gate, s.juju, s.charm(), event))
	return s.juju.Units[unit].Status, s.juju.Units[unit].Message
}

// settle returns every unit some hooks.
func (s *site) settle() {
	for range 5 {
		for _, unit := range s.units() {
			s.hook(unit)
		}
	}
}

func (s *site) units() []string {
	var units []string
	for unit := range s.machines {
		if s.juju.Units[unit] != nil {
			units = append(units, unit)
		}
	}
	slices.Sort(units)
	return units
}

func (s *site) act(t *testing.T, unit, name string, params map[string]any) *hooktooltest.Tools {
	t.Helper()
	tools, commit := s.juju.Hook(unit)
	tools.Params = params
	require.NoError(t, s.charm().Run(t.Context(), hooktool.Event{Action: name, Unit: unit}, tools))
	if tools.Failure == "" {
		commit()
	}
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
	for _, m := range s.machines {
		fmt.Fprintln(&all, m.Ran)
	}
	for _, word := range []string{mainSecret, "PASSWORD", "hunter2", "secret3"} {
		require.NotContains(t, all.String(), word)
	}
}

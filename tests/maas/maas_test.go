//go:build box

// Package maas runs regions and racks of MAAS on a real box: real Juju, real apt and dpkg,
// real systemd, real PostgreSQL. MAAS's own packages are stand-ins (see archive and standin),
// unless DCIB_MAAS_SOURCE says what option source is to be; what only stand-ins can show is
// left out then.
package maas

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/internal/maas"
	"github.com/dcib/dcib/tests/maas/archive"
	"github.com/dcib/dcib/tests/testbed"
)

const (
	region = "maas-region"
	rack   = "maas-rack"
	// metal is the model with the bundle.
	metal = "metal"
)

// version and later are what the stand-ins are of; later comes into the archive later.
const (
	version = "3.7.2"
	later   = "3.7.3"
)

var (
	box testbed.Box
	// source is what option source is.
	source string
	// standins is nil where the packages are MAAS's own.
	standins *archive.Archive
	proxy    *archive.Proxy
	bridge   string // the box's, this machine's address on it
)

func TestMAAS(t *testing.T) {
	box = testbed.New(t, "maas")
	box.DCIB(t, 25*time.Minute, "up", "--until", "controller")
	bridge = hostAddress(t)
	proxy = archive.ServeProxy(t, bridge, filepath.Join(box.Repo, "dist/apt"))
	if source = os.Getenv("DCIB_MAAS_SOURCE"); source == "" {
		standins = archive.Serve(t, box.Repo, bridge, version)
		source = standins.Site("maas").Source
	}
	testbed.Run(t, testbed.PackTime, filepath.Join(box.Repo, "bin/dcib"), "pack", "--out", filepath.Join(box.Repo, "dist/tests"), filepath.Join(box.Repo, "tests/charms/postgresql"))
	// Each has a model of its own, and most of its time is waiting for Juju.
	t.Run("models", func(t *testing.T) {
		t.Run("bundle", func(t *testing.T) { t.Parallel(); testLife(t) })
		t.Run("copies", func(t *testing.T) { t.Parallel(); testCopies(t) })
		if standins != nil {
			t.Run("failover", func(t *testing.T) { t.Parallel(); testFailover(t) })
			t.Run("harm", func(t *testing.T) { t.Parallel(); testHarm(t) })
		}
	})
	t.Run("down", func(t *testing.T) { box.DCIB(t, 5*time.Minute, "down") })
}

// testLife follows a MAAS from its deployment on.
func testLife(t *testing.T) {
	seen := watchArguments()
	t.Run("one region and two racks", testBundle)
	if standins != nil {
		t.Run("machines", testMachines)
	}
	t.Run("a second region joins the database", testSecondRegion)
	if standins != nil {
		t.Run("the API with TLS", testTLS)
	}
	t.Run("a rack is removed", testRackRemoved)
	t.Run("a rack is deleted while it runs", testRackDeleted)
	t.Run("a rack dies", testRackDies)
	if standins != nil {
		t.Run("the agent of a rack does not run", testRackDegraded)
	}
	t.Run("the database is away", testDatabaseAway)
	if standins != nil {
		t.Run("a later version", testRefresh)
	}
	t.Run("a rack on a region's machine", testBoth)
	t.Run("a rack in another model", testEdge)
	t.Run("no secret is to be read", func(t *testing.T) { requireSecret(t, seen) })
}

// deployed is box.WaitActive for new machines, which start at the same time as those of the other
// models do.
func deployed(t *testing.T, model, app string, units int) {
	t.Helper()
	box.Eventually(t, 20*time.Minute, fmt.Sprintf("%d new units of %s to be active", units, app), func() (bool, string) {
		active, said := 0, ""
		for name, u := range box.Status(t, model).Applications[app].Units {
			if u.Workload.Current == "active" {
				active++
			}
			said += fmt.Sprintf("%s is %s (%s); ", name, u.Workload.Current, u.Workload.Message)
		}
		return active == units, said
	})
}

// overlay is laid over the bundle: only here is it known where packages are from.
func overlay(t *testing.T) string {
	t.Helper()
	regions, racks := map[string]string{"source": source}, map[string]string{"source": source}
	if standins != nil {
		regions["boot-resources"] = "ubuntu/noble/amd64"
	}
	text, err := yaml.Marshal(map[string]any{"applications": map[string]any{region: map[string]any{"options": regions}, rack: map[string]any{"options": racks}}})
	require.NoError(t, err)
	path := filepath.Join(box.Repo, "dist/maas-source.yaml")
	require.NoError(t, os.WriteFile(path, text, 0o644))
	return path
}

// hostAddress is that of this machine on the box's bridge.
func hostAddress(t *testing.T) string {
	t.Helper()
	var networks []struct {
		Managed bool              `json:"managed"`
		Config  map[string]string `json:"config"`
	}
	testbed.Decode(t, box.LXC(t, "network", "list", "--format", "json"), &networks)
	for _, n := range networks {
		if address, _, ok := strings.Cut(n.Config["ipv4.address"], "/"); ok && n.Managed {
			return address
		}
	}
	require.Fail(t, "the box has no bridge with an address")
	return ""
}

// addModel adds a model, unless an earlier run has left it.
func addModel(t *testing.T, model string) {
	t.Helper()
	if !strings.Contains(box.Juju(t, "models", "--format", "json"), `"`+model+`"`) {
		// Hooks get lost with the machines that would have caused them.
		box.AddModel(t, model, "update-status-hook-interval=1m", "apt-http-proxy="+proxy.Address, "apt-no-proxy="+bridge)
	}
}

// bundle deploys the bundle, and returns what juju states that it did.
func bundle(t *testing.T) string {
	t.Helper()
	return testbed.Run(t, 5*time.Minute, "sh", "-c", `exec "$0" "$@" 2>&1`, filepath.Join(box.Repo, "bin/dcib"), "box", "--name", box.Name, "juju",
		"deploy", "-m", metal, "--map-machines", "existing", filepath.Join(box.Repo, "bundles/maas.yaml"), "--overlay", overlay(t))
}

func testBundle(t *testing.T) {
	addModel(t, metal)
	bundle(t)
	if standins != nil {
		// Until MAAS has read the stream of its images, it refuses to select one. Racks do not wait
		// for that.
		deployed(t, metal, rack, 2)
		requireRacks(t, metal, 2)
		box.WaitUnit(t, metal, region+"/0", func(s testbed.State) bool {
			return s.Current == "waiting" && strings.Contains(s.Message, "MAAS does not know an image of option boot-resources yet")
		})
		sql(t, `UPDATE maasserver_rest SET document = document || '{"Unread": false}'`)
	}
	box.WaitActive(t, metal, region, 1)
	box.WaitActive(t, metal, rack, 2)
	requireRacks(t, metal, 2)
	if standins != nil {
		require.Equal(t, []string{"noble|1"}, sql(t, `SELECT document->'Selections'->0->>'release', document->>'Imports' FROM maasserver_rest`))
	}
	require.NotRegexp(t, `(?m)^- (upload|deploy|add|set|create|upgrade)`, bundle(t), "the same again changes nothing")
}

// testSecondRegion asks the database how many regions it has, and how often it was migrated.
func testSecondRegion(t *testing.T) {
	box.Juju(t, "add-unit", "-m", metal, region)
	box.WaitActive(t, metal, region, 2)
	machines := box.Machines(t, metal, region)
	c := api(t, metal)
	box.Eventually(t, time.Minute, "MAAS to list both regions", func() (bool, string) {
		regions, err := c.Regions(t.Context())
		return err == nil && len(regions) == 2, fmt.Sprint(shown(regions), err)
	})
	second := machines[region+"/1"]
	require.Empty(t, strings.TrimSpace(box.Inside(t, second, "dpkg-query -W -f '${db:Status-Status}' postgresql 2>/dev/null || true")), "one database")
	databaseUnit := strings.TrimSpace(box.Inside(t, machines[region+"/0"], "hostname -I | cut -d ' ' -f 1"))
	require.Contains(t, box.Inside(t, second, "cat /etc/maas/regiond.conf"), "database_host: "+databaseUnit+"\n")
	if standins != nil {
		require.Len(t, sql(t, `SELECT system_id FROM maasserver_node WHERE region_seen > now() - interval '10 seconds'`), 2)
		require.Equal(t, []string{"1"}, sql(t, `SELECT count(*) FROM standin_event WHERE what LIKE 'migrated%'`), "migrated once")
	}
	// What one knows the other knows.
	at := strings.TrimSpace(box.Inside(t, second, "hostname -I | cut -d ' ' -f 1"))
	other, err := maas.New("http://"+at+":5240/MAAS", key(t, metal))
	require.NoError(t, err)
	racks, err := other.Racks(t.Context())
	require.NoError(t, err)
	require.Len(t, racks, 2)
}

func testRackRemoved(t *testing.T) {
	box.Juju(t, "remove-unit", "-m", metal, "--no-prompt", rack+"/1")
	box.WaitActive(t, metal, rack, 1)
	requireRacks(t, metal, 1)
}

// testRackDeleted has MAAS delete a rack that is connected, which forgets MAAS's secret by it.
func testRackDeleted(t *testing.T) {
	c := api(t, metal)
	racks, err := c.Racks(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, racks)
	machine := box.Status(t, metal).Instance(t, rack+"/0")
	at := slices.IndexFunc(racks, func(r maas.Controller) bool { return r.Hostname == machine })
	require.GreaterOrEqual(t, at, 0)
	require.NoError(t, c.DeleteRack(t.Context(), racks[at].SystemID, false))
	box.Eventually(t, time.Minute, "the rack to forget MAAS's secret", func() (bool, string) {
		out := box.Inside(t, machine, "ls /var/lib/maas")
		return !strings.Contains(out, "secret"), out
	})
	requireSame(t)
	require.NotEqual(t, racks[at].SystemID, strings.TrimSpace(box.Inside(t, machine, "cat /var/lib/maas/maas_id")))
}

// testRackDies takes a rack's machine away, as a fire would.
func testRackDies(t *testing.T) {
	box.Juju(t, "add-unit", "-m", metal, rack)
	box.WaitActive(t, metal, rack, 2)
	requireRacks(t, metal, 2)
	machine := box.Status(t, metal).Instance(t, rack+"/2")
	box.LXC(t, "delete", "--force", machine)
	var dead maas.Controller
	c := api(t, metal)
	box.Eventually(t, 5*time.Minute, "MAAS to see the rack dead", func() (bool, string) {
		racks, err := c.Racks(t.Context())
		for _, r := range racks {
			if r.Hostname == machine && r.State() == "dead" {
				dead = r
			}
		}
		return dead.SystemID != "", fmt.Sprint(shown(racks), err)
	})
	leader := leaderOf(t, metal)
	require.Contains(t, box.Action(t, metal, leader, "list-controllers")["racks"], dead.SystemID+" "+machine+" ")
	require.Contains(t, box.Action(t, metal, leader, "list-controllers")["racks"], " dead")
	box.Action(t, metal, leader, "remove-controller", "system-id="+dead.SystemID)
	box.Juju(t, "remove-machine", "-m", metal, "--no-prompt", "--force", "--no-wait", box.Status(t, metal).Applications[rack].Units[rack+"/2"].Machine)
	box.WaitActive(t, metal, rack, 1)
	box.WaitActive(t, metal, region, 2)
	requireRacks(t, metal, 1)
}

// testRackDegraded keeps a rack's agent from running: the rack's own unit says so, and the region
// by what MAAS lists of the rack.
func testRackDegraded(t *testing.T) {
	machine := box.Status(t, metal).Instance(t, rack+"/0")
	box.Inside(t, machine, "systemctl mask --runtime --now maas-agent")
	box.WaitUnit(t, metal, rack+"/0", func(s testbed.State) bool {
		return s.Current == "waiting" && strings.Contains(s.Message, "maas-agent")
	})
	box.WaitUnit(t, metal, leaderOf(t, metal), func(s testbed.State) bool {
		return s.Current == "active" && strings.Contains(s.Message, machine) && strings.Contains(s.Message, "agent dead")
	})
	box.Inside(t, machine, "systemctl unmask --runtime maas-agent")
	box.Eventually(t, 2*time.Minute, "rackd to start its agent", func() (bool, string) {
		out := box.Inside(t, machine, "systemctl is-active maas-agent || true")
		return strings.TrimSpace(out) == "active", out
	})
	requireSame(t)
	box.WaitUnit(t, metal, leaderOf(t, metal), func(s testbed.State) bool {
		return s.Current == "active" && !strings.Contains(s.Message, "dead")
	})
}

// testDatabaseAway takes PostgreSQL's files away, so that nothing can start it; then it kills
// it, which the charm fixes
func testDatabaseAway(t *testing.T) {
	machine := box.Status(t, metal).Instance(t, region+"/0")
	box.Inside(t, machine, "systemctl stop postgresql 'postgresql@*'; for d in /var/lib/postgresql/*/main; do mv $d $d.away; done")
	box.WaitUnit(t, metal, region+"/0", func(s testbed.State) bool {
		return s.Current == "blocked" && strings.Contains(s.Message, "PostgreSQL does not start")
	})
	box.WaitUnit(t, metal, region+"/1", func(s testbed.State) bool {
		return s.Current == "waiting" && strings.Contains(s.Message, "port 5432, which does not answer")
	})
	box.Inside(t, machine, "for d in /var/lib/postgresql/*/main.away; do mv $d ${d%.away}; done")
	box.WaitActive(t, metal, region, 2)
	requireSame(t)

	box.Inside(t, machine, "systemctl kill --signal KILL 'postgresql@*'; systemctl stop 'postgresql@*'")
	box.Eventually(t, 4*time.Minute, "PostgreSQL to run again", func() (bool, string) {
		out := box.Inside(t, machine, "pg_lsclusters --no-header")
		return strings.Contains(out, " online "), out
	})
	box.WaitActive(t, metal, region, 2)
	requireSame(t)
}

// testRefresh has a later version come into the archive. What each region saw of the
// database's schema is what the stand-ins have noted in the database.
func testRefresh(t *testing.T) {
	standins.Add(t, later)
	_, err := box.TryAction(t, metal, region+"/0", "upgrade-maas")
	require.ErrorContains(t, err, region+"/1 have MAAS "+version)
	box.Action(t, metal, region+"/1", "upgrade-maas")
	second := box.Status(t, metal).Instance(t, region+"/1")
	require.Equal(t, "inactive", strings.TrimSpace(box.Inside(t, second, "systemctl is-active maas-regiond || true")))
	v, err := api(t, metal).Version(t.Context())
	require.NoError(t, err, "MAAS is there meanwhile")
	require.Equal(t, version, v)
	backup, _ := box.Action(t, metal, region+"/0", "upgrade-maas")["backup"].(string)
	require.NotEmpty(t, backup)
	box.Inside(t, box.Status(t, metal).Instance(t, region+"/0"), "test -s "+backup)
	box.WaitActive(t, metal, region, 2)
	for unit := range box.Machines(t, metal, rack) {
		box.Action(t, metal, unit, "upgrade-maas")
	}
	requireSame(t)
	for unit, machine := range box.Machines(t, metal, region) {
		require.Contains(t, box.Inside(t, machine, "curl -s http://localhost:5240/MAAS/api/2.0/version/"), `"`+later+`"`, unit)
	}
	require.Empty(t, sql(t, `SELECT what FROM standin_event WHERE what NOT LIKE 'migrated to %'`), "no code ran on the schema of another version")
	require.Equal(t, []string{"2"}, sql(t, `SELECT count(*) FROM standin_event WHERE what LIKE 'migrated%'`))
}

// testBoth puts a rack onto the machine of the second region, and takes it away again.
func testBoth(t *testing.T) {
	const app = "rack-beside"
	machine := box.Status(t, metal).Applications[region].Units[region+"/1"].Machine
	hostname := box.Status(t, metal).Instance(t, region+"/1")
	box.Juju(t, "deploy", "-m", metal, filepath.Join(box.Repo, "dist/maas-rack.charm"), app, "--base", "ubuntu@24.04", "--to", machine, "--config", "source="+source)
	box.Juju(t, "integrate", "-m", metal, region+":maas", app+":maas")
	box.WaitActive(t, metal, app, 1)
	c := api(t, metal)
	kind := func(list []maas.Controller, err error) string {
		for _, one := range list {
			if one.Hostname == hostname {
				return fmt.Sprint(one.NodeType, one.State())
			}
		}
		return fmt.Sprint("none ", err)
	}
	box.Eventually(t, 2*time.Minute, "a controller that is both", func() (bool, string) {
		got := kind(c.Racks(t.Context()))
		return got == "4running", got
	})
	box.Juju(t, "remove-application", "-m", metal, "--no-prompt", app)
	box.Eventually(t, 4*time.Minute, "a region alone", func() (bool, string) {
		got := kind(c.Racks(t.Context())) + ", " + kind(c.Regions(t.Context()))
		return strings.HasPrefix(got, "none ") && strings.HasSuffix(got, ", 3"), got
	})
	box.WaitActive(t, metal, region, 2)
	requireSame(t)
}

// testEdge has a rack in a model of its own, by an offer of the region's.
func testEdge(t *testing.T) {
	const model = "edge"
	addModel(t, model)
	box.Juju(t, "offer", metal+"."+region+":maas", "maas")
	box.Juju(t, "deploy", "-m", model, filepath.Join(box.Repo, "dist/maas-rack.charm"), rack, "--base", "ubuntu@24.04", "--config", "source="+source)
	box.Juju(t, "integrate", "-m", model, rack+":maas", "admin/"+metal+".maas")
	box.WaitActive(t, model, rack, 1)
	hostname := box.Status(t, model).Instance(t, rack+"/0")
	c := api(t, metal)
	has := func() (bool, string) {
		racks, err := c.Racks(t.Context())
		return slices.ContainsFunc(racks, func(r maas.Controller) bool { return r.Hostname == hostname && r.State() == "running" }), fmt.Sprint(shown(racks), err)
	}
	box.Eventually(t, time.Minute, "MAAS to list the other model's rack", has)
	box.Juju(t, "remove-application", "-m", model, "--no-prompt", rack)
	box.Eventually(t, 4*time.Minute, "MAAS to list it no more", func() (bool, string) {
		yes, said := has()
		return !yes, said
	})
	requireSame(t)
	box.Juju(t, "destroy-model", "--no-prompt", "--force", "--no-wait", "--destroy-storage", "--timeout", "2m", model)
}

// requireSame is requireRacks for as many racks as there are.
func requireSame(t *testing.T) {
	t.Helper()
	units := len(box.Status(t, metal).Applications[rack].Units)
	box.WaitActive(t, metal, rack, units)
	requireRacks(t, metal, units)
}

// api returns a client for the API, as the administrator, from outside.
func api(t *testing.T, model string) *maas.Client {
	t.Helper()
	url, _ := box.Action(t, model, leaderOf(t, model), "get-api-endpoint")["api-url"].(string)
	c, err := maas.New(url, key(t, model))
	require.NoError(t, err)
	return c
}

func key(t *testing.T, model string) string {
	t.Helper()
	key, _ := box.Action(t, model, leaderOf(t, model), "get-api-key", "reveal=true")["api-key"].(string)
	require.NotEmpty(t, key)
	return key
}

func leaderOf(t *testing.T, model string) string {
	t.Helper()
	unit, _ := box.Leader(t, model, region)
	return unit
}

// sql asks the embedded database, and returns its answer's lines.
func sql(t *testing.T, query string) []string {
	t.Helper()
	machine := box.Status(t, metal).Instance(t, region+"/0")
	out := strings.TrimSpace(box.LXC(t, "exec", machine, "--", "runuser", "-u", "postgres", "--", "psql", "-X", "-At", "-d", "maasdb", "-c", query))
	if out == "" {
		return nil
	}
	return strings.Split(out, "\n")
}

// requireRacks asserts that MAAS knows the machines of the racks' units, and no others, and
// that all run: by its API, and in the database.
func requireRacks(t *testing.T, model string, units int) {
	t.Helper()
	machines := box.Machines(t, model, rack)
	require.Len(t, machines, units)
	var want []string
	for _, machine := range machines {
		want = append(want, machine)
	}
	slices.Sort(want)
	c := api(t, model)
	box.Eventually(t, 2*time.Minute, "MAAS to list the racks", func() (bool, string) {
		racks, err := c.Racks(t.Context())
		if err != nil {
			return false, err.Error()
		}
		var got []string
		for _, r := range racks {
			if r.State() == "running" {
				got = append(got, r.Hostname)
			}
		}
		slices.Sort(got)
		return slices.Equal(want, got) && len(racks) == len(got), fmt.Sprintf("wanted %v, MAAS lists %s", want, shown(racks))
	})
	if standins != nil && model == metal {
		require.Equal(t, want, sql(t, `SELECT hostname FROM maasserver_node WHERE rack_seen > now() - interval '10 seconds' ORDER BY hostname COLLATE "C"`))
	}
	for unit, machine := range machines {
		require.Equal(t, "active", strings.TrimSpace(box.Inside(t, machine, "systemctl is-active maas-rackd")), unit)
	}
}

func shown(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

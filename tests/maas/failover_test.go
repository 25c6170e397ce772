//go:build box

package maas

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/maas"
	"github.com/dcib/dcib/tests/testbed"
)

// testFailover moves PostgreSQL's primary under three regions, twice, and then has one region die.
// Its server has two addresses of the same data, one after the other in the relation.
func testFailover(t *testing.T) {
	const model, units = "failover", 3
	dist := filepath.Join(box.Repo, "dist")
	addModel(t, model)
	box.Juju(t, "deploy", "-m", model, filepath.Join(dist, "tests/postgresql.charm"), "postgresql", "--base", "ubuntu@24.04")
	// No region knows that name: it is a balancer's.
	box.Juju(t, "deploy", "-m", model, filepath.Join(dist, "maas-region.charm"), region, "-n", fmt.Sprint(units), "--base", "ubuntu@24.04",
		"--config", "database=relation", "--config", "maas-url=http://maas.example:5240/MAAS", "--config", "source="+source)
	box.Juju(t, "integrate", "-m", model, region+":maas-db", "postgresql:database")
	deployed(t, model, region, units)
	box.WaitActive(t, model, region, units)

	server := box.Status(t, model).Instance(t, "postgresql/0")
	ask := func(query string) string {
		return strings.TrimSpace(box.LXC(t, "exec", server, "--", "runuser", "-u", "postgres", "--", "psql", "-X", "-At", "-d", "maas_region_db", "-c", query))
	}
	require.Equal(t, "1", ask(`SELECT count(*) FROM standin_event WHERE what LIKE 'migrated%'`))
	machines := box.Machines(t, model, region)
	at := map[string]string{}
	for unit, machine := range machines {
		at[unit] = addressOf(t, machine)
		require.Equal(t, "active\n", box.Inside(t, machine, "systemctl is-active maas-temporal"), "it has the unit's address, and not that of a name that is not known")
	}
	first := addressOf(t, server)
	second := freeAddress(t, model, first)
	box.Inside(t, server, "ip address add "+second+"/24 dev br0")

	// steps counts how often a step was taken, by all units.
	steps := func(name string) int {
		return strings.Count(box.Juju(t, "debug-log", "-m", model, "--replay", "--no-tail", "--level", "INFO"), " "+name+"\n")
	}
	stops, migrations := steps("stop MAAS"), steps("migrate the database to MAAS "+version)
	require.Equal(t, 1, migrations)
	began := time.Now()
	down := watch(at)
	move := func(to string, moved ...string) {
		t.Helper()
		box.Action(t, model, "postgresql/0", "move", "address="+to)
		for _, unit := range moved {
			box.Eventually(t, 3*time.Minute, unit+" to go by the new address", func() (bool, string) {
				out := box.Inside(t, machines[unit], "grep database_host: /etc/maas/regiond.conf; systemctl is-active maas-regiond || true")
				return out == "database_host: "+to+"\nactive\n", out
			})
		}
	}
	all := slices.Sorted(maps.Keys(machines))
	move(second, all...)
	box.WaitActive(t, model, region, units)
	t.Logf("the first move: longest time without an answer %v", down())
	requireActive(t, model, all, began)

	// Nothing listens at the old address any more, and the unit that migrates is down.
	coordinator := coordinatorOf(t, model)
	box.Inside(t, server, "echo \"listen_addresses = 'localhost,"+second+"'\" > $(echo /etc/postgresql/*/main)/conf.d/open.conf; echo max_connections = 300 >> $(echo /etc/postgresql/*/main)/conf.d/open.conf; systemctl restart postgresql")
	box.WaitActive(t, model, region, units)
	others := slices.DeleteFunc(slices.Clone(all), func(unit string) bool { return unit == coordinator })
	box.LXC(t, "stop", "--force", machines[coordinator])
	box.Inside(t, server, "sed -i \"s/^listen_addresses.*/listen_addresses = '*'/\" /etc/postgresql/*/main/conf.d/open.conf; systemctl restart postgresql")
	box.Eventually(t, 2*time.Minute, "the others to have the database again", func() (bool, string) {
		var said string
		for _, unit := range others {
			said += box.Inside(t, machines[unit], "curl -s -o /dev/null -w '%{http_code} ' http://localhost:5240/MAAS/api/2.0/version/ || true")
		}
		return said == strings.Repeat("200 ", len(others)), said
	})
	began = time.Now()
	down = watch(map[string]string{others[0]: at[others[0]], others[1]: at[others[1]]})
	move(first, others...)
	t.Logf("the second move: longest time without an answer %v", down())
	requireActive(t, model, others, began)
	box.LXC(t, "start", machines[coordinator])
	box.WaitActive(t, model, region, units)
	move(first, all...)

	require.Equal(t, stops, steps("stop MAAS"), "no region was stopped for another")
	require.Equal(t, migrations, steps("migrate the database to MAAS "+version), "it is the same database")
	require.Equal(t, "1", ask(`SELECT count(*) FROM standin_event WHERE what LIKE 'migrated%'`))
	require.Empty(t, ask(`SELECT what FROM standin_event WHERE what NOT LIKE 'migrated to %'`))

	testRegionDies(t, model, at, others)
}

// testRegionDies takes the machine of one region away. A region that MAAS lists and that does not
// answer ends each sync of images, so the leader deletes it, once another has seen its processes end.
func testRegionDies(t *testing.T, model string, at map[string]string, others []string) {
	leader, _ := box.Leader(t, model, region)
	dead := others[0]
	if dead == leader {
		dead = others[1]
	}
	key := key(t, model)
	connect := func(unit string) *maas.Client {
		c, err := maas.New("http://"+at[unit]+":5240/MAAS", key)
		require.NoError(t, err)
		return c
	}
	c := connect(leader)
	regions, err := c.Regions(t.Context())
	require.NoError(t, err)
	require.Len(t, regions, 3)
	s := box.Status(t, model)
	machine := s.Applications[region].Units[dead].Machine
	box.LXC(t, "delete", "--force", s.Instance(t, dead))
	box.Juju(t, "remove-machine", "-m", model, "--no-prompt", "--force", "--no-wait", machine)
	box.Eventually(t, 8*time.Minute, "MAAS to list the dead region no more", func() (bool, string) {
		regions, err := c.Regions(t.Context())
		return err == nil && len(regions) == 2, fmt.Sprint(shown(regions), err)
	})
	box.WaitActive(t, model, region, 2)
	require.NoError(t, c.Import(t.Context()))
	server := s.Instance(t, "postgresql/0")
	synced := box.LXC(t, "exec", server, "--", "runuser", "-u", "postgres", "--", "psql", "-X", "-At", "-d", "maas_region_db", "-c", `SELECT document->'Imports' = document->'Synced' FROM maasserver_rest`)
	require.Equal(t, "t\n", synced, "images reach all regions")
	box.Juju(t, "destroy-model", "--no-prompt", "--force", "--no-wait", "--destroy-storage", "--timeout", "2m", model)
}

func addressOf(t *testing.T, machine string) string {
	t.Helper()
	return strings.TrimSpace(box.Inside(t, machine, "hostname -I | cut -d ' ' -f 1"))
}

// freeAddress finds an address beside one that no machine of the box has.
func freeAddress(t *testing.T, model, beside string) string {
	t.Helper()
	taken := box.LXC(t, "list", "--format", "json")
	at := netip.MustParseAddr(beside).As4()
	for at[3] = 254; at[3] > 1; at[3]-- {
		if free := netip.AddrFrom4(at).String(); !strings.Contains(taken, `"`+free+`"`) {
			return free
		}
	}
	require.Fail(t, "the network of "+model+" is full")
	return ""
}

// coordinatorOf returns the unit that migrates the database.
func coordinatorOf(t *testing.T, model string) string {
	t.Helper()
	shown := box.Juju(t, "show-unit", "-m", model, region+"/0", "--endpoint", "cluster")
	_, after, ok := strings.Cut(shown, "coordinator: ")
	require.True(t, ok, shown)
	coordinator, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(coordinator)
}

// requireActive asserts that units were active all the time since some moment, but for the work
// that they told of.
func requireActive(t *testing.T, model string, units []string, since time.Time) {
	t.Helper()
	for _, unit := range units {
		var history []struct {
			Status  string    `json:"status"`
			Message string    `json:"message"`
			Since   time.Time `json:"since"`
		}
		testbed.Decode(t, box.Juju(t, "show-status-log", "-m", model, unit, "--type", "workload", "-n", "200", "--format", "json"), &history)
		require.NotEmpty(t, history, unit)
		for _, h := range history {
			if h.Since.After(since) {
				require.Contains(t, []string{"active", "maintenance"}, h.Status, "%s at %s: %s", unit, h.Since, h.Message)
			}
		}
	}
}

// watch asks regions all the time whether they answer. The function that it returns ends that, and
// returns the longest time that each did not.
func watch(at map[string]string) func() map[string]time.Duration {
	stop := make(chan struct{})
	var running sync.WaitGroup
	var lock sync.Mutex
	longest := map[string]time.Duration{}
	for unit, address := range at {
		running.Go(func() {
			client := http.Client{Timeout: 2 * time.Second}
			last := time.Now()
			for {
				answer, err := client.Get("http://" + address + ":5240/MAAS/api/2.0/version/")
				if err == nil {
					_ = answer.Body.Close()
				}
				lock.Lock()
				longest[unit] = max(longest[unit], time.Since(last).Round(100*time.Millisecond))
				lock.Unlock()
				if err == nil && answer.StatusCode == http.StatusOK {
					last = time.Now()
				}
				select {
				case <-stop:
					return
				case <-time.After(500 * time.Millisecond):
				}
			}
		})
	}
	return func() map[string]time.Duration {
		close(stop)
		running.Wait()
		return longest
	}
}

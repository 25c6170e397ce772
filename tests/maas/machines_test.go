//go:build box

package maas

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/maas/inventory"
	"github.com/dcib/dcib/internal/testkit/maas"
	"github.com/dcib/dcib/tests/testbed"
)

// testMachines has the charm, and dcib, bring machines to what is declared. The machines are
// rows in the database of the stand-in; what is asked for afterwards is what is there then.
func testMachines(t *testing.T) {
	var machines []maastest.Machine
	for n, status := range []string{"Ready", "Ready", "New", "Deployed"} {
		machines = append(machines, maastest.Machine{
			SystemID: fmt.Sprintf("metal%d", n+1), Hostname: fmt.Sprintf("node%d", n+1), Status: status,
			Interfaces: []maastest.Interface{{ID: n*10 + 1, Name: "eno1", VLAN: 5001, Links: []maastest.Link{{ID: n*10 + 1, Mode: "auto", Subnet: 1}}}},
			Disks:      []maastest.Disk{{ID: n*10 + 1, Name: "sda", Size: 100e9}},
		})
	}
	document, err := json.Marshal(map[string]any{"Machines": machines, "Subnets": []maastest.Subnet{{ID: 1, CIDR: "10.20.0.0/24", VLAN: 5001}}})
	require.NoError(t, err)
	sql(t, `INSERT INTO maasserver_rest SELECT '{}' WHERE NOT EXISTS (SELECT 1 FROM maasserver_rest)`)
	sql(t, fmt.Sprintf(`UPDATE maasserver_rest SET document = document || '%s'`, document))

	file := func(name string) string { return filepath.Join(box.Repo, "docs/examples", name) }
	pets := filepath.Join(t.TempDir(), "pets.yaml")
	require.NoError(t, os.WriteFile(pets, []byte("pets:\n- name: render\n  member: node1\n  traits: [gpu]\n  windows: [Fri 21:00–Sat 05:00]\n"), 0o600))
	leader := leaderOf(t, metal)
	act := func(name string, params ...string) map[string]any {
		return box.Action(t, metal, leader, name, params...)
	}
	require.Contains(t, act("list-machines")["machines"], "node4  Deployed")

	box.Juju(t, "config", "-m", metal, region, "machines=machines: [{match: {}}]")
	box.WaitUnit(t, metal, leader, func(s testbed.State) bool {
		return s.Current == "blocked" && strings.Contains(s.Message, "option machines: line 1: machines[0].match is empty")
	})
	box.Juju(t, "config", "-m", metal, region, "machines=@"+file("machines.yaml"), "pets=@"+pets)
	box.WaitActive(t, metal, region, 1)
	require.Contains(t, act("plan-machines")["plan"], "to do  node1: make bridge br0 on eno1\n")
	require.Empty(t, sql(t, `SELECT 1 FROM maasserver_rest WHERE document->'Tags' ? 'metal'`), "neither a hook nor a plan changes anything")

	require.Contains(t, act("apply-machines")["applied"], "done   node2: set storage layout flat: it has blank\n")
	require.Equal(t, []string{`{"gpu": ["metal1"], "pet": ["metal1"], "metal": ["metal1", "metal2", "metal3", "metal4"], "compute": ["metal2", "metal3", "metal4"]}`},
		sql(t, `SELECT document->'Tags' FROM maasserver_rest`))
	const interfaces = `SELECT m->>'Hostname', i->>'Name', i->>'Parents', i->'Links'->0->>'Mode' FROM maasserver_rest, jsonb_array_elements(document->'Machines') m, jsonb_array_elements(m->'Interfaces') i WHERE i->>'Type' = 'bridge'`
	require.Equal(t, []string{`node1|br0|["eno1"]|auto`, `node2|br0|["eno1"]|auto`}, sql(t, interfaces), "machines that are Ready, and no others")
	require.NotContains(t, act("apply-machines")["applied"], "done")

	// dcib sees the same, from outside.
	url, _ := act("get-api-endpoint")["api-url"].(string)
	keyFile := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(keyFile, []byte(key(t, metal)), 0o600))
	dcib := func(args ...string) string {
		return testbed.Run(t, time.Minute, filepath.Join(box.Repo, "bin/dcib"), append([]string{"maas", "--url", url, "--api-key-file", keyFile}, args...)...)
	}
	require.NotContains(t, dcib("apply", file("machines.yaml"), "--pets", pets, "--dry-run"), "to do")
	require.Contains(t, dcib("machines"), "node1  Ready     4    8 GiB   100 GB  flat     br0")

	require.Equal(t, "node3", act("commission", "machines=node3")["started"])
	require.Contains(t, dcib("deploy", "node2", "--series", "noble"), "started node2")
	all, err := api(t, metal).Machines(t.Context())
	require.NoError(t, err)
	var is []string
	for _, m := range all {
		is = append(is, m.Hostname+" "+m.Status)
	}
	require.Equal(t, []string{"node1 " + inventory.Ready, "node2 " + inventory.Deploying, "node3 " + inventory.Commissioning, "node4 " + inventory.Deployed}, is)
	_, err = box.TryAction(t, metal, leader, "deploy", "machines=node3")
	require.ErrorContains(t, err, "node3 is Commissioning: it has to be Ready")
	box.Juju(t, "config", "-m", metal, region, "--reset", "machines,pets")
}

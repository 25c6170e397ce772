package region

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/testkit/maas"
)

// metal returns the site's MAAS three machines.
func metal(s *site) {
	s.maas.Subnets = []maastest.Subnet{{ID: 1, CIDR: "10.0.0.0/24", VLAN: 5001}}
	for n, status := range []string{"Ready", "New", "Deployed"} {
		s.maas.Machines = append(s.maas.Machines, maastest.Machine{
			SystemID: fmt.Sprintf("id%d", n+1), Hostname: fmt.Sprintf("node%d", n+1), Status: status,
			Interfaces: []maastest.Interface{{ID: n*10 + 1, Name: "eno1", VLAN: 5001}}, Disks: []maastest.Disk{{ID: n*10 + 1, Name: "sda", Size: 100e9}},
		})
	}
}

const declared = `
machines:
- match: {hostname: "node*"}
  tags: [compute]
  bridges: [{name: br0}]
- match: {tags: [pet]}
  storage: {layout: lvm}
`

func TestMachines(t *testing.T) {
	s := ready(t, 1)
	metal(s)
	got := s.act(t, unit0, "list-machines", nil)
	require.Empty(t, got.Failure)
	require.Contains(t, got.Results["machines"], "node1  Ready     4    8 GiB   100 GB  blank")
	require.Contains(t, s.act(t, unit0, "list-machines", map[string]any{"format": "json"}).Results["machines"], `"name":"node3"`)
	require.Contains(t, s.act(t, unit0, "plan-machines", nil).Failure, "nothing is declared: juju config maas-region machines=@machines.yaml")

	s.juju.Config["maas-region"]["machines"] = declared
	s.juju.Config["maas-region"]["pets"] = "pets:\n- name: render\n  member: node1\n  traits: [gpu]\n  windows: [Fri 21:00–Sat 05:00]\n"
	s.maas.Changes = nil
	s.settle()
	got = s.act(t, unit0, "plan-machines", nil)
	require.Equal(t, `to do  make tag compute
to do  add tag compute to node1, node2 and node3
to do  make tag gpu
to do  add tag gpu to node1
to do  make tag pet
to do  add tag pet to node1
to do  node1: make bridge br0 on eno1
to do  node1: link br0 to 10.0.0.0/24 (auto)
to do  node1: set storage layout lvm: it has blank
note   node2: is New: its network and storage are set when it is Ready
note   node3: is Deployed: its network and storage are set when it is Ready`, got.Results["plan"])
	require.Empty(t, s.maas.Changes, "neither a hook nor a plan changes a machine")

	got = s.act(t, unit0, "apply-machines", nil)
	require.Empty(t, got.Failure)
	require.Len(t, got.Progress, 9)
	require.Contains(t, got.Results["applied"], "done   node1: set storage layout lvm: it has blank\nnote   node2")
	require.Equal(t, []string{"id1"}, s.maas.Tags["pet"])
	require.Equal(t, "br0", s.maas.Machines[0].Interfaces[1].Name)
	require.Len(t, s.maas.Machines[2].Interfaces, 1)
	s.maas.Changes = nil
	got = s.act(t, unit0, "apply-machines", map[string]any{"format": "json"})
	require.Empty(t, got.Failure)
	require.Contains(t, got.Results["applied"], `{"steps":[],"notes":[{"machine":"node2"`)
	require.Empty(t, s.maas.Changes)

	got = s.act(t, unit0, "commission", map[string]any{"machines": "node1, node2"})
	require.Empty(t, got.Failure)
	require.Equal(t, "node2", got.Results["started"])
	require.Contains(t, got.Results["skipped"], "node1 is Ready")
	require.Contains(t, s.act(t, unit0, "commission", map[string]any{"machines": "node*", "force": true}).Failure, "node3 is Deployed: release it first")
	require.Equal(t, "Ready", s.maas.Machines[0].Status, "none of them, if one cannot be")
	got = s.act(t, unit0, "deploy", map[string]any{"machines": "node1", "series": "noble"})
	require.Empty(t, got.Failure)
	require.Equal(t, "Deploying noble", s.maas.Machines[0].Status+" "+s.maas.Machines[0].Series)
	require.Contains(t, s.act(t, unit0, "deploy", map[string]any{"machines": "node9"}).Failure, `cannot find machine "node9"`)
	require.Contains(t, s.act(t, unit0, "deploy", map[string]any{"machines": " "}).Failure, "pass machines=")
	s.clear(t)
}

// What cannot be is said, and fails the action; a wrong declaration is refused before.
func TestMachinesWrong(t *testing.T) {
	s := ready(t, 1)
	metal(s)
	s.juju.Config["maas-region"]["machines"] = "machines:\n- match: {hostname: node1}\n  tags: [a]\n  storage: {layout: flat, root-size: 900GiB}\n"
	got := s.act(t, unit0, "apply-machines", nil)
	require.Contains(t, got.Failure, "cannot finish, 2 of 3 steps done: node1: set storage layout flat: it has blank: cannot ask MAAS")
	require.Contains(t, got.Failure, "Size is too large")
	require.Contains(t, got.Results["applied"], "done   add tag a to node1")
	s.juju.Config["maas-region"]["machines"] = "machines:\n- match: {hostname: node1}\n  bridges: [{name: br0, on: eno9}]\n"
	got = s.act(t, unit0, "apply-machines", nil)
	require.Equal(t, "cannot bring all machines to what is declared: 1 things are wrong", got.Failure)
	require.Contains(t, got.Results["applied"], "wrong  node1: has no interface eno9 for bridge br0: it has eno1")

	s.juju.Config["maas-region"]["machines"] = "machines:\n- match: {hostname: node1}\n  bridges: [{name: br0, mode: automatic}]\n"
	s.juju.Config["maas-region"]["pets"] = "pets:\n- name: a\n  windows: [Friday]\n"
	s.maas.Changes = nil
	status, message := s.hook(unit0)
	require.Equal(t, "blocked", status)
	require.Contains(t, message, `option machines: line 3: machines[0].bridges[0].mode is "automatic", wanted auto, dhcp, static or link-up; option pets: line 3: pets.a.windows[0] is "Friday"`)
	require.Contains(t, s.act(t, unit0, "apply-machines", nil).Failure, "cannot plan for the machines: option machines: line 3")
	require.Empty(t, s.maas.Changes)
	delete(s.juju.Config["maas-region"], "machines")
	delete(s.juju.Config["maas-region"], "pets")
	s.settle()
	require.Equal(t, "active", s.juju.Units[unit0].Status)
}

package inventory_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/maas"
	"github.com/dcib/dcib/internal/maas/inventory"
	"github.com/dcib/dcib/internal/testkit/maas"
)

const key = "consumer1:token2:secret3"

// tb is what both a test and a property have.
type tb interface {
	require.TestingT
	Helper()
	Cleanup(func())
	Context() context.Context
}

// serve returns a client of a stand-in for MAAS, behind something else or not.
func serve(t tb, r *maastest.Region, before ...http.Handler) *maas.Client {
	t.Helper()
	r.Version, r.Keys = "3.7.3", []string{key}
	server := httptest.NewServer(append(before, r)[0])
	t.Cleanup(server.Close)
	c, err := maas.New(server.URL+"/MAAS", key)
	require.NoError(t, err)
	return c
}

// machine is one as it is after it was commissioned, with an id for each thing in it.
func machine(n int, status string) maastest.Machine {
	return maastest.Machine{
		SystemID: fmt.Sprintf("id%d", n), Hostname: fmt.Sprintf("node%d", n), Status: status,
		Interfaces: []maastest.Interface{
			{ID: n*10 + 1, Name: "eno1", VLAN: 5001, Links: []maastest.Link{{ID: n*10 + 1, Mode: "auto", Subnet: 1}}},
			{ID: n*10 + 2, Name: "eno2", VLAN: 5001}, {ID: n*10 + 3, Name: "eno3", VLAN: 5002}, {ID: n*10 + 4, Name: "eno4"},
		},
		Disks: []maastest.Disk{{ID: n*10 + 1, Name: "sda", Size: 100e9}, {ID: n*10 + 2, Name: "sdb", Size: 50e9, Tags: []string{"ssd"}}},
	}
}

func region(machines ...maastest.Machine) *maastest.Region {
	return &maastest.Region{Machines: machines, Subnets: []maastest.Subnet{
		{ID: 1, CIDR: "10.0.0.0/24", VLAN: 5001}, {ID: 2, Name: "storage", CIDR: "10.1.0.0/24", VLAN: 5002},
	}}
}

func parse(t testing.TB, text string) inventory.Declaration {
	t.Helper()
	d, err := inventory.Parse([]byte(text))
	require.NoError(t, err)
	return d
}

// titles are a plan's steps and notes.
func titles(p inventory.Plan) (steps, notes []string) {
	for _, s := range p.Steps {
		steps = append(steps, inventory.Title(s))
	}
	for _, n := range p.Notes {
		notes = append(notes, n.String())
	}
	return steps, notes
}

func plan(t tb, c *maas.Client, d inventory.Declaration, pets ...inventory.Pet) inventory.Plan {
	t.Helper()
	s, err := c.Fleet(t.Context())
	require.NoError(t, err)
	return inventory.Missing(d, pets, s)
}

func apply(t tb, c *maas.Client, p inventory.Plan) error {
	t.Helper()
	return inventory.Apply(t.Context(), c, p.Steps, func(inventory.Step, error) {})
}

func TestPlanAndApply(t *testing.T) {
	r := region(machine(1, "Ready"), machine(2, "Deployed"), machine(3, "New"))
	r.Tags, r.TagInfo = map[string][]string{"compute": {"id2"}, "gpu": {}}, map[string]maastest.Tag{"gpu": {KernelOpts: "quiet", Comment: "old"}}
	c := serve(t, r)
	d := parse(t, `
tags:
  gpu: {kernel-options: iommu=pt, comment: ""}
machines:
- match: {hostname: "node*"}
  tags: [compute]
  bonds:
  - {name: bond0, interfaces: [eno1, eno2], mode: 802.3ad}
  bridges:
  - name: br0
  - {name: br1, on: {subnet: storage}, mode: static, addresses: {node1: 10.1.0.11}}
- match: {tags: [pet]}
  storage: {layout: lvm, root-size: 40GiB}
- match: {hostname: other}
`)
	pets := []inventory.Pet{{Hostname: "node1", Traits: []string{"gpu", "big.memory"}}, {Hostname: "nosuch"}}
	p := plan(t, c, d, pets...)
	steps, notes := titles(p)
	require.Equal(t, []string{
		"make tag big-memory", "add tag big-memory to node1", "add tag compute to node1 and node3", "change the comment and kernel options of tag gpu",
		"add tag gpu to node1", "make tag pet", "add tag pet to node1",
		"node1: make bond bond0 of eno1 and eno2 (mode 802.3ad)", "node1: make bridge br0 on bond0", "node1: link br0 to 10.0.0.0/24 (auto)",
		"node1: make bridge br1 on eno3", "node1: link br1 to 10.1.0.0/24 (10.1.0.11)", "node1: set storage layout lvm: it has blank",
	}, steps)
	require.Equal(t, []string{
		"pet nosuch is no machine in MAAS: a pet's member has to have the host name of its machine",
		"no machine matches machines[2], in line 14",
		"node2: is Deployed: its network and storage are set when it is Ready", "node3: is New: its network and storage are set when it is Ready",
	}, notes)
	require.Zero(t, p.Wrong(), "each of them comes automatically")
	require.Empty(t, r.Changes, "a plan changes nothing")

	require.NoError(t, apply(t, c, p))
	again, _ := titles(plan(t, c, d, pets...))
	require.Empty(t, again)
	require.Equal(t, map[string][]string{"big-memory": {"id1"}, "compute": {"id1", "id2", "id3"}, "gpu": {"id1"}, "pet": {"id1"}}, r.Tags)
	require.Equal(t, maastest.Tag{KernelOpts: "iommu=pt"}, r.TagInfo["gpu"])
	m := r.Machines[0]
	require.Equal(t, []string{"eno1", "eno2", "eno3", "eno4", "bond0", "br0", "br1"}, names(m))
	require.Equal(t, "10.1.0.11", m.Interfaces[6].Links[0].Address)
	require.Equal(t, "vgroot-lvroot", m.Disks[2].Name)
	require.Len(t, r.Machines[1].Interfaces, 4)

	// What was done by hand, or undone, is seen: facts, and no memory of having done it.
	m.Interfaces[5].Links[0].Mode = "dhcp"
	r.Machines[0].Disks[2].Name = "other-root"
	again, _ = titles(plan(t, c, parse(t, `
machines:
- match: {hostname: node1}
  bridges: [{name: br0, stp: true}]
  storage: {layout: lvm, vg-name: vgroot}
`)))
	require.Equal(t, []string{
		"node1: change br0 (stp true)", "node1: unlink br0 from 10.0.0.0/24 (dhcp)", "node1: link br0 to 10.0.0.0/24 (auto)",
		"node1: set storage layout lvm: its root is on other-root",
	}, again)

	// Commissioning resets it, and what was declared is missing again.
	r.Machines[0].Status = "Commissioning"
	r.Finish("node1")
	r.Machines[2].Status = "Commissioning"
	r.Finish("node3")
	p = plan(t, c, d, pets...)
	steps, _ = titles(p)
	require.Len(t, steps, 11)
	require.Equal(t, "node1: set storage layout lvm: it has flat", steps[5])
	require.NoError(t, apply(t, c, p))
	again, _ = titles(plan(t, c, d, pets...))
	require.Empty(t, again)
}

func names(m maastest.Machine) []string {
	var all []string
	for _, i := range m.Interfaces {
		all = append(all, i.Name)
	}
	return all
}

// What cannot be as it is declared is said, machine by machine, and nothing of it is done.
func TestWhatCannotBe(t *testing.T) {
	busy := machine(1, "Ready")
	busy.Interfaces = append(busy.Interfaces, maastest.Interface{ID: 50, Name: "br9", Type: "bridge", VLAN: 5002, Parents: []string{"eno3"}, Links: []maastest.Link{{ID: 51, Mode: "auto", Subnet: 2}}})
	bare := machine(2, "Ready")
	bare.Interfaces, bare.Disks = nil, nil
	r := region(busy, bare)
	r.Subnets = append(r.Subnets, maastest.Subnet{ID: 3, Name: "second", CIDR: "10.2.0.0/24", VLAN: 5001})
	r.Tags, r.TagInfo = map[string][]string{"auto": {}}, map[string]maastest.Tag{"auto": {Definition: "//node"}}
	c := serve(t, r)
	for declared, want := range map[string]string{
		"bridges: [{name: br0}]":                                                                                      "node1: bridge br0 names no subnet, and MAAS knows 10.0.0.0/24 and 10.2.0.0/24 on the VLAN of eno1: use one (subnet: …)",
		"bridges: [{name: br0, on: eth7, mode: dhcp}]":                                                                "node1: has no interface eth7 for bridge br0: it has eno1, eno2, eno3 and eno4",
		"bridges: [{name: br0, on: eno3, mode: dhcp}]":                                                                "node1: eno3 is in br9 already, and bridge br0 cannot be on it: delete that in MAAS, or declare it so",
		"bridges: [{name: br0, on: br9, mode: dhcp}]":                                                                 "node1: br9 is a bridge, and br0 cannot be on it",
		"bridges: [{name: br9, on: eno4, mode: dhcp}]":                                                                "node1: bridge br9 is on eno3, not on eno4: delete it in MAAS, or declare it so",
		"bridges: [{name: eno4, mode: dhcp}]":                                                                         "node1: eno4 is a physical interface there, not a bridge: rename it in MAAS",
		"bridges: [{name: br0, subnet: storage}]":                                                                     "node1: bridge br0 is to be on subnet 10.1.0.0/24, which is on another VLAN than eno1: move that in MAAS, or name another",
		"bridges: [{name: br0, subnet: 10.9.0.0/24}]":                                                                 "node1: bridge br0 names subnet 10.9.0.0/24, which is none in MAAS: use the CIDR of one",
		"bridges: [{name: br0, on: {fabric: lab}, mode: dhcp}]":                                                       "node1: bridge br0 is to be on the interface on fabric lab: there is none: name one (on: eno1)",
		"bridges: [{name: br0, on: {subnet: 10.0.0.1/24}}]":                                                           "node1: bridge br0 is to be on the interface on subnet 10.0.0.1/24: there are eno1 and eno2: name one (on: eno1)",
		"bridges: [{name: br9, on: eno3, mode: link-up}]":                                                             "node1: br9 is to have no address, and has a link to 10.1.0.0/24 (auto): take it away in MAAS",
		"bridges: [{name: br0, subnet: second, mode: static, addresses: {node1: 10.0.0.7}}]":                          "node1: bridge br0 is to have 10.0.0.7, which is not in subnet 10.2.0.0/24",
		"bonds: [{name: b0, interfaces: [eno2, eno3]}]":                                                               "node1: eno3 is in br9 already, and cannot be in bond b0: delete that in MAAS, or declare it so",
		"bonds: [{name: b0, interfaces: [eno2, eno4]}]":                                                               "node1: the interfaces of bond b0 (eno2 and eno4) are on different VLANs: put them on one in MAAS",
		"bonds: [{name: b0, interfaces: [eno2, eth7]}]":                                                               "node1: has no interface eth7 for bond b0: it has eno1, eno2, eno3 and eno4",
		"bonds: [{name: b0, interfaces: [br9]}]":                                                                      "node1: br9 is a bridge interface, which cannot be in bond b0",
		"bonds: [{name: b0, interfaces: [eno2], mtu: 1500}]\n  bridges: [{name: br0, on: b0, mode: dhcp, mtu: 9000}]": "node1: bridge br0 is to have an MTU of 9000 on b0, which is declared with 1500: use that as much",
		"storage: {layout: flat, root-device: sdz}":                                                                   "node1: has no disk sdz for its storage: it has sda and sdb",
		"storage: {layout: bcache, cache-device: sda}":                                                                "node1: boots from sda, which cannot be its cache",
		"storage: {layout: flat}":                                                                                     "node2: has no disk for its storage: commission it again, or leave storage out for it",
		"bridges: [{name: br0, mode: dhcp}]":                                                                          "node2: bridge br0 is to be on the interface that it boots from, and MAAS knows none: name one (on: eno1), or commission the machine again",
		"storage: {layout: flat}\n- match: {hostname: node1}\n  storage: {layout: lvm}":                               "node1: storage is in machines[0] and in machines[1], and both match: have only one of them say it",
		"tags: [auto]": `tag auto has a definition, by which only MAAS sets it: clear that (definition: ""), or use another name`,
	} {
		p := plan(t, c, parse(t, "machines:\n- match: {hostname: \"*\"}\n  "+declared))
		_, notes := titles(p)
		require.Contains(t, notes, want, declared)
		require.Positive(t, p.Wrong())
		require.NoError(t, apply(t, c, p), declared)
		r.Machines[0], r.Machines[1] = busy, bare
	}
	r.Machines[0].Interfaces = nil
}

// A trait whose tag MAAS sets automatically is left to MAAS.
func TestTraitWithDefinition(t *testing.T) {
	c := serve(t, region(machine(1, "Ready")))
	d := parse(t, "tags: {gpu: {definition: //display}}")
	pet := inventory.Pet{Hostname: "node1", Traits: []string{"gpu"}}
	for _, want := range [][]string{{"make tag gpu", "make tag pet", "add tag pet to node1"}, nil} {
		p := plan(t, c, d, pet)
		steps, _ := titles(p)
		require.Equal(t, want, steps)
		require.Equal(t, 1, p.Wrong())
		require.NoError(t, apply(t, c, p))
	}
}

// What an operator made by hand is not set over, unless the declaration says so.
func TestStorageByHand(t *testing.T) {
	r := region(machine(1, "Ready"))
	c := serve(t, r)
	root := maastest.Partition{Size: 90e9, Filesystem: "ext4", Mount: "/"}
	pv := maastest.Partition{Size: 90e9, Filesystem: "lvm-pv"}
	md0 := maastest.Disk{ID: 9, Name: "md0", Virtual: true, Size: 50e9, Filesystem: "ext4", Mount: "/"}
	for by, disks := range map[string][]maastest.Disk{
		"partition 2 of sda (/srv)":          {{ID: 1, Name: "sda", Size: 100e9, Partitions: []maastest.Partition{root, {Size: 9e9, Filesystem: "ext4", Mount: "/srv"}}}},
		"partition 2 of sda (swap)":          {{ID: 1, Name: "sda", Size: 100e9, Partitions: []maastest.Partition{root, {Size: 9e9, Filesystem: "swap"}}}},
		"partition 1 of sda (not formatted)": {{ID: 1, Name: "sda", Size: 100e9, Partitions: []maastest.Partition{{Size: 9e9}}}},
		"sdb":                                {{ID: 1, Name: "sda", Size: 100e9}, {ID: 2, Name: "sdb", Size: 50e9, Filesystem: "xfs"}},
		"md0":                                {{ID: 1, Name: "sda", Size: 100e9, Partitions: []maastest.Partition{pv}}, md0},
	} {
		r.Machines[0].Disks = disks
		const text = "machines:\n- match: {hostname: node1}\n  storage: {layout: lvm, replace: "
		steps, notes := titles(plan(t, c, parse(t, text+"false}\n")))
		require.Empty(t, steps, by)
		require.Equal(t, []string{"node1: is to have storage layout lvm, and has " + by + ", which no layout makes: remove that in MAAS, or set replace: true"}, notes)
		p := plan(t, c, parse(t, text+"true}\n"))
		require.NoError(t, apply(t, c, p))
		s, err := c.Fleet(t.Context())
		require.NoError(t, err)
		require.Equal(t, "lvm", inventory.Layout(s.Machines[0]), by)
	}
	// A layout that fits leaves what is beside it.
	r.Machines[0].Disks = []maastest.Disk{{ID: 1, Name: "sda", Size: 100e9, Partitions: []maastest.Partition{root, {Size: 9e9, Filesystem: "ext4", Mount: "/srv"}}}}
	steps, notes := titles(plan(t, c, parse(t, "machines:\n- match: {hostname: node1}\n  storage: {layout: flat}\n")))
	require.Empty(t, steps)
	require.Empty(t, notes)
}

// MAAS ignores cache_device, and takes the smallest disk with tag ssd that it does not boot from.
// The wanted one becomes the cache in the first of three applies, and the disks have their tags
// afterwards: Juju's constraints go by them.
func TestCacheDevice(t *testing.T) {
	disks := func(sdb, sdc, sdd []string) []maastest.Disk {
		return []maastest.Disk{
			{ID: 11, Name: "sda", Size: 100e9, Tags: []string{"ssd"}}, {ID: 12, Name: "sdb", Size: 50e9, Tags: sdb},
			{ID: 13, Name: "sdc", Size: 60e9, Tags: sdc}, {ID: 14, Name: "sdd", Size: 50e9, Tags: sdd},
		}
	}
	ssd, rotary := []string{"sata", "ssd"}, []string{"rotary"}
	for name, one := range map[string]struct {
		disks []maastest.Disk
		step  string
	}{
		"another one is smaller": {disks(ssd, ssd, rotary), " (tag ssd is on sdc alone meanwhile)"},
		"others have the tag":    {disks(ssd, rotary, ssd), " (tag ssd is on sdc alone meanwhile)"},
		"none has the tag":       {disks(rotary, rotary, rotary), " (tag ssd is on sdc alone meanwhile)"},
		"MAAS takes it":          {disks(rotary, ssd, rotary), ""},
	} {
		for _, layout := range []string{"bcache, cache-device: sdc", "bcache, cache-device: sdc, cache-no-part: true", "bcache, cache-device: sdc, cache-size: 10GiB"} {
			r := region(machine(1, "Ready"))
			r.Machines[0].Disks = slices.Clone(one.disks)
			c := serve(t, r)
			d := parse(t, "machines:\n- match: {hostname: node1}\n  storage: {layout: "+layout+"}\n")
			steps, _ := titles(plan(t, c, d))
			require.Equal(t, []string{"node1: set storage layout bcache: it has blank" + one.step}, steps, name)
			for range 3 {
				require.NoError(t, apply(t, c, plan(t, c, d)), name)
				steps, notes := titles(plan(t, c, d))
				require.Empty(t, steps, name)
				require.Empty(t, notes, name)
				sdc := r.Machines[0].Disks[2]
				require.True(t, sdc.Filesystem == "bcache-cache" || len(sdc.Partitions) == 1 && sdc.Partitions[0].Filesystem == "bcache-cache", name)
			}
			for k, d := range one.disks {
				require.ElementsMatch(t, d.Tags, r.Machines[0].Disks[k].Tags, "%s: tags of %s", name, d.Name)
			}
		}
	}
	// A refusal leaves the tags as they were, too.
	r := region(machine(1, "Ready"))
	r.Machines[0].Disks = disks(ssd, rotary, ssd)
	c := serve(t, r)
	d := parse(t, "machines:\n- match: {hostname: node1}\n  storage: {layout: bcache, cache-device: sdc, root-size: 200GB}\n")
	require.ErrorContains(t, apply(t, c, plan(t, c, d)), "Size is too large")
	for k, d := range disks(ssd, rotary, ssd) {
		require.ElementsMatch(t, d.Tags, r.Machines[0].Disks[k].Tags, d.Name)
	}
}

// Wherever the apply is killed, the next one ends with the wanted cache and the tags as they were,
// also where the declaration wants no cache any more.
func TestCacheDeviceKilled(t *testing.T) {
	const wanted = "machines:\n- match: {hostname: node1}\n  storage: {layout: bcache, cache-device: sdc}\n"
	for _, then := range []string{wanted, "machines:\n- match: {hostname: node1}\n  storage: {layout: flat}\n", "machines:\n- match: {hostname: none}\n  tags: [a]\n"} {
		for after := 0; ; after++ {
			r := region(machine(1, "Ready"))
			before := []maastest.Disk{{ID: 11, Name: "sda", Size: 100e9}, {ID: 12, Name: "sdb", Size: 50e9, Tags: []string{"ssd"}}, {ID: 13, Name: "sdc", Size: 60e9, Tags: []string{"rotary"}}}
			r.Machines[0].Disks = slices.Clone(before)
			ctx, kill := context.WithCancel(t.Context())
			changes, killed := 0, false
			c := serve(t, r, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if req.Method != http.MethodGet && ctx.Err() == nil {
					if changes == after {
						killed = true
						kill()
						panic(http.ErrAbortHandler)
					}
					changes++
				}
				r.ServeHTTP(w, req)
			}))
			_ = inventory.Apply(ctx, c, plan(t, c, parse(t, wanted)).Steps, func(inventory.Step, error) {})
			kill()
			d := parse(t, then)
			require.NoError(t, apply(t, c, plan(t, c, d)), "killed after %d changes", after)
			steps, _ := titles(plan(t, c, d))
			require.Empty(t, steps, "killed after %d changes", after)
			if then == wanted {
				require.Equal(t, "bcache-cache", r.Machines[0].Disks[2].Partitions[0].Filesystem, "killed after %d changes", after)
			}
			for k, d := range before {
				require.ElementsMatch(t, d.Tags, r.Machines[0].Disks[k].Tags, "killed after %d changes: tags of %s", after, d.Name)
			}
			if !killed {
				require.Greater(t, after, 5)
				break
			}
		}
	}
}

// A machine that an operator takes between plan and apply is left to them, and the others are
// gone on with.
func TestTakenMeanwhile(t *testing.T) {
	r := region(machine(1, "Ready"), machine(2, "Ready"))
	c := serve(t, r)
	d := parse(t, "machines:\n- match: {hostname: \"*\"}\n  bridges: [{name: br0}]\n  storage: {layout: flat}\n")
	p := plan(t, c, d)
	r.Machines[0].Status = "Allocated" // where MAAS itself would let us
	err := apply(t, c, p)
	require.EqualError(t, err, "node1: make bridge br0 on eno1: cannot change node1: it was Ready, and is Allocated now: its network and storage are set when it is Ready again")
	require.Len(t, r.Machines[0].Interfaces, 4)
	require.Equal(t, "br0", r.Machines[1].Interfaces[4].Name)
	require.Len(t, r.Machines[1].Disks[0].Partitions, 2)

	// A plan that was half done, by the one who was killed, is done again from its beginning.
	r.Machines[0].Status = "Ready"
	require.NoError(t, apply(t, c, p))
	steps, _ := titles(plan(t, c, d))
	require.Empty(t, steps)

	// What MAAS refuses stops that machine alone.
	r.Machines[1].Disks = r.Machines[1].Disks[:1]
	p = plan(t, c, parse(t, "machines:\n- match: {hostname: \"*\"}\n  storage: {layout: bcache}\n  tags: [cached]\n"))
	err = apply(t, c, p)
	require.ErrorContains(t, err, "node2: set storage layout bcache: it has flat: ")
	require.ErrorContains(t, err, "MAAS answers 400: Failed to configure storage layout 'bcache'")
	require.Equal(t, "writethrough", r.Machines[0].CacheMode)
	require.Len(t, r.Tags["cached"], 2)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = inventory.Apply(ctx, c, p.Steps, func(inventory.Step, error) { t.Error("a step was taken") })
	require.ErrorContains(t, err, "apply again to carry on")
}

// For each status of MAAS: what is done, or what to do first.
func TestAdvice(t *testing.T) {
	const (
		release, rescue = "release it first", "end its rescue mode in MAAS first"
		test, wait      = "test it in MAAS first: it is Ready when it passes", "wait until it is released"
		failed          = "test it again in MAAS, or override its failed tests there, first"
	)
	for status, want := range map[string][2]string{
		"New": {"", "commission it first"}, "Commissioning": {"", "it has to be Ready"}, "Failed commissioning": {"", "commission it first"},
		"Missing": {test, test}, "Ready": {"", ""}, "Reserved": {"it has to be New, Failed commissioning, Ready or Broken", "it has to be Ready"},
		"Deployed": {release, ""}, "Retired": {test, test}, "Broken": {"", "commission it first"},
		"Deploying": {"wait until it is Deployed, or abort that in MAAS, and release it first", ""}, "Allocated": {release, ""},
		"Failed deployment": {release, release}, "Releasing": {wait, wait}, "Releasing failed": {release, release}, "Disk erasing": {wait, wait},
		"Failed disk erasing": {release, release}, "Rescue mode": {rescue, rescue}, "Entering rescue mode": {rescue, rescue},
		"Failed to enter rescue mode": {rescue, rescue}, "Exiting rescue mode": {"wait until it has left rescue mode", "wait until it has left rescue mode"},
		"Failed to exit rescue mode": {rescue, rescue}, "Testing": {"", "it has to be Ready"}, "Failed testing": {failed, failed},
	} {
		m := []inventory.Machine{{Status: status, Owner: "admin"}}
		for k, d := range []inventory.Decision{
			inventory.Commissionable(m, inventory.CommissionOptions{Force: true})[0], inventory.Deployable(m, "admin")[0],
		} {
			if want[k] == "" {
				require.NotEqual(t, inventory.Error, d.Verdict, status)
				continue
			}
			require.Equal(t, inventory.Error, d.Verdict, status)
			require.Equal(t, "is "+status+": "+want[k], d.Why)
		}
	}
}

func TestLifecycle(t *testing.T) {
	var all []maastest.Machine
	for n, status := range []string{"New", "Ready", "Broken", "Commissioning", "Deployed", "Allocated", "Failed deployment"} {
		all = append(all, machine(n, status))
	}
	r := region(all...)
	r.Machines[4].Series, r.Machines[5].Owner = "noble", "admin"
	c := serve(t, r)
	machines, err := c.Machines(t.Context())
	require.NoError(t, err)
	verdicts := func(of []inventory.Decision) (all []string) {
		for _, d := range of {
			all = append(all, d.Machine.Hostname+" "+string(d.Verdict)+" "+d.Why)
		}
		return all
	}
	require.Equal(t, []string{
		"node0 okay is New", "node1 skip is Ready: to commission it again resets its network and storage, and wants force", "node2 okay is Broken",
		"node3 skip is Commissioning", "node4 error is Deployed: release it first", "node5 error is Allocated: release it first", "node6 error is Failed deployment: release it first",
	}, verdicts(inventory.Commissionable(machines, inventory.CommissionOptions{})))
	require.Equal(t, inventory.Okay, inventory.Commissionable(machines[1:2], inventory.CommissionOptions{Force: true})[0].Verdict)
	require.Equal(t, []string{
		"node0 error is New: commission it first", "node1 okay is Ready", "node2 error is Broken: commission it first", "node3 error is Commissioning: it has to be Ready",
		"node4 skip is Deployed with noble", "node5 okay is Allocated", "node6 error is Failed deployment: release it first",
	}, verdicts(inventory.Deployable(machines, "admin")))
	require.Equal(t, "is Allocated to juju: it is theirs", inventory.Deployable([]inventory.Machine{{Status: inventory.Allocated, Owner: "juju"}}, "admin")[0].Why)

	some, err := inventory.Select(machines, []string{"node1", "id0", "node5.maas", "node[01]"})
	require.NoError(t, err)
	require.Len(t, some, 3)
	for _, bad := range []string{"node9", "[", ""} {
		_, err = inventory.Select(machines, []string{"node1", bad})
		require.ErrorContains(t, err, "cannot find machine")
	}

	commission := func(ctx context.Context, id string) error {
		return c.Commission(ctx, id, inventory.CommissionOptions{})
	}
	err = inventory.Act(t.Context(), inventory.Commissionable(machines, inventory.CommissionOptions{}), commission, func(inventory.Decision, error) {})
	require.ErrorContains(t, err, "cannot begin, and nothing was done: node4 is Deployed: release it first")
	require.Empty(t, r.Changes)
	require.NoError(t, inventory.Act(t.Context(), inventory.Commissionable(machines[:4], inventory.CommissionOptions{}), commission, func(_ inventory.Decision, err error) { require.NoError(t, err) }))
	require.Equal(t, "Commissioning Ready Commissioning", r.Machines[0].Status+" "+r.Machines[1].Status+" "+r.Machines[2].Status)

	// Waiting ends with the fact, with its opposite, or with the time.
	go r.Finish("node0")
	await := func(ctx context.Context, of []inventory.Machine) error {
		return inventory.Await(ctx, c.Status, of, inventory.Ready, []string{inventory.Commissioning, inventory.Testing}, time.Millisecond)
	}
	require.NoError(t, await(t.Context(), machines[:2]))
	require.ErrorContains(t, await(t.Context(), machines[4:5]), "node4 is Deployed, and not on its way to Ready")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("timeout of 50ms"))
	defer cancel()
	away := 0
	err = inventory.Await(t.Context(), func(context.Context, string) (string, error) { away++; return "", errors.New("away") }, machines[:1], inventory.Ready, nil, time.Millisecond)
	require.EqualError(t, err, "away")
	require.Equal(t, 6, away)
	require.ErrorContains(t, await(ctx, machines[2:3]), "to be Ready: timeout of 50ms")
}

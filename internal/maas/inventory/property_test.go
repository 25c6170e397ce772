package inventory_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dcib/dcib/internal/maas"
	"github.com/dcib/dcib/internal/maas/inventory"
	"github.com/dcib/dcib/internal/testkit/maas"
)

// some draws one of several texts.
func some(t *rapid.T, what string, of ...string) string { return rapid.SampledFrom(of).Draw(t, what) }

// drawRegion draws machines in every state, with whatever an operator may have done to them.
func drawRegion(t *rapid.T) *maastest.Region {
	r := region()
	r.Subnets = r.Subnets[:rapid.IntRange(1, 2).Draw(t, "subnets")]
	if rapid.Bool().Draw(t, "second subnet") {
		r.Subnets = append(r.Subnets, maastest.Subnet{ID: 3, CIDR: "10.2.0.0/24", VLAN: 5001})
	}
	r.Tags = map[string][]string{"old": {"id0"}}
	for n := range rapid.IntRange(1, 4).Draw(t, "machines") {
		m := machine(n, some(t, "status", "New", "Ready", "Ready", "Ready", "Deployed", "Allocated", "Broken", "Commissioning", "Failed testing"))
		m.Pool = some(t, "pool", "default", "lab")
		m.Interfaces = m.Interfaces[:rapid.IntRange(0, 4).Draw(t, "cards")]
		m.Disks = append(m.Disks, maastest.Disk{ID: n*10 + 3, Name: "sdc", Size: int64(rapid.SampledFrom([]int{40e9, 50e9, 60e9}).Draw(t, "size"))})
		m.Disks[2].Tags = rapid.SampledFrom([][]string{nil, {"ssd"}, {"rotary"}}).Draw(t, "disk tags")
		m.Disks = m.Disks[:rapid.IntRange(0, 3).Draw(t, "disks")]
		if len(m.Disks) > 0 {
			switch some(t, "storage by hand", "", "", "partition", "raid", "formatted") {
			case "partition":
				m.Disks[0].Partitions = []maastest.Partition{{Size: 10e9, Filesystem: "ext4", Mount: "/"}, {Size: 10e9, Filesystem: "ext4", Mount: "/srv"}}
			case "raid":
				m.Disks[0].Partitions = []maastest.Partition{{Size: 10e9, Filesystem: "raid"}}
				m.Disks = append(m.Disks, maastest.Disk{ID: 900 + n, Name: "md0", Virtual: true, Size: 10e9, Filesystem: "ext4", Mount: "/"})
			case "formatted":
				m.Disks[len(m.Disks)-1].Filesystem = "xfs"
			}
		}
		id := 1000 + n*10
		for _, i := range slices.Clone(m.Interfaces) {
			switch some(t, "by hand", "", "", "bridge", "bond", "vlan", "links") {
			case "bridge":
				m.Interfaces = append(m.Interfaces, maastest.Interface{ID: id, Name: some(t, "bridge", "br0", "br1", "br9") + i.Name[3:], Type: "bridge", VLAN: i.VLAN, Parents: []string{i.Name}, Links: drawLinks(t, id, i.VLAN, r)})
			case "bond":
				m.Interfaces = append(m.Interfaces, maastest.Interface{ID: id, Name: "bond" + i.Name[3:], Type: "bond", VLAN: i.VLAN, Parents: []string{i.Name}, Params: map[string]any{"bond_mode": some(t, "mode", "active-backup", "802.3ad"), "mtu": 1500}})
			case "vlan":
				m.Interfaces = append(m.Interfaces, maastest.Interface{ID: id, Name: i.Name + ".7", Type: "vlan", VLAN: 5007, Parents: []string{i.Name}})
			}
			id++
		}
		r.Machines = append(r.Machines, m)
	}
	return r
}

func drawLinks(t *rapid.T, id, vlan int, r *maastest.Region) []maastest.Link {
	var links []maastest.Link
	for k, s := range r.Subnets {
		if s.VLAN == vlan && rapid.Bool().Draw(t, "linked") {
			mode := some(t, "link", "auto", "static")
			if k == 0 {
				mode = some(t, "link", "auto", "dhcp")
			}
			l := maastest.Link{ID: id*10 + k, Mode: mode, Subnet: s.ID}
			if mode == "static" {
				l.Address = s.CIDR[:len(s.CIDR)-4] + fmt.Sprint(id%100+100)
			}
			links = append(links, l)
		}
	}
	return links
}

// drawDeclaration draws what is one by its form, sensible or not, as text.
func drawDeclaration(t *rapid.T) string {
	text := "tags:\n  old: {comment: " + some(t, "comment", "''", "a", "b") + "}\nmachines:\n"
	for range rapid.IntRange(1, 3).Draw(t, "groups") {
		text += "- match: {" + some(t, "match", `hostname: "*"`, "hostname: node0", "pool: lab", "tags: [pet]", "not-tags: [pet]", "tags: [old]") + "}\n"
		text += some(t, "tags", "", "  tags: [a]\n", "  tags: [b, c]\n")
		text += some(t, "bonds", "", "", "  bonds: [{name: bond0, interfaces: [eno1, eno2]}]\n", "  bonds: [{name: bond1, interfaces: [eno1], mode: 802.3ad}]\n",
			"  bonds: [{name: bond0, interfaces: [eno2], mtu: 1500, miimon: 10}]\n")
		if rapid.Bool().Draw(t, "bridged") {
			text += "  bridges:\n"
			for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"br0", "br01"}), 1, 2, rapid.ID).Draw(t, "bridges") {
				text += "  - {name: " + name +
					some(t, "on", "", "", ", on: eno1", ", on: eno3", ", on: eno4", ", on: bond0", ", on: bond0", ", on: {subnet: 10.0.0.0/24}", ", on: {fabric: fabric-5002}") +
					some(t, "subnet", "", "", ", subnet: 10.0.0.0/24", ", subnet: storage", ", subnet: 10.2.0.0/24") +
					some(t, "mode", "", ", mode: dhcp", ", mode: static", ", mode: link-up", ", mode: static, addresses: {node0: 10.0.0.200}") +
					some(t, "params", "", ", stp: true", ", stp: false", ", mtu: 1500", ", mtu: 9000", ", type: ovs") + "}\n"
			}
		}
		if rapid.Bool().Draw(t, "stored") {
			text += "  storage: {layout: " + some(t, "storage", "flat", "lvm", "blank", "bcache", "flat, boot-size: 1GiB, root-size: 20GB", "flat, root-device: sdb",
				"lvm, vg-name: vg, lv-size: 10GiB", "lvm, lv-name: x, root-size: 30GiB", "bcache, cache-device: sdb, cache-size: 10GiB", "bcache, cache-device: sdc", "bcache, cache-no-part: true, cache-mode: writeback", "lvm, replace: true") + "}\n"
		}
	}
	return text
}

// What is applied plans to nothing; and a machine that is not Ready keeps all but its tags.
func TestAppliedPlansToNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := drawRegion(rt)
		text := drawDeclaration(rt)
		d, err := inventory.Parse([]byte(text))
		if err != nil {
			// What is left of it was drawn sensible: only these two can be told without MAAS.
			require.Regexp(rt, "wanted an address in|wanted the bond", err, text)
			return
		}
		var pets []inventory.Pet
		for n := range rapid.IntRange(0, 3).Draw(rt, "pets") {
			pets = append(pets, inventory.Pet{Hostname: fmt.Sprintf("node%d", n), Traits: []string{some(rt, "trait", "gpu", "big.memory", "a")}})
		}
		l := &lossy{Region: r}
		c := serve(rt, r, l)
		var before []maastest.Machine
		for _, m := range r.Machines {
			m.Interfaces, m.Disks = slices.Clone(m.Interfaces), slices.Clone(m.Disks)
			before = append(before, m)
		}
		state, err := c.Fleet(rt.Context())
		require.NoError(rt, err)
		p := inventory.Missing(d, pets, state)
		require.Empty(rt, r.Changes, "a plan changes nothing")
		require.Equal(rt, p, inventory.Missing(d, pets, state), "and is the same each time")
		// It may be killed after any step, and the answer to any change may be lost.
		l.lose.Store(rapid.Int64Range(0, 2*int64(len(p.Steps))).Draw(rt, "answer lost"))
		cut := rapid.IntRange(0, len(p.Steps)).Draw(rt, "killed after")
		_ = inventory.Apply(rt.Context(), c, p.Steps[:cut], func(inventory.Step, error) {})
		l.lose.Store(0)
		failed := refused(rt, c, plan(rt, c, d, pets...).Steps)
		// Only what MAAS knows better than its API says may fail: how large a disk may be cut up,
		// which of them are a cache, and who else has an address.
		for _, s := range failed {
			switch s := s.(type) {
			case inventory.SetStorage:
			case inventory.LinkSubnet:
				require.NotEmpty(rt, s.Link.Address, inventory.Title(s))
			default:
				rt.Fatalf("failed: %s", inventory.Title(s))
			}
		}
		for _, s := range plan(rt, c, d, pets...).Steps {
			var told []string
			for _, f := range failed {
				told = append(told, inventory.Title(f))
			}
			require.Contains(rt, told, inventory.Title(s), "it was applied, and is planned again")
		}
		for n, m := range r.Machines {
			if before[n].Status != inventory.Ready {
				require.Equal(rt, before[n], m, "a machine that is not Ready was changed")
			}
		}
	})
}

// lossy is a MAAS whose answer to one change gets lost on its way.
type lossy struct {
	*maastest.Region
	lose atomic.Int64 // which change, counted from 1; 0 for none
}

func (l *lossy) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if request.Method == http.MethodGet || l.lose.Load() <= 0 || l.lose.Add(-1) > 0 {
		l.Region.ServeHTTP(w, request)
		return
	}
	l.Region.ServeHTTP(httptest.NewRecorder(), request)
	panic(http.ErrAbortHandler)
}

// refused applies steps and returns those that failed.
func refused(t *rapid.T, c *maas.Client, steps []inventory.Step) []inventory.Step {
	var failed []inventory.Step
	_ = inventory.Apply(t.Context(), c, steps, func(s inventory.Step, err error) {
		if err != nil {
			require.True(t, maas.IsStatus(err, 400), "%s: %v", inventory.Title(s), err)
			failed = append(failed, s)
		}
	})
	return failed
}

package inventory_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/document"
	"github.com/dcib/dcib/internal/maas/inventory"
)

const whole = `
tags:
  gpu:
    definition: //node[@id="display"]
    kernel-options: iommu=pt
    comment: ""
  compute:
machines:
- match: {hostname: "node*", pool: default, not-tags: [spare]}
  tags: [compute]
  bonds:
  - name: bond0
    interfaces: [eno1, eno2]
    mode: 802.3ad
    lacp-rate: fast
    hash-policy: layer3+4
    miimon: 50
    mtu: 9000
  bridges:
  - name: br0
    on: bond0
    subnet: 10.0.0.0/24
  - name: br1
    on: {fabric: storage}
    mode: static
    subnet: storage
    addresses: {node1: 10.1.0.11}
    type: ovs
    stp: true
    mtu: 9000
  storage: {layout: lvm, boot-size: 1GiB, root-size: 40GB, root-device: sda, vg-name: vg, lv-name: lv, lv-size: 30GiB}
- match: {tags: [fast], zone: "z?", architecture: amd64}
  storage:
    layout: bcache
    cache-device: nvme0n1
    cache-mode: writeback
    cache-no-part: true
`

func TestParse(t *testing.T) {
	d, err := inventory.Parse([]byte(whole))
	require.NoError(t, err)
	none, iommu, xpath := "", "iommu=pt", `//node[@id="display"]`
	require.Equal(t, []inventory.WantedTag{{Name: "gpu", Comment: &none, Definition: &xpath, KernelOptions: &iommu}, {Name: "compute"}}, d.Tags)
	g := d.Groups[0]
	require.Equal(t, inventory.Match{Hostname: "node*", Pool: "default", NotTags: []string{"spare"}}, g.Match)
	require.Equal(t, inventory.Bond{Name: "bond0", Interfaces: []string{"eno1", "eno2"}, Params: map[string]string{
		"bond_mode": "802.3ad", "bond_lacp_rate": "fast", "bond_xmit_hash_policy": "layer3+4", "bond_miimon": "50", "mtu": "9000",
	}}, g.Bonds[0])
	require.Equal(t, inventory.Bridge{Name: "br0", On: inventory.On{Name: "bond0"}, Subnet: "10.0.0.0/24", Mode: "auto", Params: map[string]string{}}, g.Bridges[0])
	require.Equal(t, inventory.Bridge{
		Name: "br1", On: inventory.On{Fabric: "storage"}, Subnet: "storage", Mode: "static", Addresses: map[string]string{"node1": "10.1.0.11"},
		Params: map[string]string{"bridge_type": "ovs", "bridge_stp": "true", "mtu": "9000"},
	}, g.Bridges[1])
	require.Equal(t, inventory.Storage{Layout: "lvm", BootSize: 1 << 30, RootSize: 40e9, RootDevice: "sda", VG: "vg", LV: "lv", LVSize: 30 << 30}, *g.Storage)
	require.Equal(t, inventory.Storage{Layout: "bcache", CacheDevice: "nvme0n1", CacheMode: "writeback", CacheNoPart: true}, *d.Groups[1].Storage)
	for _, empty := range []string{"", "\n# nothing\n", "tags:\nmachines:\n", "null"} {
		d, err := inventory.Parse([]byte(empty))
		require.NoError(t, err, empty)
		require.Empty(t, d)
	}
}

// A name that has a slash in it is no CIDR, and an architecture may be written as MAAS has it.
func TestParseTakes(t *testing.T) {
	d, err := inventory.Parse([]byte("tags: {a: {definition: '//node[contains(@id, \"]\")]'}}\nmachines:\n" +
		"- match: {architecture: amd64/generic}\n  bridges:\n  - {name: br0, subnet: rack/7, mode: static, addresses: {a: 10.0.1.5}}\n" +
		"- match: {architecture: amd64}\n- match: {architecture: amd64/hwe}\n"))
	require.NoError(t, err)
	one := inventory.Machine{Architecture: "amd64/generic"}
	require.True(t, d.Groups[0].Match.Fits(one))
	require.True(t, d.Groups[1].Match.Fits(one))
	require.False(t, d.Groups[2].Match.Fits(one))
}

func TestParseRefuses(t *testing.T) {
	group := func(lines string) string { return "machines:\n- match: {hostname: a}\n" + lines }
	for text, want := range map[string]string{
		group("  bridges:\n  - name: br0\n    mode: static\n    addresses: {a: 10.0.1.5}\n    subnet: 10.0.0.0/24"): `line 6: machines[0].bridges[0].addresses.a is "10.0.1.5", wanted an address in 10.0.0.0/24`,
		group("  bridges:\n  - {name: br0, mode: static, addresses: {a: 10.0.0.5, b: 10.0.0.5}}"):                   `line 4: machines[0].bridges[0].addresses.b is "10.0.0.5", as that of a, wanted another`,
		group("  bridges:\n  - {name: br0, subnet: 10.0.0.0/33}"):                                                   `line 4: machines[0].bridges[0].subnet is "10.0.0.0/33", wanted a subnet`,
		group("  bridges:\n  - {name: br0, on: {subnet: 'fd00::/129'}}"):                                            `line 4: machines[0].bridges[0].on.subnet is "fd00::/129"`,
		"machines:\n- match: {tags: [x], not-tags: [x]}":                                                            `line 2: machines[0].match has "x" in tags and in not-tags`,
		"tags:\n  a: {definition: '//node['}":                                                                       `line 2: tags.a.definition is "//node[", in which [ has no counterpart`,
		"tags:\n  a: {definition: '//node)'}":                                                                       `line 2: tags.a.definition is "//node)", in which ) has no counterpart`,
		"tags:\n  a: {definition: '//node[@id=\"]'}":                                                                `in which " has no counterpart`,
		group("  bonds:\n  - {name: b0, interfaces: [a, b]}\n  - {name: b1, interfaces: [b, c]}"):                   `machines[0].bonds[1].interfaces has "b", which bond "b0" has, wanted each interface once`,
		group("  bonds:\n  - {name: b0, interfaces: [a, b]}\n  bridges:\n  - {name: br0, on: b}"):                   `machines[0].bridges[0].on is "b", which is in a bond, wanted the bond, "b0"`,
		"machines: [":                         "line 1: the text is not YAML",
		"a: b\n---\nc: d":                     "line 2: a second YAML document begins, wanted one",
		"\xff":                                "line 1: the text is not in UTF-8",
		"- a":                                 "line 1: the text is a list, wanted a mapping",
		"tags: &a {}\nmachines: *a":           "is a YAML alias",
		"machine: []":                         "line 1: machine is not known here, wanted machines or tags",
		"tags: {a/b: }":                       `line 1: tags.a/b is "a/b", wanted a tag of letters, digits, _ and -`,
		"tags:\n  a: {comment: [x]}":          `line 2: tags.a.comment is a list, wanted text, or "" to clear it`,
		"tags:\n  a:\n  a:":                   "line 3: tags.a is there twice, wanted each key once",
		"machines:\n- tags: [a]":              "line 2: machines[0] has no match",
		"machines:\n- match: {}":              `line 2: machines[0].match is empty, wanted which machines are meant; hostname: "*" is all`,
		"machines:\n- match:":                 "line 2: machines[0].match is empty",
		"machines:\n-":                        "line 2: machines[0] is empty",
		"machines:\n- match: {hostname: '['}": `line 2: machines[0].match.hostname is "["`,
		"machines:\n- match: {host: a}":       "line 2: machines[0].match.host is not known here, wanted architecture, hostname, not-tags, pool, tags or zone",
		group("  tags: [a, a]"):               `line 3: machines[0].tags[1] is "a" again, wanted each once`,
		group("  tags: []"):                   "line 3: machines[0].tags is empty",
		group("  tags: gpu"):                  `line 3: machines[0].tags is "gpu", wanted a list`,
		"tags: {a: {definition: //x}}\n" + group("  tags: [a]"):                     `line 3: machines[0].tags has "a", which has a definition: MAAS sets it automatically`,
		group("  tags: [a]\n- match: {tags: [a]}\n  tags: [b]"):                     `line 4: machines[1].match goes by tag "a", which machines[0] sets`,
		group("  bonds:\n  - name: bond0"):                                          "line 4: machines[0].bonds[0] has no interfaces",
		group("  bonds:\n  - {name: b, interfaces: [a], mode: lacp}"):               `line 4: machines[0].bonds[0].mode is "lacp", wanted active-backup, balance-rr`,
		group("  bridges:\n  - on: eno1"):                                           "line 4: machines[0].bridges[0] has no name",
		group("  bridges:\n  - name: a-bridge-too-long"):                            `line 4: machines[0].bridges[0].name is "a-bridge-too-long"`,
		group("  bridges:\n  - name: br0\n  - name: br0"):                           `line 5: machines[0].bridges[1] has the name "br0", as has another`,
		group("  bridges:\n  - {name: br0, mode: automatic}"):                       `line 4: machines[0].bridges[0].mode is "automatic", wanted auto, dhcp, static or link-up`,
		group("  bridges:\n  - {name: br0, addresses: {a: 10.0.0.1}}"):              "line 4: machines[0].bridges[0] has addresses, but its mode is auto, wanted mode: static",
		group("  bridges:\n  - {name: br0, mode: static, addresses: {a: ten}}"):     `line 4: machines[0].bridges[0].addresses.a is "ten"`,
		group("  bridges:\n  - {name: br0, on: {}}"):                                "line 4: machines[0].bridges[0].on has 0 keys, wanted fabric or subnet",
		group("  bridges:\n  - {name: br0, mtu: 100}"):                              `line 4: machines[0].bridges[0].mtu is "100", wanted a number from 552 to 65535`,
		group("  bridges:\n  - {name: br0, stp: on}"):                               `line 4: machines[0].bridges[0].stp is "on", wanted true or false`,
		group("  storage: lvm"):                                                     `line 3: machines[0].storage is "lvm", wanted a mapping`,
		group("  storage: {root-size: 4GiB}"):                                       "line 3: machines[0].storage has no layout, wanted flat, lvm, bcache or blank",
		group("  storage: {layout: zfsroot}"):                                       `line 3: machines[0].storage.layout is "zfsroot", wanted flat, lvm, bcache or blank`,
		group("  storage: {layout: vmfs7}"):                                         "does not show which one a machine has: set those there",
		group("  storage: {layout: flat, vg-name: x}"):                              "line 3: machines[0].storage.vg-name is not for layout flat",
		group("  storage: {layout: blank, root-size: 4GiB}"):                        "line 3: machines[0].storage.root-size is not for layout blank",
		group("  storage: {layout: flat, root-size: 4G}"):                           `line 3: machines[0].storage.root-size is "4G", wanted a size such as 40GiB`,
		group("  storage: {layout: flat, root-size: 9999999TiB}"):                   `is "9999999TiB"`,
		group("  storage: {layout: flat, root-size: +5GiB}"):                        `is "+5GiB"`,
		group("  storage: {layout: flat, root-size: 0GB}"):                          `is "0GB"`,
		group("  storage: {layout: flat, root-size: 50%}"):                          `is "50%"`,
		group("  storage: {layout: bcache, cache-size: 4GiB, cache-no-part: true}"): "has both cache-size and cache-no-part",
	} {
		_, err := inventory.Parse([]byte(text))
		require.ErrorContains(t, err, want, text)
		var problems document.Problems
		require.True(t, errors.As(err, &problems))
	}
	_, err := inventory.Parse(make([]byte, inventory.MaxBytes+1))
	require.ErrorContains(t, err, "wanted at most")
	_, err = inventory.Parse([]byte(strings.Repeat("a: b\n", 30)))
	require.ErrorContains(t, err, "and 10 more")
}

// The example of the reference is one.
func TestReference(t *testing.T) {
	text, err := os.ReadFile("../../../docs/reference/machines.md")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(text), "```yaml\n")
	require.True(t, found)
	example, _, _ := strings.Cut(rest, "```")
	d, err := inventory.Parse([]byte(example))
	require.NoError(t, err)
	require.NotEmpty(t, d.Groups)
	require.NotEmpty(t, d.Tags)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("\r\r."))
	f.Add([]byte("machines:\n- match: {hostname: a}\n  storage: {layout: flat}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := inventory.Parse(text)
		var problems document.Problems
		if err != nil {
			require.True(t, errors.As(err, &problems))
			require.Empty(t, d)
			lines := 1 // YAML has more ends of lines than one
			for _, r := range string(text) {
				if strings.ContainsRune("\r\n\u0085\u2028\u2029", r) {
					lines++
				}
			}
			for _, p := range problems {
				require.Positive(t, p.Line)
				require.LessOrEqual(t, p.Line, lines+1)
				require.NotContains(t, p.String(), "\n")
			}
			return
		}
		// What is declared can be planned for.
		m := inventory.Machine{ID: "m", Hostname: "node1", Status: inventory.Ready, Boot: 1, Interfaces: []inventory.Interface{{ID: 1, Name: "eno1", Type: "physical", VLAN: 1}}, Disks: []inventory.Disk{{ID: 1, Name: "sda", Size: 1 << 40}}}
		inventory.Missing(d, []inventory.Pet{{Hostname: "node1", Traits: []string{"a.b"}}}, inventory.State{Machines: []inventory.Machine{m}, Subnets: []inventory.Subnet{{ID: 1, CIDR: "10.0.0.0/24", VLAN: 1}}})
	})
}

package inventory

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/internal/document"
)

// Bounds on what is read, so that no one's text can hurt who reads it.
const (
	MaxBytes   = 1 << 20 // the whole text
	maxEntries = 1000    // of a list or a mapping
)

// Declaration is what machines are to be like, in the format of docs/reference/machines.md.
type Declaration struct {
	Tags   []WantedTag
	Groups []Group
}

// WantedTag is what a tag itself is to be like; what is nil stays as it is.
type WantedTag struct {
	Name                               string
	Comment, Definition, KernelOptions *string
}

// Group is what those machines get that match it.
type Group struct {
	Line    int // where it begins in the text
	Match   Match
	Tags    []string
	Bonds   []Bond
	Bridges []Bridge
	Storage *Storage
}

// Match says which machines are meant: those that fit all that is given.
type Match struct {
	Hostname, Pool, Zone, Architecture string // patterns with * and ?; empty fits
	Tags, NotTags                      []string
}

// Fits reports whether a machine is meant.
func (m Match) Fits(one Machine) bool {
	architecture := one.Architecture
	if !strings.Contains(m.Architecture, "/") {
		// MAAS's architectures are amd64/generic: amd64 means any of them.
		architecture, _, _ = strings.Cut(architecture, "/")
	}
	for pattern, value := range map[*string]string{&m.Hostname: one.Hostname, &m.Pool: one.Pool, &m.Zone: one.Zone, &m.Architecture: architecture} {
		if *pattern != "" && !glob(*pattern, value) {
			return false
		}
	}
	has := func(tag string) bool { return slices.Contains(one.Tags, tag) }
	return !slices.ContainsFunc(m.Tags, func(tag string) bool { return !has(tag) }) && !slices.ContainsFunc(m.NotTags, has)
}

func glob(pattern, value string) bool {
	fits, err := path.Match(pattern, value)
	return fits && err == nil
}

// Bond is a bond of interfaces.
type Bond struct {
	Name       string
	Interfaces []string
	Params     map[string]string // by MAAS's names
}

// Bridge is a bridge on an interface.
type Bridge struct {
	Name      string
	On        On
	Subnet    string            // CIDR or name; empty: the only one of the VLAN
	Mode      string            // auto, dhcp, static or link_up
	Addresses map[string]string // of machines by host name, where the mode is static
	Params    map[string]string // by MAAS's names
}

// On is the interface that a bridge is on: by name, or the one on a fabric's or a subnet's
// VLAN; otherwise the one that the machine boots from.
type On struct{ Name, Fabric, Subnet string }

func (o On) String() string {
	switch {
	case o.Name != "":
		return o.Name
	case o.Fabric != "":
		return "the interface on fabric " + o.Fabric
	case o.Subnet != "":
		return "the interface on subnet " + o.Subnet
	}
	return "the interface that it boots from"
}

// Storage is a storage layout.
type Storage struct {
	Layout string // flat, lvm, bcache or blank
	// In bytes; 0: as MAAS makes it.
	BootSize, RootSize, LVSize, CacheSize int64
	RootDevice, CacheDevice               string // disks by name
	VG, LV                                string
	CacheMode                             string
	CacheNoPart                           bool
	Replace                               bool // also what an operator made by hand
}

// Parse reads a declaration from YAML. Empty text declares nothing. The error is a
// document.Problems with all that was found.
func Parse(text []byte) (Declaration, error) {
	root, problems := document.Parse(text, MaxBytes)
	if root == nil {
		return Declaration{}, problems.Err()
	}
	var r reader
	d := r.declaration(root)
	if err := r.Problems.Err(); err != nil {
		return Declaration{}, err
	}
	return d, nil
}

// What names may look like; each says how long, and of what. They are no patterns, which
// every hook of a charm would make when it starts.
//
// MAAS's own rules: src/maasserver/models/tag.py, and src/maasserver/models/interface.py with
// the 15 characters of Linux.
func isTag(s string) bool  { return only(s, 256, "_-") }
func isLink(s string) bool { return only(s, 15, "._-") && !strings.ContainsRune("._-", rune(s[0])) }
func isDisk(s string) bool { return only(s, 63, "._-") && !strings.ContainsRune("._-", rune(s[0])) }

// only reports whether a text is made of letters, digits and some more.
func only(s string, most int, more string) bool {
	return s != "" && len(s) <= most && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(more, r)
	})
}

const (
	wantTag  = "a tag of letters, digits, _ and -"
	wantLink = "the name of an interface, such as br0: at most 15 letters, digits, dots, _ and -"
	wantSize = "a size such as 40GiB or 512MiB"
)

// reader walks the YAML and collects what is wrong with it.
type reader struct{ document.Reader }

func (r *reader) declaration(node *yaml.Node) Declaration {
	var d Declaration
	if document.Null(node) {
		return d
	}
	r.mapping("", node, map[string]func(string, *yaml.Node){
		"tags": func(at string, n *yaml.Node) { d.Tags = r.tags(at, n) },
		"machines": func(at string, n *yaml.Node) {
			r.each(at, n, func(at string, n *yaml.Node) { d.Groups = append(d.Groups, r.group(at, n)) })
		},
	})
	defined := map[string]bool{}
	for _, tag := range d.Tags {
		defined[tag.Name] = tag.Definition != nil && *tag.Definition != ""
	}
	given := map[string]int{}
	for i, g := range d.Groups {
		for _, tag := range g.Tags {
			given[tag] = i
			if defined[tag] {
				r.Problems = append(r.Problems, document.At(g.Line, fmt.Sprintf("machines[%d].tags", i), "has "+document.Quote(tag)+", which has a definition: MAAS sets it automatically", "one of them"))
			}
		}
	}
	// Or what a declaration means would depend on how often it was applied.
	for i, g := range d.Groups {
		for _, tag := range slices.Concat(g.Match.Tags, g.Match.NotTags) {
			if by, ok := given[tag]; ok {
				r.Problems = append(r.Problems, document.At(g.Line, fmt.Sprintf("machines[%d].match", i), fmt.Sprintf("goes by tag %s, which machines[%d] sets", document.Quote(tag), by), "what is there before, such as a host name"))
			}
		}
	}
	return d
}

func (r *reader) tags(at string, node *yaml.Node) []WantedTag {
	var all []WantedTag
	if document.Null(node) {
		return nil
	}
	r.Mapping(at, node, maxEntries, func(_ string, key, value *yaml.Node) {
		tag := WantedTag{Name: key.Value}
		at := at + "." + key.Value
		if !isTag(key.Value) {
			r.Add(key, at, "is "+document.Quote(key.Value), wantTag)
		}
		free := func(into **string) func(string, *yaml.Node) {
			return func(at string, n *yaml.Node) {
				if n.Kind != yaml.ScalarNode || n.Anchor != "" || n.ShortTag() == "!!null" {
					r.Add(n, at, "is "+document.Describe(n), `text, or "" to clear it`)
					return
				}
				*into = &n.Value
			}
		}
		if document.Null(value) {
			all = append(all, tag)
			return
		}
		r.mapping(at, value, map[string]func(string, *yaml.Node){
			"comment": free(&tag.Comment), "kernel-options": free(&tag.KernelOptions),
			"definition": func(at string, n *yaml.Node) {
				free(&tag.Definition)(at, n)
				if tag.Definition != nil {
					if open := unclosed(*tag.Definition); open != "" {
						r.Add(n, at, "is "+document.Quote(*tag.Definition)+", in which "+open+" has no counterpart", "an XPath expression")
					}
				}
			},
		})
		all = append(all, tag)
	})
	return all
}

// unclosed returns the first bracket or quote of an XPath expression that has no counterpart;
// empty where all have one. MAAS checks the rest.
func unclosed(xpath string) string {
	closes := map[rune]rune{']': '[', ')': '('}
	var open []rune
	var quote rune
	for _, c := range xpath {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '[' || c == '(':
			open = append(open, c)
		case closes[c] != 0:
			if len(open) == 0 || open[len(open)-1] != closes[c] {
				return string(c)
			}
			open = open[:len(open)-1]
		}
	}
	switch {
	case quote != 0:
		return string(quote)
	case len(open) > 0:
		return string(open[len(open)-1])
	}
	return ""
}

func (r *reader) group(at string, node *yaml.Node) Group {
	g := Group{Line: node.Line}
	matched := false
	names := map[string]bool{}
	unique := func(at string, n *yaml.Node, name string) {
		if name != "" && names[name] {
			r.Add(n, at, "has the name "+document.Quote(name)+", as has another", "another")
		}
		names[name] = true
	}
	r.mapping(at, node, map[string]func(string, *yaml.Node){
		"match": func(at string, n *yaml.Node) { g.Match, matched = r.match(at, n), true },
		"tags":  func(at string, n *yaml.Node) { g.Tags = r.names(at, n, isTag, wantTag) },
		"bonds": func(at string, n *yaml.Node) {
			r.each(at, n, func(at string, n *yaml.Node) {
				b := r.bond(at, n)
				unique(at, n, b.Name)
				g.Bonds = append(g.Bonds, b)
			})
		},
		"bridges": func(at string, n *yaml.Node) {
			r.each(at, n, func(at string, n *yaml.Node) {
				b := r.bridge(at, n)
				unique(at, n, b.Name)
				g.Bridges = append(g.Bridges, b)
			})
		},
		"storage": func(at string, n *yaml.Node) { g.Storage = r.storage(at, n) },
	})
	r.ports(at, node, g)
	if !matched && node.Kind == yaml.MappingNode {
		r.Add(node, at, "has no match", `which machines are meant, such as match: {hostname: "node*"}`)
	}
	return g
}

// ports adds a problem where an interface is in two bonds, or in a bond and in a bridge.
func (r *reader) ports(at string, node *yaml.Node, g Group) {
	bond := map[string]string{}
	for i, b := range g.Bonds {
		for _, name := range b.Interfaces {
			if other, ok := bond[name]; ok && name != "" {
				r.Add(node, fmt.Sprintf("%s.bonds[%d].interfaces", at, i), "has "+document.Quote(name)+", which bond "+document.Quote(other)+" has", "each interface once")
			}
			bond[name] = b.Name
		}
	}
	for i, b := range g.Bridges {
		if other, ok := bond[b.On.Name]; ok && b.On.Name != "" {
			r.Add(node, fmt.Sprintf("%s.bridges[%d].on", at, i), "is "+document.Quote(b.On.Name)+", which is in a bond", "the bond, "+document.Quote(other))
		}
	}
}

func (r *reader) match(at string, node *yaml.Node) Match {
	var m Match
	pattern := func(into *string) func(string, *yaml.Node) {
		return func(at string, n *yaml.Node) {
			const want = "a name, in which * stands for any characters"
			*into = r.text(at, n, want)
			if _, err := path.Match(*into, ""); err != nil {
				r.Add(n, at, "is "+document.Quote(*into), want)
			}
		}
	}
	r.mapping(at, node, map[string]func(string, *yaml.Node){
		"hostname": pattern(&m.Hostname), "pool": pattern(&m.Pool), "zone": pattern(&m.Zone), "architecture": pattern(&m.Architecture),
		"tags":     func(at string, n *yaml.Node) { m.Tags = r.names(at, n, isTag, wantTag) },
		"not-tags": func(at string, n *yaml.Node) { m.NotTags = r.names(at, n, isTag, wantTag) },
	})
	for _, tag := range m.Tags {
		if tag != "" && slices.Contains(m.NotTags, tag) {
			r.Add(node, at, "has "+document.Quote(tag)+" in tags and in not-tags, so that no machine fits", "one of them")
		}
	}
	if node.Kind == yaml.MappingNode && len(node.Content) == 0 {
		r.Add(node, at, "is empty", `which machines are meant; hostname: "*" is all`)
	}
	return m
}

// What MAAS takes (src/maasserver/enum.py).
var (
	bondModes  = []string{"active-backup", "balance-rr", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"}
	hashPolicy = []string{"layer2", "layer2+3", "layer3+4", "encap2+3", "encap3+4"}
	linkModes  = []string{"auto", "dhcp", "static", "link-up"}
	layouts    = []string{"flat", "lvm", "bcache", "blank"}
	cacheModes = []string{"writeback", "writethrough", "writearound"}
)

func (r *reader) bond(at string, node *yaml.Node) Bond {
	b := Bond{Params: map[string]string{"bond_mode": "active-backup"}}
	r.mapping(at, node, map[string]func(string, *yaml.Node){
		"name":        func(at string, n *yaml.Node) { b.Name = r.name(at, n, isLink, wantLink) },
		"interfaces":  func(at string, n *yaml.Node) { b.Interfaces = r.names(at, n, isLink, wantLink) },
		"mode":        func(at string, n *yaml.Node) { b.Params["bond_mode"] = r.choice(at, n, bondModes) },
		"lacp-rate":   func(at string, n *yaml.Node) { b.Params["bond_lacp_rate"] = r.choice(at, n, []string{"slow", "fast"}) },
		"hash-policy": func(at string, n *yaml.Node) { b.Params["bond_xmit_hash_policy"] = r.choice(at, n, hashPolicy) },
		"miimon":      func(at string, n *yaml.Node) { b.Params["bond_miimon"] = r.number(at, n, 0, 60_000) },
		"mtu":         func(at string, n *yaml.Node) { b.Params["mtu"] = r.number(at, n, 552, 65535) },
	})
	r.needs(at, node, "name", wantLink)
	r.needs(at, node, "interfaces", "those that are bonded, such as [eno1, eno2]")
	return b
}

func (r *reader) bridge(at string, node *yaml.Node) Bridge {
	b := Bridge{Mode: "auto", Params: map[string]string{}}
	var inside []func(netip.Prefix) // checks of the addresses, for when the subnet was read
	r.mapping(at, node, map[string]func(string, *yaml.Node){
		"name":   func(at string, n *yaml.Node) { b.Name = r.name(at, n, isLink, wantLink) },
		"on":     func(at string, n *yaml.Node) { b.On = r.on(at, n) },
		"subnet": func(at string, n *yaml.Node) { b.Subnet = r.subnet(at, n) },
		"mode":   func(at string, n *yaml.Node) { b.Mode = strings.ReplaceAll(r.choice(at, n, linkModes), "-", "_") },
		"addresses": func(at string, n *yaml.Node) {
			b.Addresses = map[string]string{}
			r.Mapping(at, n, maxEntries, func(_ string, key, value *yaml.Node) {
				const want = "an address, such as 10.0.0.11"
				text := r.text(at+"."+key.Value, value, want)
				address, err := netip.ParseAddr(text)
				if text != "" && err != nil {
					r.Add(value, at+"."+key.Value, "is "+document.Quote(text), want)
				}
				for other, used := range b.Addresses {
					if err == nil && used == address.String() {
						r.Add(value, at+"."+key.Value, "is "+document.Quote(text)+", as that of "+other, "another")
					}
				}
				b.Addresses[key.Value] = address.String()
				if err == nil {
					at := at + "." + key.Value
					inside = append(inside, func(subnet netip.Prefix) {
						if !subnet.Contains(address) {
							r.Add(value, at, "is "+document.Quote(text), "an address in "+subnet.Masked().String())
						}
					})
				}
			})
		},
		"type": func(at string, n *yaml.Node) { b.Params["bridge_type"] = r.choice(at, n, []string{"standard", "ovs"}) },
		"stp":  func(at string, n *yaml.Node) { b.Params["bridge_stp"] = r.boolean(at, n) },
		"mtu":  func(at string, n *yaml.Node) { b.Params["mtu"] = r.number(at, n, 552, 65535) },
	})
	r.needs(at, node, "name", wantLink)
	if subnet, err := netip.ParsePrefix(b.Subnet); err == nil {
		for _, check := range inside {
			check(subnet)
		}
	}
	if b.Addresses != nil && b.Mode != "static" {
		r.Add(node, at, "has addresses, but its mode is "+strings.ReplaceAll(b.Mode, "_", "-"), "mode: static")
	}
	return b
}

const wantSubnet = "a subnet by its CIDR or its name in MAAS, such as 10.0.0.0/24"

// subnet reads a subnet's CIDR or name. What looks like a CIDR has to be one that MAAS can have.
func (r *reader) subnet(at string, node *yaml.Node) string {
	text := r.text(at, node, wantSubnet)
	address, bits, ok := strings.Cut(text, "/")
	if _, err := netip.ParseAddr(address); !ok || err != nil || strings.Trim(bits, "0123456789") != "" {
		return text
	}
	if _, err := netip.ParsePrefix(text); err != nil {
		r.Add(node, at, "is "+document.Quote(text), wantSubnet)
		return ""
	}
	return text
}

func (r *reader) on(at string, node *yaml.Node) On {
	var o On
	if node.Kind != yaml.MappingNode {
		if o.Name = r.name(at, node, isLink, "an interface's name, boot, or a mapping with fabric or subnet"); o.Name == "boot" {
			o.Name = ""
		}
		return o
	}
	r.mapping(at, node, map[string]func(string, *yaml.Node){
		"fabric": func(at string, n *yaml.Node) { o.Fabric = r.text(at, n, "a fabric's name in MAAS") },
		"subnet": func(at string, n *yaml.Node) { o.Subnet = r.subnet(at, n) },
	})
	if len(node.Content) != 2 {
		r.Add(node, at, fmt.Sprintf("has %d keys", len(node.Content)/2), "fabric or subnet")
	}
	return o
}

func (r *reader) storage(at string, node *yaml.Node) *Storage {
	s := &Storage{}
	allowed := map[string][]string{ // by layout; boot-size, root-size and root-device are all's
		"lvm": {"vg-name", "lv-name", "lv-size"}, "bcache": {"cache-device", "cache-size", "cache-mode", "cache-no-part"},
	}
	size := func(into *int64) func(string, *yaml.Node) {
		return func(at string, n *yaml.Node) { *into = r.size(at, n) }
	}
	disk := func(into *string) func(string, *yaml.Node) {
		return func(at string, n *yaml.Node) { *into = r.name(at, n, isDisk, "the name of a disk, such as sda") }
	}
	volume := func(into *string) func(string, *yaml.Node) {
		return func(at string, n *yaml.Node) { *into = r.name(at, n, isDisk, "a name, such as vgroot") }
	}
	r.mapping(at, node, map[string]func(string, *yaml.Node){
		"layout": func(at string, n *yaml.Node) {
			text := r.text(at, n, wantLayout)
			if s.Layout = text; text != "" && !slices.Contains(layouts, text) {
				want := wantLayout
				if slices.Contains([]string{"vmfs6", "vmfs7", "custom"}, text) {
					want += ": MAAS has others, but does not show which one a machine has: set those there"
				}
				r.Add(n, at, "is "+document.Quote(text), want)
			}
		},
		"boot-size": size(&s.BootSize), "root-size": size(&s.RootSize), "lv-size": size(&s.LVSize), "cache-size": size(&s.CacheSize),
		"root-device": disk(&s.RootDevice), "cache-device": disk(&s.CacheDevice),
		"vg-name": volume(&s.VG), "lv-name": volume(&s.LV),
		"cache-mode":    func(at string, n *yaml.Node) { s.CacheMode = r.choice(at, n, cacheModes) },
		"cache-no-part": func(at string, n *yaml.Node) { s.CacheNoPart = r.boolean(at, n) == "true" },
		"replace":       func(at string, n *yaml.Node) { s.Replace = r.boolean(at, n) == "true" },
	})
	r.needs(at, node, "layout", wantLayout)
	for i := 0; node.Kind == yaml.MappingNode && slices.Contains(layouts, s.Layout) && i < len(node.Content); i += 2 {
		key := node.Content[i]
		common := slices.Contains([]string{"boot-size", "root-size", "root-device"}, key.Value) && s.Layout != "blank"
		known := common || key.Value == "layout" || slices.Contains(allowed[s.Layout], key.Value)
		if !known && slices.Contains(slices.Concat(allowed["lvm"], allowed["bcache"], []string{"boot-size", "root-size", "root-device"}), key.Value) {
			r.Add(key, at+"."+key.Value, "is not for layout "+s.Layout, "")
		}
	}
	if s.CacheNoPart && s.CacheSize > 0 {
		r.Add(node, at, "has both cache-size and cache-no-part", "one of them")
	}
	return s
}

const wantLayout = "flat, lvm, bcache or blank"

// ---- what YAML is made of ----

// mapping reads a mapping whose keys are known.
func (r *reader) mapping(at string, node *yaml.Node, known map[string]func(at string, value *yaml.Node)) {
	r.Mapping(at, node, maxEntries, func(name string, key, value *yaml.Node) {
		below := document.Join(at, name)
		if read := known[name]; read != nil {
			read(below, value)
			return
		}
		var names []string
		for name := range known {
			names = append(names, name)
		}
		slices.Sort(names)
		r.Add(key, below, "is not known here", strings.Join(names[:len(names)-1], ", ")+" or "+names[len(names)-1])
	})
}

// needs adds a problem where a mapping lacks a key.
func (r *reader) needs(at string, node *yaml.Node, key, want string) {
	for i := 0; i < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return
		}
	}
	if node.Kind == yaml.MappingNode {
		r.Add(node, at, "has no "+key, want)
	}
}

// each calls read for every item of a list.
func (r *reader) each(at string, node *yaml.Node, read func(at string, item *yaml.Node)) {
	for i, item := range r.Sequence(at, node, maxEntries) {
		read(fmt.Sprintf("%s[%d]", at, i), item)
	}
}

// names reads a list of names, each once, in order.
func (r *reader) names(at string, node *yaml.Node, shape func(string) bool, want string) []string {
	var all []string
	r.each(at, node, func(at string, item *yaml.Node) {
		name := r.name(at, item, shape, want)
		if name != "" && slices.Contains(all, name) {
			r.Add(item, at, "is "+document.Quote(name)+" again", "each once")
		}
		all = append(all, name)
	})
	if node.Kind == yaml.SequenceNode && len(node.Content) == 0 {
		r.Add(node, at, "is empty", "at least one, or no such key")
	}
	return all
}

func (r *reader) name(at string, node *yaml.Node, shape func(string) bool, want string) string {
	text := r.text(at, node, want)
	if text != "" && !shape(text) {
		r.Add(node, at, "is "+document.Quote(text), want)
		return ""
	}
	return text
}

// text reads a scalar of one line; it is empty when there is a problem with it.
func (r *reader) text(at string, node *yaml.Node, want string) string {
	text := r.Text(at, node, want)
	if strings.ContainsAny(text, "\r\n\x00") {
		r.Add(node, at, "is "+document.Quote(text), want)
		return ""
	}
	return text
}

func (r *reader) choice(at string, node *yaml.Node, of []string) string {
	want := strings.Join(of[:len(of)-1], ", ") + " or " + of[len(of)-1]
	text := r.text(at, node, want)
	if text != "" && !slices.Contains(of, text) {
		r.Add(node, at, "is "+document.Quote(text), want)
		return of[0]
	}
	return text
}

func (r *reader) number(at string, node *yaml.Node, least, most int) string {
	want := fmt.Sprintf("a number from %d to %d", least, most)
	text := r.text(at, node, want)
	n, err := strconv.Atoi(text)
	if text != "" && (err != nil || n < least || n > most) {
		r.Add(node, at, "is "+document.Quote(text), want)
	}
	return strconv.Itoa(n)
}

func (r *reader) boolean(at string, node *yaml.Node) string {
	text := r.text(at, node, "true or false")
	if text != "" && text != "true" && text != "false" {
		r.Add(node, at, "is "+document.Quote(text), "true or false")
	}
	return text
}

// units are those of sizes, in bytes.
var units = map[string]int64{
	"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
}

// size reads bytes. GiB are powers of 1024 and GB of 1000; a bare G, which MAAS takes for
// GB and most people for GiB, is refused.
func (r *reader) size(at string, node *yaml.Node) int64 {
	text := r.text(at, node, wantSize)
	number := strings.TrimRight(text, "KMGTiB")
	unit, known := units[text[len(number):]]
	n, err := strconv.ParseUint(number, 10, 62)
	if text != "" && (!known || err != nil || n == 0 || int64(n) > 1<<60/unit) {
		r.Add(node, at, "is "+document.Quote(text), wantSize)
		return 0
	}
	return int64(n) * unit
}

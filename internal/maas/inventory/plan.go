package inventory

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// PetTag is the tag of every pet; its traits are tags beside it.
const PetTag = "pet"

// Plan is what there is to do, and what cannot be done.
type Plan struct {
	Steps []Step
	Notes []Note
}

// Note says why something is left.
type Note struct {
	Machine string `json:"machine"` // its host name; empty for what is no machine's
	Says    string `json:"says"`
	// Wrong is false for what comes automatically, like a machine that is to be Ready first, and
	// true for what an operator has to fix, here or in MAAS.
	Wrong bool `json:"wrong"`
}

func (n Note) String() string {
	if n.Machine == "" {
		return n.Says
	}
	return n.Machine + ": " + n.Says
}

// Wrong counts what an operator has to fix.
func (p Plan) Wrong() int {
	count := 0
	for _, n := range p.Notes {
		if n.Wrong {
			count++
		}
	}
	return count
}

// Missing plans what is missing for the machines to be as declared, and for pets to be tagged.
// It is pure.
func Missing(d Declaration, pets []Pet, s State) Plan {
	p := planner{state: s, given: map[string][]string{}}
	p.state.Machines = slices.SortedFunc(slices.Values(s.Machines), func(a, b Machine) int {
		return cmp.Or(cmp.Compare(a.Hostname, b.Hostname), cmp.Compare(a.ID, b.ID))
	})
	p.pets(pets)
	p.tags(d)
	for i, g := range d.Groups {
		if !slices.ContainsFunc(p.state.Machines, func(m Machine) bool { return p.fits(g, m) }) {
			p.note("", false, "no machine matches machines[%d], in line %d", i, g.Line)
		}
	}
	for _, m := range p.state.Machines {
		p.machine(m, d)
	}
	return p.plan
}

type planner struct {
	state State
	given map[string][]string // by system id: the tags that a machine gets as a pet
	plan  Plan
}

// fits reports whether a group means a machine; a pet's tags count as if it had them.
func (p *planner) fits(g Group, m Machine) bool {
	m.Tags = slices.Concat(m.Tags, p.given[m.ID])
	return g.Match.Fits(m)
}

func (p *planner) note(machine string, wrong bool, format string, args ...any) {
	p.plan.Notes = append(p.plan.Notes, Note{machine, fmt.Sprintf(format, args...), wrong})
}

// traitTag makes a tag of a trait: MAAS takes no dots.
func traitTag(trait string) string { return strings.ReplaceAll(trait, ".", "-") }

// pets finds the pets' machines.
func (p *planner) pets(pets []Pet) {
	for _, pet := range pets {
		var found []Machine
		for _, m := range p.state.Machines {
			if m.Hostname == pet.Hostname || m.FQDN == pet.Hostname {
				found = append(found, m)
			}
		}
		switch {
		case len(found) == 0: // not every member need be from this MAAS
			p.note("", false, "pet %s is no machine in MAAS: a pet's member has to have the host name of its machine", pet.Hostname)
			continue
		case len(found) > 1:
			p.note("", true, "pet %s is more than one machine in MAAS, in several domains: name its member in full, or rename one", pet.Hostname)
			continue
		}
		tags := append(p.given[found[0].ID], PetTag)
		for _, trait := range pet.Traits {
			tags = append(tags, traitTag(trait))
		}
		slices.Sort(tags)
		p.given[found[0].ID] = slices.Compact(tags)
	}
	for _, m := range p.state.Machines {
		if len(pets) > 0 && slices.Contains(m.Tags, PetTag) && p.given[m.ID] == nil {
			p.note(m.Hostname, false, "has tag %s, but is none of the pets: take it away in MAAS, or leave it", PetTag)
		}
	}
}

// tags plans the tags themselves, and who has them.
func (p *planner) tags(d Declaration) {
	wanted := map[string][]Machine{} // who is to have them
	for _, m := range p.state.Machines {
		tags := slices.Clone(p.given[m.ID])
		for _, g := range d.Groups {
			if p.fits(g, m) {
				tags = append(tags, g.Tags...)
			}
		}
		slices.Sort(tags)
		for _, tag := range slices.Compact(tags) {
			wanted[tag] = append(wanted[tag], m)
		}
	}
	has := map[string]Tag{}
	for _, tag := range p.state.Tags {
		has[tag.Name] = tag
	}
	declared := map[string]WantedTag{}
	for _, tag := range d.Tags {
		declared[tag.Name] = tag
	}
	names := slices.Collect(maps.Keys(declared))
	for tag := range wanted {
		names = append(names, tag)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		now, there := has[name]
		want := declared[name]
		if !there {
			made := Tag{Name: name, Comment: text(want.Comment), Definition: text(want.Definition), KernelOptions: text(want.KernelOptions)}
			if name == PetTag && want.Comment == nil {
				made.Comment = "Shared member: reserved for its owner in windows, otherwise available"
			}
			p.plan.Steps = append(p.plan.Steps, CreateTag{made})
		} else if change := want.differs(now); len(change) > 0 {
			p.plan.Steps = append(p.plan.Steps, ChangeTag{name, change})
		}
		defined := now.Definition
		if want.Definition != nil {
			defined = *want.Definition
		}
		if defined != "" && len(wanted[name]) > 0 {
			p.note("", true, "tag %s has a definition, by which only MAAS sets it: clear that (definition: \"\"), or use another name", name)
			continue
		}
		var lack []Machine
		for _, m := range wanted[name] {
			if !slices.Contains(m.Tags, name) {
				lack = append(lack, m)
			}
		}
		if len(lack) > 0 {
			p.plan.Steps = append(p.plan.Steps, AddTag{name, lack})
		}
	}
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// differs returns what is to change of a tag, by MAAS's names.
func (w WantedTag) differs(now Tag) map[string]string {
	change := map[string]string{}
	for name, v := range map[string]struct {
		want *string
		has  string
	}{"comment": {w.Comment, now.Comment}, "definition": {w.Definition, now.Definition}, "kernel_opts": {w.KernelOptions, now.KernelOptions}} {
		if v.want != nil && *v.want != v.has {
			change[name] = *v.want
		}
	}
	return change
}

// machine plans a machine's network and storage.
func (p *planner) machine(m Machine, d Declaration) {
	n := network{planner: p, machine: m, interfaces: slices.Clone(m.Interfaces), declared: map[string]map[string]string{}}
	var (
		bonds   []Bond
		bridges []Bridge
		storage []Storage
		from    = map[string]int{} // by name: which group said so
	)
	claim := func(what string, group int) bool {
		if first, taken := from[what]; taken {
			n.wrong("%s is in machines[%d] and in machines[%d], and both match: have only one of them say it", what, first, group)
			return false
		}
		from[what] = group
		return true
	}
	for i, g := range d.Groups {
		if !p.fits(g, m) {
			continue
		}
		for _, b := range g.Bonds {
			if claim(b.Name, i) {
				bonds = append(bonds, b)
			}
		}
		for _, b := range g.Bridges {
			if claim(b.Name, i) {
				bridges = append(bridges, b)
			}
		}
		if g.Storage != nil && claim("storage", i) {
			storage = append(storage, *g.Storage)
		}
	}
	if left := leftTag(m); len(left.Add)+len(left.Take) > 0 {
		n.steps = append(n.steps, RestoreDiskTags{n.target(), left})
		n.machine.Disks = left.undone(m.Disks)
	}
	for _, b := range bonds {
		n.bond(b)
	}
	for _, b := range bridges {
		n.bridge(b)
	}
	if len(storage) == 1 {
		n.storage(storage[0])
	}
	switch {
	case m.Status == Ready:
		p.plan.Steps = append(p.plan.Steps, n.steps...)
		p.plan.Notes = append(p.plan.Notes, n.notes...)
	case len(n.steps)+len(n.notes) > 0:
		// What is wrong with it now may be right by then: commissioning resets it all.
		p.note(m.Hostname, false, "is %s: its network and storage are set when it is Ready", m.Status)
	}
}

// network plans one machine, on a copy of its interfaces that has what is planned in it.
type network struct {
	*planner
	machine    Machine
	interfaces []Interface
	declared   map[string]map[string]string // parameters of bonds, by name
	steps      []Step
	notes      []Note
}

func (n *network) wrong(format string, args ...any) {
	n.notes = append(n.notes, Note{n.machine.Hostname, fmt.Sprintf(format, args...), true})
}

func (n *network) target() Target { return Target{n.machine.ID, n.machine.Hostname} }

// lacks returns those wanted parameters that an interface has otherwise.
func lacks(want, has map[string]string) map[string]string {
	missing := map[string]string{}
	for key, value := range want {
		if !strings.EqualFold(has[key], value) {
			missing[key] = value
		}
	}
	return missing
}

// parameters plans what is to change of a bond or a bridge that is there.
func (n *network) parameters(have *Interface, want map[string]string) {
	if missing := lacks(want, have.Params); len(missing) > 0 {
		n.steps = append(n.steps, ChangeInterface{n.target(), have.Name, missing})
	}
}

// adopt notes a new child of some interfaces, as MAAS does (src/maasserver/models/interface.py):
// their links go, and it is up where it is on a VLAN.
func (n *network) adopt(child Interface) {
	for i := range n.interfaces {
		if slices.Contains(child.Parents, n.interfaces[i].Name) {
			n.interfaces[i].Children = append(slices.Clone(n.interfaces[i].Children), child.Name)
			n.interfaces[i].Links = nil
		}
	}
	if child.VLAN != 0 {
		child.Links = []Link{{Mode: "link_up"}}
	}
	n.interfaces = append(n.interfaces, child)
}

// inUse names the bond or bridge that an interface is in; a VLAN on it is no hindrance.
func (n *network) inUse(i *Interface) string {
	for _, child := range i.Children {
		if c := named(n.interfaces, child); c == nil || c.Type != "vlan" {
			return child
		}
	}
	return ""
}

func (n *network) bond(b Bond) {
	n.declared[b.Name] = b.Params
	members := slices.Clone(b.Interfaces)
	slices.Sort(members)
	if have := named(n.interfaces, b.Name); have != nil {
		parents := slices.Sorted(slices.Values(have.Parents))
		switch {
		case have.Type != "bond":
			n.wrong("%s is a %s interface there, not a bond: rename it in MAAS", b.Name, have.Type)
		case !slices.Equal(parents, members):
			n.wrong("bond %s is made of %s, not of %s: delete it in MAAS, or declare it so", b.Name, join(parents), join(members))
		default:
			n.parameters(have, b.Params)
		}
		return
	}
	vlan, fabric, ids := -1, "", []int{}
	for _, name := range b.Interfaces {
		i := named(n.interfaces, name)
		switch {
		case i == nil:
			n.wrong("has no interface %s for bond %s: it has %s", name, b.Name, n.physical())
			return
		case i.Type != "physical":
			n.wrong("%s is a %s interface, which cannot be in bond %s", name, i.Type, b.Name)
			return
		case len(i.Children) > 0:
			n.wrong("%s is in %s already, and cannot be in bond %s: delete that in MAAS, or declare it so", name, join(i.Children), b.Name)
			return
		case vlan >= 0 && vlan != i.VLAN:
			n.wrong("the interfaces of bond %s (%s) are on different VLANs: put them on one in MAAS", b.Name, join(b.Interfaces))
			return
		}
		vlan, fabric, ids = i.VLAN, i.Fabric, append(ids, i.ID)
	}
	n.steps = append(n.steps, CreateBond{n.target(), b, ids})
	n.adopt(Interface{Name: b.Name, Type: "bond", VLAN: vlan, Fabric: fabric, Parents: members, Params: b.Params})
}

func join(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// physical names the machine's network cards.
func (n *network) physical() string {
	var names []string
	for _, i := range n.interfaces {
		if i.Type == "physical" {
			names = append(names, i.Name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return join(names)
}

// parent finds the interface that a bridge is to be on; nil with a note when there is none.
func (n *network) parent(b Bridge) *Interface {
	switch {
	case b.On.Name != "":
		if i := named(n.interfaces, b.On.Name); i != nil {
			return i
		}
		n.wrong("has no interface %s for bridge %s: it has %s", b.On.Name, b.Name, n.physical())
		return nil
	case b.On == On{}:
		for k := range n.interfaces {
			if n.interfaces[k].ID == n.machine.Boot && n.machine.Boot != 0 {
				return n.top(&n.interfaces[k])
			}
		}
		n.wrong("bridge %s is to be on the interface that it boots from, and MAAS knows none: name one (on: eno1), or commission the machine again", b.Name)
		return nil
	}
	vlan := -1
	if b.On.Subnet != "" {
		subnet := n.subnet(b.On.Subnet, b.Name)
		if subnet == nil {
			return nil
		}
		vlan = subnet.VLAN
	}
	var found []*Interface
	for k := range n.interfaces {
		i := &n.interfaces[k]
		fits := i.VLAN != 0 && i.VLAN == vlan || b.On.Fabric != "" && i.Fabric == b.On.Fabric
		if fits && i.Type == "physical" {
			if top := n.top(i); !slices.Contains(found, top) {
				found = append(found, top)
			}
		}
	}
	if len(found) == 1 {
		return found[0]
	}
	var names []string
	for _, i := range found {
		names = append(names, i.Name)
	}
	n.wrong("bridge %s is to be on %s: there %s: name one (on: eno1)", b.Name, b.On, map[bool]string{true: "is none", false: "are " + join(names)}[len(names) == 0])
	return nil
}

// top is the bond that an interface is in, or else the interface.
func (n *network) top(i *Interface) *Interface {
	for _, child := range i.Children {
		if bond := named(n.interfaces, child); bond != nil && bond.Type == "bond" {
			return bond
		}
	}
	return i
}

// subnet finds a subnet by CIDR or name; nil with a note when it is not clear.
func (n *network) subnet(wanted, bridge string) *Subnet {
	canonical := wanted
	if prefix, err := netip.ParsePrefix(wanted); err == nil {
		canonical = prefix.Masked().String()
	}
	var found []*Subnet
	for k := range n.state.Subnets {
		if s := &n.state.Subnets[k]; s.CIDR == canonical || s.Name == wanted {
			found = append(found, s)
		}
	}
	if len(found) == 1 {
		return found[0]
	}
	n.wrong("bridge %s names subnet %s, which is %s in MAAS: use the CIDR of one", bridge, wanted, map[bool]string{true: "none", false: "several"}[len(found) == 0])
	return nil
}

func (n *network) bridge(b Bridge) {
	on := n.parent(b)
	if on == nil {
		return
	}
	have := named(n.interfaces, b.Name)
	switch {
	case have != nil && have.Type != "bridge":
		n.wrong("%s is a %s interface there, not a bridge: rename it in MAAS", b.Name, have.Type)
		return
	case have != nil && !slices.Contains(have.Parents, on.Name):
		n.wrong("bridge %s is on %s, not on %s: delete it in MAAS, or declare it so", b.Name, join(have.Parents), on.Name)
		return
	case have == nil && on.Type == "bridge":
		n.wrong("%s is a bridge, and %s cannot be on it", on.Name, b.Name)
		return
	case have == nil && n.inUse(on) != "":
		n.wrong("%s is in %s already, and bridge %s cannot be on it: delete that in MAAS, or declare it so", on.Name, n.inUse(on), b.Name)
		return
	}
	vlan := on.VLAN
	if have != nil {
		vlan = have.VLAN
	}
	if mine, its := b.Params["mtu"], n.declared[on.Name]["mtu"]; its != "" && (len(mine) > len(its) || len(mine) == len(its) && mine > its) {
		n.wrong("bridge %s is to have an MTU of %s on %s, which is declared with %s: use that as much", b.Name, mine, on.Name, its)
		return
	}
	link, ok := n.wanted(b, vlan, on.Name)
	if !ok {
		return // neither half: a bridge without its link takes the machine's address away
	}
	if have == nil {
		n.steps = append(n.steps, CreateBridge{n.target(), b.Name, on.Name, b.Params})
		n.adopt(Interface{Name: b.Name, Type: "bridge", VLAN: vlan, Fabric: on.Fabric, Parents: []string{on.Name}})
		have = named(n.interfaces, b.Name)
	} else {
		n.parameters(have, b.Params)
	}
	n.link(have, link)
}

// wanted is how a bridge is to be linked; ok is false, with a note, when that is not clear.
func (n *network) wanted(b Bridge, vlan int, on string) (link Link, ok bool) {
	link = Link{Mode: b.Mode, Address: b.Addresses[n.machine.Hostname]}
	if b.Subnet == "" && (b.Mode == "dhcp" || b.Mode == "link_up") {
		return link, true
	}
	var subnet *Subnet
	if b.Subnet != "" {
		if subnet = n.subnet(b.Subnet, b.Name); subnet == nil {
			return link, false
		}
	} else {
		var all []string
		for k := range n.state.Subnets {
			if s := &n.state.Subnets[k]; s.VLAN == vlan && vlan != 0 {
				subnet, all = s, append(all, s.CIDR)
			}
		}
		if len(all) != 1 {
			n.wrong("bridge %s names no subnet, and MAAS knows %s on the VLAN of %s: use one (subnet: …)", b.Name, cmp.Or(join(all), "none"), on)
			return link, false
		}
	}
	if vlan != 0 && subnet.VLAN != vlan {
		n.wrong("bridge %s is to be on subnet %s, which is on another VLAN than %s: move that in MAAS, or name another", b.Name, subnet.CIDR, on)
		return link, false
	}
	if link.Address != "" {
		if prefix, err := netip.ParsePrefix(subnet.CIDR); err == nil {
			if address, err := netip.ParseAddr(link.Address); err != nil || !prefix.Contains(address) {
				n.wrong("bridge %s is to have %s, which is not in subnet %s", b.Name, link.Address, subnet.CIDR)
				return link, false
			}
		}
	}
	link.Subnet, link.CIDR = subnet.ID, subnet.CIDR
	return link, true
}

// link plans how an interface is linked: links to other subnets stay where they can.
func (n *network) link(have *Interface, want Link) {
	if slices.ContainsFunc(have.Links, want.is) {
		return
	}
	var away []Step
	for _, l := range have.Links {
		switch {
		case l.Mode == "link_up": // MAAS takes those away itself
		case l.Subnet == want.Subnet && l.Subnet != 0, l.Mode == "dhcp" && want.Mode == "dhcp":
			// An interface has one link by DHCP, and one of ours on a subnet.
			away = append(away, Unlink{n.target(), have.Name, l})
		case want.Mode == "link_up":
			n.wrong("%s is to have no address, and has a link to %s (%s): take it away in MAAS", have.Name, cmp.Or(l.CIDR, "its network"), l.Mode)
			return
		}
	}
	n.steps = append(append(n.steps, away...), LinkSubnet{n.target(), have.Name, want})
}

// rounding is by how much a partition or a logical volume may be smaller than what was asked
// for, in bytes: MAAS aligns partitions, and LVM's extents, to 4 MiB.
const rounding = 8 << 20

func (n *network) storage(s Storage) {
	params := map[string]string{}
	number := func(key string, value int64) {
		if value > 0 {
			params[key] = fmt.Sprint(value)
		}
	}
	named := func(key, value string) {
		if value != "" {
			params[key] = value
		}
	}
	device := func(key, name string) bool {
		if name == "" {
			return true
		}
		var names []string
		for _, disk := range n.machine.Disks {
			if disk.Name == name && !disk.Virtual {
				params[key] = fmt.Sprint(disk.ID)
				return true
			}
			if !disk.Virtual {
				names = append(names, disk.Name)
			}
		}
		n.wrong("has no disk %s for its storage: it has %s", name, cmp.Or(join(names), "none"))
		return false
	}
	if !slices.ContainsFunc(n.machine.Disks, func(d Disk) bool { return !d.Virtual }) {
		n.wrong("has no disk for its storage: commission it again, or leave storage out for it")
		return
	}
	if !device("root_device", s.RootDevice) || !device("cache_device", s.CacheDevice) {
		return
	}
	if s.Layout == "bcache" && s.CacheDevice != "" && slices.ContainsFunc(n.machine.Disks, func(d Disk) bool { return d.ID == n.machine.BootDisk && d.Name == s.CacheDevice }) {
		n.wrong("boots from %s, which cannot be its cache", s.CacheDevice)
		return
	}
	number("boot_size", s.BootSize)
	number("root_size", s.RootSize)
	number("lv_size", s.LVSize)
	number("cache_size", s.CacheSize)
	named("vg_name", s.VG)
	named("lv_name", s.LV)
	named("cache_mode", s.CacheMode)
	if s.CacheNoPart {
		params["cache_no_part"] = "true"
	}
	why := s.differs(n.machine)
	if by := byHand(n.machine); why != "" && by != "" && !s.Replace {
		n.wrong("is to have storage layout %s, and has %s, which no layout makes: remove that in MAAS, or set replace: true", s.Layout, by)
		return
	}
	if why != "" {
		set := SetStorage{Target: n.target(), Layout: s.Layout, Params: params, Was: why}
		if s.CacheDevice != "" {
			set.Tag = cacheTag(n.machine, s.CacheDevice)
		}
		n.steps = append(n.steps, set)
	}
}

// cacheFS is what MAAS calls that which is on a cache.
const cacheFS = "bcache-cache"

// Layout recognises the storage layout that a machine has: flat, lvm, bcache, blank, or ""
// for another. MAAS does not say which one was set; it distinguishes them in the same way
// (is_layout in src/maasserver/storage_layouts.py).
func Layout(m Machine) string {
	blank, below := true, map[string]bool{}
	for _, d := range m.Disks {
		blank = blank && !d.Virtual && !d.Partitioned && len(d.Partitions) == 0 && d.Filesystem == ""
		for _, part := range d.Partitions {
			below[part.Filesystem] = true
			if part.Mount == "/" && !d.Virtual {
				return "flat"
			}
		}
	}
	switch root := rootVolume(m); {
	case blank:
		return "blank"
	case root == nil:
		return ""
	case strings.HasPrefix(root.Name, "bcache") && below["bcache-backing"]:
		return "bcache"
	case strings.Contains(root.Name, "-") && below["lvm-pv"]: // GROUP-VOLUME; a RAID is md0
		return "lvm"
	}
	return ""
}

// byHand names something in a machine's storage that no layout makes; "" when there is none.
func byHand(m Machine) string {
	for _, d := range m.Disks {
		switch {
		case d.Virtual && (d.Mount != "/" || Layout(m) == "" || d.Partitioned || len(d.Partitions) > 0), d.Filesystem != "" && !d.Virtual && d.Filesystem != cacheFS:
			return d.Name
		}
		for n, part := range d.Partitions {
			own := slices.Contains([]string{"/", "/boot", "/boot/efi"}, part.Mount) || slices.Contains([]string{"lvm-pv", "bcache-backing", cacheFS}, part.Filesystem)
			if !own {
				return fmt.Sprintf("partition %d of %s (%s)", n+1, d.Name, cmp.Or(part.Mount, part.Filesystem, "not formatted"))
			}
		}
	}
	return ""
}

// rootVolume is the virtual disk that a machine's root is on.
func rootVolume(m Machine) *Disk {
	for i := range m.Disks {
		if m.Disks[i].Virtual && m.Disks[i].Mount == "/" {
			return &m.Disks[i]
		}
	}
	return nil
}

// differs reports in what a machine's storage is not as it is wanted; "" when it is.
func (s Storage) differs(m Machine) string {
	if has := Layout(m); has != s.Layout {
		return "it has " + cmp.Or(has, "another")
	}
	if s.Layout == "blank" {
		return ""
	}
	off := func(want, has int64) bool { return want > 0 && (want-has > rounding || has-want > rounding) }
	rooted := false
	for _, d := range m.Disks {
		if d.Filesystem == cacheFS && (s.CacheDevice != "" && d.Name != s.CacheDevice || s.CacheSize > 0) {
			return "its cache is all of " + d.Name
		}
		for _, part := range d.Partitions {
			// Behind the first one, LVM may have more of them (on MBR).
			root := !rooted && (part.Mount == "/" || part.Filesystem == "lvm-pv" || part.Filesystem == "bcache-backing")
			rooted = rooted || root
			switch {
			case root && s.RootDevice != "" && d.Name != s.RootDevice:
				return "its root is on " + d.Name
			case root && off(s.RootSize, part.Size):
				return "its root is " + gib(part.Size)
			case part.Mount == "/boot" && off(s.BootSize, part.Size):
				return "its /boot is " + gib(part.Size)
			case part.Filesystem == cacheFS && (s.CacheNoPart || s.CacheDevice != "" && d.Name != s.CacheDevice || off(s.CacheSize, part.Size)):
				return "its cache is " + gib(part.Size) + " of " + d.Name
			}
		}
	}
	if s.BootSize > 0 && !slices.ContainsFunc(m.Disks, func(d Disk) bool {
		return slices.ContainsFunc(d.Partitions, func(p Partition) bool { return p.Mount == "/boot" })
	}) {
		return "it has no /boot"
	}
	root := rootVolume(m)
	switch {
	case s.Layout == "lvm" && (s.VG != "" && !strings.HasPrefix(root.Name, s.VG+"-") || s.LV != "" && !strings.HasSuffix(root.Name, "-"+s.LV)):
		return "its root is on " + root.Name
	case s.Layout == "lvm" && off(s.LVSize, root.Size):
		return "its root is " + gib(root.Size)
	case s.CacheMode != "" && m.CacheMode != s.CacheMode:
		return "its cache is " + m.CacheMode
	}
	return ""
}

// gib shows a size in GiB.
func gib(n int64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }

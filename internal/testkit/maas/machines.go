package maastest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Machine is a machine.
type Machine struct {
	SystemID, Hostname, Status string
	Pool, Zone, Architecture   string // default, default and amd64/generic when left out
	Owner, Series              string
	Interfaces                 []Interface // the first is the one that it boots from
	Disks                      []Disk      // the first is the one that it boots from
	CacheMode                  string      // of its bcache
	UserData                   string      // that it was deployed with, as it came
}

// Interface is a network interface.
type Interface struct {
	ID      int
	Name    string
	Type    string // physical when left out
	VLAN    int    // 0: disconnected
	Parents []string
	Links   []Link
	Params  map[string]any
}

// Link is how an interface comes by an address on a subnet.
type Link struct {
	ID      int
	Mode    string // auto, dhcp, static or link_up
	Subnet  int    // 0: none
	Address string
}

// Disk is a block device.
type Disk struct {
	ID         int
	Name       string
	Virtual    bool
	Size       int64
	Tags       []string
	Filesystem string
	Mount      string
	Partitions []Partition
}

// Partition is a part of a disk.
type Partition struct {
	Size              int64
	Filesystem, Mount string
}

// Subnet is a subnet. It is on a VLAN, and that on a fabric of the same number.
type Subnet struct {
	ID   int
	Name string // the CIDR when left out
	CIDR string
	VLAN int
}

// Tag is what a tag has beside its machines.
type Tag struct{ Comment, Definition, KernelOpts string }

// user is whose keys they all are.
const user = "admin"

// series are what can be deployed.
var series = []string{"jammy", "noble"}

// statuses are MAAS's numbers (src/maascommon/enums/node.py).
var statuses = []string{
	"New", "Commissioning", "Failed commissioning", "Missing", "Ready", "Reserved", "Deployed", "Retired", "Broken", "Deploying", "Allocated",
	"Failed deployment", "Releasing", "Releasing failed", "Disk erasing", "Failed disk erasing", "Rescue mode", "Entering rescue mode",
	"Failed to enter rescue mode", "Exiting rescue mode", "Failed to exit rescue mode", "Testing", "Failed testing",
}

// Finish ends what a machine is in the middle of: commissioning, which resets its network and
// storage, or a deployment.
func (r *Region) Finish(hostname string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.Machines {
		m := &r.Machines[i]
		switch {
		case m.Hostname != hostname:
		case m.Status == "Commissioning":
			m.Status = "Ready"
			r.reset(m)
		case m.Status == "Deploying":
			m.Status = "Deployed"
		}
	}
}

// reset makes of a machine what it is after it was commissioned: its own network cards, with
// an address where it boots from, and the flat layout (set_initial_networking_configuration
// in src/maasserver/models/node.py).
func (r *Region) reset(m *Machine) {
	m.Interfaces = slices.DeleteFunc(m.Interfaces, func(i Interface) bool { return i.kind() != "physical" })
	for k := range m.Interfaces {
		i := &m.Interfaces[k]
		i.Links = nil
		at := slices.IndexFunc(r.Subnets, func(s Subnet) bool { return s.VLAN == i.VLAN && i.VLAN != 0 })
		if k == 0 && at >= 0 {
			i.Links = []Link{{ID: r.next(), Mode: "auto", Subnet: r.Subnets[at].ID}}
		} else {
			r.ensureLinkUp(i)
		}
	}
	if len(m.Disks) > 0 {
		_ = r.layout(m, "flat", func(string) string { return "" })
	}
}

// next returns a new id.
func (r *Region) next() int {
	r.IDs++
	return 100 + r.IDs
}

func (i Interface) kind() string { return cmp.Or(i.Type, "physical") }

func (r *Region) ensureLinkUp(i *Interface) {
	if len(i.Links) == 0 && i.VLAN != 0 {
		i.Links = []Link{{ID: r.next(), Mode: "link_up"}}
	}
}

func (m *Machine) named(name string) *Interface {
	for k := range m.Interfaces {
		if m.Interfaces[k].Name == name {
			return &m.Interfaces[k]
		}
	}
	return nil
}

func (m *Machine) children(name string) []Interface {
	var all []Interface
	for _, i := range m.Interfaces {
		if slices.Contains(i.Parents, name) {
			all = append(all, i)
		}
	}
	return all
}

// ---- what is shown ----

func (r *Region) machine(m *Machine) any {
	null := any(nil)
	pool, zone := cmp.Or(m.Pool, "default"), cmp.Or(m.Zone, "default")
	interfaces, addresses := []any{}, []string{}
	for k := range m.Interfaces {
		interfaces = append(interfaces, r.iface(m, &m.Interfaces[k]))
		for _, l := range m.Interfaces[k].Links {
			if l.Address != "" {
				addresses = append(addresses, l.Address)
			}
		}
	}
	physical, virtual, all := []any{}, []any{}, []any{}
	storage := 0.0
	for k := range m.Disks {
		d := m.disk(&m.Disks[k])
		if all = append(all, d); m.Disks[k].Virtual {
			virtual = append(virtual, d)
		} else {
			physical = append(physical, d)
			storage += float64(m.Disks[k].Size) / 1e6
		}
	}
	one := map[string]any{
		"system_id": m.SystemID, "hostname": m.Hostname, "fqdn": m.Hostname + ".maas", "description": "",
		"status": slices.Index(statuses, m.Status), "status_name": m.Status, "status_message": null, "status_action": null,
		"tag_names": r.tagsOf(m.SystemID), "cpu_count": 4, "cpu_speed": 2400, "memory": 8192, "storage": storage, "swap_size": null,
		"architecture": cmp.Or(m.Architecture, "amd64/generic"), "min_hwe_kernel": "", "hwe_kernel": null, "bios_boot_method": "uefi",
		"pool":   map[string]any{"id": 0, "name": pool, "description": "", "resource_uri": root + "resourcepool/0/"},
		"zone":   map[string]any{"id": 1, "name": zone, "description": "", "resource_uri": root + "zones/" + zone + "/"},
		"domain": map[string]any{"id": 0, "name": "maas", "authoritative": true, "ttl": null, "is_default": true, "resource_record_count": 0, "resource_uri": root + "domains/0/"},
		"owner":  m.Owner, "owner_data": map[string]any{}, "workload_annotations": map[string]any{}, "hardware_info": map[string]any{},
		"osystem": map[bool]string{true: "ubuntu"}[m.Series != ""], "distro_series": m.Series,
		"power_type": "manual", "power_state": map[bool]string{true: "on", false: "off"}[m.Status == "Deployed"],
		"ip_addresses": addresses, "interface_set": interfaces, "boot_interface": null,
		"blockdevice_set": all, "physicalblockdevice_set": physical, "virtualblockdevice_set": virtual, "iscsiblockdevice_set": []any{}, "boot_disk": null,
		"volume_groups": []any{}, "raids": []any{}, "bcaches": []any{}, "cache_sets": []any{}, "special_filesystems": []any{}, "numanode_set": []any{},
		"default_gateways": map[string]any{"ipv4": map[string]any{"gateway_ip": null, "link_id": null}, "ipv6": map[string]any{"gateway_ip": null, "link_id": null}},
		"pod":              null, "netboot": m.Status != "Deployed", "locked": false, "node_type": 0, "node_type_name": "Machine", "address_ttl": null,
		"hardware_uuid": null, "disable_ipv4": false, "enable_hw_sync": false, "next_sync": null, "last_sync": null, "sync_interval": null,
		"current_commissioning_result_id": 1, "current_testing_result_id": null, "current_installation_result_id": null,
		"resource_uri": root + "machines/" + m.SystemID + "/",
	}
	for _, test := range []string{"commissioning", "testing", "cpu_test", "memory_test", "storage_test", "network_test", "interface_test", "other_test"} {
		one[test+"_status"], one[test+"_status_name"] = 2, "Passed"
	}
	for _, part := range []string{
		"system_vendor", "system_product", "system_version", "system_serial", "cpu_model", "mainboard_vendor", "mainboard_product",
		"mainboard_firmware_version", "mainboard_firmware_date",
	} {
		one["hardware_info"].(map[string]any)[part] = "Unknown"
	}
	if len(interfaces) > 0 {
		one["boot_interface"] = interfaces[0]
	}
	if len(physical) > 0 {
		one["boot_disk"] = physical[0]
	}
	if m.CacheMode != "" {
		one["bcaches"] = []any{map[string]any{"system_id": m.SystemID, "id": 1, "__incomplete__": true}}
	}
	return one
}

func (m *Machine) uri() string { return root + "nodes/" + m.SystemID + "/" }

func (m *Machine) disk(d *Disk) map[string]any {
	kind, table, used := "physical", any(nil), "Unused"
	if d.Virtual {
		kind = "virtual"
	}
	partitions := []any{}
	for n, p := range d.Partitions {
		partitions = append(partitions, map[string]any{
			"system_id": m.SystemID, "device_id": d.ID, "id": d.ID*100 + n, "uuid": "u", "path": fmt.Sprintf("/dev/disk/by-dname/%s-part%d", d.Name, n+1),
			"type": "partition", "size": p.Size, "bootable": n == 0, "filesystem": filesystem(p.Filesystem, p.Mount), "used_for": p.Filesystem, "tags": []string{},
			"resource_uri": fmt.Sprintf("%sblockdevices/%d/partition/%d", m.uri(), d.ID, d.ID*100+n),
		})
	}
	if len(partitions) > 0 {
		table, used = "GPT", fmt.Sprintf("GPT partitioned with %d partitions", len(partitions))
	}
	return map[string]any{
		"system_id": m.SystemID, "id": d.ID, "name": d.Name, "type": kind, "path": "/dev/disk/by-dname/" + d.Name, "size": d.Size, "block_size": 512,
		"available_size": 0, "used_size": d.Size, "used_for": used, "tags": append([]string{}, d.Tags...), "filesystem": filesystem(d.Filesystem, d.Mount),
		"partition_table_type": table, "partitions": partitions, "model": nil, "serial": nil, "id_path": nil, "uuid": nil, "firmware_version": nil,
		"storage_pool": nil, "numa_node": nil, "resource_uri": fmt.Sprintf("%sblockdevices/%d/", m.uri(), d.ID),
	}
}

func filesystem(kind, mount string) any {
	if kind == "" {
		return nil
	}
	where := any(nil)
	if mount != "" {
		where = mount
	}
	return map[string]any{"fstype": kind, "label": "", "uuid": "u", "mount_point": where, "mount_options": nil}
}

func vlan(id int) any {
	if id == 0 {
		return nil
	}
	return map[string]any{
		"id": id, "vid": 0, "name": "untagged", "fabric": fmt.Sprintf("fabric-%d", id), "fabric_id": id, "mtu": 1500, "dhcp_on": true, "external_dhcp": nil,
		"relay_vlan": nil, "primary_rack": nil, "secondary_rack": nil, "space": "undefined", "resource_uri": fmt.Sprintf("%svlans/%d/", root, id),
	}
}

func (s Subnet) shown() any {
	return map[string]any{
		"id": s.ID, "name": cmp.Or(s.Name, s.CIDR), "cidr": s.CIDR, "vlan": vlan(s.VLAN), "gateway_ip": nil, "dns_servers": []string{}, "description": "",
		"rdns_mode": 2, "allow_dns": true, "allow_proxy": true, "active_discovery": false, "managed": true, "space": "undefined",
		"disabled_boot_architectures": []string{}, "resource_uri": fmt.Sprintf("%ssubnets/%d/", root, s.ID),
	}
}

func (r *Region) subnet(id int) *Subnet {
	for k := range r.Subnets {
		if r.Subnets[k].ID == id {
			return &r.Subnets[k]
		}
	}
	return nil
}

func (r *Region) iface(m *Machine, i *Interface) any {
	links, children := []any{}, []string{}
	for _, l := range i.Links {
		one := map[string]any{"id": l.ID, "mode": l.Mode}
		if s := r.subnet(l.Subnet); s != nil {
			one["subnet"] = s.shown()
		}
		if l.Address != "" {
			one["ip_address"] = l.Address
		}
		links = append(links, one)
	}
	for _, c := range m.children(i.Name) {
		children = append(children, c.Name)
	}
	slices.Sort(children)
	params := any(i.Params)
	if len(i.Params) == 0 {
		params = "" // so it is, in older records
	}
	return map[string]any{
		"system_id": m.SystemID, "id": i.ID, "name": i.Name, "type": i.kind(), "mac_address": fmt.Sprintf("52:54:00:00:00:%02x", i.ID%256),
		"vlan": vlan(i.VLAN), "parents": append([]string{}, slices.Sorted(slices.Values(i.Parents))...), "children": children, "links": links, "params": params,
		"tags": []string{}, "enabled": true, "discovered": []any{}, "effective_mtu": 1500, "vendor": nil, "product": nil, "firmware_version": nil,
		"link_connected": true, "interface_speed": 0, "link_speed": 0, "numa_node": 0, "sriov_max_vf": 0,
		"resource_uri": fmt.Sprintf("%sinterfaces/%d/", m.uri(), i.ID),
	}
}

// ---- what is asked for ----

// invalid is a refusal of a form: fields with what is wrong with them.
type invalid map[string][]string

func (i invalid) Error() string { return fmt.Sprint(map[string][]string(i)) }

// conflict is a refusal for the state that a machine is in.
type conflict string

func (c conflict) Error() string { return string(c) }

// bad is any other refusal of a request.
type bad string

func (b bad) Error() string { return string(b) }

// answered writes what came of a request.
func answered(w http.ResponseWriter, value func() any, err error) {
	switch err := err.(type) {
	case nil:
		answer(w, value())
	case invalid:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(err)
	case conflict:
		refuse(w, http.StatusConflict, err.Error())
	default:
		refuse(w, http.StatusBadRequest, err.Error())
	}
}

// find returns a machine by its id.
func (r *Region) find(id string) *Machine {
	for k := range r.Machines {
		if r.Machines[k].SystemID == id {
			return &r.Machines[k]
		}
	}
	return nil
}

// ofMachine answers machines/{id}/.
func (r *Region) ofMachine(w http.ResponseWriter, req *http.Request, id, op string) {
	m := r.find(id)
	if m == nil {
		refuse(w, http.StatusNotFound, "No Machine matches the given query.")
		return
	}
	shown := func() any { return r.machine(m) }
	switch request := req.Method + " " + op; request {
	case "GET ":
		answer(w, shown())
	case "POST commission":
		answered(w, shown, r.commission(m))
	case "POST deploy":
		answered(w, shown, r.deploy(m, req.Form.Get("distro_series"), req.Form.Get("user_data")))
	case "POST set_storage_layout":
		err := error(conflict("Cannot change the storage layout on a machine that is not Ready."))
		if m.Status == "Ready" {
			err = r.layout(m, req.Form.Get("storage_layout"), req.Form.Get)
		}
		answered(w, shown, err)
	default:
		refuse(w, http.StatusBadRequest, "Unrecognised signature: method="+req.Method+" op="+op)
	}
}

func (r *Region) commission(m *Machine) error {
	if !slices.Contains([]string{"New", "Failed commissioning", "Ready", "Broken"}, m.Status) {
		return invalid{"__all__": {"Commission is not available because of the current state of the node."}}
	}
	m.Status = "Commissioning"
	return nil
}

func (r *Region) deploy(m *Machine, wanted, userData string) error {
	if m.Status == "Ready" { // it is allocated first
		m.Owner = user
	} else if m.Status != "Allocated" {
		return conflict(fmt.Sprintf("Can't deploy a machine that is in the '%s' state", m.Status))
	}
	name := strings.TrimPrefix(cmp.Or(wanted, "noble"), "ubuntu/")
	if !slices.Contains(series, name) {
		return invalid{"distro_series": {fmt.Sprintf("'%s' is not a valid distro_series.  It should be one of: '---', '%s'.", wanted, strings.Join(series, "', '"))}}
	}
	m.Status, m.Series, m.UserData = "Deploying", name, userData
	return nil
}

// ofNode answers nodes/{id}/….
func (r *Region) ofNode(w http.ResponseWriter, req *http.Request, parts []string, op string) {
	m := r.find(parts[0])
	if m == nil {
		refuse(w, http.StatusNotFound, "No Machine matches the given query.")
		return
	}
	if len(parts) == 2 && parts[1] == "bcaches" && req.Method == http.MethodGet {
		all := []any{}
		if m.CacheMode != "" {
			disk := m.disk(&m.Disks[0])
			all = append(all, map[string]any{
				"system_id": m.SystemID, "id": 1, "uuid": "u", "name": "bcache0", "size": 1, "human_size": "1 B", "cache_mode": m.CacheMode,
				"cache_set": map[string]any{"id": 1, "system_id": m.SystemID, "name": "cache0", "cache_device": disk}, "backing_device": disk, "virtual_device": disk,
				"resource_uri": m.uri() + "bcache/1/",
			})
		}
		answer(w, all)
		return
	}
	if len(parts) == 3 && parts[1] == "blockdevices" && req.Method == http.MethodPost {
		r.tagDisk(w, req, m, parts[2], op)
		return
	}
	if len(parts) < 2 || parts[1] != "interfaces" || len(parts) > 3 {
		refuse(w, http.StatusNotFound, "Not Found")
		return
	}
	if len(parts) == 2 {
		switch request := req.Method + " " + op; request {
		case "GET ":
			all := []any{}
			for k := range m.Interfaces {
				all = append(all, r.iface(m, &m.Interfaces[k]))
			}
			answer(w, all)
		case "POST create_bond", "POST create_bridge":
			made, err := r.create(m, strings.TrimPrefix(op, "create_"), req)
			answered(w, func() any { return r.iface(m, made) }, err)
		default:
			refuse(w, http.StatusBadRequest, "Unrecognised signature: method="+req.Method+" op="+op)
		}
		return
	}
	at := slices.IndexFunc(m.Interfaces, func(i Interface) bool { return strconv.Itoa(i.ID) == parts[2] })
	if at < 0 {
		refuse(w, http.StatusNotFound, "No Interface matches the given query.")
		return
	}
	i := &m.Interfaces[at]
	shown := func() any { return r.iface(m, i) }
	switch request := req.Method + " " + op; request {
	case "GET ":
		answer(w, shown())
	case "PUT ":
		answered(w, shown, r.change(m, i, req))
	case "POST link_subnet":
		answered(w, shown, r.link(m, i, req))
	case "POST unlink_subnet":
		answered(w, shown, r.unlink(m, i, req.Form.Get("id")))
	default:
		refuse(w, http.StatusBadRequest, "Unrecognised signature: method="+req.Method+" op="+op)
	}
}

// tagDisk returns a disk a tag, or takes it away (src/maasserver/api/blockdevices.py).
func (r *Region) tagDisk(w http.ResponseWriter, req *http.Request, m *Machine, id, op string) {
	at := slices.IndexFunc(m.Disks, func(d Disk) bool { return strconv.Itoa(d.ID) == id })
	tag := req.PostForm.Get("tag")
	switch {
	case at < 0:
		refuse(w, http.StatusNotFound, "No BlockDevice matches the given query.")
	case op != "add_tag" && op != "remove_tag":
		refuse(w, http.StatusBadRequest, "Unrecognised signature: method="+req.Method+" op="+op)
	case m.Status != "Ready":
		refuse(w, http.StatusConflict, "Cannot update block device because the machine is not Ready.")
	case tag == "":
		refuse(w, http.StatusBadRequest, "No provided tag!")
	default:
		d := &m.Disks[at]
		tags := slices.DeleteFunc(slices.Clone(d.Tags), func(has string) bool { return has == tag })
		if op == "add_tag" {
			tags = append(tags, tag)
		}
		d.Tags = tags
		answer(w, m.disk(d))
	}
}

// editable refuses where interfaces cannot be changed (ALLOWED_STATES in
// src/maasserver/api/interfaces.py).
func (m *Machine) editable(what string) error {
	if slices.Contains([]string{"New", "Ready", "Failed testing", "Allocated", "Broken"}, m.Status) {
		return nil
	}
	return conflict("Cannot " + what + " interface because the machine is not New, Ready, Allocated, or Broken.")
}

// Parameters of children with what they are when no one says (src/maasserver/forms/interface.py).
var defaults = map[string]map[string]any{
	"bond": {
		"bond_mode": "active-backup", "bond_miimon": 100, "bond_downdelay": 0, "bond_updelay": 0, "bond_num_grat_arp": 1,
		"bond_lacp_rate": "fast", "bond_xmit_hash_policy": "layer2",
	},
	"bridge": {"bridge_type": "standard", "bridge_stp": false, "bridge_fd": 15},
}

var choices = map[string][]string{
	"bond_mode":      {"balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"},
	"bond_lacp_rate": {"fast", "slow"}, "bond_xmit_hash_policy": {"layer2", "layer2+3", "layer3+4", "encap2+3", "encap3+4"},
	"bridge_type": {"standard", "ovs"},
}

// set sets parameters from a form.
func (m *Machine) set(i *Interface, req *http.Request) error {
	params := map[string]any{}
	for key := range req.Form {
		value := req.Form.Get(key)
		switch known := defaults[i.kind()][key]; {
		case choices[key] != nil && !slices.Contains(choices[key], value):
			return invalid{key: {fmt.Sprintf("'%s' is not a valid %s.  It should be one of: '%s'.", value, key, strings.Join(choices[key], "', '"))}}
		case key == "mtu":
			n, err := strconv.Atoi(value)
			if err != nil || n < 552 {
				return invalid{"mtu": {"Ensure this value is greater than or equal to 552."}}
			}
			params[key] = n
		case known == nil:
		default:
			params[key] = value
			if b, err := strconv.ParseBool(value); err == nil && key == "bridge_stp" {
				params[key] = b
			} else if n, err := strconv.Atoi(value); err == nil {
				params[key] = n
			}
		}
	}
	if i.Params == nil {
		i.Params = map[string]any{}
	}
	for key, value := range params {
		i.Params[key] = value
	}
	if mtu, ok := whole(params["mtu"]); ok {
		m.mtu(i, mtu)
	}
	return nil
}

// whole reads a number that may have been through JSON.
func whole(v any) (int, bool) {
	switch v := v.(type) {
	case int:
		return v, true
	case float64:
		return int(v), true
	}
	return 0, false
}

// mtu keeps parents at least, and children at most, as large (interface_mtu_params_update in
// src/maasserver/models/signals/interfaces.py).
func (m *Machine) mtu(i *Interface, mtu int) {
	for k := range m.Interfaces {
		other := &m.Interfaces[k]
		has, ok := whole(other.Params["mtu"])
		switch {
		case slices.Contains(i.Parents, other.Name) && (!ok || has < mtu):
			if other.Params == nil {
				other.Params = map[string]any{}
			}
			other.Params["mtu"] = mtu
			m.mtu(other, mtu)
		case slices.Contains(other.Parents, i.Name) && ok && has > mtu:
			other.Params["mtu"] = mtu
			m.mtu(other, mtu)
		}
	}
}

// create makes a bond or a bridge.
func (r *Region) create(m *Machine, kind string, req *http.Request) (*Interface, error) {
	if err := m.editable("create " + kind); err != nil {
		return nil, err
	}
	field := map[string]string{"bond": "parents", "bridge": "parent"}[kind]
	i := Interface{ID: r.next(), Name: req.Form.Get("name"), Type: kind, Params: map[string]any{}}
	switch {
	case i.Name == "" || len(i.Name) > 15:
		return nil, invalid{"name": {"Ensure this value has at most 15 characters (it has " + strconv.Itoa(len(i.Name)) + ")."}}
	case m.named(i.Name) != nil:
		return nil, invalid{"name": {fmt.Sprintf("Node %s already has an interface named '%s'.", m.Hostname, i.Name)}}
	}
	vlans := map[int]bool{}
	for _, id := range slices.Concat(req.Form["parents"], req.Form["parent"]) {
		at := slices.IndexFunc(m.Interfaces, func(i Interface) bool { return strconv.Itoa(i.ID) == id })
		if at < 0 {
			return nil, invalid{field: {fmt.Sprintf("Select a valid choice. %s is not one of the available choices.", id)}}
		}
		parent := m.Interfaces[at]
		if kind == "bond" && parent.kind() != "physical" {
			return nil, invalid{field: {"Only physical interfaces can be bonded."}}
		}
		if kind == "bridge" && parent.kind() == "bridge" {
			return nil, invalid{field: {"A bridge interface can't have another bridge interface as parent."}}
		}
		for _, child := range m.children(parent.Name) {
			if kind == "bridge" && child.kind() != "vlan" {
				return nil, invalid{field: {"A bridge interface can't have a parent that is already in a bond or a bridge."}}
			}
			if kind == "bond" {
				return nil, invalid{field: {fmt.Sprintf("Interfaces already in-use: %s.", parent.Name)}}
			}
		}
		if len(i.Parents) == 0 {
			i.VLAN = parent.VLAN
		}
		vlans[parent.VLAN] = true
		i.Parents = append(i.Parents, parent.Name)
	}
	switch {
	case len(i.Parents) == 0:
		return nil, invalid{field: {fmt.Sprintf("A %s interface must have one or more parents.", kind)}}
	case kind == "bond" && len(vlans) > 1:
		return nil, invalid{field: {"All parents must belong to the same VLAN."}}
	}
	for key, value := range defaults[kind] {
		i.Params[key] = value
	}
	if err := m.set(&i, req); err != nil {
		return nil, err
	}
	// The one who is in something has no address of its own (_update_parents in
	// src/maasserver/models/interface.py).
	for _, name := range i.Parents {
		m.named(name).Links = nil
	}
	r.ensureLinkUp(&i)
	m.Interfaces = append(m.Interfaces, i)
	return &m.Interfaces[len(m.Interfaces)-1], nil
}

func (r *Region) change(m *Machine, i *Interface, req *http.Request) error {
	if err := m.editable("update"); err != nil {
		return err
	}
	return m.set(i, req)
}

// link answers link_subnet (src/maasserver/forms/interface_link.py).
func (r *Region) link(m *Machine, i *Interface, req *http.Request) error {
	if err := m.editable("link subnet"); err != nil {
		return err
	}
	l := Link{ID: r.next(), Mode: strings.ToLower(req.Form.Get("mode")), Address: req.Form.Get("ip_address")}
	var subnet *Subnet
	if id := req.Form.Get("subnet"); id != "" {
		n, _ := strconv.Atoi(id)
		if subnet = r.subnet(n); subnet == nil || i.VLAN != 0 && subnet.VLAN != i.VLAN {
			return invalid{"subnet": {"Select a valid choice. That choice is not one of the available choices."}}
		}
		l.Subnet = n
	}
	if !slices.Contains([]string{"auto", "dhcp", "static", "link_up"}, l.Mode) {
		return invalid{"mode": {fmt.Sprintf("'%s' is not a valid mode.  It should be one of: 'AUTO', 'DHCP', 'STATIC', 'LINK_UP'.", req.Form.Get("mode"))}}
	}
	for _, child := range m.children(i.Name) {
		if child.kind() == "bond" {
			return invalid{"bond": {fmt.Sprintf("Cannot link interface(%s) when interface is in a bond(%s).", i.Name, child.Name)}}
		}
	}
	active := slices.ContainsFunc(i.Links, func(l Link) bool { return l.Mode != "link_up" })
	switch {
	case subnet == nil && (l.Mode == "auto" || l.Mode == "static"):
		return invalid{"subnet": {"This field is required."}}
	case l.Mode == "dhcp" && slices.ContainsFunc(i.Links, func(l Link) bool { return l.Mode == "dhcp" }):
		return invalid{"mode": {"Interface is already set to DHCP."}}
	case l.Mode == "link_up" && active:
		return invalid{"mode": {"Cannot configure interface to link up (with no IP address) while other links are already configured. Specify force=True to override this behavior and delete all links."}}
	}
	if l.Mode != "static" {
		l.Address = ""
	} else if err := r.address(subnet, &l); err != nil {
		return err
	}
	if i.VLAN == 0 && subnet != nil {
		i.VLAN = subnet.VLAN
		for _, name := range i.Parents {
			m.named(name).VLAN = i.VLAN
		}
	}
	i.Links = slices.DeleteFunc(slices.Clone(i.Links), func(has Link) bool {
		return has.Mode == "link_up" || l.Mode == "link_up" || has.Mode == "dhcp"
	})
	i.Links = append(i.Links, l)
	return nil
}

// address finds a static address, or checks the one that is wanted.
func (r *Region) address(subnet *Subnet, l *Link) error {
	taken := map[string]bool{}
	for _, m := range r.Machines {
		for _, i := range m.Interfaces {
			for _, l := range i.Links {
				taken[l.Address] = true
			}
		}
	}
	prefix := netip.MustParsePrefix(subnet.CIDR)
	if l.Address == "" {
		for at := prefix.Addr().Next(); prefix.Contains(at); at = at.Next() {
			if !taken[at.String()] {
				l.Address = at.String()
				return nil
			}
		}
	}
	at, err := netip.ParseAddr(l.Address)
	switch {
	case err != nil || !prefix.Contains(at):
		return invalid{"ip_address": {fmt.Sprintf("IP address is not in the given subnet '%s'.", subnet.CIDR)}}
	case taken[l.Address]:
		return bad("IP address is already in use.")
	}
	return nil
}

func (r *Region) unlink(m *Machine, i *Interface, id string) error {
	if err := m.editable("unlink subnet"); err != nil {
		return err
	}
	at := slices.IndexFunc(i.Links, func(l Link) bool { return strconv.Itoa(l.ID) == id })
	if at < 0 {
		return invalid{"id": {fmt.Sprintf("'%s' is not a valid id.", id)}}
	}
	i.Links = slices.Delete(slices.Clone(i.Links), at, at+1)
	r.ensureLinkUp(i)
	return nil
}

const (
	mib = 1 << 20
	// efi is MAAS's partition for it, and the least that /boot may have; minRoot what root may.
	efi, minRoot = 512 * mib, 3 << 30
	// align is what MAAS aligns partitions, and LVM its extents, to.
	align = 4 * mib
)

// layout sets a storage layout (src/maasserver/storage_layouts.py).
func (r *Region) layout(m *Machine, name string, param func(string) string) error {
	if !slices.Contains([]string{"bcache", "blank", "flat", "lvm"}, name) {
		return invalid{"storage_layout": {fmt.Sprintf("'%s' is not a valid storage_layout.  It should be one of: 'bcache', 'blank', 'custom', 'flat', 'lvm', 'vmfs6', 'vmfs7'.", name)}}
	}
	var disks []Disk
	for _, d := range m.Disks {
		if !d.Virtual {
			disks = append(disks, Disk{ID: d.ID, Name: d.Name, Size: d.Size, Tags: d.Tags})
		}
	}
	if len(disks) == 0 {
		return bad("Machine is missing a boot disk; no storage layout can be applied.")
	}
	size := func(key string) int64 { n, _ := strconv.ParseInt(param(key), 10, 64); return n }
	disk := func(key string, first int) (*Disk, error) {
		for k := first; k < len(disks); k++ {
			if strconv.Itoa(disks[k].ID) == param(key) {
				return &disks[k], nil
			}
		}
		return nil, invalid{key: {fmt.Sprintf("'%s' is not a valid %s.", param(key), key)}}
	}
	boot, rootDisk, bootSize := &disks[0], &disks[0], size("boot_size")
	if param("root_device") != "" {
		var err error
		if rootDisk, err = disk("root_device", 0); err != nil {
			return err
		}
	}
	for key, least := range map[string]int64{"boot_size": efi, "root_size": minRoot} {
		switch n, most := size(key), boot.Size-efi-map[string]int64{"boot_size": minRoot, "root_size": efi}[key]; {
		case param(key) != "" && n < least:
			return invalid{key: {fmt.Sprintf("Size is too small. Minimum size is %d.", least)}}
		case param(key) != "" && n > most:
			return invalid{key: {fmt.Sprintf("Size is too large. Maximum size is %d.", most)}}
		}
	}
	m.CacheMode = ""
	if name == "blank" {
		m.Disks = disks
		return nil
	}
	if name == "bcache" && bootSize == 0 {
		bootSize = 1 << 30
	}
	add := func(d *Disk, n int64, fs, mount string) int64 {
		free := d.Size - align
		for _, p := range d.Partitions {
			free -= p.Size
		}
		if n == 0 || n > free {
			n = free
		}
		n -= n % align
		d.Partitions = append(d.Partitions, Partition{n, fs, mount})
		return n
	}
	add(boot, efi, "fat32", "/boot/efi")
	if bootSize > 0 {
		add(boot, bootSize, "ext4", "/boot")
	}
	switch name {
	case "flat":
		add(rootDisk, size("root_size"), "ext4", "/")
	case "lvm":
		has := add(rootDisk, size("root_size"), "lvm-pv", "") - align
		lv := size("lv_size")
		if lv > has || lv > 0 && lv < minRoot {
			return invalid{"lv_size": {"Size is too large, or too small."}}
		}
		if lv == 0 {
			lv = has
		}
		disks = append(disks, Disk{
			ID: r.next(), Name: cmp.Or(param("vg_name"), "vgroot") + "-" + cmp.Or(param("lv_name"), "lvroot"), Virtual: true, Size: lv - lv%align,
			Filesystem: "ext4", Mount: "/",
		})
	case "bcache":
		// What is asked for is checked, and then not used: get_cache_device compares a number
		// with the form's text (3.5 to 3.8).
		if param("cache_device") != "" {
			if _, err := disk("cache_device", 1); err != nil {
				return err
			}
		}
		var cache *Disk
		for k := range disks[1:] {
			if d := &disks[k+1]; slices.Contains(d.Tags, "ssd") && (cache == nil || d.Size < cache.Size) {
				cache = d
			}
		}
		switch n := size("cache_size"); {
		case param("cache_size") != "" && param("cache_no_part") == "true":
			const both = "Cannot use cache_size and cache_no_part at the same time."
			return invalid{"cache_size": {both}, "cache_no_part": {both}}
		case param("cache_size") != "" && cache != nil && n > cache.Size:
			return invalid{"cache_size": {fmt.Sprintf("Size is too large. Maximum size is %d.", cache.Size)}}
		case param("cache_size") != "" && n < align:
			return invalid{"cache_size": {fmt.Sprintf("Size is too small. Minimum size is %d.", align)}}
		}
		if cache == nil {
			return bad("Failed to configure storage layout 'bcache': Node doesn't have an available cache device to setup bcache.")
		}
		has := add(rootDisk, size("root_size"), "bcache-backing", "")
		if param("cache_no_part") == "true" {
			cache.Filesystem = "bcache-cache"
		} else {
			add(cache, size("cache_size"), "bcache-cache", "")
		}
		m.CacheMode = cmp.Or(param("cache_mode"), "writethrough")
		disks = append(disks, Disk{ID: r.next(), Name: "bcache0", Virtual: true, Size: has, Filesystem: "ext4", Mount: "/"})
	}
	m.Disks = disks
	return nil
}

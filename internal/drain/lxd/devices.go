package drainlxd

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/drain"
)

// classifyDevices returns those devices of an instance of that type that keep LXD from moving it when its
// cluster.evacuate is auto, by LXD's CanMigrate of each kind of device (lxd 5.0.2, lxd/device). host are
// those whose counterpart on another member can be observed, local are all others.
func classifyDevices(kind string, all map[string]map[string]string, remotePools map[string]bool) (local []string, host []drain.HostDevice) {
	for name, d := range all {
		device := d["type"] + " " + name
		resource, movable := "", false
		switch d["type"] {
		case "none", "tpm":
			movable = true
		case "disk":
			movable = d["path"] == "/" || remotePools[d["pool"]]
		case "nic":
			movable = d["network"] != "" || d["nictype"] == "ovn"
			resource = nicResource(d)
		case "gpu":
			resource = gpuResource(kind, d)
		}
		switch {
		case movable:
		case resource != "":
			host = append(host, drain.HostDevice{Device: device, Resource: resource})
		default:
			local = append(local, device)
		}
	}
	slices.SortFunc(host, func(a, b drain.HostDevice) int { return cmp.Compare(a.Device, b.Device) })
	if len(host) > maxHostDevices {
		for _, use := range host[maxHostDevices:] {
			local = append(local, use.Device)
		}
		host = host[:maxHostDevices]
	}
	slices.Sort(local)
	return local, host
}

// nicResource returns the interface that a nic needs on its member; "" where it needs more than that:
// nictypes physical and sriov take a card, or a part of one, from the host, and p2p depends on what the
// operator did with its other end.
func nicResource(d map[string]string) string {
	switch parent := d["parent"]; {
	case parent == "":
		return ""
	case d["nictype"] == "bridged":
		return "bridge " + parent
	case slices.Contains([]string{"macvlan", "ipvlan", "routed"}, d["nictype"]):
		return "interface " + parent
	}
	return ""
}

// gpuResource returns the card that a gpu device needs on its member, where it is named by vendor and
// product: containers share a card. An address on the bus may be another card there, and a virtual
// machine has a card for itself.
func gpuResource(kind string, d map[string]string) string {
	named := d["vendorid"] != "" && d["productid"] != "" && d["pci"] == "" && d["id"] == ""
	if kind != "container" || !named || d["gputype"] != "" && d["gputype"] != "physical" {
		return ""
	}
	return gpuName(d["vendorid"], d["productid"])
}

func gpuName(vendor, product string) string { return "gpu " + vendor + ":" + product }

// maxHostDevices is how many host devices of one instance are considered; more are local devices, so that
// no instance causes many requests to all members.
const maxHostDevices = 16

// interfacesOf lists the interfaces of the host that instances use, by name.
func interfacesOf(instances []drain.Instance) []string {
	var names []string
	for _, i := range instances {
		for _, use := range i.HostDevices {
			if kind, name, _ := strings.Cut(use.Resource, " "); kind == "bridge" || kind == "interface" {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// networksOf reads those interfaces of a member, one by one: LXD 5.0 does not forward a request for the
// list of them to another member (lxd 5.0.2, networksGet). An error is that one of them could not be
// read.
func networksOf(server lxdclient.InstanceServer, names []string) ([]api.Network, error) {
	var networks []api.Network
	for _, name := range names {
		network, _, err := server.GetNetwork(name)
		switch {
		case err == nil:
			networks = append(networks, *network)
		case !api.StatusErrorCheck(err, http.StatusNotFound):
			return nil, err
		}
	}
	return networks, nil
}

// hostResourcesOf returns the resources of a member that devices use, by those networks and interfaces of
// its host that were read, and its hardware; managed are those that LXD manages on all members, where its
// evacuation checks the parents of nics.
func hostResourcesOf(networks []api.Network, hardware *api.Resources, checksParents bool) (has, managed map[string]bool) {
	has, managed = map[string]bool{}, map[string]bool{}
	for _, n := range networks {
		names := []string{"interface " + n.Name}
		if n.Type == "bridge" {
			names = append(names, "bridge "+n.Name)
		}
		for _, name := range names {
			has[name] = true
			if n.Managed && checksParents {
				managed[name] = true
			}
		}
	}
	if hardware != nil {
		for _, c := range hardware.GPU.Cards {
			has[gpuName(c.VendorID, c.ProductID)] = true
		}
	}
	return has, managed
}

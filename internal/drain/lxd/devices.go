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

// devices sorts those devices of an instance of that type that keep LXD from moving it when its
// cluster.evacuate is auto, by LXD's CanMigrate of each kind of device (lxd 5.0.2, lxd/device).
// Uses are those whose counterpart on another member can be seen, ties are all others.
func classifyDevices(kind string, all map[string]map[string]string, remotePools map[string]bool) (ties []string, uses []drain.HostDevice) {
	for name, d := range all {
		device := d["type"] + " " + name
		wants, free := "", false
		switch d["type"] {
		case "none", "tpm":
			free = true
		case "disk":
			free = d["path"] == "/" || remotePools[d["pool"]]
		case "nic":
			free = d["network"] != "" || d["nictype"] == "ovn"
			wants = nicResource(d)
		case "gpu":
			wants = gpuResource(kind, d)
		}
		switch {
		case free:
		case wants != "":
			uses = append(uses, drain.HostDevice{Device: device, Resource: wants})
		default:
			ties = append(ties, device)
		}
	}
	slices.SortFunc(uses, func(a, b drain.HostDevice) int { return cmp.Compare(a.Device, b.Device) })
	if len(uses) > maxHostDevices {
		for _, use := range uses[maxHostDevices:] {
			ties = append(ties, use.Device)
		}
		uses = uses[:maxHostDevices]
	}
	slices.Sort(ties)
	return ties, uses
}

// nicWants returns the interface that a nic needs on its member; "" where that is not all that it
// needs: nictypes physical and sriov take a card, or a part of one, away from the host, and p2p
// depends on what the operator did with its other end.
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

// gpuWants returns the card that a gpu device needs on its member, where it is named by vendor and
// product: containers share a card. An address on the bus may be another card there, and one that a
// virtual machine has is nobody else's.
func gpuResource(kind string, d map[string]string) string {
	named := d["vendorid"] != "" && d["productid"] != "" && d["pci"] == "" && d["id"] == ""
	if kind != "container" || !named || d["gputype"] != "" && d["gputype"] != "physical" {
		return ""
	}
	return gpuName(d["vendorid"], d["productid"])
}

func gpuName(vendor, product string) string { return "gpu " + vendor + ":" + product }

// mostUses is how many devices of one instance are looked at: more than that tie it, so that no
// instance makes many requests of all members.
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

// networksOf asks a member for those interfaces, one by one: LXD 5.0 does not pass a request for
// the list of them on to another member (lxd 5.0.2, networksGet). An error is that one of them
// could not be asked for.
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

// hasOf lists what a member has of what devices use, by those networks and interfaces of its host
// that were asked for, and its hardware; managed is what of it LXD manages on all members, where
// its evacuation looks at the parents of nics.
func hostResourcesOf(networks []api.Network, hardware *api.Resources, mindsParents bool) (has, managed map[string]bool) {
	has, managed = map[string]bool{}, map[string]bool{}
	for _, n := range networks {
		names := []string{"interface " + n.Name}
		if n.Type == "bridge" {
			names = append(names, "bridge "+n.Name)
		}
		for _, name := range names {
			has[name] = true
			if n.Managed && mindsParents {
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

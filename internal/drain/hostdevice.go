package drain

import (
	"slices"
	"strings"
)

// HostDevice is a device of an instance that uses something of its member outside LXD, which other
// members may have as well: a nic on a bridge of the host. LXD's own evacuation stops such an instance
// (CanMigrate of its devices, lxd 5.0.2, lxd/device); an explicit move to a member that has the
// counterpart works.
type HostDevice struct {
	Device   string // kind and name, as in Instance.LocalDevices: "nic eth0"
	Resource string // what a member must have, as in Capacity.HostResources: "bridge br0"
}

// missingOn returns why a member cannot have an instance because of what its devices use: what it does
// not have, or that this is not known. It is empty when the member has all of it.
func (v View) missingOn(member string, i Instance) string {
	has := v.Capacities[member].HostResources
	var missing []string
	for _, d := range i.HostDevices {
		if !has[d.Resource] && !slices.Contains(missing, d.Resource) {
			missing = append(missing, d.Resource)
		}
	}
	switch {
	case len(missing) == 0:
		return ""
	case has == nil:
		return "could not be asked whether it has " + strings.Join(missing, " and ")
	}
	return "has no " + strings.Join(missing, " and no ")
}

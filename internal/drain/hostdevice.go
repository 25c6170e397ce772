package drain

import (
	"fmt"
	"slices"
	"strings"
)

// Use is a device of an instance that uses something of the member outside LXD, which other
// members may have as well: a nic on a bridge of the host. LXD's own evacuation stops such an
// instance (CanMigrate of its devices, lxd 5.0.2, lxd/device); an explicit move to a member that
// has the counterpart works.
type HostDevice struct {
	Device   string // kind and name, as in Instance.Ties: "nic eth0"
	Resource string // what a member must have, as Room.Has lists it: "bridge br0"
}

// lacks returns why a member cannot have an instance because of what its devices use: what it
// does not have, or that this is not known. It is empty when the member has all of it.
func (v View) missingOn(member string, i Instance) string {
	has := v.Capacities[member].HostResources
	var lacks []string
	for _, use := range i.HostDevices {
		if !has[use.Resource] && !slices.Contains(lacks, use.Resource) {
			lacks = append(lacks, use.Resource)
		}
	}
	switch {
	case len(lacks) == 0:
		return ""
	case has == nil:
		return "could not be asked whether it has " + strings.Join(lacks, " and ")
	}
	return "has no " + strings.Join(lacks, " and no ")
}

// Held reports whether LXD's own evacuation stops an instance where it is although another member
// may have it: cluster.evacuate leaves it to LXD, and a device uses something of the member that
// LXD does not manage.
func (v View) StoppedByEvacuation(i Instance) bool {
	return i.evacuatesByDefault() && slices.ContainsFunc(i.HostDevices, func(use HostDevice) bool {
		return !v.Capacities[i.Member].ManagedResources[use.Resource]
	})
}

// dies reports whether a running ephemeral instance may be deleted when its member is emptied:
// all but those that LXD moves while they run. One that LXD's own evacuation would stop is among
// them: should its move fail, that evacuation would be the next to come.
func (v View) deletedOnStop(i Instance) bool {
	return i.Ephemeral && (!i.LiveMovable || moveBlocker(v, i) != "" || v.StoppedByEvacuation(i))
}

// Lost lists the running instances of a member that are deleted when it is evacuated.
func (v View) DeletedByEvacuation(member string) []Ref {
	var lost []Ref
	for _, i := range v.instancesOn(member) {
		if i.Running && v.deletedOnStop(i) {
			lost = append(lost, i.Ref)
		}
	}
	return lost
}

// auto reports whether an instance leaves it to LXD whether it moves: cluster.evacuate.
func (i Instance) evacuatesByDefault() bool { return i.Evacuate == "" || i.Evacuate == "auto" }

// unfit says of each member that would take an instance, but for what its devices use, what that
// member lacks, its name before sep: "c has no bridge br0". It is empty when there is none.
func (v View) unsuitableTargets(i Instance, sep string) string {
	bare := i
	bare.HostDevices = nil
	var all []string
	for _, m := range v.targets(i.Member, bare, nil) {
		if why := v.missingOn(m.Name, i); why != "" {
			all = append(all, m.Name+sep+why)
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// homeless says why no member can have an instance; it is to be asked where hosts has none.
func (v View) noTargetReason(i Instance) string {
	if unfit := v.unsuitableTargets(i, " "); unfit != "" {
		devices := make([]string, len(i.HostDevices))
		for n, use := range i.HostDevices {
			devices[n] = fmt.Sprintf("%s uses %s", use.Device, use.Resource)
		}
		return fmt.Sprintf("%s of the host, and %s", strings.Join(devices, ", "), unfit)
	}
	of := ""
	if i.Group != "" {
		of = " of cluster group " + i.Group
	}
	for _, m := range v.Members {
		if v.Capacities[m.Name].DeniedProjects[i.Project] && m.Name != i.Member {
			of += fmt.Sprintf(" that project %s may use (restricted.cluster.groups)", i.Project)
			break
		}
	}
	return "no other member" + of + " is Online, takes instances and runs " + i.Architecture
}

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
type Use struct {
	Device string // kind and name, as in Instance.Ties: "nic eth0"
	Wants  string // what a member must have, as Room.Has lists it: "bridge br0"
}

// lacks returns why a member cannot have an instance because of what its devices use: what it
// does not have, or that this is not known. It is empty when the member has all of it.
func (v View) lacks(member string, i Instance) string {
	has := v.Rooms[member].Has
	var lacks []string
	for _, use := range i.Uses {
		if !has[use.Wants] && !slices.Contains(lacks, use.Wants) {
			lacks = append(lacks, use.Wants)
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
func (v View) Held(i Instance) bool {
	return i.auto() && slices.ContainsFunc(i.Uses, func(use Use) bool {
		return !v.Rooms[i.Member].Managed[use.Wants]
	})
}

// dies reports whether a running ephemeral instance may be deleted when its member is emptied:
// all but those that LXD moves while they run. One that LXD's own evacuation would stop is among
// them: should its move fail, that evacuation would be the next to come.
func (v View) dies(i Instance) bool {
	return i.Ephemeral && (!i.Live || immovable(v, i) != "" || v.Held(i))
}

// Lost lists the running instances of a member that are deleted when it is evacuated.
func (v View) Lost(member string) []Ref {
	var lost []Ref
	for _, i := range v.on(member) {
		if i.Running && v.dies(i) {
			lost = append(lost, i.Ref)
		}
	}
	return lost
}

// auto reports whether an instance leaves it to LXD whether it moves: cluster.evacuate.
func (i Instance) auto() bool { return i.Evacuate == "" || i.Evacuate == "auto" }

// unfit says of each member that would take an instance, but for what its devices use, what that
// member lacks, its name before sep: "c has no bridge br0". It is empty when there is none.
func (v View) unfit(i Instance, sep string) string {
	bare := i
	bare.Uses = nil
	var all []string
	for _, m := range v.hosts(i.Member, bare, nil) {
		if why := v.lacks(m.Name, i); why != "" {
			all = append(all, m.Name+sep+why)
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// homeless says why no member can have an instance; it is to be asked where hosts has none.
func (v View) homeless(i Instance) string {
	if unfit := v.unfit(i, " "); unfit != "" {
		devices := make([]string, len(i.Uses))
		for n, use := range i.Uses {
			devices[n] = fmt.Sprintf("%s uses %s", use.Device, use.Wants)
		}
		return fmt.Sprintf("%s of the host, and %s", strings.Join(devices, ", "), unfit)
	}
	of := ""
	if i.Group != "" {
		of = " of cluster group " + i.Group
	}
	for _, m := range v.Members {
		if v.Rooms[m.Name].Bars[i.Project] && m.Name != i.Member {
			of += fmt.Sprintf(" that project %s may use (restricted.cluster.groups)", i.Project)
			break
		}
	}
	return "no other member" + of + " is Online, takes instances and runs " + i.Architecture
}

package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
)

const (
	// autoBridge is the value of option bridge that leaves the choice to the charm.
	autoBridge = "auto"
	// hostBridge is the choice if every machine has it, as MAAS makes it. It connects instances to the
	// machines' own network.
	hostBridge = "br0"
	// madeBridge is the choice otherwise.
	madeBridge = "lxdbr0"
	// noBridge is what a unit reports whose machine has no hostBridge.
	noBridge = "none"
)

// Bridge returns the bridge for instances; "" while option bridge is auto and the choice is open.
func (f Facts) Bridge() string {
	name, _ := f.chooseBridge()
	return name
}

// chooseBridge returns that bridge or, while the choice is open, the units that have not reported yet
// whether their machine has hostBridge. A cluster keeps the bridge that it has.
func (f Facts) chooseBridge() (name string, unknown []string) {
	if f.Config.Bridge != autoBridge {
		return f.Config.Bridge, nil
	}
	if f.LXD.Clustered {
		if name := f.profileBridge(); name != "" {
			return name, nil
		}
	}
	if f.reportedBridge() == noBridge {
		return madeBridge, nil
	}
	for _, unit := range f.Others {
		switch f.Peers[unit].Request.HostBridge {
		case "":
			unknown = append(unknown, unit)
		case noBridge:
			return madeBridge, nil
		}
	}
	if len(unknown) > 0 {
		return "", unknown
	}
	return hostBridge, nil
}

// profileBridge returns the bridge in the charm's profile; "" if there is none.
func (f Facts) profileBridge() string {
	profile := f.LXD.Profiles[ProfileName]
	if profile.Config[OwnerKey] == "" {
		return ""
	}
	nic := profile.Devices["eth0"]
	return cmp.Or(nic["network"], nic["parent"])
}

// reportedBridge returns hostBridge if the machine has a bridge of that name that LXD does not manage, and
// noBridge otherwise. A bridge that LXD manages connects it to no other machine.
func (f Facts) reportedBridge() string {
	if managed, there := f.LXD.Networks[hostBridge]; there && !managed {
		return hostBridge
	}
	return noBridge
}

// bridgeUndecided returns which units the choice of the bridge waits for; "" if it is made.
func (f Facts) bridgeUndecided() string {
	_, unknown := f.chooseBridge()
	if len(unknown) == 0 {
		return ""
	}
	verb := "has"
	if len(unknown) > 1 {
		verb = "have"
	}
	return fmt.Sprintf("%s %s not reported yet whether its machine has %s (option bridge is %s)", strings.Join(unknown, ", "), verb, hostBridge, autoBridge)
}

// awaitBridge returns the status of the bootstrap unit while the choice of the bridge is open; nil if it is
// made.
func (f Facts) awaitBridge() *charm.Status {
	undecided := f.bridgeUndecided()
	if undecided == "" {
		return nil
	}
	app := hooktool.AppOf(f.Unit)
	status := charm.Waitingf("waiting to bootstrap the cluster: %s; if all machines will have it: juju config %s bridge=%s", undecided, app, hostBridge)
	return &status
}

// isolationNote reports that instances on different members cannot reach each other; empty if they can, as
// far as is known. Only the coordinator reports it.
func (f Facts) isolationNote() string {
	if len(f.LXD.Members) < 2 || !f.IsCoordinator() || !slices.Contains(f.LXD.IsolatedNetworks, f.Bridge()) {
		return ""
	}
	return fmt.Sprintf("instances on different members cannot reach each other over %s: use %s of the machines, or a network of type ovn (option bridge)", f.Bridge(), hostBridge)
}

// missingBridge returns the bridge for instances if this member has neither a managed network nor a bridge
// of its own of that name; "" otherwise.
func (f Facts) missingBridge() string {
	bridge := f.Bridge()
	if _, there := f.LXD.Networks[bridge]; there || bridge == "" || !f.LXD.Clustered || len(f.Problems) > 0 {
		return ""
	}
	return bridge
}

// missingBridgeProblem returns the problem of a member without the bridge; "" if it has it.
func (f Facts) missingBridgeProblem() string {
	lacks := f.missingBridge()
	if lacks == "" {
		return ""
	}
	why := fmt.Sprintf("option bridge is %s: this machine", lacks)
	if f.Config.Bridge == autoBridge {
		why = fmt.Sprintf("instances of this cluster are on %s (option bridge is %s), and this machine", lacks, autoBridge)
	}
	return fmt.Sprintf("%s (%s) has no bridge %s: create it there, set the option to one of %s, or have LXD create it: lxc network create", why, f.LXD.Member, lacks, f.networkNames())
}

// membersWithoutBridge returns the members that have reported that the bridge is missing; "" if there are
// none. LXD lists to each member only the bridges of its own machine.
func (f Facts) membersWithoutBridge() string {
	bridge := f.Bridge()
	var names []string
	for _, unit := range f.sortedPeers() {
		if request := f.Peers[unit].Request; bridge != "" && request.MissingBridge == bridge && request.Cluster == f.LXD.Identity {
			names = append(names, request.Member)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("no bridge %s on %s", bridge, strings.Join(names, ", "))
}

package cluster

import (
	"fmt"
	"slices"
	"strings"
)

// lacks names the bridge that instances are to be on, when this member cannot have them
// there: LXD manages no network of that name, and the machine has no such bridge of its own.
func (f Facts) lacks() string {
	if _, there := f.LXD.Networks[f.Config.Bridge]; there || !f.LXD.Clustered || len(f.Problems) > 0 {
		return ""
	}
	return f.Config.Bridge
}

// othersLack names the members that have said so of themselves; "" when none has. LXD lists
// to each member the bridges of its own machine only.
func (f Facts) othersLack() string {
	var names []string
	for _, unit := range f.sortedPeers() {
		if wish := f.Peers[unit].Wish; wish.Lacks == f.Config.Bridge && wish.Cluster == f.LXD.Identity {
			names = append(names, wish.Member)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("no bridge %s on %s", f.Config.Bridge, strings.Join(names, ", "))
}

// networkNames lists what instances can be on.
func (f Facts) networkNames() string {
	names := make([]string, 0, len(f.LXD.Networks))
	for name := range f.LXD.Networks {
		names = append(names, name)
	}
	if len(names) == 0 {
		return "those that you make"
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

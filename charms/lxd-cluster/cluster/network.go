package cluster

import (
	"fmt"
	"slices"
	"strings"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
)

// apart reports whether each member has a bridge of its own by that network, which nothing connects to
// the others': LXD's fan and tunnels would.
func apart(n api.Network) bool {
	if !n.Managed || n.Type != "bridge" || n.Config["bridge.mode"] == "fan" {
		return false
	}
	for key := range n.Config {
		if strings.HasPrefix(key, "tunnel.") {
			return false
		}
	}
	return true
}

// lookForLinks takes out of Apart what is on an interface of the machine, which LXD says for one member
// at a time only.
func (l *Local) lookForLinks(server lxdclient.InstanceServer) error {
	if len(l.Members) < 2 {
		return nil
	}
	var apart []string
	for _, name := range l.Apart {
		own, _, err := server.UseTarget(l.Member).GetNetwork(name)
		if err != nil {
			return err
		}
		if own.Config["bridge.external_interfaces"] == "" {
			apart = append(apart, name)
		}
	}
	l.Apart = apart
	return nil
}

// isolated says that instances on different members cannot reach each other; empty where they can, as
// far as is known. One unit says so for all.
func (f Facts) isolated() string {
	if len(f.LXD.Members) < 2 || !f.InTurn() || !slices.Contains(f.LXD.Apart, f.Config.Bridge) {
		return ""
	}
	return fmt.Sprintf("instances on different members do not reach each other over %s, see option bridge", f.Config.Bridge)
}

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

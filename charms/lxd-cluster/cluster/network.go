package cluster

import (
	"slices"
	"strings"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
)

// isIsolated reports whether each member has its own bridge for the network, without a connection to the
// others. LXD's fan and tunnels are connections.
func isIsolated(n api.Network) bool {
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

// observeBridgeLinks removes from IsolatedNetworks those that are on an interface of the machine, which LXD
// shows for one member at a time.
func (l *ServerState) observeBridgeLinks(server lxdclient.InstanceServer) error {
	if len(l.Members) < 2 {
		return nil
	}
	var apart []string
	for _, name := range l.IsolatedNetworks {
		own, _, err := server.UseTarget(l.Member).GetNetwork(name)
		if err != nil {
			return err
		}
		if own.Config["bridge.external_interfaces"] == "" {
			apart = append(apart, name)
		}
	}
	l.IsolatedNetworks = apart
	return nil
}

// networkNames returns the networks that instances can be on.
func (f Facts) networkNames() string {
	names := make([]string, 0, len(f.LXD.Networks))
	for name := range f.LXD.Networks {
		names = append(names, name)
	}
	if len(names) == 0 {
		return "those that you create"
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

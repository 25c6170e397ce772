package cluster

import (
	"slices"
	"strings"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
)

// apart reports whether each member has a bridge of its own by that network, which nothing connects to
// the others': LXD's fan and tunnels would.
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

// observeBridgeLinks takes out of Apart what is on an interface of the machine, which LXD says for one member
// at a time only.
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

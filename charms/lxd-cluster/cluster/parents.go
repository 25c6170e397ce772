package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/hooktool"
)

// needsParent are the types of LXD's networks that are on an interface of each machine. A joining member
// has to name its interface, in key parent (Validate in lxd/network/driver_physical.go, driver_macvlan.go
// and driver_sriov.go).
var needsParent = []string{"physical", "macvlan", "sriov"}

// Parent is an interface for a network that needs one.
type Parent struct {
	Member    string // empty: any member without an entry of its own
	Network   string
	Interface string
}

// parseParents reads option network-parents. The problem is as in ParseConfig.
func parseParents(text string) (parents []Parent, problem string) {
	for entry := range strings.SplitSeq(text, ",") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		what, parent, ok := strings.Cut(entry, "=")
		member, network, only := strings.Cut(what, ":")
		if !only {
			member, network = "", what
		}
		p := Parent{strings.TrimSpace(member), strings.TrimSpace(network), strings.TrimSpace(parent)}
		if !ok || only && !plainName(p.Member) || !plainName(p.Network) || !plainName(p.Interface) || len(p.Interface) > 15 {
			return nil, fmt.Sprintf("option network-parents has %q, wanted [MEMBER:]NETWORK=INTERFACE, separated by commas, like UPLINK=eno2,node3:UPLINK=eno3", entry)
		}
		if slices.ContainsFunc(parents, func(q Parent) bool { return q.Member == p.Member && q.Network == p.Network }) {
			return nil, fmt.Sprintf("option network-parents names %s twice, wanted one interface for it", strings.TrimSpace(what))
		}
		parents = append(parents, p)
	}
	return parents, ""
}

// parentOf returns the interface of this machine for a network; "" if the option has none.
func (f Facts) parentOf(network string) string {
	found := ""
	for _, p := range f.Config.Parents {
		switch {
		case p.Network != network:
		case p.Member == f.Hostname:
			return p.Interface
		case p.Member == "":
			found = p.Interface
		}
	}
	return found
}

// wanted returns the networks of the cluster for which this machine has to name an interface.
func (f Facts) wanted() []string {
	return strings.FieldsFunc(f.Peers[f.unitInCluster()].Request.Parents, func(r rune) bool { return r == ',' })
}

// parents returns this machine's interfaces for the cluster's networks.
func (f Facts) parents() map[string]string {
	parents := map[string]string{}
	for _, network := range f.wanted() {
		parents[network] = f.parentOf(network)
	}
	return parents
}

// parentsMissing returns which interface of a joining member is not known; empty if all are.
func (f Facts) parentsMissing() string {
	for _, network := range f.wanted() {
		option := fmt.Sprintf("juju config %s network-parents=%s=INTERFACE, or for this machine alone %s:%s=INTERFACE; it has %s", hooktool.AppOf(f.Unit), network, f.Hostname, network, strings.Join(slices.Sorted(slices.Values(f.LXD.Interfaces)), ", "))
		switch parent := f.parentOf(network); {
		case parent == "":
			return fmt.Sprintf("cannot join: network %s of the cluster needs key parent, an interface of this machine: %s", network, option)
		case len(f.LXD.Interfaces) > 0 && !slices.Contains(f.LXD.Interfaces, parent):
			return fmt.Sprintf("cannot join: option network-parents has %s for network %s, which this machine does not have: %s", parent, network, option)
		}
	}
	return ""
}

// parentConfig returns the interfaces as LXD's member configuration.
func parentConfig(parents map[string]string) []api.ClusterMemberConfigKey {
	var config []api.ClusterMemberConfigKey
	for _, network := range slices.Sorted(maps.Keys(parents)) {
		config = append(config, api.ClusterMemberConfigKey{Entity: "network", Name: network, Key: "parent", Value: parents[network]})
	}
	return config
}

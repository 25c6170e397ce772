package cluster

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/dcib/dcib/internal/relation/lxdcluster"
)

// Addresses returns this machine's own addresses; nil if they cannot be listed.
func Addresses() []netip.Addr {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var addresses []netip.Addr
	for _, a := range all {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			addresses = append(addresses, prefix.Addr())
		}
	}
	return addresses
}

// moved reports that the machine has lost the address (host:port) by which the cluster knows it, and how to
// fix it; empty if it has the address. now returns the address that Juju knows.
func (w Env) moved(address string, now func() (string, error)) string {
	known, err := netip.ParseAddrPort(address)
	if err != nil || len(w.Addresses) == 0 || known.Addr().IsUnspecified() || slices.Contains(w.Addresses, known.Addr()) {
		return ""
	}
	has := "this machine has another"
	if juju, err := now(); err == nil && juju != known.Addr().String() {
		has = "Juju knows this machine as " + juju
	}
	return fmt.Sprintf("LXD's cluster knows this member as %s, and %s: restore that address, or stop LXD on all members, run lxd cluster edit on each, and start them", address, has)
}

// observeLostAddress is moved for an LXD that does not answer, with the address that this unit has
// published.
func (f *Facts) observeLostAddress(ctx context.Context, w Env) (string, error) {
	relations, err := w.Tools.RelationIDs(ctx, lxdcluster.Endpoint)
	if err != nil || len(relations) == 0 {
		return "", err
	}
	if f.Mine, err = readPeerData(ctx, w.Tools, relations[0], f.Unit); err != nil || f.Mine.Request.Cluster == "" {
		return "", err
	}
	return w.moved(f.Mine.Request.Address, func() (string, error) { return w.Tools.Address(ctx, lxdcluster.Endpoint) }), nil
}

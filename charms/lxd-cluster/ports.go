package main

import (
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/dcib/dcib/charms/lxd-cluster/notify"
	"github.com/dcib/dcib/internal/lxd"
)

// ports are those that others reach on this machine, as charm.Plan has them: LXD's API and the
// cluster's port (one and the same unless an operator has set them apart), and the one for calls
// while they are listened for. Nil is that it is not known.
func (f facts) ports() []string {
	if f.Cluster.Removal != nil || f.Cluster.DatabaseError != "" {
		return nil
	}
	list := []string{}
	if f.Cluster.LXD.Clustered {
		for _, address := range []string{f.Cluster.Address, f.Cluster.LXD.Listens, f.Cluster.LXD.Clusters} {
			if port := open(address); port != "" && !slices.Contains(list, port+"/tcp") {
				list = append(list, port+"/tcp")
			}
		}
	}
	if f.Notify.Address() != "" {
		list = append(list, strconv.Itoa(notify.Port)+"/udp")
	}
	return list
}

// open returns the port of an address as LXD has it (host:port, or a host alone, which has LXD's
// own port); "" where no other machine reaches it.
func open(address string) string {
	if address == "" {
		return ""
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = address, lxd.Port
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsLoopback() {
		return ""
	}
	return port
}

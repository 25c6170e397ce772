package main

import (
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/dcib/dcib/charms/lxd-cluster/notify"
	"github.com/dcib/dcib/internal/lxd"
)

// ports returns the ports that other machines use on this one: LXD's API and the cluster's port, which are
// the same unless an operator has changed that, and the one for notifications while the unit listens. Nil
// means unknown.
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

// open returns the port of an address in LXD's form (host:port, or a host with LXD's default port); "" if
// no other machine can reach it.
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

// Package fleet brings the machines of a MAAS to what one declaration says of them: their
// tags, network and storage. Parse reads the declaration, Missing makes a pure plan of it and of
// what MAAS says, Apply walks the plan. A plan holds only what is missing: what is applied
// plans to nothing.
//
// Network and storage are set on machines that are Ready, and on no others: elsewhere a
// machine is an operator's, or in the middle of something. Tags are set on all.
package inventory

import "slices"

// Statuses of a machine, as MAAS names them (src/maascommon/enums/node.py in its source).
const (
	New                 = "New"
	Commissioning       = "Commissioning"
	FailedCommissioning = "Failed commissioning"
	Ready               = "Ready"
	Allocated           = "Allocated"
	Deploying           = "Deploying"
	Deployed            = "Deployed"
	FailedDeployment    = "Failed deployment"
	Broken              = "Broken"
	Testing             = "Testing"
)

// Machine is a machine as MAAS has it.
type Machine struct {
	ID           string // MAAS's system id
	Hostname     string
	FQDN         string
	Status       string
	Owner        string
	Pool         string
	Zone         string
	Architecture string // amd64/generic
	OS, Series   string // of what is deployed, or was last
	CPUs         int
	MemoryMiB    int64
	StorageMB    float64 // of all disks, in millions of bytes, as MAAS counts it
	Addresses    []string
	Tags         []string
	Interfaces   []Interface
	Boot         int // the id of the interface that it boots from; 0 when MAAS knows none
	Disks        []Disk
	BootDisk     int    // the id of the disk that it boots from
	CacheMode    string // of its bcache, if it has one
}

// Interface is a network interface of a machine.
type Interface struct {
	ID       int
	Name     string
	Type     string // physical, bond, bridge, vlan
	VLAN     int    // MAAS's id of the VLAN; 0 when it is disconnected
	Fabric   string
	Parents  []string // the names of those that it is made of
	Children []string // the names of those that are made of it
	Links    []Link
	Params   map[string]string // bond_mode, bridge_stp, mtu and the like
}

// Link is an interface's address on a subnet, or how it comes by one.
type Link struct {
	ID      int
	Mode    string // auto, dhcp, static or link_up
	Subnet  int    // the id; 0 for none
	CIDR    string
	Address string
}

// Disk is a block device.
type Disk struct {
	ID          int
	Name        string // sda; vgroot-lvroot
	Virtual     bool
	Size        int64 // bytes
	Filesystem  string
	Mount       string
	Partitioned bool
	Partitions  []Partition
	Tags        []string
}

// Partition is a part of a disk.
type Partition struct {
	Size       int64 // bytes
	Filesystem string
	Mount      string
}

// Subnet is a subnet that MAAS knows.
type Subnet struct {
	ID     int
	Name   string
	CIDR   string
	VLAN   int
	Fabric string
}

// Tag is a tag as MAAS has it.
type Tag struct {
	Name          string
	Comment       string
	Definition    string // XPath over a machine's hardware: MAAS sets the tag automatically
	KernelOptions string // for machines that have it
}

// State is what MAAS says.
type State struct {
	Machines []Machine
	Subnets  []Subnet
	Tags     []Tag
}

// Pet is what the scheduler's pets say of a machine: one whose host name is that of the
// pet's LXD member.
type Pet struct {
	Hostname string
	Traits   []string
}

// named finds an interface by name.
func named(all []Interface, name string) *Interface {
	if at := slices.IndexFunc(all, func(i Interface) bool { return i.Name == name }); at >= 0 {
		return &all[at]
	}
	return nil
}

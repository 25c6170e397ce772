package drain

import (
	"fmt"
	"maps"
	"strings"
)

// Requirements is what an instance may use, by its own limits. A limit that it does not have is zero,
// and requires nothing: LXD lets the instance use all of its member.
type Requirements struct {
	Memory int64  // bytes; limits.memory
	CPUs   int    // limits.cpu: how many, or the highest that it is pinned to, and one
	Pool   string // storage pool of its root disk
	Disk   int64  // bytes; the size of its root disk
}

// when returns what of it is required while the instance runs, or while it does not.
func (r Requirements) when(runs bool) Requirements {
	if runs {
		return r
	}
	return Requirements{Pool: r.Pool, Disk: r.Disk}
}

// requirementsOf returns what an instance requires elsewhere, running or not. A limit above what its
// member has requires no more than that: it runs there with less.
func (v View) requirementsOf(i Instance, runs bool) Requirements {
	r, here := i.Requirements.when(runs), v.Capacities[i.Member]
	if here.Memory > 0 {
		r.Memory = min(r.Memory, here.Memory)
	}
	if here.CPUs > 0 {
		r.CPUs = min(r.CPUs, here.CPUs)
	}
	return r
}

// Capacity is what a member has for instances. What is not known is zero or nil, and excludes no
// instance.
type Capacity struct {
	Memory     int64            // bytes
	FreeMemory int64            // bytes
	CPUs       int              // processors
	Pools      map[string]int64 // bytes free in each storage pool that it has; -1 is not known
	// HostResources is what the member has of what devices use, see HostDevice: "bridge br0". Unlike
	// the rest it excludes an instance also where it is not known.
	HostResources map[string]bool
	// DeniedProjects are the LXD projects whose instances may not be there: restricted.cluster.groups.
	DeniedProjects map[string]bool
	// ManagedResources are the HostResources that LXD manages on all members: its own evacuation moves
	// what uses them.
	ManagedResources map[string]bool
}

// missing returns what a member does not have at all of what an instance requires; empty when it could
// run the instance within its limits.
func (c Capacity) missing(r Requirements) string {
	var missing []string
	if c.Memory > 0 && r.Memory > c.Memory {
		missing = append(missing, fmt.Sprintf("%s of memory, not %s", formatBytes(c.Memory), formatBytes(r.Memory)))
	}
	if c.CPUs > 0 && r.CPUs > c.CPUs {
		missing = append(missing, fmt.Sprintf("%s, not %d", count(c.CPUs, "processor"), r.CPUs))
	}
	if _, there := c.Pools[r.Pool]; c.Pools != nil && r.Pool != "" && !there {
		missing = append(missing, "no storage pool "+r.Pool)
	}
	return strings.Join(missing, " and ")
}

// shortOf returns what a member has too little of at the moment: a limit is not what is used, so the
// instance may run there all the same.
func (c Capacity) shortOf(r Requirements) string {
	var short []string
	if c.Memory > 0 && r.Memory > c.FreeMemory {
		short = append(short, formatBytes(c.FreeMemory)+" of memory free")
	}
	if free, there := c.Pools[r.Pool]; there && free >= 0 && r.Disk > free {
		short = append(short, fmt.Sprintf("%s free in pool %s", formatBytes(free), r.Pool))
	}
	return strings.Join(short, " and ")
}

// minus returns the capacity that is left when an instance with those requirements has come too.
func (c Capacity) minus(r Requirements) Capacity {
	c.FreeMemory = max(0, c.FreeMemory-r.Memory)
	if free, there := c.Pools[r.Pool]; there && free >= 0 {
		c.Pools = maps.Clone(c.Pools)
		c.Pools[r.Pool] = max(0, free-r.Disk)
	}
	return c
}

// formatBytes returns a number of bytes as LXD writes it, rounded down.
func formatBytes(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}} {
		if n >= unit.size {
			return fmt.Sprintf("%d%s", n/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%dB", n)
}

package drain

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"strings"
)

// Needs is what an instance may use, by its own limits. What it does not say is zero, and
// asks for nothing: LXD lets it use what there is.
type Requirements struct {
	Memory int64  // bytes; limits.memory
	CPUs   int    // limits.cpu: how many, or the highest that it is pinned to, and one
	Pool   string // storage pool of its root disk
	Disk   int64  // bytes; the size of its root disk
}

// of gives what of it is needed when the instance runs, or stands still.
func (n Requirements) when(runs bool) Requirements {
	if runs {
		return n
	}
	return Requirements{Pool: n.Pool, Disk: n.Disk}
}

// needs returns what an instance needs elsewhere, running or not. A limit above what its member
// has is no need: it runs there with less.
func (v View) requirementsOf(i Instance, runs bool) Requirements {
	n, here := i.Requirements.when(runs), v.Capacities[i.Member]
	if here.Memory > 0 {
		n.Memory = min(n.Memory, here.Memory)
	}
	if here.CPUs > 0 {
		n.CPUs = min(n.CPUs, here.CPUs)
	}
	return n
}

// Room is what a member has for instances. What is not known is zero or nil, and keeps
// nothing away.
type Capacity struct {
	Memory     int64            // bytes
	FreeMemory int64            // bytes of the memory that are not used
	CPUs       int              // processors
	Pools      map[string]int64 // bytes free in each storage pool that it has; -1 is not known
	// Has is what the member has of what devices use, see Use: "bridge br0". Unlike the rest it
	// keeps an instance away also where it is not known.
	HostResources map[string]bool
	// Bars are the LXD projects whose instances may not be there: restricted.cluster.groups.
	DeniedProjects map[string]bool
	// Managed is what of it LXD manages on all members: its own evacuation moves what uses it.
	ManagedResources map[string]bool
}

// lacks says what a member does not have at all of what an instance needs; empty when it
// could run it as it is meant to.
func (r Capacity) missing(n Requirements) string {
	var lacks []string
	if r.Memory > 0 && n.Memory > r.Memory {
		lacks = append(lacks, fmt.Sprintf("%s of memory, not %s", formatBytes(r.Memory), formatBytes(n.Memory)))
	}
	if r.CPUs > 0 && n.CPUs > r.CPUs {
		lacks = append(lacks, fmt.Sprintf("%s, not %d", count(r.CPUs, "processor"), n.CPUs))
	}
	if _, there := r.Pools[n.Pool]; r.Pools != nil && n.Pool != "" && !there {
		lacks = append(lacks, "no storage pool "+n.Pool)
	}
	return strings.Join(lacks, " and ")
}

// tight says what a member has too little of just now: limits are not what is used, so it
// may go well all the same.
func (r Capacity) shortOf(n Requirements) string {
	var tight []string
	if r.Memory > 0 && n.Memory > r.FreeMemory {
		tight = append(tight, formatBytes(r.FreeMemory)+" of memory free")
	}
	if free, there := r.Pools[n.Pool]; there && free >= 0 && n.Disk > free {
		tight = append(tight, fmt.Sprintf("%s free in pool %s", formatBytes(free), n.Pool))
	}
	return strings.Join(tight, " and ")
}

// with gives the room that is left when an instance with those needs has come too.
func (r Capacity) minus(n Requirements) Capacity {
	r.FreeMemory = max(0, r.FreeMemory-n.Memory)
	if free, there := r.Pools[n.Pool]; there && free >= 0 {
		r.Pools = maps.Clone(r.Pools)
		r.Pools[n.Pool] = max(0, free-n.Disk)
	}
	return r
}

// Survey observes a cluster and its journal for a plan about a member: unlike Look it also
// asks what room there is elsewhere for what the member has.
func ObserveWithCapacity(ctx context.Context, cluster Cluster, journal Journal, member string) (View, error) {
	view, err := Observe(ctx, cluster, journal)
	if err != nil {
		return View{}, err
	}
	if view.Capacities, err = cluster.Capacities(ctx, view.instancesOn(member)); err != nil {
		return View{}, err
	}
	if view.Backups, err = cluster.Backups(ctx, view.instancesOn(member)); err != nil {
		return View{}, err
	}
	view.ChecksVoters, err = cluster.ChecksVoters(ctx)
	return view, err
}

// SurveyBack is Survey for an undrain of a member: it asks what the member has for what would come
// back to it.
func ObserveForUndrain(ctx context.Context, cluster Cluster, journal Journal, member string) (View, error) {
	view, err := Observe(ctx, cluster, journal)
	if err != nil {
		return View{}, err
	}
	var away []Instance
	for _, e := range view.Records[member].Entries {
		if i, there := view.find(e); there && i.Member != member && !i.Unobserved {
			away = append(away, i)
		}
	}
	if view.Capacities, err = cluster.Capacities(ctx, away); err != nil {
		return View{}, err
	}
	view.Backups, err = cluster.Backups(ctx, away)
	return view, err
}

// losing says which of an instance's backups its move deletes, for the end of a sentence; empty when it
// has none.
func (v View) deletedBackups(i Instance) string {
	n := v.Backups[i.Ref]
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("; LXD deletes its %s on the way: lxc export %s keeps a copy", count(n, "backup"), i.Name)
}

// cramped says of each host what it lacks, or has too little of, for an instance; empty when
// one of them has it all.
func explainShortage(view View, hosts []Member, i Instance, why func(Capacity, Requirements) string) string {
	var all []string
	for _, m := range hosts {
		reason := why(view.Capacities[m.Name], i.Requirements)
		if reason == "" {
			return ""
		}
		all = append(all, m.Name+" has "+reason)
	}
	return strings.Join(all, ", ")
}

// bytes gives a number of bytes as LXD writes it, rounded down.
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

// roomiest compares two members for an instance: one that can run it as it is meant to comes
// before one that cannot, and one that has it free before one that may be too full.
func compareByFit(view View, needs Requirements, a, b Member) int {
	rank := func(m Member) int {
		room := view.Capacities[m.Name]
		switch {
		case room.missing(needs) != "":
			return 2
		case room.shortOf(needs) != "":
			return 1
		}
		return 0
	}
	return cmp.Compare(rank(a), rank(b))
}

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
type Needs struct {
	Memory int64  // bytes; limits.memory
	CPUs   int    // limits.cpu: how many, or the highest that it is pinned to, and one
	Pool   string // storage pool of its root disk
	Disk   int64  // bytes; the size of its root disk
}

// of gives what of it is needed when the instance runs, or stands still.
func (n Needs) of(runs bool) Needs {
	if runs {
		return n
	}
	return Needs{Pool: n.Pool, Disk: n.Disk}
}

// needs returns what an instance needs elsewhere, running or not. A limit above what its member
// has is no need: it runs there with less.
func (v View) needs(i Instance, runs bool) Needs {
	n, here := i.Needs.of(runs), v.Rooms[i.Member]
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
type Room struct {
	Memory int64            // bytes
	Free   int64            // bytes of the memory that are not used
	CPUs   int              // processors
	Pools  map[string]int64 // bytes free in each storage pool that it has; -1 is not known
	// Has is what the member has of what devices use, see Use: "bridge br0". Unlike the rest it
	// keeps an instance away also where it is not known.
	Has map[string]bool
	// Bars are the LXD projects whose instances may not be there: restricted.cluster.groups.
	Bars map[string]bool
	// Managed is what of it LXD manages on all members: its own evacuation moves what uses it.
	Managed map[string]bool
}

// lacks says what a member does not have at all of what an instance needs; empty when it
// could run it as it is meant to.
func (r Room) lacks(n Needs) string {
	var lacks []string
	if r.Memory > 0 && n.Memory > r.Memory {
		lacks = append(lacks, fmt.Sprintf("%s of memory, not %s", bytes(r.Memory), bytes(n.Memory)))
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
func (r Room) tight(n Needs) string {
	var tight []string
	if r.Memory > 0 && n.Memory > r.Free {
		tight = append(tight, bytes(r.Free)+" of memory free")
	}
	if free, there := r.Pools[n.Pool]; there && free >= 0 && n.Disk > free {
		tight = append(tight, fmt.Sprintf("%s free in pool %s", bytes(free), n.Pool))
	}
	return strings.Join(tight, " and ")
}

// with gives the room that is left when an instance with those needs has come too.
func (r Room) with(n Needs) Room {
	r.Free = max(0, r.Free-n.Memory)
	if free, there := r.Pools[n.Pool]; there && free >= 0 {
		r.Pools = maps.Clone(r.Pools)
		r.Pools[n.Pool] = max(0, free-n.Disk)
	}
	return r
}

// Survey observes a cluster and its journal for a plan about a member: unlike Look it also
// asks what room there is elsewhere for what the member has.
func Survey(ctx context.Context, cluster Cluster, journal Journal, member string) (View, error) {
	view, err := Look(ctx, cluster, journal)
	if err != nil {
		return View{}, err
	}
	if view.Rooms, err = cluster.Rooms(ctx, view.on(member)); err != nil {
		return View{}, err
	}
	if view.Backups, err = cluster.Backups(ctx, view.on(member)); err != nil {
		return View{}, err
	}
	view.AsksForVoters, err = cluster.AsksForVoters(ctx)
	return view, err
}

// SurveyBack is Survey for an undrain of a member: it asks what the member has for what would come
// back to it.
func SurveyBack(ctx context.Context, cluster Cluster, journal Journal, member string) (View, error) {
	view, err := Look(ctx, cluster, journal)
	if err != nil {
		return View{}, err
	}
	var away []Instance
	for _, e := range view.Records[member].Entries {
		if i, there := view.find(e); there && i.Member != member && !i.Unseen {
			away = append(away, i)
		}
	}
	if view.Rooms, err = cluster.Rooms(ctx, away); err != nil {
		return View{}, err
	}
	view.Backups, err = cluster.Backups(ctx, away)
	return view, err
}

// losing says which of an instance's backups its move deletes, for the end of a sentence; empty when it
// has none.
func (v View) losing(i Instance) string {
	n := v.Backups[i.Ref]
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("; LXD deletes its %s on the way: lxc export %s keeps a copy", count(n, "backup"), i.Name)
}

// cramped says of each host what it lacks, or has too little of, for an instance; empty when
// one of them has it all.
func cramped(view View, hosts []Member, i Instance, why func(Room, Needs) string) string {
	var all []string
	for _, m := range hosts {
		reason := why(view.Rooms[m.Name], i.Needs)
		if reason == "" {
			return ""
		}
		all = append(all, m.Name+" has "+reason)
	}
	return strings.Join(all, ", ")
}

// bytes gives a number of bytes as LXD writes it, rounded down.
func bytes(n int64) string {
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
func roomiest(view View, needs Needs, a, b Member) int {
	rank := func(m Member) int {
		room := view.Rooms[m.Name]
		switch {
		case room.lacks(needs) != "":
			return 2
		case room.tight(needs) != "":
			return 1
		}
		return 0
	}
	return cmp.Compare(rank(a), rank(b))
}

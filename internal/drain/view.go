package drain

import (
	"context"
	"slices"
	"strings"
	"time"
)

// View is an observation of a cluster, from which plans are made and results are verified.
type View struct {
	Members    []Member
	Instances  []Instance
	HalfMoved  []Instance // those that are HalfMoved; they are not among Instances
	Copies     []Instance // copies under the name of a copy, and what a copy has Replaced; nor are they
	Records    map[string]Record
	Capacities map[string]Capacity // nil where they were not observed, see ObserveWithCapacity
	// Backups is what Cluster.Backups returns; nil where it was not asked.
	Backups map[Ref]int
	// CopyBlockers is what Cluster.CopyBlockers returns; nil where it was not asked.
	CopyBlockers map[Ref]string
	// ChecksVoters is what Cluster.ChecksVoters reports; false where it was not asked.
	ChecksVoters bool
	// Now is when the view was made, for what is not to be tried again before some time; zero has all
	// tried.
	Now time.Time
}

// Observe observes a cluster and its journal.
func Observe(ctx context.Context, cluster Cluster, journal Journal) (View, error) {
	var view View
	var err error
	if view.Members, err = cluster.Members(ctx); err != nil {
		return View{}, err
	}
	if view.Instances, err = cluster.Instances(ctx); err != nil {
		return View{}, err
	}
	view.Instances = slices.DeleteFunc(view.Instances, func(i Instance) bool {
		switch {
		case i.HalfMoved:
			view.HalfMoved = append(view.HalfMoved, i)
		case i.Replaced || i.CopyOf != "" && strings.HasPrefix(i.Name, copyPrefix):
			view.Copies = append(view.Copies, i)
		default:
			return false
		}
		return true
	})
	view.Records, err = journal.Records(ctx)
	return view, err
}

// ObserveWithCapacity observes a cluster and its journal for a plan to drain a member: unlike Observe
// it also asks for the capacity elsewhere that the member's instances require.
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
	if view.CopyBlockers, err = cluster.CopyBlockers(ctx, view.instancesOn(member)); err != nil {
		return View{}, err
	}
	view.ChecksVoters, err = cluster.ChecksVoters(ctx)
	return view, err
}

// ObserveForUndrain is ObserveWithCapacity for an undrain of a member: it asks for the member's
// capacity, for what would come back to it.
func ObserveForUndrain(ctx context.Context, cluster Cluster, journal Journal, member string) (View, error) {
	view, err := Observe(ctx, cluster, journal)
	if err != nil {
		return View{}, err
	}
	var away []Instance
	away = append(away, view.HalfMoved...) // they may have their names again before they come back
	for _, e := range view.Records[member].Entries {
		if i, there := view.find(e); there && i.Member != member && !i.Unobserved {
			away = append(away, i)
		}
	}
	if view.Capacities, err = cluster.Capacities(ctx, away); err != nil {
		return View{}, err
	}
	if view.Backups, err = cluster.Backups(ctx, away); err != nil {
		return View{}, err
	}
	view.CopyBlockers, err = cluster.CopyBlockers(ctx, away)
	return view, err
}

// Member finds a member; ok is false when the cluster has none of that name.
func (v View) Member(name string) (m Member, ok bool) {
	for _, m := range v.Members {
		if m.Name == name {
			return m, true
		}
	}
	return Member{}, false
}

// memberNames lists the members' names.
func (v View) memberNames() string {
	names := make([]string, len(v.Members))
	for i, m := range v.Members {
		names[i] = m.Name
	}
	return strings.Join(names, ", ")
}

// instancesOn lists the instances that are on a member.
func (v View) instancesOn(member string) []Instance {
	var there []Instance
	for _, i := range v.Instances {
		if i.Member == member {
			there = append(there, i)
		}
	}
	return there
}

// find finds the instance of an entry; ok is false when it was deleted.
func (v View) find(e Entry) (i Instance, ok bool) {
	for _, i := range v.Instances {
		if e.matches(i) {
			return i, true
		}
	}
	return Instance{}, false
}

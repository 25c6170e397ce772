package drain

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// targets lists the members other than from on which LXD's scheduler may place i, and that have what
// its devices use. An empty architecture matches all. First come those that have capacity for it, of
// these those that need not be empty soon, or latest, and of these the one with the fewest instances,
// those that are coming included.
func (v View) targets(from string, i Instance, coming map[string]int) []Member {
	load := map[string]int{}
	maps.Copy(load, coming)
	for _, i := range v.Instances {
		load[i.Member]++
	}
	var targets []Member
	for _, m := range v.Members {
		if m.Name != from && v.mayTake(m, i) && v.missingOn(m.Name, i) == "" {
			targets = append(targets, m)
		}
	}
	slices.SortFunc(targets, func(a, b Member) int {
		return cmp.Or(compareByFit(v, i.Requirements, a, b), compareByNextDrain(a, b), load[a.Name]-load[b.Name], strings.Compare(a.Name, b.Name))
	})
	return targets
}

// compareByNextDrain compares two members: the one that can have instances for longer comes first.
func compareByNextDrain(a, b Member) int {
	if a.EmptyBy.IsZero() || b.EmptyBy.IsZero() {
		return a.EmptyBy.Compare(b.EmptyBy)
	}
	return b.EmptyBy.Compare(a.EmptyBy)
}

// compareByFit compares two members for an instance: one that can run it within its limits comes
// before one that cannot, and one that has it free before one that may be too full.
func compareByFit(view View, requirements Requirements, a, b Member) int {
	rank := func(m Member) int {
		capacity := view.Capacities[m.Name]
		switch {
		case capacity.missing(requirements) != "":
			return 2
		case capacity.shortOf(requirements) != "":
			return 1
		}
		return 0
	}
	return cmp.Compare(rank(a), rank(b))
}

// mayTake reports whether LXD's scheduler may place an instance on a member, whatever its devices use.
func (v View) mayTake(m Member, i Instance) bool {
	return m.Status == Online && m.accepts(i.Group) && !v.Capacities[m.Name].DeniedProjects[i.Project] &&
		(i.Architecture == "" || slices.Contains(m.Architectures, i.Architecture))
}

// unsuitableTargets returns, of each member that would take an instance, but for what its devices use,
// what that member lacks, its name before sep: "c has no bridge br0". It is empty when there is none.
func (v View) unsuitableTargets(i Instance, sep string) string {
	bare := i
	bare.HostDevices = nil
	var all []string
	for _, m := range v.targets(i.Member, bare, nil) {
		if why := v.missingOn(m.Name, i); why != "" {
			all = append(all, m.Name+sep+why)
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// noTargetReason returns why no member can take an instance, where targets returns none.
func (v View) noTargetReason(i Instance) string {
	if unsuitable := v.unsuitableTargets(i, " "); unsuitable != "" {
		devices := make([]string, len(i.HostDevices))
		for n, d := range i.HostDevices {
			devices[n] = fmt.Sprintf("%s uses %s", d.Device, d.Resource)
		}
		return fmt.Sprintf("%s of the host, and %s", strings.Join(devices, ", "), unsuitable)
	}
	of := ""
	if i.Group != "" {
		of = " of cluster group " + i.Group
	}
	for _, m := range v.Members {
		if v.Capacities[m.Name].DeniedProjects[i.Project] && m.Name != i.Member {
			of += fmt.Sprintf(" that project %s may use (restricted.cluster.groups)", i.Project)
			break
		}
	}
	return "no other member" + of + " is Online, takes instances and runs " + i.Architecture
}

// explainShortage returns what each target lacks, or has too little of, for an instance; empty when
// one of them has it all.
func explainShortage(view View, targets []Member, i Instance, shortage func(Capacity, Requirements) string) string {
	var all []string
	for _, m := range targets {
		reason := shortage(view.Capacities[m.Name], i.Requirements)
		if reason == "" {
			return ""
		}
		all = append(all, m.Name+" has "+reason)
	}
	return strings.Join(all, ", ")
}

package drainlxd

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/canonical/lxd/shared"
	"github.com/canonical/lxd/shared/api"
	"github.com/canonical/lxd/shared/units"

	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/lxd"
)

// requirementsOf returns what an instance may use. A limit in per cent of the member requires nothing: it
// fits everywhere.
func requirementsOf(i api.Instance) drain.Requirements {
	var n drain.Requirements
	if memory, err := units.ParseByteSizeString(i.ExpandedConfig["limits.memory"]); err == nil {
		n.Memory = max(0, memory)
	}
	n.CPUs = cpuCount(i.ExpandedConfig["limits.cpu"])
	for _, d := range i.ExpandedDevices {
		if d["type"] != "disk" || d["path"] != "/" {
			continue
		}
		n.Pool = d["pool"]
		if size, err := units.ParseByteSizeString(d["size"]); err == nil {
			n.Disk = max(0, size)
		}
	}
	return n
}

// cpuCount parses limits.cpu: a number, or a set such as "0-3,7", of which a member has to have the
// highest.
func cpuCount(limit string) int {
	if n, err := strconv.Atoi(limit); err == nil {
		return max(0, n)
	}
	highest := -1
	for _, part := range strings.Split(limit, ",") {
		_, last, found := strings.Cut(part, "-")
		if !found {
			last = part
		}
		if n, err := strconv.Atoi(strings.TrimSpace(last)); err == nil {
			highest = max(highest, n)
		}
	}
	return min(highest, math.MaxInt32) + 1
}

// Processors implements drain.Observer.
func (c Cluster) Processors(_ context.Context, member string) int {
	has, err := c.Server.UseTarget(member).GetServerResources()
	if err != nil {
		return 0
	}
	return int(has.CPU.Total)
}

// Capacities implements drain.Observer. The capacity of a member that cannot be asked is not known.
func (c Cluster) Capacities(_ context.Context, instances []drain.Instance) (map[string]drain.Capacity, error) {
	resources, uses, sized := false, false, map[string]bool{}
	for _, i := range instances {
		resources = resources || i.Requirements.Memory > 0 || i.Requirements.CPUs > 0
		for _, use := range i.HostDevices {
			uses = true
			resources = resources || strings.HasPrefix(use.Resource, "gpu ")
		}
		if i.Requirements.Disk > 0 {
			sized[i.Requirements.Pool] = true
		}
	}
	if len(instances) == 0 {
		return nil, nil
	}
	members, err := c.Server.GetClusterMembers()
	if err != nil {
		return nil, fmt.Errorf("cannot list LXD's cluster members: %w", err)
	}
	pools, err := c.Server.GetStoragePools()
	if err != nil {
		return nil, fmt.Errorf("cannot list LXD's storage pools: %w", err)
	}
	capacities := map[string]drain.Capacity{}
	for _, m := range members {
		capacities[m.ServerName] = drain.Capacity{Pools: poolsOf(m.ServerName, pools), DeniedProjects: map[string]bool{}}
	}
	for _, project := range projectsOf(instances) {
		there, _, err := c.Server.GetProject(project)
		if err != nil {
			return nil, fmt.Errorf("cannot read LXD's project %s: %w", project, err)
		}
		for _, m := range members {
			capacities[m.ServerName].DeniedProjects[project] = denies(there.Config, m.Groups)
		}
	}
	checksParents, interfaces := false, interfacesOf(instances)
	if uses {
		server, _, err := c.Server.GetServer()
		if err != nil {
			return nil, fmt.Errorf("cannot read LXD's version: %w", err)
		}
		checksParents = lxd.FeaturesOf(server).NICParents
	}
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, m := range members {
		status := drain.MemberStatus(m.Status)
		if status != drain.Online && status != drain.Evacuated || !resources && !uses && len(sized) == 0 {
			continue
		}
		server := c.Server.UseTarget(m.ServerName)
		asking.Go(func() {
			var has *api.Resources
			if resources {
				has, _ = server.GetServerResources()
			}
			networks, unknown := networksOf(server, interfaces)
			free := map[string]int64{}
			for pool := range sized {
				if space, err := server.GetStoragePoolResources(pool); err == nil && space.Space.Total > 0 {
					free[pool] = int64(space.Space.Total - min(space.Space.Total, space.Space.Used))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			capacity := capacities[m.ServerName]
			if has != nil {
				capacity.Memory, capacity.CPUs = int64(has.Memory.Total), int(has.CPU.Total)
				capacity.FreeMemory = capacity.Memory - int64(min(has.Memory.Total, has.Memory.Used))
			}
			if uses && unknown == nil {
				capacity.HostResources, capacity.ManagedResources = hostResourcesOf(networks, has, checksParents)
			}
			for pool, n := range free {
				if _, there := capacity.Pools[pool]; there {
					capacity.Pools[pool] = n
				}
			}
			capacities[m.ServerName] = capacity
		})
	}
	asking.Wait()
	return capacities, nil
}

// projectsOf lists the projects of instances.
func projectsOf(instances []drain.Instance) []string {
	var projects []string
	for _, i := range instances {
		if i.Project != "" {
			projects = append(projects, i.Project)
		}
	}
	slices.Sort(projects)
	return slices.Compact(projects)
}

// denies reports whether the options of a project exclude a member in those cluster groups: LXD refuses
// to move the project's instances there (AllowClusterMember, lxd 6.6, lxd/project/limits).
func denies(project map[string]string, groups []string) bool {
	allowed := shared.SplitNTrimSpace(project["restricted.cluster.groups"], ",", -1, true)
	return shared.IsTrue(project["restricted"]) && len(allowed) > 0 &&
		!slices.ContainsFunc(groups, func(group string) bool { return slices.Contains(allowed, group) })
}

// poolsOf returns the pools that a member has, with unknown space: also those whose location LXD does not
// report.
func poolsOf(member string, pools []api.StoragePool) map[string]int64 {
	has := map[string]int64{}
	for _, p := range pools {
		if len(p.Locations) == 0 || slices.Contains(p.Locations, member) {
			has[p.Name] = -1
		}
	}
	return has
}

package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/canonical/lxd/shared/api"
)

// Volumes implements ClusterClient. Snapshots and backups of a volume are lost with it. LXD copies images
// to the other members (autoSyncImages in lxd/images.go).
func (g clusterClient) Volumes(_ context.Context, member string) ([]string, error) {
	wrong := func(err error) error { return fmt.Errorf("cannot list LXD's storage volumes: %w", err) }
	projects, err := g.Server.GetProjectNames()
	if err != nil {
		return nil, wrong(err)
	}
	pools, err := g.Server.GetStoragePools()
	if err != nil {
		return nil, wrong(err)
	}
	var there []string
	// What is on shared storage has no location. A project without volumes or buckets of its own lists
	// those of the default project.
	add := func(kind, name, pool, project, listed, location string) {
		if project == "" {
			project = listed
		}
		line := fmt.Sprintf("%s %s (pool %s, project %s)", kind, name, pool, project)
		if location == member && !slices.Contains(there, line) {
			there = append(there, line)
		}
	}
	for _, project := range projects {
		server := g.Server.UseProject(project)
		for _, pool := range pools {
			volumes, err := server.GetStoragePoolVolumes(pool.Name)
			if err != nil {
				return nil, wrong(err)
			}
			for _, v := range volumes {
				if v.Type == "custom" && !strings.Contains(v.Name, "/") {
					add(kindVolume, v.Name, pool.Name, v.Project, project, v.Location)
				}
			}
			// LXD ignores buckets when a member leaves (NodeIsEmpty in lxd/db/node.go), and deletes them
			// with the member's part of the pool.
			if !g.buckets || !slices.Contains(bucketDrivers, pool.Driver) {
				continue
			}
			buckets, err := server.GetStoragePoolBuckets(pool.Name)
			if err != nil && !api.StatusErrorCheck(err, 404) {
				return nil, wrong(err)
			}
			for _, b := range buckets {
				add(kindBucket, b.Name, pool.Name, b.Project, project, b.Location)
			}
		}
	}
	slices.Sort(there)
	return there, nil
}

// waysAway returns for each kind in what how it is moved to another member.
func waysAway(member string, what []string) string {
	var ways []string
	for _, w := range []struct{ kind, way string }{
		{kindInstance, "lxc move NAME --target MEMBER"},
		{kindVolume, fmt.Sprintf("lxc storage volume move POOL/NAME POOL/NAME --target %s --destination-target MEMBER", member)},
		{kindBucket, "lxc storage bucket export POOL NAME FILE, delete it, then lxc storage bucket import POOL FILE NAME --target MEMBER"},
	} {
		if slices.ContainsFunc(what, func(line string) bool { return strings.HasPrefix(line, w.kind+" ") }) {
			ways = append(ways, w.way)
		}
	}
	if len(ways) == 0 {
		return ""
	}
	return " (" + strings.Join(ways, "; ") + ")"
}

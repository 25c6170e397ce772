package drainlxd

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/canonical/lxd/shared"
	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/drain"
)

// Instances implements drain.Observer.
func (c Cluster) Instances(context.Context) ([]drain.Instance, error) {
	all, err := c.Server.GetInstancesAllProjects(api.InstanceTypeAny)
	if err != nil {
		return nil, fmt.Errorf("cannot list LXD's instances: %w", err)
	}
	var remote map[string]bool
	if slices.ContainsFunc(all, hasPoolDisk) {
		if remote, err = c.remotePools(); err != nil {
			return nil, err
		}
	}
	whole := map[string]bool{} // by volatile.uuid
	for _, i := range all {
		_, _, ours := drain.ParseTemporaryName(i.Name)
		whole[i.Config[uuidKey]] = whole[i.Config[uuidKey]] || !temporaryName.MatchString(i.Name) && !ours
	}
	instances := make([]drain.Instance, 0, len(all))
	for _, i := range all {
		one := instanceOf(i, remote)
		if temporaryName.MatchString(i.Name) {
			if whole[i.Config[uuidKey]] && !one.Running {
				continue // a move that LXD has not completed
			}
			one.HalfMoved = one.ID != ""
		}
		if id, isCopy, ok := drain.ParseTemporaryName(i.Name); ok && isCopy && (one.Unobserved || one.CopyOf == id) {
			one.CopyOf = id
		} else if ok && !isCopy && (one.Unobserved || one.ID == id) {
			one.ID, one.HalfMoved, one.Replaced = id, !whole[id], whole[id]
		}
		instances = append(instances, one)
	}
	return instances, nil
}

// uuidKey is the instance option that stays the same wherever an instance goes.
const uuidKey = "volatile.uuid"

// temporaryName is the name of an instance while LXD moves it to a member: by a number up to 5.0.1, by
// its UUID since (lxd/instance_post.go; seen with lxd 5.0.2).
var temporaryName = regexp.MustCompile(`^lxd-move-of-([0-9]+|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$`)

// instanceOf converts one of LXD's instances. remotePools are the pools that every member reaches.
func instanceOf(i api.Instance, remotePools map[string]bool) drain.Instance {
	evacuate := i.ExpandedConfig["cluster.evacuate"]
	if member, was := savedEvacuate(i); member != "" {
		evacuate = was
	}
	auto := isAuto(evacuate)
	local, host := classifyDevices(i.Type, i.ExpandedDevices, remotePools)
	return drain.Instance{
		Ref:          drain.Ref{Project: i.Project, Name: i.Name},
		ID:           i.Config[uuidKey],
		Member:       i.Location,
		CopyOf:       i.Config[copyOfKey],
		CopyFor:      i.Config[copyForKey],
		Unobserved:   i.StatusCode == api.Error && len(i.Config) == 0,
		Running:      isRunning(i),
		Frozen:       i.StatusCode == api.Frozen,
		CloudInitID:  i.Config[cloudInitKey],
		Architecture: i.Architecture,
		Group:        strings.TrimPrefix(i.Config[groupKey], "@"),
		Requirements: requirementsOf(i),
		Ephemeral:    i.Ephemeral,
		LiveMovable:  evacuate == "live-migrate" || auto && len(local) == 0 && i.Type == "virtual-machine" && shared.IsTrue(i.ExpandedConfig["migration.stateful"]),
		Evacuate:     evacuate,
		LocalDevices: local,
		HostDevices:  host,
		Origin:       i.Config["volatile.evacuate.origin"],
		ShouldRun:    i.Config["volatile.last_state.power"] == "RUNNING",
	}
}

// isRunning reports whether an instance runs, frozen ones included. LXD reports "Error" for what it
// cannot ask, as on a member that is Offline.
func isRunning(i api.Instance) bool {
	return i.StatusCode != api.Stopped && i.StatusCode != api.Error
}

// hasPoolDisk reports whether an instance has a disk from a pool besides its root.
func hasPoolDisk(i api.Instance) bool {
	for _, d := range i.ExpandedDevices {
		if d["type"] == "disk" && d["pool"] != "" && d["path"] != "/" {
			return true
		}
	}
	return false
}

// remotePools returns which pools every member reaches.
func (c Cluster) remotePools() (map[string]bool, error) {
	pools, err := c.Server.GetStoragePools()
	if err != nil {
		return nil, fmt.Errorf("cannot list LXD's storage pools: %w", err)
	}
	remote := map[string]bool{}
	for _, p := range pools {
		remote[p.Name] = slices.Contains([]string{"ceph", "cephfs", "cephobject"}, p.Driver)
	}
	return remote, nil
}

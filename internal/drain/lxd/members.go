package drainlxd

import (
	"context"
	"fmt"
	"slices"

	"github.com/canonical/lxd/shared/api"
	"github.com/canonical/lxd/shared/osarch"

	"github.com/dcib/dcib/internal/drain"
)

// Members implements drain.Observer.
func (c Cluster) Members(context.Context) ([]drain.Member, error) {
	all, err := c.Server.GetClusterMembers()
	if err != nil {
		return nil, fmt.Errorf("cannot list LXD's cluster members: %w", err)
	}
	return MembersOf(all), nil
}

// MembersOf converts LXD's members.
func MembersOf(all []api.ClusterMember) []drain.Member {
	members := make([]drain.Member, len(all))
	for n, m := range all {
		members[n] = memberOf(m)
	}
	return members
}

// memberOf converts one of LXD's members.
func memberOf(m api.ClusterMember) drain.Member {
	return drain.Member{
		Name:          m.ServerName,
		Status:        drain.MemberStatus(m.Status),
		Architectures: architecturesOf(m.Architecture),
		Scheduler:     m.Config[schedulerKey],
		Groups:        m.Groups,
		Voter:         slices.Contains(m.Roles, "database") || slices.Contains(m.Roles, "database-leader"),
		Standby:       slices.Contains(m.Roles, "database-standby"),
		ControlPlane:  slices.Contains(m.Roles, "control-plane"),
	}
}

// architecturesOf lists the architectures of the instances that a machine can run.
func architecturesOf(architecture string) []string {
	all := []string{architecture}
	id, err := osarch.ArchitectureId(architecture)
	if err != nil {
		return all
	}
	others, err := osarch.ArchitecturePersonalities(id)
	if err != nil {
		return all
	}
	for _, id := range others {
		if name, err := osarch.ArchitectureName(id); err == nil {
			all = append(all, name)
		}
	}
	return all
}

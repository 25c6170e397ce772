package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/charm"
)

// groupsKey is the key of a member's configuration with the cluster groups that the charm put it into,
// separated by commas. The charm removes it from no other group.
const groupsKey = "user.dcib.groups"

// firstGroup is the group of each new member. A member has to be in a group.
const firstGroup = "default"

// parseGroups reads option cluster-groups. The problem is as in ParseConfig.
func parseGroups(text string) (groups []string, problem string) {
	for group := range strings.SplitSeq(text, ",") {
		switch group = strings.TrimSpace(group); {
		case group == "" || slices.Contains(groups, group):
		case !plainName(group):
			return nil, fmt.Sprintf("option cluster-groups has %q, wanted names of letters, digits, dots, dashes, separated by commas, like gpu,rack2", group)
		default:
			groups = append(groups, group)
		}
	}
	slices.Sort(groups)
	return groups, ""
}

// regroup returns the groups that a member has to be in, and those of them that the charm put it into: from
// the groups that it is in, those that the charm put it into before, and the option.
func regroup(in []string, ours string, want []string) (groups, record []string) {
	put, _ := parseGroups(ours)
	for _, group := range in {
		if !slices.Contains(put, group) || slices.Contains(want, group) {
			groups = append(groups, group)
		}
	}
	for _, group := range want {
		if !slices.Contains(in, group) {
			groups = append(groups, group)
			record = append(record, group)
		} else if slices.Contains(put, group) {
			record = append(record, group)
		}
	}
	if len(groups) == 0 {
		groups = []string{firstGroup}
	}
	slices.Sort(groups)
	return groups, record
}

// grouped reports whether a member is in the groups that regroup returns.
func grouped(in []string, ours string, want []string) bool {
	groups, record := regroup(in, ours, want)
	return slices.Equal(groups, slices.Sorted(slices.Values(in))) && strings.Join(record, ",") == ours
}

// groups plans the cluster groups of this unit's member.
func (f Facts) groups() []charm.Step[Env] {
	want := f.Config.Groups
	at := slices.IndexFunc(f.LXD.Members, func(m Member) bool { return m.Name == f.LXD.Member })
	if at < 0 || len(f.Problems) > 0 || !f.LXD.Groups {
		return nil
	}
	if m := f.LXD.Members[at]; grouped(m.Groups, m.OurGroups, want) {
		return nil
	}
	return []charm.Step[Env]{setGroups{f.LXD.Member, want}}
}

// groupsUnmet reports that this LXD has no cluster groups.
func (f Facts) groupsUnmet() []string {
	if len(f.Config.Groups) == 0 || f.LXD.Groups || !f.LXD.Clustered {
		return nil
	}
	return []string{fmt.Sprintf("option cluster-groups is %s: LXD %s has no cluster groups (API extension clustering_groups): upgrade it, or clear the option", strings.Join(f.Config.Groups, ","), f.LXD.Version)}
}

// setGroups puts a member into cluster groups, and removes it from those that the charm put it into before.
type setGroups struct {
	member string
	want   []string
}

func (s setGroups) Name() string {
	if len(s.want) == 0 {
		return "take " + s.member + " out of our cluster groups"
	}
	return "put " + s.member + " into cluster groups " + strings.Join(s.want, ", ")
}

func (s setGroups) Apply(ctx context.Context, w Env) error {
	return w.LXD.SetGroups(ctx, s.member, s.want)
}

// SetGroups implements LXD.
func (s *LocalLXD) SetGroups(ctx context.Context, member string, want []string) error {
	server, err := s.Server(ctx)
	if err != nil {
		return err
	}
	there, err := server.GetClusterGroupNames()
	if err != nil {
		return fmt.Errorf("cannot list LXD's cluster groups: %w", err)
	}
	for _, group := range want {
		if slices.Contains(there, group) {
			continue
		}
		post := api.ClusterGroupsPost{Name: group}
		post.Members = []string{}
		if err := ignoreExists(server.CreateClusterGroup(post)); err != nil {
			return fmt.Errorf("cannot create cluster group %s: %w", group, err)
		}
	}
	return s.changeMember(ctx, member, "cluster groups "+strings.Join(want, ", "), func(put *api.ClusterMemberPut) bool {
		if grouped(put.Groups, put.Config[groupsKey], want) {
			return false
		}
		groups, record := regroup(put.Groups, put.Config[groupsKey], want)
		put.Groups = groups
		if put.Config == nil {
			put.Config = map[string]string{}
		}
		if put.Config[groupsKey] = strings.Join(record, ","); len(record) == 0 {
			delete(put.Config, groupsKey)
		}
		return true
	})
}

package cluster

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/charm"
)

// noDomain is the failure domain of a member without one.
const noDomain = "default"

// failureDomain plans the failure domain of this unit's member: LXD spreads the replicas of its database
// over them. A domain that the member has already may be an operator's, and stays.
func (f Facts) failureDomain() []charm.Step[Env] {
	want := f.Config.FailureDomain
	switch want {
	case "off":
		return nil
	case "auto":
		want = f.Zone
	}
	at := slices.IndexFunc(f.LXD.Members, func(m Member) bool { return m.Name == f.LXD.Member })
	if at < 0 || want == "" || want == noDomain || len(f.Problems) > 0 {
		return nil
	}
	has := f.LXD.Members[at].FailureDomain
	if has != noDomain {
		return nil
	}
	return []charm.Step[Env]{setFailureDomain{f.LXD.Member, has, want}}
}

// setFailureDomain sets a member's failure domain.
type setFailureDomain struct{ member, from, to string }

func (s setFailureDomain) Name() string { return "put " + s.member + " into failure domain " + s.to }

func (s setFailureDomain) Apply(ctx context.Context, w Env) error {
	return w.LXD.SetFailureDomain(ctx, s.member, s.from, s.to)
}

// SetFailureDomain implements LXD.
func (s *LocalLXD) SetFailureDomain(ctx context.Context, member, from, to string) error {
	return s.changeMember(ctx, member, "failure domain "+to, func(put *api.ClusterMemberPut) bool {
		if put.FailureDomain != from {
			return false
		}
		put.FailureDomain = to
		return true
	})
}

// changeMember changes LXD's settings of a member; what names them in an error. change reports whether it
// changed anything.
func (s *LocalLXD) changeMember(ctx context.Context, member, what string, change func(*api.ClusterMemberPut) bool) error {
	server, err := s.Server(ctx)
	if err != nil {
		return err
	}
	// LXD changes roles on its own, and pet-scheduler writes to the same member: on a conflict the change
	// is made again.
	for range 5 {
		there, etag, err := server.GetClusterMember(member)
		if err != nil {
			return fmt.Errorf("cannot read LXD's member %s: %w", member, err)
		}
		put := there.Writable()
		if !change(&put) {
			return nil
		}
		err = server.UpdateClusterMember(member, put, etag)
		if api.StatusErrorCheck(err, http.StatusPreconditionFailed) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot set %s on member %s: %w", what, member, err)
		}
		return nil
	}
	return fmt.Errorf("cannot set %[2]s on member %[1]s: others change that member at the same time (retried automatically)", member, what)
}

package pets

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/charms/pet-scheduler/access"
	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/relation/lxdhttps"
	draintest "github.com/dcib/dcib/internal/testkit/drain"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

// lxd is a cluster that trusts or does not.
type lxd struct {
	*draintest.LXD
	trusts bool
	down   error
}

func (l *lxd) Prepare() error { return nil }

func (l *lxd) Overview() (Overview, error) {
	if !l.trusts {
		return Overview{}, nil
	}
	members, err := l.Members(context.Background())
	if err != nil {
		return Overview{}, err
	}
	records, err := l.Records(context.Background())
	return Overview{Trusted: true, Members: members, Records: records}, err
}

// stage is a model with one unit, and a cluster beside it.
type stage struct {
	t        *testing.T
	juju     *hooktooltest.Juju
	relation *hooktooltest.Relation
	lxd      *lxd
	dir      string
}

func newStage(t *testing.T) *stage {
	s := &stage{t: t, juju: hooktooltest.New(), lxd: &lxd{LXD: draintest.New("m1", "m2", "m3")}, dir: t.TempDir()}
	s.juju.AddUnit("pet-scheduler/0", "10.0.0.9")
	s.juju.AddUnit("lxd-cluster/0", "10.0.0.1")
	return s
}

func (s *stage) run(event hooktool.Event, params map[string]any) *hooktooltest.Tools {
	s.t.Helper()
	event.Unit = "pet-scheduler/0"
	tools, commit := s.juju.Hook(event.Unit)
	tools.Params = params
	c := Charm(func(event hooktool.Event, tools hooktool.Tools) Env {
		return Env{Unit: event.Unit, Dir: s.dir, Tools: tools, Connect: func(context.Context, lxdhttps.Offer, access.Identity) (LXD, error) {
			if s.lxd.down != nil {
				return nil, s.lxd.down
			}
			return s.lxd, nil
		}}
	})
	require.NoError(s.t, c.Run(s.t.Context(), event, tools))
	commit()
	return tools
}

func (s *stage) hook() string {
	s.t.Helper()
	s.run(hooktool.Event{Hook: "update-status"}, nil)
	unit := s.juju.Units["pet-scheduler/0"]
	return unit.Status + ": " + unit.Message
}

func (s *stage) action(name string, params map[string]any) *hooktooltest.Tools {
	s.t.Helper()
	all := map[string]any{"pet": "m1", "dry-run": false, "force": false, "timeout": "30m"}
	for k, v := range params {
		all[k] = v
	}
	if name == "undrain" {
		delete(all, "force")
	}
	return s.run(hooktool.Event{Action: name}, all)
}

// related brings the stage to where the charm can work.
func related(t *testing.T) *stage {
	s := newStage(t)
	s.relation = s.juju.Relate("pet-scheduler:lxd", "lxd-cluster:https")
	s.hook()
	s.relation.Databags["lxd-cluster"] = lxdhttps.Offer{
		// Any certificate does for a cluster that is not asked for it.
		Certificate: s.relation.Databags["pet-scheduler/0"]["certificate"],
		Addresses:   []string{"10.0.0.1:8443"},
	}.Encode()
	s.lxd.trusts = true
	return s
}

func TestStatus(t *testing.T) {
	s := newStage(t)
	require.Equal(t, "blocked: no LXD cluster: relate lxd to lxd-cluster:https", s.hook())

	s.relation = s.juju.Relate("pet-scheduler:lxd", "lxd-cluster:https")
	require.Equal(t, "waiting: waiting for LXD's address from relation lxd (lxd:0)", s.hook())
	bag := s.relation.Databags["pet-scheduler/0"]
	request, ok, err := lxdhttps.DecodeRequest(bag)
	require.NoError(t, err)
	require.True(t, ok)
	require.Empty(t, request.Projects)
	require.NotContains(t, bag["certificate"], "PRIVATE")

	s.relation.Databags["lxd-cluster"] = map[string]string{"version": "9", "certificate": "x"}
	require.Contains(t, s.hook(), `blocked: lxd-cluster: cannot use the lxd-https relation: the other side speaks version "9"`)

	s.relation.Databags["lxd-cluster"] = lxdhttps.Offer{Certificate: bag["certificate"], Addresses: []string{"10.0.0.1:8443"}}.Encode()
	require.Equal(t, "waiting: waiting for the LXD cluster to trust this unit: if this stays, see the status of its leader: its option https-unrestricted has to name this application", s.hook())

	s.lxd.down = errors.New("cannot reach LXD: 10.0.0.1:8443: connection refused")
	require.Equal(t, "waiting: cannot reach LXD: 10.0.0.1:8443: connection refused", s.hook())

	s.lxd.down, s.lxd.trusts = nil, true
	require.Equal(t, "active: 3 members, pets drained: none", s.hook())
	logged := len(s.juju.Units["pet-scheduler/0"].Log)
	s.hook()
	require.Len(t, s.juju.Units["pet-scheduler/0"].Log, logged, "nothing left to do")
}

func TestActions(t *testing.T) {
	s := related(t)
	s.lxd.Add("c1", "m1", true)
	s.lxd.Add("c2", "m1", true).LocalDevices = []string{"gpu gpu0"}

	said := s.action("drain", map[string]any{"dry-run": true, "force": true})
	require.Empty(t, said.Failure)
	require.Equal(t, map[string]string{
		"member": "m1",
		"plan": "drain m1: 2 instances, and no new ones are placed there\n" +
			"okay    c1: stops, moves to another member and starts there\n" +
			"warning c2: is tied to this member by gpu gpu0: it is stopped and stays, as force=true asks",
	}, said.Results)
	require.Empty(t, s.lxd.Calls)

	said = s.action("drain", nil)
	require.Contains(t, said.Failure, "cannot drain m1: nothing was changed, because of\nc2: is tied to this member by gpu gpu0; force=true")
	require.Contains(t, said.Results["plan"], "error   c2")
	require.Empty(t, s.lxd.Calls)

	said = s.action("drain", map[string]any{"force": true})
	require.Empty(t, said.Failure)
	require.Equal(t, "m1", said.Results["member"])
	require.Equal(t, "1", said.Results["moved"])
	require.Equal(t, "c1: m1 → m2 (running)\nc2: m1 (stopped)", said.Results["instances"])
	require.NotEmpty(t, said.Results["duration"])
	require.Equal(t, []string{"moving c1 from m1 to m2", "evacuating m1"}, said.Progress)
	require.Equal(t, "active: 3 members, pets drained: m1", s.hook())

	said = s.action("drain", nil)
	require.Empty(t, said.Failure)
	require.Contains(t, said.Results["plan"], "m1 is drained already")

	said = s.action("undrain", nil)
	require.Empty(t, said.Failure)
	require.Equal(t, "c1: m2 → m1 (running)\nc2: m1 (running)", said.Results["instances"])
	require.Equal(t, "active: 3 members, pets drained: none", s.hook())

	said = s.action("undrain", nil)
	require.Empty(t, said.Failure)
	require.Contains(t, said.Results["plan"], "m1 is not drained")
}

// Another client certificate takes the place of the one that is there, and the cluster is asked to
// trust it instead.
func TestRenewClientCertificate(t *testing.T) {
	s := related(t)
	before := s.relation.Databags["pet-scheduler/0"]["certificate"]
	said := s.action("renew-client-certificate", nil)
	require.Empty(t, said.Failure)
	now := s.relation.Databags["pet-scheduler/0"]["certificate"]
	require.NotEqual(t, before, now)
	require.Equal(t, now, said.Results["certificate"])
	require.NotContains(t, said.Results["certificate"], "PRIVATE")
	s.hook()
	require.Equal(t, now, s.relation.Databags["pet-scheduler/0"]["certificate"])
}

func TestActionsSayWhatIsWrong(t *testing.T) {
	s := related(t)
	require.Contains(t, s.action("drain", map[string]any{"pet": "m9"}).Failure, "its members are m1, m2, m3")
	require.Contains(t, s.action("drain", map[string]any{"timeout": "0s"}).Failure, "cannot use timeout=0s: use a length of time")
	s.lxd.SetStatus("m1", drain.Offline)
	require.Contains(t, s.action("undrain", nil).Failure, "it is Offline")
	s.lxd.trusts = false
	require.Contains(t, s.action("drain", nil).Failure, "cannot work on LXD: waiting for the LXD cluster to trust this unit: ")
	s.juju.Unrelate(s.relation)
	require.Equal(t, "cannot work on LXD: no LXD cluster: relate lxd to lxd-cluster:https", s.action("drain", nil).Failure)
}

func TestAKilledDrainShowsInTheStatus(t *testing.T) {
	s := related(t)
	s.lxd.Add("c1", "m1", true)
	s.lxd.CallsLeft = 16 // the evacuation is the last that is asked for
	require.NotEmpty(t, s.action("drain", nil).Failure)
	s.lxd.CallsLeft = -1
	require.Equal(t, drain.Evacuated, s.lxd.Status("m1"))
	require.Equal(t, "active: 3 members, pets drained: m1 (draining)", s.hook())
	require.Empty(t, s.action("undrain", nil).Failure)
	require.Equal(t, "m1", s.lxd.Find(drain.Ref{Project: "default", Name: "c1"}).Member)
}

// gone has the databags of the other side not found, as Juju has those of a unit that has just
// left.
type gone struct{ hooktool.Tools }

func (g gone) RelationGet(ctx context.Context, relation, owner string) (map[string]string, error) {
	if hooktool.AppOf(owner) == "lxd-cluster" {
		return nil, fmt.Errorf("cannot run relation-get: %w", hooktool.ErrNotFound)
	}
	return g.Tools.RelationGet(ctx, relation, owner)
}

func TestAnLXDThatHasJustLeft(t *testing.T) {
	s := related(t)
	s.juju.AddUnit("lxd-cluster/0", "10.0.0.1")
	tools, _ := s.juju.Hook("pet-scheduler/0")
	facts, err := Observe(t.Context(), hooktool.Event{}, Env{Unit: "pet-scheduler/0", Dir: s.dir, Tools: gone{tools}})
	require.NoError(t, err)
	require.False(t, facts.Offered)
}

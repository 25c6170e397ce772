package broker_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/charms/lxd-cluster/broker"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/lxd/profiles"
	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
	"github.com/dcib/dcib/internal/testkit/hooktool"
	"github.com/dcib/dcib/internal/testkit/profiles"
)

const (
	here  = "00000000-0000-4000-8000-000000000001" // the broker's model
	shop  = "00000000-0000-4000-8000-000000000002" // an honest one
	rogue = "00000000-0000-4000-8000-000000000003" // another's
)

// cluster is a Juju model with lxd-cluster in it, asked across models, and its LXD.
type cluster struct {
	t    tester
	juju *hooktooltest.Juju
	lxd  *profilestest.LXD
}

// tester is what is needed of *testing.T.
type tester interface {
	require.TestingT
	Helper()
}

func newCluster(t tester) *cluster {
	c := &cluster{t, hooktooltest.New(), profilestest.New()}
	c.juju.AddUnit("lxd-cluster/0", "10.0.0.1")
	c.juju.AddUnit("lxd-cluster/1", "10.0.0.2")
	return c
}

func (c *cluster) charm() charm.Charm[broker.Facts, *broker.Env] {
	return charm.Charm[broker.Facts, *broker.Env]{
		Env: func(_ hooktool.Event, tools hooktool.Tools) *broker.Env {
			return &broker.Env{Env: profiles.Env{Tools: tools, LXD: c.lxd, Project: "default", Now: c.lxd.Clock}, Random: rand.Reader}
		},
		Observe: func(ctx context.Context, event hooktool.Event, w *broker.Env) (broker.Facts, error) {
			leader, err := w.Tools.IsLeader(ctx)
			require.NoError(c.t, err)
			return broker.Observe(ctx, event, w, leader)
		},
		Plan: func(f broker.Facts) charm.Plan[*broker.Env] {
			return charm.Plan[*broker.Env]{Steps: broker.Plan(f).Steps, Status: charm.Active("")}
		},
		Actions: map[string]charm.Action[broker.Facts, *broker.Env]{"list-requesters": broker.ListRequesters},
	}
}

// event is a hook of the leader's.
func (c *cluster) event() hooktool.Event {
	return hooktool.Event{Hook: "update-status", Unit: c.juju.Leaders["lxd-cluster"], ModelUUID: here}
}

func (c *cluster) run(ctx context.Context) error {
	tools, commit := c.juju.Hook(c.event().Unit)
	err := c.charm().Run(ctx, c.event(), tools)
	if err == nil {
		commit()
	}
	return err
}

// hook runs a hook of the leader that must end well.
func (c *cluster) hook() {
	c.t.Helper()
	require.NoError(c.t, c.run(context.Background()))
}

// asker is an application that asks, with units of its own.
type asker struct {
	c        *cluster
	relation *hooktooltest.Relation
	app      string // as known to the broker
	name     string // its own
	request  lxdprofile.ProfileRequest
	claims   map[int]*lxdprofile.Claim
}

// ask relates an application of a model, across models, with n units, whose instances
// exist.
func (c *cluster) ask(model, app string, n int, config ...string) *asker {
	return c.askOver("lxd-profile", model, app, n, config...)
}

// askOver is ask over one of lxd-cluster's endpoints.
func (c *cluster) askOver(endpoint, model, app string, n int, config ...string) *asker {
	a := &asker{c: c, app: "remote-" + model[len(model)-4:] + app, name: "sub-" + app, claims: map[int]*lxdprofile.Claim{}}
	a.relation = c.juju.Relate("lxd-cluster:"+endpoint, a.app+":lxd-profile")
	a.request = lxdprofile.ProfileRequest{Application: app, Model: "shop", ModelUUID: model}
	a.want(config...)
	for i := range n {
		a.add(i)
		c.lxd.Add(a.claims[i].Instance, model, a.claims[i].Principal)
		a.say(i)
	}
	return a
}

func (a *asker) want(config ...string) {
	a.request.Profile = profile.Profile{Config: map[string]string{}}
	for _, line := range config {
		key, value, _ := strings.Cut(line, "=")
		a.request.Profile.Config[key] = value
	}
	a.relation.Databags[a.app] = a.request.Encode()
}

// add adds a unit that has said nothing yet.
func (a *asker) add(i int) {
	a.c.juju.AddUnit(a.unit(i), "")
	a.claims[i] = &lxdprofile.Claim{
		Unit: fmt.Sprintf("%s/%d", a.name, i), Principal: fmt.Sprintf("%s/%d", a.request.Application, i),
		ModelUUID: a.request.ModelUUID, Instance: fmt.Sprintf("juju-%s-%d", a.request.Application, i),
	}
}

func (a *asker) unit(i int) string { return fmt.Sprintf("%s/%d", a.app, i) }

func (a *asker) say(i int) { a.relation.Databags[a.unit(i)] = a.claims[i].Encode() }

func (a *asker) state(i int) lxdprofile.State {
	answer, err := lxdprofile.DecodeProfileStatus(a.relation.Databags["lxd-cluster"])
	require.NoError(a.c.t, err)
	return answer.Units[a.claims[i].Unit]
}

// prove does what an honest unit does: it reads the nonce in its own instance.
func (a *asker) prove(i int) {
	s, claim := a.state(i), a.claims[i]
	nonce := a.c.lxd.Instances[claim.Instance].Config[s.Key]
	require.Equal(a.c.t, s.Challenge, lxdprofile.ChallengeOf(nonce))
	claim.Challenge, claim.Proof = s.Challenge, claim.Prove(s.Key, nonce)
	a.say(i)
}

// settle takes every unit from its claim to the profile.
func (a *asker) settle() *asker {
	a.c.t.Helper()
	// Twice, since across models some units are challenged before the others.
	for range 2 {
		a.c.hook()
		a.proveIfAsked()
	}
	a.c.hook()
	for i := range a.claims {
		require.Equal(a.c.t, lxdprofile.Applied, a.state(i).State, a.state(i).Message)
	}
	return a
}

func (a *asker) nonce() string {
	return lxdprofile.NonceKey(fmt.Sprintf("lxd-profile:%d", a.relation.ID))
}

func (c *cluster) profilesOf(instance string) []string { return c.lxd.Instances[instance].Profiles }

// clean checks that LXD is as it was before the first request.
func (c *cluster) clean() {
	c.t.Helper()
	for name, i := range c.lxd.Instances {
		assert.NotContains(c.t, strings.Join(i.Profiles, " "), "dcib", name)
		for key := range i.Config {
			assert.False(c.t, strings.HasPrefix(key, "user.dcib."), "%s has %s", name, key)
		}
	}
	for name := range c.lxd.Profiles {
		assert.NotContains(c.t, name, "dcib")
	}
}

// While LXD moves an instance it goes by another name. Its profile goes with it.
func TestAnInstanceThatMoves(t *testing.T) {
	c := newCluster(t)
	a := c.ask(shop, "web", 2, "limits.memory=512MiB").settle()
	instance := a.claims[1].Instance
	moves := c.lxd.Instances[instance]
	delete(c.lxd.Instances, instance)
	moves.Name, moves.StatusCode = "lxd-move-of-0123", api.Stopped
	c.lxd.Instances[moves.Name] = moves
	c.lxd.Writes = nil
	c.hook()
	require.Empty(t, c.lxd.Writes)

	delete(c.lxd.Instances, moves.Name)
	moves.Name, moves.StatusCode, moves.Location = instance, api.Running, "node2"
	c.lxd.Instances[instance] = moves
	c.hook()
	require.Empty(t, c.lxd.Writes)
	require.Equal(t, lxdprofile.Applied, a.state(1).State, a.state(1).Message)
}

func TestFromTheRequestToTheContainers(t *testing.T) {
	c := newCluster(t)
	a := c.ask(shop, "web", 3, "limits.memory=512MiB")
	c.hook()
	for i := range 3 {
		s := a.state(i)
		assert.Equal(t, lxdprofile.Challenged, s.State)
		assert.Equal(t, []string{"default", "juju-shop-abc"}, c.profilesOf(a.claims[i].Instance), "nothing before the proof")
		assert.NotContains(t, a.relation.Databags["lxd-cluster"]["units"], c.lxd.Instances[a.claims[i].Instance].Config[s.Key], "the nonce is not told")
	}
	nonce := c.lxd.Instances["juju-web-1"].Config[a.nonce()]
	a.settle()
	assert.Equal(t, nonce, c.lxd.Instances["juju-web-1"].Config[a.nonce()], "the nonce stays")
	for i := range 3 {
		assert.Equal(t, []string{"default", "juju-shop-abc", "dcib-shop-web"}, c.profilesOf(a.claims[i].Instance))
		assert.Equal(t, lxdprofile.Revision(a.request.Profile), a.state(i).Revision)
		assert.Equal(t, "dcib-shop-web", a.state(i).Profile)
		assert.Equal(t, "#cloud-config", c.lxd.Instances[a.claims[i].Instance].Config["user.user-data"])
	}
	p := c.lxd.Profiles["dcib-shop-web"]
	assert.Equal(t, map[string]string{
		"limits.memory": "512MiB", "user.dcib.owner": here + "/lxd-cluster dcib-shop-web",
		"user.dcib.relation": "lxd-profile:0", "user.dcib.application": shop + "/web", "user.dcib.model": shop,
	}, p.Config)

	// Nothing to do is nothing done.
	c.lxd.Writes = nil
	c.hook()
	assert.Empty(t, c.lxd.Writes)

	// A change is one write, however many units there are.
	a.want("limits.memory=1GiB", "limits.cpu=2")
	c.hook()
	assert.Equal(t, []string{"update profile dcib-shop-web"}, c.lxd.Writes)
	assert.Equal(t, "1GiB", p.Config["limits.memory"])
	assert.Equal(t, lxdprofile.Revision(a.request.Profile), a.state(2).Revision)

	// The relation goes: everything is as it was, and the containers were never stopped.
	c.juju.Unrelate(a.relation)
	c.hook()
	c.clean()
	for _, i := range c.lxd.Instances {
		assert.Equal(t, api.Running, i.StatusCode)
		assert.Equal(t, []string{"default", "juju-shop-abc"}, i.Profiles)
	}
	for _, write := range c.lxd.Writes {
		assert.NotContains(t, write, "profile default")
		assert.NotContains(t, write, "profile juju-")
	}
	c.lxd.Writes = nil
	c.hook()
	assert.Empty(t, c.lxd.Writes)
}

// Claims that are not true get nothing, and both sides hear of it.
func TestHostileClaims(t *testing.T) {
	setup := func(t *testing.T) (*cluster, *asker, *asker) {
		c := newCluster(t)
		victim := c.ask(shop, "web", 2, "limits.memory=1GiB").settle()
		thief := c.ask(rogue, "evil", 1, "limits.memory=1MiB").settle()
		c.lxd.Writes = nil
		return c, victim, thief
	}
	// withoutFailed has a thief that has proven nothing yet, so that nothing says of which model it is.
	fresh := func(t *testing.T) (*cluster, *asker, *asker) {
		c := newCluster(t)
		victim := c.ask(shop, "web", 2, "limits.memory=1GiB").settle()
		return c, victim, c.ask(rogue, "evil", 1, "limits.memory=1MiB")
	}
	untouched := func(c *cluster) {
		c.t.Helper()
		assert.Equal(c.t, []string{"default", "juju-shop-abc", "dcib-shop-web"}, c.profilesOf("juju-web-0"))
		assert.Equal(c.t, "1GiB", c.lxd.Profiles["dcib-shop-web"].Config["limits.memory"])
	}
	t.Run("another unit's instance", func(t *testing.T) {
		c, _, thief := setup(t)
		thief.claims[0].Instance = "juju-web-0"
		thief.say(0)
		c.hook()
		assert.Equal(t, lxdprofile.UnknownInstance, thief.state(0).State)
		assert.Equal(t, `cannot find instance "juju-web-0" of model "`+rogue+`" in project default, the only one served: integrate with the lxd-cluster that has the instance`, thief.state(0).Message)
		assert.Contains(t, strings.Join(c.juju.Units["lxd-cluster/0"].Log, "\n"), "WARNING lxd-profile:1: unknown-instance to sub-evil/0 of "+thief.app)
		assert.NotContains(t, c.lxd.Instances["juju-web-0"].Config, thief.nonce())
		untouched(c)
	})
	t.Run("and its model, of one that has proven another", func(t *testing.T) {
		c, victim, thief := setup(t)
		*thief.claims[0] = *victim.claims[0]
		thief.claims[0].Unit = "sub-evil/0"
		thief.say(0)
		c.hook()
		assert.Equal(t, lxdprofile.UnknownInstance, thief.state(0).State)
		assert.NotContains(t, c.lxd.Instances["juju-web-0"].Config, thief.nonce(), "nothing is written on its word")
		untouched(c)
	})
	t.Run("and its model and unit", func(t *testing.T) {
		c, victim, thief := fresh(t)
		thief.request.Application, thief.request.ModelUUID = "web", shop
		thief.want("limits.memory=1MiB")
		*thief.claims[0] = *victim.claims[0]
		thief.claims[0].Unit = "sub-evil/0"
		thief.say(0) // with the victim's own proof, had it been seen
		c.hook()
		assert.Equal(t, lxdprofile.Challenged, thief.state(0).State)
		untouched(c)
		for _, proof := range []string{"", "00", strings.Repeat("0", 64), victim.claims[0].Proof, thief.claims[0].Prove(thief.nonce(), ""), thief.state(0).Challenge} {
			thief.claims[0].Proof = proof
			thief.say(0)
			c.hook()
			assert.Equal(t, lxdprofile.Challenged, thief.state(0).State)
			untouched(c)
		}
	})
	t.Run("a proof of another relation", func(t *testing.T) {
		c, victim, thief := fresh(t)
		thief.request.ModelUUID = shop
		thief.want("limits.memory=1MiB")
		*thief.claims[0] = *victim.claims[0]
		thief.name = "sub-web"
		thief.say(0)
		c.hook()
		thief.claims[0].Challenge = thief.state(0).Challenge
		thief.say(0)
		for range 2 {
			c.hook()
			assert.Equal(t, lxdprofile.Refused, thief.state(0).State)
			assert.Equal(t, "the proof that instance juju-web-0 is the unit's own is wrong", thief.state(0).Message)
		}
		log := strings.Join(c.juju.Units["lxd-cluster/0"].Log, "\n")
		assert.Equal(t, 1, strings.Count(log, "the proof that instance juju-web-0 is the unit's own is wrong"), log)
		untouched(c)
	})
	t.Run("another unit of the same application", func(t *testing.T) {
		c, a, _ := setup(t)
		proven := *a.claims[0]
		*a.claims[1] = proven
		a.say(1) // web/1 says word for word what web/0 says
		c.hook()
		answer, err := lxdprofile.DecodeProfileStatus(a.relation.Databags["lxd-cluster"])
		require.NoError(t, err)
		said := answer.Units[a.unit(1)]
		assert.Equal(t, lxdprofile.Refused, said.State)
		assert.Contains(t, said.Message, "cannot accept the claim of "+a.unit(1))
		assert.Equal(t, lxdprofile.Applied, a.state(0).State)
		untouched(c)
	})
	t.Run("another unit's principal", func(t *testing.T) {
		c, a, _ := setup(t)
		a.claims[1].Principal = "web/0"
		a.say(1)
		c.hook()
		assert.Equal(t, lxdprofile.Refused, a.state(1).State)
		assert.Equal(t, `Juju placed "web/0" on another instance than juju-web-1`, a.state(1).Message)
		untouched(c)
	})
	t.Run("no such instance", func(t *testing.T) {
		c, _, thief := setup(t)
		thief.claims[0].Instance = "../juju-web-0"
		thief.say(0)
		c.hook()
		assert.Equal(t, lxdprofile.UnknownInstance, thief.state(0).State)
		untouched(c)
	})
	t.Run("marks that come from a profile", func(t *testing.T) {
		c, _, thief := setup(t)
		plain := c.lxd.Add("bare", "", "")
		delete(plain.Config, "user.juju-model-uuid")
		plain.ExpandedConfig = map[string]string{"user.juju-model-uuid": rogue}
		thief.claims[0].Instance = "bare"
		thief.say(0)
		c.hook()
		assert.Equal(t, lxdprofile.UnknownInstance, thief.state(0).State)
	})
	t.Run("the same names", func(t *testing.T) {
		c, _, _ := setup(t)
		squatter := c.ask(rogue, "web", 1, "limits.cpu=2")
		squatter.claims[0].Instance = "juju-evil-0"
		squatter.claims[0].Principal = "evil/0"
		squatter.say(0)
		squatter.settleOnly(0)
		name := squatter.state(0).Profile
		assert.NotEqual(t, "dcib-shop-web", name)
		assert.Regexp(t, `^dcib-shop-web-[0-9a-f]{8}$`, name)
		assert.Equal(t, "1GiB", c.lxd.Profiles["dcib-shop-web"].Config["limits.memory"])
	})
	t.Run("a profile that is not for them", func(t *testing.T) {
		c, _, thief := setup(t)
		thief.want("security.privileged=true", "limits.memory=1MiB")
		c.hook()
		assert.Equal(t, lxdprofile.Refused, thief.state(0).State)
		assert.Contains(t, thief.state(0).Message, "config.security.privileged: profile-policy does not allow it: its keys (line 1)")
		thief.want("user.juju-model-uuid="+shop, "no.such=key")
		c.hook()
		assert.Contains(t, thief.state(0).Message, "config.user.juju-model-uuid is not for a profile")
		assert.Contains(t, thief.state(0).Message, "config.no.such is not an option")
		assert.Empty(t, c.lxd.Writes, "the last good one stays")
		assert.Equal(t, lxdprofile.Revision(profile.Profile{Config: map[string]string{"limits.memory": "1MiB"}}), thief.state(0).Revision)
	})
}

// settleOnly takes one unit from its claim to the profile.
func (a *asker) settleOnly(i int) {
	a.c.t.Helper()
	a.c.hook()
	a.prove(i)
	a.c.hook()
	require.Equal(a.c.t, lxdprofile.Applied, a.state(i).State, a.state(i).Message)
}

func TestPutBack(t *testing.T) {
	c := newCluster(t)
	a := c.ask(shop, "web", 1, "limits.memory=1GiB").settle()
	i := c.lxd.Instances["juju-web-0"]

	i.Profiles = []string{"default"} // Juju, or anyone, rewrote the list
	c.hook()
	assert.Equal(t, []string{"default", "dcib-shop-web"}, i.Profiles)
	assert.Contains(t, c.juju.Units["lxd-cluster/0"].Log, "INFO put profile dcib-shop-web last on instance juju-web-0")

	i.Profiles = []string{"dcib-shop-web", "default", "juju-shop-abc"} // not last
	c.hook()
	assert.Equal(t, []string{"default", "juju-shop-abc", "dcib-shop-web"}, i.Profiles)

	c.lxd.Profiles["dcib-shop-web"].Config["limits.memory"] = "9GiB"
	c.lxd.Profiles["dcib-shop-web"].Devices = map[string]map[string]string{"gpu": {"type": "gpu"}}
	c.hook()
	assert.Equal(t, "1GiB", c.lxd.Profiles["dcib-shop-web"].Config["limits.memory"])
	assert.Empty(t, c.lxd.Profiles["dcib-shop-web"].Devices)

	delete(i.Config, a.nonce()) // lost: the unit is asked again, and keeps what it has
	c.hook()
	assert.Equal(t, lxdprofile.Challenged, a.state(0).State)
	assert.Equal(t, []string{"default", "juju-shop-abc", "dcib-shop-web"}, i.Profiles)
	a.prove(0)
	c.hook()
	assert.Equal(t, lxdprofile.Applied, a.state(0).State)
}

// Two applications on one machine have a profile each, in a fixed order.
func TestTwoOnOneMachine(t *testing.T) {
	c := newCluster(t)
	web := c.ask(shop, "web", 1, "limits.memory=1GiB").settle()
	db := c.ask(shop, "db", 1, "limits.cpu=2")
	delete(c.lxd.Instances, "juju-db-0")
	db.claims[0].Instance = "juju-web-0" // placed there later, so Juju's list lacks it
	db.say(0)
	db.settleOnly(0)
	assert.Equal(t, []string{"default", "juju-shop-abc", "dcib-shop-db", "dcib-shop-web"}, c.profilesOf("juju-web-0"))
	c.hook()
	assert.Equal(t, lxdprofile.Applied, web.state(0).State)

	c.juju.Unrelate(db.relation)
	c.hook()
	assert.Equal(t, []string{"default", "juju-shop-abc", "dcib-shop-web"}, c.profilesOf("juju-web-0"))
	assert.NotContains(t, c.lxd.Profiles, "dcib-shop-db")
}

func TestAUnitLeaves(t *testing.T) {
	c := newCluster(t)
	a := c.ask(shop, "web", 2, "limits.memory=1GiB").settle()
	c.juju.RemoveUnit(a.unit(1))
	c.hook()
	assert.Equal(t, []string{"default", "juju-shop-abc"}, c.profilesOf("juju-web-1"))
	assert.NotContains(t, c.lxd.Instances["juju-web-1"].Config, a.nonce())
	assert.Equal(t, []string{"default", "juju-shop-abc", "dcib-shop-web"}, c.profilesOf("juju-web-0"))
	assert.NotContains(t, a.relation.Databags["lxd-cluster"]["units"], "sub-web/1")
}

// An empty databag, or a unit that was not seen yet, removes nothing.
func TestSilenceIsNotLeaving(t *testing.T) {
	c := newCluster(t)
	a := c.ask(shop, "web", 2, "limits.memory=1GiB").settle()
	c.lxd.Writes = nil

	clear(a.relation.Databags[a.app])
	clear(a.relation.Databags[a.unit(0)])
	c.hook()
	assert.Empty(t, c.lxd.Writes)
	assert.Equal(t, lxdprofile.Applied, a.state(0).State)

	// Juju lists no other unit to a leader that was just added.
	c.juju.Leaders["lxd-cluster"] = "lxd-cluster/1"
	c.juju.RemoveUnit("lxd-cluster/0")
	units := []string{a.unit(0), a.unit(1)}
	for _, u := range units {
		delete(c.juju.Units, u)
	}
	c.hook()
	assert.Empty(t, c.lxd.Writes)
	assert.Equal(t, lxdprofile.Applied, a.state(1).State)

	for i, u := range units {
		c.juju.AddUnit(u, "")
		a.say(i)
	}
	a.want("limits.memory=1GiB")
	c.hook()
	assert.Empty(t, c.lxd.Writes)
	assert.Equal(t, "lxd-cluster/1", a.state(0).SeenBy)
	c.juju.RemoveUnit(units[1])
	c.hook()
	assert.Equal(t, []string{"default", "juju-shop-abc"}, c.profilesOf("juju-web-1"))
}

func TestOnlyOneActs(t *testing.T) {
	c := newCluster(t)
	c.ask(shop, "web", 1, "limits.memory=1GiB")
	w := &broker.Env{} // a unit that is not the broker reads nothing
	f, err := broker.Observe(t.Context(), hooktool.Event{Unit: "lxd-cluster/1", ModelUUID: here}, w, false)
	require.NoError(t, err)
	assert.Empty(t, broker.Plan(f).Steps)
}

// Killed after any write, in any order: the next hook completes the work.
func TestKilledInTheMiddle(t *testing.T) {
	for kill := 1; ; kill++ {
		c := newCluster(t)
		a := c.ask(shop, "web", 2, "limits.memory=1GiB")
		left, killed := kill, false
		ctx, cancel := context.WithCancel(t.Context())
		c.lxd.HalfOf = func(string) error {
			if left--; left == 0 {
				killed = true
				cancel()
				return context.Canceled
			}
			return nil
		}
		hook := func() {
			if err := c.run(ctx); err != nil {
				require.ErrorIs(t, err, context.Canceled)
				ctx = t.Context()
				c.hook()
			}
		}
		hook()
		for i := range 2 {
			a.prove(i)
		}
		hook()
		for i := range 2 {
			require.Equal(t, lxdprofile.Applied, a.state(i).State, "killed at write %d", kill)
			require.Equal(t, []string{"default", "juju-shop-abc", "dcib-shop-web"}, c.profilesOf(a.claims[i].Instance))
		}
		c.juju.Unrelate(a.relation)
		hook()
		c.clean()
		cancel()
		if !killed {
			require.Greater(t, kill, 5)
			return
		}
	}
}

// Another program changes the same instance between the broker's read and write.
func TestOthersWriteToo(t *testing.T) {
	c := newCluster(t)
	a := c.ask(shop, "web", 1, "limits.memory=1GiB")
	times := 0
	c.lxd.Before = func(what string) {
		if what == "update instance juju-web-0" && times < 2 {
			times++
			i := c.lxd.Instances["juju-web-0"]
			i.Config[fmt.Sprintf("user.other%d", times)] = "x"
			i.Profiles = append(slices.Clone(i.Profiles), "default")
			c.lxd.Version["instance juju-web-0"]++
		}
	}
	a.settle()
	assert.Equal(t, 2, times)
	i := c.lxd.Instances["juju-web-0"]
	assert.Equal(t, "x", i.Config["user.other1"])
	assert.Equal(t, "x", i.Config["user.other2"])
	assert.Equal(t, "dcib-shop-web", i.Profiles[len(i.Profiles)-1])
}

// An instance that is deleted and made again under its name has proven nothing.
func TestRecreatedInBetween(t *testing.T) {
	c := newCluster(t)
	a := c.ask(shop, "web", 1, "limits.memory=1GiB").settle()
	c.lxd.Instances["juju-web-0"].Profiles = []string{"default"}
	c.lxd.Before = func(what string) {
		if what == "update profile dcib-shop-web" {
			c.lxd.Add("juju-web-0", rogue, "")
		}
	}
	a.want("limits.memory=2GiB")
	c.hook()
	assert.Equal(t, []string{"default", "juju-shop-abc"}, c.profilesOf("juju-web-0"))
	assert.Equal(t, lxdprofile.UnknownInstance, a.state(0).State)
}

// LXD's refusal is reported to the unit; it neither fails the hook nor delays others.
func TestLXDRefuses(t *testing.T) {
	c := newCluster(t)
	web := c.ask(shop, "web", 1, "limits.memory=1GiB")
	db := c.ask(shop, "db", 1, "limits.memory=1GiB")
	c.lxd.Refuse = func(what string) error {
		if what == "update instance juju-web-0" {
			return errors.New("member node1\n - is on fire\n")
		}
		return nil
	}
	c.hook()
	assert.Equal(t, lxdprofile.Refused, web.state(0).State)
	assert.Equal(t, "LXD refused: member node1 - is on fire", web.state(0).Message)
	assert.Equal(t, lxdprofile.Challenged, db.state(0).State)
	c.lxd.Refuse = nil
	web.settle()

	// A content that an instance cannot follow is in force nowhere.
	c.lxd.HalfOf = func(what string) error {
		if what == "update profile dcib-shop-web" && c.lxd.Profiles["dcib-shop-web"].Config["limits.memory"] == "1MiB" {
			return errors.New("cannot set the limit of juju-web-0 below what it uses")
		}
		return nil
	}
	web.want("limits.memory=1MiB")
	c.hook()
	assert.Equal(t, lxdprofile.Refused, web.state(0).State)
	assert.Contains(t, web.state(0).Message, "below what it uses")
	assert.Equal(t, "1GiB", c.lxd.Profiles["dcib-shop-web"].Config["limits.memory"])
	assert.Equal(t, lxdprofile.Revision(profile.Profile{Config: map[string]string{"limits.memory": "1GiB"}}), web.state(0).Revision)
}

func TestAMemberIsOffline(t *testing.T) {
	c := newCluster(t)
	a := c.ask(shop, "web", 2, "limits.memory=1GiB").settle()
	c.lxd.Instances["juju-web-1"].StatusCode = api.Error
	c.lxd.Writes = nil
	c.hook()
	assert.Equal(t, lxdprofile.Waiting, a.state(1).State)
	assert.Equal(t, "instance juju-web-1 is on member node1, which is offline", a.state(1).Message)
	assert.Empty(t, c.lxd.Writes)

	// The relation goes meanwhile: the profile stays until the last one can be freed.
	c.juju.Unrelate(a.relation)
	c.hook()
	assert.Contains(t, c.lxd.Profiles, "dcib-shop-web")
	assert.NotContains(t, strings.Join(c.juju.Units["lxd-cluster/0"].Log, "\n"), "cannot delete profile")
	assert.Equal(t, []string{"default", "juju-shop-abc"}, c.profilesOf("juju-web-0"))
	c.lxd.Instances["juju-web-1"].StatusCode = api.Running
	c.hook()
	c.clean()
}

func TestThePolicyChanges(t *testing.T) {
	c := newCluster(t)
	a := c.ask(shop, "web", 1, "limits.memory=1GiB").settle()

	c.juju.Config["lxd-cluster"] = map[string]any{"profile-policy": "keys: 5"}
	a.want("limits.memory=2GiB")
	c.hook()
	assert.Equal(t, "waiting the operator of lxd-cluster has to fix its option profile-policy", a.state(0).State+" "+a.state(0).Message)
	assert.Equal(t, "1GiB", c.lxd.Profiles["dcib-shop-web"].Config["limits.memory"])

	c.juju.Config["lxd-cluster"] = map[string]any{"profile-policy": "keys: [user.*]"}
	c.hook()
	assert.Equal(t, `refused config.limits.memory: profile-policy does not allow it: its keys (line 1) would need "limits.memory"`, a.state(0).State+" "+a.state(0).Message)
	assert.NotContains(t, c.lxd.Profiles["dcib-shop-web"].Config, "limits.memory", "what is no longer allowed is no longer in force")

	c.juju.Config["lxd-cluster"] = map[string]any{"profile-policy": ""}
	c.hook()
	assert.Equal(t, lxdprofile.Applied, a.state(0).State)
	assert.Equal(t, "2GiB", c.lxd.Profiles["dcib-shop-web"].Config["limits.memory"])
}

// Profiles that are not ours stay as they are, whatever they are called or say.
func TestNeverStomp(t *testing.T) {
	c := newCluster(t)
	c.lxd.Profiles["dcib-shop-web"] = &api.Profile{Name: "dcib-shop-web", Config: map[string]string{"limits.cpu": "1"}}
	a := c.ask(shop, "web", 1, "limits.memory=1GiB").settle()
	assert.Regexp(t, `^dcib-shop-web-[0-9a-f]{8}$`, a.state(0).Profile)
	assert.Equal(t, map[string]string{"limits.cpu": "1"}, c.lxd.Profiles["dcib-shop-web"].Config)

	// An operator's copy of ours, marks and all, is theirs.
	theirs := c.lxd.CopyProfile(a.state(0).Profile)
	theirs.Name = "a-copy"
	c.lxd.Profiles["a-copy"] = &theirs
	c.lxd.Instances["juju-web-0"].Profiles = []string{"default", "a-copy", a.state(0).Profile}
	a.want("limits.memory=2GiB")
	c.hook()
	assert.Equal(t, "1GiB", c.lxd.Profiles["a-copy"].Config["limits.memory"])
	c.juju.Unrelate(a.relation)
	c.hook()
	assert.Contains(t, c.lxd.Profiles, "a-copy")
	assert.Contains(t, c.lxd.Profiles, "dcib-shop-web")
	assert.Equal(t, []string{"default", "a-copy"}, c.profilesOf("juju-web-0"))
}

func TestNamesThatLXDCannotBear(t *testing.T) {
	c := newCluster(t)
	a := c.ask(shop, "web", 1, "limits.memory=1GiB")
	a.request.Model = "../juju-shop/" + strings.Repeat("x", 100)
	a.want("limits.memory=1GiB")
	a.settle()
	assert.Regexp(t, `^dcib-[a-z0-9-]{1,58}$`, a.state(0).Profile)
	assert.LessOrEqual(t, len(a.state(0).Profile), 63)
}

// A relation that goes and comes again, at once, ends in what was asked for.
func TestGoneAndBack(t *testing.T) {
	c := newCluster(t)
	a := c.ask(shop, "web", 1, "limits.memory=1GiB").settle()
	c.juju.Unrelate(a.relation)
	// The new relation has the old one's units, with their old proofs.
	a.relation = c.juju.Relate("lxd-cluster:lxd-profile", a.app+":lxd-profile")
	a.relation.ID = 7
	a.want("limits.memory=2GiB")
	a.say(0)
	c.hook()
	assert.Equal(t, lxdprofile.Challenged, a.state(0).State)
	assert.Equal(t, []string{"default", "juju-shop-abc"}, c.profilesOf("juju-web-0"))
	a.settle()
	assert.Equal(t, "dcib-shop-web", a.state(0).Profile)
	assert.Equal(t, "2GiB", c.lxd.Profiles["dcib-shop-web"].Config["limits.memory"])
}

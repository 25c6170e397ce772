package broker_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// perRequester returns the containers of one model, and those that are related over the trusted
// endpoint, more than the others.
const perRequester = `default:
  keys: [limits.memory]
requesters:
  - model: ` + shop + `
    keys: [limits.memory, security.nesting]
  - endpoint: lxd-profile-trusted
    keys: [limits.memory, raw.lxc]
`

// list runs action list-requesters on a unit.
func (c *cluster) list(unit string) (string, string) {
	tools, _ := c.juju.Hook(unit)
	event := hooktool.Event{Action: "list-requesters", Unit: unit, ModelUUID: here}
	require.NoError(c.t, c.charm().Run(context.Background(), event, tools))
	return tools.Results["requesters"], tools.Failure
}

// Each requester has the policy that the operator meant for it, and the strict one before it has
// proven which model it is of.
func TestAPolicyForEachRequester(t *testing.T) {
	c := newCluster(t)
	c.policy(perRequester)
	web := c.ask(shop, "web", 2, "security.nesting=true")
	other := c.ask(rogue, "other", 1, "security.nesting=true")
	trusted := c.askOver("lxd-profile-trusted", rogue, "trusted", 1, "raw.lxc=x")
	c.hook()
	listed, failure := c.list("lxd-cluster/0")
	assert.Empty(t, failure)
	assert.Equal(t, strings.Join([]string{
		"lxd-profile:0 remote-0002web: model not known until a unit proves its instance; policy default; LXD profile dcib-shop-web; units: 2 challenged",
		"lxd-profile:1 remote-0003other: model not known until a unit proves its instance; policy default; LXD profile dcib-shop-other; units: 1 challenged",
		"lxd-profile-trusted:2 remote-0003trusted: model not known until a unit proves its instance; policy endpoint lxd-profile-trusted; LXD profile dcib-shop-trusted; units: 1 challenged",
	}, "\n"), listed)
	for name, p := range c.lxd.Profiles {
		assert.NotContains(t, p.Config, "security.nesting", name)
		assert.NotContains(t, p.Config, "raw.lxc", name)
	}

	web.settle()
	trusted.proveIfAsked()
	other.proveIfAsked()
	c.hook()
	assert.Equal(t, "true", c.lxd.Profiles["dcib-shop-web"].Config["security.nesting"])
	assert.Equal(t, "x", c.lxd.Profiles["dcib-shop-trusted"].Config["raw.lxc"])
	assert.Equal(t, `refused config.security.nesting: profile-policy (default) does not allow it: its keys (line 2) would need "security.nesting"`,
		other.state(0).State+" "+other.state(0).Message)
	assert.NotContains(t, c.lxd.Profiles["dcib-shop-other"].Config, "security.nesting")
	listed, _ = c.list("lxd-cluster/0")
	assert.Contains(t, listed, "lxd-profile:0 remote-0002web: model "+shop+"; policy model "+shop+"; LXD profile dcib-shop-web; units: 2 applied")
	assert.Contains(t, listed, "lxd-profile:1 remote-0003other: model "+rogue+"; policy default; LXD profile dcib-shop-other; units: 1 refused")
	assert.Contains(t, c.juju.Units["lxd-cluster/0"].Log, "INFO lxd-profile:0: remote-0002web is of model "+shop+", and its profile is by policy model "+shop+" of option profile-policy")
	_, failure = c.list("lxd-cluster/1")
	assert.Contains(t, failure, "cannot list requesters on this unit: run it on the leader")

	// What each says of itself changes nothing: neither the request nor a claim without a proof.
	other.request.ModelUUID, other.request.Application, other.request.Model = shop, "web", "shop"
	other.want("security.nesting=true")
	*other.claims[0] = *web.claims[0]
	other.claims[0].Unit = "sub-other/0"
	other.say(0)
	c.hook()
	for name, p := range c.lxd.Profiles {
		assert.Equal(t, name == "dcib-shop-web", p.Config["security.nesting"] == "true", name)
	}

	// A policy that is taken back is taken back in LXD, and only for those whom it was for.
	c.policy(strings.ReplaceAll(perRequester, shop, here))
	c.hook()
	assert.NotContains(t, c.lxd.Profiles["dcib-shop-web"].Config, "security.nesting")
	assert.Equal(t, "x", c.lxd.Profiles["dcib-shop-trusted"].Config["raw.lxc"])
}

// An application keeps its policy while none of its units can prove anything: its only instance
// moves under another name, or its member is offline.
func TestAPolicyOutlivesAMove(t *testing.T) {
	c := newCluster(t)
	c.policy(perRequester)
	web := c.ask(shop, "web", 1, "security.nesting=true").settle()
	instance := c.lxd.Instances["juju-web-0"]
	delete(c.lxd.Instances, "juju-web-0")
	instance.Name = "lxd-move-of-1"
	c.lxd.Instances[instance.Name] = instance
	c.lxd.Writes = nil
	c.hook()
	assert.Empty(t, c.lxd.Writes)
	web.want("limits.memory=1GiB", "security.nesting=true")
	c.hook()
	assert.Equal(t, []string{"update profile dcib-shop-web"}, c.lxd.Writes)
	assert.Equal(t, "true", c.lxd.Profiles["dcib-shop-web"].Config["security.nesting"])
}

// Within a model Juju says of which the other side is, so no claim says otherwise.
func TestWithinTheModel(t *testing.T) {
	c := newCluster(t)
	c.policy(strings.ReplaceAll(perRequester, shop, here))
	a := c.ask(here, "web", 1)
	victim := c.ask(shop, "db", 1)
	near := &asker{c: c, app: "sub", name: "sub", request: a.request, claims: map[int]*lxdprofile.Claim{}}
	c.juju.Unrelate(a.relation)
	near.relation = c.juju.Relate("lxd-cluster:lxd-profile", "sub:lxd-profile")
	near.relation.ID = 7
	near.want("security.nesting=true")
	near.add(0)
	near.say(0)
	near.settle()
	assert.Equal(t, "true", c.lxd.Profiles[near.state(0).Profile].Config["security.nesting"])

	near.claims[0].ModelUUID, near.claims[0].Instance, near.claims[0].Principal = shop, "juju-db-0", "db/0"
	near.say(0)
	c.hook()
	assert.Equal(t, lxdprofile.UnknownInstance, near.state(0).State)
	assert.NotContains(t, c.lxd.Instances["juju-db-0"].Config, near.nonce())
	assert.Equal(t, lxdprofile.Challenged, victim.state(0).State)
}

// Claims that are not proven write into no more than a few instances, and each has its turn.
func TestClaimsAloneWriteLittle(t *testing.T) {
	c := newCluster(t)
	victim := c.ask(shop, "web", 9, "limits.memory=1GiB").settle()
	thief := c.ask(shop, "evil", 9, "limits.memory=1MiB")
	thief.request.ModelUUID = rogue
	for i := range 9 {
		thief.claims[i].Instance, thief.claims[i].Principal = victim.claims[i].Instance, victim.claims[i].Principal
		thief.say(i)
	}
	tried := map[string]bool{}
	for range 20 {
		c.hook()
		var noted []string
		for name, i := range c.lxd.Instances {
			if i.Config[thief.nonce()] != "" {
				noted = append(noted, name)
				tried[name] = true
			}
		}
		assert.Len(t, noted, 3)
		c.lxd.Now = c.lxd.Now.Add(10 * time.Minute)
	}
	assert.Len(t, tried, 9, "each unit has its turn, also beside some that never answer")
	for i := range 9 {
		assert.Equal(t, lxdprofile.Applied, victim.state(i).State)
		assert.Equal(t, []string{"default", "juju-shop-abc", "dcib-shop-web"}, c.profilesOf(victim.claims[i].Instance))
	}
}

// A claim alone keeps no profile on an instance whose unit has left, nor is it told of it.
func TestAClaimAloneKeepsNothing(t *testing.T) {
	c := newCluster(t)
	a := c.ask(shop, "web", 2, "limits.memory=1GiB").settle()
	// Unit 1 claims the instance of unit 0, which Juju's list does not exclude.
	c.lxd.Instances["juju-web-1"].Config["user.juju-units-deployed"] = ""
	a.claims[1].Instance = "juju-web-0"
	a.say(1)
	c.hook()
	said := a.state(1)
	assert.Equal(t, lxdprofile.Challenged, said.State)
	assert.Empty(t, said.Profile+said.Revision+strings.Join(said.Restart, ""))
	assert.Empty(t, said.Differs)
	assert.Equal(t, []string{"default", "juju-shop-abc", "dcib-shop-web"}, c.profilesOf("juju-web-0"))

	c.juju.RemoveUnit(a.unit(0))
	for range 2 {
		c.hook()
		assert.Equal(t, []string{"default", "juju-shop-abc"}, c.profilesOf("juju-web-0"))
	}
	c.juju.RemoveUnit(a.unit(1))
	c.hook()
	assert.NotContains(t, c.lxd.Instances["juju-web-0"].Config, a.nonce())
}

// A requester that does not know an instance's model is told the same whether the instance is there or not.
func TestClaimsAreNoOracle(t *testing.T) {
	c := newCluster(t)
	c.ask(shop, "web", 1, "limits.memory=1GiB").settle()
	c.lxd.Add("juju-off-0", shop, "").StatusCode = api.Error
	thief := c.ask(rogue, "evil", 1, "limits.memory=1MiB")
	said := map[string]bool{}
	for _, name := range []string{"juju-web-0", "juju-off-0", "juju-xyz-0"} {
		thief.claims[0].Instance = name
		thief.say(0)
		c.hook()
		said[fmt.Sprint(thief.state(0).State, " ", strings.ReplaceAll(thief.state(0).Message, name, "NAME"))] = true
	}
	assert.Len(t, said, 1, "%v", said)
}

// A principal that a claim makes up holds back no other application's restarts.
func TestAMadeUpPrincipal(t *testing.T) {
	c := newCluster(t)
	c.policy(wide)
	db := c.ask(shop, "db", 1, "security.nesting=true").settle()
	evil := c.ask(shop, "evil", 1, "security.nesting=true")
	evil.claims[0].Principal = "db/7" // on no list of Juju's
	evil.say(0)
	evil.settle()
	evil.askRestart(lxdprofile.Restart{ID: "r1", Batch: 1, WaitHealthy: lxdprofile.Duration(3600 * time.Second)})
	c.hook()
	require.Equal(t, []string{"juju-evil-0"}, c.lxd.Restarts(), "and its unit is never back")
	db.askRestart(lxdprofile.Restart{ID: "r2", Batch: 1, WaitHealthy: lxdprofile.Duration(3600 * time.Second)})
	c.hook()
	assert.Equal(t, []string{"juju-evil-0", "juju-db-0"}, c.lxd.Restarts())
}

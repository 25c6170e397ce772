package broker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// beside relates a second subordinate of the same application.
func (c *cluster) beside(first *asker, config ...string) *asker {
	a := &asker{c: c, app: first.app + "two", name: "sub-two", request: first.request, claims: map[int]*lxdprofile.Claim{}}
	a.relation = c.juju.Relate("lxd-cluster:lxd-profile", a.app+":lxd-profile")
	a.want(config...)
	for i := range first.claims {
		a.add(i)
		a.claims[i].Instance = first.claims[i].Instance
		a.say(i)
	}
	return a
}

// Two that ask for the same instance are laid over each other where they agree. Where they
// do not, the one that was related first has it, and the other is told the key.
func TestTwoSubordinatesOfOneApplication(t *testing.T) {
	c := newCluster(t)
	one := c.ask(shop, "web", 2, "limits.memory=1GiB", "limits.processes=100").settle()
	two := c.beside(one, "limits.cpu=2", "limits.processes=100").settle()
	second := two.state(0).Profile
	assert.Equal(t, []string{"default", "juju-shop-abc", "dcib-shop-web", second}, c.profilesOf("juju-web-0"))

	two.want("limits.cpu=2", "limits.memory=2GiB", "limits.processes=100")
	c.hook()
	says := "config.limits.memory: profile dcib-shop-web sets another value on instance juju-web-0: remove it from one of the two"
	assert.Equal(t, "refused "+says, two.state(0).State+" "+two.state(0).Message)
	assert.Equal(t, lxdprofile.Applied, one.state(0).State)
	assert.NotContains(t, c.lxd.Profiles[second].Config, "limits.memory")
	assert.Equal(t, "2", c.lxd.Profiles[second].Config["limits.cpu"], "what was in force still is")
	c.lxd.Writes = nil
	c.hook()
	assert.Empty(t, c.lxd.Writes)

	// The first sets what the second has had: now the second is in the wrong.
	two.want("limits.cpu=2")
	c.hook()
	one.want("limits.cpu=1")
	c.hook()
	assert.Equal(t, lxdprofile.Applied, one.state(0).State)
	assert.Contains(t, two.state(0).Message, "config.limits.cpu: profile dcib-shop-web sets another value")
	assert.NotContains(t, c.lxd.Profiles[second].Config, "limits.cpu")

	one.want("limits.memory=1GiB")
	c.hook()
	assert.Equal(t, lxdprofile.Applied, two.state(0).State)
	assert.Equal(t, "2", c.lxd.Profiles[second].Config["limits.cpu"])
}

// What another program changed is restored in the next hook, and logged.
func TestARestoreIsLogged(t *testing.T) {
	c := newCluster(t)
	a := c.ask(shop, "web", 1, "limits.memory=1GiB").settle()
	unit := c.juju.Units["lxd-cluster/0"]
	assert.NotContains(t, strings.Join(unit.Log, "\n"), "another program")
	c.lxd.Instances["juju-web-0"].Profiles = []string{"default"}
	c.lxd.Profiles["dcib-shop-web"].Config["limits.memory"] = "9GiB"
	c.hook()
	assert.Contains(t, unit.Log, "INFO put profile dcib-shop-web last on instance juju-web-0 again: another program has changed its list")
	assert.Contains(t, unit.Log, "INFO restore profile dcib-shop-web, which another program has changed")
	assert.Equal(t, "1GiB", c.lxd.Profiles["dcib-shop-web"].Config["limits.memory"])

	unit.Log = nil
	a.want("limits.memory=2GiB")
	c.hook()
	assert.Contains(t, unit.Log, "INFO write profile dcib-shop-web", "a request is no tampering")
}

// The broker's own changes of a list are no tampering.
func TestTheBrokersOwnChangesAreNoTampering(t *testing.T) {
	c := newCluster(t)
	a := c.ask(shop, "web", 1, "limits.memory=1GiB").settle()
	db := c.ask(shop, "db", 1, "limits.cpu=2")
	delete(c.lxd.Instances, "juju-db-0")
	db.claims[0].Instance = "juju-web-0"
	db.say(0)
	db.settleOnly(0) // it comes beside the one that is there
	said := func() string { return strings.Join(c.juju.Units["lxd-cluster/0"].Log, "\n") }
	assert.NotContains(t, said(), "another program")

	delete(a.relation.Databags, a.unit(0)) // its unit leaves, the relation stays
	c.juju.RemoveUnit(a.unit(0))
	c.hook()
	assert.Equal(t, []string{"default", "juju-shop-abc", "dcib-shop-db"}, c.profilesOf("juju-web-0"))
	assert.NotContains(t, said(), "another program")

	c.lxd.Instances["juju-web-0"].Profiles = []string{"dcib-shop-db", "default"}
	c.hook()
	assert.Contains(t, said(), "put profile dcib-shop-db last on instance juju-web-0 again: another program has changed its list")
}

// What was in force when the list was rewritten needs no other restart; what may have been
// started without it does.
func TestPutBackNeedsNoRestart(t *testing.T) {
	c := newCluster(t)
	c.policy(wide)
	a := c.ask(shop, "web", 1, "security.nesting=true").settle()
	i := c.lxd.Instances["juju-web-0"]
	i.LastUsedAt = c.lxd.Clock()
	c.hook()
	assert.Empty(t, a.state(0).Restart)
	for range 2 {
		i.Profiles = []string{"default"}
		c.hook()
		assert.Contains(t, c.profilesOf("juju-web-0"), "dcib-shop-web")
		assert.Empty(t, a.state(0).Restart)
	}
	i.Profiles = []string{"default"}
	i.LastUsedAt = c.lxd.Clock()
	c.hook()
	assert.Equal(t, []string{"config.security.nesting"}, a.state(0).Restart)
}

// The answer says what an instance has otherwise, but not text that may be a secret.
func TestDiffers(t *testing.T) {
	c := newCluster(t)
	a := c.ask(shop, "web", 1, "limits.memory=1GiB", "limits.cpu=2", "user.note=x").settle()
	assert.Empty(t, a.state(0).Differs)
	assert.Equal(t, &profile.Profile{Config: map[string]string{"limits.memory": "1GiB", "limits.cpu": "2", "user.note": "x"}}, a.answer().Profile)
	c.lxd.Instances["juju-web-0"].Config["limits.memory"] = "4GiB"
	c.lxd.Instances["juju-web-0"].Config["user.note"] = "hush"
	c.hook()
	assert.Equal(t, map[string]string{"config.limits.memory": `"4GiB"`, "config.user.note": "another text"}, a.state(0).Differs)
	assert.Equal(t, lxdprofile.Applied, a.state(0).State)
}

func TestVirtualMachines(t *testing.T) {
	c := newCluster(t)
	c.policy(wide)
	a := c.ask(shop, "web", 2, "limits.memory=1GiB", "limits.processes=100", "security.nesting=true")
	c.lxd.Instances["juju-web-1"].Type = "virtual-machine"
	a.settle()
	assert.Empty(t, a.state(0).Ignored)
	assert.Equal(t, []string{"config.limits.processes", "config.security.nesting"}, a.state(1).Ignored)
	assert.Empty(t, a.state(1).Restart)

	a = c.ask(shop, "db", 1)
	c.lxd.Instances["juju-db-0"].Type = "virtual-machine"
	a.request.Profile.Devices = map[string]map[string]string{"kvm": {"type": "unix-char", "path": "/dev/kvm"}}
	a.relation.Databags[a.app] = a.request.Encode()
	c.hook()
	a.prove(0)
	c.hook()
	assert.Equal(t, "refused devices.kvm: for containers only, and instance juju-db-0 is a virtual machine", a.state(0).State+" "+a.state(0).Message)
	assert.Equal(t, []string{"default", "juju-shop-abc"}, c.profilesOf("juju-db-0"))
}

// A key that is younger than the server is refused by name.
func TestWhatThisLXDCannot(t *testing.T) {
	c := newCluster(t)
	c.policy(wide)
	a := c.ask(shop, "web", 1, "limits.cpu.nodes=0", "limits.cpu=1")
	c.hook()
	a.prove(0)
	c.hook()
	assert.Equal(t, "refused config.limits.cpu.nodes is not an option of this LXD: it has no API extension numa_cpu_placement", a.state(0).State+" "+a.state(0).Message)
	c.lxd.Extensions = map[string]bool{"numa_cpu_placement": true}
	c.hook()
	assert.Equal(t, lxdprofile.Applied, a.state(0).State)
}

// A change costs one write of a profile and none of an instance, however many units.
func TestWritesDoNotGrowWithUnits(t *testing.T) {
	for _, n := range []int{1, 10, 100} {
		c := newCluster(t)
		c.policy(wide)
		a := c.ask(shop, "web", n, "limits.memory=1GiB").settle()
		counts := map[string]int{}
		for _, write := range c.lxd.Writes {
			counts[strings.Join(strings.Fields(write)[:2], " ")]++
		}
		require.Equal(t, map[string]int{"create profile": 1, "update profile": 1, "update instance": 2 * n}, counts, "%d units come", n)
		for _, want := range []string{"limits.memory=2GiB", "security.nesting=true"} {
			c.lxd.Writes = nil
			a.want(want)
			c.hook()
			c.hook()
			require.Equal(t, []string{"update profile dcib-shop-web"}, c.lxd.Writes, fmt.Sprint(n, " units, ", want))
		}
	}
}

// The key that one application's share needs is no other's.
func TestAnothersShare(t *testing.T) {
	c := newCluster(t)
	c.policy("keys: [limits.*]\ndevices: [disk]\nhost-paths: [\"cephfs:cephfs/*\"]")
	a := c.ask(shop, "web", 1, "limits.cpu=1").settle()
	disk := func(cluster string) string {
		a.request.Profile.Devices = map[string]map[string]string{"cephfs": {"type": "disk", "source": "cephfs:cephfs/web", "path": "/mnt", "ceph.cluster_name": cluster, "ceph.user_name": "web"}}
		a.relation.Databags[a.app] = a.request.Encode()
		c.hook()
		return a.state(0).State + " " + a.state(0).Message
	}
	own, other := a.answer().CephCluster, lxdprofile.CephCluster(here, "lxd-profile:9")
	assert.Equal(t, "applied ", disk(own))
	assert.Equal(t, "applied ", disk("ceph"))
	assert.Contains(t, disk(other), "refused devices.cephfs.ceph.cluster_name is \""+other+"\", which is not this relation's")
	assert.Contains(t, disk(lxdprofile.CephCluster(shop, "web")), "refused devices.cephfs.ceph.cluster_name")

	// A requester that claims to be this application gets another profile name.
	thief := c.ask(shop, "web", 0, "limits.cpu=1")
	thief.request.Profile = a.request.Profile
	thief.relation.Databags[thief.app] = thief.request.Encode()
	c.hook()
	assert.NotEqual(t, own, thief.answer().CephCluster)
}

package broker_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/relation/lxdprofile"
	"github.com/dcib/dcib/internal/testkit/crash"
)

// Every hook is killed at every point while two applications come, change, lose a unit,
// see the broker's leader change, and go. No nonce is ever published, and no unit gets a profile
// without a proof.
func TestCrashes(t *testing.T) {
	crashtest.Check(t, func(run *crashtest.Run) any {
		c := newCluster(run)
		c.lxd.Gate = run.Gate
		web := c.ask(shop, "web", 2, "limits.memory=512MiB")
		askers := []*asker{web}
		run.Always = func() { c.secretsAreKept(askers) }
		rounds := func(n int) {
			for range n {
				_ = crashtest.Hook(run, c.juju, c.charm(), c.event())
				for _, a := range askers {
					a.proveIfAsked()
				}
			}
		}
		rounds(3)
		web.want("limits.memory=1GiB", "limits.cpu=2")
		db := c.ask(rogue, "db", 1, "limits.memory=2GiB")
		askers = append(askers, db)
		rounds(4)
		c.juju.RemoveUnit(web.unit(1))
		delete(web.claims, 1)
		rounds(2)
		c.juju.Leaders["lxd-cluster"] = "lxd-cluster/1"
		web.want("limits.memory=3GiB")
		rounds(3)
		c.juju.Unrelate(db.relation)
		askers = askers[:1]
		rounds(2)
		require.NotContains(run, c.lxd.Instances["juju-db-0"].Config, db.nonce(), "left behind")
		return c.end(web)
	}, crashtest.Late, crashtest.Lost)
}

// proveIfAsked does what an honest unit does when it is asked; after a crash it may not be.
func (a *asker) proveIfAsked() {
	if a.relation.Databags["lxd-cluster"] == nil {
		return
	}
	answer := a.answer()
	for i, claim := range a.claims {
		s := answer.Units[claim.Unit]
		nonce := a.c.lxd.Instances[claim.Instance].Config[s.Key]
		if s.State == lxdprofile.Challenged && s.Challenge == lxdprofile.ChallengeOf(nonce) {
			claim.Challenge, claim.Proof = s.Challenge, claim.Prove(s.Key, nonce)
			a.say(i)
		}
	}
}

func (c *cluster) secretsAreKept(askers []*asker) {
	for _, a := range askers {
		for _, claim := range a.claims {
			instance := c.lxd.Instances[claim.Instance]
			if nonce := instance.Config[a.nonce()]; nonce != "" {
				require.NotContains(c.t, fmt.Sprint(a.relation.Databags), nonce, "the nonce is told")
			}
			if claim.Proof == "" {
				require.NotContains(c.t, strings.Join(instance.Profiles, " "), "dcib", "%s has a profile without a proof", claim.Instance)
			}
		}
	}
}

// end is what LXD has and what was answered, without nonces.
func (c *cluster) end(askers ...*asker) map[string]any {
	end := map[string]any{}
	for name, instance := range c.lxd.Instances {
		config := maps.Clone(instance.Config)
		for key := range config {
			if lxdprofile.IsNonceKey(key) {
				config[key] = "a nonce"
			}
			if strings.HasPrefix(key, "user.dcib.attached.") {
				config[key] = "a time"
			}
		}
		end["instance "+name] = map[string]any{"config": config, "profiles": slices.Clone(instance.Profiles)}
	}
	for name, profile := range c.lxd.Profiles {
		end["profile "+name] = *profile
	}
	for _, a := range askers {
		for i := range a.claims {
			state := a.state(i)
			state.Challenge = ""
			end["answer to "+a.unit(i)] = state
		}
	}
	return end
}

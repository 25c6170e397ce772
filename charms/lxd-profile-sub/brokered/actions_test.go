package brokered_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

func (m *model) request() lxdprofile.ProfileRequest {
	m.t.Helper()
	request, err := lxdprofile.DecodeProfileRequest(m.relation.Databags["sub"])
	require.NoError(m.t, err)
	return request
}

// applied publishes that both units have the requested profile; restart is what waits.
func (m *model) applied(restart ...string) {
	request := m.request()
	for _, n := range []string{"0", "1"} {
		m.answer("sub/"+n, lxdprofile.State{State: lxdprofile.Applied, Instance: "juju-" + n, Profile: "dcib-shop-web", Revision: lxdprofile.Revision(request.Profile), Restart: restart})
	}
	answer, err := lxdprofile.DecodeProfileStatus(m.relation.Databags["lxd-cluster"])
	require.NoError(m.t, err)
	answer.Profile, answer.RolledBack = &request.Profile, request.RolledBack
	m.relation.Databags["lxd-cluster"] = answer.Encode()
}

func memory(size string) profile.Profile {
	return profile.Profile{Config: map[string]string{"limits.memory": size}}
}

func TestRollback(t *testing.T) {
	m := newModel(t)
	rollback := func() (map[string]string, string) { return m.action("sub/0", "rollback", nil) }
	m.hook("sub/0")
	_, failure := rollback()
	assert.Equal(t, "cannot roll back: no other profile was fully applied on every unit before", failure)
	m.applied()
	m.hook("sub/0")

	// One unit has refused, or something waits for a restart: not fully applied.
	for _, size := range []string{"1GiB", "2GiB"} {
		m.config("config: {limits.memory: " + size + "}")
		m.hook("sub/0")
		m.applied("config.security.nesting")
		m.hook("sub/0")
	}
	m.config("config: {limits.memory: 3GiB}")
	m.hook("sub/0")
	m.applied()
	m.answer("sub/1", lxdprofile.State{State: lxdprofile.Refused, Message: "no"})
	m.hook("sub/0")
	m.config("config: {limits.memory: 9GiB}")
	m.hook("sub/0")
	results, failure := rollback()
	assert.Empty(t, failure)
	assert.Contains(t, results["profile"], "limits.memory: 512MiB")
	assert.Equal(t, memory("512MiB"), m.request().Profile)
	assert.Equal(t, lxdprofile.Revision(memory("9GiB")), m.request().RolledBack)

	// It stays so, on every unit, until the options change.
	m.hook("sub/0")
	m.applied()
	for _, unit := range []string{"sub/0", "sub/1"} {
		m.hook(unit)
		assert.Equal(t, "active: rolled back, until the options change; in force: limits.memory=512MiB", m.status(unit))
	}
	assert.Equal(t, memory("512MiB"), m.request().Profile)
	results, _ = m.action("sub/1", "diff", nil)
	assert.Equal(t, map[string]string{"rolled-back": "until the options change", "sub-0": "instance juju-0: as wanted", "sub-1": "instance juju-1: as wanted"}, results)

	m.config("config: {limits.memory: 4GiB}")
	m.hook("sub/0")
	assert.Equal(t, memory("4GiB"), m.request().Profile)
	assert.Empty(t, m.request().RolledBack)
	m.applied()
	m.hook("sub/0")

	// What is fully applied itself is rolled back to the one before.
	_, failure = rollback()
	assert.Empty(t, failure)
	assert.Equal(t, memory("512MiB"), m.request().Profile)
	m.config("config: {limits.memory: 9GiB}")
	m.hook("sub/0")
	assert.Equal(t, memory("9GiB"), m.request().Profile, "what was rolled back once can be asked for again")

	m.config("config: {limits.memory: lots}")
	_, failure = rollback()
	assert.Contains(t, failure, "cannot roll back: cannot use option profile: config.limits.memory")
	_, failure = m.action("sub/1", "rollback", nil)
	assert.Equal(t, "cannot do this on sub/1, which is not the leader: run it on sub/leader", failure)
	m.juju.Unrelate(m.relation)
	_, failure = m.action("sub/0", "rollback", nil)
	assert.Contains(t, failure, "cannot do this without relation lxd-profile")
}

// A large profile is kept for a rollback as long as the broker can still read the databag.
func TestTheHistoryStaysReadable(t *testing.T) {
	m := newModel(t)
	for _, size := range []int{100, 20000, 30000, 60000, 100} {
		m.config("config: {user.note: " + strings.Repeat("<", size) + "}")
		m.hook("sub/0")
		m.applied()
		m.hook("sub/0")
		for key, value := range m.relation.Databags["sub"] {
			if key != "profile" {
				assert.LessOrEqual(t, len(value), profile.MaxBytes, "%s of %d bytes", key, size)
			}
		}
	}
}

func TestDiff(t *testing.T) {
	m := newModel(t)
	m.hook("sub/0")
	results, _ := m.action("sub/1", "diff", nil)
	assert.Equal(t, map[string]string{"units": "lxd-cluster has published no status yet"}, results)
	m.applied("config.security.nesting")
	m.answer("sub/1", lxdprofile.State{State: lxdprofile.Applied, Instance: "juju-1", Profile: "dcib-shop-web", Revision: lxdprofile.Revision(memory("512MiB")),
		Differs: map[string]string{"config.limits.memory": `"4GiB"`}, Ignored: []string{"config.limits.processes"}})
	results, _ = m.action("sub/0", "diff", nil)
	assert.Equal(t, map[string]string{
		"sub-0": "instance juju-0:\n  config.security.nesting: waits for a restart",
		"sub-1": "instance juju-1:\n  config.limits.memory: wanted \"512MiB\", the instance itself has \"4GiB\"\n  config.limits.processes: ignored by a virtual machine",
	}, results)

	m.config("config: {limits.memory: 1GiB, user.token: hush}")
	m.answer("sub/1", lxdprofile.State{State: lxdprofile.Refused, Message: "config.user.token: profile-policy does not allow it", Instance: "juju-1"})
	results, _ = m.action("sub/0", "diff", nil)
	assert.Equal(t, "instance juju-0:\n  config.limits.memory: wanted \"1GiB\", LXD profile dcib-shop-web has \"512MiB\"\n  config.user.token: wanted some text, LXD profile dcib-shop-web has none\n  config.security.nesting: waits for a restart", results["sub-0"])
	assert.Contains(t, results["sub-1"], "refused: config.user.token: profile-policy does not allow it")
	assert.NotContains(t, results["sub-1"], "hush")
}

func TestApplyRestart(t *testing.T) {
	m := newModel(t)
	m.hook("sub/0")
	m.applied()
	params := map[string]any{"batch": 2.0, "wait-healthy": "300s"}
	results, failure := m.action("sub/0", "apply-restart", params)
	assert.Equal(t, "none: nothing waits for a restart", results["units"]+failure)
	assert.Nil(t, m.request().Restart)

	m.applied("config.security.nesting")
	_, failure = m.action("sub/0", "apply-restart", map[string]any{"batch": 0.0, "wait-healthy": "300s"})
	assert.Contains(t, failure, "parameter batch is 0")
	results, failure = m.action("sub/0", "apply-restart", params)
	assert.Empty(t, failure)
	assert.Equal(t, "sub/0 sub/1", results["units"])
	asked := m.request().Restart
	assert.Equal(t, &lxdprofile.Restart{ID: results["request"], Batch: 2, WaitHealthy: lxdprofile.Duration(300 * time.Second)}, asked)
	m.config("config: {limits.memory: 1GiB}")
	m.hook("sub/0")
	assert.Equal(t, asked, m.request().Restart, "another request leaves the request as it is")

	progress := func(p lxdprofile.Progress) {
		m.applied("config.security.nesting")
		answer, _ := lxdprofile.DecodeProfileStatus(m.relation.Databags["lxd-cluster"])
		answer.Restart = p
		m.relation.Databags["lxd-cluster"] = answer.Encode()
	}
	progress(lxdprofile.Progress{ID: asked.ID, State: lxdprofile.Running, Message: "waiting for sub/0 to be back"})
	_, failure = m.action("sub/0", "apply-restart", params)
	assert.Equal(t, "cannot restart: request "+asked.ID+" is still running: waiting for sub/0 to be back", failure)
	progress(lxdprofile.Progress{ID: asked.ID, State: lxdprofile.Failed, Message: "sub/0 is not back"})
	m.hook("sub/1")
	assert.Equal(t, "blocked: lxd-cluster stopped the restart: sub/0 is not back", m.status("sub/1"))
	_, failure = m.action("sub/0", "apply-restart", params)
	assert.Empty(t, failure)
	assert.NotEqual(t, asked.ID, m.request().Restart.ID)

	// A unit reports that it is back.
	m.lxd["sub/1"].started = "b 2"
	m.hook("sub/1")
	assert.Equal(t, "b 2", m.claim("sub/1").Started)
}

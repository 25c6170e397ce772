//go:build box

package members

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// bridge adds a bridge of the host's own to machines, as MAAS makes br0.
func (s *stage) bridge(t *testing.T, machines ...string) {
	t.Helper()
	for _, machine := range machines {
		box.Inside(t, machine, "ip link show br0 >/dev/null 2>&1 || ip link add br0 type bridge; ip link set br0 up")
	}
}

// onBridge starts an instance on the pet with a nic on br0, as in overlays/metal.yaml.
func (s *stage) onBridge(t *testing.T, name, more string) {
	t.Helper()
	s.run(t, `lxc profile show metal >/dev/null 2>&1 || lxc profile create metal
lxc profile device get metal eth0 type >/dev/null 2>&1 || lxc profile device add metal eth0 nic nictype=bridged parent=br0 name=eth0
lxc profile device get metal root type >/dev/null 2>&1 || lxc profile device add metal root disk path=/ pool=local
lxc launch tiny %s --profile metal --target %s %s`, name, s.pet, more)
}

// testBridge has instances on a bridge that LXD does not manage. They move to members with the bridge.
func (s *stage) testBridge(t *testing.T) {
	s.bridge(t, s.pet, s.target, s.acting)
	defer s.clean(t)
	for n := range 3 {
		s.onBridge(t, fmt.Sprint("metal-", n), "")
	}
	before := s.instances(t)
	away := func(why string) {
		t.Helper()
		for name, at := range places(s.instances(t)) {
			require.NotContains(t, at, s.pet, "%s: %s", why, name)
			require.True(t, strings.HasSuffix(at, " Running"), "%s: %s: %s", why, name, at)
		}
	}
	home := func(why string) {
		t.Helper()
		after := s.instances(t)
		require.Equal(t, places(before), places(after), why)
		requireUnchanged(t, before, after, why)
	}

	t.Log(s.drain(t))
	away("drain")
	t.Log(s.undrain(t))
	home("undrain")

	unit := s.unitOn(t, s.pet)
	t.Log(box.Action(t, model, unit, "evacuate-member", "member="+s.pet))
	away("evacuate")
	s.requireStatus(t, s.pet, "evacuated")
	t.Log(box.Action(t, model, unit, "restore-member", "member="+s.pet))
	after := s.instances(t)
	require.Equal(t, places(before), places(after), "restore")
	before = after // LXD's own restore writes another id for each for cloud-init

	// Nothing moves to a member without the bridge, and the plan has the reason.
	box.Inside(t, s.target, "ip link del br0")
	defer s.bridge(t, s.target)
	plan := fmt.Sprint(s.drain(t, "dry-run=true")["plan"])
	t.Log(plan)
	require.Contains(t, plan, s.target)
	require.Contains(t, plan, "br0")
	t.Log(s.drain(t))
	for name, at := range places(s.instances(t)) {
		require.Equal(t, s.acting+" Running", at, name)
	}
	s.undrain(t)
	home("undrain to where one member lacks the bridge")

	// If no member has it, nothing moves, and the plan has the reason.
	box.Inside(t, s.acting, "ip link del br0")
	_, err := box.TryAction(t, model, scheduler+"/0", "drain", "pet="+s.pet)
	s.bridge(t, s.acting)
	require.ErrorContains(t, err, "br0")
	home("a drain that was refused")
}

// unitOn returns the unit of lxd-cluster on a machine.
func (s *stage) unitOn(t *testing.T, machine string) string {
	t.Helper()
	for unit, at := range box.Machines(t, model, cluster) {
		if at == machine {
			return unit
		}
	}
	require.Fail(t, "no unit on "+machine)
	return ""
}

// testLeave removes the pet's unit while instances on a host bridge run there.
func (s *stage) testLeave(t *testing.T) {
	s.bridge(t, s.pet, s.target, s.acting)
	s.onBridge(t, "metal-0", "")
	s.onBridge(t, "metal-1", "")
	before := s.instances(t)
	box.Juju(t, "remove-unit", "-m", model, "--no-prompt", s.unitOn(t, s.pet))
	box.Eventually(t, 5*time.Minute, "the member to be gone", func() (bool, string) {
		members := box.Members(t, s.acting)
		_, there := members[s.pet]
		return !there, fmt.Sprint(members)
	})
	after := s.instances(t)
	requireUnchanged(t, before, after, "after the unit left")
	for name, at := range places(after) {
		require.True(t, strings.HasSuffix(at, " Running"), "%s: %s", name, at)
	}
	s.clean(t)
}

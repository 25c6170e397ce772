//go:build box

package faults

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/tests/testbed"
)

// testOptions changes several options at once: all are in force after one hook of each unit. An invalid one
// blocks with its name and changes nothing, until it is fixed.
func testOptions(t *testing.T, model string) {
	machines := box.Machines(t, model, app)
	first, ask := unit(t, model, 0)
	logged := func() string {
		return box.Juju(t, "debug-log", "-m", model, "--replay", "--no-tail", "--include", "unit-"+strings.ReplaceAll(first, "/", "-"))
	}
	settled := func() {
		t.Helper()
		box.WaitActive(t, model, app, len(machines))
	}
	settled()
	before := len(logged())
	box.Juju(t, "config", "-m", model, app, "cluster-groups=fast,pets", "manage-default-profile=true", "profile-policy={keys: [limits.memory], devices: [], host-paths: []}")
	const ran = `ran "config-changed" hook`
	box.Eventually(t, 2*time.Minute, "a config-changed hook", func() (bool, string) {
		log := logged()[before:]
		return strings.Contains(log, ran), log
	})
	hook, _, _ := strings.Cut(logged()[before:], ran)
	require.Contains(t, hook, "into cluster groups fast, pets", "in the first hook")
	require.Contains(t, hook, "write profile default", "in the same hook")
	settled()
	for unit, machine := range machines {
		list := box.Inside(t, ask, "lxc cluster show "+machine)
		require.Contains(t, list, "- fast", unit)
		require.Contains(t, list, "- pets", unit)
	}
	require.Contains(t, box.Inside(t, ask, "lxc profile show default"), "pool: local")

	profile := func() string {
		return box.Inside(t, ask, "lxc profile show dcib; lxc profile show default; lxc cluster list")
	}
	was := profile()
	box.Juju(t, "config", "-m", model, app, "bridge=br 0", "storage-driver=floppy", "bridge-address=10.248.0.1", "cluster-groups=")
	for unit := range machines {
		state := box.WaitUnit(t, model, unit, func(s testbed.State) bool { return s.Current == "blocked" })
		for _, option := range []string{"bridge", "storage-driver", "bridge-address"} {
			require.Contains(t, state.Message, "option "+option+" is ", unit)
		}
	}
	require.Equal(t, was, profile(), "nothing was changed of what the wrong options are about")
	box.Juju(t, "config", "-m", model, app, "bridge=lxdbr0", "storage-driver=dir", "bridge-address=10.248.0.1/24")
	settled()
}

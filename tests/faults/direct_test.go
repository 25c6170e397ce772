//go:build box

package faults

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/canonical/lxd/shared"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/tests/testbed"
)

// alone is a model on the box's own LXD, as on a `localhost` cloud: no lxd-cluster there.
const alone = "alone"

// TestDirect walks through the mode without a broker, with a certificate restricted to one project.
func TestDirect(t *testing.T) {
	box = testbed.New(t, "faults")
	box.DCIB(t, 25*time.Minute, "up", "--until", "controller")
	box.AddModel(t, alone, "update-status-hook-interval=1m")
	dir := t.TempDir()
	testbed.Run(t, testbed.PackTime, filepath.Join(box.Repo, "bin/dcib"), "pack", "--out", dir, filepath.Join(box.Repo, "tests/charms/idle"))
	box.Juju(t, "deploy", "-m", alone, filepath.Join(dir, "idle.charm"), "web", "-n", "2", "--base", "ubuntu@24.04")
	box.Juju(t, "deploy", "-m", alone, filepath.Join(box.Repo, "dist/lxd-profile-sub.charm"), "web-profile", "--base", "ubuntu@24.04")
	box.Juju(t, "integrate", "-m", alone, "web-profile", "web")
	secret := addCredential(t, "web-profile")
	wants := func(profile string) { box.Juju(t, "config", "-m", alone, "web-profile", "profile="+profile) }
	box.Juju(t, "config", "-m", alone, "web-profile", "endpoint=https://"+strings.TrimSpace(box.LXC(t, "config", "get", "core.https_address")), "credential="+secret,
		"profile=config: {limits.memory: 300MiB}")
	box.WaitActive(t, alone, "web", 2)
	containers := box.Machines(t, alone, "web")
	says := func(what string, yes func(unit string, s testbed.State) bool) {
		t.Helper()
		box.Eventually(t, 4*time.Minute, what, func() (bool, string) {
			for _, u := range box.Status(t, alone).Applications["web"].Units {
				for name, sub := range u.Subordinates {
					if !yes(name, sub.Workload) {
						return false, name + " " + sub.Workload.Current + ": " + sub.Workload.Message
					}
				}
				if len(u.Subordinates) == 0 {
					return false, "no subordinate"
				}
			}
			return true, ""
		})
	}
	held := func(mib int64) {
		t.Helper()
		for _, container := range containers {
			require.Equal(t, mib<<20, testbed.LimitOf(t, container, "memory").Read(t), container)
		}
	}
	says("the limit", func(_ string, s testbed.State) bool { return s.Message == "in force: limits.memory=300MiB" })
	held(300)

	// The kernel applies it after the restart, not before.
	firstPort := func(container string) string {
		return strings.TrimSpace(box.Inside(t, container, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start"))
	}
	wants("config: {limits.memory: 400MiB, linux.sysctl.net.ipv4.ip_unprivileged_port_start: \"80\"}")
	says("a restart to be needed", func(_ string, s testbed.State) bool {
		return s.Current == "active" && strings.Contains(s.Message, "in force: limits.memory=400MiB; restart needed for linux.sysctl.net.ipv4.ip_unprivileged_port_start: juju run web-profile/leader apply-restart")
	})
	held(400)
	pids := map[string]string{}
	for _, container := range containers {
		require.Equal(t, "1024", firstPort(container), container)
		pids[container] = pidOf(t, container)
	}

	t.Run("what it costs when there is nothing to do", func(t *testing.T) {
		var best charm.Usage
		for range 5 {
			var u charm.Usage
			testbed.Decode(t, box.Juju(t, "exec", "-m", alone, "--unit", subordinateLeader(t), "--",
				"cd $JUJU_CHARM_DIR && DCIB_USAGE=/tmp/usage JUJU_DISPATCH_PATH=hooks/update-status ./dispatch && cat /tmp/usage && rm /tmp/usage"), &u)
			if best.CPU == 0 || u.CPU < best.CPU {
				best = u
			}
		}
		t.Logf("own CPU %s, peak memory %d KiB, %d hook tools in %s", best.CPU, best.MaxRSS, best.ToolCalls, best.Tools)
		require.LessOrEqual(t, best.MaxRSS, int64(20<<10), "peak KiB")
	})
	t.Run("apply-restart", func(t *testing.T) {
		results := box.Action(t, alone, subordinateLeader(t), "apply-restart", "wait-healthy=4m")
		t.Log(results)
		require.Contains(t, results["next"], "restarts in a minute")
		says("all to be back with it", func(_ string, s testbed.State) bool {
			return s.Message == "in force: limits.memory=400MiB, linux.sysctl.net.ipv4.ip_unprivileged_port_start"
		})
		for _, container := range containers {
			require.Equal(t, "80", firstPort(container), container)
			require.NotEqual(t, pids[container], pidOf(t, container), container)
			pids[container] = pidOf(t, container)
		}
		held(400)
	})
	t.Run("rollback", func(t *testing.T) {
		// The rollback goes back to what is in force on all of them now.
		wants("config: {limits.memory: 500MiB, linux.sysctl.net.ipv4.ip_unprivileged_port_start: \"80\"}")
		says("another limit", func(_ string, s testbed.State) bool {
			return strings.HasPrefix(s.Message, "in force: limits.memory=500MiB")
		})
		held(500)
		box.Action(t, alone, subordinateLeader(t), "rollback")
		held(400)
		says("what was in force before", func(_ string, s testbed.State) bool {
			return s.Message == "rolled back, until the options change; in force: limits.memory=400MiB, linux.sysctl.net.ipv4.ip_unprivileged_port_start"
		})
		wants("config: {limits.memory: 350MiB}")
		says("the options to count again", func(_ string, s testbed.State) bool {
			return strings.HasPrefix(s.Message, "in force: limits.memory=350MiB")
		})
	})
	t.Run("what another program rewrote", func(t *testing.T) {
		for _, container := range containers {
			box.LXC(t, "profile", "remove", container, "dcib-alone-web")
		}
		box.Eventually(t, 2*time.Minute, "one update-status", func() (bool, string) {
			var instances []testbed.Placed
			testbed.Decode(t, box.LXC(t, "list", "--format", "json"), &instances)
			for _, i := range instances {
				if pids[i.Name] != "" && !slices.Contains(i.Profiles, "dcib-alone-web") {
					return false, fmt.Sprint(i)
				}
			}
			return true, ""
		})
		held(350)
		require.Contains(t, box.Juju(t, "debug-log", "-m", alone, "--replay", "--no-tail"), " again: another program has changed its list")
	})
	t.Run("it goes", func(t *testing.T) {
		box.Juju(t, "remove-application", "-m", alone, "--no-prompt", "web-profile")
		box.Eventually(t, 3*time.Minute, "our profile to go", func() (bool, string) {
			list := box.LXC(t, "profile", "list", "--format", "csv")
			return !strings.Contains(list, "dcib-alone"), list
		})
		for _, container := range containers {
			require.EqualValues(t, -1, testbed.LimitOf(t, container, "memory").Read(t), container)
			require.Equal(t, pids[container], pidOf(t, container), "%s kept running", container)
			require.NotContains(t, box.LXC(t, "config", "show", container), "user.dcib.")
		}
	})
	box.DCIB(t, 5*time.Minute, "down")
}

// subordinateLeader returns the subordinate that leads.
func subordinateLeader(t *testing.T) string {
	t.Helper()
	name := ""
	box.Eventually(t, time.Minute, "a leader", func() (bool, string) {
		for _, u := range box.Status(t, alone).Applications["web"].Units {
			for sub, s := range u.Subordinates {
				if s.Leader {
					name = sub
				}
			}
		}
		return name != "", "none"
	})
	return name
}

func pidOf(t *testing.T, container string) string {
	t.Helper()
	var state struct {
		PID int `json:"pid"`
	}
	testbed.Decode(t, box.LXC(t, "query", "/1.0/instances/"+container+"/state"), &state)
	return fmt.Sprint(state.PID)
}

// addCredential creates a client certificate that is restricted to LXD's default project, and a secret with
// it for an application.
func addCredential(t *testing.T, app string) (secret string) {
	t.Helper()
	cert, key, err := shared.GenerateMemCert(true, shared.CertOptions{CommonName: "profiles"})
	require.NoError(t, err)
	var server struct {
		Environment struct {
			Certificate string `json:"certificate"`
		} `json:"environment"`
	}
	require.NoError(t, json.Unmarshal([]byte(box.LXC(t, "query", "/1.0")), &server))
	dir := t.TempDir()
	args := []string{"add-secret", "-m", alone, "direct"}
	for name, content := range map[string]string{"client-cert": string(cert), "client-key": string(key), "server-cert": server.Environment.Certificate} {
		file := filepath.Join(dir, name+".crt")
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		args = append(args, name+"#file="+file)
	}
	box.LXC(t, "config", "trust", "add", filepath.Join(dir, "client-cert.crt"), "--restricted", "--projects", "default", "--name", "profiles")
	secret = strings.TrimSpace(box.Juju(t, args...))
	box.Juju(t, "grant-secret", "-m", alone, "direct", app)
	return secret
}

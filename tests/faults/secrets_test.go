//go:build box

package faults

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/tests/testbed"
)

// watch collects what can only be seen at the right moment: the join tokens that LXD keeps while they are
// valid, and the arguments of every process on this machine, including those in containers.
type watch struct {
	stop      chan struct{}
	done      sync.WaitGroup
	tokens    map[string]bool // their secret part
	arguments map[string]bool
}

// watchSecrets starts to watch; tokens are read from machine's LXD.
func watchSecrets(machine string) *watch {
	w := &watch{stop: make(chan struct{}), tokens: map[string]bool{}, arguments: map[string]bool{}}
	every := func(pause time.Duration, look func()) {
		w.done.Add(1)
		go func() {
			defer w.done.Done()
			for {
				look()
				select {
				case <-w.stop:
					return
				case <-time.After(pause):
				}
			}
		}()
	}
	every(250*time.Millisecond, func() {
		out, err := box.TryLXC(20*time.Second, "exec", machine, "--", "lxc", "query", "/1.0/operations?recursion=1")
		var byStatus map[string][]struct {
			Class    string
			Metadata map[string]any
		}
		if err != nil || json.Unmarshal([]byte(out), &byStatus) != nil {
			return
		}
		for _, operations := range byStatus {
			for _, op := range operations {
				if secret, ok := op.Metadata["secret"].(string); ok && op.Metadata["serverName"] != nil {
					w.tokens[secret] = true
				}
			}
		}
	})
	every(20*time.Millisecond, func() {
		files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil {
				w.arguments[strings.ReplaceAll(string(text), "\x00", " ")] = true
			}
		}
	})
	return w
}

// end stops watching and returns what was seen.
func (w *watch) end() (tokens, arguments []string) {
	close(w.stop)
	w.done.Wait()
	return slices.Sorted(maps.Keys(w.tokens)), slices.Sorted(maps.Keys(w.arguments))
}

// secretOf returns the content of the Juju secret whose id an action's results have.
func secretOf(t *testing.T, model string, results map[string]any) map[string]string {
	t.Helper()
	id, _ := results["secret"].(string)
	require.NotEmpty(t, id, "the id of a secret: %v", results)
	var shown map[string]struct {
		Content struct{ Data map[string]string } `json:"content"`
	}
	testbed.Decode(t, box.Juju(t, "show-secret", "-m", model, "--reveal", "--format", "json", id), &shown)
	require.Len(t, shown, 1)
	for _, s := range shown {
		return s.Content.Data
	}
	return nil
}

// requireSecret asserts that no secret of the model's machines, and none that was seen while they formed a
// cluster, can be read from Juju or from a process's arguments.
func requireSecret(t *testing.T, model string, seen *watch) {
	t.Helper()
	machines := box.Machines(t, model, app)
	units := slices.Sorted(maps.Keys(machines))

	given := box.Action(t, model, app+"/leader", "get-client-token", "name=grep")
	token := secretOf(t, model, given)["token"]
	require.NotEmpty(t, token)
	cloud := box.Action(t, model, app+"/leader", "get-cloud", "name=grep-cloud")
	credential := secretOf(t, model, cloud)["credential"]
	require.Contains(t, credential, "PRIVATE KEY")

	tokens, arguments := seen.end()
	require.NotEmpty(t, tokens, "join tokens were seen while the cluster grew")
	require.Greater(t, len(arguments), 100)

	secrets := map[string]string{"the client token": token}
	for _, secret := range tokens {
		secrets["join token "+secret[:6]+"…"] = secret
	}
	line := func(what, pem string) {
		for _, l := range strings.Split(pem, "\n") {
			if l = strings.TrimSpace(l); len(l) > 40 && !strings.Contains(l, "-----") {
				secrets[what] = l
				return
			}
		}
		require.Fail(t, "no key in "+what)
	}
	line("the cloud's client key", credential[strings.Index(credential, "PRIVATE KEY"):])
	for _, unit := range units {
		line("server.key of "+unit, box.Inside(t, machines[unit], "cat /var/lib/lxd/server.key"))
		line("cluster.key of "+unit, box.Inside(t, machines[unit], "cat /var/lib/lxd/cluster.key"))
		if key := strings.TrimSpace(box.Inside(t, machines[unit], "cat /var/lib/dcib/*/join.key 2>/dev/null || true")); key != "" {
			secrets["join key of "+unit] = key
		}
	}
	places := map[string]string{
		"the actions' results": fmt.Sprint(given, cloud),
		"status":               box.Juju(t, "status", "-m", model, "--format", "json"),
		"debug-log":            box.Juju(t, "debug-log", "-m", model, "--replay", "--no-tail", "--level", "TRACE"),
		"arguments":            strings.Join(arguments, "\n"),
	}
	require.Contains(t, places["debug-log"], "issue a join token to", "the log that is looked at is the right one")
	require.Contains(t, places["arguments"], "dnsmasq", "the arguments of processes in the machines were seen")
	for _, unit := range units {
		places["show-unit "+unit] = box.Juju(t, "show-unit", "-m", model, unit)
		require.Contains(t, places["show-unit "+unit], "join-request", "the databags were seen")
	}
	for place, text := range places {
		require.NotRegexp(t, testbed.JoinToken, text, place)
		require.NotContains(t, text, "PRIVATE KEY", place)
		for what, secret := range secrets {
			require.False(t, strings.Contains(text, secret), "%s is in %s", what, place)
		}
	}
	t.Logf("%d secrets were looked for in %d places, among the arguments of %d processes", len(secrets), len(places), len(arguments))
}

//go:build box

package maas

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// arguments are those of every process that was seen on this machine, in containers too.
type arguments struct {
	stop chan struct{}
	done sync.WaitGroup
	seen map[string]bool
}

func watchArguments() *arguments {
	a := &arguments{stop: make(chan struct{}), seen: map[string]bool{}}
	a.done.Add(1)
	go func() {
		defer a.done.Done()
		for {
			files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, file := range files {
				if text, err := os.ReadFile(file); err == nil {
					a.seen[strings.ReplaceAll(string(text), "\x00", " ")] = true
				}
			}
			select {
			case <-a.stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return a
}

// requireSecret asserts that no secret that the model has can be read from Juju, from the
// arguments of a process, from PostgreSQL's log or what debconf keeps.
func requireSecret(t *testing.T, seen *arguments) {
	close(seen.stop)
	seen.done.Wait()
	regions, racks := box.Machines(t, metal, region), box.Machines(t, metal, rack)
	databaseUnit := regions[region+"/0"]

	var conf struct {
		Password string `yaml:"database_pass"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(box.Inside(t, databaseUnit, "cat /etc/maas/regiond.conf")), &conf))
	secrets := map[string]string{
		"the database's password": conf.Password,
		"MAAS's secret":           strings.TrimSpace(box.Inside(t, databaseUnit, "cat /var/lib/maas/secret")),
	}
	for n, part := range strings.Split(key(t, metal), ":")[1:] {
		secrets["the API key's "+[]string{"token", "secret"}[n]] = part
	}
	var all map[string]struct {
		Label string `json:"label"`
	}
	require.NoError(t, json.Unmarshal([]byte(box.Juju(t, "secrets", "-m", metal, "--format", "json")), &all))
	for id, s := range all {
		if s.Label != "maas-admin" {
			continue
		}
		var shown map[string]struct {
			Content struct{ Data map[string]string } `json:"content"`
		}
		require.NoError(t, json.Unmarshal([]byte(box.Juju(t, "show-secret", "-m", metal, "--reveal", "--format", "json", id)), &shown))
		for _, s := range shown {
			secrets["the administrator's password"] = s.Content.Data["password"]
		}
	}
	for _, what := range []string{"the database's password", "MAAS's secret", "the API key's token", "the API key's secret", "the administrator's password"} {
		require.Greater(t, len(secrets[what]), 12, what)
	}
	require.Equal(t, secrets["MAAS's secret"], strings.TrimSpace(box.Inside(t, slices.Collect(maps.Values(racks))[0], "cat /var/lib/maas/secret")), "where it may be it is")

	require.Greater(t, len(seen.seen), 100)
	places := map[string]string{
		"status":    box.Juju(t, "status", "-m", metal, "--format", "json"),
		"debug-log": box.Juju(t, "debug-log", "-m", metal, "--replay", "--no-tail", "--level", "TRACE"),
		"arguments": strings.Join(slices.Collect(maps.Keys(seen.seen)), "\n"),
	}
	require.Contains(t, places["debug-log"], "make administrator", "the log that is looked at is the right one")
	for unit := range regions {
		places["show-unit "+unit] = box.Juju(t, "show-unit", "-m", metal, unit)
		require.Contains(t, places["show-unit "+unit], "dcib-system-id", "the racks' databags were seen")
		require.Contains(t, places["show-unit "+unit], "database-secret", "the regions' databags were seen")
	}
	for unit, machine := range racks {
		places["show-unit "+unit] = box.Juju(t, "show-unit", "-m", metal, unit)
		places["debconf on "+unit] = box.Inside(t, machine, "cat /var/cache/debconf/*.dat")
		require.Contains(t, places["debconf on "+unit], "maas-rack-controller/maas-url")
	}
	places["PostgreSQL's log"] = box.Inside(t, databaseUnit, "cat /var/log/postgresql/*.log")
	if standins != nil {
		places["arguments on "+databaseUnit] = box.Inside(t, databaseUnit, "cat /var/log/maas-arguments")
		require.Contains(t, places["arguments on "+databaseUnit], "maas createadmin --username admin")
	}
	for unit, machine := range regions {
		mode := box.Inside(t, machine, "stat -c '%U:%G %a' /etc/maas/regiond.conf")
		require.Equal(t, "maas:maas 640\n", mode, unit)
	}
	for place, text := range places {
		for what, secret := range secrets {
			require.False(t, strings.Contains(text, secret), "%s is in %s", what, place)
		}
	}
	t.Logf("%d secrets were looked for in %d places, among the arguments of %d processes", len(secrets), len(places), len(seen.seen))
}

//go:build box

package maas

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/maas"
)

// testCopies copies the container of a region and that of a rack, as an operator would from
// a snapshot. The regions' database is on neither.
func testCopies(t *testing.T) {
	const model = "copies"
	dist := filepath.Join(box.Repo, "dist")
	addModel(t, model)
	deploy := func(charm, app string, options ...string) {
		box.Juju(t, append([]string{"deploy", "-m", model, filepath.Join(dist, charm), app, "--base", "ubuntu@24.04"}, options...)...)
	}
	deploy("tests/postgresql.charm", "postgresql")
	deploy("maas-region.charm", region, "--config", "database=relation", "--config", "source="+source)
	deploy("maas-rack.charm", rack, "--config", "source="+source)
	box.Juju(t, "integrate", "-m", model, region+":maas-db", "postgresql:database")
	box.Juju(t, "integrate", "-m", model, region+":maas", rack+":maas")
	deployed(t, model, region, 1)
	deployed(t, model, rack, 1)
	box.WaitActive(t, model, region, 1)
	box.WaitActive(t, model, rack, 1)
	requireRacks(t, model, 1)

	testRestore(t, model)

	s := box.Status(t, model)
	originals := map[string]string{"region-b": s.Instance(t, region+"/0"), "rack-b": s.Instance(t, rack+"/0")}
	box.Action(t, model, region+"/0", "prepare-clone")
	box.Action(t, model, rack+"/0", "prepare-clone")
	id := func(machine string) string {
		return strings.TrimSpace(box.Inside(t, machine, "cat /var/lib/maas/maas_id 2>/dev/null || true"))
	}
	was := map[string]string{}
	for name, original := range originals {
		was[original] = id(original)
		box.LXC(t, "snapshot", original, "golden")
		box.LXC(t, "copy", original+"/golden", name)
		box.LXC(t, "start", name)
	}
	c := api(t, model)
	box.Eventually(t, 3*time.Minute, "MAAS to list the copies beside their originals", func() (bool, string) {
		racks, err := c.Racks(t.Context())
		if err != nil {
			return false, err.Error()
		}
		regions, err := c.Regions(t.Context())
		if err != nil {
			return false, err.Error()
		}
		byName := map[string]maas.Controller{}
		for _, one := range append(racks, regions...) {
			byName[one.Hostname] = one
		}
		for name, original := range originals {
			if byName[name].SystemID == "" || byName[original].SystemID != was[original] {
				return false, shown(byName)
			}
		}
		return len(byName) == 4 && byName["rack-b"].State() == "running" && byName[originals["rack-b"]].State() == "running", shown(byName)
	})
	for name, original := range originals {
		require.NotEmpty(t, id(name))
		require.NotEqual(t, was[original], id(name))
		require.Equal(t, was[original], id(original))
		// To cloud-init a copy is a new machine: what Juju has it do must not happen.
		box.Inside(t, name, "cloud-init status --wait >/dev/null 2>&1 || true")
		const agents = "pgrep -x -c jujuagentd || true"
		require.Equal(t, "1\n", box.Inside(t, original, agents))
		require.Equal(t, "0\n", box.Inside(t, name, agents), "no second agent speaks for the original's unit")
	}
	at := strings.TrimSpace(box.Inside(t, "region-b", "hostname -I | cut -d ' ' -f 1"))
	other, err := maas.New("http://"+at+":5240/MAAS", key(t, model))
	require.NoError(t, err)
	box.Eventually(t, time.Minute, "the copy of the region to answer", func() (bool, string) {
		racks, err := other.Racks(t.Context())
		return err == nil && len(racks) == 2, fmt.Sprint(shown(racks), err)
	})
	box.WaitActive(t, model, region, 1)
	box.WaitActive(t, model, rack, 1)
	for name := range originals {
		box.LXC(t, "delete", "--force", name)
	}
	box.Juju(t, "destroy-model", "--no-prompt", "--force", "--no-wait", "--destroy-storage", "--timeout", "2m", model)
}

// testRestore makes MAAS what it was before an administrator was made.
func testRestore(t *testing.T, model string) {
	t.Helper()
	saved, _ := box.Action(t, model, region+"/0", "create-backup")["path"].(string)
	require.NotEmpty(t, saved)
	box.Action(t, model, region+"/0", "create-admin", "username=later")
	box.Action(t, model, region+"/0", "get-api-key", "username=later")
	box.Action(t, model, region+"/0", "restore-backup", "path="+saved, "force=true")
	_, err := box.TryAction(t, model, region+"/0", "get-api-key", "username=later")
	require.ErrorContains(t, err, "User does not exist")
	box.WaitActive(t, model, region, 1)
	requireRacks(t, model, 1)
}

//go:build box

package maas

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/tests/testbed"
)

// testHarm breaks installations of racks at once, each on a machine of its own. What was
// wrong is put right; nothing else is done by hand.
func testHarm(t *testing.T) {
	const model = "harm"
	addModel(t, model)
	deploy := func(t *testing.T, app, source string, more ...string) {
		t.Helper()
		box.Juju(t, append([]string{"deploy", "-m", model, filepath.Join(box.Repo, "dist/maas-rack.charm"), app, "--base", "ubuntu@24.04", "--config", "source=" + source}, more...)...)
	}
	says := func(t *testing.T, app, status, message string) {
		t.Helper()
		got := box.WaitUnit(t, model, app+"/0", func(s testbed.State) bool { return s.Current == status && strings.Contains(s.Message, message) })
		t.Log(got.Current + ": " + got.Message)
	}
	// A rack that is installed wants a region.
	installed := func(t *testing.T, app string) {
		t.Helper()
		says(t, app, "blocked", "no region: juju integrate")
		require.Equal(t, "installed", box.Inside(t, box.Status(t, model).Instance(t, app+"/0"), "dpkg-query -W -f '${db:Status-Status}' maas-rack-controller"))
	}
	// machine waits for a unit's machine to be one to run things in.
	machine := func(t *testing.T, app string) string {
		t.Helper()
		id := ""
		box.Eventually(t, 5*time.Minute, "a machine for "+app, func() (bool, string) {
			s := box.Status(t, model)
			id = s.Machines[s.Applications[app].Units[app+"/0"].Machine].InstanceID
			if !strings.HasPrefix(id, "juju-") {
				return false, id
			}
			_, err := box.TryLXC(20*time.Second, "exec", id, "--", "systemctl", "is-active", "dbus")
			return err == nil, id
		})
		return id
	}

	t.Run("all", func(t *testing.T) {
		t.Run("a wrong source", func(t *testing.T) {
			t.Parallel()
			const app = "wrong"
			good := standins.Site(app)
			deploy(t, app, "deb maas")
			says(t, app, "blocked", "option source")
			box.Juju(t, "config", "-m", model, app, "source="+good.Line)
			says(t, app, "blocked", "option source: it has no key")
			box.Juju(t, "config", "-m", model, app, "source="+strings.Replace(good.Source, "/"+app, "/nowhere", 1))
			says(t, app, "blocked", "does not have a Release file.: look at option source")
			box.Juju(t, "config", "-m", model, app, "source=")
			says(t, app, "blocked", "apt knows no package maas-rack-controller")
			box.Juju(t, "config", "-m", model, app, "source="+good.Source)
			installed(t, app)
		})
		t.Run("an archive that is away, and breaks off", func(t *testing.T) {
			t.Parallel()
			const app = "away"
			site := standins.Site(app)
			site.Gone.Store(true)
			deploy(t, app, site.Source)
			says(t, app, "waiting", "retried automatically")
			site.Breaks.Store(true)
			site.Gone.Store(false)
			says(t, app, "waiting", ".deb")
			site.Breaks.Store(false)
			installed(t, app)
		})
		t.Run("a full disk", func(t *testing.T) {
			t.Parallel()
			const app = "full"
			deploy(t, app, "deb maas")
			inside := machine(t, app)
			// Where the largest of the packages' files goes: dpkg has begun when it is full.
			box.Inside(t, inside, "mkdir -p /usr/lib/maas && mount -t tmpfs -o size=64k tmpfs /usr/lib/maas")
			box.Juju(t, "config", "-m", model, app, "source="+standins.Site(app).Source)
			says(t, app, "blocked", "the disk is full")
			box.Inside(t, inside, "umount /usr/lib/maas")
			installed(t, app)
			box.Inside(t, inside, "test -x /usr/lib/maas/standin")
		})
		t.Run("a half-configured package", func(t *testing.T) {
			t.Parallel()
			const app = "half"
			deploy(t, app, "deb maas")
			inside := machine(t, app)
			// The package's script fails on it.
			box.Inside(t, inside, "mkdir -p /etc/maas/rackd.conf")
			box.Juju(t, "config", "-m", model, app, "source="+standins.Site(app).Source)
			says(t, app, "blocked", "dpkg: error processing package maas-rack-controller")
			require.Equal(t, "half-configured", box.Inside(t, inside, "dpkg-query -W -f '${db:Status-Status}' maas-rack-controller"))
			box.Inside(t, inside, "rmdir /etc/maas/rackd.conf")
			installed(t, app)
		})
	})
	box.Juju(t, "destroy-model", "--no-prompt", "--force", "--no-wait", "--destroy-storage", "--timeout", "2m", model)
}

//go:build box

package faults

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/tests/testbed"
)

// newerLXD returns a folder with an apt repository that has Debian's LXD packages with one revision more:
// the same programs and maintainer scripts.
func newerLXD(t *testing.T) (dir, version string) {
	t.Helper()
	dir = t.TempDir()
	sh := func(line string) string {
		t.Helper()
		return testbed.Run(t, 5*time.Minute, "sh", "-ec", "cd '"+dir+"'\n"+line)
	}
	sh("apt-get download -q lxd lxd-client")
	old := strings.TrimSpace(sh("dpkg-deb --field lxd_*.deb Version"))
	version = old + "+newer1"
	sh(fmt.Sprintf(`for name in lxd lxd-client; do
		dpkg-deb --raw-extract ${name}_*.deb tree
		rm ${name}_*.deb
		sed -i 's/^Version: .*/Version: %[2]s/; s/lxd-client (= %[1]s)/lxd-client (= %[2]s)/' tree/DEBIAN/control
		dpkg-deb --root-owner-group -Znone --build tree ${name}.deb >&2
		rm -r tree
		dpkg-deb --field ${name}.deb >>Packages
		printf 'Filename: ./%%s\nSize: %%s\nSHA256: %%s\n\n' ${name}.deb $(stat -c %%s ${name}.deb) $(sha256sum ${name}.deb | cut -d' ' -f1) >>Packages
	done`, old, version))
	return dir, version
}

// testUpgrade upgrades three members to a newer package, one after another; one upgrade fails in the
// middle.
func testUpgrade(t *testing.T) {
	const model = "upgrade"
	repository, newer := newerLXD(t)
	deploy(t, model, 3)
	defer destroy(t, model)
	requireForms(t, model, 3)
	machines := box.Machines(t, model, app)
	_, first := unit(t, model, 0)
	box.TinyImage(t, first)
	for _, machine := range machines {
		box.Inside(t, first, fmt.Sprintf("lxc launch tiny tiny-%s --profile dcib --target %s", machine, machine))
		box.LXC(t, "file", "push", "--recursive", "--create-dirs", repository, machine+"/srv/")
		box.Inside(t, machine, "mv /srv/"+filepath.Base(repository)+" /srv/newer && echo 'deb [trusted=yes] file:/srv/newer ./' >/etc/apt/sources.list.d/newer.list")
	}
	version := func(machine string) string {
		return strings.TrimSpace(box.Inside(t, machine, "dpkg-query -W -f '${Version} ${db:Status-Status}' lxd"))
	}
	daemon := func(machine string) string {
		return box.Inside(t, machine, "systemctl show --property MainPID --value lxd.service")
	}
	require.NotEqual(t, newer+" installed", version(first))

	upgrade := func(t *testing.T, name, machine string) {
		t.Helper()
		before, was := pids(t, model), daemon(machine)
		results := box.Action(t, model, name, "upgrade-lxd", "evacuate=true")
		t.Log(results)
		require.Equal(t, newer+" installed", version(machine))
		require.NotEqual(t, was, daemon(machine), "LXD was restarted")
		box.RequireOneCluster(t, machines)
		for instance, place := range pids(t, model) {
			if strings.HasPrefix(before[instance], machine+" ") {
				require.True(t, strings.HasPrefix(place, machine+" "), "%s is on %s, was on %s", instance, place, before[instance])
			} else {
				require.Equal(t, before[instance], place, "%s is on another member", instance)
			}
		}
	}
	upgrade(t, app+"/0", first)

	t.Run("it stops at a package that is broken, and goes on when that is fixed", func(t *testing.T) {
		name, machine := unit(t, model, 1)
		box.Inside(t, machine, "mv /srv/newer/lxd.deb /srv/whole.deb && head -c 1000000 /srv/whole.deb >/srv/newer/lxd.deb")
		old := version(machine)
		_, err := box.TryAction(t, model, name, "upgrade-lxd", "evacuate=true", "continue=true")
		require.ErrorContains(t, err, "cannot upgrade LXD")
		t.Log(err)
		require.Equal(t, old, version(machine))
		require.Equal(t, "evacuated", box.Members(t, first)[machine])
		for instance, place := range pids(t, model) {
			require.False(t, strings.HasPrefix(place, machine+" "), "%s is on the member that is evacuated", instance)
		}

		box.Inside(t, machine, "mv /srv/whole.deb /srv/newer/lxd.deb")
		require.Equal(t, "upgraded", box.Action(t, model, name, "upgrade-lxd", "evacuate=true", "continue=true")["state"])
		require.Equal(t, newer+" installed", version(machine))
		box.RequireOneCluster(t, machines)
		require.Contains(t, pids(t, model)["tiny-"+machine], machine+" ")
	})

	name, machine := unit(t, model, 2)
	upgrade(t, name, machine)
	t.Run("and again does nothing", func(t *testing.T) {
		before, was := pids(t, model), daemon(machine)
		require.Equal(t, "nothing to upgrade", box.Action(t, model, name, "upgrade-lxd", "evacuate=true")["state"])
		require.Equal(t, before, pids(t, model))
		require.Equal(t, was, daemon(machine))
	})
}

//go:build box

// Package daytwo runs docs/how-to/day-two.md on a whole data centre, on a real box, command by command: a
// machine is added and removed, charms are refreshed, a layer is removed and brought back. What runs on it
// has to survive that.
package daytwo

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/tests/howto"
	"github.com/dcib/dcib/tests/kube"
	"github.com/dcib/dcib/tests/testbed"
)

// box is separate from a developer's, and from those of other suites.
var box testbed.Box

// The files of each model, in the order of the overlays.
var (
	metal    = []string{"bundles/dcib.yaml", "overlays/box.yaml", "overlays/ceph.yaml", "overlays/ceph-offers.yaml", "tests/overlays/offline-ceph.yaml"}
	machines = []string{"bundles/kubernetes.yaml", "tests/overlays/offline.yaml"}
)

func TestDayTwo(t *testing.T) {
	box = testbed.New(t, "daytwo")
	how := howto.Open(t, box, page, changes)
	box.DCIB(t, 25*time.Minute, "up")
	for _, step := range []struct {
		name string
		test func(*testing.T, *howto.Shell)
	}{
		{"a data centre", testDeploy},
		{"Kubernetes, the third layer", func(sub *testing.T, _ *howto.Shell) { testKubernetes(sub, t) }},
		{"a pet with workers on it is drained, and they come back", testDrain},
		{"add a machine", testAdd},
		{"retire one", testRetire},
		{"refresh, from below", testRefresh},
		{"remove a layer and bring it back", testTearDown},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.test(t, how) }) {
			t.FailNow()
		}
	}
	// The box goes down with everything that is left.
	how.Rest(t, "Remove the last layer")
	box.DCIB(t, 5*time.Minute, "down")
}

func deploy(t *testing.T, model string, files []string) {
	t.Helper()
	args := []string{"deploy", "-m", model, "--map-machines", "existing", filepath.Join(box.Repo, files[0])}
	for _, f := range files[1:] {
		args = append(args, "--overlay", filepath.Join(box.Repo, f))
	}
	box.Juju(t, args...)
}

// members returns the machines of the LXD cluster's members, by unit.
func members(t *testing.T) map[string]string {
	t.Helper()
	return box.Machines(t, "metal", "lxd-cluster")
}

// ask returns a machine of the cluster that no test removes.
func ask(t *testing.T) string { t.Helper(); return members(t)["lxd-cluster/0"] }

// allow makes the devices of preset kubernetes available on a member, as on metal.
func allow(t *testing.T, member string) {
	t.Helper()
	box.LXC(t, "config", "device", "add", member, "kmsg", "unix-char", "path=/dev/kmsg")
}

func testDeploy(t *testing.T, _ *howto.Shell) {
	policy, ok := box.Merged(t, "bundles/dcib.yaml", "overlays/offers.yaml").Applications["lxd-cluster"].Options["profile-policy"].(string)
	require.True(t, ok)
	box.Juju(t, "config", "-m", "metal", "lxd-cluster", "profile-policy="+policy)
	for _, member := range members(t) {
		allow(t, member)
	}
	deploy(t, "metal", metal)
	deploy(t, "machines", machines)
	box.StartAddressless(t, ask(t), "machines")
	box.Settle(t, "metal", box.Merged(t, metal...))
	box.Settle(t, "machines", box.Merged(t, machines...))
	for _, app := range []string{"worker-profile", "control-plane-profile"} {
		box.Juju(t, "run", "-m", "machines", app+"/leader", "apply-restart")
	}
	box.Restarted(t, "machines")
}

// testKubernetes replaces the stand-ins' missing Kubernetes API by a real one until the whole test ends,
// and continues with docs/how-to/deploy.md from there. A model on it is a namespace there.
func testKubernetes(t, whole *testing.T) {
	// On the bridge that the box's machines are on.
	address := strings.TrimSpace(testbed.Run(t, time.Minute, "sh", "-c", "ip -4 -brief addr show dcib-"+box.Name+" | awk '{print $3}' | cut -d/ -f1"))
	require.NotEmpty(t, address)
	k := kube.Start(t, whole, box, address)
	for _, container := range box.Machines(t, "machines", "kubernetes-control-plane") {
		box.Inside(t, ask(t), "lxc exec "+container+" -- sh -c 'mkdir -p /var/lib/standin && echo "+base64.StdEncoding.EncodeToString([]byte(k.Config))+" | base64 -d >/var/lib/standin/kubeconfig'")
	}
	how := howto.Open(t, box, "docs/how-to/deploy.md", nil)
	how.Run(t, "Kubernetes", nil)
	require.Contains(t, k.Get(t, "/api/v1/namespaces/kubernetes"), `"Active"`)
	said := how.Run(t, "From one to the other", nil)
	for _, model := range []string{"metal", "machines", "kubernetes"} {
		require.Contains(t, said, "dcib:admin/"+model)
	}
	require.Contains(t, box.Juju(t, "status"), "kubernetes  dcib")
}

// pids returns for each running container of the model on the cluster its place, and its process there.
func pids(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for name, i := range box.Instances(t, ask(t)) {
		require.Equal(t, "Running", i.Status, name)
		found[name] = i.Location + " " + strings.TrimSpace(box.Inside(t, i.Location, "lxc info "+name+" | sed -n 's/^PID: //p'"))
	}
	return found
}

// testDrain drains the member of a worker. Nothing of the workload is lost: each of its containers runs
// elsewhere, with its profile, and its agents reconnect to Juju.
func testDrain(t *testing.T, _ *howto.Shell) {
	at := ask(t)
	before := box.Instances(t, at)
	pet := ""
	for unit, container := range box.Machines(t, "machines", "kubernetes-worker") {
		if before[container].Location != at { // the pet-scheduler with the lease is on the first
			pet = before[container].Location
			t.Logf("%s is on %s", unit, pet)
		}
	}
	require.NotEmpty(t, pet, "a worker is on another member than the first")
	moves := 0
	for _, i := range before {
		if i.Location == pet {
			moves++
		}
	}

	began := time.Now()
	box.Action(t, "metal", "pet-scheduler/leader", "drain", "pet="+pet)
	t.Logf("%d containers drained in %s", moves, time.Since(began).Round(time.Second/10))
	during := box.Instances(t, at)
	require.Len(t, during, len(before))
	for name, was := range before {
		now := during[name]
		require.NotEqual(t, pet, now.Location, name)
		require.Equal(t, "Running", now.Status, name)
		require.Equal(t, was.Profiles, now.Profiles, name)
		if was.Location != pet {
			require.Equal(t, was, now, name)
		}
	}
	back(t, at)
	t.Logf("all agents active again %s after the drain began", time.Since(began).Round(time.Second/10))

	began = time.Now()
	box.Action(t, "metal", "pet-scheduler/leader", "undrain", "pet="+pet)
	after := box.Instances(t, at)
	require.Equal(t, before, after)
	back(t, at)
	t.Logf("all are back and active %s after the undrain began", time.Since(began).Round(time.Second/10))
}

// back waits until the model on the cluster is complete again, and makes every agent do something.
func back(t *testing.T, at string) {
	t.Helper()
	box.StartAddressless(t, at, "machines")
	for _, app := range box.Status(t, "machines").Applications {
		for unit := range app.Units {
			require.Equal(t, unit, strings.TrimSpace(box.Juju(t, "exec", "-m", "machines", "--unit", unit, "--", "echo $JUJU_UNIT_NAME")))
		}
	}
	box.Settle(t, "machines", box.Merged(t, machines...))
}

// testAdd starts an instance on the new member, so that there is something to keep when it is removed.
func testAdd(t *testing.T, how *howto.Shell) {
	before := pids(t)
	said := how.Run(t, "Add a machine", func() { box.Quiet(t, "metal") })
	all := members(t)
	require.Len(t, all, 4)
	box.RequireOneCluster(t, all)
	require.Contains(t, said, all["lxd-cluster/3"], "list-members names it")
	require.Equal(t, all["lxd-cluster/3"], box.Machines(t, "metal", "ceph-osd")["ceph-osd/3"], "its disks are put to use")
	require.Equal(t, before, pids(t), "nothing was stopped")
	box.TinyImage(t, ask(t))
	box.Inside(t, ask(t), "lxc launch tiny tiny-retires --profile dcib --target "+all["lxd-cluster/3"])
}

func testRetire(t *testing.T, how *howto.Shell) {
	before := pids(t)
	gone := members(t)["lxd-cluster/3"]
	how.Run(t, "Retire one", func() {
		box.Quiet(t, "metal")
		s := box.Status(t, "metal")
		t.Logf("%d units of ceph-osd, %d of lxd-cluster, %d machines", len(s.Applications["ceph-osd"].Units), len(s.Applications["lxd-cluster"].Units), len(s.Machines))
	})
	require.Len(t, members(t), 3)
	box.RequireOneCluster(t, members(t))
	box.Eventually(t, 2*time.Minute, "the machine to go", func() (bool, string) {
		list := box.LXC(t, "list", "--format", "csv", "--columns", "n")
		return !strings.Contains(list, gone), list
	})
	box.Settle(t, "metal", box.Merged(t, metal...))
	after := pids(t)
	require.Contains(t, after, "tiny-retires")
	require.NotContains(t, after["tiny-retires"], gone)
	delete(before, "tiny-retires")
	delete(after, "tiny-retires")
	require.Equal(t, before, after, "nothing else was stopped")
	box.Inside(t, ask(t), "lxc delete --force tiny-retires")
}

func testRefresh(t *testing.T, how *howto.Shell) {
	before := pids(t)
	revisions := func() map[string]int {
		all := map[string]int{}
		for _, model := range []string{"metal", "machines"} {
			for name, app := range box.Status(t, model).Applications {
				all[model+" "+name] = app.Rev
			}
		}
		return all
	}
	was := revisions()
	said := how.Run(t, "Refresh", func() {
		box.Quiet(t, "metal")
		box.Quiet(t, "machines")
	})
	require.Regexp(t, `juju ssh --pty=false lxd-cluster/\d+ sudo cat \S+`, said, "the backup says how it is fetched")
	for app, now := range revisions() {
		require.Greater(t, now, was[app], "%s has another charm", app)
	}
	require.Equal(t, before, pids(t), "no container was stopped")
	box.Settle(t, "metal", box.Merged(t, metal...))
	box.Settle(t, "machines", box.Merged(t, machines...))
}

func testTearDown(t *testing.T, how *howto.Shell) {
	how.Run(t, "Remove a layer", nil)
	box.Eventually(t, 2*time.Minute, "its containers and profiles to go", func() (bool, string) {
		list := box.Inside(t, ask(t), "lxc list --format csv --columns n; lxc profile list --format csv")
		return !strings.Contains(list, "juju-") && !strings.Contains(list, "dcib-machines"), list
	})
	box.Quiet(t, "metal")
	box.RequireOneCluster(t, members(t))

	how.Run(t, "Bring it back", func() {
		box.StartAddressless(t, ask(t), "machines")
		box.Settle(t, "machines", box.Merged(t, machines...))
	})
	at := box.Instances(t, ask(t))
	for unit, container := range box.Machines(t, "machines", "kubernetes-worker") {
		require.Contains(t, fmt.Sprint(at[container].Profiles), "dcib-machines-kubernetes-worker", unit)
	}
}

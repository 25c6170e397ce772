//go:build box

// Package bundles deploys the bundles on a real box, with stand-ins in the places of charms
// from Charmhub: the metal with Ceph, and Kubernetes in containers of its LXD cluster.
package bundles

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/juju/charm/v12"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/tests/testbed"
)

// box is apart from a developer's, and from those of other suites.
var box testbed.Box

// The files of each model, in the order in which they are laid over each other.
var (
	ceph     = []string{"bundles/dcib.yaml", "overlays/ceph.yaml", "tests/overlays/offline-ceph.yaml"}
	machines = []string{"bundles/kubernetes.yaml", "tests/overlays/offline.yaml"}
)

func TestBundles(t *testing.T) {
	box = testbed.New(t, "bundles")
	box.DCIB(t, 25*time.Minute, "up")
	// As overlays/offers.yaml has it.
	policy, ok := merged(t, []string{"bundles/dcib.yaml", "overlays/offers.yaml"}).Applications["lxd-cluster"].Options["profile-policy"].(string)
	require.True(t, ok)
	box.Juju(t, "config", "-m", "metal", "lxd-cluster", "profile-policy="+policy)
	t.Run("Ceph on the metal", func(t *testing.T) {
		deploy(t, "metal", ceph)
		settle(t, "metal", ceph)
	})
	t.Run("Kubernetes on the cluster", func(t *testing.T) {
		deploy(t, "machines", machines)
		settle(t, "machines", machines)
	})
	t.Run("the profile is on each worker", testProfile)
	t.Run("the same again changes nothing", func(t *testing.T) {
		// Juju 4.1-beta2 exposes and consumes again each time, which does nothing.
		require.NotRegexp(t, `(?m)^- (upload|deploy|add|set|create|upgrade)`, deploy(t, "machines", machines))
	})
	box.DCIB(t, 5*time.Minute, "down")
}

func deploy(t *testing.T, model string, files []string) string {
	t.Helper()
	args := []string{"box", "--name", box.Name, "juju", "deploy", "-m", model, "--map-machines", "existing", filepath.Join(box.Repo, files[0])}
	for _, f := range files[1:] {
		args = append(args, "--overlay", filepath.Join(box.Repo, f))
	}
	// juju says on stderr what it did.
	return testbed.Run(t, 5*time.Minute, "sh", append([]string{"-c", `exec "$0" "$@" 2>&1`, filepath.Join(box.Repo, "bin/dcib")}, args...)...)
}

// merged reads what Juju makes of the files.
func merged(t *testing.T, files []string) *charm.BundleData {
	t.Helper()
	var sources []charm.BundleDataSource
	for _, f := range files {
		src, err := charm.LocalBundleDataSource(filepath.Join(box.Repo, f))
		require.NoError(t, err)
		sources = append(sources, src)
	}
	b, err := charm.ReadAndMergeBundleData(sources...)
	require.NoError(t, err)
	return b
}

// status is the part of juju's that is looked at here.
type status struct {
	Applications map[string]struct {
		Units     map[string]testbed.Unit `json:"units"`
		Relations map[string][]struct {
			App string `json:"related-application"`
		} `json:"relations"`
	} `json:"applications"`
	Remote map[string]struct {
		URL string `json:"url"`
	} `json:"application-endpoints"`
}

// settle waits until a model has all units of the bundle, each active and idle, and each of
// its relations and offers of other models.
func settle(t *testing.T, model string, files []string) {
	t.Helper()
	want := merged(t, files)
	box.Eventually(t, 8*time.Minute, model+" to be as the bundle says", func() (bool, string) {
		var s status
		testbed.Decode(t, box.Juju(t, "status", "-m", model, "--format", "json", "--relations"), &s)
		var missing []string
		for name, app := range want.Applications {
			got := s.Applications[name]
			if len(got.Units) != app.NumUnits {
				missing = append(missing, fmt.Sprintf("%s has %d units", name, len(got.Units)))
			}
			for unit, u := range got.Units {
				all := map[string]testbed.Unit{unit: u}
				for sub, v := range u.Subordinates {
					all[sub] = v
				}
				for unit, u := range all {
					if u.Workload.Current != "active" || u.Agent.Current != "idle" {
						missing = append(missing, fmt.Sprintf("%s is %s (%s), its agent %s", unit, u.Workload.Current, u.Workload.Message, u.Agent.Current))
					}
				}
			}
		}
		for _, r := range want.Relations {
			a, endpoint, _ := strings.Cut(r[0], ":")
			b, _, _ := strings.Cut(r[1], ":")
			found := false
			for _, other := range s.Applications[a].Relations[endpoint] {
				found = found || other.App == b
			}
			if !found {
				missing = append(missing, fmt.Sprintf("%s is not related with %s", r[0], r[1]))
			}
		}
		for name, saas := range want.Saas {
			if !strings.HasSuffix(s.Remote[name].URL, saas.URL) {
				missing = append(missing, fmt.Sprintf("%s is not consumed, but %q", saas.URL, s.Remote[name].URL))
			}
		}
		slices.Sort(missing)
		return len(missing) == 0, strings.Join(missing, "; ")
	})
}

// testProfile asks LXD what the workers' containers have.
func testProfile(t *testing.T) {
	ask := ""
	for _, machine := range box.Machines(t, "metal", "lxd-cluster") {
		ask = machine
	}
	for unit, container := range box.Machines(t, "machines", "kubernetes-worker") {
		require.Equal(t, "dcib-machines-kubernetes-worker", last(box.Instances(t, ask)[container].Profiles), unit)
		has := box.Inside(t, ask, "lxc config show --expanded "+container)
		require.Contains(t, has, `limits.processes: "4000"`, unit)
	}
}

func last(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1]
}

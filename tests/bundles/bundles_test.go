//go:build box

// Package bundles deploys the whole data centre on a real box as docs/how-to/deploy.md has it,
// command by command, with stand-ins in the places of charms from Charmhub: the metal with
// Ceph, and Kubernetes in containers of its LXD cluster.
package bundles

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/tests/howto"
	"github.com/dcib/dcib/tests/testbed"
)

// box is apart from a developer's, and from those of other suites.
var box testbed.Box

// The files of each model, in the order in which they are laid over each other.
var (
	metal    = []string{"bundles/dcib.yaml", "overlays/box.yaml", "overlays/offers.yaml"}
	ceph     = append(metal, "overlays/ceph.yaml", "overlays/ceph-offers.yaml", "tests/overlays/offline-ceph.yaml")
	machines = []string{"bundles/kubernetes.yaml", "tests/overlays/offline.yaml"}
)

func TestBundles(t *testing.T) {
	box = testbed.New(t, "bundles")
	box.DCIB(t, 25*time.Minute, "up", "--until", "controller")
	how := howto.Open(t, box, page, changes)
	for _, step := range []struct {
		name string
		test func(*testing.T, *howto.Shell)
	}{
		{"what is looked at before", func(t *testing.T, how *howto.Shell) { how.Run(t, "Deploy the whole data centre", nil) }},
		{"the metal, with Ceph", testMetal},
		{"Kubernetes on the cluster", testMachines},
		{"the preset is in force in each worker", testPreset},
		{"from one to the other", testSwitch},
		{"options that a charm does not have are refused", testUnknownOption},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.test(t, how) }) {
			t.FailNow()
		}
	}
	// tests/daytwo has a Kubernetes; no one here has a vendor's cloud.
	how.Rest(t, "Kubernetes", "Workers in a vendor's cloud", "Where there is no Charmhub")
	box.DCIB(t, 5*time.Minute, "down")
}

// changesNothing asserts that the last deployment in what juju said had nothing to do. Juju
// 4.1-beta2 exposes and consumes again each time, which does nothing.
func changesNothing(t *testing.T, said string) {
	t.Helper()
	said = said[strings.LastIndex(said, "+ juju deploy"):]
	require.Regexp(t, `No changes to apply|Executing changes`, said)
	require.NotRegexp(t, `(?m)^- (upload|deploy|add|set|create|update|upgrade|resize|remove)`, said)
}

func testMetal(t *testing.T, how *howto.Shell) {
	first := true
	said := how.Run(t, "Metal", func() {
		files := ceph
		if first {
			files, first = metal, false
		}
		box.Settle(t, "metal", box.Merged(t, files...))
	})
	changesNothing(t, said)
}

func testMachines(t *testing.T, how *howto.Shell) {
	members := box.Machines(t, "metal", "lxd-cluster")
	ask := members["lxd-cluster/0"]
	// Juju finds no image in a place without the Internet.
	const image = "juju/ubuntu@24.04/amd64"
	files := filepath.Join(t.TempDir(), "image")
	box.LXC(t, "image", "export", "--quiet", image, files)
	for _, part := range []string{"", ".root"} {
		box.LXC(t, "file", "push", "--quiet", files+part, ask+"/root/image"+part)
	}
	box.Inside(t, ask, "lxc image import --quiet /root/image /root/image.root --alias "+image+" && rm /root/image /root/image.root")
	// What preset kubernetes passes on is there on a host of metal.
	for _, member := range members {
		box.LXC(t, "config", "device", "add", member, "kmsg", "unix-char", "path=/dev/kmsg")
	}
	block := 0
	how.Run(t, "Machines", func() {
		if block++; block == 2 {
			box.StartAddressless(t, ask, "machines")
		}
		if block == 3 {
			box.Restarted(t, "machines")
		}
		if block >= 2 {
			box.Settle(t, "machines", box.Merged(t, machines...))
		}
	})
	changesNothing(t, how.Again(t, "juju deploy ./bundles/kubernetes.yaml"))
}

// testSwitch asserts on what a command without a model's name is about.
func testSwitch(t *testing.T, how *howto.Shell) {
	said := how.Run(t, "From one to the other", nil)
	require.Contains(t, said, "-> dcib:admin/metal")
	require.Contains(t, said, "-> dcib:admin/machines")
	require.Contains(t, box.Juju(t, "status"), "kubernetes-worker/0")
}

func testUnknownOption(t *testing.T, _ *howto.Shell) {
	for _, app := range []string{"etcd", "ceph-csi"} {
		_, err := testbed.Try(time.Minute, filepath.Join(box.Repo, "bin/dcib"), "box", "--name", box.Name, "juju", "config", "-m", "machines", app, "chanel=x")
		require.ErrorContains(t, err, "chanel", app)
	}
}

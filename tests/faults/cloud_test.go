//go:build box

package faults

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/tests/testbed"
)

// testCloud makes the cluster a Juju cloud with get-cloud's output: units of a model there are spread over
// the members.
func testCloud(t *testing.T, model string) {
	const cloud, work = "grown", "work"
	_, ask := unit(t, model, 0)
	// Juju's machines get their disk and network from there.
	box.Juju(t, "config", "-m", model, app, "manage-default-profile=true")
	box.Eventually(t, 2*time.Minute, "the default profile to have them", func() (bool, string) {
		profile := box.Inside(t, ask, "lxc profile show default")
		return strings.Contains(profile, "eth0:") && strings.Contains(profile, "root:"), profile
	})
	got := box.Action(t, model, app+"/leader", "get-cloud", "cloud="+cloud)
	got["credential"] = secretOf(t, model, got)["credential"]
	file := func(result string) string {
		path := filepath.Join(t.TempDir(), result+".yaml")
		require.NoError(t, os.WriteFile(path, []byte(got[result].(string)), 0o600))
		return path
	}
	box.Juju(t, "add-cloud", cloud, "-f", file("cloud"), "--controller", "dcib", "--force")
	box.Juju(t, "add-credential", cloud, "-f", file("credential"), "--controller", "dcib")
	// Juju finds no image for machines in a place without the Internet.
	const image = "juju/ubuntu@24.04/amd64"
	files := filepath.Join(t.TempDir(), "image")
	box.LXC(t, "image", "export", image, files)
	for _, part := range []string{"", ".root"} {
		box.LXC(t, "file", "push", "--quiet", files+part, ask+"/root/image"+part)
	}
	box.Inside(t, ask, "lxc image import --quiet /root/image /root/image.root --alias "+image+" && rm /root/image /root/image.root")
	box.AddModelOn(t, cloud, work)
	defer destroy(t, work)
	dir := t.TempDir()
	testbed.Run(t, testbed.PackTime, filepath.Join(box.Repo, "bin/dcib"), "pack", "--out", dir, filepath.Join(box.Repo, "tests/charms/idle"))
	box.Juju(t, "deploy", "-m", work, filepath.Join(dir, "idle.charm"), "idle", "-n", "3", "--base", "ubuntu@24.04")
	box.StartAddressless(t, ask, work)
	box.WaitActive(t, work, "idle", 3)
	members := map[string]bool{}
	for _, container := range box.Machines(t, work, "idle") {
		where := box.Instances(t, ask)[container].Location
		require.NotEmpty(t, where, container)
		members[where] = true
	}
	require.Greater(t, len(members), 1, "they are spread: %v", members)
}

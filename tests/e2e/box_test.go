//go:build box

// Package e2e walks through all storeys of a real box: LXD on this machine, a Juju
// controller, the cluster that lxd-cluster makes of Juju's machines, and applications on
// that cluster as a second cloud. It asserts on what LXD, Juju and the kernel say.
package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// boxName keeps the suite's box apart from a developer's.
const boxName = "e2e"

// repo is the repository's root.
func repo(t testing.TB) string {
	dir, err := filepath.Abs("../..")
	require.NoError(t, err)
	return dir
}

// run runs a command within a time limit and gives its stdout; it fails the test with
// everything it printed.
func run(t testing.TB, limit time.Duration, name string, args ...string) string {
	t.Helper()
	out, err := try(limit, name, args...)
	require.NoError(t, err)
	return out
}

// try is run for commands that may fail.
func try(limit time.Duration, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("cannot run %s %s: %w\n%s%s", filepath.Base(name), strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// dcib runs a verb of `dcib box` on the suite's box.
func dcib(t testing.TB, limit time.Duration, verb string, args ...string) string {
	t.Helper()
	return run(t, limit, filepath.Join(repo(t), "bin/dcib"), append([]string{"box", "--name", boxName, verb}, args...)...)
}

// juju runs the juju client on the suite's box.
func juju(t testing.TB, args ...string) string {
	t.Helper()
	return dcib(t, 5*time.Minute, "juju", args...)
}

// lxc runs the lxc client on the suite's LXD.
func lxc(t testing.TB, args ...string) string {
	t.Helper()
	return dcib(t, 5*time.Minute, "lxc", args...)
}

// inside runs a shell line as root in a machine of the metal model.
func inside(t testing.TB, machine, line string) string {
	t.Helper()
	return lxc(t, "exec", machine, "--", "sh", "-c", line)
}

// eventually asks until yes holds, and fails with its last answer when it does not within
// the limit.
func eventually(t testing.TB, limit time.Duration, what string, yes func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		ok, why := yes()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			require.FailNow(t, "not in time: "+what, "within %s; last seen: %s\n%s", limit, why, jujuStatus(t))
		}
		time.Sleep(time.Second)
	}
}

// jujuStatus is for a person to read after a failure: what Juju says, and what the LXD in
// each machine has.
func jujuStatus(t testing.TB) string {
	var all strings.Builder
	box := func(args ...string) string {
		out, err := try(time.Minute, filepath.Join(repo(t), "bin/dcib"), append([]string{"box", "--name", boxName}, args...)...)
		if err != nil {
			return err.Error()
		}
		return out
	}
	for _, model := range []string{"metal", "machines"} {
		all.WriteString(box("juju", "status", "-m", model, "--relations"))
	}
	for _, machine := range strings.Fields(box("lxc", "list", "--format", "csv", "--columns", "n")) {
		fmt.Fprintf(&all, "%s:\n%s", machine, box("lxc", "exec", machine, "--", "sh", "-c",
			"if test -e /var/lib/lxd/unix.socket; then lxc list --format csv --columns nsL4; ip -brief addr; pgrep -a dnsmasq | cut -c1-60; tail -n 15 /var/log/lxd/lxd.log; fi"))
	}
	return all.String()
}

// status is the part of `juju status --format json` that the suite looks at.
type status struct {
	Machines     map[string]machine     `json:"machines"`
	Applications map[string]application `json:"applications"`
}

type machine struct {
	InstanceID string `json:"instance-id"`
	Hostname   string `json:"hostname"`
}

type application struct {
	Status agentStatus     `json:"application-status"`
	Units  map[string]unit `json:"units"`
}

type unit struct {
	Workload     agentStatus     `json:"workload-status"`
	Agent        agentStatus     `json:"juju-status"`
	Machine      string          `json:"machine"`
	Subordinates map[string]unit `json:"subordinates"`
}

type agentStatus struct {
	Current string `json:"current"`
	Message string `json:"message"`
}

func modelStatus(t testing.TB, model string) status {
	t.Helper()
	var s status
	decode(t, juju(t, "status", "-m", model, "--format", "json"), &s)
	return s
}

// instance gives the LXD instance that a unit runs in.
func (s status) instance(t testing.TB, name string) string {
	t.Helper()
	app, _, _ := strings.Cut(name, "/")
	u, ok := s.Applications[app].Units[name]
	require.True(t, ok, "juju knows no unit %s", name)
	return s.Machines[u.Machine].InstanceID
}

// waitActive waits until every unit of the application is active and idle, and there are
// as many as wanted.
func waitActive(t testing.TB, model, app string, units int) {
	t.Helper()
	eventually(t, 6*time.Minute, fmt.Sprintf("%d active units of %s", units, app), func() (bool, string) {
		s := modelStatus(t, model)
		got := s.Applications[app].Units
		if len(got) != units {
			return false, fmt.Sprintf("%d units", len(got))
		}
		for name, u := range got {
			if u.Workload.Current != "active" || u.Agent.Current != "idle" {
				return false, fmt.Sprintf("%s is %s (%s), its agent %s", name, u.Workload.Current, u.Workload.Message, u.Agent.Current)
			}
		}
		return true, ""
	})
}

// waitUnit waits until a unit's workload status and message are as wanted.
func waitUnit(t testing.TB, model, name string, yes func(agentStatus) bool) agentStatus {
	t.Helper()
	var last agentStatus
	app, _, _ := strings.Cut(name, "/")
	eventually(t, 5*time.Minute, name+" to change its status", func() (bool, string) {
		last = modelStatus(t, model).Applications[app].Units[name].Workload
		return yes(last), last.Current + ": " + last.Message
	})
	return last
}

// member is a line of LXD's own member list.
type member struct {
	Name   string `json:"server_name"`
	Status string `json:"status"`
}

// members asks the LXD in a machine for its cluster's members.
func members(t testing.TB, machine string) map[string]string {
	t.Helper()
	var list []member
	decode(t, inside(t, machine, "lxc cluster list --format json"), &list)
	byName := map[string]string{}
	for _, m := range list {
		byName[m.Name] = strings.ToLower(m.Status)
	}
	return byName
}

// placed is where LXD has an instance, and how it is.
type placed struct {
	Name     string   `json:"name"`
	Location string   `json:"location"`
	Status   string   `json:"status"`
	Profiles []string `json:"profiles"`
}

// instances asks the LXD in a machine for all its cluster's instances.
func instances(t testing.TB, machine string) map[string]placed {
	t.Helper()
	var list []placed
	decode(t, inside(t, machine, "lxc list --format json"), &list)
	byName := map[string]placed{}
	for _, i := range list {
		byName[i.Name] = i
	}
	return byName
}

// action runs an action and gives its results; it fails the test when the action fails.
func action(t testing.TB, unit, name string, params ...string) map[string]any {
	t.Helper()
	results, err := tryAction(t, unit, name, params...)
	require.NoError(t, err)
	return results
}

// tryAction is action for actions that may fail.
func tryAction(t testing.TB, unit, name string, params ...string) (map[string]any, error) {
	t.Helper()
	args := append([]string{"box", "--name", boxName, "juju", "run", "-m", "metal", "--format", "json", "--wait", "10m", unit, name}, params...)
	out, err := try(11*time.Minute, filepath.Join(repo(t), "bin/dcib"), args...)
	if err != nil {
		return nil, err
	}
	var byUnit map[string]struct {
		Status  string         `json:"status"`
		Message string         `json:"message"`
		Results map[string]any `json:"results"`
	}
	decode(t, out, &byUnit)
	for _, r := range byUnit {
		if r.Status != "completed" {
			return r.Results, fmt.Errorf("action %s %s: %s", name, r.Status, r.Message)
		}
		return r.Results, nil
	}
	return nil, fmt.Errorf("cannot read what the action gave: %s", out)
}

// guestImage puts the image "guest" into the cluster, once.
func guestImage(t testing.TB, machine string) {
	t.Helper()
	if _, err := try(time.Minute, filepath.Join(repo(t), "bin/dcib"), "box", "--name", boxName, "lxc", "exec", machine, "--", "lxc", "image", "show", "guest"); err == nil {
		return
	}
	binary := filepath.Join(t.TempDir(), "guest")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", binary, "./tests/guest")
	build.Dir, build.Env = repo(t), append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	init, err := os.ReadFile(binary)
	require.NoError(t, err)

	var image bytes.Buffer
	zip := gzip.NewWriter(&image)
	w := tar.NewWriter(zip)
	add := func(name string, mode int64, kind byte, content []byte) {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: mode, Typeflag: kind, Size: int64(len(content)), ModTime: time.Unix(0, 0)}))
		_, err := w.Write(content)
		require.NoError(t, err)
	}
	add("metadata.yaml", 0o644, tar.TypeReg, []byte("architecture: x86_64\ncreation_date: 1\nproperties: {description: a guest that does nothing}\n"))
	for _, dir := range []string{"rootfs", "rootfs/dev", "rootfs/proc", "rootfs/sys", "rootfs/etc", "rootfs/run", "rootfs/tmp", "rootfs/sbin"} {
		add(dir+"/", 0o755, tar.TypeDir, nil)
	}
	add("rootfs/sbin/init", 0o755, tar.TypeReg, init)
	require.NoError(t, w.Close())
	require.NoError(t, zip.Close())

	tarball := filepath.Join(t.TempDir(), "guest.tar.gz")
	require.NoError(t, os.WriteFile(tarball, image.Bytes(), 0o600))
	lxc(t, "file", "push", tarball, machine+"/root/guest.tar.gz")
	inside(t, machine, "lxc image import /root/guest.tar.gz --alias guest")
}

func decode(t testing.TB, text string, into any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), into), text)
}

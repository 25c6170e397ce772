// Package testbed is the door to a real box for the suites that need one: it runs dcib, juju
// and lxc on it, and reads what LXD and Juju say. A box is made by the first suite that asks
// for it, under a name of its own.
package testbed

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/box/controller"
	"github.com/dcib/dcib/internal/box/place"
	"github.com/dcib/dcib/internal/steps"
)

// JoinToken is what LXD's join tokens look like: base64 of JSON that begins with the member's
// name, "server_name".
var JoinToken = regexp.MustCompile(`eyJzZXJ2ZXJfbmFtZSI[A-Za-z0-9+/=]+`)

// Box is a box by its name, and where the repository is that it is made of.
type Box struct {
	Name, Repo string

	injected *injections
}

// New returns the box of that name for a suite anywhere in the repository; it makes nothing. If
// the test fails, it leaves a report in dist/reports.
func New(t testing.TB, name string) Box {
	t.Helper()
	root, err := os.Getwd()
	require.NoError(t, err)
	for {
		if _, err := os.Stat(filepath.Join(root, "go.work")); err == nil {
			b := Box{Name: name, Repo: root, injected: &injections{since: time.Now()}}
			t.Cleanup(func() { b.leaveReport(t) })
			return b
		}
		require.NotEqual(t, filepath.Dir(root), root, "go.work, in a folder above the suite")
		root = filepath.Dir(root)
	}
}

// PackTime is how long packing a small charm may take on a busy machine.
const PackTime = 2 * time.Minute

// Run runs a command within a time limit and returns its stdout; it fails the test with
// everything it printed.
func Run(t testing.TB, limit time.Duration, name string, args ...string) string {
	t.Helper()
	out, err := Try(limit, name, args...)
	require.NoError(t, err)
	return out
}

// Try is run for commands that may fail.
func Try(limit time.Duration, name string, args ...string) (string, error) {
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

// LXDVariable is the environment variable with the LXD of the machines of a suite's box, as
// `dcib box up --lxd` takes it. Without it they have suiteLXD: tests/e2e is the only suite that has
// run on 6 so far.
const LXDVariable = "DCIB_LXD"

const suiteLXD = "5.0"

// DCIB runs a verb of `dcib box` on the suite's box.
func (b Box) DCIB(t testing.TB, limit time.Duration, verb string, args ...string) string {
	t.Helper()
	at, err := place.New("", b.Name)
	require.NoError(t, err)
	if verb == "up" && at.Snap == nil { // with snaps there is no choice
		args = append([]string{"--lxd", cmp.Or(os.Getenv(LXDVariable), suiteLXD)}, args...)
	}
	return Run(t, limit, filepath.Join(b.Repo, "bin/dcib"), append([]string{"box", "--name", b.Name, verb}, args...)...)
}

// Juju runs the juju client on the suite's box.
func (b Box) Juju(t testing.TB, args ...string) string {
	t.Helper()
	return b.DCIB(t, 5*time.Minute, "juju", args...)
}

// TryJuju is Juju for commands that may fail.
func (b Box) TryJuju(limit time.Duration, args ...string) (string, error) {
	return Try(limit, filepath.Join(b.Repo, "bin/dcib"), append([]string{"box", "--name", b.Name, "juju"}, args...)...)
}

// LXC runs the lxc client on the suite's LXD.
func (b Box) LXC(t testing.TB, args ...string) string {
	t.Helper()
	return b.DCIB(t, 5*time.Minute, "lxc", args...)
}

// TryLXC is LXC for commands that may fail.
func (b Box) TryLXC(limit time.Duration, args ...string) (string, error) {
	return Try(limit, filepath.Join(b.Repo, "bin/dcib"), append([]string{"box", "--name", b.Name, "lxc"}, args...)...)
}

// AddModel adds an empty model on the box's own LXD, with that configuration ("key=value").
func (b Box) AddModel(t testing.TB, model string, config ...string) {
	t.Helper()
	b.AddModelOn(t, "box", model, config...)
}

// AddModelOn is AddModel on another cloud of the box's controller.
func (b Box) AddModelOn(t testing.TB, cloud, model string, config ...string) {
	t.Helper()
	args := []string{"add-model", "--no-switch", model, cloud}
	for _, kv := range append([]string{"enable-os-upgrade=false", "enable-os-refresh-update=false"}, config...) {
		args = append(args, "--config", kv)
	}
	b.Juju(t, args...)
	at, err := place.New("", b.Name)
	require.NoError(t, err)
	require.NoError(t, controller.AwaitProvisioner(t.Context(), at, steps.Discard(), model))
}

// AssignAddress has the box's network assign that one address to new machines, as a network may that assigns
// out those of machines that are gone; until done is called.
func (b Box) AssignAddress(t testing.TB, address string) (done func()) {
	t.Helper()
	bridge := place.Place{Name: b.Name}.Bridge()
	b.LXC(t, "network", "set", bridge, "ipv4.dhcp.ranges", address+"-"+address)
	return func() {
		t.Helper()
		b.LXC(t, "network", "unset", bridge, "ipv4.dhcp.ranges")
	}
}

// Inside runs a shell line as root in a machine of the metal model, and returns what it writes. LXD
// 5.0.2 loses the output of a command now and then when the host is busy, with exit status 0. So
// the output is kept in a file of the machine as well, and is read again until its end has arrived.
func (b Box) Inside(t testing.TB, machine, line string) string {
	t.Helper()
	const (
		end  = "\x1dend of output"
		run  = `find /run -maxdepth 1 -name 'inside-*' -mmin +10 -delete; sh -c "$1" >"$2"; rc=$?; `
		show = `cat "$2"; printf '\035end of output'; `
	)
	file := "/run/inside-" + rand.Text()
	out := b.LXC(t, "exec", machine, "--", "sh", "-c", run+show+`exit $rc`, "sh", line, file)
	for range 20 {
		if whole, ok := strings.CutSuffix(out, end); ok {
			return whole
		}
		out = b.LXC(t, "exec", machine, "--", "sh", "-c", show, "sh", line, file)
	}
	require.FailNow(t, "LXD loses the output", "of %s in %s", line, machine)
	return ""
}

// Eventually asks until yes holds, and fails with its last answer when it does not within
// the limit.
func (b Box) Eventually(t testing.TB, limit time.Duration, what string, yes func() (bool, string)) {
	t.Helper()
	b.Await(t, limit, time.Second, what, yes)
}

// Await is Eventually with a pause of its own between two questions.
func (b Box) Await(t testing.TB, limit, pause time.Duration, what string, yes func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		ok, why := yes()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			require.FailNow(t, "not in time: "+what, "within %s; last seen: %s\n%s", limit, why, b.Everything(t))
		}
		time.Sleep(pause)
	}
}

// Everything is for a person to read after a failure: what Juju says, and what the LXD in
// each machine has.
func (b Box) Everything(t testing.TB) string {
	var all strings.Builder
	box := func(args ...string) string {
		out, err := Try(time.Minute, filepath.Join(b.Repo, "bin/dcib"), append([]string{"box", "--name", b.Name}, args...)...)
		if err != nil {
			return err.Error()
		}
		return out
	}
	var models struct {
		Models []struct {
			Name string `json:"short-name"`
		} `json:"models"`
	}
	if err := json.Unmarshal([]byte(box("juju", "models", "--format", "json")), &models); err != nil {
		all.WriteString(err.Error())
	}
	for _, model := range models.Models {
		if model.Name != "controller" {
			all.WriteString(box("juju", "status", "-m", model.Name, "--relations"))
		}
	}
	for _, machine := range strings.Fields(box("lxc", "list", "--format", "csv", "--columns", "n")) {
		fmt.Fprintf(&all, "%s:\n%s", machine, box("lxc", "exec", machine, "--", "sh", "-c",
			"if test -e /var/lib/lxd/unix.socket; then lxc list --format csv --columns nsL4; ip -brief addr; pgrep -a dnsmasq | cut -c1-60; tail -n 15 /var/log/lxd/lxd.log; fi"))
	}
	return all.String()
}

// Status is the part of `juju status --format json` that the suite looks at.
type Status struct {
	Machines     map[string]Machine     `json:"machines"`
	Applications map[string]Application `json:"applications"`
}

// Machine is a machine of a model.
type Machine struct {
	InstanceID string `json:"instance-id"`
	Hostname   string `json:"hostname"`
	State      State  `json:"juju-status"`
}

// Application is an application of a model.
type Application struct {
	Status State           `json:"application-status"`
	Units  map[string]Unit `json:"units"`
	Rev    int             `json:"charm-rev"`
}

// Unit is a unit of an application.
type Unit struct {
	Workload     State           `json:"workload-status"`
	Agent        State           `json:"juju-status"`
	Machine      string          `json:"machine"`
	Leader       bool            `json:"leader"`
	OldCharm     string          `json:"upgrading-from"` // until it has taken up a refresh
	Subordinates map[string]Unit `json:"subordinates"`
}

// State is a status with its message.
type State struct {
	Current string `json:"current"`
	Message string `json:"message"`
	Life    string `json:"life"`
}

// alive reports whether Juju does not mean to take it away; of a unit it says nothing then.
func (s State) alive() bool { return s.Life == "" || s.Life == "alive" }

func (b Box) Status(t testing.TB, model string) Status {
	t.Helper()
	var s Status
	Decode(t, b.Juju(t, "status", "-m", model, "--format", "json"), &s)
	return s
}

// Instance returns the LXD instance that a unit runs in.
func (s Status) Instance(t testing.TB, name string) string {
	t.Helper()
	app, _, _ := strings.Cut(name, "/")
	u, ok := s.Applications[app].Units[name]
	require.True(t, ok, "juju knows no unit %s", name)
	return s.Machines[u.Machine].InstanceID
}

// Leader waits for Juju to have a leader of the application, and returns it and its machine's
// instance.
func (b Box) Leader(t testing.TB, model, app string) (unit, machine string) {
	t.Helper()
	b.Eventually(t, 3*time.Minute, "Juju to have a leader of "+app, func() (bool, string) {
		s := b.Status(t, model)
		for name, u := range s.Applications[app].Units {
			if u.Leader {
				unit, machine = name, s.Machines[u.Machine].InstanceID
			}
		}
		return unit != "", "none"
	})
	return unit, machine
}

// WaitActive waits until every unit of the application is active and idle, and there are
// as many as wanted.
func (b Box) WaitActive(t testing.TB, model, app string, units int) {
	t.Helper()
	b.Eventually(t, 6*time.Minute, fmt.Sprintf("%d active units of %s", units, app), func() (bool, string) {
		s := b.Status(t, model)
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

// quietLooks is how many looks in a row have to find a model quiet: a unit's last hook wakes
// others a moment later.
const quietLooks = 3

// Quiet waits until every unit of the model is active and idle, runs the charm that its
// application has, and nothing is about to go.
func (b Box) Quiet(t testing.TB, model string) {
	t.Helper()
	quiet := 0
	b.Eventually(t, 8*time.Minute, model+" to be quiet", func() (bool, string) {
		s := b.Status(t, model)
		why := ""
		for id, m := range s.Machines {
			if m.State.Current != "started" || !m.State.alive() {
				why += fmt.Sprintf("machine %s is %s %s; ", id, m.State.Current, m.State.Life)
			}
		}
		for _, app := range s.Applications {
			for name, u := range app.Units {
				all := map[string]Unit{name: u}
				maps.Copy(all, u.Subordinates)
				for name, u := range all {
					if u.Workload.Current != "active" || u.Agent.Current != "idle" || !u.Agent.alive() || u.OldCharm != "" {
						why += fmt.Sprintf("%s is %s (%s), its agent %s %s; ", name, u.Workload.Current, u.Workload.Message, u.Agent.Current, u.Agent.Life)
					}
				}
			}
		}
		if quiet++; why != "" {
			quiet = 0
		}
		return quiet >= quietLooks, why
	})
}

// WaitUnit waits until a unit's workload status and message are as wanted.
func (b Box) WaitUnit(t testing.TB, model, name string, yes func(State) bool) State {
	t.Helper()
	var last State
	app, _, _ := strings.Cut(name, "/")
	b.Eventually(t, 5*time.Minute, name+" to change its status", func() (bool, string) {
		last = b.Status(t, model).Applications[app].Units[name].Workload
		return yes(last), last.Current + ": " + last.Message
	})
	return last
}

// member is a line of LXD's own member list.
type member struct {
	Name   string `json:"server_name"`
	Status string `json:"status"`
}

// Members asks the LXD in a machine for its cluster's members.
func (b Box) Members(t testing.TB, machine string) map[string]string {
	t.Helper()
	var list []member
	Decode(t, b.Inside(t, machine, "lxc cluster list --format json"), &list)
	byName := map[string]string{}
	for _, m := range list {
		byName[m.Name] = strings.ToLower(m.Status)
	}
	return byName
}

// Machines returns the LXD instances that an application's units are in, by unit.
func (b Box) Machines(t testing.TB, model, app string) map[string]string {
	t.Helper()
	s := b.Status(t, model)
	machines := map[string]string{}
	for name := range s.Applications[app].Units {
		machines[name] = s.Instance(t, name)
	}
	return machines
}

// RequireOneCluster asserts that the LXD of every machine lists the same members, all
// online, as many as there are machines.
func (b Box) RequireOneCluster(t testing.TB, machines map[string]string) {
	t.Helper()
	for name, machine := range machines {
		list := b.Members(t, machine)
		require.Len(t, list, len(machines), "members that the LXD of %s lists", name)
		for _, other := range machines {
			require.Equal(t, "online", list[other], "%s in the list of %s", other, name)
		}
	}
}

// Placed is where LXD has an instance, and how it is.
type Placed struct {
	Name     string   `json:"name"`
	Location string   `json:"location"`
	Status   string   `json:"status"`
	Profiles []string `json:"profiles"`
}

// Instances asks the LXD in a machine for all its cluster's instances.
func (b Box) Instances(t testing.TB, machine string) map[string]Placed {
	t.Helper()
	var list []Placed
	Decode(t, b.Inside(t, machine, "lxc list --format json"), &list)
	byName := map[string]Placed{}
	for _, i := range list {
		byName[i.Name] = i
	}
	return byName
}

// Action runs an action and returns its results; it fails the test when the action fails.
func (b Box) Action(t testing.TB, model, unit, name string, params ...string) map[string]any {
	t.Helper()
	results, err := b.TryAction(t, model, unit, name, params...)
	require.NoError(t, err)
	return results
}

// TryAction is action for actions that may fail.
func (b Box) TryAction(t testing.TB, model, unit, name string, params ...string) (map[string]any, error) {
	t.Helper()
	args := append([]string{"box", "--name", b.Name, "juju", "run", "-m", model, "--format", "json", "--wait", "10m", unit, name}, params...)
	out, err := Try(11*time.Minute, filepath.Join(b.Repo, "bin/dcib"), args...)
	if err != nil {
		return nil, err
	}
	var byUnit map[string]struct {
		Status  string         `json:"status"`
		Message string         `json:"message"`
		Results map[string]any `json:"results"`
	}
	Decode(t, out, &byUnit)
	for _, r := range byUnit {
		if r.Status != "completed" {
			return r.Results, fmt.Errorf("action %s %s: %s", name, r.Status, r.Message)
		}
		return r.Results, nil
	}
	return nil, fmt.Errorf("cannot read what the action gave: %s", out)
}

// TinyImage puts the image "tiny" into the cluster, once.
func (b Box) TinyImage(t testing.TB, machine string) {
	t.Helper()
	if _, err := Try(time.Minute, filepath.Join(b.Repo, "bin/dcib"), "box", "--name", b.Name, "lxc", "exec", machine, "--", "lxc", "image", "show", "tiny"); err == nil {
		return
	}
	binary := filepath.Join(t.TempDir(), "tiny")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", binary, "./tests/tiny")
	build.Dir, build.Env = b.Repo, append(os.Environ(), "CGO_ENABLED=0")
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
	add("metadata.yaml", 0o644, tar.TypeReg, []byte("architecture: x86_64\ncreation_date: 1\nproperties: {description: an instance that does nothing}\n"))
	for _, dir := range []string{"rootfs", "rootfs/dev", "rootfs/proc", "rootfs/sys", "rootfs/etc", "rootfs/run", "rootfs/tmp", "rootfs/sbin"} {
		add(dir+"/", 0o755, tar.TypeDir, nil)
	}
	add("rootfs/sbin/init", 0o755, tar.TypeReg, init)
	require.NoError(t, w.Close())
	require.NoError(t, zip.Close())

	tarball := filepath.Join(t.TempDir(), "tiny.tar.gz")
	require.NoError(t, os.WriteFile(tarball, image.Bytes(), 0o600))
	b.LXC(t, "file", "push", tarball, machine+"/root/tiny.tar.gz")
	b.Inside(t, machine, "lxc image import /root/tiny.tar.gz --alias tiny")
}

// Decode reads JSON, or fails the test with the text.
func Decode(t testing.TB, text string, into any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), into), text)
}

// StartAddressless starts containers of a model on the cluster again that have no address after a
// while, and logs what they say. About one boot in thirty of the test image inside the
// nested LXD ends so, for a reason not found yet; Juju then waits for ever. Of those that have an
// address and still no agent, which was seen once, it logs how far their first boot got.
func (b Box) StartAddressless(t testing.TB, ask, model string) {
	t.Helper()
	without := func() []string {
		return strings.Fields(b.Inside(t, ask, "lxc list --format csv --columns n4s | sed -n 's/^\\(juju-[^,]*\\),,RUNNING$/\\1/p'"))
	}
	var down []string // instances whose agent is not there
	deadline := time.Now().Add(100 * time.Second)
	for time.Now().Before(deadline) {
		s := b.Status(t, model)
		down = nil
		for _, m := range s.Machines {
			if m.Hostname == "" {
				down = append(down, m.InstanceID)
			}
		}
		if len(down) == 0 && len(s.Machines) > 0 && len(without()) == 0 {
			return
		}
		time.Sleep(2 * time.Second)
	}
	addressless := without()
	for _, container := range down {
		if strings.HasPrefix(container, "juju-") && !slices.Contains(addressless, container) {
			t.Logf("%s has an address and no agent:\n%s", container, b.Inside(t, ask,
				"lxc exec "+container+" -- sh -c 'ip -brief addr; ip route; cloud-init status --long; tail -n 40 /var/log/cloud-init-output.log' 2>&1 || true"))
		}
	}
	for _, container := range addressless {
		t.Logf("%s has no address, it is started again:\n%s", container, b.Inside(t, ask,
			"lxc exec "+container+" -- sh -c 'ip -brief addr; networkctl --no-pager; systemctl --failed --no-pager; journalctl --boot --no-pager | tail -n 40' 2>&1 || true"))
		b.Inside(t, ask, "lxc restart --force "+container)
	}
}

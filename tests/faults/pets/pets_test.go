//go:build box

// Package pets runs three real schedulers over a real LXD cluster, and breaks them at chosen
// moments: whatever dies, one unit acts and nothing is lost.
package pets

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/scheduler/store"
	"github.com/dcib/dcib/tests/testbed"
)

const (
	model = "pets"
	lxd   = "lxd-cluster"
	app   = "pet-scheduler"
)

var box testbed.Box

// A box that is left standing is used as it is, see HACKING.md.
func TestPets(t *testing.T) {
	box = testbed.New(t, "pets")
	box.DCIB(t, 25*time.Minute, "up", "--until", "controller")
	s := deploy(t)
	t.Run("pets are empty in time", s.testWindows)
	t.Run("what operators say goes before the calendar", s.testOperators)
	t.Run("a machine has one unit", s.testOneUnit)
	t.Run("the daemon is killed after each step", s.testKill)
	t.Run("the daemon is killed during a long move", s.testLongMove)
	t.Run("a unit that is cut off or frozen", s.testCut)
	t.Run("a new machine has the address of a lost one", s.testAddressGivenOut)
	t.Run("its machine is lost after each kind of step", s.testMachineLost)
	if !t.Failed() {
		box.DCIB(t, 5*time.Minute, "down")
	}
}

// stage is three schedulers on machines of their own beside an LXD cluster of three.
type stage struct {
	ask  string            // the machine of the member that is no pet: its LXD is asked
	pets map[string]string // the LXD member of each pet
}

// deploy deploys it, unless it stands already.
func deploy(t *testing.T) *stage {
	t.Helper()
	if !strings.Contains(box.Juju(t, "models", "--format", "json"), `"short-name":"`+model+`"`) {
		box.AddModel(t, model)
		for name, config := range map[string]string{lxd: "bridge-address=10.248.0.1/24", app: "pets=# none"} {
			box.Juju(t, "deploy", "-m", model, filepath.Join(box.Repo, "dist", name+".charm"), name,
				"-n", "3", "--base", "ubuntu@24.04", "--config", config)
		}
		box.Juju(t, "config", "-m", model, lxd, "https-unrestricted="+app)
		box.Juju(t, "integrate", "-m", model, app+":lxd", lxd+":https")
	}
	box.WaitActive(t, model, lxd, 3)
	box.WaitActive(t, model, app, max(3, len(box.Machines(t, model, app))))
	members := slices.Sorted(maps.Values(box.Machines(t, model, lxd)))
	box.RequireOneCluster(t, box.Machines(t, model, lxd))
	s := &stage{ask: members[0], pets: map[string]string{"big": members[1], "deep": members[2]}}
	box.TinyImage(t, s.ask)
	return s
}

// place is an instance as LXD shows it.
type place struct {
	Name     string `json:"name"`
	Location string `json:"location"`
	Status   string `json:"status"`
}

// world is what LXD says of the cluster, between two moments.
type env struct {
	from, to  time.Time
	members   map[string]string // status
	instances map[string]string // "member Status"
}

// look asks LXD.
func (s *stage) look(t *testing.T) env {
	t.Helper()
	w := env{from: time.Now(), members: map[string]string{}, instances: map[string]string{}}
	out := box.Inside(t, s.ask, "lxc query '/1.0/instances?recursion=1&all-projects=true' && lxc query '/1.0/cluster/members?recursion=1'")
	w.to = time.Now()
	var instances []place
	var members []struct {
		Name   string `json:"server_name"`
		Status string `json:"status"`
	}
	list := json.NewDecoder(strings.NewReader(out))
	require.NoError(t, list.Decode(&instances), out)
	require.NoError(t, list.Decode(&members), out)
	for _, i := range instances {
		require.NotContains(t, w.instances, i.Name, "an instance is there twice")
		w.instances[i.Name] = i.Location + " " + i.Status
	}
	for _, m := range members {
		w.members[m.Name] = m.Status
	}
	return w
}

// instances brings the number of a pet's running instances to n: "big-1" to "big-n".
func (s *stage) instances(t *testing.T, pet string, n int) (names []string) {
	t.Helper()
	there := s.look(t).instances
	var lines strings.Builder
	for i := 1; i <= 8; i++ {
		name := fmt.Sprintf("%s-%d", pet, i)
		_, exists := there[name]
		switch {
		case i <= n && !exists:
			// Now and then LXD 5.0.2 does not notify its client that one was made.
			fmt.Fprintf(&lines, "(timeout 60 lxc launch tiny %[1]s --profile dcib --target %[2]s || lxc start %[1]s) &\n", name, s.pets[pet])
		case i > n && exists:
			fmt.Fprintf(&lines, "lxc delete -f %s &\n", name)
		}
		if i%4 == 0 {
			lines.WriteString("wait\n")
		}
		if i <= n {
			names = append(names, name)
		}
	}
	box.Inside(t, s.ask, lines.String())
	w := s.look(t)
	for _, name := range names {
		require.Equal(t, s.pets[pet]+" Running", w.instances[name], name)
	}
	return names
}

// status is what a daemon says of itself.
type status struct {
	Unit   string
	Open   bool
	Acting string
	Runs   []store.Run
}

// dir is a unit's state directory on its machine.
func dir(unit string) string { return "/var/lib/dcib/" + strings.ReplaceAll(unit, "/", "-") }

// tryCall calls the daemon of a unit.
func tryCall(machine, unit, path, body string, into any) error {
	args := []string{"exec", machine, "--", "curl", "-sS", "--max-time", "5", "--unix-socket", dir(unit) + "/run/daemon.sock"}
	if body != "" {
		args = append(args, "--data", body)
	}
	out, err := box.TryLXC(20*time.Second, append(args, "http://daemon"+path)...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("cannot understand %s: %w: %s", unit, err, out)
	}
	return nil
}

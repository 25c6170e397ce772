//go:build box

// Package members drains and restores a member of a real LXD cluster that has instances of every kind, with
// and without LXD being killed: an instance changes only its location, and what ran keeps running
// somewhere.
package members

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/tests/testbed"
)

const (
	model     = "metal"
	scheduler = "pet-scheduler"
	cluster   = "lxd-cluster"
)

var box testbed.Box

func TestMembers(t *testing.T) {
	box = testbed.New(t, "members")
	box.DCIB(t, 25*time.Minute, "up")
	s := newStage(t)
	for _, part := range []struct {
		name string
		test func(*testing.T)
	}{
		{"an instance changes its location and nothing else", s.testKeeps},
		{"a database is copied while it runs", s.testContent},
		{"instances on a host bridge move", s.testBridge},
		{"no tenant decides whether a pet is emptied", s.testTenants},
		{"a disk of the host does not end LXD", s.testHostDisk},
		{"LXD is killed", s.testKilled},
		{"what cannot come back keeps running", s.testFailingMove},
		{"a host is offline during the undrain", s.testOffline},
		{"a late pet is visible", s.testLate},
		{"a unit that leaves moves instances on a host bridge", s.testLeave},
	} {
		s.reset(t)
		t.Run(part.name, part.test)
	}
	if !t.Failed() {
		box.DCIB(t, 5*time.Minute, "down")
	}
}

// stage is a cluster of three: the pet, the machine of the scheduler's unit, and another one.
type stage struct {
	pet, target, acting string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	box.Quiet(t, model)
	machines := box.Machines(t, model, cluster)
	s := &stage{acting: box.Machines(t, model, scheduler)[scheduler+"/0"]}
	for _, unit := range slices.Sorted(maps.Keys(machines)) {
		switch {
		case machines[unit] == s.acting:
		case s.target == "":
			s.target = machines[unit]
		default:
			s.pet = machines[unit]
		}
	}
	require.NotEmpty(t, s.pet)
	box.TinyImage(t, s.acting)
	return s
}

// run runs a shell line in the machine of the unit with the lease, whose LXD is a member.
func (s *stage) run(t *testing.T, line string, args ...any) string {
	t.Helper()
	return box.Inside(t, s.acting, "set -e\n"+fmt.Sprintf(line, args...))
}

// instance is an instance as LXD has it, without what LXD changes when an instance starts, stops or
// moves, whichever client requests it.
type instance struct {
	At, Status string
	Content    map[string]any
}

// instances returns everything that LXD has of each instance of each project.
func (s *stage) instances(t *testing.T) map[string]instance {
	t.Helper()
	var list []map[string]any
	testbed.Decode(t, s.run(t, "lxc query '/1.0/instances?recursion=2&all-projects=true'"), &list)
	all := map[string]instance{}
	for _, i := range list {
		name := fmt.Sprint(i["project"], "/", i["name"])
		require.NotContains(t, all, name, "an instance is there twice")
		one := instance{At: fmt.Sprint(i["location"]), Status: fmt.Sprint(i["status"]), Content: i}
		for _, key := range []string{"location", "status", "status_code", "state", "last_used_at", "created_at"} {
			delete(i, key)
		}
		ofStart(i)
		snapshots, _ := i["snapshots"].([]any)
		for _, snapshot := range snapshots {
			snapshot := snapshot.(map[string]any)
			ofStart(snapshot)
			// LXD moves the time in whole seconds.
			at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(snapshot["created_at"]))
			require.NoError(t, err)
			snapshot["created_at"] = at.Unix()
		}
		all[name] = one
	}
	return all
}

// ofStart removes what LXD sets when it starts or stops an instance.
func ofStart(i map[string]any) {
	for _, key := range []string{"config", "expanded_config"} {
		config, _ := i[key].(map[string]any)
		for name := range config {
			for _, changes := range []string{"volatile.*.host_name", "volatile.last_state.*", "volatile.idmap.*", "volatile.*.last_state.*"} {
				if ok, _ := path.Match(changes, name); ok {
					delete(config, name)
				}
			}
		}
	}
}

// places returns where each instance is, and its status.
func places(all map[string]instance) map[string]string {
	at := map[string]string{}
	for name, i := range all {
		at[strings.TrimPrefix(name, "default/")] = i.At + " " + i.Status
	}
	return at
}

// requireUnchanged asserts that instances are as they were, wherever they are now.
func requireUnchanged(t *testing.T, before, after map[string]instance, when string) {
	t.Helper()
	require.ElementsMatch(t, slices.Collect(maps.Keys(before)), slices.Collect(maps.Keys(after)), when)
	for name, was := range before {
		assert.Equal(t, pretty(t, was.Content), pretty(t, after[name].Content), "%s %s", name, when)
	}
}

func pretty(t *testing.T, v any) string {
	t.Helper()
	text, err := json.MarshalIndent(v, "", "  ")
	require.NoError(t, err)
	return string(text)
}

// drain and undrain run the actions; their output is in the error.
func (s *stage) drain(t *testing.T, params ...string) map[string]any {
	t.Helper()
	return box.Action(t, model, scheduler+"/0", "drain", append([]string{"pet=" + s.pet}, params...)...)
}

func (s *stage) undrain(t *testing.T) map[string]any {
	t.Helper()
	return box.Action(t, model, scheduler+"/0", "undrain", "pet="+s.pet)
}

// begin starts an action in the background, and returns the id of its task.
func (s *stage) begin(t *testing.T, action string, params ...string) string {
	t.Helper()
	// juju prints the task's id on stderr.
	out := testbed.Run(t, time.Minute, "sh", "-c", filepath.Join(box.Repo, "bin/dcib")+" box --name "+box.Name+
		" juju run -m "+model+" --background "+scheduler+"/0 "+action+" "+strings.Join(params, " ")+" 2>&1")
	fields := strings.Fields(out)
	at := slices.Index(fields, "task")
	for at < 0 || at+1 >= len(fields) {
		require.Fail(t, "no task in what juju run printed", out)
	}
	return strings.Trim(fields[at+1], ",.")
}

// task is an action that was begun.
type task struct {
	Status  string         `json:"status"`
	Message string         `json:"message"`
	Results map[string]any `json:"results"`
	Log     []string       `json:"log"`
}

// end waits for the end of a task.
func (s *stage) end(t *testing.T, id string, limit time.Duration) task {
	t.Helper()
	var last task
	box.Await(t, limit, 500*time.Millisecond, "task "+id+" to end", func() (bool, string) {
		last = task{}
		testbed.Decode(t, box.Juju(t, "show-task", "-m", model, "--format", "json", id), &last)
		return last.Status == "completed" || last.Status == "failed", fmt.Sprintf("%+v", last)
	})
	return last
}

// requireStatus asserts on LXD's status of a member.
func (s *stage) requireStatus(t *testing.T, member, status string) {
	t.Helper()
	require.Equal(t, status, box.Members(t, s.acting)[member], member)
}

// reset undrains the pet, whatever a failed part has left.
func (s *stage) reset(t *testing.T) {
	t.Helper()
	s.clean(t)
	_, err := box.TryAction(t, model, scheduler+"/0", "undrain", "pet="+s.pet)
	require.NoError(t, err)
}

// clean deletes all instances, and what testKeeps creates beside them.
func (s *stage) clean(t *testing.T) {
	t.Helper()
	for name := range s.instances(t) {
		project, name, _ := strings.Cut(name, "/")
		s.run(t, "lxc delete -f %s --project %s", name, project)
	}
	s.run(t, `lxc storage volume delete local papers --target %s || true
lxc profile delete extra || true
lxc project delete lab || true`, s.pet)
}

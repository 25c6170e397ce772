package box

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/box/deploy"
	"github.com/dcib/dcib/internal/box/place"
)

func TestStatusPrint(t *testing.T) {
	show := func(s Status) string {
		var out strings.Builder
		require.NoError(t, s.Print(&out))
		return out.String()
	}
	require.Contains(t, show(Status{Name: "box", Dir: "/d"}), "no box box in /d")
	require.Contains(t, show(Status{Name: "box", Exists: true}), "stopped")

	s := Status{Name: "box", Exists: true, Running: true, Pid: 7, LXD: LXD6, Controller: "dcib", Problems: []string{"cannot ask"}, Models: map[string]deploy.Status{"metal": {
		Machines: map[string]deploy.Machine{"0": {InstanceID: "juju-1-0"}},
		Applications: map[string]deploy.Application{"a": {Units: map[string]deploy.Unit{"a/0": {
			Workload: deploy.State{Current: "active", Message: "fine"}, Agent: deploy.State{Current: "idle"}, Machine: "0",
		}}}},
	}}}
	text := show(s)
	for _, want := range []string{"pid 7", "machines  LXD 6\n", "a/0", "active idle", "juju-1-0 fine", "cannot ask"} {
		require.Contains(t, text, want)
	}
}

// Up names it when it is done.
func TestTutorialIsThere(t *testing.T) {
	require.FileExists(t, filepath.Join("..", "..", tutorial))
}

func TestStepNames(t *testing.T) {
	names := StepNames()
	require.Equal(t, "packages", names[0])
	require.Contains(t, names, "controller")
	seen := map[string]bool{}
	for _, n := range names {
		require.False(t, seen[n], "step %s is there twice", n)
		seen[n] = true
	}
}

func TestReadStatusOfNoBox(t *testing.T) {
	s := ReadStatus(t.Context(), place.Place{Home: t.TempDir(), Name: "none"})
	require.False(t, s.Exists)
	require.Zero(t, s.Pid)
}

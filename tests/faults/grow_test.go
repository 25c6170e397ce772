//go:build box

package faults

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// testGrowAndShrink goes from one member to five and back to one. At every pause there is one cluster, all
// members are online, and every instance runs, with the same process unless its member left.
func testGrowAndShrink(t *testing.T) {
	const model = "grow"
	deploy(t, model, 1)
	defer destroy(t, model)
	requireForms(t, model, 1)
	_, first := unit(t, model, 0)
	box.TinyImage(t, first)
	launch := func(machine string, n int) {
		t.Helper()
		for i := range n {
			box.Inside(t, first, fmt.Sprintf("lxc launch tiny tiny-%s-%d --profile dcib --target %s", machine, i, machine))
		}
	}
	launch(first, 2)
	require.Len(t, pids(t, model), 2)
	seen := watchSecrets(first)

	for _, add := range []int{2, 2} {
		before := pids(t, model)
		machines := box.Machines(t, model, app)
		box.Juju(t, "add-unit", "-m", model, app, "-n", fmt.Sprint(add))
		requireForms(t, model, len(machines)+add)
		require.Equal(t, before, pids(t, model), "no instance was stopped or lost while the cluster grew")
		for _, machine := range box.Machines(t, model, app) {
			if !slices.Contains(slices.Collect(maps.Values(machines)), machine) {
				launch(machine, 2)
			}
		}
	}
	t.Run("what is secret stays so", func(t *testing.T) { requireSecret(t, model, seen) })
	t.Run("several options change at once", func(t *testing.T) { testOptions(t, model) })
	t.Run("it is a Juju cloud", func(t *testing.T) { testCloud(t, model) })
	t.Run("instances are placed from every member", func(t *testing.T) {
		machines := slices.Sorted(maps.Values(box.Machines(t, model, app)))
		for n, machine := range machines {
			target := machines[(n+1)%len(machines)]
			box.Inside(t, machine, fmt.Sprintf("lxc launch tiny tiny-from%d --profile dcib --target %s", n, target))
			require.Equal(t, target, box.Instances(t, first)[fmt.Sprintf("tiny-from%d", n)].Location)
			box.Inside(t, machine, fmt.Sprintf("lxc launch tiny tiny-auto%d --profile dcib", n))
		}
	})

	for left := 4; left >= 1; left-- {
		before := pids(t, model)
		// The Juju leader leaves, whatever its role in LXD's database.
		name, machine := box.Leader(t, model, app)
		box.Juju(t, "remove-unit", "-m", model, "--no-prompt", name)
		requireForms(t, model, left)
		after := pids(t, model)
		require.Equal(t, slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)), "after %s left", name)
		for instance, was := range before {
			if !strings.HasPrefix(was, machine+" ") {
				require.Equal(t, was, after[instance], "%s was not on %s", instance, machine)
			}
		}
	}
}

// unit returns the unit of that number, and its machine.
func unit(t *testing.T, model string, n int) (name, machine string) {
	t.Helper()
	name = fmt.Sprintf("%s/%d", app, n)
	return name, box.Status(t, model).Instance(t, name)
}

// pids returns each instance's member and the process that it is there; an instance that does not
// run fails the test.
func pids(t *testing.T, model string) map[string]string {
	t.Helper()
	found := map[string]string{}
	machines := slices.Sorted(maps.Values(box.Machines(t, model, app)))
	for name, i := range box.Instances(t, machines[0]) {
		require.Equal(t, "Running", i.Status, name)
		pid := strings.TrimSpace(box.Inside(t, i.Location, "lxc info "+name+" | sed -n 's/^PID: //p'"))
		require.NotEmpty(t, pid, name)
		found[name] = i.Location + " " + pid
	}
	return found
}

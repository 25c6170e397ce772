package drain_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/drain"
	draintest "github.com/dcib/dcib/internal/testkit/drain"
)

// An instance that was launched in a cluster group stays in it: on members of the group, also on those
// that accept no other instance, and afterwards, though LXD removes the key with each move.
func TestClusterGroups(t *testing.T) {
	for _, scheduler := range []string{"", "group"} {
		for _, slots := range []bool{true, false} {
			t.Run(fmt.Sprintf("scheduler=%q slots=%t", scheduler, slots), func(t *testing.T) {
				lxd := draintest.New("pet", "b", "c")
				lxd.Member[0].Groups, lxd.Member[1].Groups = []string{"default", "gpu"}, []string{"default", "gpu"}
				lxd.Member[1].Scheduler = scheduler
				lxd.Relocates = true
				lxd.Add("learner", "pet", true).Group = "gpu"
				lxd.Add("idle", "pet", false).Group = "gpu"
				lxd.Add("plain", "pet", true)
				for n := range 3 {
					lxd.Add(fmt.Sprintf("busy%d", n), "b", true)
				}
				d := drainer(lxd)
				if slots {
					d.Limiter = drain.NewMoveLimiter(1, 0)
				}
				if !slots && scheduler != "" {
					lxd.Member[1].Scheduler = "" // LXD's own evacuation leaves such members out
				}
				_, err := d.Drain(t.Context(), "pet", false)
				require.NoError(t, err)
				for _, name := range []string{"learner", "idle"} {
					require.Equal(t, "b", lxd.Find(ref(name)).Member)
					require.Equal(t, "gpu", lxd.Find(ref(name)).Group)
				}
				require.Empty(t, lxd.Find(ref("plain")).Group)
				_, err = d.Undrain(t.Context(), "pet")
				require.NoError(t, err)
				for _, name := range []string{"learner", "idle"} {
					require.Equal(t, "pet", lxd.Find(ref(name)).Member)
					require.Equal(t, "gpu", lxd.Find(ref(name)).Group)
				}
			})
		}
	}

	// A project may be restricted to members of some groups.
	lxd := draintest.New("pet", "b", "c")
	lxd.Capacity = map[string]drain.Capacity{"b": {DeniedProjects: map[string]bool{"lab": true}}}
	lxd.Add("lab", "pet", true).Project = "lab"
	for n := range 3 {
		lxd.Add(fmt.Sprintf("busy%d", n), "c", true)
	}
	d := drainer(lxd)
	d.Limiter = drain.NewMoveLimiter(1, 0)
	lxd.SetStatus("c", drain.Offline)
	_, err := d.Drain(t.Context(), "pet", false)
	require.ErrorContains(t, err, "lab/lab: no other member that project lab may use (restricted.cluster.groups) is Online")
	lxd.SetStatus("c", drain.Online)
	_, err = d.Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	require.Equal(t, "c", lxd.Find(drain.Ref{Project: "lab", Name: "lab"}).Member)

	lxd = draintest.New("pet", "b")
	lxd.Member[0].Groups = []string{"gpu"}
	lxd.Add("learner", "pet", true).Group = "gpu"
	_, err = drainer(lxd).Drain(t.Context(), "pet", false)
	require.ErrorContains(t, err, "learner: no other member of cluster group gpu is Online, takes instances and runs x86_64; force=true")
}

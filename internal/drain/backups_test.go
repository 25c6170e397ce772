package drain_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/drain/draintest"
)

// LXD deletes an instance's backups when it moves it: the plan says so.
func TestAPlanNamesTheBackupsThatAreLost(t *testing.T) {
	lxd := draintest.New("pet", "b")
	lxd.Add("web", "pet", true)
	lxd.Add("db", "pet", true)
	lxd.Add("stays", "pet", true).Evacuate = "stop"
	lxd.Backup = map[drain.Ref]int{ref("web"): 2, ref("stays"): 1}
	d := drainer(lxd)
	report, err := d.Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	require.Contains(t, report.Plan.String(), "warning web: stops, moves to another member and starts there; LXD deletes its 2 backups on the way: lxc export web keeps a copy")
	require.Contains(t, report.Plan.String(), "okay    db: stops, moves to another member and starts there\n")
	require.NotContains(t, report.Plan.String(), "1 backup")
	require.Zero(t, lxd.Backup[ref("web")])

	lxd.Backup[ref("web")] = 1
	report, err = d.Undrain(t.Context(), "pet")
	require.NoError(t, err)
	require.Contains(t, report.Plan.String(), "okay    web: comes back from b and runs; LXD deletes its 1 backup on the way")
}

package drain_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/drain"
	draintest "github.com/dcib/dcib/internal/testkit/drain"
)

// LXD deletes an instance's backups when it moves it: it is not moved.
func TestInstancesWithBackupsStay(t *testing.T) {
	lxd := draintest.New("pet", "b")
	web := lxd.Add("web", "pet", true)
	still := lxd.Add("still", "pet", false)
	lxd.Add("db", "pet", true)
	lxd.BackupCount = map[drain.Ref]int{ref("web"): 2, ref("still"): 1}
	d := drainer(lxd)
	_, err := d.Drain(t.Context(), "pet", false)
	require.ErrorContains(t, err, "web: has 2 backups, which LXD deletes when it moves it: export or delete them, or set cluster.evacuate=migrate on it")
	require.Empty(t, lxd.Calls)

	for name, allow := range map[string]func() bool{
		"the pet may stop it": func() bool { web.MayStop = true; return false },
		"force":               func() bool { web.MayStop = false; return true },
	} {
		report, err := d.Drain(t.Context(), "pet", allow())
		require.NoError(t, err, name)
		require.Equal(t, []string{"web: pet (stopped)", "still: pet (stopped)", "db: pet → b (running)"}, moves(report), name)
		_, err = d.Undrain(t.Context(), "pet")
		require.NoError(t, err, name)
		require.True(t, web.Running, name)
		require.False(t, still.Running, name)
		require.Equal(t, map[drain.Ref]int{ref("web"): 2, ref("still"): 1}, lxd.BackupCount, name)
	}

	// The others leave before a window.
	d.Partial, web.MayStop = true, false
	_, err = d.Drain(t.Context(), "pet", false)
	require.ErrorIs(t, err, drain.ErrPartial)
	require.ErrorContains(t, err, "web: has 2 backups")
	require.True(t, web.Running)
	_, err = d.Undrain(t.Context(), "pet")
	require.NoError(t, err)

	// Its owner wants it moved.
	d.Partial, web.Evacuate = false, "migrate"
	report, err := d.Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	require.Contains(t, report.Plan.String(), "warning web: stops, moves to another member and starts there; LXD deletes its 2 backups on the way: lxc export web keeps a copy")
	require.Equal(t, "b", web.Member)
	lxd.BackupCount[ref("web")] = 1
	_, err = d.Undrain(t.Context(), "pet")
	require.ErrorContains(t, err, "web: stays on b: it has 1 backup, which LXD deletes when it moves it: export or delete them")
	require.True(t, web.Running)
	require.Equal(t, 1, lxd.BackupCount[ref("web")])
	delete(lxd.BackupCount, ref("web"))
	_, err = d.Undrain(t.Context(), "pet")
	require.NoError(t, err)
	require.Equal(t, "pet", web.Member)
}

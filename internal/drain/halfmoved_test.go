package drain_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/drain"
	draintest "github.com/dcib/dcib/internal/testkit/drain"
)

// A move of LXD's ends with a rename. An instance that LXD could not rename runs under its temporary name,
// is named in the error, and is renamed once that is possible.
func TestUndrainRenamesHalfMovedInstances(t *testing.T) {
	for _, inOne := range []bool{false, true} {
		lxd := draintest.New("pet", "b")
		lxd.Relocates = inOne
		web := lxd.Add("web", "pet", true)
		lxd.Add("db", "pet", true)
		d := drainer(lxd)
		d.Limiter = drain.NewMoveLimiter(1, 0)
		_, err := d.Drain(t.Context(), "pet", false)
		require.NoError(t, err)

		lxd.Fail = func(call string, ref drain.Ref) error {
			if call == "rename" && ref.Name != "db" {
				return errors.New("directory not empty")
			}
			return nil
		}
		_, err = d.Undrain(t.Context(), "pet")
		require.ErrorContains(t, err, "web: is on pet as lxd-move-of-"+web.ID)
		require.Equal(t, "lxd-move-of-"+web.ID, web.Name)
		require.True(t, web.Running)
		require.Equal(t, "pet", lxd.Find(ref("db")).Member)
		require.True(t, lxd.Find(ref("db")).Running)

		// It is not stopped again before its pause is over.
		lxd.Calls = nil
		_, err = d.Undrain(t.Context(), "pet")
		require.ErrorContains(t, err, "web: is on pet as lxd-move-of-")
		require.NotContains(t, lxd.Calls, "stop lxd-move-of-"+web.ID)
		require.True(t, web.Running)

		lxd.Fail = nil
		d.Now = func() time.Time { return noon.Add(time.Hour) }
		_, err = d.Undrain(t.Context(), "pet")
		require.NoError(t, err)
		require.Equal(t, "web", web.Name)
		require.True(t, web.Running)
		require.Empty(t, lxd.Journal)
	}
}

// The same in a drain.
func TestDrainRenamesHalfMovedInstances(t *testing.T) {
	lxd := draintest.New("pet", "b")
	web := lxd.Add("web", "pet", true)
	d := drainer(lxd)
	d.Limiter = drain.NewMoveLimiter(1, 0)
	lxd.Fail = func(call string, _ drain.Ref) error {
		if call == "rename" {
			return errors.New("directory not empty")
		}
		return nil
	}
	_, err := d.Drain(t.Context(), "pet", false)
	require.ErrorContains(t, err, "web: is on b as lxd-move-of-"+web.ID)
	require.True(t, web.Running)
	lxd.Fail = nil
	_, err = d.Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	require.Equal(t, "web", web.Name)
	require.True(t, web.Running)
	_, err = d.Undrain(t.Context(), "pet")
	require.NoError(t, err)
	require.Equal(t, "pet", web.Member)
	require.True(t, web.Running)
}

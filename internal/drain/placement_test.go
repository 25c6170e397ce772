package drain_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/drain"
	draintest "github.com/dcib/dcib/internal/testkit/drain"
)

// LXD's scheduler places nothing on a member while it is drained; afterwards the member has the operator's
// setting again.
func TestDrainCordonsTheMember(t *testing.T) {
	for _, was := range []string{"", "all", "group", "manual"} {
		t.Run("scheduler.instance="+was, func(t *testing.T) {
			lxd := draintest.New("pet", "b")
			pet := &lxd.Member[0]
			pet.Scheduler = was
			for n := range 3 {
				lxd.Add(fmt.Sprintf("c%d", n), "pet", true)
				lxd.Add(fmt.Sprintf("d%d", n), "b", true) // else b would have the fewest
			}
			var placed []string
			lxd.Fail = func(string, drain.Ref) error {
				placed = append(placed, lxd.PlaceNew())
				return nil
			}
			_, err := drainer(lxd).Drain(t.Context(), "pet", false)
			require.NoError(t, err)
			require.NotEmpty(t, placed)
			require.NotContains(t, placed, "pet")
			require.Equal(t, was, pet.Scheduler, "and as it was, once it is evacuated")
			require.Equal(t, "b", lxd.PlaceNew())

			_, err = drainer(lxd).Undrain(t.Context(), "pet")
			require.NoError(t, err)
			require.Equal(t, was, pet.Scheduler)
		})
	}
}

func TestUndrainRestoresTheScheduler(t *testing.T) {
	for _, operator := range []string{"", "group"} {
		lxd := draintest.New("pet", "b")
		pet := &lxd.Member[0]
		pet.Scheduler = "all"
		lxd.Add("stuck", "pet", true)
		lxd.Fail = func(call string, _ drain.Ref) error {
			if call == "move" {
				return errors.New("no")
			}
			return nil
		}
		_, err := drainer(lxd).Drain(t.Context(), "pet", false)
		require.Error(t, err)
		require.Equal(t, "manual", pet.Scheduler, "it is still being emptied")
		record := observe(t, lxd).Records["pet"]
		require.True(t, record.Cordoned)
		require.Equal(t, "all", record.PreviousScheduler)

		want := "all"
		if operator != "" {
			want, pet.Scheduler = operator, operator
			_, err := drainer(lxd).Drain(t.Context(), "pet", false)
			require.Error(t, err)
			require.Equal(t, operator, pet.Scheduler, "what an operator set meanwhile stays")
		}
		_, err = drainer(lxd).Undrain(t.Context(), "pet")
		require.NoError(t, err)
		require.Equal(t, want, pet.Scheduler)
	}
}

// However long an undrain takes, the member accepts new instances meanwhile.
func TestUndrainUncordonsFirst(t *testing.T) {
	lxd := draintest.New("pet", "b")
	lxd.Add("c1", "pet", true)
	lxd.Add("stuck", "pet", true)
	fails := "stuck"
	lxd.Fail = func(call string, r drain.Ref) error {
		if call == "move" && r.Name == fails {
			return errors.New("no")
		}
		return nil
	}
	_, err := drainer(lxd).Drain(t.Context(), "pet", false)
	require.Error(t, err)
	require.Equal(t, "manual", lxd.Member[0].Scheduler)
	fails = "c1"
	_, err = drainer(lxd).Undrain(t.Context(), "pet")
	require.ErrorContains(t, err, "c1: is still on b")
	require.Empty(t, lxd.Member[0].Scheduler)
}

func TestNestedDrainsDoNotTargetEachOther(t *testing.T) {
	lxd := draintest.New("a", "b", "c")
	for n := range 3 {
		lxd.Add(fmt.Sprintf("a%d", n), "a", true)
		lxd.Add(fmt.Sprintf("b%d", n), "b", true)
	}
	first := true
	lxd.Fail = func(string, drain.Ref) error {
		if first {
			// While a is being emptied, so is b.
			first = false
			_, err := drainer(lxd).Drain(t.Context(), "b", false)
			return err
		}
		return nil
	}
	_, err := drainer(lxd).Drain(t.Context(), "a", false)
	require.NoError(t, err)
	for _, i := range lxd.Instance {
		require.Equal(t, "c", i.Member, "%s", i.Ref)
	}
}

func TestSchedulerFor(t *testing.T) {
	open, closed := &drain.Record{}, &drain.Record{Cordoned: true, PreviousScheduler: "all"}
	for _, test := range []struct {
		now           string
		before, after *drain.Record
		want          string
	}{
		{"all", nil, closed, "manual"},
		{"all", open, closed, "manual"},
		{"manual", closed, closed, "manual"},
		{"group", closed, closed, "group"}, // an operator's, meanwhile
		{"manual", closed, open, "all"},
		{"manual", closed, nil, "all"},
		{"group", closed, nil, "group"},
		{"", open, nil, ""},
		{"manual", open, nil, "manual"},
	} {
		got, err := drain.SchedulerFor(test.now, test.before, test.after)
		require.NoError(t, err)
		require.Equal(t, test.want, got, "%v", test)
	}
	_, err := drain.SchedulerFor("group", nil, closed)
	require.ErrorIs(t, err, drain.ErrConflict, "an operator changed it since the drain was planned")
}

// A member that must be empty itself soon gets instances only where no other has capacity for them; of
// several such members the one that has most time.
func TestMembersThatMustBeEmptySoonAreTheLastTargets(t *testing.T) {
	noon := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name          string
		soon, later   time.Time
		free          int64 // GiB, of the later one
		soons, laters int
	}{
		{name: "no member is due: the load is spread", free: 60, soons: 3, laters: 3},
		{name: "one is due", soon: noon, free: 60, laters: 6},
		{name: "both are due", soon: noon, later: noon.Add(time.Hour), free: 60, laters: 6},
		{name: "both at once", soon: noon, later: noon, free: 60, soons: 3, laters: 3},
		{name: "capacity goes before time", soon: noon, free: 4, soons: 6},
		{name: "as long as there is capacity", soon: noon, free: 20, soons: 4, laters: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			lxd := draintest.New("pet", "later", "soon")
			lxd.Member[1].EmptyBy, lxd.Member[2].EmptyBy = c.later, c.soon
			for n := range 6 {
				lxd.Add(fmt.Sprintf("c%d", n), "pet", true).Requirements.Memory = 8 << 30
			}
			capacity := func(free int64) drain.Capacity { return drain.Capacity{Memory: 64 << 30, FreeMemory: free << 30} }
			lxd.Capacity = map[string]drain.Capacity{"soon": capacity(60), "later": capacity(c.free)}
			d := drainer(lxd)
			d.Limiter = drain.NewMoveLimiter(1, 0)
			_, err := d.Drain(t.Context(), "pet", false)
			require.NoError(t, err)
			on := map[string]int{}
			for _, i := range lxd.Instance {
				on[i.Member]++
			}
			require.Equal(t, map[string]int{"soon": c.soons, "later": c.laters}, map[string]int{"soon": on["soon"], "later": on["later"]})
		})
	}
}

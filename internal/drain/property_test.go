package drain_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dcib/dcib/internal/drain"
	draintest "github.com/dcib/dcib/internal/testkit/drain"
)

// TestNoInstanceIsLostWheneverTheClientIsKilled drains and undrains a member of a random cluster. The
// client is killed at random calls and started again; faults come and go; an operator makes changes
// between drain and undrain.
func TestNoInstanceIsLostWheneverTheClientIsKilled(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lxd := draintest.New([]string{"pet", "b", "c", "d"}[:rapid.IntRange(2, 4).Draw(t, "members")]...)
		member := func(label string) string {
			return lxd.Member[rapid.IntRange(0, len(lxd.Member)-1).Draw(t, label)].Name
		}
		for n := range rapid.IntRange(0, 7).Draw(t, "instances") {
			i := lxd.Add(fmt.Sprintf("c%d", n), member("on"), rapid.Bool().Draw(t, "runs"))
			i.Evacuate = rapid.SampledFrom([]string{"", "", "", "auto", "migrate", "stop"}).Draw(t, "evacuate")
			if rapid.IntRange(0, 4).Draw(t, "tied") == 0 {
				i.LocalDevices = []string{"disk data"}
			}
			i.Origin = rapid.SampledFrom([]string{"", "", "", "b", "pet"}).Draw(t, "origin")
		}
		placement := "" // what an operator last said
		set := func(to ...string) {
			placement = rapid.SampledFrom(to).Draw(t, "scheduler")
			lxd.Member[0].Scheduler = placement
		}
		set("", "all", "group", "manual")
		before := map[drain.Ref]drain.Instance{}
		for _, i := range lxd.Instance {
			before[i.Ref] = *i
		}
		d := drainer(lxd)
		clock := noon
		d.Now = func() time.Time { return clock }
		lxd.RestoresWithoutInstances = rapid.Bool().Draw(t, "skips")
		lxd.Relocates = rapid.Bool().Draw(t, "in one")
		lxd.Copies = rapid.Bool().Draw(t, "copies")
		whole := func() {
			require.Empty(t, lxd.Lost)
			for _, i := range lxd.Instance {
				require.NotContains(t, i.Name, "dcib-", "a copy is left on %s", i.Member)
				require.Empty(t, i.CopyFor, "%s is not settled", i.Ref)
			}
		}
		if rapid.Bool().Draw(t, "limiter") {
			d.Limiter = drain.NewMoveLimiter(1, 0)
		}

		// again runs an action, killed at random, until it comes to its end.
		again := func(hosts []string, action func() error) {
			for try := 0; ; try++ {
				require.Less(t, try, 30, "it never ends")
				lxd.CallsLeft, lxd.Fail = -1, nil
				clock = clock.Add(7 * time.Hour)
				for _, host := range hosts {
					lxd.SetStatus(host, drain.Online)
				}
				if try < 25 {
					if len(hosts) > 0 && rapid.IntRange(0, 3).Draw(t, "offline") == 0 {
						lxd.SetStatus(rapid.SampledFrom(hosts).Draw(t, "host"), drain.Offline)
					}
					lxd.CallsLeft = rapid.IntRange(0, 40).Draw(t, "life")
					if fault := rapid.IntRange(0, 9).Draw(t, "fault"); fault < 5 {
						left := rapid.IntRange(1, 4).Draw(t, "faults")
						lxd.Fail = func(call string, _ drain.Ref) error {
							if call == []string{"start", "move", "origin", "copy", "adopt"}[fault] && left > 0 {
								left--
								return errors.New("a passing fault")
							}
							return nil
						}
					}
				}
				if err := action(); err == nil {
					lxd.CallsLeft, lxd.Fail = -1, nil
					return
				}
				if rapid.IntRange(0, 9).Draw(t, "operator") == 0 {
					// Not manual: an operator who sets what is set already leaves no trace.
					set("", "all", "group")
				}
			}
		}

		again(nil, func() error { _, err := d.Drain(t.Context(), "pet", true); return err })
		require.Equal(t, drain.Evacuated, lxd.Status("pet"))
		whole()
		require.Equal(t, placement, lxd.Member[0].Scheduler)
		require.Len(t, lxd.Instance, len(before))
		for _, i := range lxd.Instance {
			was := before[i.Ref]
			switch {
			case was.Member != "pet":
				require.Equal(t, was.Member, i.Member, "%s is not of the drain", i.Ref)
				require.Equal(t, was.Running, i.Running)
			case i.Member == "pet":
				require.True(t, i.Evacuate == "stop" || i.Evacuate != "migrate" && len(i.LocalDevices) > 0, "%s could have moved", i.Ref)
				require.False(t, i.Running)
			default:
				require.Equal(t, was.Running, i.Running)
			}
		}

		// An operator makes changes.
		if rapid.Bool().Draw(t, "sets the scheduler") {
			set("", "all", "group", "manual")
		}
		drained := map[drain.Ref]drain.Instance{}
		touched := map[drain.Ref]string{}
		for _, i := range slices.Clone(lxd.Instance) {
			switch rapid.IntRange(0, 7).Draw(t, "operator") {
			case 0:
				touched[i.Ref] = "deleted"
				lxd.Delete(i.Ref)
			case 1:
				if to := member("to"); to != "pet" && to != i.Member && i.Member != "pet" {
					touched[i.Ref], i.Member = "moved", to
				}
			case 2:
				if i.Running { // LXD refuses to stop what has stopped
					touched[i.Ref], i.Running, i.ShouldRun = "stopped", false, false
				}
			case 3:
				if i.Member != "pet" {
					touched[i.Ref], i.Running, i.ShouldRun = "started", true, true
				}
			}
		}
		if rapid.Bool().Draw(t, "new") {
			lxd.Add("new", "b", true).Origin = rapid.SampledFrom([]string{"", "pet"}).Draw(t, "origin")
		}
		for _, i := range lxd.Instance {
			drained[i.Ref] = *i
		}

		var hosts []string
		for _, m := range lxd.Member[1:] {
			hosts = append(hosts, m.Name)
		}
		again(hosts, func() error { _, err := d.Undrain(t.Context(), "pet"); return err })
		require.Equal(t, drain.Online, lxd.Status("pet"))
		require.Empty(t, lxd.Journal)
		for _, host := range hosts {
			lxd.SetStatus(host, drain.Online)
		}
		_, err := d.Undrain(t.Context(), "pet") // deletes what is left on a host that did not answer
		require.NoError(t, err)
		whole()
		require.Equal(t, placement, lxd.Member[0].Scheduler)
		require.Len(t, lxd.Instance, len(drained), "none is lost, none is doubled")
		for _, i := range lxd.Instance {
			was, mid := before[i.Ref], drained[i.Ref]
			if was.Member == "pet" && was.Origin == "" {
				require.Empty(t, i.Origin, "%s would go to pet when that is restored", i.Ref)
			}
			switch {
			case was.Member != "pet" || touched[i.Ref] == "moved":
				require.Equal(t, mid.Member, i.Member, "%s (%s)", i.Ref, touched[i.Ref])
				require.Equal(t, mid.Running, i.Running, "%s (%s)", i.Ref, touched[i.Ref])
			default:
				require.Equal(t, "pet", i.Member, "%s (%s)", i.Ref, touched[i.Ref])
				if touched[i.Ref] == "" {
					require.Equal(t, was.Running, i.Running, "%s", i.Ref)
				}
				if touched[i.Ref] == "stopped" || touched[i.Ref] == "started" {
					require.Equal(t, mid.Running, i.Running, "%s (%s)", i.Ref, touched[i.Ref])
				}
			}
		}
	})
}

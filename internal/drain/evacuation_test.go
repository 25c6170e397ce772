package drain_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/drain"
	draintest "github.com/dcib/dcib/internal/testkit/drain"
)

// What LXD 6.9 would refuse is refused before anything moves, with what to do.
func TestEvacuationRefusal(t *testing.T) {
	voter := drain.Member{Status: drain.Online, Voter: true}
	standby := drain.Member{Status: drain.Online, Standby: true}
	spare := drain.Member{Status: drain.Online}
	off := func(m drain.Member) drain.Member { m.Status = drain.Offline; return m }
	evacuated := func(m drain.Member) drain.Member { m.Status = drain.Evacuated; return m }
	control := func(m drain.Member) drain.Member { m.ControlPlane = true; return m }
	for name, c := range map[string]struct {
		pet    drain.Member
		others []drain.Member
		why    string
	}{
		"three voters":                         {voter, []drain.Member{voter, voter}, ""},
		"one of them is offline":               {voter, []drain.Member{voter, off(voter)}, "2 of 3 voters online: bring back m2 first"},
		"another can vote in its place":        {voter, []drain.Member{voter, off(voter), standby}, ""},
		"that one is evacuated":                {voter, []drain.Member{voter, off(voter), evacuated(standby)}, "2 of 3 voters online"},
		"no majority now":                      {voter, []drain.Member{voter, off(voter), off(voter), off(voter), standby}, "2 of 5 voters online: bring back m2, m3, m4 first"},
		"it is the only voter of two":          {voter, []drain.Member{standby}, "no voter without it: add a member"},
		"it does not vote":                     {standby, []drain.Member{voter, voter, off(voter)}, ""},
		"it is a spare":                        {spare, []drain.Member{voter}, ""},
		"who stands by is not in control":      {control(voter), []drain.Member{control(voter), control(off(voter)), standby, control(off(voter)), control(voter)}, "3 of 5 voters online"},
		"who stands by is in control":          {control(voter), []drain.Member{control(voter), control(off(voter)), control(standby)}, ""},
		"there is no control plane without it": {control(voter), []drain.Member{control(voter), off(voter), standby}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			names := []string{"pet", "m1", "m2", "m3", "m4", "m5"}[:1+len(c.others)]
			lxd := draintest.New(names...)
			for n, m := range append([]drain.Member{c.pet}, c.others...) {
				m.Name, m.Architectures = names[n], []string{"x86_64"}
				lxd.Member[n] = m
			}
			lxd.Add("c1", "pet", true)
			d := drainer(lxd)
			d.Limiter = drain.NewMoveLimiter(1, 0)
			lxd.VoterCheck = true
			_, err := d.Drain(t.Context(), "pet", true)
			if c.why == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "cannot drain pet: LXD would refuse to evacuate it: its database has")
			require.ErrorContains(t, err, c.why)
			_, err = d.DrainForRemoval(t.Context(), "pet")
			require.ErrorContains(t, err, c.why)
			require.Empty(t, lxd.Calls)
			require.Empty(t, lxd.Journal)

			lxd.VoterCheck = false
			_, err = d.Drain(t.Context(), "pet", true)
			require.NoError(t, err, "earlier versions do not ask")
		})
	}
}

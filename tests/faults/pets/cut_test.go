//go:build box

package pets

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/scheduler/store"
)

// A way of keeping a unit's machine from the others, and back.
type cut struct {
	name            string
	apart, together func(t *testing.T, machine string)
}

var cuts = []cut{
	{"cut off", func(t *testing.T, machine string) {
		box.Inside(t, machine, `nft -f - <<END
table inet cut {
  chain in { type filter hook input priority -300; tcp dport 17666 drop; tcp sport 17666 drop; }
  chain out { type filter hook output priority -300; tcp dport 17666 drop; tcp sport 17666 drop; }
}
END`)
	}, func(t *testing.T, machine string) { box.Inside(t, machine, "nft delete table inet cut") }},
	{"frozen", func(t *testing.T, machine string) { box.LXC(t, "pause", machine) },
		func(t *testing.T, machine string) { box.LXC(t, "start", machine) }},
}

// testCut keeps the acting unit from the others while it drains, or undrains, at one moment
// after the other, and lets it back when another acts. What LXD was asked for, by whom, and what
// the units say of their terms is the history of one lease.
func (s *stage) testCut(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	c := s.crew(t)
	defer c.dismiss(t)
	c.voting(t)
	c.instances(t, "deep", 1)
	home := c.alone(t, "big", 6)
	c.told.upTo(t)
	member := c.pets["big"]
	var listeners []*follower
	for _, machine := range slices.Sorted(maps.Values(box.Machines(t, model, lxd))) {
		l := s.follow(t, machine, "logging")
		l.upTo(t)
		listeners = append(listeners, l)
	}
	var taken []time.Duration
	for round := range rounds {
		what := []store.Kind{store.Drain, store.Undrain}[round%2]
		how := cuts[round/2%2]
		victim := c.acting(t, takeover)
		from := len(c.made(t, victim))
		id := c.order(t, victim, member, what)
		// The later rounds let it come further.
		box.Await(t, time.Minute, 50*time.Millisecond, "the run to be under way", func() (bool, string) {
			made := len(c.made(t, victim)) - from
			return made > 2+round*2, fmt.Sprint(made)
		})
		how.apart(t, c.units[victim])
		at := time.Now()
		box.Injected(at, "%s: %s", victim, how.name)
		next := c.acting(t, 3*takeover, victim)
		took := time.Since(at)
		taken = append(taken, took)
		how.together(t, c.units[victim])
		run := c.ended(t, "", id)
		why := fmt.Sprintf("%s, %s %s, %s acts %.1f s later", what, victim, how.name, next, took.Seconds())
		t.Logf("%s; ended %.1f s after", why, run.Ended.Sub(at).Seconds())
		require.Less(t, took, takeover, why)
		c.requireAll(t, run, home, why)
		c.ready(t)
	}
	var asked []event
	for _, l := range listeners {
		asked = append(asked, l.upTo(t)...)
	}
	history := append(c.acts(t, asked), c.terms(t)...)
	acts, acquired := 0, 0
	for _, op := range history {
		switch op.kind {
		case act:
			acts++
		case acquire:
			acquired++
		}
	}
	require.Greater(t, acts, rounds*10)
	require.GreaterOrEqual(t, acquired, rounds)
	slices.SortFunc(history, func(a, b operation) int { return a.to.Compare(b.to) })
	if !oneActs(history) {
		for _, op := range history {
			t.Logf("%+v", op)
		}
		require.Fail(t, "two units acted")
	}
	t.Logf("%d changes asked of LXD by %d holders of the lease, one at a time; another unit acted %s to %s later (median %s)",
		acts, acquired, slices.Min(taken), slices.Max(taken), median(taken))
}

// alone brings the number of a pet's instances to n, with no others that are tried, and returns
// where all are.
func (s *stage) alone(t *testing.T, pet string, n int) map[string]string {
	t.Helper()
	box.Inside(t, s.ask, "for i in still own stays; do lxc delete -f $i 2>/dev/null || true; done")
	s.instances(t, pet, n)
	return s.look(t).instances
}

// acts are the changes that units asked LXD for, as LXD logged them; units are known by
// their certificates.
func (c *crew) acts(t *testing.T, asked []event) (history []operation) {
	t.Helper()
	units := map[string]string{}
	for unit, machine := range c.units {
		print := box.Inside(t, machine, "openssl x509 -in "+dir(unit)+"/client.crt -noout -fingerprint -sha256")
		_, print, _ = strings.Cut(strings.TrimSpace(print), "=")
		units[strings.ToLower(strings.ReplaceAll(print, ":", ""))] = unit
	}
	for _, e := range asked {
		user, _ := e.Metadata.Context["username"].(string) // of those who are not members of the cluster
		method, _ := e.Metadata.Context["method"].(string)
		if unit := units[user]; unit != "" && method != "" && method != "GET" {
			history = append(history, operation{kind: act, unit: unit, from: e.Timestamp, to: e.Timestamp})
		}
	}
	return history
}

var (
	saysActing = regexp.MustCompile(`^acting, term (\d+)$`)
	saysOver   = regexp.MustCompile(`^term (\d+) is (?:over|given up)$`)
)

// terms are the units' terms, as they said in the journals of their machines.
func (c *crew) terms(t *testing.T) (history []operation) {
	t.Helper()
	for unit, machine := range c.units {
		out := box.Inside(t, machine, fmt.Sprintf("journalctl --unit pet-scheduler --since @%d --output json --no-pager", c.since.Unix()))
		for line := range strings.Lines(out) {
			var entry struct {
				Message string `json:"MESSAGE"`
				Micros  string `json:"__REALTIME_TIMESTAMP"`
			}
			if json.Unmarshal([]byte(line), &entry) != nil {
				continue // some other program's, with bytes for text
			}
			micros, err := strconv.ParseInt(entry.Micros, 10, 64)
			require.NoError(t, err)
			at := time.UnixMicro(micros)
			if found := saysActing.FindStringSubmatch(entry.Message); found != nil {
				term, _ := strconv.ParseInt(found[1], 10, 64)
				// The database may have taken its time to answer.
				history = append(history, operation{acquire, unit, term, at.Add(-8 * time.Second), at})
			}
			if found := saysOver.FindStringSubmatch(entry.Message); found != nil {
				term, _ := strconv.ParseInt(found[1], 10, 64)
				history = append(history, operation{over, unit, term, at, at})
			}
		}
	}
	return history
}

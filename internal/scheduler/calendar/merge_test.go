package calendar

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// crowded is a pet of so many windows that start each hour and leave no gap.
func crowded(t testing.TB, windows int) *Pet {
	t.Helper()
	var text strings.Builder
	text.WriteString("pets:\n- name: p\n  windows:\n")
	for i := range windows {
		fmt.Fprintf(&text, "  - {rrule: 'FREQ=DAILY;BYHOUR=0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23', dtstart: '2020-01-01 00:%02d', duration: 1m}\n", i%60)
	}
	pets, err := Parse([]byte(text.String()))
	require.NoError(t, err)
	return pets[0]
}

// steps returns how many starts are looked at and compared for one answer.
func steps(p *Pet, t time.Time) int {
	total := 0
	back := 24 * time.Hour
	for far := max(back, p.reach()); ; back *= 4 {
		m := p.merge(t.Add(-min(back, far)), t, p.reach())
		m.mayAbandon = back < far
		_, _ = m.next()
		total += m.steps
		if !m.abandoned {
			return total
		}
	}
}

var crowdedAt = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// The work for an answer has a bound, however many windows a pet has and however often they start.
func TestWorkIsBounded(t *testing.T) {
	few := steps(crowded(t, 60), crowdedAt)
	many := steps(crowded(t, 1000), crowdedAt)
	require.Greater(t, few, 10_000, "the steps are counted")
	// A start takes a few comparisons, by the logarithm of the number of windows.
	require.Less(t, many, 60*reachStarts)
	require.Less(t, many, 20*few)
}

// Without the bound, work would grow with the number of windows, and no faster.
func TestWorkGrowsWithTheWindows(t *testing.T) {
	per := func(windows int) float64 {
		p := crowded(t, windows)
		m := p.merge(crowdedAt, crowdedAt, 24*time.Hour)
		_, ok := m.next()
		require.True(t, ok)
		return float64(m.steps) / float64(windows)
	}
	require.Less(t, per(1000), 2.5*per(60))
}

// BenchmarkCrowded compares a pet of 1,000 windows that start each hour with one of 250: the time
// that one answer takes, and the ratio.
func BenchmarkCrowded(b *testing.B) {
	few, many := crowded(b, 250), crowded(b, 1000)
	var spent [2]time.Duration
	for b.Loop() {
		for i, p := range []*Pet{few, many} {
			began := time.Now()
			p.Between(crowdedAt, crowdedAt.AddDate(0, 0, 7))
			spent[i] += time.Since(began)
		}
	}
	b.ReportMetric(spent[1].Seconds()/float64(b.N), "s/1000-windows")
	b.ReportMetric(spent[1].Seconds()/spent[0].Seconds(), "1000/250")
}

package leadtime

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

func TestQueue(t *testing.T) {
	noon := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	need := func(minutes, lead int) Need {
		return Need{noon.Add(time.Duration(minutes) * time.Minute), time.Duration(lead) * time.Minute}
	}
	for _, c := range []struct {
		name  string
		needs []Need
		leads []int // minutes
	}{
		{"none", nil, nil},
		{"one", []Need{need(0, 5)}, []int{5}},
		{"far apart", []Need{need(0, 5), need(60, 5)}, []int{5, 5}},
		{"one ends as the other begins", []Need{need(0, 5), need(5, 5)}, []int{5, 5}},
		{"at once", []Need{need(0, 5), need(0, 7), need(0, 1)}, []int{5, 12, 13}},
		{"the later one does without the time of the earlier", []Need{need(3, 5), need(0, 5)}, []int{10, 5}},
		{"a short one within a long one", []Need{need(60, 100), need(0, 5)}, []int{105, 5}},
		{"two gaps", []Need{need(0, 5), need(10, 5), need(20, 20)}, []int{5, 5, 30}},
		{"bounded", []Need{need(0, 100), need(0, 100)}, []int{100, 120}},
		{"a lead beyond the bound stays", []Need{need(0, 130)}, []int{130}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var leads []int
			for _, lead := range Queue(c.needs, 2*time.Hour) {
				leads = append(leads, int(lead/time.Minute))
			}
			assert.Equal(t, c.leads, leads)
		})
	}
}

// The one who begins as Queue says, and always works on what is due first, is in time; and none
// could begin a minute later with all others as they are.
func TestQueueProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		needs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Need {
			return Need{time.Unix(60*rapid.Int64Range(600, 700).Draw(t, "by"), 0), time.Minute * time.Duration(rapid.IntRange(1, 20).Draw(t, "lead"))}
		}), 0, 8).Draw(t, "needs")
		leads := Queue(needs, 10*time.Hour)
		begins := make([]int64, len(needs))
		for i, n := range needs {
			begins[i] = n.By.Add(-leads[i]).Unix() / 60
		}
		assert.True(t, inTime(needs, begins), "needs %v, leads %v", needs, leads)
		for i, n := range needs {
			if leads[i] == n.Lead {
				continue
			}
			later := slices.Clone(begins)
			later[i]++
			assert.False(t, inTime(needs, later), "needs %v, leads %v: %d could wait", needs, leads, i)
		}
	})
}

// inTime works minute by minute.
func inTime(needs []Need, begins []int64) bool {
	left := make([]int, len(needs))
	for i, n := range needs {
		left[i] = int(n.Lead / time.Minute)
	}
	for now := int64(0); now < 800; now++ {
		first := -1
		for i, n := range needs {
			if left[i] > 0 && n.By.Unix()/60 <= now {
				return false
			}
			if left[i] > 0 && begins[i] <= now && (first < 0 || n.By.Before(needs[first].By)) {
				first = i
			}
		}
		if first >= 0 {
			left[first]--
		}
	}
	return true
}

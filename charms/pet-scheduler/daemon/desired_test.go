package daemon

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/scheduler/calendar"
	"github.com/dcib/dcib/internal/scheduler/decide"
	"github.com/dcib/dcib/internal/scheduler/store"
)

// Pets that are due at the same time begin one before the other; who is not to be drained, or
// is already, keeps no one waiting.
func TestPetsThatAreDueTogetherBeginEarlier(t *testing.T) {
	noon := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	list := make([]due, 7)
	for i := range list {
		list[i].facts = decide.Facts{
			Now: noon, State: decide.Shared, Lead: 10 * time.Minute, LeadWhy: "as it was",
			Window: decide.Window{EmptyBy: noon.Add(time.Hour), Start: noon.Add(time.Hour), End: noon.Add(2 * time.Hour)},
		}
	}
	list[1].facts.State = decide.Drained
	list[2].facts.Hold = &decide.Hold{State: decide.HoldShared}
	list[3].facts.Window = decide.Window{}
	list[4].facts.State = decide.Draining
	list[5].facts.Window.EmptyBy = noon.Add(3 * time.Hour)
	queue(list, 25*time.Minute)
	var leads []int
	for _, l := range list {
		leads = append(leads, int(l.facts.Lead.Minutes()))
	}
	assert.Equal(t, []int{10, 10, 10, 10, 20, 10, 25}, leads)
	assert.Equal(t, "as it was", list[0].facts.LeadWhy)
	assert.Equal(t, "as it was; and 10m0s for others that are due at that time", list[4].facts.LeadWhy)
}

// What a drain moves away is best off on members that need not be empty before it is back.
func TestMembersThatAreDueSoon(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC) // a Friday
	pets, err := calendar.Parse([]byte(`pets:
- {name: big, member: m1, windows: ["Fri 21:00-Sat 05:00"]}
- {name: night, member: m2, windows: ["Sat 06:00-Sat 08:00"]}
- {name: later, member: m3, windows: ["Sat 07:30-Sat 08:00"]}
- {name: never, member: m4}
`))
	require.NoError(t, err)
	h := &desiredState{pets: pets}
	for _, c := range []struct {
		name string
		run  store.Run
		want string
	}{
		{"for its window", store.Run{Pet: "big", Window: now.Add(9 * time.Hour)}, "m1 m2"},
		{"for as long as an operator likes", store.Run{Pet: "big"}, "m1 m2 m3"},
		{"of a member that is no pet", store.Run{Pet: "m9"}, "m1 m2 m3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			until := h.upcomingDrains(c.run, now, 2*time.Hour)
			names := ""
			for i := 1; i <= 4; i++ {
				if _, ok := until[fmt.Sprint("m", i)]; ok {
					names += fmt.Sprint(" m", i)
				}
			}
			assert.Equal(t, " "+c.want, names)
			assert.Equal(t, now.Add(18*time.Hour), until["m2"].UTC())
		})
	}
}

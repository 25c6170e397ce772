package pets

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/scheduler/store"
)

func TestAlerted(t *testing.T) {
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	active := charm.Active("3 members, pets drained: none")
	late := store.Alert{Pet: "big", Kind: "late", Text: "it is late: it had to be empty by Fri 8 May 21:00:00 UTC", Since: at}
	givenUp := store.Alert{Pet: "deep", Kind: "given-up", Text: "draining it failed 6 times, last: no capacity; it was given up", Since: at}
	noStore := store.Alert{Kind: "store", Text: "the store does not answer: a majority of its units has to be there", Since: at}
	for name, c := range map[string]struct {
		status charm.Status
		alerts []store.Alert
		want   charm.Status
	}{
		"none":                {active, nil, active},
		"late":                {active, []store.Alert{late}, charm.Active("big: it is late: it had to be empty by Fri 8 May 21:00:00 UTC; see list-pets")},
		"given up and late":   {active, []store.Alert{late, givenUp}, charm.Blockedf("deep: draining it failed 6 times, last: no capacity; it was given up; fix the cause, run drain (1 more)")},
		"no majority":         {active, []store.Alert{late, noStore}, charm.Waitingf("the store does not answer: a majority of its units has to be there; start the lost units (1 more)")},
		"LXD is away":         {charm.Waitingf("cannot reach LXD"), []store.Alert{late}, charm.Waitingf("big: it is late: it had to be empty by Fri 8 May 21:00:00 UTC; see list-pets")},
		"is blocked":          {charm.Blockedf("option pets: line 1"), []store.Alert{late}, charm.Blockedf("option pets: line 1")},
		"unknown kind":        {active, []store.Alert{{Kind: "later", Text: "a newer\nunit wrote it"}}, charm.Active("a newer unit wrote it; see journalctl -u pet-scheduler")},
		"many lines, umlauts": {active, []store.Alert{{Pet: "bär", Kind: "failing", Text: strings.Repeat("ö\n", 500)}}, charm.Active("%s", "bär: "+strings.TrimSpace(strings.Repeat("ö ", 50))+"…; see list-pets")},
	} {
		t.Run(name, func(t *testing.T) {
			got := Alerted(c.status, c.alerts)
			assert.Equal(t, c.want, got)
			require.LessOrEqual(t, len([]rune(got.Message)), maxMessage)
		})
	}
}

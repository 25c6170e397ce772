package calendar_test

import (
	"fmt"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var elapses = regexp.MustCompile(`(?m)(?:Next elapse|Iter\. #\d+): \w+ (\S+ \S+) UTC$`)

// TestAgainstSystemd compares starts with what systemd's calendar makes of the same rule.
// It takes the first of two like this does; a time that is skipped it leaves out, while
// here a window then starts when the clock goes on, so there is no such night here.
func TestAgainstSystemd(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze here")
	}
	const starts = 12
	for _, c := range []struct{ from, zone, window, theirs string }{
		{"2026-05-01", "UTC", "Mon..Wed,Fri 22:00-23:00", "Mon..Wed,Fri *-*-* 22:00:00"},
		{"2026-10-20", "Europe/Berlin", "daily 02:30-03:30", "*-*-* 02:30:00"},
		{"2026-10-20", "America/New_York", "Sat,Sun 01:30-05:00", "Sat,Sun *-*-* 01:30:00"},
		{"2026-03-20", "Europe/Berlin", "Sun 04:00-05:00", "Sun *-*-* 04:00:00"},
		{"2026-12-20", "Australia/Sydney", "Thu-Mon 23:45-01:00", "Thu,Fri,Sat,Sun,Mon *-*-* 23:45:00"},
		{"2026-05-01", "Europe/Berlin", "{rrule: FREQ=MONTHLY, dtstart: 2020-01-31 04:00, duration: 1h}", "*-*-31 04:00:00"},
		{"2026-05-01", "UTC", "{rrule: FREQ=YEARLY, dtstart: 2020-02-29 04:00, duration: 1h}", "*-02-29 04:00:00"},
		{"2026-05-01", "UTC", "{rrule: FREQ=MONTHLY;BYMONTHDAY=-1, dtstart: 2020-01-31 04:00, duration: 1h}", "*-*~01 04:00:00"},
		{"2026-05-01", "Asia/Tokyo", "{rrule: FREQ=MONTHLY;BYDAY=1MO, dtstart: 2020-01-06 04:00, duration: 1h}", "Mon *-*-1..7 04:00:00"},
	} {
		t.Run(c.theirs+" "+c.zone, func(t *testing.T) {
			out, err := exec.Command(analyze, "calendar", fmt.Sprintf("--iterations=%d", starts), "--base-time="+c.from+" 00:00:00 UTC", c.theirs+" "+c.zone).CombinedOutput()
			require.NoError(t, err, "%s", out)
			var want, got []string
			for _, m := range elapses.FindAllSubmatch(out, -1) {
				want = append(want, string(m[1]))
			}
			require.Len(t, want, starts, "%s", out)
			from := day(t, c.from)
			for _, s := range pet(t, "zone: "+c.zone, "windows:", "- "+c.window).Between(from, from.AddDate(49, 0, 0)) {
				if s.Start.After(from) && len(got) < starts {
					got = append(got, s.Start.UTC().Format(time.DateTime))
				}
			}
			assert.Equal(t, want, got)
		})
	}
}

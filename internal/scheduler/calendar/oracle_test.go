package calendar_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/teambition/rrule-go"
	"pgregory.net/rapid"

	"github.com/dcib/dcib/internal/scheduler/calendar"
)

// The oracle goes through time minute by minute and looks at the clock, which only
// time.Time.In reports it. It knows nothing of zones' rules.

// rule is a window as the oracle sees it: days on which it starts, and times.
type rule struct {
	text    string
	on      func(day time.Time) bool
	at      time.Duration // since midnight
	nominal time.Duration // by the clock
	exact   time.Duration
}

const aDay = 24 * time.Hour

// own reports for each minute from first on whether it is the pet's own.
func own(rules []rule, zone *time.Location, excepted func(time.Time) bool, first time.Time, minutes int) []bool {
	own := make([]bool, minutes)
	type occurrence struct {
		rule  int
		start int64
	}
	var shown time.Time                    // the latest time that the clock ever showed
	over := map[occurrence]time.Duration{} // how much of the exact part is over
	for m := range own {
		t := first.Add(time.Duration(m) * time.Minute).In(zone)
		clock := time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), 0, 0, time.UTC)
		if clock.After(shown) {
			shown = clock
		}
		today := shown.Truncate(aDay)
		for n, r := range rules {
			// A day more than it may last: the clock may have been set.
			for back := (r.nominal+r.exact)/aDay + 3; back >= 0; back-- {
				day := today.Add(-back * aDay)
				start := day.Add(r.at)
				if shown.Before(start) || !r.on(day) || excepted(day) {
					continue
				}
				if shown.Before(start.Add(r.nominal)) {
					own[m] = true
				} else if key := (occurrence{n, start.Unix()}); r.exact > 0 && over[key] < r.exact {
					over[key] += time.Minute
					own[m] = true
				}
			}
		}
	}
	return own
}

// bridge fills the gaps that are too short to share the pet.
func bridge(own []bool, before, minShare int) {
	last := -1 // the last minute of a reserved window
	for m := range own {
		if !own[m] {
			continue
		}
		if gap := m - last - 1; last >= 0 && gap > 0 && (gap-before <= 0 || gap-before < minShare) {
			for i := last + 1; i < m; i++ {
				own[i] = true
			}
		}
		last = m
	}
}

// Where clocks did something, and where they did not.
var moments = []struct{ zone, date string }{
	{"UTC", "2026-06-15"}, {"Europe/Berlin", "2026-03-29"}, {"Europe/Berlin", "2026-10-25"}, {"Europe/Berlin", "2026-12-31"},
	{"America/New_York", "2026-03-08"}, {"America/New_York", "2026-11-01"}, {"America/New_York", "2028-02-29"},
	{"Australia/Lord_Howe", "2026-04-05"}, {"Australia/Lord_Howe", "2026-10-04"},
	{"Pacific/Apia", "2011-12-30"}, {"Africa/Casablanca", "2026-02-15"}, {"Africa/Casablanca", "2026-03-22"},
	{"America/Havana", "2026-11-01"}, {"America/Sao_Paulo", "2017-10-15"}, {"America/Sao_Paulo", "2018-02-18"}, // at midnight
	{"Europe/Berlin", "2028-12-31"}, {"America/New_York", "2040-12-31"}, {"Australia/Lord_Howe", "2048-12-30"}, // the last day of a leap year
	{"Asia/Kathmandu", "2026-05-01"}, {"America/St_Johns", "2026-03-08"},
}

func drawRule(t *rapid.T, centre time.Time) rule {
	at := time.Duration(rapid.IntRange(0, 95).Draw(t, "at")) * 15 * time.Minute
	if rapid.Bool().Draw(t, "at night") {
		at = time.Duration(rapid.IntRange(0, 16).Draw(t, "at")) * 15 * time.Minute
	}
	clock := func(d time.Duration) string {
		return fmt.Sprintf("%02d:%02d", int(d.Hours())%24, int(d.Minutes())%60)
	}
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0: // weekly
		n := rapid.IntRange(1, 7).Draw(t, "days")
		days := rapid.Permutation([]time.Weekday{0, 1, 2, 3, 4, 5, 6}).Draw(t, "week")[:n]
		names := make([]string, n)
		for i, d := range days {
			names[i] = d.String()[:3]
		}
		length := time.Duration(rapid.IntRange(1, 95).Draw(t, "length")) * 15 * time.Minute
		end := clock(at + length)
		if n == 1 && rapid.Bool().Draw(t, "long") {
			length += time.Duration(rapid.IntRange(0, 5).Draw(t, "more")) * aDay
			end = time.Weekday((int(days[0]) + int((at+length)/aDay)) % 7).String()[:3] + " " + end
		}
		return rule{
			text: strings.Join(names, ",") + " " + clock(at) + "-" + end,
			on:   func(day time.Time) bool { return slices.Contains(days, day.Weekday()) },
			at:   at, nominal: length,
		}
	case 1: // once
		on := centre.AddDate(0, 0, rapid.IntRange(-3, 3).Draw(t, "on"))
		length := time.Duration(rapid.IntRange(1, 400).Draw(t, "length")) * 15 * time.Minute
		return rule{
			text: on.Add(at).Format("2006-01-02 15:04") + " - " + on.Add(at+length).Format("2006-01-02 15:04"),
			on:   on.Equal, at: at, nominal: length,
		}
	case 2: // every so many days
		start := centre.AddDate(0, 0, -rapid.IntRange(0, 3000).Draw(t, "since"))
		every := rapid.IntRange(1, 9).Draw(t, "every")
		hours := time.Duration(rapid.IntRange(1, 30).Draw(t, "hours")) * time.Hour
		days := time.Duration(rapid.IntRange(0, 2).Draw(t, "nominal")) * aDay
		return rule{
			text: fmt.Sprintf("{rrule: FREQ=DAILY;INTERVAL=%d, dtstart: %s, duration: %dd%dh}", every, start.Add(at).Format("2006-01-02 15:04"), days/aDay, hours/time.Hour),
			on:   func(day time.Time) bool { return !day.Before(start) && int(day.Sub(start)/aDay)%every == 0 },
			at:   at, nominal: days, exact: hours,
		}
	default: // a day of the month, counted from its end
		start := centre.AddDate(-rapid.IntRange(0, 8).Draw(t, "years"), 0, -40)
		n := rapid.IntRange(1, 31).Draw(t, "from the end")
		hours := time.Duration(rapid.IntRange(1, 30).Draw(t, "hours")) * time.Hour
		return rule{
			text: fmt.Sprintf("{rrule: FREQ=MONTHLY;BYMONTHDAY=-%d, dtstart: %s, duration: %dh}", n, start.Add(at).Format("2006-01-02 15:04"), hours/time.Hour),
			on: func(day time.Time) bool {
				last := time.Date(day.Year(), day.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
				return !day.Before(start) && day.Day() == last+1-n
			},
			at: at, exact: hours,
		}
	}
}

func TestAgainstMinuteByMinute(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		moment := rapid.SampledFrom(moments).Draw(t, "moment")
		zone, err := time.LoadLocation(moment.zone)
		require.NoError(t, err)
		centre, err := time.Parse(time.DateOnly, moment.date)
		require.NoError(t, err)

		text := "pets:\n- name: p\n  zone: " + moment.zone + "\n  windows:\n"
		var rules []rule
		for range rapid.IntRange(1, 4).Draw(t, "windows") {
			r := drawRule(t, centre)
			rules = append(rules, r)
			text += "  - " + r.text + "\n"
		}
		var except time.Time
		if rapid.Bool().Draw(t, "exception") {
			except = centre.AddDate(0, 0, rapid.IntRange(-2, 2).Draw(t, "excepted"))
			text += "  exceptions: [" + except.Format(time.DateOnly) + "]\n"
		}
		before := rapid.SampledFrom([]int{0, 0, 20, 90}).Draw(t, "latest return")
		minShare := rapid.SampledFrom([]int{0, 0, 60, 600, 2000}).Draw(t, "min share")
		text += fmt.Sprintf("  empty-by: %dm\n  min-share: %dm\n", before, minShare)
		pets, err := calendar.Parse([]byte(text))
		require.NoError(t, err, text)
		p := pets[0]

		// The oracle starts early and stops late, for what is one with what is compared.
		const early, compared, late = 10 * 1440, 3 * 1440, 4 * 1440
		from := centre.AddDate(0, 0, -2)
		to := from.Add(compared * time.Minute)
		want := own(rules, zone, except.Equal, from.Add(-early*time.Minute), early+compared+late)
		bridge(want, before, minShare)
		want = want[early:]

		got := make([]bool, compared)
		spans := p.Between(from, to)
		for i, s := range spans {
			require.True(t, s.Start.Before(s.End))
			require.Equal(t, s.Start.Add(-time.Duration(before)*time.Minute), s.EmptyBy)
			if i > 0 {
				require.True(t, spans[i-1].End.Before(s.EmptyBy), "%s", text)
			}
			for m := max(0, int(s.Start.Sub(from)/time.Minute)); m < min(compared, int(s.End.Sub(from)/time.Minute)); m++ {
				got[m] = true
			}
		}
		for m := range got {
			if got[m] != want[m] {
				t.Fatalf("%s: the reserved window is %v, the oracle says %v\n%s%s", from.Add(time.Duration(m)*time.Minute).In(zone), got[m], want[m], text, strings.Join(show(spans), "\n"))
			}
		}

		// What comes next, from anywhere.
		m := rapid.IntRange(0, compared-1).Draw(t, "now")
		now := from.Add(time.Duration(m) * time.Minute)
		next, ok := p.Next(now)
		for n := m + 1; n < len(want)-2880; n++ {
			if want[n] != want[m] {
				require.True(t, ok, text)
				require.Equal(t, from.Add(time.Duration(n)*time.Minute).UTC(), next.At.UTC(), "next after %s\n%s", now.In(zone), text)
				require.Equal(t, want[n], next.Opens)
				break
			}
		}
	})
}

// TestAgainstLibrary compares with what the library that reads rules returns when it counts, for
// what it counts right; the rest is in TestPublishedExpansions.
func TestAgainstLibrary(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		start := time.Date(2010, 1, 1, 3, 30, 0, 0, time.UTC).AddDate(0, 0, rapid.IntRange(0, 2000).Draw(t, "start"))
		freq := rapid.SampledFrom([]string{"DAILY", "WEEKLY", "MONTHLY", "YEARLY"}).Draw(t, "freq")
		parts := []string{"FREQ=" + freq}
		some := func(name string, one *rapid.Generator[string]) {
			if rapid.IntRange(0, 2).Draw(t, name) == 0 {
				parts = append(parts, name+"="+strings.Join(rapid.SliceOfNDistinct(one, 1, 3, rapid.ID).Draw(t, name), ","))
			}
		}
		number := func(low, high int) *rapid.Generator[string] {
			return rapid.Custom(func(t *rapid.T) string { return fmt.Sprint(rapid.IntRange(low, high).Draw(t, "n")) })
		}
		signed := func(high int) *rapid.Generator[string] {
			return rapid.Custom(func(t *rapid.T) string {
				return fmt.Sprint(rapid.IntRange(1, high).Draw(t, "n") * rapid.SampledFrom([]int{1, -1}).Draw(t, "sign"))
			})
		}
		parts = append(parts, "INTERVAL="+rapid.SampledFrom([]string{"1", "2", "3", "5"}).Draw(t, "interval"))
		days := rapid.SampledFrom([]string{"MO", "TU", "WE", "TH", "FR", "SA", "SU"})
		some("BYMONTH", number(1, 12))
		some("BYHOUR", number(0, 23))
		switch freq {
		case "DAILY":
			some("BYMONTHDAY", signed(31))
			some("BYDAY", days)
		case "WEEKLY":
			some("BYDAY", days)
			some("WKST", days.Filter(func(string) bool { return true }))
		case "MONTHLY":
			some("BYMONTHDAY", signed(31))
			if rapid.Bool().Draw(t, "counted days") {
				some("BYDAY", rapid.Custom(func(t *rapid.T) string {
					return rapid.SampledFrom([]string{"1", "-1", "5", "-5", "2"}).Draw(t, "nth") + days.Draw(t, "day")
				}))
			} else {
				some("BYDAY", days)
			}
			some("BYSETPOS", signed(3))
		case "YEARLY":
			switch rapid.IntRange(0, 3).Draw(t, "by") {
			case 0:
				some("BYYEARDAY", signed(366))
			case 1:
				parts = append(parts, "BYWEEKNO="+number(1, 51).Draw(t, "week"), "BYDAY="+days.Draw(t, "day"))
			case 2:
				some("BYMONTHDAY", signed(31))
			case 3:
				some("BYDAY", rapid.Custom(func(t *rapid.T) string { return signed(5).Draw(t, "nth") + days.Draw(t, "day") }))
			}
			some("BYSETPOS", signed(3))
		}
		switch rapid.IntRange(0, 3).Draw(t, "end") {
		case 0:
			parts = append(parts, "COUNT="+number(1, 200).Draw(t, "count"))
		case 1:
			parts = append(parts, "UNTIL="+start.AddDate(0, 0, rapid.IntRange(0, 8000).Draw(t, "until")).Format("20060102T150405Z"))
		}
		text := strings.Join(parts, ";")
		if i := strings.Index(text, "WKST="); i >= 0 {
			text = text[:i+len("WKST=MO")] + text[i+len("WKST=MO")+strings.IndexAny(text[i+len("WKST=MO"):]+";", ";"):]
		}

		option, err := rrule.StrToROption(text)
		require.NoError(t, err, text)
		option.Dtstart = start
		theirs, err := rrule.NewRRule(*option)
		require.NoError(t, err)
		windows, err := calendar.ParseWindow(fmt.Sprintf("{rrule: '%s', dtstart: %s, duration: 1m}", text, start.Format("2006-01-02 15:04")), time.UTC)
		if err != nil {
			// It never happens, or not often enough.
			require.Regexp(t, `never happens|does not happen \d+ times`, err.Error(), text)
			require.Less(t, len(theirs.Between(start, start.AddDate(50, 0, 0), true)), max(1, option.Count), text)
			return
		}
		p := &calendar.Pet{Zone: time.UTC, Windows: windows}
		years := rapid.SampledFrom([]int{0, 1, 2, 3, 5, 8, 13, 21}).Draw(t, "years")
		from := start.AddDate(years, 0, rapid.IntRange(-10, 400).Draw(t, "from")).Add(time.Duration(rapid.IntRange(0, 86399).Draw(t, "second")) * time.Second)
		to := from.AddDate(2, 0, 0)
		var want []time.Time
		for _, at := range theirs.Between(from, to, true) {
			if at.Before(to) {
				want = append(want, at)
			}
		}
		var got []time.Time
		for _, s := range p.Between(from, to) {
			if !s.Start.Before(from) {
				got = append(got, s.Start)
			}
		}
		require.Equal(t, want, got, "%s from %s, asked from %s", text, start, from)
	})
}

package calendar_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/scheduler/calendar"
)

// zoned makes a calendar with a VTIMEZONE of a name and with these parts, and one event.
func zoned(name, parts, event string) string {
	text := ics(event)
	zone := strings.ReplaceAll("BEGIN:VTIMEZONE\nTZID:"+name+"\n"+parts+"\nEND:VTIMEZONE\n", "\n", "\r\n")
	return strings.Replace(text, "BEGIN:VEVENT", zone+"BEGIN:VEVENT", 1)
}

// centralEurope is how Windows describes the clocks of central Europe.
const centralEurope = "BEGIN:STANDARD\nDTSTART:16010101T030000\nTZOFFSETFROM:+0200\nTZOFFSETTO:+0100\nRRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=10\nEND:STANDARD\n" +
	"BEGIN:DAYLIGHT\nDTSTART:16010101T020000\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0200\nRRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=3\nEND:DAYLIGHT"

// ics makes a calendar of events, each the lines within a VEVENT.
func ics(events ...string) string {
	text := "BEGIN:VCALENDAR\nVERSION:2.0\n"
	for _, e := range events {
		text += "BEGIN:VEVENT\n" + e + "\nEND:VEVENT\n"
	}
	return strings.ReplaceAll(text+"END:VCALENDAR\n", "\n", "\r\n")
}

func TestCalendars(t *testing.T) {
	const weekly = "UID:a\nSUMMARY:Render\\, all\nDTSTART;TZID=Europe/Berlin:20260501T210000\nDTEND;TZID=Europe/Berlin:20260502T050000\nRRULE:FREQ=WEEKLY;COUNT=4"
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"a rule in its own zone": {ics(weekly), []string{
			"Fri 2026-05-01 21:00 +0200 to Sat 2026-05-02 05:00 +0200",
			"Fri 2026-05-08 21:00 +0200 to Sat 2026-05-09 05:00 +0200",
			"Fri 2026-05-15 21:00 +0200 to Sat 2026-05-16 05:00 +0200",
			"Fri 2026-05-22 21:00 +0200 to Sat 2026-05-23 05:00 +0200"}},
		"exceptions, one moved, one cancelled": {ics(weekly+"\nEXDATE:20260508T190000Z",
			"UID:a\nRECURRENCE-ID;TZID=Europe/Berlin:20260515T210000\nDTSTART;TZID=UTC:20260516T120000\nDURATION:PT2H",
			"UID:a\nRECURRENCE-ID:20260522T190000Z\nDTSTART:20260522T190000Z\nDURATION:PT2H\nSTATUS:CANCELLED"), []string{
			"Fri 2026-05-01 21:00 +0200 to Sat 2026-05-02 05:00 +0200",
			"Sat 2026-05-16 12:00 +0000 to Sat 2026-05-16 14:00 +0000"}},
		"more dates": {ics("DTSTART:20260501T100000Z\nDURATION:PT1H\nRDATE:20260503T100000Z,20260502T100000Z"), []string{
			"Fri 2026-05-01 10:00 +0000 to Fri 2026-05-01 11:00 +0000",
			"Sat 2026-05-02 10:00 +0000 to Sat 2026-05-02 11:00 +0000",
			"Sun 2026-05-03 10:00 +0000 to Sun 2026-05-03 11:00 +0000"}},
		"the first occurrence need not fit the rule": {ics("DTSTART:20260501T100000Z\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;BYDAY=MO;UNTIL=20260511T100000Z"), []string{
			"Fri 2026-05-01 10:00 +0000 to Fri 2026-05-01 11:00 +0000",
			"Mon 2026-05-04 10:00 +0000 to Mon 2026-05-04 11:00 +0000",
			"Mon 2026-05-11 10:00 +0000 to Mon 2026-05-11 11:00 +0000"}},
		"whole days, in the pet's zone": {ics("DTSTART;VALUE=DATE:20260501\nDTEND;VALUE=DATE:20260503", "DTSTART;VALUE=DATE:20260510"), []string{
			"Fri 2026-05-01 00:00 +0900 to Sun 2026-05-03 00:00 +0900",
			"Sun 2026-05-10 00:00 +0900 to Mon 2026-05-11 00:00 +0900"}},
		"no zone: the pet's": {ics("DTSTART:20260501T100000\nDTEND:20260501T110000\nEXDATE:20260501T100000\nRDATE:20260502T100000"), []string{
			"Sat 2026-05-02 10:00 +0900 to Sat 2026-05-02 11:00 +0900"}},
		"what does not block time": {ics("DTSTART:20260501T100000\nDURATION:PT1H\nTRANSP:TRANSPARENT", "DTSTART:20260502T100000Z\nDURATION:P1D"), []string{
			"Sat 2026-05-02 10:00 +0000 to Sun 2026-05-03 10:00 +0000"}},
		"a revision takes the place of what it revises": {ics("UID:w1\nSEQUENCE:0\nDTSTART:20260310T100000Z\nDTEND:20260310T110000Z",
			"UID:w1\nSEQUENCE:1\nDTSTART:20260310T140000Z\nDTEND:20260310T150000Z"), []string{
			"Tue 2026-03-10 14:00 +0000 to Tue 2026-03-10 15:00 +0000"}},
		"a revision that comes first, with more digits": {ics("UID:w1\nSEQUENCE:10\nDTSTART:20260310T140000Z\nDTEND:20260310T150000Z",
			"UID:w1\nSEQUENCE:9\nDTSTART:20260310T100000Z\nDTEND:20260310T110000Z"), []string{
			"Tue 2026-03-10 14:00 +0000 to Tue 2026-03-10 15:00 +0000"}},
		"a revision of the same number is the later one": {ics("UID:w1\nDTSTAMP:20260302T000000Z\nDTSTART:20260310T140000Z\nDURATION:PT1H",
			"UID:w1\nDTSTAMP:20260301T000000Z\nDTSTART:20260310T100000Z\nDURATION:PT1H"), []string{
			"Tue 2026-03-10 14:00 +0000 to Tue 2026-03-10 15:00 +0000"}},
		"a revision that cancels": {ics("UID:w1\nDTSTART:20260310T100000Z\nDTEND:20260310T110000Z",
			"UID:w1\nSEQUENCE:1\nDTSTART:20260310T100000Z\nSTATUS:CANCELLED"), []string{}},
		"a revision of one occurrence": {ics(weekly, "UID:a\nRECURRENCE-ID;TZID=Europe/Berlin:20260508T210000\nSEQUENCE:1\nDTSTART:20260509T100000Z\nDURATION:PT1H",
			"UID:a\nRECURRENCE-ID:20260508T190000Z\nSEQUENCE:2\nDTSTART:20260509T120000Z\nDURATION:PT1H"), []string{
			"Fri 2026-05-01 21:00 +0200 to Sat 2026-05-02 05:00 +0200",
			"Sat 2026-05-09 12:00 +0000 to Sat 2026-05-09 13:00 +0000",
			"Fri 2026-05-15 21:00 +0200 to Sat 2026-05-16 05:00 +0200",
			"Fri 2026-05-22 21:00 +0200 to Sat 2026-05-23 05:00 +0200"}},
		"a series that is cancelled with its single occurrences": {ics("UID:a\nSEQUENCE:2\nDTSTART:20260508T190000Z\nSTATUS:CANCELLED",
			"UID:a\nSEQUENCE:1\nRECURRENCE-ID:20260508T190000Z\nDTSTART:20260509T120000Z\nDURATION:PT1H"), []string{}},
		"a later series without an occurrence that was replaced": {ics("UID:a\nSEQUENCE:1\nRECURRENCE-ID:20260508T100000Z\nDTSTART:20260509T120000Z",
			"UID:a\nSEQUENCE:1\nRECURRENCE-ID:20260522T100000Z\nDTSTART:20260523T120000Z\nDURATION:PT1H",
			"UID:a\nSEQUENCE:2\nDTSTART:20260501T100000Z\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;COUNT=3\nEXDATE:20260508T100000Z"), []string{
			"Fri 2026-05-01 10:00 +0000 to Fri 2026-05-01 11:00 +0000",
			"Fri 2026-05-15 10:00 +0000 to Fri 2026-05-15 11:00 +0000"}},
		"a later series that still has it, as a date": {ics("UID:a\nSEQUENCE:2\nDTSTART:20260501T100000Z\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;COUNT=2",
			"UID:a\nSEQUENCE:1\nRECURRENCE-ID;VALUE=DATE:20260508\nDTSTART:20260509T120000Z\nDURATION:PT1H"), []string{
			"Fri 2026-05-01 10:00 +0000 to Fri 2026-05-01 11:00 +0000",
			"Sat 2026-05-09 12:00 +0000 to Sat 2026-05-09 13:00 +0000"}},
		"a later series of whole days": {ics("UID:a\nSEQUENCE:2\nDTSTART;VALUE=DATE:20260501\nRRULE:FREQ=DAILY;COUNT=2\nEXDATE;VALUE=DATE:20260502",
			"UID:a\nSEQUENCE:1\nRECURRENCE-ID:20260502T000000Z\nDTSTART;VALUE=DATE:20260510", "UID:a\nRECURRENCE-ID;VALUE=DATE:20260501\nDTSTART;VALUE=DATE:20260520"), []string{
			"Wed 2026-05-20 00:00 +0900 to Thu 2026-05-21 00:00 +0900"}},
		"a series of the same revision that takes out what is replaced, as some programs write it": {ics("UID:a\nSEQUENCE:1\nRECURRENCE-ID:20260508T100000Z\nDTSTART:20260509T120000Z\nDURATION:PT1H",
			"UID:a\nSEQUENCE:1\nDTSTART:20260501T100000Z\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;COUNT=2\nEXDATE:20260508T100000Z"), []string{
			"Fri 2026-05-01 10:00 +0000 to Fri 2026-05-01 11:00 +0000",
			"Sat 2026-05-09 12:00 +0000 to Sat 2026-05-09 13:00 +0000"}},
		"times without a zone go by the clock of DTSTART": {ics("UID:a\nDTSTART;TZID=Europe/Berlin:20260501T210000\nDTEND:20260501T220000\nRRULE:FREQ=DAILY;COUNT=4\nEXDATE:20260502T210000\nRDATE:20260510T210000",
			"UID:a\nRECURRENCE-ID:20260503T210000\nDTSTART:20260503T120000Z\nDTEND:20260503T130000"), []string{
			"Fri 2026-05-01 21:00 +0200 to Fri 2026-05-01 22:00 +0200",
			"Sun 2026-05-03 12:00 +0000 to Sun 2026-05-03 13:00 +0000",
			"Mon 2026-05-04 21:00 +0200 to Mon 2026-05-04 22:00 +0200",
			"Sun 2026-05-10 21:00 +0200 to Sun 2026-05-10 22:00 +0200"}},
		"a length of nothing, or the same, beside DTEND": {ics("DTSTART:20260501T100000Z\nDTEND:20260501T110000Z\nDURATION:PT0S", "DTSTART:20260502T100000Z\nDTEND:20260503T100000Z\nDURATION:P1D",
			"DTSTART;VALUE=DATE:20260510\nDTEND;VALUE=DATE:20260511\nDURATION:PT24H"), []string{
			"Fri 2026-05-01 10:00 +0000 to Fri 2026-05-01 11:00 +0000",
			"Sat 2026-05-02 10:00 +0000 to Sun 2026-05-03 10:00 +0000",
			"Sun 2026-05-10 00:00 +0900 to Mon 2026-05-11 00:00 +0900"}},
		"dates with a Z": {ics("DTSTART;VALUE=DATE:20260510\nDTEND;VALUE=DATE:20260511\nRDATE:20260512Z,20260514Z\nEXDATE:20260514Z"), []string{
			"Sun 2026-05-10 00:00 +0900 to Mon 2026-05-11 00:00 +0900",
			"Tue 2026-05-12 00:00 +0900 to Wed 2026-05-13 00:00 +0900"}},
		"events without a UID are no revisions": {ics("SEQUENCE:1\nDTSTART:20260310T140000Z\nDURATION:PT1H", "DTSTART:20260310T100000Z\nDURATION:PT1H"), []string{
			"Tue 2026-03-10 10:00 +0000 to Tue 2026-03-10 11:00 +0000",
			"Tue 2026-03-10 14:00 +0000 to Tue 2026-03-10 15:00 +0000"}},
		"a replaced occurrence that carries its series' rule": {ics("UID:w2\nDTSTART:20260302T100000Z\nDTEND:20260302T110000Z\nRRULE:FREQ=WEEKLY;UNTIL=20260316T235959Z",
			"UID:w2\nRECURRENCE-ID:20260309T100000Z\nDTSTART:20260310T140000Z\nDTEND:20260310T150000Z\nRRULE:FREQ=WEEKLY;UNTIL=20260330T235959Z"), []string{
			"Mon 2026-03-02 10:00 +0000 to Mon 2026-03-02 11:00 +0000",
			"Tue 2026-03-10 14:00 +0000 to Tue 2026-03-10 15:00 +0000",
			"Mon 2026-03-16 10:00 +0000 to Mon 2026-03-16 11:00 +0000"}},
		"a replaced occurrence with more dates of its series": {ics("UID:w2\nRECURRENCE-ID:20260309T100000Z\nDTSTART:20260310T140000Z\nDTEND:20260310T150000Z\nRDATE:20260401T100000Z\nEXDATE:20260310T140000Z"), []string{
			"Tue 2026-03-10 14:00 +0000 to Tue 2026-03-10 15:00 +0000"}},
		"status and transparency in any case": {ics("DTSTART:20260501T100000Z\nDURATION:PT1H\nSTATUS:Cancelled", "DTSTART:20260501T100000Z\nDURATION:PT1H\nTRANSP:Transparent"), []string{}},
		"what is left out need not be right": {ics("DTSTART:20260501T100000Z\nTRANSP:TRANSPARENT", "DTSTART;TZID=Nowhere:20260501T100000\nSTATUS:CANCELLED\nRRULE:x",
			"UID:a\nDTSTART:20260501T100000Z", "UID:a\nSEQUENCE:1\nDTSTART:20260502T100000Z\nDURATION:PT1H"), []string{
			"Sat 2026-05-02 10:00 +0000 to Sat 2026-05-02 11:00 +0000"}},
		"a rule that ends before DTSTART": {ics("DTSTART:20260501T100000Z\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;UNTIL=20260401T000000Z"), []string{
			"Fri 2026-05-01 10:00 +0000 to Fri 2026-05-01 11:00 +0000"}},
		"DTSTART counts, also where the rule does not have it": {ics("DTSTART:20260501T100000Z\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;BYDAY=MO;COUNT=3"), []string{
			"Fri 2026-05-01 10:00 +0000 to Fri 2026-05-01 11:00 +0000",
			"Mon 2026-05-04 10:00 +0000 to Mon 2026-05-04 11:00 +0000",
			"Mon 2026-05-11 10:00 +0000 to Mon 2026-05-11 11:00 +0000"}},
		"DTSTART is all that a count of one leaves": {ics("DTSTART:20260501T100000Z\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;BYDAY=MO;COUNT=1"), []string{
			"Fri 2026-05-01 10:00 +0000 to Fri 2026-05-01 11:00 +0000"}},
		"an end that is the start: no time": {ics("DTSTART:20260501T100000Z\nDTEND:20260501T100000Z", "DTSTART:20260501T100000Z\nDURATION:PT0S"), []string{}},
		"a day that ends when it begins": {ics("DTSTART;VALUE=DATE:20260501\nDTEND;VALUE=DATE:20260501"), []string{
			"Fri 2026-05-01 00:00 +0900 to Sat 2026-05-02 00:00 +0900"}},
		"an occurrence that is replaced by no time": {ics("UID:a\nDTSTART:20260501T100000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=2", "UID:a\nRECURRENCE-ID:20260502T100000Z\nDTSTART:20260502T100000Z\nDTEND:20260502T100000Z"), []string{
			"Fri 2026-05-01 10:00 +0000 to Fri 2026-05-01 11:00 +0000"}},
		"names that RFC 5545 does not have": {"\ufeff" + ics("X-LOTUS-CHILD_UID:1\nX-WHAT?;a b:c\nDTSTART:20260501T100000Z\nDURATION:PT1H"), []string{
			"Fri 2026-05-01 10:00 +0000 to Fri 2026-05-01 11:00 +0000"}},
		"exceptions that are none": {ics("DTSTART:20260501T100000Z\nDURATION:PT1H\nEXDATE:\nRDATE:"), []string{
			"Fri 2026-05-01 10:00 +0000 to Fri 2026-05-01 11:00 +0000"}},
		"whole days, and an exception that is midnight as written": {ics("DTSTART;VALUE=DATE:20260310\nRRULE:FREQ=DAILY;COUNT=3\nEXDATE:20260311T000000Z"), []string{
			"Tue 2026-03-10 00:00 +0900 to Wed 2026-03-11 00:00 +0900", "Thu 2026-03-12 00:00 +0900 to Fri 2026-03-13 00:00 +0900"}},
		"whole days, and an exception that is midnight by the clock": {ics("DTSTART;VALUE=DATE:20260310\nRRULE:FREQ=DAILY;COUNT=3\nEXDATE:20260310T150000Z"), []string{
			"Tue 2026-03-10 00:00 +0900 to Wed 2026-03-11 00:00 +0900", "Thu 2026-03-12 00:00 +0900 to Fri 2026-03-13 00:00 +0900"}},
		"a Windows zone": {ics("DTSTART;TZID=W. Europe Standard Time:20260501T210000\nDTEND;TZID=\"GMT Standard Time\":20260501T210000"), []string{
			"Fri 2026-05-01 21:00 +0200 to Fri 2026-05-01 22:00 +0200"}},
		"a zone that the calendar describes": {zoned("Mine\\, of work", centralEurope, "DTSTART;TZID=\"Mine, of work\":20260328T210000\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=2"), []string{
			"Sat 2026-03-28 21:00 +0100 to Sat 2026-03-28 22:00 +0100",
			"Sun 2026-03-29 21:00 +0200 to Sun 2026-03-29 22:00 +0200"}},
		"a zone that is an offset": {ics("DTSTART;TZID=UTC+01:20260501T210000\nDTEND;TZID=\"UTC-03:30\":20260501T190000"), []string{
			"Fri 2026-05-01 21:00 +0100 to Fri 2026-05-01 23:30 +0100"}},
		"an offset that the calendar describes": {zoned("UTC+01", centralEurope, "DTSTART;TZID=UTC+01:20260501T210000\nDURATION:PT1H"), []string{
			"Fri 2026-05-01 21:00 +0200 to Fri 2026-05-01 22:00 +0200"}},
		"blanks in a rule": {ics("DTSTART:20260501T100000Z\nDURATION:PT1H\nRRULE:FREQ=WEEKLY; COUNT=2;BYDAY=FR, SA"), []string{
			"Fri 2026-05-01 10:00 +0000 to Fri 2026-05-01 11:00 +0000",
			"Sat 2026-05-02 10:00 +0000 to Sat 2026-05-02 11:00 +0000"}},
		"an IANA zone is not what the calendar describes": {zoned("Asia/Tokyo", centralEurope, "DTSTART;TZID=Asia/Tokyo:20260328T210000\nDURATION:PT1H"), []string{
			"Sat 2026-03-28 21:00 +0900 to Sat 2026-03-28 22:00 +0900"}},
		"components within components": {ics("DTSTART:20260501T100000Z\nDURATION:PT1H\nBEGIN:VEVENT\nDTSTART:x\nEND:VEVENT\nUID:a"), nil},
		"folded lines, alarms, a path before the zone": {ics("DTSTART;TZID=/example.org/20260101/Asia/To\n kyo:20260501T100000\nDURATION:PT1H\nBEGIN:VALARM\nDURATION:PT9H\nDTSTART:x\nEND:VALARM"), []string{
			"Fri 2026-05-01 10:00 +0900 to Fri 2026-05-01 11:00 +0900"}},
	} {
		t.Run(name, func(t *testing.T) {
			tokyo, err := time.LoadLocation("Asia/Tokyo")
			require.NoError(t, err)
			windows, err := calendar.ParseCalendar([]byte(c.text), tokyo)
			if c.want == nil {
				return // it has to be read without a panic
			}
			require.NoError(t, err)
			p := &calendar.Pet{Zone: tokyo, Windows: windows}
			assert.Equal(t, c.want, show(p.Between(day(t, "2026-01-01"), day(t, "2027-01-01"))))
		})
	}
	windows, err := calendar.ParseCalendar([]byte(ics(weekly)), time.UTC)
	require.NoError(t, err)
	assert.Equal(t, "Render, all (2026-05-01 21:00)", windows[0].String())
}

func TestCalendarRefusals(t *testing.T) {
	const start = "DTSTART:20260501T100000Z\n"
	for name, c := range map[string]struct{ text, says string }{
		"nothing":             {"", "line 1: the calendar is empty, wanted BEGIN:VCALENDAR"},
		"a web page":          {"<!DOCTYPE html>\n<p>sign in</p>", "line 1: "},
		"not UTF-8":           {"\xff", "line 1: the calendar is not in UTF-8"},
		"no events":           {ics(), "line 1: the calendar has no events"},
		"cut off":             {"BEGIN:VCALENDAR\nBEGIN:VEVENT\n" + start, "line 3: the calendar ends within VEVENT"},
		"tangled":             {"BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VCALENDAR", `line 3: ends "VCALENDAR", which is not what was begun last`},
		"no start":            {ics("DTEND:20260501T100000Z"), "line 3: the event has no DTSTART"},
		"two starts":          {ics(start + start + "DURATION:PT1H"), "line 5: DTSTART is there twice"},
		"no end":              {ics("UID:a\n" + start + "SUMMARY:x"), "line 3: the event has no end"},
		"both ends":           {ics(start + "DTEND:20260501T110000Z\nDURATION:PT2H"), "line 6: DURATION is another length than DTEND has"},
		"ends before":         {ics(start + "DTEND:20260501T090000Z"), "line 5: the event ends before it has begun"},
		"negative":            {ics(start + "DURATION:-PT1H"), `line 5: DURATION is "-PT1H"`},
		"too long":            {ics(start + "DURATION:P40D"), "line 5: the event is longer than 31 days"},
		"date and time":       {ics(start + "DTEND;VALUE=DATE:20260502"), "line 5: DTEND is a date and DTSTART a time"},
		"no such day":         {ics("DTSTART:20260230T100000Z\nDURATION:PT1H"), `line 4: DTSTART is "20260230T100000Z"`},
		"no such zone":        {ics("DTSTART;TZID=Nowhere Standard Time:20260501T100000\nDURATION:PT1H"), `line 4: DTSTART is in the zone "Nowhere Standard Time", wanted a zone of the IANA database, such as Europe/Berlin, or a VTIMEZONE of that name`},
		"no such offset":      {ics("DTSTART;TZID=UTC+17:20260501T100000\nDURATION:PT1H"), `line 4: DTSTART is in the zone "UTC+17", wanted`},
		"no offset":           {ics("DTSTART;TZID=UTC+1x:20260501T100000\nDURATION:PT1H"), `line 4: DTSTART is in the zone "UTC+1x", wanted`},
		"no zone":             {zoned("Mine", "BEGIN:STANDARD\nDTSTART:16010101T030000\nTZOFFSETFROM:+0200\nTZOFFSETTO:+9900\nEND:STANDARD", "DTSTART;TZID=Mine:20260501T100000\nDURATION:PT1H"), `DTSTART is in the zone "Mine", wanted`},
		"a time in a day":     {ics("UID:a\nDTSTART;VALUE=DATE:20260310\nRRULE:FREQ=DAILY;COUNT=3\nEXDATE:20260311T100000Z"), "line 7: EXDATE is a time within a day and DTSTART a date, wanted a date"},
		"a date in a day":     {ics("UID:a\nDTSTART;VALUE=DATE:20260310\nRDATE:20260311T100000Z"), "line 6: RDATE is a time within a day"},
		"one time in a day":   {ics("UID:a\nDTSTART;VALUE=DATE:20260310\nRRULE:FREQ=DAILY;COUNT=3", "UID:a\nRECURRENCE-ID:20260311T100000Z\nDTSTART;VALUE=DATE:20260320"), "line 10: RECURRENCE-ID is a time within a day"},
		"a line without name": {ics(start + "DURATION:PT1H\n;x=y:z"), `line 6: is ";x=y:z", wanted NAME:value`},
		"a broken parameter":  {ics(start + "DTEND;TZID:20260501T110000Z"), `line 5: is "DTEND;TZID:20260501T110000Z", wanted NAME:value`},
		"year":                {ics("DTSTART:00010101T000000Z\nDURATION:PT1H"), "line 4: DTSTART has the year 1"},
		"rule":                {ics(start + "DURATION:PT1H\nRRULE:FREQ=HOURLY"), "line 6: RRULE \"FREQ=HOURLY\" has FREQ=HOURLY"},
		"old exceptions":      {ics(start + "DURATION:PT1H\nEXRULE:FREQ=DAILY"), "line 6: EXRULE is not supported"},
		"periods":             {ics(start + "DURATION:PT1H\nRDATE;VALUE=PERIOD:20260501T100000Z/PT1H"), `line 6: RDATE is a "PERIOD"`},
		"this and the future": {ics(start + "DURATION:PT1H\nRECURRENCE-ID;RANGE=THISANDFUTURE:20260501T100000Z"), "line 6: RECURRENCE-ID has a RANGE"},
		"no sequence":         {ics(start + "DURATION:PT1H\nSEQUENCE:one"), `line 6: SEQUENCE is "one", wanted a number`},
		"two occurrences":     {ics(start + "DURATION:PT1H\nRECURRENCE-ID:20260501T100000Z\nRECURRENCE-ID:20260501T100000Z"), "line 7: RECURRENCE-ID is there twice"},
		"all at once":         {ics("UID:a", start), "line 3: the event has no DTSTART, wanted one; line 6: the event has no end"},
	} {
		t.Run(name, func(t *testing.T) {
			windows, err := calendar.ParseCalendar([]byte(c.text), time.UTC)
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.says)
			assert.Empty(t, windows)
		})
	}
}

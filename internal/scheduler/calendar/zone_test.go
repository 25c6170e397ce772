package calendar_test

import (
	"archive/zip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/scheduler/calendar"
)

// The names of zones are those of the database that comes with Go.
func TestZoneNames(t *testing.T) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	require.NoError(t, err)
	database, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(root)), "lib", "time", "zoneinfo.zip"))
	require.NoError(t, err)
	defer database.Close()
	var want []string
	for _, f := range database.File {
		if !strings.HasSuffix(f.Name, "/") {
			want = append(want, f.Name)
		}
	}
	slices.Sort(want)
	text, err := os.ReadFile("zonenames.txt")
	require.NoError(t, err)
	assert.Equal(t, want, strings.Fields(string(text)), "write the names of Go's zoneinfo.zip into zonenames.txt, one a line, in order")
	for _, name := range want {
		assert.NotNil(t, calendar.Zone(name), name)
	}
}

// What only one machine has, or what means something else on each, is no zone.
func TestZonesOfOneMachine(t *testing.T) {
	for _, name := range []string{"", "Local", "localtime", "posixrules", "posix/Europe/Berlin", "right/Europe/Berlin", "europe/berlin", "../zoneinfo/UTC", "Europe"} {
		assert.Nil(t, calendar.Zone(name), name)
		_, err := calendar.Parse([]byte("zone: '" + name + "'"))
		assert.ErrorContains(t, err, "wanted a zone of the IANA database", name)
	}
}

// A zone that a calendar describes by the rules of central Europe has the clock of Berlin.
func TestDescribedZone(t *testing.T) {
	windows, err := calendar.ParseCalendar([]byte(zoned("Mine", centralEurope, "DTSTART;TZID=Mine:19970101T000000\nDURATION:PT1H\nRRULE:FREQ=DAILY;BYHOUR=0,1,2,3,4")), time.UTC)
	require.NoError(t, err)
	berlin, err := calendar.ParseCalendar([]byte(ics("DTSTART;TZID=Europe/Berlin:19970101T000000\nDURATION:PT1H\nRRULE:FREQ=DAILY;BYHOUR=0,1,2,3,4")), time.UTC)
	require.NoError(t, err)
	for year := 1997; year < 2100; year += 6 {
		from := time.Date(year, 1, 1, 12, 0, 0, 0, time.UTC)
		got := (&calendar.Pet{Zone: time.UTC, Windows: windows}).Between(from, from.AddDate(1, 0, 0))
		want := (&calendar.Pet{Zone: time.UTC, Windows: berlin}).Between(from, from.AddDate(1, 0, 0))
		require.Equal(t, show(want), show(got))
	}
}

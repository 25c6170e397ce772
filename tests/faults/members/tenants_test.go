//go:build box

package members

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// testTenants drains a pet whose tenants request what no host has.
func (s *stage) testTenants(t *testing.T) {
	defer s.clean(t)
	s.run(t, `lxc launch tiny greedy --profile dcib --target %[1]s -c limits.cpu=65535
lxc launch tiny huge --profile dcib --target %[1]s -c limits.memory=7EiB
lxc launch tiny first --profile dcib --target %[1]s -c boot.autostart=true -c boot.autostart.priority=9223372036854775807
lxc launch tiny plain --profile dcib --target %[1]s`, s.pet)
	before := s.instances(t)
	results := s.drain(t)
	t.Log(results)
	require.Contains(t, fmt.Sprint(results["plan"]), "greedy")
	for name, at := range places(s.instances(t)) {
		require.NotContains(t, at, s.pet, name)
		require.True(t, strings.HasSuffix(at, " Running"), "%s: %s", name, at)
	}
	s.undrain(t)
	require.Equal(t, places(before), places(s.instances(t)))
}

// testHostDisk drains a pet with a stopped instance that has a folder of the host: LXD 5.0 to 6.7 panics
// when it checks whether that one can be moved.
func (s *stage) testHostDisk(t *testing.T) {
	defer s.clean(t)
	s.run(t, `lxc init tiny c1 --profile dcib --target %[1]s
lxc config device add c1 data disk source=/srv path=/srv
lxc launch tiny c2 --profile dcib --target %[1]s`, s.pet)
	before := s.instances(t)
	restarts := func() string { return box.Inside(t, s.pet, "systemctl show -p NRestarts --value lxd") }
	was := restarts()
	t.Log(s.drain(t))
	require.Equal(t, was, restarts(), "LXD was started again")
	s.requireStatus(t, s.pet, "evacuated")
	now := places(s.instances(t))
	require.Equal(t, s.pet+" Stopped", now["c1"])
	require.NotContains(t, now["c2"], s.pet)
	t.Log(s.undrain(t))
	requireUnchanged(t, before, s.instances(t), "after undrain")
	require.Equal(t, places(before), places(s.instances(t)))

	unit := s.unitOn(t, s.pet)
	if _, err := box.TryAction(t, model, unit, "evacuate-member", "member="+s.pet); err != nil {
		require.ErrorContains(t, err, "c1")
		require.Equal(t, places(before), places(s.instances(t)))
	} else {
		box.Action(t, model, unit, "restore-member", "member="+s.pet)
	}
	require.Equal(t, was, restarts(), "LXD was started again")
	require.Equal(t, places(before), places(s.instances(t)), "after evacuate")
}

// configurePet makes the pet one of option pets with that window, or none.
func configurePet(t *testing.T, text string, options ...string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pets.yaml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	box.Juju(t, append([]string{"config", "-m", model, scheduler, "pets=@" + file}, options...)...)
}

// testLate opens a window while an instance still shuts down: the status reports that the pet is late until
// the drain is over.
func (s *stage) testLate(t *testing.T) {
	defer s.clean(t)
	// The drain cannot be over before the window opens: the instance takes longer to end.
	s.run(t, `lxc launch tiny slow --profile dcib --target %s -c environment.ENDS_AFTER=50s -c boot.host_shutdown_timeout=120`, s.pet)
	start := time.Now().Add(25 * time.Second).Truncate(time.Second)
	const layout = "20060102T150405Z"
	// A hold of an earlier run is for another pet.
	pet := fmt.Sprint("big-", start.Unix())
	configurePet(t, fmt.Sprintf(`pets:
- name: %s
  member: %s
  windows:
  - ics: |
      BEGIN:VCALENDAR
      BEGIN:VEVENT
      UID:late
      DTSTART:%s
      DTEND:%s
      END:VEVENT
      END:VCALENDAR
`, pet, s.pet, start.UTC().Format(layout), start.Add(time.Hour).UTC().Format(layout)))
	defer func() {
		configurePet(t, "# none")
		s.undrain(t)
	}()
	said := func() string {
		return box.Status(t, model).Applications[scheduler].Units[scheduler+"/0"].Workload.Message
	}
	time.Sleep(time.Until(start))
	box.Await(t, 15*time.Second, 500*time.Millisecond, "the status to say that the pet is late", func() (bool, string) {
		now := said()
		return strings.Contains(now, pet) && strings.Contains(now, "late"), now
	})
	shown := time.Since(start)
	t.Logf("late %s: %s", shown.Round(time.Second/10), said())
	require.Less(t, shown, 10*time.Second)
	require.Contains(t, fmt.Sprint(box.Action(t, model, scheduler+"/0", "list-pets")["pets"]), "late")
	box.Await(t, 3*time.Minute, 300*time.Millisecond, "the pet to be empty", func() (bool, string) {
		return box.Members(t, s.acting)[s.pet] == "evacuated", ""
	})
	over := time.Now()
	box.Await(t, 30*time.Second, 500*time.Millisecond, "the message to go", func() (bool, string) {
		now := said()
		return !strings.Contains(now, "late"), now
	})
	t.Logf("the message went %s after the pet was empty: %s", time.Since(over).Round(time.Second/10), said())
	require.Less(t, time.Since(over), 15*time.Second)
}

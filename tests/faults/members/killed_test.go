//go:build box

package members

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// moment is when LXD is killed: during that operation, in a drain or in an undrain.
type moment struct {
	name      string
	action    string
	operation string // LXD's own name of it
}

var moments = []moment{
	{"stop", "drain", "Stopping instance"},
	{"move", "drain", "Migrating instance"},
	{"member evacuation", "drain", "Evacuating cluster member"},
	{"member restore", "undrain", "Restoring cluster member"},
	{"move back", "undrain", "Migrating instance"},
}

// noticed is how long a run may take to notice that an operation is lost, and downtime how long LXD takes
// to answer again after it was killed: systemd restarts it, and it joins its database.
const (
	noticed  = 10 * time.Second
	downtime = 20 * time.Second
)

// testKilled kills LXD on each member involved, at each moment.
func (s *stage) testKilled(t *testing.T) {
	// Everything moves to one member, so that the target is known.
	s.run(t, "lxc cluster set %s scheduler.instance=manual", s.acting)
	defer s.run(t, "lxc cluster unset %s scheduler.instance", s.acting)
	s.run(t, `lxc launch tiny ends --profile dcib --target %[1]s -c environment.ENDS_AFTER=5s -c boot.host_shutdown_timeout=20
lxc launch tiny heavy --profile dcib --target %[1]s
head -c 20M /dev/urandom >/root/ballast
lxc file push --quiet /root/ballast heavy/tmp/ballast
lxc init tiny still --profile dcib --target %[1]s
lxc launch tiny stays --profile dcib --target %[1]s -c cluster.evacuate=stop -c environment.ENDS_AFTER=4s -c boot.host_shutdown_timeout=20
lxc storage set local rsync.bwlimit=4MB`, s.pet)
	defer func() {
		s.run(t, "lxc storage unset local rsync.bwlimit")
		if !t.Failed() {
			s.clean(t)
		}
	}()
	before := s.instances(t)
	for _, at := range moments {
		for name, victim := range map[string]string{"pet": s.pet, "target": s.target, "acting": s.acting} {
			t.Run(fmt.Sprintf("during a %s, of the %s", at.name, name), func(t *testing.T) {
				if at.action == "undrain" {
					s.drain(t)
				}
				s.killedAt(t, at, victim, before)
				if at.action == "drain" {
					t.Log(s.undrain(t)["duration"])
				}
				after := s.instances(t)
				require.Equal(t, places(before), places(after))
				requireUnchanged(t, before, after, "after the undrain")
				s.requireStatus(t, s.pet, "online")
			})
			if t.Failed() {
				t.FailNow()
			}
		}
	}
}

// killedAt kills the LXD of a machine as soon as an operation of that name runs, and asserts on the
// action's result.
func (s *stage) killedAt(t *testing.T, at moment, victim string, before map[string]instance) {
	t.Helper()
	// The machine itself waits for the moment: a command from outside is too late for what takes less than
	// a second.
	wait := fmt.Sprintf(`pid=$(systemctl show -p MainPID --value lxd)
for i in $(seq 1200); do
  if curl -s --max-time 2 --unix-socket /var/lib/lxd/unix.socket 'http://lxd/1.0/operations?recursion=1' | tr '{' '\n' | grep -F '"%s"' | grep -q '"Running"'; then
    kill -9 $pid; date +%%s.%%N; exit 0
  fi
  sleep 0.05
done
exit 1`, at.operation)
	type killed struct {
		out string
		err error
	}
	done := make(chan killed, 1)
	go func() {
		out, err := box.TryLXC(2*time.Minute, "exec", victim, "--", "bash", "-c", wait)
		done <- killed{out, err}
	}()
	id := s.begin(t, at.action, "pet="+s.pet)
	k := <-done
	require.NoError(t, k.err, "no %s was seen", at.operation)
	var seconds float64
	_, err := fmt.Sscan(k.out, &seconds)
	require.NoError(t, err, k.out)
	when := time.UnixMilli(int64(seconds * 1000))
	box.Injected(when, "kill -9 LXD of %s during %q", victim, at.operation)
	ended := s.end(t, id, 4*time.Minute)
	took := time.Since(when)
	t.Logf("%s, %s after LXD was killed", ended.Status, took.Round(time.Second/10))
	for _, line := range ended.Log {
		t.Log(line)
	}
	require.Equal(t, "completed", ended.Status, "%s\n%v", ended.Message, ended.Results)
	require.Less(t, took, 90*time.Second)
	if first, ok := firstAfter(t, ended.Log, when); ok {
		t.Logf("the next line of its log came %s after the kill", first.Sub(when).Round(time.Second/10))
		require.Less(t, first.Sub(when), noticed+downtime)
	}
	if at.action == "undrain" {
		return
	}
	s.requireStatus(t, s.pet, "evacuated")
	for name, was := range before {
		is := s.instances(t)[name]
		if name == "default/stays" {
			require.Equal(t, s.pet+" Stopped", is.At+" "+is.Status, name)
			continue
		}
		require.NotEqual(t, s.pet, is.At, name)
		require.Equal(t, was.Status, is.Status, name)
	}
}

// firstAfter returns the time of the first line of an action's log after a moment: "2026-12-01 00:46:40
// +0000 UTC text".
func firstAfter(t *testing.T, log []string, moment time.Time) (time.Time, bool) {
	t.Helper()
	for _, line := range log {
		fields := strings.Fields(line)
		require.Greater(t, len(fields), 3, line)
		at, err := time.Parse("2006-01-02 15:04:05 -0700 MST", strings.Join(fields[:4], " "))
		require.NoError(t, err, line)
		if at.After(moment) {
			return at, true
		}
	}
	return time.Time{}, false
}

// testFailingMove makes LXD fail at the end of a move back, when it has deleted the copy elsewhere: what
// ran keeps running, under the name that LXD left it, and gets its own name again when possible.
func (s *stage) testFailingMove(t *testing.T) {
	s.run(t, `lxc launch tiny web --profile dcib --target %[1]s
lxc launch tiny db --profile dcib --target %[1]s`, s.pet)
	defer func() {
		if !t.Failed() {
			s.clean(t)
		}
	}()
	before := s.instances(t)
	s.drain(t)
	// A volume of the same name on the pet prevents it.
	const folder = "/var/lib/lxd/storage-pools/local/containers/web"
	box.Inside(t, s.pet, "mkdir "+folder+" && touch "+folder+"/in-the-way")
	_, err := box.TryAction(t, model, scheduler+"/0", "undrain", "pet="+s.pet)
	now := places(s.instances(t))
	t.Log(now, err)
	require.ErrorContains(t, err, "web: is on "+s.pet+" as lxd-move-of-")
	require.Len(t, now, 2)
	for name, at := range now {
		require.Equal(t, s.pet+" Running", at, name)
	}
	require.Equal(t, s.pet+" Running", now["db"])
	box.Inside(t, s.pet, "rm -rf "+folder+"/in-the-way; rmdir "+folder+" 2>/dev/null || true")
	s.undrain(t)
	require.Equal(t, places(before), places(s.instances(t)))
}

// testOffline undrains while one host has no LXD: its instances are skipped, and come back running when the
// LXD is there again.
func (s *stage) testOffline(t *testing.T) {
	s.run(t, `for n in 1 2 3 4; do lxc launch tiny g$n --profile dcib --target %s; done`, s.pet)
	defer func() {
		if !t.Failed() {
			s.clean(t)
		}
	}()
	before := s.instances(t)
	s.drain(t)
	away := places(s.instances(t))
	on := func(member string) (names []string) {
		for name, at := range away {
			if strings.HasPrefix(at, member+" ") {
				names = append(names, name)
			}
		}
		return names
	}
	require.NotEmpty(t, on(s.target))
	require.NotEmpty(t, on(s.acting))
	box.Inside(t, s.target, "systemctl stop lxd.socket lxd.service")
	start := func() { box.Inside(t, s.target, "systemctl start lxd.socket && lxd waitready --timeout 60") }
	started := false
	defer func() {
		if !started {
			start()
		}
	}()
	box.Eventually(t, 2*time.Minute, "LXD to see that it is offline", func() (bool, string) {
		members := box.Members(t, s.acting)
		return members[s.target] == "offline", fmt.Sprint(members)
	})
	results, err := box.TryAction(t, model, scheduler+"/0", "undrain", "pet="+s.pet)
	t.Log(results, err)
	now := places(s.instances(t))
	for _, name := range on(s.acting) {
		require.Equal(t, s.pet+" Running", now[name], "%s comes back", name)
	}
	for _, name := range on(s.target) {
		require.True(t, strings.HasPrefix(now[name], s.target+" "), "%s stays: %s", name, now[name])
	}
	start()
	started = true
	box.Eventually(t, 2*time.Minute, "all members to be online", func() (bool, string) {
		members := box.Members(t, s.acting)
		return members[s.target] == "online", fmt.Sprint(members)
	})
	box.Await(t, 3*time.Minute, time.Second, "all to be back", func() (bool, string) {
		_, err := box.TryAction(t, model, scheduler+"/0", "undrain", "pet="+s.pet)
		now = places(s.instances(t))
		for name, was := range places(before) {
			if now[name] != was {
				return false, fmt.Sprint(now, err)
			}
		}
		return true, ""
	})
	s.requireStatus(t, s.pet, "online")
}

package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/relation/lxdhttps"
	"github.com/dcib/dcib/internal/scheduler/store"
	"github.com/dcib/dcib/internal/scheduler/store/dqlite"
	"github.com/dcib/dcib/internal/testkit/crash"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

// machine is a machine's systemd in memory.
type machine struct {
	gate               *crashtest.Gate
	installed, running bool
	permitted          bool
	restarts           int
	left               bool
	silent             bool // the daemon does not answer
	other              string
}

func (m *machine) effect(name string, f func()) error {
	if m.gate != nil {
		defer m.gate.Effect(name)()
	}
	f()
	return nil
}

func (m *machine) Other() (string, error)   { return m.other, nil }
func (m *machine) Installed() (bool, error) { return m.installed, nil }
func (m *machine) Install(context.Context) error {
	return m.effect("install", func() { m.installed = true })
}
func (m *machine) Running(context.Context) (bool, error) { return m.running, nil }
func (m *machine) Permitted() (bool, error)              { return m.permitted, nil }
func (m *machine) Permit(context.Context) error {
	return m.effect("permit", func() { m.permitted = true })
}
func (m *machine) Restart(context.Context) error {
	return m.effect("restart", func() { m.running, m.permitted = true, true; m.restarts++ })
}
func (m *machine) Remove(context.Context) error {
	return m.effect("remove", func() { m.installed, m.running = false, false })
}

// stage is a model with units of the charm.
type stage struct {
	juju     *hooktooltest.Juju
	relation *hooktooltest.Relation
	machines map[string]*machine
	dirs     string
	offer    lxdhttps.Offer
	gate     *crashtest.Gate
}

func newStage(dirs string, units int) *stage {
	s := &stage{juju: hooktooltest.New(), machines: map[string]*machine{}, dirs: dirs}
	for n := range units {
		s.add(n)
	}
	s.relation = s.juju.Relate("pet-scheduler:cluster", "pet-scheduler:cluster")
	return s
}

func unit(n int) string { return fmt.Sprintf("pet-scheduler/%d", n) }

func (s *stage) add(n int) {
	s.juju.AddUnit(unit(n), fmt.Sprintf("10.0.0.%d", n+1))
	s.machines[unit(n)] = &machine{}
	if err := os.MkdirAll(s.dir(unit(n)), 0o700); err != nil {
		panic(err)
	}
}

func (s *stage) dir(unit string) string { return filepath.Join(s.dirs, filepath.Base(unit)) }

func (s *stage) charm() charm.Charm[Facts, Env] {
	return charm.Charm[Facts, Env]{
		Env: func(event hooktool.Event, tools hooktool.Tools) Env {
			m := s.machines[event.Unit]
			m.gate = s.gate
			return Env{Unit: event.Unit, Dir: s.dir(event.Unit), Tools: tools, Systemd: m, Certificates: func(context.Context) ([]string, error) {
				c, ok, err := control.ReadConfig(s.dir(event.Unit))
				if !ok || err != nil || m.silent {
					return nil, errors.New("cannot reach the daemon")
				}
				list := []string{dqlite.Fingerprint(c.Certificate.Certificate)}
				for _, text := range c.Trusted {
					list = append(list, dqlite.Fingerprint(text))
				}
				return list, nil
			}, Leave: func(context.Context) error {
				m.left = true
				return errors.New("cannot leave: no majority")
			}}
		},
		Observe: func(ctx context.Context, _ hooktool.Event, w Env) (Facts, error) { return Observe(ctx, w, s.offer) },
		Plan:    func(f Facts) charm.Plan[Env] { return charm.Plan[Env]{Steps: Plan(f), Status: charm.Active("")} },
	}
}

func (s *stage) hooks(t require.TestingT, rounds int) {
	for range rounds {
		for n := range len(s.machines) {
			if s.juju.Units[unit(n)] == nil {
				continue
			}
			tools, commit := s.juju.Hook(unit(n))
			require.NoError(t, s.charm().Run(context.Background(), hooktool.Event{Hook: "update-status", Unit: unit(n)}, tools))
			commit()
		}
	}
}

func (s *stage) config(t require.TestingT, n int) control.Config {
	c, ok, err := control.ReadConfig(s.dir(unit(n)))
	require.NoError(t, err)
	require.True(t, ok, "%s has no configuration", unit(n))
	return c
}

// bootstrapUnits counts the units that were told to begin a store.
func (s *stage) bootstrapUnits(t require.TestingT) (n int) {
	for u := range s.machines {
		c, ok, err := control.ReadConfig(s.dir(u))
		require.NoError(t, err)
		if ok && c.Founds {
			n++
		}
	}
	return n
}

func TestUnitsComeAndGo(t *testing.T) {
	s := newStage(t.TempDir(), 1)
	s.hooks(t, 3)
	c := s.config(t, 0)
	assert.True(t, c.Founds)
	assert.Equal(t, "10.0.0.1:17666", c.Address)
	assert.Empty(t, c.Join)
	require.NoError(t, c.Certificate.Check())
	assert.True(t, s.machines[unit(0)].running)
	assert.NotContains(t, fmt.Sprint(s.relation.Databags), "PRIVATE")
	info, err := os.Stat(filepath.Join(s.dir(unit(0)), "daemon.json"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	s.add(1)
	s.add(2)
	s.hooks(t, 4)
	for n := 1; n < 3; n++ {
		joiner := s.config(t, n)
		assert.False(t, joiner.Founds)
		assert.Contains(t, joiner.Join, "10.0.0.1:17666")
		assert.Equal(t, c.Certificate, joiner.Certificate)
	}
	assert.Len(t, s.config(t, 0).Join, 2, "the others are known")
	for _, m := range s.machines {
		assert.Equal(t, 1, m.restarts, "what the daemon reads again does not restart it")
	}
	s.offer = lxdhttps.Offer{Certificate: "c", Addresses: []string{"10.0.0.9:8443"}}
	s.hooks(t, 2)
	assert.Equal(t, s.offer, s.config(t, 2).LXD)

	// A refresh brings another program; a daemon that is down is started.
	s.machines[unit(1)].installed = false
	s.machines[unit(2)].running = false
	s.hooks(t, 1)
	assert.Equal(t, 2, s.machines[unit(1)].restarts)
	assert.Equal(t, 2, s.machines[unit(2)].restarts)

	// What the daemon may read is set again without a restart.
	s.machines[unit(1)].permitted = false
	s.hooks(t, 1)
	assert.True(t, s.machines[unit(1)].permitted)
	assert.Equal(t, 2, s.machines[unit(1)].restarts)

	// A configuration that a power loss emptied is written again, as it was.
	for n := range 3 {
		was := s.config(t, n)
		require.NoError(t, os.WriteFile(filepath.Join(s.dir(unit(n)), "daemon.json"), nil, 0o600))
		if n > 0 { // the one who began the store is no other unit's business
			require.NoError(t, os.MkdirAll(control.StoreDir(s.dir(unit(n))), 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(control.StoreDir(s.dir(unit(n))), "info.yaml"), []byte("ID: 77\nAddress: "+was.Address+"\n"), 0o600))
		} else {
			require.NoError(t, os.MkdirAll(control.StoreDir(s.dir(unit(n))), 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(control.StoreDir(s.dir(unit(n))), "info.yaml"), []byte("ID: 1\nAddress: "+was.Address+"\n"), 0o600))
		}
		s.hooks(t, 1)
		assert.Equal(t, was, s.config(t, n))
	}

	// The bootstrap unit goes: it leaves, nothing of its keys stays, and no one founds again.
	s.juju.Units[unit(0)].Dying = true
	s.hooks(t, 2)
	assert.True(t, s.machines[unit(0)].left)
	assert.False(t, s.machines[unit(0)].installed)
	assert.NoDirExists(t, s.dir(unit(0)))
	s.juju.RemoveUnit(unit(0))
	s.juju.Leaders["pet-scheduler"] = unit(1)
	s.add(3)
	s.hooks(t, 4)
	assert.False(t, s.config(t, 3).Founds)
	assert.NotContains(t, s.config(t, 3).Join, "10.0.0.1:17666")
	assert.Zero(t, s.bootstrapUnits(t), "the one that did is gone")
	assert.Equal(t, []string{"10.0.0.3:17666", "10.0.0.4:17666"}, s.config(t, 1).Join)

	// All go; the next one begins again.
	for n := 1; n < 4; n++ {
		s.juju.RemoveUnit(unit(n))
	}
	s.add(4)
	s.juju.Leaders["pet-scheduler"] = unit(4)
	s.hooks(t, 4)
	assert.True(t, s.config(t, 4).Founds)
}

// Every hook is killed at every point: there is one bootstrap unit, one certificate, and every
// daemon runs.
func TestHooksSurviveCrashes(t *testing.T) {
	crashtest.Check(t, func(run *crashtest.Run) any {
		s := newStage(t.TempDir(), 2)
		s.gate = run.Gate
		run.Always = func() {
			require.NotContains(run, fmt.Sprint(s.relation.Databags), "PRIVATE")
			require.LessOrEqual(run, s.bootstrapUnits(run), 1)
		}
		for range 4 {
			for n := range 2 {
				require.NoError(run, crashtest.Hook(run, s.juju, s.charm(), hooktool.Event{Hook: "update-status", Unit: unit(n)}))
			}
		}
		a, b := s.config(run, 0), s.config(run, 1)
		return map[string]any{
			"bootstrap units": s.bootstrapUnits(run),
			"one certificate": a.Certificate == b.Certificate,
			"secrets":         len(s.juju.Secrets),
			"a":               fmt.Sprint(a.Founds, a.Join, s.machines[unit(0)].running),
			"b":               fmt.Sprint(b.Founds, b.Join, s.machines[unit(1)].running),
		}
	}, crashtest.Late, crashtest.Lost)
}

// A rotation changes all units over without a moment in which two of them do not trust each other,
// waits for one that is down, and ends with the old certificate trusted by none.
func TestRotate(t *testing.T) {
	s := newStage(t.TempDir(), 3)
	s.hooks(t, 5)
	old := s.config(t, 0).Certificate
	agree := func() {
		for a := range 3 {
			for b := range 3 {
				shown, by := s.config(t, a).Certificate, s.config(t, b)
				require.Contains(t, append(by.Trusted, by.Certificate.Certificate), shown.Certificate, "%d does not trust %d", b, a)
			}
		}
	}
	hooks := func(rounds int) {
		for range rounds {
			for n := range 3 {
				tools, commit := s.juju.Hook(unit(n))
				require.NoError(t, s.charm().Run(t.Context(), hooktool.Event{Hook: "update-status", Unit: unit(n)}, tools))
				commit()
				agree()
			}
		}
	}
	rotate := func(n int) (map[string]string, error) {
		tools, commit := s.juju.Hook(unit(n))
		w := s.charm().Env(hooktool.Event{Action: RotateAction, Unit: unit(n)}, tools)
		f, err := s.charm().Observe(t.Context(), hooktool.Event{Action: RotateAction, Unit: unit(n)}, w)
		require.NoError(t, err)
		results, err := Rotate(t.Context(), f, w, charm.Call{})
		commit()
		return results, err
	}
	_, err := rotate(1)
	require.ErrorContains(t, err, "not the leader")
	hooks(2)
	require.Empty(t, s.relation.Databags[unit(0)][keyCertificates], "nothing is asked while nothing is rotated")

	s.machines[unit(2)].silent = true
	results, err := rotate(0)
	require.NoError(t, err)
	require.Equal(t, dqlite.Fingerprint(old.Certificate), results["old"])
	require.NotContains(t, fmt.Sprint(results), "PRIVATE")
	hooks(6)
	_, err = rotate(0)
	require.ErrorContains(t, err, "waits for pet-scheduler/2")
	require.Equal(t, old, s.config(t, 0).Certificate, "a unit may not trust the new one yet")
	s.machines[unit(2)].silent = false
	hooks(12)
	for n := range 3 {
		c := s.config(t, n)
		require.Equal(t, results["new"], dqlite.Fingerprint(c.Certificate.Certificate))
		require.NotEqual(t, old, c.Certificate)
		require.Empty(t, c.Trusted)
		require.Equal(t, 1, s.machines[unit(n)].restarts)
	}
	require.NotContains(t, fmt.Sprint(s.relation.Databags), "PRIVATE")
	for _, content := range s.juju.Secrets {
		require.Len(t, content, 2, "nothing of the old one is left")
	}
	// And once more.
	again, err := rotate(0)
	require.NoError(t, err)
	hooks(12)
	require.Equal(t, again["new"], dqlite.Fingerprint(s.config(t, 2).Certificate.Certificate))
}

func TestInstalled(t *testing.T) {
	dir := t.TempDir()
	h := Host{Unit: unit(0), Program: filepath.Join(dir, "pet-scheduler"), Dispatch: filepath.Join(dir, "dispatch"), Dir: "/state", Lib: filepath.Join(dir, "lib"), UnitDir: dir}
	require.NoError(t, os.WriteFile(h.Program, []byte("one"), 0o755))
	there := func() bool {
		ok, err := h.Installed()
		require.NoError(t, err)
		return ok
	}
	require.False(t, there())
	require.NoError(t, h.copy())
	require.False(t, there(), "the unit file is missing")
	write := func() {
		for name, text := range h.files() {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		}
	}
	write()
	require.True(t, there())
	// A refresh of the charm, also to a program of the same size.
	require.NoError(t, os.WriteFile(h.Program, []byte("two"), 0o755))
	require.NoError(t, os.Chtimes(h.Program, time.Time{}, time.Now().Add(time.Hour)))
	require.False(t, there())
	require.NoError(t, h.copy())
	require.True(t, there())
	text, err := os.ReadFile(h.copied())
	require.NoError(t, err)
	require.Equal(t, "two", string(text))
	// The unit file of another version of the charm.
	for name := range h.files() {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("old"), 0o644))
		require.False(t, there(), name)
		write()
	}
}

// The daemon's user reads what the hooks write, and writes to its own folders alone; a directory
// that an earlier charm made, whose daemon was root, becomes so.
func TestAccount(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "unit")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "store", "deep"), 0o700))
	require.NoError(t, os.Chmod(base, 0o700))
	for name, mode := range map[string]os.FileMode{"daemon.json": 0o600, "client.key": 0o600, "client.crt": 0o644, "session": 0o600, "daemon.sock": 0o600, "store/deep/segment": 0o600} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("x"), mode))
	}
	secret := filepath.Join(base, "secret")
	require.NoError(t, os.WriteFile(secret, []byte("x"), 0o600))
	require.NoError(t, os.Symlink(secret, filepath.Join(dir, "store", "link")))
	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 {
		uid, gid = 12345, 12346
	}
	is := func() bool {
		ok, err := owns(dir, uid, gid)
		require.NoError(t, err)
		return ok
	}
	require.False(t, is())
	for range 2 {
		require.NoError(t, permit(dir, uid, gid))
		require.True(t, is())
	}
	mode := func(path string) os.FileMode {
		info, err := os.Lstat(path)
		require.NoError(t, err)
		return info.Mode().Perm()
	}
	owner := func(path string) (int, int) {
		info, err := os.Lstat(path)
		require.NoError(t, err)
		stat := info.Sys().(*syscall.Stat_t)
		return int(stat.Uid), int(stat.Gid)
	}
	require.Equal(t, os.FileMode(0o701), mode(base), "others come through, and see nothing")
	require.Equal(t, os.FileMode(0o750), mode(dir))
	require.Equal(t, os.FileMode(0o640), mode(filepath.Join(dir, "client.key")))
	require.Equal(t, os.FileMode(0o600), mode(filepath.Join(dir, "session")), "it is the hooks' own")
	require.NoFileExists(t, filepath.Join(dir, "daemon.sock"))
	u, _ := owner(filepath.Join(dir, "store", "deep", "segment"))
	require.Equal(t, uid, u)
	u, _ = owner(filepath.Join(dir, "daemon.json"))
	require.Equal(t, os.Geteuid(), u)
	u, _ = owner(secret)
	require.Equal(t, os.Geteuid(), u, "a link leads nowhere")

	// A hook that writes the configuration again changes nothing of that; one that makes a new
	// file does, and what is missing is seen.
	require.NoError(t, control.Config{Unit: unit(0)}.Write(dir))
	require.True(t, is())
	require.NoError(t, os.Remove(filepath.Join(dir, "daemon.json")))
	require.NoError(t, control.Config{Unit: unit(0)}.Write(dir))
	require.False(t, is())
	require.NoError(t, permit(dir, uid, gid))
	require.NoError(t, os.RemoveAll(control.RunDir(dir)))
	require.False(t, is())
}

// However often alerts change, a hook runs for them no more often than each five seconds, and the
// last one shows what is on.
func TestNotify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(control.RunDir(dir), 0o700))
		shown := filepath.Join(dir, "shown")
		write := func(text string) {
			require.NoError(t, control.WriteAlerts(dir, []store.Alert{{Text: text}}))
		}
		var seen []string
		fails := 0
		hook := func(context.Context) error {
			if fails > 0 {
				fails--
				return errors.New("cannot run juju-exec: no agent")
			}
			list, err := control.ReadAlerts(dir)
			require.NoError(t, err)
			seen = append(seen, list[0].Text)
			return nil
		}
		write("0")
		begin := time.Now()
		go func() {
			for n := 1; n < 20; n++ {
				time.Sleep(time.Second)
				write(fmt.Sprint(n))
			}
		}()
		require.NoError(t, notify(t.Context(), dir, shown, hook))
		require.Equal(t, "19", seen[len(seen)-1])
		require.LessOrEqual(t, len(seen), int(time.Since(begin)/between)+1)
		// The same again is no hook.
		seen = nil
		require.NoError(t, notify(t.Context(), dir, shown, hook))
		require.Empty(t, seen)
		// An agent that is away for a while is waited for; one that is away for good is not.
		write("x")
		fails = 5
		require.NoError(t, notify(t.Context(), dir, shown, hook))
		require.Equal(t, []string{"x"}, seen)
		write("y")
		fails = 1 << 20
		require.ErrorContains(t, notify(t.Context(), dir, shown, hook), "no agent")
	})
}

// The service runs as its own user, without what it does not need; `systemd-analyze security` says
// of the whole what that is worth.
func TestSandbox(t *testing.T) {
	h := Host{Unit: unit(0), Dispatch: "/charm/dispatch", Dir: "/var/lib/dcib/pet-scheduler-0", Lib: "/usr/local/lib/dcib"}
	text := h.files()[Name]
	for _, line := range []string{
		"User=pet-scheduler", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict",
		"ReadWritePaths=/var/lib/dcib/pet-scheduler-0/run /var/lib/dcib/pet-scheduler-0/store",
		"RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX", "SystemCallFilter=@system-service", "MemoryMax=2G", "TasksMax=512",
	} {
		require.Contains(t, text, "\n"+line+"\n")
	}
	require.Contains(t, h.files()[notifyUnit], "\nExecStart=/charm/dispatch notify pet-scheduler/0 /var/lib/dcib/pet-scheduler-0\n")
	require.Contains(t, h.files()[notifyPath], "\nPathChanged=/var/lib/dcib/pet-scheduler-0/run/alerts.json\n")
}

// Two units on one machine would share service, program and port: the second one touches
// nothing, and says so.
func TestOneUnitPerMachine(t *testing.T) {
	dir := t.TempDir()
	host := func(unit string) Host {
		return Host{Program: filepath.Join(dir, "dispatch"), Dir: "/var/lib/dcib/" + unit, Lib: filepath.Join(dir, "lib"),
			UnitDir: dir, Agents: filepath.Join(dir, "agents")}
	}
	other := func(unit string) string {
		name, err := host(unit).Other()
		require.NoError(t, err)
		return name
	}
	require.Empty(t, other("pet-scheduler-1"))
	for _, agent := range []string{"unit-pet-scheduler-0", "unit-pet-scheduler-1"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "agents", agent), 0o755))
	}
	first := host("pet-scheduler-0")
	require.NoError(t, os.WriteFile(filepath.Join(dir, Name), []byte(first.files()[Name]), 0o644))
	require.Empty(t, other("pet-scheduler-0"))
	require.Equal(t, "pet-scheduler/0", other("pet-scheduler-1"))
	require.Equal(t, "pet-scheduler/0", other("big-pets-3"), "also for another application")
	require.NoError(t, os.Remove(filepath.Join(dir, "agents", "unit-pet-scheduler-0")))
	require.Empty(t, other("pet-scheduler-1"), "it was removed by force")

	s := newStage(t.TempDir(), 2)
	s.machines[unit(1)].other = unit(0)
	s.hooks(t, 4)
	assert.True(t, s.machines[unit(0)].running)
	assert.False(t, s.machines[unit(1)].installed)
	assert.Empty(t, s.relation.Databags[unit(1)], "no one is told to join it")
	f := Facts{Unit: unit(1), Other: unit(0)}
	assert.EqualError(t, f.Crowded(), "pet-scheduler/0 is on this machine, and a machine has one unit of pet-scheduler: remove pet-scheduler/1 and add a unit on a machine of its own")
	// It leaves, and leaves the other's daemon alone.
	s.juju.RemoveUnit(unit(1))
	f.Leaving, f.Installed, f.Behind = true, true, true
	assert.Equal(t, []charm.Step[Env]{Forget{}}, Plan(f))
	assert.NoError(t, Facts{}.Crowded())
}

package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/charm/crashtest"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/hooktool/hooktooltest"
	"github.com/dcib/dcib/internal/relation/lxdhttps"
)

// machine is a machine's systemd in memory.
type machine struct {
	gate               *crashtest.Gate
	installed, running bool
	restarts           int
	left               bool
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
func (m *machine) Restart(context.Context) error {
	return m.effect("restart", func() { m.running = true; m.restarts++ })
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

func (s *stage) charm() charm.Charm[Facts, World] {
	return charm.Charm[Facts, World]{
		World: func(event hooktool.Event, tools hooktool.Tools) World {
			m := s.machines[event.Unit]
			m.gate = s.gate
			return World{Unit: event.Unit, Dir: s.dir(event.Unit), Tools: tools, Systemd: m, Leave: func(context.Context) error {
				m.left = true
				return errors.New("cannot leave: no majority")
			}}
		},
		Observe: func(ctx context.Context, _ hooktool.Event, w World) (Facts, error) { return Observe(ctx, w, s.offer) },
		Plan:    func(f Facts) charm.Plan[World] { return charm.Plan[World]{Steps: Plan(f), Status: charm.Active("")} },
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

// founders counts the units that were told to begin a store.
func (s *stage) founders(t require.TestingT) (n int) {
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
		assert.Equal(t, 1, m.restarts, "what the daemon reads anew does not restart it")
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

	// The founder goes: it leaves, and nobody founds again.
	s.juju.Units[unit(0)].Dying = true
	s.hooks(t, 1)
	assert.True(t, s.machines[unit(0)].left)
	assert.False(t, s.machines[unit(0)].installed)
	s.juju.RemoveUnit(unit(0))
	s.juju.Leaders["pet-scheduler"] = unit(1)
	s.add(3)
	s.hooks(t, 4)
	assert.False(t, s.config(t, 3).Founds)
	assert.NotContains(t, s.config(t, 3).Join, "10.0.0.1:17666")
	assert.Equal(t, 1, s.founders(t))
	assert.Equal(t, []string{"10.0.0.3:17666", "10.0.0.4:17666"}, s.config(t, 1).Join)

	// All go; the next one begins anew.
	for n := 1; n < 4; n++ {
		s.juju.RemoveUnit(unit(n))
	}
	s.add(4)
	s.juju.Leaders["pet-scheduler"] = unit(4)
	s.hooks(t, 4)
	assert.True(t, s.config(t, 4).Founds)
}

// Every hook is killed at every point: there is one founder, one certificate, and every
// daemon runs.
func TestHooksSurviveCrashes(t *testing.T) {
	crashtest.Check(t, func(run *crashtest.Run) any {
		s := newStage(t.TempDir(), 2)
		s.gate = run.Gate
		run.Always = func() {
			require.NotContains(run, fmt.Sprint(s.relation.Databags), "PRIVATE")
			require.LessOrEqual(run, s.founders(run), 1)
		}
		for range 4 {
			for n := range 2 {
				require.NoError(run, crashtest.Hook(run, s.juju, s.charm(), hooktool.Event{Hook: "update-status", Unit: unit(n)}))
			}
		}
		a, b := s.config(run, 0), s.config(run, 1)
		return map[string]any{
			"founders":        s.founders(run),
			"one certificate": a.Certificate == b.Certificate,
			"secrets":         len(s.juju.Secrets),
			"a":               fmt.Sprint(a.Founds, a.Join, s.machines[unit(0)].running),
			"b":               fmt.Sprint(b.Founds, b.Join, s.machines[unit(1)].running),
		}
	}, crashtest.Late, crashtest.Lost)
}

func TestInstalled(t *testing.T) {
	dir := t.TempDir()
	h := Host{Program: filepath.Join(dir, "dispatch"), Dir: "/state", Lib: filepath.Join(dir, "lib"), UnitFile: filepath.Join(dir, "unit")}
	require.NoError(t, os.WriteFile(h.Program, []byte("one"), 0o755))
	there := func() bool {
		ok, err := h.Installed()
		require.NoError(t, err)
		return ok
	}
	require.False(t, there())
	require.NoError(t, h.copy())
	require.False(t, there(), "the unit file is missing")
	require.NoError(t, os.WriteFile(h.UnitFile, []byte(h.unitFile()), 0o644))
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
	require.NoError(t, os.WriteFile(h.UnitFile, []byte("old"), 0o644))
	require.False(t, there())
}

// Two units on one machine would share service, program and port: the second one touches
// nothing, and says so.
func TestOneUnitPerMachine(t *testing.T) {
	dir := t.TempDir()
	host := func(unit string) Host {
		return Host{Program: filepath.Join(dir, "dispatch"), Dir: "/var/lib/dcib/" + unit, Lib: filepath.Join(dir, "lib"),
			UnitFile: filepath.Join(dir, "unit"), Agents: filepath.Join(dir, "agents")}
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
	require.NoError(t, os.WriteFile(first.UnitFile, []byte(first.unitFile()), 0o644))
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
	assert.Empty(t, s.relation.Databags[unit(1)], "nobody is told to join it")
	f := Facts{Unit: unit(1), Other: unit(0)}
	assert.EqualError(t, f.Crowded(), "pet-scheduler/0 is on this machine, and a machine has one unit of pet-scheduler: remove pet-scheduler/1 and add a unit on a machine of its own")
	// It leaves, and leaves the other's daemon alone.
	s.juju.RemoveUnit(unit(1))
	f.Leaving, f.Installed = true, true
	assert.Empty(t, Plan(f))
	assert.NoError(t, Facts{}.Crowded())
}

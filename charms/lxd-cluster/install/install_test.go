package install

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/testkit/crash"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

// machine is a machine without LXD, with the few programs that this package runs.
type machine struct {
	t         require.TestingT
	gate      *crashtest.Gate
	root      string
	juju      *hooktooltest.Juju
	candidate string            // of package lxd
	tracking  string            // of the installed snap
	deb       bool              // the package is installed
	purged    bool              // it was, before, and left systemd's unit
	fails     map[string]string // command → what it complains about, once
	ran       []string          // what changed something
}

func newMachine(t *testing.T) *machine {
	m := &machine{t: t, gate: &crashtest.Gate{}, root: t.TempDir(), juju: hooktooltest.New(), fails: map[string]string{}}
	m.juju.Config["lxd-cluster"] = map[string]any{"source": Auto, "channel": ""}
	m.juju.AddUnit("lxd-cluster/0", "10.0.0.1")
	return m
}

func (m *machine) file(path string) {
	path = filepath.Join(m.root, path)
	require.NoError(m.t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(m.t, os.WriteFile(path, nil, 0o600))
}

// Run implements Commands.
func (m *machine) Run(_ context.Context, name string, args ...string) (string, error) {
	line := strings.Join(append([]string{name}, args...), " ")
	switch {
	case line == "snap list lxd" && m.tracking != "":
		return "Name  Version  Rev  Tracking  Publisher  Notes\nlxd 5.21.3 123 " + m.tracking + " canonical✓ in-cohort\n", nil
	case strings.HasPrefix(line, "dpkg-query") && m.deb:
		return "lxd installed 5.0.2-5\n", nil
	case line == "apt-cache policy lxd":
		version := m.candidate
		if version == "" {
			version = "(none)"
		}
		return "lxd:\n  Installed: (none)\n  Candidate: " + version + "\n", nil
	case line == "snap list lxd", strings.HasPrefix(line, "dpkg-query"):
		return "", errors.New("no such thing")
	}
	defer m.gate.Effect(line)()
	m.ran = append(m.ran, line)
	for command, why := range m.fails {
		if strings.Contains(line, command) {
			delete(m.fails, command)
			return "", errors.New("cannot run " + name + ": " + why)
		}
	}
	switch {
	case strings.HasPrefix(line, "snap install lxd --channel="):
		m.tracking = strings.TrimPrefix(args[2], "--channel=")
		m.file(snapSocket)
	case strings.HasSuffix(line, " --no-remove install lxd"):
		m.deb = true
		if !m.purged {
			m.file(aptSocket)
		}
	case line == "systemctl restart lxd.socket":
		m.file(aptSocket)
	}
	return "", nil
}

func (m *machine) charm() charm.Charm[Facts, Env] {
	return charm.Charm[Facts, Env]{
		Env: func(_ hooktool.Event, tools hooktool.Tools) Env {
			return Env{Tools: tools, Commands: m, Root: m.root}
		},
		Observe: func(ctx context.Context, _ hooktool.Event, w Env) (Facts, error) { return Observe(ctx, w) },
		Plan: func(f Facts) charm.Plan[Env] {
			p := Plan(f)
			if p.Status.Level == "" {
				p.Status = charm.Active("")
			}
			return p
		},
	}
}

var event = hooktool.Event{Hook: "update-status", Unit: "lxd-cluster/0"}

func (m *machine) hook() (status, message string) {
	require.NoError(m.t, crashtest.Try(m.gate, m.juju, m.charm(), event))
	unit := m.juju.Units["lxd-cluster/0"]
	return unit.Status, unit.Message
}

func TestOptions(t *testing.T) {
	for _, good := range []Config{{Auto, ""}, {Apt, ""}, {Snap, ""}, {Snap, "5.21/stable"}, {Auto, "6/edge/fix-1"}, {Snap, "latest/candidate"}} {
		_, problems := ParseConfig(map[string]any{"source": good.Source, "channel": " " + good.Channel})
		require.Empty(t, problems, "%v", good)
	}
	for _, bad := range []struct {
		Config
		says string
	}{
		{Config{"", ""}, "option source is"}, {Config{"deb", ""}, "wanted auto, snap or apt"},
		{Config{Snap, "stable"}, "option channel is"}, {Config{Snap, "5.21/"}, "like 5.21/stable"},
		{Config{Snap, "5.21/stable --classic"}, "option channel is"}, {Config{Apt, "5.21/stable"}, "option source is apt"},
	} {
		_, problems := ParseConfig(map[string]any{"source": bad.Source, "channel": bad.Channel})
		require.Len(t, problems, 1, "%v", bad)
		require.Contains(t, problems[0], bad.says)
	}
	_, problems := ParseConfig(map[string]any{"source": "x", "channel": "y"})
	require.Len(t, problems, 2, "all are named")
}

func TestWhatIsThereIsKept(t *testing.T) {
	for name, c := range map[string]struct {
		socket, source, channel, tracking, says string
	}{
		"snap, auto":               {snapSocket, Auto, "", "5.21/stable", ""},
		"snap, as asked":           {snapSocket, Snap, "5.21/stable", "5.21/stable", ""},
		"snap, Ubuntu's own":       {snapSocket, Auto, "5.21/stable", "5.21/stable/…", ""},
		"snap, apt asked":          {snapSocket, Apt, "", "5.21/stable", "has an LXD from snap, which is kept: set source=snap"},
		"snap, of another channel": {snapSocket, Snap, "6/stable", "5.21/stable", "follows 5.21/stable"},
		"apt, auto":                {aptSocket, Auto, "", "", ""},
		"apt, as asked":            {aptSocket, Apt, "", "", ""},
		"apt, snap asked":          {aptSocket, Snap, "", "", "has an LXD from apt, which is kept: set source=apt"},
		"apt, a channel asked":     {aptSocket, Auto, "6/stable", "", "clear the option"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.file(snapdPath)
			m.file(c.socket)
			m.tracking, m.candidate = c.tracking, "5.0.2"
			m.juju.Config["lxd-cluster"] = map[string]any{"source": c.source, "channel": c.channel}
			status, message := m.hook()
			require.Empty(t, m.ran)
			if c.says == "" {
				require.Equal(t, "active", status, message)
				return
			}
			require.Equal(t, "blocked", status)
			require.Contains(t, message, c.says)
			m.juju.Config["lxd-cluster"] = map[string]any{"source": Auto, "channel": ""}
			status, _ = m.hook()
			require.Equal(t, "active", status, "it heals")
		})
	}
}

func TestAMachineWithoutLXDGetsOne(t *testing.T) {
	const apt = "apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold "
	snap := func(channel string) []string {
		return []string{"snap wait system seed.loaded", "snap install lxd --channel=" + channel + " --cohort=+", "/snap/bin/lxd waitready --timeout=120"}
	}
	fromApt := []string{apt + "--error-on=any update", apt + "--simulate install lxd", apt + "--no-remove install lxd", "lxd waitready --timeout=120"}
	for name, c := range map[string]struct {
		snapd           bool
		source, channel string
		ran             []string
	}{
		"auto, with snapd":    {true, Auto, "", snap("5.21/stable")},
		"auto, without snapd": {false, Auto, "", fromApt},
		"snap":                {true, Snap, "6/candidate", snap("6/candidate")},
		"apt beside snapd":    {true, Apt, "", fromApt},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			if c.snapd {
				m.file(snapdPath)
			}
			m.candidate = "5.0.2-5"
			m.juju.Config["lxd-cluster"] = map[string]any{"source": c.source, "channel": c.channel}
			status, message := m.hook()
			require.Equal(t, "active", status, message)
			require.Equal(t, []string{"maintenance installing LXD", "active "}, m.juju.Units["lxd-cluster/0"].Said)
			require.Equal(t, c.ran, m.ran)
			m.hook()
			require.Equal(t, c.ran, m.ran, "and then there is nothing to do")
		})
	}
}

func TestWhatCannotBeInstalledIsSaid(t *testing.T) {
	t.Run("no package of that name", func(t *testing.T) {
		m := newMachine(t)
		m.juju.Config["lxd-cluster"]["source"] = Apt
		status, message := m.hook()
		require.Equal(t, "blocked", status)
		require.Contains(t, message, "apt knows no package lxd on this machine")
		m.candidate = "5.0.2-5"
		status, _ = m.hook()
		require.Equal(t, "active", status)
	})
	t.Run("no snapd", func(t *testing.T) {
		m := newMachine(t)
		m.juju.Config["lxd-cluster"]["source"] = Snap
		status, message := m.hook()
		require.Equal(t, "blocked", status)
		require.Contains(t, message, "this machine has no snapd")
		require.Empty(t, m.ran)
	})
	t.Run("one that is stopped", func(t *testing.T) {
		m := newMachine(t)
		m.deb = true
		status, message := m.hook()
		require.Equal(t, "blocked", status)
		require.Contains(t, message, "systemctl restart lxd.socket")
		require.Empty(t, m.ran)
	})
	t.Run("a failure that passes", func(t *testing.T) {
		for command, snapd := range map[string]bool{" install lxd": false, "snap install": true, "waitready": false} {
			m := newMachine(t)
			m.candidate = "5.0.2-5"
			if snapd {
				m.file(snapdPath)
			}
			m.fails[command] = "the mirror is away"
			status, message := m.hook()
			require.Equal(t, "waiting", status)
			require.Contains(t, message, "the mirror is away")
			status, _ = m.hook()
			require.Equal(t, "active", status)
		}
	})
	t.Run("an archive that cannot be reached", func(t *testing.T) {
		m := newMachine(t)
		m.fails[" update"] = "the mirror is away"
		status, message := m.hook()
		require.Equal(t, "waiting", status)
		require.Contains(t, message, "the mirror is away")
		m.candidate = "5.0.2-5"
		status, _ = m.hook()
		require.Equal(t, "active", status)
	})
	t.Run("what a purged package left", func(t *testing.T) {
		m := newMachine(t)
		m.candidate, m.purged = "5.0.2-5", true
		status, message := m.hook()
		require.Equal(t, "active", status, message)
		require.Contains(t, m.ran, "systemctl restart lxd.socket")
	})
	t.Run("dpkg was interrupted", func(t *testing.T) {
		m := newMachine(t)
		m.candidate = "5.0.2-5"
		m.fails[" install lxd"] = "dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem."
		status, message := m.hook()
		require.Equal(t, "active", status, message)
		require.Contains(t, m.ran, "dpkg --force-confold --configure -a")
	})
}

func TestInstallingSurvivesCrashes(t *testing.T) {
	for _, snapd := range []bool{false, true} {
		crashtest.Check(t, func(run *crashtest.Run) any {
			m := newMachine(t)
			m.t, m.gate, m.candidate = run, run.Gate, "5.0.2-5"
			if snapd {
				m.file(snapdPath)
			}
			for range 3 {
				_ = crashtest.Hook(run, m.juju, m.charm(), event)
			}
			return []any{m.juju.Units["lxd-cluster/0"].Status, m.tracking, m.deb}
		}, crashtest.Late, crashtest.Lost)
	}
}

func FuzzTracking(f *testing.F) {
	f.Add("Name  Version  Rev  Tracking  Publisher  Notes\nlxd 5.21.3 123 5.21/stable canonical -\n")
	f.Fuzz(func(t *testing.T, out string) {
		got := tracking(t.Context(), printing(out))
		require.Contains(t, out, got)
		require.NotContains(t, got, " ")
	})
}

// printing is a program that prints that.
type printing string

func (p printing) Run(context.Context, string, ...string) (string, error) { return string(p), nil }

// Juju takes a machine's LXD snap to the model's lxd-snap-channel before it places a container there.
func TestTheModelsChannelIsNamed(t *testing.T) {
	for _, c := range []struct{ source, channel, version, want string }{
		{Snap, "", "5.21.3", "juju model-config lxd-snap-channel=5.21/stable"},
		{Snap, "6/candidate", "6.5", "juju model-config lxd-snap-channel=6/candidate"},
		{Snap, "", "5.0.4", ""}, // Juju's own default
		{Apt, "", "5.0.2", ""},
		{Snap, "", "", ""},
	} {
		note := Facts{Source: c.source, Config: Config{Channel: c.channel}}.ModelNote(c.version)
		if c.want == "" {
			require.Empty(t, note)
		} else {
			require.Contains(t, note, c.want)
		}
	}
}

func TestASnapThatWasTakenDownIsNamed(t *testing.T) {
	m := newMachine(t)
	require.Empty(t, Downgraded(t.Context(), m, "5.21.3"), "there is no snap")
	m.tracking = "5.0/stable"
	require.Empty(t, Downgraded(t.Context(), m, "5.21.3"))
	require.Empty(t, Downgraded(t.Context(), m, "5.21.1"))
	says := Downgraded(t.Context(), m, "6.5")
	require.Equal(t, "this machine ran LXD 6.5, its snap is now 5.21.3 from 5.0/stable: juju model-config lxd-snap-channel=6/stable, then snap refresh lxd --channel=6/stable --cohort=+", says)
	p := Plan(Facts{Config: Config{Source: Auto}, Stopped: Snap, Downgraded: says})
	require.Equal(t, charm.LevelBlocked, p.Status.Level)
	require.Contains(t, p.Status.Message, "lxd-snap-channel=6/stable")
	require.Empty(t, p.Steps)
}

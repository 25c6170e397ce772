package wake

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/charm/crashtest"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/hooktool/hooktooltest"
)

// machine is one with systemd, which listens as it is told.
type machine struct {
	dir, proc string
	ordered   []string
	broken    error
}

func (m *machine) Run(_ context.Context, name string, args ...string) (string, error) {
	order := strings.Join(append([]string{name}, args...), " ")
	m.ordered = append(m.ordered, order)
	if m.broken != nil {
		return "", m.broken
	}
	switch order {
	case "systemctl restart lxd-cluster-wake.socket":
		m.sockets(fmt.Sprintf("  310: 0100007F:%04X 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0 0\n", Port))
	case "systemctl disable --now lxd-cluster-wake.socket":
		m.sockets("")
	}
	return "", nil
}

func (m *machine) sockets(lines string) {
	text := "  sl  local_address rem_address   st\n   77: 0100007F:0035 00000000:0000 07\n" + lines
	if err := os.WriteFile(filepath.Join(m.proc, "net/udp"), []byte(text), 0o600); err != nil {
		panic(err)
	}
}

// hook runs one, and gives where the unit is to be called after it.
func (m *machine) hook(t *testing.T, juju *hooktooltest.Juju, site Site) string {
	t.Helper()
	m.ordered = nil
	address := ""
	c := charm.Charm[Facts, World]{
		World: func(event hooktool.Event, tools hooktool.Tools) World {
			return World{Unit: event.Unit, Program: "/charm/dispatch", Dir: m.dir, Proc: m.proc, Tools: tools, Commands: m}
		},
		Observe: func(_ context.Context, _ hooktool.Event, w World) (Facts, error) {
			f, err := Observe(w, site)
			address = f.Address()
			return f, err
		},
		Plan: func(f Facts) charm.Plan[World] { return charm.Plan[World]{Steps: Plan(f)} },
	}
	require.NoError(t, crashtest.Try(nil, juju, c, hooktool.Event{Hook: "update-status", Unit: "lxd-cluster/0"}))
	return address
}

func newMachine(t *testing.T) *machine {
	m := &machine{dir: t.TempDir(), proc: t.TempDir()}
	require.NoError(t, os.Mkdir(filepath.Join(m.proc, "net"), 0o755))
	m.sockets("")
	return m
}

// A unit listens while it is asked to, where it is asked to; whoever stops it, it listens again;
// and when nobody wants it any more nothing of it is left.
func TestListens(t *testing.T) {
	m, juju := newMachine(t), hooktooltest.New()
	juju.AddUnit("lxd-cluster/0", "10.0.0.1")
	nobody, wanted := Site{LXD: "10.0.0.1:8443"}, Site{Wanted: true, LXD: "10.0.0.1:8443"}
	require.Empty(t, m.hook(t, juju, nobody))
	require.Empty(t, m.ordered)

	require.Equal(t, "10.0.0.1:17668", m.hook(t, juju, wanted))
	require.Equal(t, []string{
		"systemctl daemon-reload", "systemctl enable lxd-cluster-wake.socket",
		"systemctl stop lxd-cluster-wake.service", "systemctl restart lxd-cluster-wake.socket",
	}, m.ordered)
	text, err := os.ReadFile(filepath.Join(m.dir, serviceUnit))
	require.NoError(t, err)
	require.Contains(t, string(text), "ExecStart=/charm/dispatch wake lxd-cluster/0\n")
	require.Equal(t, "10.0.0.1:17668", m.hook(t, juju, wanted))
	require.Empty(t, m.ordered, "it listens already")

	m.sockets("") // killed in between, or an operator has stopped it
	require.Equal(t, "10.0.0.1:17668", m.hook(t, juju, wanted))
	require.NotEmpty(t, m.ordered)
	require.Equal(t, "[fd00::7]:17668", m.hook(t, juju, Site{Wanted: true, LXD: "[fd00::7]:8443"}), "LXD has another address")

	require.Empty(t, m.hook(t, juju, nobody))
	left, err := os.ReadDir(m.dir)
	require.NoError(t, err)
	require.Empty(t, left)
	require.Empty(t, m.hook(t, juju, Site{Wanted: true}), "LXD has no address yet")
	require.Empty(t, m.ordered)
}

// A machine on which it cannot listen is no worse off than before, and says why.
func TestCannotListen(t *testing.T) {
	m, juju := newMachine(t), hooktooltest.New()
	unit := juju.AddUnit("lxd-cluster/0", "10.0.0.1")
	m.broken = errors.New("cannot run systemctl: no such thing")
	require.Empty(t, m.hook(t, juju, Site{Wanted: true, LXD: "10.0.0.1:8443"}))
	require.Contains(t, strings.Join(unit.Log, "\n"), "cannot listen for those who ask for profiles on 10.0.0.1:17668")
}

// line is where calls are taken, and how to make some.
func line(t *testing.T) (conn net.PacketConn, call func(times int)) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	caller, err := net.Dial("udp", conn.LocalAddr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = caller.Close() })
	return conn, func(times int) {
		for range times {
			_, err := caller.Write([]byte{0})
			require.NoError(t, err)
		}
	}
}

// A call has the unit look several times; those that come meanwhile are one more; and when
// none come the program ends. However many come, it looks no more often.
func TestServe(t *testing.T) {
	conn, call := line(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	call(20)
	var at []time.Time
	begin := time.Now()
	require.NoError(t, serve(ctx, conn, func(context.Context) (bool, error) {
		at = append(at, time.Now())
		if len(at) == 2 {
			call(20)
		}
		if len(at) == 2*len(looks) {
			cancel()
		}
		return false, errors.New("one that fails does not end it")
	}))
	require.Len(t, at, 2*len(looks))
	for n, after := range looks {
		require.GreaterOrEqual(t, at[n].Sub(begin), after)
	}
	require.GreaterOrEqual(t, at[len(looks)].Sub(begin), looks[len(looks)-1]+looks[0], "the second time after the first is over")
}

// Once there was something to do it looks no more, until somebody calls again.
func TestServeNoLongerThanNeeded(t *testing.T) {
	conn, call := line(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	call(1)
	var found []int
	begin := time.Now()
	require.NoError(t, serve(ctx, conn, func(context.Context) (bool, error) {
		found = append(found, len(found))
		switch len(found) {
		case 2: // the wish is there now
			call(1)
			return true, nil
		case 3:
			require.Less(t, time.Since(begin), looks[1]+looks[2], "the call after that is not late for it")
			cancel()
		}
		return false, nil
	}))
	require.Len(t, found, 3)
}

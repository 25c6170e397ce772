package notify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/testkit/crash"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

// machine is one with systemd, which listens as it is told.
type machine struct {
	dir, proc, state string
	ordered          []string
	broken           error
}

func (m *machine) Run(_ context.Context, name string, args ...string) (string, error) {
	order := strings.Join(append([]string{name}, args...), " ")
	m.ordered = append(m.ordered, order)
	if m.broken != nil {
		return "", m.broken
	}
	switch order {
	case "systemctl restart lxd-cluster-notify.socket":
		m.sockets(fmt.Sprintf("  310: 0100007F:%04X 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0 0\n", Port))
	case "systemctl disable --now lxd-cluster-notify.socket":
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

// hook runs one, and returns the unit's address for notifications after it.
func (m *machine) hook(t *testing.T, juju *hooktooltest.Juju, site ClusterInfo) string {
	t.Helper()
	m.ordered = nil
	address := ""
	c := charm.Charm[Facts, Env]{
		Env: func(event hooktool.Event, tools hooktool.Tools) Env {
			return Env{Unit: event.Unit, Program: "/charm/dispatch", Dir: m.dir, Proc: m.proc, StateDir: m.state, Tools: tools, Commands: m}
		},
		Observe: func(_ context.Context, _ hooktool.Event, w Env) (Facts, error) {
			f, err := Observe(w, site)
			address = f.Address()
			return f, err
		},
		Plan: Plan,
	}
	require.NoError(t, crashtest.Try(nil, juju, c, hooktool.Event{Hook: "update-status", Unit: "lxd-cluster/0"}))
	return address
}

func newMachine(t *testing.T) *machine {
	m := &machine{dir: t.TempDir(), proc: t.TempDir(), state: filepath.Join(t.TempDir(), "lxd-cluster-0")}
	require.NoError(t, os.Mkdir(filepath.Join(m.proc, "net"), 0o755))
	m.sockets("")
	return m
}

// A unit listens while it has requesters, at the right address. If it is stopped it listens again,
// and without requesters nothing is left.
func TestListens(t *testing.T) {
	m, juju := newMachine(t), hooktooltest.New()
	juju.AddUnit("lxd-cluster/0", "10.0.0.1")
	unwanted, wanted := ClusterInfo{LXD: "10.0.0.1:8443"}, ClusterInfo{Wanted: true, LXD: "10.0.0.1:8443"}
	require.Empty(t, m.hook(t, juju, unwanted))
	require.Empty(t, m.ordered)

	at := m.hook(t, juju, wanted)
	require.Regexp(t, `^10\.0\.0\.1:17668 [A-Z2-7]{26}$`, at)
	info, err := os.Stat(filepath.Join(m.state, "notify-token"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.Equal(t, []string{
		"systemctl daemon-reload", "systemctl enable lxd-cluster-notify.socket",
		"systemctl stop lxd-cluster-notify.service", "systemctl restart lxd-cluster-notify.socket",
	}, m.ordered)
	text, err := os.ReadFile(filepath.Join(m.dir, serviceUnit))
	require.NoError(t, err)
	require.Contains(t, string(text), "ExecStart=/charm/dispatch notify lxd-cluster/0 "+m.state+"/notify-token\n")
	require.Equal(t, at, m.hook(t, juju, wanted))
	require.Empty(t, m.ordered, "it listens already")

	m.sockets("") // killed in between, or an operator has stopped it
	require.Equal(t, at, m.hook(t, juju, wanted))
	require.NotEmpty(t, m.ordered)
	_, token, _ := strings.Cut(at, " ")
	require.Equal(t, "[fd00::7]:17668 "+token, m.hook(t, juju, ClusterInfo{Wanted: true, LXD: "[fd00::7]:8443"}), "LXD has another address")
	require.NoError(t, os.WriteFile(filepath.Join(m.state, "notify-token"), nil, 0o600)) // as a power loss leaves it
	require.NotContains(t, m.hook(t, juju, wanted), token)

	require.Empty(t, m.hook(t, juju, unwanted))
	for _, dir := range []string{m.dir, m.state} {
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)
	}
	require.Empty(t, m.hook(t, juju, ClusterInfo{Wanted: true}), "LXD has no address yet")
	require.Empty(t, m.ordered)
}

// A machine on which it cannot listen is no worse off than before, and says why.
func TestCannotListen(t *testing.T) {
	m, juju := newMachine(t), hooktooltest.New()
	unit := juju.AddUnit("lxd-cluster/0", "10.0.0.1")
	m.broken = errors.New("cannot run systemctl: no such thing")
	require.Empty(t, m.hook(t, juju, ClusterInfo{Wanted: true, LXD: "10.0.0.1:8443"}))
	require.Contains(t, strings.Join(unit.Log, "\n"), "cannot listen for requests for profiles on 10.0.0.1:17668")
}

// wire is a socket whose callers are in the test, for use within a synctest bubble.
type wire struct {
	net.PacketConn
	calls    chan string
	deadline time.Time
}

func newWire() *wire { return &wire{calls: make(chan string, 1000)} }

// hush is the token of the tests.
const hush = "HUSH"

func (w *wire) SetReadDeadline(at time.Time) error { w.deadline = at; return nil }

func (w *wire) ReadFrom(b []byte) (int, net.Addr, error) {
	if !time.Now().Before(w.deadline) { // as the real one, which then reads nothing
		return 0, nil, os.ErrDeadlineExceeded
	}
	select {
	case call := <-w.calls:
		return copy(b, call), nil, nil
	case <-time.After(time.Until(w.deadline)):
		return 0, nil, os.ErrDeadlineExceeded
	}
}

// flood calls again and again until ctx is over.
func (w *wire) flood(ctx context.Context, token string, every time.Duration) {
	for {
		select {
		case w.calls <- token:
		default: // the kernel drops what does not fit either
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
	}
}

// offsets are times since begin, in seconds.
func offsets(begin time.Time, at []time.Time) []float64 {
	var all []float64
	for _, one := range at {
		all = append(all, one.Sub(begin).Seconds())
	}
	return all
}

// A call has the unit look several times; those that come meanwhile are one more, which is
// taken after a pause; and when none come the program ends.
func TestServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		for range 20 {
			w.calls <- hush
		}
		var at []time.Time
		begin := time.Now()
		require.NoError(t, serve(t.Context(), w, hush, func(context.Context) (bool, error) {
			at = append(at, time.Now())
			if len(at) == 2 {
				for range 20 {
					w.calls <- hush
				}
			}
			return false, errors.New("one that fails does not end it")
		}))
		require.Equal(t, []float64{0.25, 0.5, 1, 2, 4.25, 4.5, 5, 6}, offsets(begin, at), "after two seconds' pause")
		require.Equal(t, 6+10+60+60+10, int(time.Since(begin).Seconds()), "it forgets slowly that calls were in idleRuns, and ends")
	})
}

// However many calls come, those that find nothing to do cost one hook a minute in the end,
// also when they come just after the program might have ended.
func TestAFloodCostsAHookAMinute(t *testing.T) {
	for name, every := range map[string]time.Duration{"ten in a second": 100 * time.Millisecond, "when it might have ended": idleTimeout + time.Second, "twice in its longest pause": 31 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				w := newWire()
				var callers sync.WaitGroup
				callers.Go(func() { w.flood(ctx, hush, every) })
				var at []time.Time
				begin := time.Now()
				for ctx.Err() == nil { // systemd starts it again
					require.NoError(t, serve(ctx, w, hush, func(context.Context) (bool, error) {
						at = append(at, time.Now())
						return false, nil
					}))
				}
				callers.Wait()
				require.Less(t, len(at), 80)
				require.Greater(t, len(at), 50, "and it is not deaf")
				late := slices.DeleteFunc(at, func(at time.Time) bool { return at.Before(begin.Add(time.Minute)) })
				require.LessOrEqual(t, len(late), 65)
			})
		})
	}
}

// Once there was something to do it pollDelays no more, until the next call, for which it does not
// pause, whatever was before.
func TestServeNoLongerThanNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := newWire()
		w.calls <- hush
		var at []time.Time
		begin := time.Now()
		require.NoError(t, serve(ctx, w, hush, func(context.Context) (bool, error) {
			at = append(at, time.Now())
			switch len(at) {
			case 4: // all of the first call's are in idleRuns
				w.calls <- hush
			case 5: // what is asked for is there now
				w.calls <- hush
				return true, nil
			case 6:
				cancel()
			}
			return false, nil
		}))
		require.Equal(t, []float64{0.25, 0.5, 1, 2, 4.25, 4.5}, offsets(begin, at))
	})
}

// A step that never settles is something to do, each time; that has a bound, too.
func TestHooksThatAlwaysDoSomething(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		w := newWire()
		var callers sync.WaitGroup
		callers.Go(func() { w.flood(ctx, hush, 100*time.Millisecond) })
		hooks := 0
		require.NoError(t, serve(ctx, w, hush, func(context.Context) (bool, error) {
			hooks++
			return true, nil
		}))
		callers.Wait()
		require.LessOrEqual(t, hooks, (maxPerMinute+1)*61)
	})
}

// Who does not know the token causes no hook, however many datagrams it sends, and keeps no call
// from being taken.
func TestDatagramsWithoutTheWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		w := newWire()
		var callers sync.WaitGroup
		for _, token := range []string{"", "H", "HUSH!", "hush", strings.Repeat("x", 100)} {
			callers.Go(func() { w.flood(ctx, token, 50*time.Millisecond) })
		}
		notified := time.Now().Add(30 * time.Minute)
		callers.Go(func() {
			time.Sleep(time.Until(notified))
			w.calls <- hush
		})
		var at []time.Time
		for ctx.Err() == nil {
			require.NoError(t, serve(ctx, w, hush, func(context.Context) (bool, error) {
				at = append(at, time.Now())
				return true, nil
			}))
		}
		callers.Wait()
		require.Len(t, at, 1)
		require.Less(t, at[0].Sub(notified), 10*time.Second)
	})
}

// Over a real socket.
func TestServeOnASocket(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	caller, err := net.Dial("udp", conn.LocalAddr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = caller.Close() })
	call := func() {
		for range 20 {
			_, err := caller.Write([]byte(hush))
			require.NoError(t, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	call()
	looked := 0
	require.NoError(t, serve(ctx, conn, hush, func(context.Context) (bool, error) {
		if looked++; looked == 2 {
			cancel()
			return false, nil
		}
		call()
		return true, nil
	}))
	require.Equal(t, 2, looked, "twenty calls are one")
}

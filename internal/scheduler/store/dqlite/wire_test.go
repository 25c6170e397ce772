//go:build cgo && libsqlite3

package dqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/canonical/go-dqlite/client"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// listenSilently takes connections and says nothing on them.
func listenSilently(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func dialPlainly(ctx context.Context, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

// One connection that got no answer in time ends the others with that address, and no more.
func TestOneSilenceEndsAll(t *testing.T) {
	dial := withDeadlines(dialPlainly)
	open := func(address string) net.Conn {
		conn, err := dial(t.Context(), address)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	gone, other := listenSilently(t), listenSilently(t)
	first, waits, idle, elsewhere := open(gone), open(gone), open(gone), open(other)
	waited := make(chan error, 1)
	go func() {
		time.Sleep(exchangeTimeout / 2) // begins later, and ends with the first
		_, err := waits.Read(make([]byte, 1))
		waited <- err
	}()
	start := time.Now()
	_, err := first.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.ErrorIs(t, <-waited, os.ErrDeadlineExceeded)
	require.Less(t, time.Since(start), exchangeTimeout*5/4)

	for _, deadline := range []time.Time{{}, time.Now().Add(time.Hour)} {
		require.NoError(t, idle.SetDeadline(deadline))
		_, err = idle.Write([]byte("x"))
		require.ErrorIs(t, err, errOver)
		var lost *net.OpError
		require.ErrorAs(t, err, &lost, "what the library's driver makes %v of", driver.ErrBadConn)
	}
	_, err = elsewhere.Write([]byte("x"))
	require.NoError(t, err)
}

// A connection whose other end is gone is lost, in the words that the library's driver knows: it
// returns another to database/sql.
func TestTheEndIsALoss(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err == nil {
			_ = conn.Close()
		}
	}()
	conn, err := withDeadlines(dialPlainly)(t.Context(), l.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Read(make([]byte, 1))
	var lost *net.OpError
	require.ErrorAs(t, err, &lost)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// A caller that has little time itself proves nothing.
func TestLittleTimeProvesNothing(t *testing.T) {
	dial := withDeadlines(dialPlainly)
	address := listenSilently(t)
	first, err := dial(t.Context(), address)
	require.NoError(t, err)
	defer first.Close()
	other, err := dial(t.Context(), address)
	require.NoError(t, err)
	defer other.Close()
	require.NoError(t, first.SetDeadline(time.Now().Add(10*time.Millisecond)))
	_, err = first.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	_, err = other.Write([]byte("x"))
	require.NoError(t, err)
}

// The dialer's own timer may be over a moment before the context's, and then says so first.
func TestWhoDoesNotAnswerIsKnown(t *testing.T) {
	r := newReacher(nil)
	var dials errgroup.Group
	for range 20 {
		address := mute(t)
		dials.Go(func() error {
			if _, err := r.dial(t.Context(), address); err == nil || r.silence(address).IsZero() {
				return fmt.Errorf("%s is not known not to answer: %w", address, err)
			}
			return nil
		})
	}
	require.NoError(t, dials.Wait())
}

// mute returns an address at which nothing answers: what has come there has filled its queue.
func mute(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, unix.Listen(fd, 0))
	at, err := unix.Getsockname(fd)
	require.NoError(t, err)
	address := fmt.Sprintf("127.0.0.1:%d", at.(*unix.SockaddrInet4).Port)
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return address
}

// Who leads is asked of those that have a vote, as long as it was seen lately who they are.
func TestWhoIsAsked(t *testing.T) {
	nodes, err := client.NewYamlNodeStore(filepath.Join(t.TempDir(), nodesFile))
	require.NoError(t, err)
	require.NoError(t, nodes.Set(t.Context(), []client.NodeInfo{
		{ID: 1, Address: "me", Role: client.StandBy}, {ID: 2, Address: "voter", Role: client.Voter}, {ID: 3, Address: "silent", Role: client.Voter},
		{ID: 4, Address: "stand-by", Role: client.StandBy}, {ID: 5, Address: "spare", Role: client.Spare},
	}))
	n := &node{who: identity{1, "me"}, nodes: nodes, others: newReacher(nil)}
	n.others.silent["silent"] = time.Now()
	asked := func() map[string]client.NodeRole {
		list, err := leaderCandidates{n}.Get(t.Context())
		require.NoError(t, err)
		order := map[string]client.NodeRole{}
		for _, to := range list {
			order[to.Address] = to.Role
		}
		return order
	}
	everyone := map[string]client.NodeRole{"me": 0, "voter": 1, "stand-by": 2, "spare": 2, "silent": 3}
	require.Equal(t, everyone, asked(), "never seen")
	now := time.Now()
	n.listed.Store(&now)
	require.Equal(t, map[string]client.NodeRole{"me": 0, "voter": 1, "silent": 3}, asked())
	before := now.Add(-recent)
	n.listed.Store(&before)
	require.Equal(t, everyone, asked(), "they may have changed")
}

//go:build cgo && libsqlite3

package dqlite

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/canonical/go-dqlite/client"
	"golang.org/x/sys/unix"
)

// reach is how long another node may take to answer at all: name, connection and TLS.
const reach = time.Second

// How soon a connection counts as dead whose other end is gone: silent, or not taking what
// it is sent. TCP itself waits for hours, or a quarter of one.
var (
	silent      = net.KeepAliveConfig{Enable: true, Idle: 3 * time.Second, Interval: time.Second, Count: 3}
	sendTimeout = 5 * time.Second
)

// bounded makes a socket give up what the other end does not take, see tcp(7).
func bounded(_, _ string, raw syscall.RawConn) error {
	var err error
	set := func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(sendTimeout.Milliseconds()))
	}
	return errors.Join(raw.Control(set), err)
}

// peerDialer reaches other nodes, and knows who did not answer last.
type peerDialer struct {
	dialer *net.Dialer
	config atomic.Pointer[tls.Config]
	mu     sync.Mutex
	silent map[string]time.Time // when an address did not answer; not in it when it last did
}

func newReacher(config *tls.Config) *peerDialer {
	d := &net.Dialer{KeepAliveConfig: silent, Control: bounded}
	r := &peerDialer{dialer: d, silent: map[string]time.Time{}}
	r.config.Store(config)
	return r
}

// dial is a client.DialFunc. Who did not answer is not tried again for as long as that took:
// the one who asks several nodes in turn, as the library does, comes to one that is there.
func (r *peerDialer) dial(ctx context.Context, address string) (net.Conn, error) {
	if ago := time.Since(r.silence(address)); ago < reach {
		return nil, fmt.Errorf("cannot reach %s: it did not answer %s ago", address, ago.Round(time.Millisecond))
	}
	ctx, cancel := context.WithTimeout(ctx, reach)
	defer cancel()
	dialer := tls.Dialer{NetDialer: r.dialer, Config: r.config.Load()}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		delete(r.silent, address)
	case isTimeout(err):
		r.silent[address] = time.Now()
	}
	return conn, err
}

// isTimeout reports whether a connection failed because no one was there. Not by the context: the
// dialer's own timer may be over a moment before it.
func isTimeout(err error) bool {
	var late net.Error
	return errors.As(err, &late) && late.Timeout() || errors.Is(err, unix.EHOSTUNREACH)
}

// silence reports when an address did not answer; zero when it last did.
func (r *peerDialer) silence(address string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.silent[address]
}

// connect implements client.DialFunc for the node itself: it returns one end of a pair of
// sockets at once, and reaches the other node from the other end.
//
// The library holds one lock, for all other nodes, while it waits for this, and one of the
// four threads on which the C library also writes to disk: a few machines that are gone
// would make a store stand still that has a majority. See go-dqlite 1.11.5,
// internal/bindings/server.go, connectWithDial. What raft sends over a pair that leads
// nowhere is lost, as on any connection that breaks, and it begins another.
func (n *node) connect(_ context.Context, address string) (net.Conn, error) {
	if n.ctx.Err() != nil {
		return nil, n.ctx.Err()
	}
	here, there, err := pair()
	if err != nil {
		return nil, err
	}
	go func() {
		remote, err := n.others.dial(n.ctx, address)
		if err != nil {
			_ = there.Close()
			return
		}
		n.pipe(remote, there)
	}()
	return here, nil
}

// serve hands the connections of those who have the cluster's key on to the node, which has
// that address on this machine, until the listener is closed.
//
// As long as the cluster has not taken the node in, all are turned away: they are meant for one
// that had the address before, and is gone. With an answer it would count as there, and with a
// vote that it had, what only that one had kept would count as kept.
func (n *node) serve(listener net.Listener, address string) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			n.notes.Error("accept", fmt.Errorf("cannot take a connection to the store: %w", err))
			pause(n.ctx, reach) // too many files are open, say
			continue
		}
		if !n.in.Load() {
			_ = conn.Close()
			continue
		}
		go func() {
			defer n.served.add(conn)()
			remote := tls.Server(conn, n.incoming.Load())
			ctx, cancel := context.WithTimeout(n.ctx, reach)
			defer cancel()
			if err := remote.HandshakeContext(ctx); err != nil {
				_ = conn.Close()
				return
			}
			local, err := net.Dial("unix", address)
			if err != nil {
				_ = conn.Close()
				return
			}
			n.pipe(remote, local)
		}()
	}
}

// sessions are the connections that others have made to this node.
type sessions struct {
	mu   sync.Mutex
	open map[net.Conn]bool
}

// add adds one, and returns what is to be called when it is over.
func (s *sessions) add(conn net.Conn) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[net.Conn]bool{}
	}
	s.open[conn] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, conn)
	}
}

// end ends them all.
func (s *sessions) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.open {
		_ = conn.Close()
	}
}

// listen opens a node's address.
func listen(ctx context.Context, address string) (net.Listener, error) {
	config := net.ListenConfig{KeepAliveConfig: silent, Control: bounded}
	return config.Listen(ctx, "tcp", address)
}

// pipe carries what two connections send each other until one of them ends, or the node.
func (n *node) pipe(a, b net.Conn) {
	hangUp := func() {
		_ = a.Close()
		_ = b.Close()
	}
	defer context.AfterFunc(n.ctx, hangUp)()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			hangUp()
		})
	}
	both.Wait()
}

// pair returns two connected sockets.
func pair() (here, there net.Conn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a pair of sockets: %w", err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "store")
		var wrong error
		ends[i], wrong = net.FileConn(file) // its own copy
		err = errors.Join(err, wrong, file.Close())
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a pair of sockets: %w", err)
	}
	return ends[0], ends[1], nil
}

// withDeadlines bounds each exchange on the connections that dial makes. When one took too long, the
// other connections with that address are over too: database/sql would else try them in turn,
// each for as long.
func withDeadlines(dial client.DialFunc) client.DialFunc {
	all := &connTracker{open: map[*deadlineConn]bool{}}
	return func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := dial(ctx, address)
		if err != nil {
			return nil, err
		}
		return all.add(conn, address), nil
	}
}

// connTracker are the connections that are open.
type connTracker struct {
	mu   sync.Mutex
	open map[*deadlineConn]bool
}

func (p *connTracker) add(conn net.Conn, address string) *deadlineConn {
	c := &deadlineConn{Conn: conn, address: address, all: p}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[c] = true
	return c
}

func (p *connTracker) remove(c *deadlineConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}

// end ends the connections with an address that does not answer.
func (p *connTracker) end(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		if c.address == address {
			c.over.Store(true)
			_ = c.Conn.SetDeadline(time.Now()) // who waits need not any more
		}
	}
}

// deadlineConn bounds each exchange, where the library sets a later deadline or none: a
// leader that is frozen would otherwise hold its clients for as long as TCP believes in it.
type deadlineConn struct {
	net.Conn
	address string
	all     *connTracker
	given   bool        // the library has set a deadline of its own
	begun   time.Time   // when the exchange was
	over    atomic.Bool // another connection with this address got no answer
}

// What the library's driver takes for a connection that is lost. The end of what it reads it does
// not (driverError in driver/driver.go), and would use the connection again until TCP gives up
// sending to a machine that is gone: that is sendTimeout.
var (
	errOver  = &net.OpError{Op: "use", Net: "tcp", Err: errors.New("it got no answer on another connection")}
	errEnded = &net.OpError{Op: "read", Net: "tcp", Err: io.ErrUnexpectedEOF}
)

// Close implements net.Conn.
func (c *deadlineConn) Close() error {
	c.all.remove(c)
	return c.Conn.Close()
}

// SetDeadline implements net.Conn.
func (c *deadlineConn) SetDeadline(t time.Time) error {
	c.given, c.begun = !t.IsZero(), time.Now()
	if latest := c.begun.Add(exchangeTimeout); t.After(latest) {
		t = latest
	}
	return c.Conn.SetDeadline(t)
}

// Read implements net.Conn.
func (c *deadlineConn) Read(b []byte) (int, error) {
	return c.exchange(c.Conn.Read, c.SetReadDeadline, b)
}

// Write implements net.Conn.
func (c *deadlineConn) Write(b []byte) (int, error) {
	return c.exchange(c.Conn.Write, c.SetWriteDeadline, b)
}

func (c *deadlineConn) exchange(what func([]byte) (int, error), bound func(time.Time) error, b []byte) (int, error) {
	if c.over.Load() {
		return 0, errOver
	}
	if !c.given {
		c.begun = time.Now()
		if err := bound(c.begun.Add(exchangeTimeout)); err != nil {
			return 0, err
		}
	}
	n, err := what(b)
	if errors.Is(err, io.EOF) {
		return n, errEnded
	}
	// A caller may have had less time than any answer needs.
	if errors.Is(err, os.ErrDeadlineExceeded) && time.Since(c.begun) >= reach {
		c.all.end(c.address)
	}
	return n, err
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

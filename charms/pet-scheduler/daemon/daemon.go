package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/host/lograte"
	"github.com/dcib/dcib/internal/scheduler/store"
	"github.com/dcib/dcib/internal/scheduler/store/dqlite"
)

// Cluster is what the daemon asks of LXD.
type Cluster interface {
	drain.Cluster
	drain.Journal
}

// Daemon is one unit's daemon.
type Daemon struct {
	// Dir is the unit's state directory, with the configuration in it.
	Dir string
	// Connect reaches the LXD that the configuration names, that member of it if it can; "" is
	// any. What it returns sends LXD nothing any more once may, unless it is nil, returns an error.
	Connect func(ctx context.Context, c control.Config, member string, may func() error) (Cluster, error)
	// Log takes a line for each thing that an operator may want to know.
	Log func(format string, args ...any)
	// After, unless it is nil, is told of each write to the journal, and of each change to
	// LXD, when it has been made: there tests kill the daemon.
	After func(step string)

	unit     string
	notes    *lograte.Limiter // writes to Log
	now      func() time.Time // the machine's clock; nil is time.Now
	desired  desiredStateCache
	limiter  *drain.MoveLimiter // for all pets together; nil is the usual ones
	triggers chan struct{}      // an operator changed what the acting unit decides on
	node     atomic.Pointer[member]
	store    atomic.Pointer[store.Store] // nil as long as it is not open
	shown    atomic.Pointer[[]string]    // the store's certificates that are in force, by fingerprint
}

// member is this unit's node.
type member struct {
	dqlite.Node
	address string
}

// introduced is how long a node waits to be taken in before it is looked whether the hooks
// know more nodes to ask.
const joinRetryInterval = 5 * time.Second

// later is how long the daemon stays before it ends for something that its next start will not
// have got over: systemd starts it again a second after.
const later = 15 * time.Second

// How long things may take when the daemon stops.
const (
	handover        = 5 * time.Second
	shutdownTimeout = 2 * time.Second
)

// certified keeps which certificates of the store are in force.
func (d *Daemon) certified(c control.Config) {
	list := []string{dqlite.Fingerprint(c.Certificate.Certificate)}
	for _, text := range c.Trusted {
		list = append(list, dqlite.Fingerprint(text))
	}
	d.shown.Store(&list)
}

// certify has the node go by the store's certificates that the hooks wrote, when they are others
// than before.
func (d *Daemon) certify(before *control.Config) error {
	c, ok, err := control.ReadConfig(d.Dir)
	if err != nil || !ok || c.Certificate == before.Certificate && slices.Equal(c.Trusted, before.Trusted) {
		return err
	}
	if err := d.node.Load().Certify(c.Certificate, c.Trusted); err != nil {
		return err
	}
	*before = c
	d.certified(c)
	d.Log("the store's certificates are %s", strings.Join(*d.shown.Load(), ", "))
	return nil
}

// prepare fills in what was left out.
func (d *Daemon) prepare() {
	if d.notes == nil {
		d.notes = lograte.New(d.Log)
	}
	if d.now == nil {
		d.now = time.Now
	}
}

// configured waits until the hooks have written a configuration that can be run with, and
// returns it; ok is false when the context ended before. To end instead would have systemd
// start the daemon again each second.
func (d *Daemon) configured(ctx context.Context) (c control.Config, ok bool) {
	for {
		config, ok, err := control.ReadConfig(d.Dir)
		switch {
		case err != nil:
		case !ok:
			err = fmt.Errorf("cannot run: expected a configuration in %s: the charm's next hook writes it", d.Dir)
		case config.Certificate.Check() != nil:
			err = config.Certificate.Check()
		case !config.Founds && len(config.Join) == 0:
			err = errors.New("cannot run: this unit does not begin the store, and no other is known")
		default:
			return config, true
		}
		d.notes.Error("configuration", err)
		select {
		case <-ctx.Done():
			return control.Config{}, false
		case <-time.After(time.Second):
		}
	}
}

// Run runs the daemon until the context ends; the next unit then acts at once. It returns
// an error when it cannot go on: its node cannot be started, or it is behind.
func (d *Daemon) Run(ctx context.Context) error {
	d.prepare()
	config, ok := d.configured(ctx)
	if !ok {
		return nil
	}
	d.unit = config.Unit
	join := config.Join
	if config.Founds {
		join = nil
	}
	node, db, err := dqlite.Open(ctx, dqlite.Config{
		Dir:         control.StoreDir(d.Dir),
		Address:     config.Address,
		Join:        join,
		Certificate: config.Certificate,
		Trusted:     config.Trusted,
		Log:         d.Log,
	})
	if err != nil {
		pause(ctx, later)
		return err
	}
	defer func() {
		free, cancel := context.WithTimeout(context.WithoutCancel(ctx), handover)
		defer cancel()
		if err := node.Handover(free); err != nil {
			d.Log("%s", err)
		}
		if err := errors.Join(db.Close(), node.Close()); err != nil {
			d.Log("cannot close the store: %s", err)
		}
	}()
	d.node.Store(&member{node, config.Address})
	d.certified(config)
	d.triggers = make(chan struct{}, 1)
	listener, err := d.listen()
	if err != nil {
		return err
	}
	server := &http.Server{Handler: d.handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	var watching sync.WaitGroup
	watched, unwatch := context.WithCancel(ctx)
	watching.Go(func() { d.watch(watched) })
	certified := config
	watching.Go(func() {
		for watched.Err() == nil {
			d.notes.Error("certify", d.certify(&certified))
			pause(watched, poll)
		}
	})
	defer watching.Wait()
	defer unwatch()
	defer func() {
		free, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		_ = server.Shutdown(free)
	}()

	s, err := d.open(ctx, node, func(ctx context.Context) (*store.Store, error) {
		return store.Open(ctx, db, store.Options{Unit: config.Unit, Log: d.Log})
	})
	if s == nil {
		if err != nil {
			pause(ctx, later)
		}
		return err
	}
	d.store.Store(s)
	d.Log("the store is open")
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		cancel(s.Heartbeat(ctx))
	}()
	if d.rightClock(ctx) {
		err = s.Lead(ctx, d.runAsLeader)
	}
	cancel(nil)
	<-done
	if cause := context.Cause(ctx); errors.Is(cause, store.ErrSchemaTooNew) {
		return cause
	}
	return err
}

// open opens the store, however long the others take to be there. Neither a store nor an
// error means that the context has ended.
func (d *Daemon) open(ctx context.Context, node dqlite.Node, open func(context.Context) (*store.Store, error)) (*store.Store, error) {
	for {
		short, cancel := context.WithTimeout(ctx, joinRetryInterval)
		err := node.Ready(short)
		cancel()
		if err != nil && ctx.Err() == nil {
			if now, _, unreadable := control.ReadConfig(d.Dir); unreadable == nil {
				err = errors.Join(err, node.AddJoinAddresses(now.Join))
			}
		}
		if err == nil {
			var s *store.Store
			if s, err = open(ctx); err == nil {
				return s, nil
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil, nil
		case errors.Is(err, store.ErrSchemaTooNew):
			return nil, err
		}
		d.notes.Error("open", err)
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(time.Second):
		}
	}
}

// rightClock waits until the machine's clock can be right, and reports whether it came to that:
// with a wrong one this unit would drain and undrain at wrong times. Others may act meanwhile.
func (d *Daemon) rightClock(ctx context.Context) bool {
	for ctx.Err() == nil {
		err := clockError(d.now())
		d.notes.Error("clock", err)
		if err == nil {
			return true
		}
		pause(ctx, poll)
	}
	return false
}

// trigger has this unit look at once, if it acts.
func (d *Daemon) trigger() {
	select {
	case d.triggers <- struct{}{}:
	default: // it will
	}
}

// listen opens the socket, in the place of one that a killed daemon left behind. Its
// address is this daemon's alone: the store's was opened before.
func (d *Daemon) listen() (net.Listener, error) {
	if err := os.MkdirAll(control.RunDir(d.Dir), 0o700); err != nil {
		return nil, fmt.Errorf("cannot open the daemon's socket: %w", err)
	}
	path := control.Socket(d.Dir)
	if err := os.RemoveAll(path); err != nil {
		return nil, fmt.Errorf("cannot open the daemon's socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the daemon's socket: %w", err)
	}
	// The directory is closed to others until this is done, and after.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot close the daemon's socket to others: %w", err), listener.Close())
	}
	return listener, nil
}

// Package service keeps the unit's daemon: it publishes over the peer relation which the other
// units are, writes the store's certificate for it, and runs it under systemd.
//
// The application's databag names the coordinator, the one unit that may bootstrap a store, and the
// secret with the certificate; the leader writes both. A unit's own databag holds the
// address of its node.
package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/relation/coordinator"
	"github.com/dcib/dcib/internal/relation/lxdhttps"
	"github.com/dcib/dcib/internal/scheduler/store/dqlite"
)

// Endpoint is the peer relation's name in charmcraft.yaml.
const Endpoint = "cluster"

// port is where a unit's node of the store listens.
const port = "17666"

// leaving is how long a unit tries to take its node out of the store.
const leaving = 30 * time.Second

// Databag keys.
const (
	keyCoordinator = "coordinator"
	keySecret      = "store-secret" // of the application: the secret's id
	keyAddress     = "address"      // of a unit
	keyMember      = "member"       // of a unit: "yes" once its node has been told to join
	// keyCertificates is of a unit: the store's certificates that its daemon goes by, by
	// fingerprint, the one it shows first. It is written while the certificate is rotated.
	keyCertificates = "store-certificates"
)

// Fields of the secret.
const (
	fieldCertificate = "certificate"
	fieldKey         = "private-key"
	// Of a rotation: the certificate that is to come, trusted by all before it is shown by any;
	// then the one that was before, until all show the new one.
	fieldNext     = "next-certificate"
	fieldNextKey  = "next-private-key"
	fieldPrevious = "previous-certificate"
)

// Systemd is the machine's, as far as it concerns the daemon.
type Systemd interface {
	// Other names the other unit of the charm on this machine whose daemon it runs, of this
	// application or another; empty when there is none.
	Other() (unit string, err error)
	// Installed reports whether the program and its unit file are there as this charm has them.
	Installed() (bool, error)
	// Install puts them there.
	Install(ctx context.Context) error
	// Running reports whether the daemon is running.
	Running(ctx context.Context) (bool, error)
	// Permitted reports whether the daemon can read what it has to of the unit's state directory,
	// and no other user can.
	Permitted() (bool, error)
	// Permit makes that so.
	Permit(ctx context.Context) error
	// Restart starts the daemon, again where it runs, with what Permit does.
	Restart(ctx context.Context) error
	// Remove stops the daemon and takes away what Install put there.
	Remove(ctx context.Context) error
}

// Env is what the package works on.
type Env struct {
	Unit    string
	Dir     string // the unit's state directory
	Tools   hooktool.Tools
	Systemd Systemd
	// Certificates returns the fingerprints of the store's certificates that the daemon goes by,
	// the one it shows first.
	Certificates func(ctx context.Context) ([]string, error)
	// Leave has the daemon take its node out of the store.
	Leave func(ctx context.Context) error
}

// Facts is what is decided on.
type Facts struct {
	Unit     string
	Other    string // a unit on the same machine, which runs its daemon there
	Relation string // the peer relation's id; empty before Juju has made it
	Leader   bool
	Leaving  bool // Juju does not mean to keep this unit

	// Coordinator is the unit that may bootstrap the store.
	Coordinator coordinator.Choice
	Secret      string // id
	Published   map[string]string
	Address     string
	Others      []string // addresses of the other units' nodes, sorted
	Members     int      // how many units, this one included, were told to join
	// Stored is the address of the node whose data the unit has; empty when it has none. Founded
	// reports that it began the store.
	Stored  string
	Founded bool

	Certificate dqlite.Certificate
	// Next is the certificate that is to come and Previous the one that was, while the store's is
	// rotated; else they are empty.
	Next       dqlite.Certificate
	Previous   string
	InForce    string            // what the daemon goes by, as it is published; asked for in a rotation alone
	Told       map[string]string // what each unit that is in the store has published of that
	Config     control.Config    // what the daemon was told
	Configured bool
	LXD        lxdhttps.Offer

	Options map[string]any // of the charm

	Installed, Running, Permitted bool
	// Behind reports whether the unit's state directory is there.
	Behind bool
}

// Observe gathers the facts; offer is where LXD is, as far as that is known.
func Observe(ctx context.Context, w Env, offer lxdhttps.Offer) (f Facts, err error) {
	f.Unit, f.LXD = w.Unit, offer
	if _, err = os.Lstat(w.Dir); err == nil {
		f.Behind = true
	} else if !errors.Is(err, fs.ErrNotExist) {
		return f, fmt.Errorf("cannot see the unit's state directory: %w", err)
	}
	if f.Other, err = w.Systemd.Other(); err != nil {
		return f, err
	}
	units, err := w.Tools.Units(ctx)
	if err != nil {
		return f, err
	}
	if f.Leaving = !slices.Contains(units, w.Unit); f.Other != "" {
		return f, nil
	}
	if f.Installed, err = w.Systemd.Installed(); err != nil {
		return f, err
	}
	if f.Installed {
		if f.Running, err = w.Systemd.Running(ctx); err != nil {
			return f, err
		}
	}
	if f.Permitted, err = w.Systemd.Permitted(); err != nil {
		return f, err
	}
	if f.Config, f.Configured, err = control.ReadConfig(w.Dir); err != nil {
		return f, err
	}
	if f.Stored, f.Founded, _, err = dqlite.Stored(control.StoreDir(w.Dir)); err != nil {
		return f, err
	}
	relations, err := w.Tools.RelationIDs(ctx, Endpoint)
	if err != nil || len(relations) == 0 || f.Leaving {
		return f, err
	}
	f.Relation = relations[0]
	if f.Options, err = w.Tools.Config(ctx); err != nil {
		return f, err
	}
	if f.Leader, err = w.Tools.IsLeader(ctx); err != nil {
		return f, err
	}
	address, err := w.Tools.Address(ctx, Endpoint)
	if err != nil {
		return f, err
	}
	f.Address = net.JoinHostPort(address, port)
	app, err := w.Tools.RelationGet(ctx, f.Relation, hooktool.AppOf(w.Unit))
	if err != nil {
		return f, err
	}
	f.Coordinator, f.Secret = coordinator.New(app[keyCoordinator], units), app[keySecret]
	if f.Published, err = w.Tools.RelationGet(ctx, f.Relation, w.Unit); err != nil {
		return f, err
	}
	f.Told = map[string]string{}
	if f.Published[keyMember] != "" {
		f.Members++
		f.Told[w.Unit] = f.Published[keyCertificates]
	}
	others, err := w.Tools.RelationUnits(ctx, f.Relation)
	if err != nil {
		return f, err
	}
	for _, unit := range others {
		bag, err := w.Tools.RelationGet(ctx, f.Relation, unit)
		if errors.Is(err, hooktool.ErrNotFound) {
			continue // Juju still lists a unit that has just left
		}
		if err != nil {
			return f, err
		}
		if bag[keyAddress] != "" {
			f.Others = append(f.Others, bag[keyAddress])
		}
		if bag[keyMember] != "" {
			f.Members++
			f.Told[unit] = bag[keyCertificates]
		}
	}
	slices.Sort(f.Others)
	if f.Secret == "" {
		return f, nil
	}
	secret, err := w.Tools.Secret(ctx, f.Secret)
	if errors.Is(err, hooktool.ErrNotFound) {
		return f, fmt.Errorf("cannot read the store's certificate: Juju does not know %s, which the databag names: %w", f.Secret, err)
	}
	if err != nil {
		return f, err
	}
	f.Certificate = dqlite.Certificate{Certificate: secret[fieldCertificate], Key: secret[fieldKey]}
	f.Next = dqlite.Certificate{Certificate: secret[fieldNext], Key: secret[fieldNextKey]}
	f.Previous = secret[fieldPrevious]
	if f.Rotating() && f.Running && w.Certificates != nil {
		short, cancel := context.WithTimeout(ctx, certifying)
		list, err := w.Certificates(short)
		cancel()
		if err == nil { // else the next hook asks
			f.InForce = strings.Join(list, " ")
		}
	}
	if f.Certificate == f.Config.Certificate {
		return f, nil // it was looked at when the daemon was given it
	}
	return f, f.Certificate.Check()
}

// want is what the daemon is to be told; ok is false as long as that is not known.
func (f Facts) want() (c control.Config, ok bool) {
	c = control.Config{Unit: f.Unit, Address: f.Address, Join: f.Others, Certificate: f.Certificate, LXD: f.LXD}
	for _, text := range []string{f.Next.Certificate, f.Previous} {
		if text != "" {
			c.Trusted = append(c.Trusted, text)
		}
	}
	c.Pets, c.LeadMin, c.LeadMax, c.KeepFailed = f.Config.Pets, f.Config.LeadMin, f.Config.LeadMax, f.Config.KeepFailed
	_ = options(f.Options, &c) // BadOptions reports
	if f.Configured {
		// A node stays where it was when it was made, and what it was.
		c.Address, c.Founds = f.Config.Address, f.Config.Founds
		return c, f.Certificate.Key != ""
	}
	if f.Stored != "" { // the configuration was lost
		c.Address, c.Founds = f.Stored, f.Founded
		return c, f.Certificate.Key != ""
	}
	others := f.Members
	if f.Published[keyMember] != "" {
		others--
	}
	c.Founds = f.Coordinator.Is(f.Unit) && others == 0
	return c, f.Certificate.Key != "" && f.Coordinator.Unit != "" && f.Published[keyAddress] != "" && (c.Founds || len(f.Others) > 0 && f.Members > 0)
}

// Crowded states that this unit cannot do anything because another has its machine, nil when
// none has: they would share a service, a program and a port.
func (f Facts) Crowded() error {
	if f.Other == "" {
		return nil
	}
	return fmt.Errorf("%s is on this machine, and a machine has one unit of pet-scheduler: remove %s and add a unit on a machine of its own", f.Other, f.Unit)
}

// Ports are those that the other units reach, as charm.Plan has them: the one of this unit's node of
// the store, once its daemon has been configured. Nil is that it is not known, since the unit leaves.
func (f Facts) Ports() []string {
	if f.Leaving {
		return nil
	}
	if _, own, err := net.SplitHostPort(f.Config.Address); err == nil && f.Configured && f.Other == "" {
		return []string{own + "/tcp"}
	}
	return []string{}
}

// BadOptions says what is wrong with the charm's options, nil when nothing is. The daemon
// then goes on with those it had.
func (f Facts) BadOptions() error {
	c := f.Config
	return options(f.Options, &c)
}

// Plan is pure.
func Plan(f Facts) []charm.Step[Env] {
	if f.Leaving {
		var steps []charm.Step[Env]
		if f.Installed && f.Other == "" { // else what is there is the other's
			steps = append(steps, Leave{})
		}
		if f.Behind {
			steps = append(steps, Forget{})
		}
		return steps
	}
	if f.Other != "" {
		return nil
	}
	if f.Relation == "" {
		return nil
	}
	var steps []charm.Step[Env]
	if f.Leader && f.Secret == "" {
		steps = append(steps, MakeCertificate{f.Relation})
	}
	// No unit bootstraps a second store while a unit of the first one exists.
	if f.Leader && f.Coordinator.NeedsElection() && (f.Coordinator.Unit == "" || f.Members == 0) {
		steps = append(steps, ElectCoordinator{f.Relation, f.Unit})
	}
	if f.Published[keyAddress] == "" {
		steps = append(steps, Publish{f.Relation, keyAddress, f.Address})
	}
	steps = append(steps, f.rotate()...)
	c, ok := f.want()
	if !ok {
		return steps
	}
	if f.Published[keyMember] == "" {
		steps = append(steps, Publish{f.Relation, keyMember, "yes"})
	}
	if !f.Configured || !same(c, f.Config) {
		steps = append(steps, Configure{c})
	}
	switch {
	case !f.Installed || !f.Running:
		steps = append(steps, Run{})
	case !f.Permitted:
		steps = append(steps, Permit{})
	}
	return steps
}

func same(a, b control.Config) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && slices.Equal(x, y)
}

// MakeCertificate makes the store's certificate, a secret of the application.
type MakeCertificate struct{ Relation string }

// Name implements charm.Step.
func (MakeCertificate) Name() string { return "make the store's certificate" }

// Apply implements charm.Step.
func (s MakeCertificate) Apply(ctx context.Context, w Env) error {
	c, err := dqlite.NewCertificate()
	if err != nil {
		return err
	}
	id, err := w.Tools.AddSecret(ctx, "store", map[string]string{fieldCertificate: c.Certificate, fieldKey: c.Key})
	if err != nil {
		return err
	}
	return w.Tools.RelationSetApp(ctx, s.Relation, map[string]string{keySecret: id})
}

// ElectCoordinator chooses the unit that bootstraps the store.
type ElectCoordinator struct{ Relation, Unit string }

// Name implements charm.Step.
func (s ElectCoordinator) Name() string { return "let " + s.Unit + " bootstrap the store" }

// Apply implements charm.Step.
func (s ElectCoordinator) Apply(ctx context.Context, w Env) error {
	return coordinator.Elect(ctx, w.Tools, s.Relation, keyCoordinator, s.Unit, nil)
}

// Publish publishes something to the other units about this one.
type Publish struct{ Relation, Key, Value string }

// Name implements charm.Step.
func (s Publish) Name() string { return "publish to the other units: " + s.Key + " " + s.Value }

// Apply implements charm.Step.
func (s Publish) Apply(ctx context.Context, w Env) error {
	return w.Tools.RelationSet(ctx, s.Relation, map[string]string{s.Key: s.Value})
}

// Configure writes for the daemon what it has to know; it reads it when it needs it.
type Configure struct{ Config control.Config }

// Name implements charm.Step.
func (Configure) Name() string { return "configure the daemon" }

// Apply implements charm.Step.
func (s Configure) Apply(_ context.Context, w Env) error { return s.Config.Write(w.Dir) }

// Run installs the daemon as this charm has it, and starts it.
type Run struct{}

// Name implements charm.Step.
func (Run) Name() string { return "run the daemon" }

// Apply implements charm.Step.
func (Run) Apply(ctx context.Context, w Env) error {
	if err := w.Systemd.Install(ctx); err != nil {
		return err
	}
	return w.Systemd.Restart(ctx)
}

// Permit lets the daemon read what it has to.
type Permit struct{}

// Name implements charm.Step.
func (Permit) Name() string { return "let the daemon read its configuration" }

// Apply implements charm.Step.
func (Permit) Apply(ctx context.Context, w Env) error { return w.Systemd.Permit(ctx) }

// Forget removes the unit's state directory: its keys, its part of the store, its session with
// LXD. LXD stops trusting the key when the relation is over.
type Forget struct{}

// Name implements charm.Step.
func (Forget) Name() string { return "remove the unit's state directory" }

// Apply implements charm.Step.
func (Forget) Apply(_ context.Context, w Env) error {
	if err := os.RemoveAll(w.Dir); err != nil {
		return fmt.Errorf("cannot remove the unit's state directory: %w", err)
	}
	return nil
}

// Leave takes the unit's node out of the store and the daemon away.
type Leave struct{}

// Name implements charm.Step.
func (Leave) Name() string { return "leave the store and remove the daemon" }

// Apply implements charm.Step. A node that cannot leave, for want of a majority, is removed
// by the others later.
func (Leave) Apply(ctx context.Context, w Env) error {
	bounded, cancel := context.WithTimeout(ctx, leaving)
	defer cancel()
	if err := w.Leave(bounded); err != nil {
		_ = w.Tools.Log(ctx, "WARNING", err.Error())
	}
	return w.Systemd.Remove(ctx)
}

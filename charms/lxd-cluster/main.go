// A hook is too short for reading the machine's limits; it runs on few threads anyway.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command lxd-cluster is the charm that makes the LXD of its machines one cluster.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dcib/dcib/charms/lxd-cluster/backup"
	"github.com/dcib/dcib/charms/lxd-cluster/broker"
	"github.com/dcib/dcib/charms/lxd-cluster/ceph"
	"github.com/dcib/dcib/charms/lxd-cluster/certificate"
	"github.com/dcib/dcib/charms/lxd-cluster/cloud"
	"github.com/dcib/dcib/charms/lxd-cluster/cluster"
	"github.com/dcib/dcib/charms/lxd-cluster/install"
	"github.com/dcib/dcib/charms/lxd-cluster/maas"
	"github.com/dcib/dcib/charms/lxd-cluster/metrics"
	"github.com/dcib/dcib/charms/lxd-cluster/refresh"
	"github.com/dcib/dcib/charms/lxd-cluster/share"
	"github.com/dcib/dcib/charms/lxd-cluster/trust"
	"github.com/dcib/dcib/charms/lxd-cluster/wake"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/command"
	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/lxd/profiles"
)

// stateDir holds what a unit has to remember that nobody else may know.
const stateDir = "/var/lib/dcib"

// world is what the charm works on; each room sees its part of it.
type world struct {
	tools  hooktool.Tools
	socket *cluster.Socket
	event  hooktool.Event
	asked  *broker.World // made once per hook: it remembers what LXD refused in it
	// refused is what LXD refused the clients of relation https in this hook.
	refused map[string]string
	// ended are the components that a step has ended in this hook, see apart.
	ended map[string]charm.Status
}

// facts are what the rooms saw.
type facts struct {
	Ended   map[string]charm.Status // components that have ended in this hook, see apart
	Install install.Facts
	Unsafe  string // what is known against this machine's LXD; empty when nothing
	Cluster cluster.Facts
	Ceph    ceph.Facts
	Behind  []string // Ceph's files that a leaving unit has no more use for
	MAAS    maas.Facts
	Trust   trust.Facts
	Broker  broker.Facts
	Wake    wake.Facts
	Metrics metrics.Facts
	Cert    certificate.Facts
	Share   share.Facts
}

func main() {
	if len(os.Args) > 3 && os.Args[1] == wake.Verb {
		if err := wake.Main(context.Background(), os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	charm.Main(whole())
}

// whole is the charm.
func whole() charm.Charm[facts, *world] {
	return charm.Charm[facts, *world]{
		World: func(event hooktool.Event, tools hooktool.Tools) *world {
			return &world{tools: tools, socket: &cluster.Socket{}, event: event, refused: map[string]string{}, ended: map[string]charm.Status{}}
		},
		Observe: observe,
		Plan:    plan,
		// Longer than LXD's database gets to answer, which cluster.Observe then says.
		Deadlines: charm.Deadlines{Observe: 2 * cluster.DatabaseTime},
		Actions: map[string]charm.Action[facts, *world]{
			"list-members":             listMembers,
			"list-requesters":          listRequesters,
			"show-plan":                showPlan,
			"remove-member":            removeMember,
			"recover-from-quorum-loss": recoverFromQuorumLoss,
			"start-over":               startOver,
			"evacuate":                 evacuate,
			"restore":                  restore,
			"add-trusted-client":       addTrustedClient,
			"remove-trusted-client":    removeTrustedClient,
			"get-client-token":         getClientToken,
			"get-cloud":                getCloud,
			"backup":                   backUp,
			"refresh-lxd":              refreshLXD,
		},
	}
}

func observe(ctx context.Context, event hooktool.Event, w *world) (f facts, err error) {
	f.Ended = maps.Clone(w.ended)
	if f.Cluster, err = cluster.Observe(ctx, event, w.cluster()); err != nil {
		return f, err
	}
	if f.Cluster.Stuck != "" {
		return f, nil // nothing else can be seen
	}
	if f.Share, err = share.Observe(ctx, event, w.share()); err != nil {
		return f, err
	}
	if f.Cluster.Departure == nil {
		if f.Install, err = install.Observe(ctx, w.install()); err != nil {
			return f, err
		}
		f.Install.Lowered = f.Cluster.Lowered
	}
	if f.Cluster.LXD.Present && f.Cluster.Departure == nil {
		f.Unsafe = install.Advisory(ctx, w.install(), f.Install, f.Cluster.LXD.Version)
		if f.Ceph, err = ceph.Observe(ctx, w.ceph(), site(event, f.Cluster)); err != nil {
			return f, err
		}
		f.Cluster.Pending = f.Ceph.Pending()
	}
	if f.Cluster.Departure != nil && !f.Cluster.LXD.Clustered && !slices.Contains(slices.Collect(maps.Values(f.Cluster.LXD.PoolDrivers)), ceph.Driver) {
		if f.Behind, err = ceph.Behind(w.ceph().Dir, event.App()); err != nil {
			return f, err
		}
	}
	if f.Cluster.Departure != nil {
		f.Wake, err = wake.Observe(w.wake(), wake.Site{})
		return f, err
	}
	if !f.Cluster.LXD.Clustered {
		return f, nil // the other rooms work on a cluster, for a unit that stays
	}
	if f.MAAS, err = maas.Observe(ctx, w.maas(), maasSite(event, f.Cluster)); err != nil {
		return f, err
	}
	f.Cluster.NIC = f.MAAS.NIC()
	if f.Trust, err = trust.Observe(ctx, w.trust()); err != nil {
		return f, err
	}
	if f.Broker, err = broker.Observe(ctx, event, w.broker(), f.Cluster.Leader); err != nil {
		return f, err
	}
	called := wake.Site{Wanted: f.Broker.Active && len(f.Broker.Relations) > 0, LXD: f.Cluster.Address}
	if f.Wake, err = wake.Observe(w.wake(), called); err != nil {
		return f, err
	}
	f.Broker.Calls = f.Wake.Address()
	if f.Metrics, err = metrics.Observe(ctx, w.metrics()); err != nil {
		return f, err
	}
	f.Cert, err = certificate.Observe(ctx, w.certificate(), f.Cluster.LXD.Identity)
	return f, err
}

func plan(f facts) charm.Plan[*world] {
	p := work(f)
	p.Ports = f.ports()
	return p
}

// work is the plan without the ports.
func work(f facts) charm.Plan[*world] {
	p := cluster.Plan(f.Cluster)
	if f.Cluster.Departure != nil {
		// The relations that a leaving unit sees go do not go: the other units have them.
		// But no key of theirs stays behind.
		steps := charm.Lift(share.Leave(f.Share), (*world).share)
		steps = append(steps, charm.Lift(wake.Plan(f.Wake), (*world).wake)...)
		steps = append(steps, charm.Lift(p.Steps, (*world).cluster)...)
		return charm.Plan[*world]{Steps: append(steps, charm.Lift(ceph.Leave(f.Behind), (*world).ceph)...), Status: p.Status}
	}
	if f.Cluster.Stuck != "" {
		return charm.Plan[*world]{Steps: charm.Lift(p.Steps, (*world).cluster), Status: p.Status, Version: p.Version}
	}
	there := install.Plan(f.Install)
	if !f.Cluster.LXD.Present && there.Status.Level != "" || !f.Cluster.LXD.Clustered && there.Status.Level == charm.LevelBlocked {
		// Nor is a cluster made of a LXD that was not asked for.
		return charm.Plan[*world]{Steps: charm.Lift(there.Steps, (*world).install), Status: there.Status}
	}
	steps := charm.Lift(p.Steps, (*world).cluster)
	// The broker gives nobody a share that the hosts do not know.
	steps = append(steps, charm.Lift(share.Plan(f.Share), (*world).share)...)
	steps = append(steps, charm.Lift(wake.Plan(f.Wake), (*world).wake)...)
	steps = append(steps, charm.Lift(broker.Plan(f.Broker), (*world).broker)...)
	scraped, unreadable := metrics.Plan(f.Metrics)
	steps = append(steps, charm.Lift(scraped, (*world).metrics)...)
	issued, unissued := certificate.Plan(f.Cert)
	steps = append(steps, apart("certificate", charm.Lift(issued, (*world).certificate))...)
	known, unknown := maas.Plan(f.MAAS)
	trusted := trust.Plan(f.Trust)
	steps = append(steps, charm.Lift(trusted.Steps, (*world).trust)...)
	shared := ceph.Plan(f.Ceph)
	steps = append(steps, apart("ceph", charm.Lift(shared.Steps, (*world).ceph))...)
	steps = append(steps, apart("maas", charm.Lift(known, (*world).maas))...)
	var problems []string
	if trusted.Status.Level == charm.LevelBlocked {
		problems = append(problems, trusted.Status.Message)
	}
	if there.Status.Level == charm.LevelBlocked {
		problems = append(problems, there.Status.Message)
	}
	for _, problem := range []string{f.Broker.PolicyErr, unreadable, unissued, unknown} {
		if problem != "" {
			problems = append(problems, problem)
		}
	}
	status := p.Status
	if status.Level == charm.LevelActive && shared.Status.Level != "" {
		status = shared.Status
	}
	if note := f.Install.ModelNote(f.Cluster.LXD.Version); note != "" && status.Level == charm.LevelActive && f.Cluster.InTurn() {
		status.Message += "; " + note
	}
	if status.Level == charm.LevelActive && len(problems) > 0 {
		status = charm.Blockedf("%s", strings.Join(problems, "; "))
	}
	if status.Level == charm.LevelActive && trusted.Status.Level == charm.LevelActive {
		status.Message += "; " + trusted.Status.Message
	}
	if status.Level == charm.LevelActive && f.Unsafe != "" {
		status.Message += "; " + f.Unsafe
	}
	return charm.Plan[*world]{Steps: steps, Status: merged(status, f.Ended), Version: p.Version}
}

// Within implements charm.Within.
func (w *world) Within(ctx context.Context) { w.socket.Within(ctx) }

func (w *world) share() share.World {
	s := share.World{Tools: w.tools, Folder: share.Folder, StateDir: w.stateDir()}
	if server, err := w.socket.Server(context.Background()); err == nil {
		s.LXD = server
	}
	return s
}

func (w *world) wake() wake.World {
	return wake.World{
		Unit: w.event.Unit, Program: filepath.Join(w.event.CharmDir, "dispatch"), Dir: "/etc/systemd/system", Proc: "/proc", StateDir: w.stateDir(),
		Tools: w.tools, Commands: command.System{},
	}
}

func (w *world) install() install.World {
	return install.World{Tools: w.tools, Commands: command.System{}, Root: "/"}
}

func (w *world) ceph() ceph.World {
	c := ceph.World{Tools: w.tools, Dir: "/etc/ceph"}
	if server, err := w.socket.Server(context.Background()); err == nil {
		c.LXD = ceph.Server{InstanceServer: server}
	}
	return c
}

// site is what the ceph room has to know of the cluster. The pool has a name of its own
// where it is not the one for root disks.
func site(event hooktool.Event, c cluster.Facts) ceph.Site {
	s := ceph.Site{
		Unit: event.Unit, App: event.App(), Peers: c.Relation,
		Clustered: c.LXD.Clustered, InTurn: c.InTurn(), Members: c.MemberNames(),
		Ready: c.WithCeph(), Told: c.Mine.Ceph, Drivers: c.LXD.Drivers, PoolName: ceph.Driver,
	}
	if c.Config.Storage.Driver == ceph.Driver {
		s.PoolName, s.Root = c.Config.Storage.Name, true
	}
	return s
}

func (w *world) maas() maas.World {
	m := maas.World{Tools: w.tools, Configure: w.socket.Configure}
	if server, err := w.socket.Server(context.Background()); err == nil {
		m.LXD = server
	}
	return m
}

// maasSite is what the maas room has to know of the cluster.
func maasSite(event hooktool.Event, c cluster.Facts) maas.Site {
	bridge := c.Config.Bridge
	return maas.Site{InTurn: c.InTurn(), Hostname: c.Hostname, App: event.App(), Bridge: bridge, Managed: c.LXD.Networks[bridge]}
}

func (w *world) cluster() cluster.World {
	// An unknown host name is an empty member name, which LXD refuses by name.
	hostname, _ := os.Hostname()
	return cluster.World{
		Tools:    w.tools,
		LXD:      w.socket,
		Hostname: hostname,
		StateDir: w.stateDir(),
		Now:      time.Now,

		Addresses: cluster.Addresses(),
		Lowered:   func(ctx context.Context, ran string) string { return install.Lowered(ctx, command.System{}, ran) },
	}
}

// stateDir is this unit's part of it.
func (w *world) stateDir() string {
	return filepath.Join(stateDir, strings.ReplaceAll(w.event.Unit, "/", "-"))
}

func (w *world) trust() trust.World {
	t := trust.World{App: w.event.App(), Tools: w.tools, Configure: w.socket.Configure, Now: time.Now, Refused: w.refused}
	// Without a LXD its field stays nil; the cluster's room says so in the status.
	if server, err := w.socket.Server(context.Background()); err == nil {
		t.LXD = server
	}
	return t
}

func (w *world) metrics() metrics.World {
	m := metrics.World{Event: w.event, Tools: w.tools, Configure: w.socket.Configure}
	if server, err := w.socket.Server(context.Background()); err == nil {
		m.LXD = server
	}
	return m
}

func (w *world) certificate() certificate.World {
	c := certificate.World{Unit: w.event.Unit, Tools: w.tools, StateDir: w.stateDir(), Now: time.Now, NewKey: certificate.NewKey, Configure: w.socket.Configure}
	if server, err := w.socket.Server(context.Background()); err == nil {
		c.LXD = server
	}
	return c
}

func (w *world) cloud() cloud.World {
	c := cloud.World{App: w.event.App(), Tools: w.tools, Now: time.Now}
	if server, err := w.socket.Server(context.Background()); err == nil {
		c.LXD = server
	}
	return c
}

// refresh is made of what was seen, since LXD does not answer all the time.
func (w *world) refresh(f facts) refresh.World {
	change := func(do charm.Action[cluster.Facts, cluster.World]) func(context.Context, charm.Call) (map[string]string, error) {
		return func(ctx context.Context, call charm.Call) (map[string]string, error) {
			return do(ctx, f.Cluster, w.cluster(), call)
		}
	}
	return refresh.World{
		Commands: command.System{}, StateDir: w.stateDir(), Look: w.socket.Look,
		Evacuate: change(cluster.Evacuate), Restore: change(cluster.Restore),
		Settled: func(ctx context.Context, member string) (drain.MemberStatus, []string, error) {
			return cluster.Settled(ctx, w.cluster(), member)
		},
		Ready: refresh.Ready, Every: refresh.Every,
	}
}

func (w *world) backup() backup.World {
	b := backup.World{Unit: w.event.Unit, StateDir: w.stateDir(), Now: time.Now}
	if server, err := w.socket.Server(context.Background()); err == nil {
		b.LXD = server
	}
	return b
}

func (w *world) broker() *broker.World {
	if w.asked == nil {
		w.asked = &broker.World{World: profiles.World{Tools: w.tools, Project: "default", Now: time.Now}, Random: rand.Reader}
		if server, err := w.socket.Server(context.Background()); err == nil {
			w.asked.LXD = server
		}
	}
	return w.asked
}

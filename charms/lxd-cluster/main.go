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
	"os"
	"path/filepath"
	"strings"
	"time"

	lxdclient "github.com/canonical/lxd/client"

	"github.com/dcib/dcib/charms/lxd-cluster/backup"
	"github.com/dcib/dcib/charms/lxd-cluster/broker"
	"github.com/dcib/dcib/charms/lxd-cluster/ceph"
	"github.com/dcib/dcib/charms/lxd-cluster/certificate"
	"github.com/dcib/dcib/charms/lxd-cluster/cloud"
	"github.com/dcib/dcib/charms/lxd-cluster/cluster"
	"github.com/dcib/dcib/charms/lxd-cluster/install"
	"github.com/dcib/dcib/charms/lxd-cluster/maas"
	"github.com/dcib/dcib/charms/lxd-cluster/metrics"
	"github.com/dcib/dcib/charms/lxd-cluster/notify"
	"github.com/dcib/dcib/charms/lxd-cluster/refresh"
	"github.com/dcib/dcib/charms/lxd-cluster/share"
	"github.com/dcib/dcib/charms/lxd-cluster/trust"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/host/command"
	"github.com/dcib/dcib/internal/lxd/profiles"
)

// stateDir holds what a unit has to remember that nobody else may know.
const stateDir = "/var/lib/dcib"

// world is what the charm works on; each component sees its part of it.
type world struct {
	tools  hooktool.Tools
	socket *cluster.Socket
	event  hooktool.Event
	asked  *broker.World // made once per hook: it remembers what LXD refused in it
	// refused is what LXD refused the clients of relation https in this hook.
	refused map[string]string
}

// facts are what the components saw.
type facts struct {
	Install install.Facts
	Unsafe  string // what is known against this machine's LXD; empty when nothing
	Cluster cluster.Facts
	Ceph    ceph.Facts
	Behind  []string // Ceph's files that a leaving unit has no more use for
	MAAS    maas.Facts
	Trust   trust.Facts
	Broker  broker.Facts
	Wake    notify.Facts
	Metrics metrics.Facts
	Cert    certificate.Facts
	Share   share.Facts
}

func main() {
	if len(os.Args) > 3 && os.Args[1] == notify.Verb {
		if err := notify.Main(context.Background(), os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	charm.Main(whole())
}

// whole is the charm.
func whole() charm.Charm[facts, *world] {
	c := charm.Compose(components()...)
	c.World = func(event hooktool.Event, tools hooktool.Tools) *world {
		return &world{tools: tools, socket: &cluster.Socket{}, event: event, refused: map[string]string{}}
	}
	// Longer than LXD's database gets to answer, which cluster.Observe then says.
	c.Deadlines = charm.Deadlines{Observe: 2 * cluster.DatabaseTime}
	c.Actions = map[string]charm.Action[facts, *world]{
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
	}
	return c
}

// Within implements charm.Within.
func (w *world) Within(ctx context.Context) { w.socket.Within(ctx) }

func (w *world) share() share.World {
	return share.World{Tools: w.tools, Folder: share.Folder, StateDir: w.stateDir(), LXD: w.lxd()}
}

func (w *world) wake() notify.World {
	return notify.World{
		Unit: w.event.Unit, Program: filepath.Join(w.event.CharmDir, "dispatch"), Dir: "/etc/systemd/system", Proc: "/proc", StateDir: w.stateDir(),
		Tools: w.tools, Commands: command.System{},
	}
}

func (w *world) install() install.World {
	return install.World{Tools: w.tools, Commands: command.System{}, Root: "/"}
}

func (w *world) ceph() ceph.World {
	c := ceph.World{Tools: w.tools, Dir: "/etc/ceph"}
	if server := w.lxd(); server != nil {
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
	return maas.World{Tools: w.tools, Configure: w.socket.Configure, LXD: w.lxd()}
}

// maasSite is what the maas room has to know of the cluster.
func maasSite(event hooktool.Event, c cluster.Facts) maas.Site {
	bridge := c.Bridge()
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

// lxd returns the connection to this machine's LXD; nil while it does not answer. The component
// cluster then says so, and the components that need it are not reached.
func (w *world) lxd() lxdclient.InstanceServer {
	server, err := w.socket.Server(context.Background())
	if err != nil {
		return nil
	}
	return server
}

// stateDir is this unit's part of it.
func (w *world) stateDir() string {
	return filepath.Join(stateDir, strings.ReplaceAll(w.event.Unit, "/", "-"))
}

func (w *world) trust() trust.World {
	return trust.World{App: w.event.App(), Tools: w.tools, Configure: w.socket.Configure, Now: time.Now, Refused: w.refused, LXD: w.lxd()}
}

func (w *world) metrics() metrics.World {
	return metrics.World{Event: w.event, Tools: w.tools, Configure: w.socket.Configure, LXD: w.lxd()}
}

func (w *world) certificate() certificate.World {
	return certificate.World{Unit: w.event.Unit, Tools: w.tools, StateDir: w.stateDir(), Now: time.Now, NewKey: certificate.NewKey, Configure: w.socket.Configure, LXD: w.lxd()}
}

func (w *world) cloud() cloud.World {
	return cloud.World{App: w.event.App(), Tools: w.tools, Now: time.Now, LXD: w.lxd()}
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
	return backup.World{Unit: w.event.Unit, StateDir: w.stateDir(), Now: time.Now, LXD: w.lxd()}
}

func (w *world) broker() *broker.World {
	if w.asked == nil {
		w.asked = &broker.World{World: profiles.World{Tools: w.tools, Project: "default", Now: time.Now}, Random: rand.Reader}
		w.asked.LXD = w.lxd()
	}
	return w.asked
}

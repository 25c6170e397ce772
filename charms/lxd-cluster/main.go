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
	"github.com/dcib/dcib/charms/lxd-cluster/share"
	"github.com/dcib/dcib/charms/lxd-cluster/trust"
	"github.com/dcib/dcib/charms/lxd-cluster/upgrade"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/host/command"
	"github.com/dcib/dcib/internal/lxd/profiles"
)

// stateDir is the directory of the units' own files, readable by root only.
const stateDir = "/var/lib/dcib"

// env is what the charm works on: its dependencies. Each component sees its own part.
type env struct {
	tools     hooktool.Tools
	local     *cluster.LocalLXD
	event     hooktool.Event
	brokerEnv *broker.Env // made once per hook: it records what LXD refused in it
	// refused is what LXD refused clients of relation https in this hook.
	refused map[string]string
}

// facts are what the components observed.
type facts struct {
	Install       install.Facts
	Unsafe        string // what is known against this machine's LXD; empty if nothing
	Cluster       cluster.Facts
	Ceph          ceph.Facts
	CephLeftovers []string // Ceph's files that a leaving unit has to remove
	MAAS          maas.Facts
	Trust         trust.Facts
	Broker        broker.Facts
	Notify        notify.Facts
	Metrics       metrics.Facts
	Cert          certificate.Facts
	Share         share.Facts
}

func main() {
	if len(os.Args) > 3 && os.Args[1] == notify.Subcommand {
		if err := notify.Main(context.Background(), os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	charm.Main(newCharm())
}

// newCharm returns the charm.
func newCharm() charm.Charm[facts, *env] {
	c := charm.Compose(components()...)
	c.Env = func(event hooktool.Event, tools hooktool.Tools) *env {
		return &env{tools: tools, local: &cluster.LocalLXD{}, event: event, refused: map[string]string{}}
	}
	// Longer than LXD's database may take to answer, which cluster.Observe reports.
	c.Deadlines = charm.Deadlines{Observe: 2 * cluster.DatabaseTime}
	c.Actions = map[string]charm.Action[facts, *env]{
		"list-members":             listMembers,
		"list-requesters":          listRequesters,
		"show-plan":                showPlan,
		"remove-member":            removeMember,
		"recover-from-quorum-loss": recoverFromQuorumLoss,
		"reset-lxd":                resetLXD,
		"evacuate-member":          evacuateMember,
		"restore-member":           restoreMember,
		"add-trusted-client":       addTrustedClient,
		"remove-trusted-client":    removeTrustedClient,
		"get-client-token":         getClientToken,
		"get-cloud":                getCloud,
		"create-backup":            createBackup,
		"upgrade-lxd":              upgradeLXD,
	}
	return c
}

// Within implements charm.Within.
func (w *env) Within(ctx context.Context) { w.local.Within(ctx) }

func (w *env) share() share.Env {
	return share.Env{Tools: w.tools, Folder: share.Folder, StateDir: w.stateDir(), LXD: w.lxd()}
}

func (w *env) notify() notify.Env {
	return notify.Env{
		Unit: w.event.Unit, Program: filepath.Join(w.event.CharmDir, "dispatch"), Dir: "/etc/systemd/system", Proc: "/proc", StateDir: w.stateDir(),
		Tools: w.tools, Commands: command.System{},
	}
}

func (w *env) install() install.Env {
	return install.Env{Tools: w.tools, Commands: command.System{}, Root: "/"}
}

func (w *env) ceph() ceph.Env {
	c := ceph.Env{Tools: w.tools, Dir: "/etc/ceph"}
	if server := w.lxd(); server != nil {
		c.LXD = ceph.Server{InstanceServer: server}
	}
	return c
}

// cephInfo returns what package ceph needs to know of the cluster. The pool has its own name unless it is
// the one for root disks.
func cephInfo(event hooktool.Event, c cluster.Facts) ceph.ClusterInfo {
	s := ceph.ClusterInfo{
		Unit: event.Unit, App: event.App(), Peers: c.Relation,
		Clustered: c.LXD.Clustered, IsCoordinator: c.IsCoordinator(), Members: c.MemberNames(),
		Ready: c.WithCeph(), Told: c.Mine.Ceph, Drivers: c.LXD.Drivers, PoolName: ceph.Driver,
	}
	if c.Config.Storage.Driver == ceph.Driver {
		s.PoolName, s.Root = c.Config.Storage.Name, true
	}
	return s
}

func (w *env) maas() maas.Env {
	return maas.Env{Tools: w.tools, Configure: w.local.Configure, LXD: w.lxd()}
}

// maasInfo returns what package maas needs to know of the cluster.
func maasInfo(event hooktool.Event, c cluster.Facts) maas.ClusterInfo {
	bridge := c.Bridge()
	return maas.ClusterInfo{IsCoordinator: c.IsCoordinator(), Hostname: c.Hostname, App: event.App(), Bridge: bridge, Managed: c.LXD.Networks[bridge]}
}

func (w *env) cluster() cluster.Env {
	// An unknown host name results in an empty member name, which LXD refuses.
	hostname, _ := os.Hostname()
	return cluster.Env{
		Tools:    w.tools,
		LXD:      w.local,
		Hostname: hostname,
		StateDir: w.stateDir(),
		Now:      time.Now,

		Addresses:  cluster.Addresses(),
		Downgraded: func(ctx context.Context, ran string) string { return install.Downgraded(ctx, command.System{}, ran) },
	}
}

// lxd returns the connection to this machine's LXD; nil while it does not answer. The component cluster
// then reports that, and the components that need LXD are not run.
func (w *env) lxd() lxdclient.InstanceServer {
	server, err := w.local.Server(context.Background())
	if err != nil {
		return nil
	}
	return server
}

// stateDir returns this unit's directory.
func (w *env) stateDir() string {
	return filepath.Join(stateDir, strings.ReplaceAll(w.event.Unit, "/", "-"))
}

func (w *env) trust() trust.Env {
	return trust.Env{App: w.event.App(), Tools: w.tools, Configure: w.local.Configure, Now: time.Now, Refused: w.refused, LXD: w.lxd()}
}

func (w *env) metrics() metrics.Env {
	return metrics.Env{Event: w.event, Tools: w.tools, Configure: w.local.Configure, LXD: w.lxd()}
}

func (w *env) certificate() certificate.Env {
	return certificate.Env{Unit: w.event.Unit, Tools: w.tools, StateDir: w.stateDir(), Now: time.Now, NewKey: certificate.NewKey, Configure: w.local.Configure, LXD: w.lxd()}
}

func (w *env) cloud() cloud.Env {
	return cloud.Env{App: w.event.App(), Tools: w.tools, Now: time.Now, LXD: w.lxd()}
}

// upgrade has facts of the hook's observation, since LXD does not answer all the time.
func (w *env) upgrade(f facts) upgrade.Env {
	change := func(do charm.Action[cluster.Facts, cluster.Env]) func(context.Context, charm.Call) (map[string]string, error) {
		return func(ctx context.Context, call charm.Call) (map[string]string, error) {
			return do(ctx, f.Cluster, w.cluster(), call)
		}
	}
	return upgrade.Env{
		Commands: command.System{}, StateDir: w.stateDir(), Observe: w.local.Observe,
		Evacuate: change(cluster.Evacuate), Restore: change(cluster.Restore),
		Settled: func(ctx context.Context, member string) (drain.MemberStatus, []string, error) {
			return cluster.Settled(ctx, w.cluster(), member)
		},
		ReadyTimeout: upgrade.ReadyTimeout, PollInterval: upgrade.PollInterval,
	}
}

func (w *env) backup() backup.Env {
	return backup.Env{Unit: w.event.Unit, StateDir: w.stateDir(), Now: time.Now, LXD: w.lxd()}
}

func (w *env) broker() *broker.Env {
	if w.brokerEnv == nil {
		w.brokerEnv = &broker.Env{Env: profiles.Env{Tools: w.tools, Project: "default", Now: time.Now}, Random: rand.Reader}
		w.brokerEnv.LXD = w.lxd()
	}
	return w.brokerEnv
}

package main

import (
	"context"
	"maps"
	"slices"

	"github.com/dcib/dcib/charms/lxd-cluster/broker"
	"github.com/dcib/dcib/charms/lxd-cluster/ceph"
	"github.com/dcib/dcib/charms/lxd-cluster/certificate"
	"github.com/dcib/dcib/charms/lxd-cluster/cluster"
	"github.com/dcib/dcib/charms/lxd-cluster/install"
	"github.com/dcib/dcib/charms/lxd-cluster/maas"
	"github.com/dcib/dcib/charms/lxd-cluster/metrics"
	"github.com/dcib/dcib/charms/lxd-cluster/notify"
	"github.com/dcib/dcib/charms/lxd-cluster/share"
	"github.com/dcib/dcib/charms/lxd-cluster/trust"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
)

// component is one concern of this charm.
type component = charm.Component[facts, *env]

// components are all components of this charm, in the order of their steps. The keys of other models and
// the listener come first: a unit that leaves removes them before its LXD leaves the cluster. The others
// come after the cluster, and do not depend on each other.
func components() []component {
	return []component{
		{
			Name: "share", After: []string{"cluster", "install"}, When: facts.canUseLXD,
			Observe: func(ctx context.Context, event hooktool.Event, w *env, f *facts) (err error) {
				f.Share, err = share.Observe(ctx, event, w.share())
				return err
			},
			Plan: func(f facts) charm.Plan[*env] {
				if f.leaves() {
					return lift(share.Leave(f.Share), (*env).share)
				}
				return lift(share.Plan(f.Share), (*env).share)
			},
		},
		{
			Name: "listener", After: []string{"cluster", "install", "broker"},
			When: func(f facts) bool { return f.leaves() || f.serves() },
			Observe: func(_ context.Context, _ hooktool.Event, w *env, f *facts) (err error) {
				site := notify.ClusterInfo{}
				if !f.leaves() {
					site = notify.ClusterInfo{Wanted: f.Broker.Active && len(f.Broker.Relations) > 0, LXD: f.Cluster.Address}
				}
				f.Notify, err = notify.Observe(w.notify(), site)
				return err
			},
			Plan: func(f facts) charm.Plan[*env] { return lift(notify.Plan(f.Notify), (*env).notify) },
		},
		{
			Name: "cluster", Reads: []string{"install", "ceph", "maas", "listener"},
			Observe: func(ctx context.Context, event hooktool.Event, w *env, f *facts) (err error) {
				f.Cluster, err = cluster.Observe(ctx, event, w.cluster())
				return err
			},
			Plan: func(f facts) charm.Plan[*env] {
				if f.installs() { // the LXD that the options require is not there yet
					return charm.Plan[*env]{Ports: f.ports()}
				}
				p := lift(cluster.Plan(f.cluster()), (*env).cluster)
				p.Ports = f.ports()
				return p
			},
		},
		{
			Name: "install", After: []string{"cluster"},
			When: func(f facts) bool { return !f.leaves() && f.Cluster.DatabaseError == "" },
			Observe: func(ctx context.Context, _ hooktool.Event, w *env, f *facts) (err error) {
				if f.Install, err = install.Observe(ctx, w.install()); err != nil {
					return err
				}
				f.Install.Downgraded = f.Cluster.Downgraded
				if f.Cluster.LXD.Present {
					f.Unsafe = install.Advisory(ctx, w.install(), f.Install, f.Cluster.LXD.Version)
				}
				return nil
			},
			Plan: planInstall,
		},
		{
			// No requirer gets a share that the hosts do not have.
			Name: "broker", After: []string{"cluster", "install", "share"}, Reads: []string{"listener"}, When: facts.serves,
			Observe: func(ctx context.Context, event hooktool.Event, w *env, f *facts) (err error) {
				f.Broker, err = broker.Observe(ctx, event, w.broker(), f.Cluster.Leader)
				return err
			},
			Plan: func(f facts) charm.Plan[*env] {
				b := f.Broker
				b.NotifyAddress = f.Notify.Address()
				return lift(broker.Plan(b), (*env).broker)
			},
		},
		{
			Name: "metrics", After: []string{"cluster", "install"}, When: facts.serves,
			Observe: func(ctx context.Context, _ hooktool.Event, w *env, f *facts) (err error) {
				f.Metrics, err = metrics.Observe(ctx, w.metrics())
				return err
			},
			Plan: func(f facts) charm.Plan[*env] { return lift(metrics.Plan(f.Metrics), (*env).metrics) },
		},
		{
			Name: "certificate", After: []string{"cluster", "install"}, When: facts.serves,
			Observe: func(ctx context.Context, _ hooktool.Event, w *env, f *facts) (err error) {
				f.Cert, err = certificate.Observe(ctx, w.certificate(), f.Cluster.LXD.Identity)
				return err
			},
			Plan: func(f facts) charm.Plan[*env] { return lift(certificate.Plan(f.Cert), (*env).certificate) },
		},
		{
			Name: "trust", After: []string{"cluster", "install"}, When: facts.serves,
			Observe: func(ctx context.Context, _ hooktool.Event, w *env, f *facts) (err error) {
				f.Trust, err = trust.Observe(ctx, w.trust())
				return err
			},
			Plan: func(f facts) charm.Plan[*env] { return lift(trust.Plan(f.Trust), (*env).trust) },
		},
		{
			Name: "ceph", After: []string{"cluster", "install"},
			When: func(f facts) bool { return f.canUseLXD() && (f.leaves() || f.Cluster.LXD.Present) },
			Observe: func(ctx context.Context, event hooktool.Event, w *env, f *facts) (err error) {
				if !f.leaves() {
					f.Ceph, err = ceph.Observe(ctx, w.ceph(), cephInfo(event, f.Cluster))
					return err
				}
				if !f.Cluster.LXD.Clustered && !slices.Contains(slices.Collect(maps.Values(f.Cluster.LXD.PoolDrivers)), ceph.Driver) {
					f.CephLeftovers, err = ceph.LeftoverFiles(w.ceph().Dir, event.App())
				}
				return err
			},
			Plan: func(f facts) charm.Plan[*env] {
				if f.leaves() {
					return charm.Plan[*env]{Steps: charm.AdaptSteps(ceph.Leave(f.CephLeftovers), (*env).ceph)}
				}
				return lift(ceph.Plan(f.Ceph), (*env).ceph)
			},
		},
		{
			Name: "maas", After: []string{"cluster", "install"}, When: facts.serves,
			Observe: func(ctx context.Context, event hooktool.Event, w *env, f *facts) (err error) {
				f.MAAS, err = maas.Observe(ctx, w.maas(), maasInfo(event, f.Cluster))
				return err
			},
			Plan: func(f facts) charm.Plan[*env] { return lift(maas.Plan(f.MAAS), (*env).maas) },
		},
	}
}

// planInstall plans the installation of LXD, and reports what is known against the installed one.
func planInstall(f facts) charm.Plan[*env] {
	p := install.Plan(f.Install)
	if f.installs() {
		return lift(p, (*env).install)
	}
	if p.Status.Level == charm.LevelBlocked {
		return charm.Plan[*env]{Status: p.Status}
	}
	var notes []charm.Status
	if note := f.Install.ModelNote(f.Cluster.LXD.Version); note != "" && f.Cluster.IsCoordinator() {
		notes = append(notes, charm.Active("%s", note))
	}
	if f.Unsafe != "" {
		notes = append(notes, charm.Active("%s", f.Unsafe))
	}
	return charm.Plan[*env]{Status: charm.Merge(notes...)}
}

// lift makes the plan of a component one of the charm.
func lift[W any](p charm.Plan[W], part func(*env) W) charm.Plan[*env] {
	return charm.Plan[*env]{Steps: charm.AdaptSteps(p.Steps, part), Status: p.Status, Version: p.Version, Ports: p.Ports}
}

// leaves reports whether this unit is being removed. The relations that it sees stay: the other units have
// them.
func (f facts) leaves() bool { return f.Cluster.Removal != nil }

// installs reports whether this machine does not have the LXD yet that the options require.
func (f facts) installs() bool {
	if f.leaves() || f.Cluster.DatabaseError != "" {
		return false
	}
	level := install.Plan(f.Install).Status.Level
	return !f.Cluster.LXD.Present && level != "" || !f.Cluster.LXD.Clustered && level == charm.LevelBlocked
}

// canUseLXD reports whether this machine's LXD can be used.
func (f facts) canUseLXD() bool { return f.Cluster.DatabaseError == "" && !f.installs() }

// serves reports whether this unit is a member of the cluster, and stays.
func (f facts) serves() bool { return f.canUseLXD() && !f.leaves() && f.Cluster.LXD.Clustered }

// cluster returns the facts of the cluster, with what other components add to them.
func (f facts) cluster() cluster.Facts {
	c := f.Cluster
	c.Pending, c.NIC = f.Ceph.Pending(), f.MAAS.NIC()
	return c
}

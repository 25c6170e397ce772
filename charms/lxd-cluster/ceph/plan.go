package ceph

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/host/atomicfile"
	"github.com/dcib/dcib/internal/relation/cephclient"
	"github.com/dcib/dcib/internal/relation/lxdcluster"
)

// Plan returns what this unit does about the facts. It is pure. Its status has no level if there is nothing
// to report.
func Plan(f Facts) charm.Plan[Env] {
	var steps []charm.Step[Env]
	withStatus := func(s charm.Status) charm.Plan[Env] { return charm.Plan[Env]{Steps: steps, Status: s} }
	if f.Relation == "" {
		if f.Root {
			return withStatus(charm.Blockedf("option storage-driver is ceph, and there is no relation to Ceph: juju integrate %s:%s ceph-mon", f.App, Endpoint))
		}
		return withStatus(charm.Status{})
	}
	if len(f.Problems) > 0 {
		return withStatus(charm.Blockedf("%s", strings.Join(f.Problems, "; ")))
	}
	if !f.Sent {
		steps = append(steps, ask{f.Relation, f.Request})
	}
	if len(f.Unusable) > 0 {
		return withStatus(charm.Blockedf("cannot use Ceph: %s: look at juju show-unit of that unit, or remove relation %s", strings.Join(f.Unusable, "; "), f.Relation))
	}
	if f.Foreign != "" {
		return withStatus(charm.Blockedf("cannot use Ceph: %s: remove it, or relate the Ceph that this machine is part of", f.Foreign))
	}
	for _, file := range f.Files {
		steps = append(steps, write{file})
	}
	switch {
	case f.Key == "":
		return withStatus(charm.Waitingf("waiting for the addresses and the key of Ceph's monitors (relation %s)", f.Relation))
	case !f.Told && f.Peers != "":
		steps = append(steps, publishConfigured{f.Peers})
	}
	switch {
	case !f.Answered:
		return withStatus(charm.Waitingf("waiting for Ceph to create the OSD pool %s (relation %s)", f.Request.Pool, f.Relation))
	case f.Answer.Refused != "":
		return withStatus(charm.Blockedf("cannot use OSD pool %s: Ceph refuses: %s: look at juju debug-log of its leader", f.Request.Pool, f.Answer.Refused))
	case !f.Clustered:
		return withStatus(charm.Status{})
	}
	return withStatus(f.planPool(&steps))
}

// planPool plans LXD's pool.
func (f Facts) planPool(steps *[]charm.Step[Env]) charm.Status {
	var missing []string
	for _, member := range f.Members {
		if !slices.Contains(f.Ready, member) {
			missing = append(missing, member)
		}
	}
	switch {
	case f.Pool != nil && f.Pool.Driver != Driver:
		return charm.Blockedf("cannot create storage pool %s: LXD has one of that name with driver %s: set storage-driver=ceph and another storage-pool", f.PoolName, f.Pool.Driver)
	case f.Pool != nil && f.Pool.Created:
		return charm.Status{}
	case len(f.Drivers) > 0 && !slices.Contains(f.Drivers, Driver):
		return charm.Blockedf("cannot create storage pool %s: this machine's LXD does not support ceph: install ceph-common here and restart LXD", f.PoolName)
	case len(missing) > 0:
		return charm.Waitingf("waiting for Ceph's configuration on %s, to create storage pool %s", strings.Join(missing, ", "), f.PoolName)
	case !f.IsCoordinator:
		return charm.Waitingf("waiting for storage pool %s (ceph) to be created", f.PoolName)
	}
	step := create{name: f.PoolName, osdPool: f.Request.Pool, user: f.App}
	for _, member := range f.Members {
		if f.Pool == nil || !slices.Contains(f.Pool.Defined, member) {
			step.members = append(step.members, member)
		}
	}
	*steps = append(*steps, step)
	return charm.Maintenancef("creating storage pool %s (ceph)", f.PoolName)
}

// Pending returns what is missing: for a joining unit, the configuration that LXD needs; for a member, the
// pool. It is empty if nothing is.
func (f Facts) Pending() string {
	switch {
	case f.Relation == "" && !f.Root:
		return ""
	case f.Clustered && f.Pool != nil && f.Pool.Created && f.Pool.Driver == Driver:
		return ""
	case !f.Clustered && f.Key != "" && len(f.Files) == 0 && f.Foreign == "" && len(f.Unusable) == 0:
		return ""
	}
	if status := Plan(f).Status; status.Message != "" {
		return status.Message
	}
	return "writing Ceph's configuration"
}

// ask sends the request to Ceph.
type ask struct {
	relation string
	request  cephclient.Request
}

func (s ask) Name() string { return "request the OSD pool " + s.request.Pool }

func (s ask) Apply(ctx context.Context, w Env) error {
	return w.Tools.RelationSet(ctx, s.relation, s.request.Encode())
}

// write writes one file.
type write struct{ file File }

func (s write) Name() string { return "write Ceph's " + s.file.Name }

func (s write) Apply(_ context.Context, w Env) error {
	if err := os.MkdirAll(w.Dir, 0o755); err != nil {
		return fmt.Errorf("cannot create Ceph's folder: %w", err)
	}
	return atomicfile.Write(filepath.Join(w.Dir, s.file.Name), []byte(s.file.Text), atomicfile.Options{Mode: s.file.Mode})
}

// publishConfigured publishes that this machine has Ceph's configuration.
type publishConfigured struct{ peers string }

func (s publishConfigured) Name() string { return "publish that this machine has Ceph's configuration" }

func (s publishConfigured) Apply(ctx context.Context, w Env) error {
	return w.Tools.RelationSet(ctx, s.peers, lxdcluster.EncodeCeph())
}

// create creates LXD's pool: first on each member where it is not defined yet, then on the cluster.
type create struct {
	name, osdPool, user string
	members             []string
}

func (s create) Name() string { return "create storage pool " + s.name + " (ceph)" }

func (s create) Apply(ctx context.Context, w Env) error {
	for _, member := range s.members {
		if err := w.LXD.Define(ctx, s.name, member, map[string]string{"source": s.osdPool}); err != nil {
			return charm.Waiting("cannot define storage pool %s on %s: %s", s.name, member, err)
		}
	}
	err := w.LXD.Create(ctx, s.name, map[string]string{
		"ceph.cluster_name": "ceph", "ceph.osd.pool_name": s.osdPool, "ceph.user.name": s.user,
	})
	if err != nil {
		return charm.Blocked("cannot create storage pool %s on Ceph's OSD pool %s: LXD says: %s", s.name, s.osdPool, err)
	}
	return nil
}

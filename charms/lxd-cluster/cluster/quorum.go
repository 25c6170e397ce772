package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/relation/coordinator"
	"github.com/dcib/dcib/internal/relation/lxdcluster"
)

// Replica is a replica of LXD's database, as this machine's LXD knows it.
type Replica struct {
	Address string
	// Votes reports whether its vote counts for the quorum. A replica without a vote may still have all
	// data.
	Votes bool
	// Spare reports whether it has no data.
	Spare bool
}

// planWithoutDatabase is the plan while LXD's database does not answer. The other units must still know
// that this LXD is in a cluster, so that none bootstraps another.
func (f Facts) planWithoutDatabase() charm.Plan[Env] {
	address := f.Mine.Request.Address
	if address == "" {
		address = f.Address
	}
	steps := f.publishIfChanged(lxdcluster.JoinRequest{Member: f.LXD.Member, Address: address, LXD: f.LXD.Version, Cluster: f.LXD.Identity})
	if f.Leader && f.needsBootstrapUnit() {
		// The other units then publish whether they are in this cluster too.
		steps = append(steps, setBootstrapUnit{f.Relation, f.Unit, f.BootstrapUnit.Unit != ""})
	}
	action := "recover-from-quorum-loss"
	if f.isLastUnitInCluster() && len(f.LeftoverData) == 0 {
		action = "reset-lxd"
	}
	if f.Moved != "" {
		// No replica helps: the others do not reach it at its address.
		return charm.Plan[Env]{Steps: steps, Status: charm.Blockedf("%s: %s", f.Moved, f.DatabaseError), Version: f.LXD.Version}
	}
	status := charm.Waitingf("%s: start the machines of members that are down; if they are lost: juju run %s %s", f.DatabaseError, f.Unit, action)
	return charm.Plan[Env]{Steps: steps, Status: status, Version: f.LXD.Version}
}

// isLastUnitInCluster reports whether certainly no other unit that Juju keeps is in this cluster. A unit
// that requested a token may have joined, unless it has confirmed since that it is in no cluster.
func (f Facts) isLastUnitInCluster() bool {
	for _, bag := range f.Peers {
		switch request := bag.Request; {
		case request.Cluster != "" && request.Cluster != f.LXD.Identity:
		case request.Cluster == "" && (request.Key == "" || f.Rebootstrap && request.BootstrapUnit == f.BootstrapUnit.Unit):
		default:
			return false
		}
	}
	return true
}

// Reset is the action reset-lxd. It makes a new LXD of one whose cluster is lost, so that it can join
// again. If the bootstrap unit dies while a second member joins, that one has no working database.
func Reset(ctx context.Context, f Facts, w Env, call charm.Call) (map[string]string, error) {
	if f.DatabaseError == "" {
		return nil, errors.New("cannot reset LXD: its database answers: a unit leaves its cluster with juju remove-unit")
	}
	if !f.isLastUnitInCluster() {
		return nil, errors.New("cannot reset LXD: other units are in this cluster too: restore its quorum with recover-from-quorum-loss on one of them")
	}
	results := map[string]string{}
	if len(f.LeftoverData) > 0 {
		results["lost"] = strings.Join(f.LeftoverData, "\n")
	}
	if !call.Bool("force") {
		what := "the cluster's own configuration"
		if len(f.LeftoverData) > 0 {
			what += ", and " + strings.Join(f.LeftoverData, ", ")
		}
		return results, fmt.Errorf("cannot reset LXD without force=true: it forgets %s; its files are moved to a backup directory", what)
	}
	call.Progress("resetting the LXD of %s", f.LXD.Member)
	limited, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	backupDir, err := w.LXD.Reset(limited, w.Now())
	if err != nil {
		return results, err
	}
	results["backup-dir"] = backupDir
	// The other units wait for the confirmation that this LXD is in no cluster.
	if f.Leader && f.needsBootstrapUnit() {
		if err := (setBootstrapUnit{f.Relation, f.Unit, true}).Apply(ctx, w); err != nil {
			return results, err
		}
		f.BootstrapUnit, f.Rebootstrap = coordinator.Choice{Unit: f.Unit}, true
	}
	request := lxdcluster.JoinRequest{Member: f.Hostname, Address: f.Address, LXD: f.LXD.Version}
	if f.Rebootstrap {
		request.BootstrapUnit = f.BootstrapUnit.Unit
	}
	return results, publish{f.Relation, request}.Apply(ctx, w)
}

// RecoverFromQuorumLoss is the action recover-from-quorum-loss. It makes this unit's replica of LXD's
// database the only one, when the members with the other votes are lost: `lxd cluster
// recover-from-quorum-loss` (LXD's documentation, "How to recover a cluster"). If one of them lived there
// would be two clusters. So the action refuses if one answers, and requires force.
func RecoverFromQuorumLoss(ctx context.Context, f Facts, w Env, call charm.Call) (map[string]string, error) {
	if !f.LXD.Clustered {
		return nil, errors.New("cannot recover: this machine's LXD is in no cluster: see the unit's status")
	}
	if f.DatabaseError == "" {
		return nil, errors.New("cannot recover: LXD's database has its quorum: remove lost members with action remove-member")
	}
	replicas, err := w.LXD.Replicas(ctx)
	if err != nil {
		return nil, err
	}
	self := f.Mine.Request.Address
	at := slices.IndexFunc(replicas, func(r Replica) bool { return r.Address == self })
	if at < 0 || replicas[at].Spare {
		return nil, fmt.Errorf("cannot recover: %s has no replica of LXD's database (replicas: %s): run this on a unit that has one, or remove this unit; its data stays on disk", f.LXD.Member, addresses(replicas))
	}
	others := slices.DeleteFunc(slices.Clone(replicas), func(r Replica) bool { return r.Address == self || !r.Votes })
	for _, r := range others {
		if w.LXD.Answers(ctx, r.Address) {
			return nil, fmt.Errorf("cannot recover: the LXD at %s answers and has a vote: look at its log, and at systemctl status lxd there", r.Address)
		}
	}
	results := map[string]string{"gone": addresses(others)}
	if !call.Bool("force") {
		return results, fmt.Errorf("cannot recover without force=true: the last writes at %s may be lost, and there are two clusters if one of them comes back", addresses(others))
	}
	call.Progress("making %s the only replica of LXD's database", f.LXD.Member)
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	if err := w.LXD.RecoverQuorum(ctx); err != nil {
		return results, err
	}
	results["next"] = "remove lost members with action remove-member, see the unit's status"
	return results, nil
}

func addresses(replicas []Replica) string {
	if len(replicas) == 0 {
		return "no other member"
	}
	list := make([]string, len(replicas))
	for n, r := range replicas {
		list[n] = r.Address
	}
	return strings.Join(list, ", ")
}

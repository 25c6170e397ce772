package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/relation/lxdcluster"
)

// Replica is one that LXD's database has, as this machine's LXD remembers it.
type Replica struct {
	Address string
	// Votes tells that its vote is needed for a quorum. One that does not vote may still have
	// everything that was written.
	Votes bool
	// Spare tells that it has nothing of the database.
	Spare bool
}

// stuck is the plan while LXD's database does not answer. The others must know all the same
// that this LXD is in a cluster, so that nobody founds another.
func (f Facts) stuck() charm.Plan[World] {
	address := f.Mine.Wish.Address
	if address == "" {
		address = f.Address
	}
	steps := f.tell(lxdcluster.Wish{Member: f.LXD.Member, Address: address, LXD: f.LXD.Version, Cluster: f.LXD.Identity})
	status := charm.Waitingf("%s: start the machines of members that are down; if they are gone for good: juju run %s recover-from-quorum-loss", f.Stuck, f.Unit)
	return charm.Plan[World]{Steps: steps, Status: status, Version: f.LXD.Version}
}

// RecoverFromQuorumLoss is the action that makes this unit's replica of LXD's database the
// only one, when the members that had the other votes are gone for good: `lxd cluster
// recover-from-quorum-loss` (LXD doc, "How to recover a cluster"). Done while one of them
// lives it would make two clusters of one, so it refuses when one answers, and wants force.
func RecoverFromQuorumLoss(ctx context.Context, f Facts, w World, call charm.Call) (map[string]string, error) {
	if !f.LXD.Clustered {
		return nil, errors.New("cannot recover: this machine's LXD is in no cluster: see the unit's status")
	}
	if f.Stuck == "" {
		return nil, errors.New("cannot recover: LXD's database answers, so it has its quorum: remove members that are gone with action remove-member")
	}
	replicas, err := w.LXD.Replicas(ctx)
	if err != nil {
		return nil, err
	}
	self := f.Mine.Wish.Address
	at := slices.IndexFunc(replicas, func(r Replica) bool { return r.Address == self })
	if at < 0 || replicas[at].Spare {
		return nil, fmt.Errorf("cannot recover: %s has no replica of LXD's database (it was at %s): run this on a unit that has one, or if there is none remove this unit: what is on its machine is on its disk still", f.LXD.Member, addresses(replicas))
	}
	others := slices.DeleteFunc(slices.Clone(replicas), func(r Replica) bool { return r.Address == self || !r.Votes })
	for _, r := range others {
		if w.LXD.Answers(ctx, r.Address) {
			return nil, fmt.Errorf("cannot recover: the LXD at %s answers, and has a vote on the database: look at its log, and at systemctl status lxd there", r.Address)
		}
	}
	results := map[string]string{"gone": addresses(others)}
	if !call.Bool("force") {
		return results, fmt.Errorf("cannot recover without force=true: what was written last at %s may be lost, and if one of them comes back there are two clusters: be sure that they never do", addresses(others))
	}
	call.Progress("making %s the only replica of LXD's database", f.LXD.Member)
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	if err := w.LXD.RecoverQuorum(ctx); err != nil {
		return results, err
	}
	results["next"] = "see the unit's status: members that are gone are removed with action remove-member"
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

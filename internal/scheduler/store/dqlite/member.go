//go:build cgo && libsqlite3

package dqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/canonical/go-dqlite/app"
	"github.com/canonical/go-dqlite/client"
)

// How long things between nodes may take before they are begun again.
const (
	tend = 15 * time.Second // all that there is to do about membership at one time
	rest = time.Second      // until it is tried again
)

// none is what the library's rules for roles say when no role is to change.
const none = client.NodeRole(-1)

// keep has the cluster take the node in, and keeps the cluster's roles while the node leads
// it, until the node ends.
func (n *node) keep() {
	for wait := time.Duration(0); ; {
		select {
		case <-n.ctx.Done():
			return
		case <-time.After(wait):
		case <-n.told:
		}
		ctx, cancel := context.WithTimeout(n.ctx, tend)
		err := n.attend(ctx)
		cancel()
		wait = adjust
		if err != nil {
			wait = rest
			if n.ctx.Err() == nil && !n.in.Load() {
				n.notes.Error("join", err)
			}
		}
	}
}

// attend does once what there is to do.
func (n *node) attend(ctx context.Context) error {
	c, err := n.leader(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if !n.in.Load() {
		if err := n.join(ctx, c); err != nil {
			return fmt.Errorf("cannot join the store: %w", err)
		}
		if err := os.Remove(filepath.Join(n.dir, joinFile)); err != nil {
			return fmt.Errorf("cannot keep that the store has taken this node in: %w", err)
		}
		n.in.Store(true)
	}
	nodes, err := list(ctx, c)
	if err != nil {
		return err
	}
	// An empty list has been seen of a leader that was about to be none.
	if len(nodes) > 0 {
		if err := n.nodes.Set(ctx, nodes); err != nil {
			return fmt.Errorf("cannot keep the list of the store's nodes: %w", err)
		}
		now := time.Now()
		n.listed.Store(&now)
	}
	select {
	case <-n.ready:
		return n.adjust(ctx, c)
	default:
	}
	if err := n.assume(ctx, c, nodes); err != nil {
		return err
	}
	close(n.ready)
	return nil
}

// taken is what the leader says to a node that is in already, see raft_add in the C library.
// The error has no type or code of its own. It is said of a configuration that is committed
// only, which the leader's list need not be.
const taken = "server ID already in use"

// join has the leader take this node in. It may have done so before, and the node was killed or
// cut off before it heard of it.
func (n *node) join(ctx context.Context, c *client.Client) error {
	nodes, err := list(ctx, c)
	if err != nil {
		return err
	}
	// Networks assign the address of a lost machine to another: who had it can be
	// reached no more, and the leader takes no second node with the same.
	for _, other := range nodes {
		if other.Address != n.who.Address || other.ID == n.who.ID {
			continue
		}
		n.say("removing node %d from the store: it had the address %s, which is this unit's now", other.ID, other.Address)
		if err := c.Remove(ctx, other.ID); err != nil {
			return fmt.Errorf("cannot remove the node that had the address %s before: %w", other.Address, err)
		}
	}
	err = c.Add(ctx, n.who.info(client.Spare))
	if err != nil && strings.Contains(err.Error(), taken) {
		return nil
	}
	return err
}

// assume takes the role that the cluster lacks when the node begins; with the third node of
// a cluster the second gets a vote too.
func (n *node) assume(ctx context.Context, c *client.Client, nodes []client.NodeInfo) error {
	changes := n.survey(ctx, nodes)
	role := changes.Assume(n.who.ID)
	if role == none {
		return nil
	}
	if err := c.Assign(ctx, n.who.ID, role); err != nil {
		return fmt.Errorf("cannot become a %s of the store: %w", role, err)
	}
	votes := 0
	for to, there := range changes.State {
		if to.Role == client.Voter && there != nil {
			votes++
		}
	}
	if role != client.Voter || votes != 1 {
		return nil
	}
	// Two votes are worse than one. Who leads would see to it too, some seconds later.
	for to, there := range changes.State {
		if to.ID != n.who.ID && to.Role != client.Voter && there != nil && c.Assign(ctx, to.ID, client.Voter) == nil {
			break
		}
	}
	return nil
}

// adjust returns roles to others while this node leads: those that are gone lose theirs.
func (n *node) adjust(ctx context.Context, c *client.Client) error {
	for {
		leader, err := c.Leader(ctx)
		if err != nil || leader == nil || leader.ID != n.who.ID {
			return err
		}
		nodes, err := list(ctx, c)
		if err != nil {
			return err
		}
		changes := n.survey(ctx, nodes)
		role, candidates := changes.Adjust(n.who.ID)
		if role == none {
			return nil
		}
		if _, err := assign(ctx, c, role, candidates); err != nil {
			return err
		}
	}
}

// assign sets a role of the first of the candidates that takes it.
func assign(ctx context.Context, c *client.Client, role client.NodeRole, candidates []client.NodeInfo) (client.NodeInfo, error) {
	err := fmt.Errorf("cannot make any node a %s of the store: there is none that could be", role)
	for _, to := range candidates {
		if err = c.Assign(ctx, to.ID, role); err == nil {
			return to, nil
		}
		err = fmt.Errorf("cannot make node %s a %s of the store: %w", to.Address, role, err)
	}
	return client.NodeInfo{}, err
}

// survey asks all nodes at once who is there.
func (n *node) survey(ctx context.Context, nodes []client.NodeInfo) app.RolesChanges {
	changes := app.RolesChanges{
		Config: app.RolesConfig{Voters: voters, StandBys: standbys},
		State:  map[client.NodeInfo]*client.NodeMetadata{},
	}
	var mu sync.Mutex
	var asked sync.WaitGroup
	for _, to := range nodes {
		changes.State[to] = nil
	}
	for _, to := range nodes {
		asked.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
			defer cancel()
			c, err := client.New(ctx, to.Address, n.options()...)
			if err != nil {
				return
			}
			defer c.Close()
			about, err := c.Describe(ctx)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			changes.State[to] = about
		})
	}
	asked.Wait()
	return changes
}

// Handover implements Node.
func (n *node) Handover(ctx context.Context) error {
	if err := n.handover(ctx); err != nil {
		return fmt.Errorf("cannot hand the store over: %w", err)
	}
	return nil
}

func (n *node) handover(ctx context.Context) error {
	c, nodes, err := n.cluster(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	changes := n.survey(ctx, nodes)
	role, candidates := changes.Handover(n.who.ID)
	var successor client.NodeInfo
	if role != none {
		if successor, err = assign(ctx, c, role, candidates); err != nil {
			return err
		}
	}
	leader, err := c.Leader(ctx)
	if err != nil {
		return err
	}
	if leader != nil && leader.ID == n.who.ID {
		next, err := n.transferLeadership(ctx, c, changes, successor)
		if err != nil || next == nil {
			return err
		}
		defer next.Close()
		c = next
	}
	if role != none {
		return c.Assign(ctx, n.who.ID, client.Spare)
	}
	return nil
}

// transferLeadership has another voter lead, and returns a client of that one; none when this one is all
// that there is.
func (n *node) transferLeadership(ctx context.Context, c *client.Client, changes app.RolesChanges, successor client.NodeInfo) (*client.Client, error) {
	var err error
	for to, there := range changes.State {
		votes := to.Role == client.Voter || to.ID == successor.ID && successor.Address != ""
		if to.ID == n.who.ID || there == nil || !votes {
			continue
		}
		if err = c.Transfer(ctx, to.ID); err == nil {
			return n.leader(ctx)
		}
	}
	return nil, err
}

// last is no role: the library asks by their numbers.
const last = client.Spare + 1

// recent is how long a list of the cluster's nodes is taken to be true.
const recent = 3 * adjust

// leaderCandidates are whom the node asks who leads: itself first, as it mostly knows, then those that
// had a vote when the cluster's nodes were last seen, or whom it was told of, then the others; last, who
// did not answer when last asked. The library asks one after another, and each that is gone and was not
// taken out yet costs as long as reach.
//
// Of a cluster that was seen lately only those are asked that have a vote: the leader is one of them.
type leaderCandidates struct{ *node }

// Get implements client.NodeStore.
func (a leaderCandidates) Get(ctx context.Context) ([]client.NodeInfo, error) {
	nodes, err := a.nodes.Get(ctx)
	if err != nil {
		return nil, err
	}
	seen := a.listed.Load()
	lately := seen != nil && time.Since(*seen) < recent
	// The library sorts them by role.
	list := []client.NodeInfo{a.who.info(client.Voter)}
	for _, to := range nodes {
		if to.Address == a.who.Address || lately && to.Role != client.Voter {
			continue
		}
		switch {
		case !a.others.silence(to.Address).IsZero():
			to.Role = last
		case to.Role == client.Voter:
			to.Role = client.StandBy
		default:
			to.Role = client.Spare
		}
		list = append(list, to)
	}
	return list, nil
}

// Set implements client.NodeStore; keep does it.
func (leaderCandidates) Set(context.Context, []client.NodeInfo) error { return nil }

// AddJoinAddresses implements Node.
func (n *node) AddJoinAddresses(join []string) error {
	if n.in.Load() {
		return nil
	}
	nodes, err := n.nodes.Get(n.ctx)
	if err != nil {
		return fmt.Errorf("cannot read the list of the store's nodes: %w", err)
	}
	known := len(nodes)
	for _, address := range join {
		if !slices.ContainsFunc(nodes, func(i client.NodeInfo) bool { return i.Address == address }) {
			nodes = append(nodes, client.NodeInfo{Address: address})
		}
	}
	if len(nodes) == known {
		return nil
	}
	if err := n.nodes.Set(n.ctx, nodes); err != nil {
		return fmt.Errorf("cannot keep the list of the store's nodes: %w", err)
	}
	select {
	case n.told <- struct{}{}:
	default: // it will look
	}
	return nil
}

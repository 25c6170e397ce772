// Package cluster makes the machines of an application one LXD cluster.
//
// LXD's own member list says who is in the cluster, not Juju's leadership. The leader writes the unit that
// bootstraps into the application's databag, and that unit bootstraps in a later hook, when it reads its
// own name back (see package coordinator). A joining unit publishes a join request. The coordinator, which
// is the lowest-numbered unit that is a live member, seals a join token to the key in the request. There is
// one token at a time, so units join one after another.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/lxd"
	"github.com/dcib/dcib/internal/relation/coordinator"
	"github.com/dcib/dcib/internal/relation/lxdcluster"
	"github.com/dcib/dcib/internal/seal"
)

// Env is what this package works on.
type Env struct {
	Tools    hooktool.Tools
	LXD      LXD
	Hostname string           // the machine's name; its LXD's member name once it joins
	StateDir string           // where the join key is kept, readable by root only
	Now      func() time.Time // time.Now outside tests
	// Downgraded is install.Downgraded of this machine; nil if it is not known.
	Downgraded func(ctx context.Context, ran string) string
	// Addresses are this machine's; nil if they are not known.
	Addresses []netip.Addr
}

// Facts are what a plan is made from.
type Facts struct {
	Unit     string
	Leader   bool
	Now      time.Time
	Hostname string
	Address  string // host:port of this unit's LXD
	Zone     string // Juju's availability zone of this machine; empty if it has none
	Config   Config
	Problems []string // with the options
	// SourceErr is the reason why option storage-source cannot be used on this machine.
	SourceErr string

	Relation string // the peer relation's id; empty before Juju created it
	// BootstrapUnit is the unit that bootstraps the cluster. A unit that is not among the peers may just
	// not have started yet, so Gone is what Juju reports.
	BootstrapUnit coordinator.Choice
	Mine          PeerData
	Peers         map[string]PeerData // by unit, without this one
	// Others are the units that Juju means to keep, without this one, including those that are not among
	// the peers yet. A member does not observe them while nothing depends on it.
	Others []string
	// Rebootstrap reports whether the bootstrap unit replaces one that is gone.
	Rebootstrap bool

	JoinKey string // public half of this unit's join key; empty when it has none
	LXD     ServerState

	// Pending is the reason why joining, and a profile with root disks on Ceph, must wait; empty if there
	// is none. Package ceph sets it.
	Pending string

	// NIC has more keys for the profile's nic. Package maas sets it.
	NIC map[string]string

	// Unfinished are joins that are under way or broke off. It is set while another unit requests to join.
	Unfinished []Unfinished
	// Moved reports that this machine has lost the address by which its cluster knows it; empty if it has
	// not.
	Moved string

	// Downgraded reports that the snap of this machine's LXD, which does not answer, is older than the LXD
	// that ran here before.
	Downgraded string

	// DatabaseError is the reason why LXD's database does not answer; empty if it answers. With it, only
	// the facts are known that LXD knows without its database.
	DatabaseError string
	// LeftoverData is what is on this machine's disks while there is a DatabaseError; see lxd.LeftoverData.
	LeftoverData []string

	Removal *Removal // nil for a unit that stays
}

// PeerData is a unit's databag in the peer relation.
type PeerData struct {
	Request    lxdcluster.JoinRequest
	HasRequest bool
	Token      lxdcluster.SealedJoinToken
	HasToken   bool
	Ceph       bool // the unit's machine has Ceph's configuration
}

// Observe gathers the facts and changes nothing.
func Observe(ctx context.Context, event hooktool.Event, w Env) (Facts, error) {
	f := Facts{Unit: event.Unit, Now: w.Now(), Hostname: w.Hostname, Zone: event.Zone, Peers: map[string]PeerData{}}
	var err error
	f.LXD, err = w.LXD.Observe(ctx)
	if mayLeave(event) || err == nil && !f.LXD.Clustered {
		if going, err := f.observeRemoval(ctx, event, w, err); going || err != nil {
			return f, err
		}
	}
	if errors.Is(err, lxd.ErrDatabaseUnavailable) {
		f.DatabaseError = err.Error()
		f.LeftoverData, err = w.LXD.LeftoverData()
	}
	if err != nil {
		// LXD does not start without its address.
		if moved, movedErr := f.observeLostAddress(ctx, w); movedErr != nil || moved != "" {
			return f, errors.Join(movedErr, charm.Blocked("%s: %s", moved, err))
		}
		if downgraded := w.downgraded(ctx, f.Mine.Request.LXD); downgraded != "" {
			return f, charm.Blocked("cannot reach LXD: %s", downgraded)
		}
		return f, charm.Waiting("%s", err)
	}
	options, err := w.Tools.Config(ctx)
	if err != nil {
		return f, err
	}
	f.Config, f.Problems = ParseConfig(options)
	if !f.LXD.Clustered && len(f.Problems) == 0 {
		devices, err := w.Tools.Storage(ctx, storageName)
		if err != nil {
			return f, err
		}
		if problem := f.Config.Storage.attach(devices); problem != "" {
			f.Problems = append(f.Problems, problem)
		}
		f.SourceErr = f.Config.Storage.missing()
	}
	if f.Leader, err = w.Tools.IsLeader(ctx); err != nil {
		return f, err
	}
	if f.Address = f.LXD.address(); f.Address == "" {
		host, err := w.Tools.Address(ctx, lxdcluster.Endpoint)
		if err != nil {
			return f, charm.Waiting("%s", err)
		}
		f.Address = net.JoinHostPort(host, lxd.Port)
	}
	key, err := seal.Load(filepath.Join(w.StateDir, keyFile))
	if err != nil {
		return f, err
	}
	if key != nil {
		f.JoinKey = key.Public()
	}
	return f, f.observePeers(ctx, event, w)
}

func (f *Facts) observePeers(ctx context.Context, event hooktool.Event, w Env) error {
	relations, err := w.Tools.RelationIDs(ctx, lxdcluster.Endpoint)
	if err != nil || len(relations) == 0 {
		return err
	}
	f.Relation = relations[0]
	app, err := w.Tools.RelationGet(ctx, f.Relation, event.App())
	if err != nil {
		return err
	}
	f.BootstrapUnit.Unit, f.Rebootstrap = lxdcluster.BootstrapUnit(app), lxdcluster.Rebootstrap(app)
	if f.Mine, err = readPeerData(ctx, w.Tools, f.Relation, event.Unit); err != nil {
		return err
	}
	if !f.LXD.Present {
		f.Downgraded = w.downgraded(ctx, f.Mine.Request.LXD)
	}
	units, err := w.Tools.RelationUnits(ctx, f.Relation)
	if err != nil {
		return err
	}
	for _, unit := range units {
		bag, err := readPeerData(ctx, w.Tools, f.Relation, unit)
		if errors.Is(err, hooktool.ErrNotFound) {
			continue // Juju still lists a unit that has just left
		}
		if err != nil {
			return err
		}
		f.Peers[unit] = bag
	}
	if f.LXD.Clustered {
		address := f.LXD.address()
		if address == "" {
			address = f.Mine.Request.Address
		}
		f.Moved = w.moved(address, func() (string, error) { return w.Tools.Address(ctx, lxdcluster.Endpoint) })
	}
	if f.LXD.Clustered && f.DatabaseError == "" && f.hasJoinRequests() {
		if f.Unfinished, err = w.LXD.Unfinished(ctx); err != nil {
			return charm.Waiting("%s", err)
		}
	}
	settled := f.Config.Bridge != autoBridge || f.profileBridge() != ""
	if f.LXD.Clustered && !f.hasJoinRequests() && f.DatabaseError == "" && f.otherCluster() == "" && settled {
		return nil
	}
	// Juju also lists units that are being removed, and Juju 4 those that are gone. No unit waits for them
	// or issues a token to them.
	kept, err := w.Tools.Units(ctx)
	if err != nil {
		return err
	}
	maps.DeleteFunc(f.Peers, func(unit string, _ PeerData) bool { return !slices.Contains(kept, unit) })
	f.Others = slices.DeleteFunc(slices.Clone(kept), func(unit string) bool { return unit == f.Unit })
	f.BootstrapUnit = coordinator.New(f.BootstrapUnit.Unit, kept)
	return nil
}

// downgraded calls Downgraded if this machine has published the LXD version that it ran.
func (w Env) downgraded(ctx context.Context, ran string) string {
	if w.Downgraded == nil || ran == "" {
		return ""
	}
	return w.Downgraded(ctx, ran)
}

// hasJoinRequests reports whether a unit requests a join token.
func (f *Facts) hasJoinRequests() bool {
	for _, bag := range f.Peers {
		if bag.Request.Key != "" {
			return true
		}
	}
	return false
}

func readPeerData(ctx context.Context, tools hooktool.Tools, relation, unit string) (b PeerData, err error) {
	bag, err := tools.RelationGet(ctx, relation, unit)
	if err != nil {
		return b, err
	}
	if b.Request, b.HasRequest, err = lxdcluster.ReadJoinRequest(bag); err != nil {
		return b, fmt.Errorf("%w (unit %s)", err, unit)
	}
	if b.Token, b.HasToken, err = lxdcluster.ReadJoinToken(bag); err != nil {
		return b, fmt.Errorf("%w (unit %s)", err, unit)
	}
	b.Ceph = lxdcluster.ReadCeph(bag)
	return b, nil
}

// IsCoordinator reports whether this unit does what is done once for the cluster.
func (f Facts) IsCoordinator() bool { return f.LXD.Clustered && f.coordinator() == f.Unit }

// WithCeph returns the members whose machines have Ceph's configuration.
func (f Facts) WithCeph() []string {
	var members []string
	for _, bag := range f.Peers {
		if bag.Ceph {
			members = append(members, bag.Request.Member)
		}
	}
	if f.Mine.Ceph {
		members = append(members, f.LXD.Member)
	}
	slices.Sort(members)
	return members
}

// MemberNames returns the names of the cluster's members.
func (f Facts) MemberNames() []string { return memberNames(f.LXD.Members) }

// keyFile is the join key's file in the state directory.
const keyFile = "join.key"

// number returns a unit's number: 2 for "lxd-cluster/2".
func number(unit string) int {
	n, err := strconv.Atoi(unit[strings.LastIndexByte(unit, '/')+1:])
	if err != nil {
		return -1
	}
	return n
}

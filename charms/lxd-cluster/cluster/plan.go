package cluster

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"sort"
	"strings"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/lxd"
	"github.com/dcib/dcib/internal/relation/lxdcluster"
)

// Names of what we own in LXD.
const (
	ProfileName = "dcib"
	OwnerKey    = "user.dcib.owner"
)

// Plan is what this unit does about the facts. It is pure.
func Plan(f Facts) charm.Plan[Env] {
	if f.Departure != nil {
		steps, status := f.leave()
		return charm.Plan[Env]{Steps: steps, Status: status}
	}
	switch {
	case f.Lowered != "":
		return charm.Plan[Env]{Status: charm.Blockedf("cannot reach LXD: %s", f.Lowered)}
	case !f.LXD.Present:
		return charm.Plan[Env]{Status: charm.Blockedf("cannot find LXD on this machine: install it (snap install lxd, or apt-get install lxd)")}
	case f.Relation == "":
		return charm.Plan[Env]{Status: charm.Waitingf("waiting for Juju to make the peer relation %q", lxdcluster.Endpoint)}
	}
	if f.Stuck != "" {
		return f.stuck()
	}
	steps, status := f.membership()
	problems := append(slices.Clone(f.Problems), f.storageUnmet()...)
	problems = append(problems, f.groupsUnmet()...)
	for _, problem := range []string{f.lackingBridge(), f.Moved, f.brokenJoins()} {
		if problem != "" && f.LXD.Clustered {
			problems = append(problems, problem)
		}
	}
	if f.Moved != "" && status.Level == charm.LevelWaiting {
		status.Level = charm.LevelActive // whose members are offline follows from it
	}
	if len(problems) > 0 && status.Level == charm.LevelActive {
		status = charm.Blockedf("%s", strings.Join(problems, "; "))
	}
	return charm.Plan[Env]{Steps: steps, Status: status, Version: f.LXD.Version}
}

// membership plans this unit's way into the cluster, or its duties in it.
func (f Facts) membership() ([]charm.Step[Env], charm.Status) {
	if f.LXD.Clustered {
		if other := f.otherCluster(); other != "" {
			return nil, charm.Blockedf("cannot join: this machine's LXD is in another cluster already (members %s; ours is the one of %s): remove it there, or remove this unit", strings.Join(memberNames(f.LXD.Members), ", "), other)
		}
		return f.asMember()
	}
	var steps []charm.Step[Env]
	if f.Leader && f.founderIsMissing() {
		steps = append(steps, nameFounder{f.Relation, f.Unit, f.Founder != ""})
	}
	if f.Founder == f.Unit && f.clusterUnit() == "" {
		found, status := f.asFounder()
		return append(steps, found...), status
	}
	join, status := f.asJoiner()
	return append(steps, join...), status
}

// asMember keeps what members share, and issues tokens where it is this unit's turn.
func (f Facts) asMember() ([]charm.Step[Env], charm.Status) {
	var steps []charm.Step[Env]
	steps = append(steps, f.tell(lxdcluster.Wish{
		Member: f.LXD.Member, Address: f.Address, LXD: f.LXD.Version, Cluster: f.LXD.Identity,
		Lacks: f.lacks(), HostBridge: f.reportedBridge(), Parents: strings.Join(slices.Sorted(slices.Values(f.LXD.Uplinks)), ","),
	})...)
	steps = append(steps, f.failureDomain()...)
	steps = append(steps, f.groups()...)
	if f.Leader && f.Founder == "" {
		// An application that adopted a cluster has a founder too: nobody else may be.
		steps = append(steps, nameFounder{f.Relation, f.Unit, false})
	}
	if f.issuer() == f.Unit {
		steps = append(steps, f.issue()...)
		if len(f.Problems) == 0 && len(f.storageUnmet()) == 0 && f.lacks() == "" && f.Bridge() != "" {
			steps = append(steps, f.profiles()...)
		}
	} else if f.Mine.HasOffer {
		steps = append(steps, withdraw{f.Relation})
	}
	status := f.memberStatus()
	for _, also := range []string{f.othersLack(), f.behind(), f.isolated(), f.undecided()} {
		if also != "" && status.Level == charm.LevelActive {
			status.Message += "; " + also
		}
	}
	return steps, status
}

// memberStatus says how the cluster is.
func (f Facts) memberStatus() charm.Status {
	var offline []string
	for _, m := range f.LXD.Members {
		if !m.Live() {
			offline = append(offline, m.Name)
		}
	}
	n := len(f.LXD.Members)
	switch {
	case f.LXD.silent():
		return charm.Waitingf("waiting for LXD to hear from its members: it has no recent heartbeat even of this one, as when it chooses a new leader; if this stays, look at LXD's log")
	case len(offline) > 0:
		after := ""
		if heirs := f.heirs(); len(heirs) > 0 {
			after = "; until then cannot join: " + strings.Join(heirs, ", ")
		}
		return charm.Waitingf("%d of %d members online; offline: %s: bring it back, or if its machine is gone for good: juju run %s remove-member member=%s%s", n-len(offline), n, strings.Join(offline, ", "), f.Unit, offline[0], after)
	case n == 1:
		return charm.Active("member %s, alone in its cluster", f.LXD.Member)
	case n == 2:
		return charm.Active("member %s, one of 2, all online; with 2 members no quorum is left if one dies: add a third unit", f.LXD.Member)
	default:
		return charm.Active("member %s, one of %d, all online", f.LXD.Member, n)
	}
}

// behind says that this machine's LXD is older than another member's; empty when it is not.
func (f Facts) behind() string {
	for _, unit := range f.sortedPeers() {
		if theirs := f.Peers[unit].Wish; theirs.Cluster == f.LXD.Identity && lxd.Older(f.LXD.Version, theirs.LXD) {
			return fmt.Sprintf("its LXD %s is older than %s of %s: juju run %s upgrade-lxd", f.LXD.Version, theirs.LXD, unit, f.Unit)
		}
	}
	return ""
}

// asFounder makes the machine's LXD ready and makes it a cluster of one. What is there is
// kept.
func (f Facts) asFounder() ([]charm.Step[Env], charm.Status) {
	if len(f.Problems) > 0 {
		// A pool or a bridge made from a wrong option could not be taken back.
		return nil, charm.Blockedf("%s", strings.Join(f.Problems, "; "))
	}
	if reason := f.cannotStore(); reason != "" {
		return nil, charm.Blockedf("%s", reason)
	}
	steps := f.tell(lxdcluster.Wish{Member: f.Hostname, Address: f.Address, LXD: f.LXD.Version, HostBridge: f.reportedBridge(), Founder: f.knownFounder()})
	if silent := f.mayHaveJoined(); len(silent) > 0 {
		return steps, charm.Waitingf("waiting to found the cluster again: %s may have joined one that the last founder made, and has yet to say no; if its machine is gone for good, remove it from Juju", strings.Join(silent, ", "))
	}
	if status := f.awaitBridge(); status != nil {
		return steps, *status
	}
	if f.LXD.Clusters == "" && (f.LXD.Listens == "" || wildcard(f.LXD.Listens)) {
		steps = append(steps, listen{f.Address})
	}
	if f.wantsPool() {
		steps = append(steps, createPool{f.Config.Storage})
	}
	if _, there := f.LXD.Networks[f.Bridge()]; !there {
		steps = append(steps, createBridge{f.Bridge(), f.Config.BridgeAddress})
	}
	steps = append(steps, found{f.Hostname})
	return steps, charm.Maintenancef("founding the cluster")
}

// asJoiner tells this unit's wish and uses the offer that was made to it.
func (f Facts) asJoiner() ([]charm.Step[Env], charm.Status) {
	wish := lxdcluster.Wish{Member: f.Hostname, Address: f.Address, LXD: f.LXD.Version, HostBridge: f.reportedBridge(), Spent: f.Mine.Wish.Spent, Failed: f.Mine.Wish.Failed, Founder: f.knownFounder()}
	if f.clusterUnit() == "" {
		// Nobody can join yet; who founds is not decided or not done.
		steps := f.tell(wish)
		if f.Founder == "" {
			return steps, charm.Waitingf("waiting for the leader to name a founder")
		}
		return steps, charm.Waitingf("waiting for %s to found the cluster", f.Founder)
	}
	if reason := f.cannotJoin(); reason != "" {
		// A wish without a key asks for no token, so that nobody waits for us.
		return f.tell(wish), charm.Blockedf("%s", reason)
	}
	if f.Pending != "" {
		return f.tell(wish), charm.Waitingf("cannot join yet: %s", f.Pending)
	}
	if f.JoinKey == "" {
		return []charm.Step[Env]{makeKey{}}, charm.Maintenancef("preparing to join")
	}
	wish.Key = f.JoinKey
	steps := f.tell(wish)
	if len(f.LXD.Owned) > 0 && f.mayWipe(wish) {
		return append(steps, f.wipes()...), charm.Maintenancef("emptying this machine's LXD, to join the cluster")
	}
	for _, unit := range f.sortedPeers() {
		if offer := f.Peers[unit].Offer; offer.Fits(wish, f.Now) {
			return append(steps, join{f.Relation, wish, offer, f.Config.Storage, f.parents()}), charm.Maintenancef("joining the cluster")
		}
	}
	return steps, charm.Waitingf("waiting for a join token from the cluster's members (%s)", f.clusterUnit())
}

// cannotJoin returns the reason why this machine's LXD must not join as it is; "" when it
// may.
func (f Facts) cannotJoin() string {
	host := f.clusterUnit()
	if theirs := f.Peers[host].Wish.LXD; theirs != f.LXD.Version {
		return fmt.Sprintf("cannot join: %s offers LXD %s, the cluster runs %s (asked %s): refresh one of them", f.Unit, f.LXD.Version, theirs, host)
	}
	if len(f.LXD.Owned) > 0 && !f.gives() {
		return fmt.Sprintf("cannot join: joining would lose what this machine's LXD has (%s): move it away%s, or remove this unit, or to lose it, on every unit like this: juju config %s wipe-on-join=true", f.owned(), f.ofJuju(), hooktool.AppOf(f.Unit))
	}
	if len(f.Problems) > 0 {
		// What a member joins with could not be taken back.
		return strings.Join(f.Problems, "; ")
	}
	if reason := f.parentsMissing(); reason != "" {
		return reason
	}
	return f.cannotStore()
}

// issue plans the next offer: the lowest-numbered unit that asks gets one; while it stands
// nobody else does.
func (f Facts) issue() []charm.Step[Env] {
	asking := f.asking()
	if len(asking) == 0 {
		if f.Mine.HasOffer {
			return []charm.Step[Env]{withdraw{f.Relation}}
		}
		return nil
	}
	last := f.Mine.Offer
	next := asking[0]
	for i, unit := range asking {
		wish := f.Peers[unit].Wish
		if last.Fits(wish, f.Now) {
			return nil
		}
		if last.Member == wish.Member {
			// It did not get in with the last one: let the next one try before it.
			next = asking[(i+1)%len(asking)]
		}
	}
	if wish := f.Peers[next].Wish; wish.Failed >= quickOffers && f.Now.Before(last.Issued.Add(slowOffer)) {
		return nil
	}
	return []charm.Step[Env]{offer{f.Relation, f.Peers[next].Wish}}
}

// asking lists the units that want a token, and can get in with one, in the order of their
// numbers.
func (f Facts) asking() []string {
	return f.joiners(func(w lxdcluster.Wish) bool { return f.inPlaceOf(w) == nil && f.brokenOff(w) == nil })
}

// heirs are the units that cannot join as long as an offline member is there, each with why.
func (f Facts) heirs() []string {
	units := f.joiners(func(w lxdcluster.Wish) bool {
		m := f.inPlaceOf(w)
		return m != nil && !m.Live()
	})
	for n, unit := range units {
		wish := f.Peers[unit].Wish
		m, what := f.inPlaceOf(wish), "name"
		if m.Name != wish.Member {
			what = "address"
		}
		units[n] = fmt.Sprintf("%s (it has the %s of %s)", unit, what, m.Name)
	}
	return units
}

// joiners lists the units that want to join and of which that holds, in the order of their
// numbers.
func (f Facts) joiners(which func(lxdcluster.Wish) bool) []string {
	var units []string
	for _, unit := range f.sortedPeers() {
		wish := f.Peers[unit].Wish
		if wish.Key != "" && wish.Cluster == "" && wish.Member != "" && which(wish) {
			units = append(units, unit)
		}
	}
	return units
}

// inPlaceOf is the member that has the name or the address that a unit wants to join with, as
// when its machine took the place of one that died; nil when there is none. LXD refuses it
// then (membershipCheckClusterStateForAccept in lxd/cluster/membership.go).
func (f Facts) inPlaceOf(w lxdcluster.Wish) *Member {
	for n := range f.LXD.Members {
		if m := &f.LXD.Members[n]; m.Name == w.Member || m.Address == w.Address {
			return m
		}
	}
	return nil
}

// issuer names the unit that issues tokens: of the units that are live members by LXD's
// own list, the one with the lowest number.
func (f Facts) issuer() string {
	live := map[string]bool{}
	for _, m := range f.LXD.Members {
		live[m.Name] = m.Live()
	}
	best := ""
	if live[f.LXD.Member] {
		best = f.Unit
	}
	for _, unit := range f.sortedPeers() {
		wish := f.Peers[unit].Wish
		if wish.Cluster == f.LXD.Identity && live[wish.Member] && (best == "" || number(unit) < number(best)) {
			best = unit
		}
	}
	return best
}

// profiles plans the profiles that are ours to write.
func (f Facts) profiles() []charm.Step[Env] {
	if f.Config.Storage.Driver == sharedDriver && f.Pending != "" {
		return nil
	}
	var steps []charm.Step[Env]
	want := f.ownProfile()
	if have, ok := f.LXD.Profiles[ProfileName]; !ok || !sameProfile(have, want) {
		steps = append(steps, putProfile{want})
	}
	if f.Config.ManageDefaultProfile {
		// Only what is missing is added; what an operator put there stays.
		have := f.LXD.Profiles["default"]
		add := Profile{Name: "default", Description: have.Description, Config: have.Config, Devices: map[string]map[string]string{}}
		missing := false
		for name, device := range have.Devices {
			add.Devices[name] = device
		}
		for name, device := range want.Devices {
			if _, ok := add.Devices[name]; !ok {
				add.Devices[name], missing = device, true
			}
		}
		if missing {
			steps = append(steps, putProfile{add})
		}
	}
	return steps
}

// ownProfile is what an instance needs to run in this cluster.
func (f Facts) ownProfile() Profile {
	// LXD moves an instance to another member only when its nic names a network that LXD
	// manages (CanMigrate in lxd/device/nic_bridged.go), of whatever type; a bridge of the
	// machine's own can only be given as the parent.
	nic := map[string]string{"type": "nic", "name": "eth0", "network": f.Bridge()}
	if !f.LXD.Networks[f.Bridge()] {
		nic = map[string]string{"type": "nic", "name": "eth0", "nictype": "bridged", "parent": f.Bridge()}
	}
	maps.Copy(nic, f.NIC)
	return Profile{
		Name:        ProfileName,
		Description: "root disk and network of this cluster (kept by the lxd-cluster charm)",
		Config:      map[string]string{OwnerKey: "lxd-cluster"},
		Devices: map[string]map[string]string{
			"root": {"type": "disk", "path": "/", "pool": f.rootPool()},
			"eth0": nic,
		},
	}
}

func sameProfile(a, b Profile) bool {
	return a.Description == b.Description && maps.Equal(a.Config, b.Config) &&
		maps.EqualFunc(a.Devices, b.Devices, maps.Equal[map[string]string, map[string]string])
}

// wildcard reports whether an address means every address of the machine.
func wildcard(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "" || ip != nil && ip.IsUnspecified())
}

// tell plans to publish the wish unless that is what Juju has already.
func (f Facts) tell(wish lxdcluster.Wish) []charm.Step[Env] {
	if f.Mine.HasWish && f.Mine.Wish == wish {
		return nil
	}
	return []charm.Step[Env]{publish{f.Relation, wish}}
}

// founderIsMissing reports whether the leader has to name a founder: nobody is named, or the
// named one has left without there being a cluster.
func (f Facts) founderIsMissing() bool {
	if f.clusterUnit() != "" {
		return false
	}
	return f.Founder == "" || f.FounderGone
}

// knownFounder is what a unit whose LXD is in no cluster says of the founder, see Wish.
func (f Facts) knownFounder() string {
	if f.FounderAgain {
		return f.Founder
	}
	return ""
}

// mayHaveJoined lists the units that asked for a token once and have not said since this
// founder took the place of another that they are in no cluster.
func (f Facts) mayHaveJoined() []string {
	var units []string
	for _, unit := range f.sortedPeers() {
		if f.FounderAgain && f.Peers[unit].HasWish && f.Peers[unit].Wish.Founder != f.Unit {
			units = append(units, unit)
		}
	}
	return units
}

// clusterUnit names the lowest-numbered other unit whose LXD is in the cluster; "" when
// there is none.
func (f Facts) clusterUnit() string {
	for _, unit := range f.sortedPeers() {
		if f.Peers[unit].Wish.Cluster != "" {
			return unit
		}
	}
	return ""
}

// otherCluster names a unit that is in a cluster, when that is not the one this machine's
// LXD is in.
func (f Facts) otherCluster() string {
	for _, unit := range f.sortedPeers() {
		if theirs := f.Peers[unit].Wish.Cluster; theirs != "" && theirs != f.LXD.Identity && f.Founder != f.Unit {
			return unit
		}
	}
	return ""
}

func (f Facts) sortedPeers() []string {
	units := make([]string, 0, len(f.Peers))
	for unit := range f.Peers {
		units = append(units, unit)
	}
	sort.Slice(units, func(i, j int) bool { return number(units[i]) < number(units[j]) })
	return units
}

func memberNames(members []Member) []string {
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = m.Name
	}
	return names
}

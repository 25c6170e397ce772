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

// Names of what the charm owns in LXD.
const (
	ProfileName = "dcib"
	OwnerKey    = "user.dcib.owner"
)

// Plan returns what this unit does about the facts. It is pure.
func Plan(f Facts) charm.Plan[Env] {
	if f.Removal != nil {
		steps, status := f.planRemoval()
		return charm.Plan[Env]{Steps: steps, Status: status}
	}
	switch {
	case f.Downgraded != "":
		return charm.Plan[Env]{Status: charm.Blockedf("cannot reach LXD: %s", f.Downgraded)}
	case !f.LXD.Present:
		return charm.Plan[Env]{Status: charm.Blockedf("cannot find LXD on this machine: install it (snap install lxd, or apt-get install lxd)")}
	case f.Relation == "":
		return charm.Plan[Env]{Status: charm.Waitingf("waiting for Juju to create the peer relation %q", lxdcluster.Endpoint)}
	}
	if f.DatabaseError != "" {
		return f.planWithoutDatabase()
	}
	steps, status := f.membership()
	problems := append(slices.Clone(f.Problems), f.storageUnmet()...)
	problems = append(problems, f.groupsUnmet()...)
	for _, problem := range []string{f.missingBridgeProblem(), f.Moved, f.brokenJoins()} {
		if problem != "" && f.LXD.Clustered {
			problems = append(problems, problem)
		}
	}
	if f.Moved != "" && status.Level == charm.LevelWaiting {
		status.Level = charm.LevelActive // a lost address is also why members are offline
	}
	if len(problems) > 0 && status.Level == charm.LevelActive {
		status = charm.Blockedf("%s", strings.Join(problems, "; "))
	}
	return charm.Plan[Env]{Steps: steps, Status: status, Version: f.LXD.Version}
}

// membership plans how this unit joins the cluster, or its duties in it.
func (f Facts) membership() ([]charm.Step[Env], charm.Status) {
	if f.LXD.Clustered {
		if other := f.otherCluster(); other != "" {
			return nil, charm.Blockedf("cannot join: this machine's LXD is in another cluster already (members %s; ours is the one of %s): remove it there, or remove this unit", strings.Join(memberNames(f.LXD.Members), ", "), other)
		}
		return f.planMember()
	}
	var steps []charm.Step[Env]
	if f.Leader && f.needsBootstrapUnit() {
		steps = append(steps, setBootstrapUnit{f.Relation, f.Unit, f.BootstrapUnit.Unit != ""})
	}
	if f.BootstrapUnit.Is(f.Unit) && f.unitInCluster() == "" {
		bootstrap, status := f.planBootstrap()
		return append(steps, bootstrap...), status
	}
	join, status := f.planJoin()
	return append(steps, join...), status
}

// planMember plans the duties of a member. The coordinator also issues join tokens and writes profiles.
func (f Facts) planMember() ([]charm.Step[Env], charm.Status) {
	var steps []charm.Step[Env]
	steps = append(steps, f.publishIfChanged(lxdcluster.JoinRequest{
		Member: f.LXD.Member, Address: f.Address, LXD: f.LXD.Version, Cluster: f.LXD.Identity,
		MissingBridge: f.missingBridge(), HostBridge: f.reportedBridge(), Parents: strings.Join(slices.Sorted(slices.Values(f.LXD.Uplinks)), ","),
	})...)
	steps = append(steps, f.failureDomain()...)
	steps = append(steps, f.groups()...)
	if f.Leader && f.BootstrapUnit.Unit == "" {
		// An application that adopted a cluster has a bootstrap unit too, so that no other unit becomes it.
		steps = append(steps, setBootstrapUnit{f.Relation, f.Unit, false})
	}
	if f.coordinator() == f.Unit {
		steps = append(steps, f.issue()...)
		if len(f.Problems) == 0 && len(f.storageUnmet()) == 0 && f.missingBridge() == "" && f.Bridge() != "" {
			steps = append(steps, f.profiles()...)
		}
	} else if f.Mine.HasToken {
		steps = append(steps, withdrawToken{f.Relation})
	}
	status := f.memberStatus()
	for _, also := range []string{f.membersWithoutBridge(), f.olderThanPeers(), f.isolationNote(), f.bridgeUndecided()} {
		if also != "" && status.Level == charm.LevelActive {
			status.Message += "; " + also
		}
	}
	return steps, status
}

// memberStatus returns the status of a member.
func (f Facts) memberStatus() charm.Status {
	var offline []string
	for _, m := range f.LXD.Members {
		if !m.Live() {
			offline = append(offline, m.Name)
		}
	}
	n := len(f.LXD.Members)
	switch {
	case f.LXD.hasNoHeartbeats():
		return charm.Waitingf("waiting for LXD's heartbeats: it has none, not even of this member; if this stays, look at LXD's log")
	case len(offline) > 0:
		after := ""
		if blockedByOfflineMember := f.blockedByOfflineMember(); len(blockedByOfflineMember) > 0 {
			after = "; until then cannot join: " + strings.Join(blockedByOfflineMember, ", ")
		}
		return charm.Waitingf("%d of %d members online; offline: %s: start it, or if its machine is lost: juju run %s remove-member member=%s%s", n-len(offline), n, strings.Join(offline, ", "), f.Unit, offline[0], after)
	case n == 1:
		return charm.Active("member %s, alone in its cluster", f.LXD.Member)
	case n == 2:
		return charm.Active("member %s, one of 2, all online; no quorum is left if one dies: add a third unit", f.LXD.Member)
	default:
		return charm.Active("member %s, one of %d, all online", f.LXD.Member, n)
	}
}

// olderThanPeers reports that this machine's LXD is older than another member's; empty if it is not.
func (f Facts) olderThanPeers() string {
	for _, unit := range f.sortedPeers() {
		if theirs := f.Peers[unit].Request; theirs.Cluster == f.LXD.Identity && lxd.Older(f.LXD.Version, theirs.LXD) {
			return fmt.Sprintf("its LXD %s is older than %s of %s: juju run %s upgrade-lxd", f.LXD.Version, theirs.LXD, unit, f.Unit)
		}
	}
	return ""
}

// planBootstrap makes the machine's LXD a cluster of one. What the LXD has is kept.
func (f Facts) planBootstrap() ([]charm.Step[Env], charm.Status) {
	if len(f.Problems) > 0 {
		// A pool or bridge made from a wrong option could not be undone.
		return nil, charm.Blockedf("%s", strings.Join(f.Problems, "; "))
	}
	if reason := f.cannotStore(); reason != "" {
		return nil, charm.Blockedf("%s", reason)
	}
	steps := f.publishIfChanged(lxdcluster.JoinRequest{Member: f.Hostname, Address: f.Address, LXD: f.LXD.Version, HostBridge: f.reportedBridge(), BootstrapUnit: f.knownBootstrapUnit()})
	if silent := f.unitsThatMayHaveJoined(); len(silent) > 0 {
		return steps, charm.Waitingf("waiting for %s before bootstrapping again: it may be in the previous cluster; if its machine is lost: juju remove-unit --force", strings.Join(silent, ", "))
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
	steps = append(steps, bootstrapCluster{f.Hostname})
	return steps, charm.Maintenancef("bootstrapping the cluster")
}

// planJoin publishes this unit's request, and joins with the token that was issued for it.
func (f Facts) planJoin() ([]charm.Step[Env], charm.Status) {
	request := lxdcluster.JoinRequest{Member: f.Hostname, Address: f.Address, LXD: f.LXD.Version, HostBridge: f.reportedBridge(), UsedToken: f.Mine.Request.UsedToken, FailedTokens: f.Mine.Request.FailedTokens, BootstrapUnit: f.knownBootstrapUnit()}
	if f.unitInCluster() == "" {
		// There is no cluster to join yet.
		steps := f.publishIfChanged(request)
		if f.BootstrapUnit.Unit == "" {
			return steps, charm.Waitingf("waiting for the leader to choose the unit that bootstraps the cluster")
		}
		return steps, charm.Waitingf("waiting for %s to bootstrap the cluster", f.BootstrapUnit.Unit)
	}
	if reason := f.cannotJoin(); reason != "" {
		// A request without a key requests no token, so no unit waits for this one.
		return f.publishIfChanged(request), charm.Blockedf("%s", reason)
	}
	if f.Pending != "" {
		return f.publishIfChanged(request), charm.Waitingf("cannot join yet: %s", f.Pending)
	}
	if f.JoinKey == "" {
		return []charm.Step[Env]{createKey{}}, charm.Maintenancef("preparing to join")
	}
	request.Key = f.JoinKey
	steps := f.publishIfChanged(request)
	if len(f.LXD.Resources) > 0 && f.mayWipe(request) {
		return append(steps, f.planWipe()...), charm.Maintenancef("wiping this machine's LXD before it joins the cluster")
	}
	for _, unit := range f.sortedPeers() {
		if token := f.Peers[unit].Token; token.ValidFor(request, f.Now) {
			return append(steps, join{f.Relation, request, token, f.Config.Storage, f.parents()}), charm.Maintenancef("joining the cluster")
		}
	}
	return steps, charm.Waitingf("waiting for a join token from the cluster's members (%s)", f.unitInCluster())
}

// cannotJoin returns the reason why this machine's LXD must not join; "" if it may.
func (f Facts) cannotJoin() string {
	host := f.unitInCluster()
	if theirs := f.Peers[host].Request.LXD; theirs != f.LXD.Version {
		return fmt.Sprintf("cannot join: %s has LXD %s, the cluster runs %s (%s): upgrade one of them", f.Unit, f.LXD.Version, theirs, host)
	}
	if len(f.LXD.Resources) > 0 && !f.wipeOnJoinApplies() {
		return fmt.Sprintf("cannot join: joining deletes what this machine's LXD has (%s): move it away%s, remove this unit, or delete it on all such units: juju config %s wipe-on-join=true", f.describeResources(), f.jujuHint(), hooktool.AppOf(f.Unit))
	}
	if len(f.Problems) > 0 {
		// What a member joins with could not be undone.
		return strings.Join(f.Problems, "; ")
	}
	if reason := f.parentsMissing(); reason != "" {
		return reason
	}
	return f.cannotStore()
}

// issue plans the next join token, for the lowest-numbered unit in the queue. While a token is valid no
// other is issued.
func (f Facts) issue() []charm.Step[Env] {
	queue := f.joinQueue()
	if len(queue) == 0 {
		if f.Mine.HasToken {
			return []charm.Step[Env]{withdrawToken{f.Relation}}
		}
		return nil
	}
	last := f.Mine.Token
	next := queue[0]
	for i, unit := range queue {
		request := f.Peers[unit].Request
		if last.ValidFor(request, f.Now) {
			return nil
		}
		if last.Member == request.Member {
			// It did not join with the last token: the next unit comes before it.
			next = queue[(i+1)%len(queue)]
		}
	}
	if request := f.Peers[next].Request; request.FailedTokens >= maxFastTokens && f.Now.Before(last.Issued.Add(tokenRetryDelay)) {
		return nil
	}
	return []charm.Step[Env]{issueToken{f.Relation, f.Peers[next].Request}}
}

// joinQueue returns the units that request a token and can join with one, by number.
func (f Facts) joinQueue() []string {
	return f.joiners(func(w lxdcluster.JoinRequest) bool {
		return f.memberWithSameNameOrAddress(w) == nil && f.brokenOff(w) == nil
	})
}

// blockedByOfflineMember returns the units that cannot join while an offline member exists, each with the
// reason.
func (f Facts) blockedByOfflineMember() []string {
	units := f.joiners(func(w lxdcluster.JoinRequest) bool {
		m := f.memberWithSameNameOrAddress(w)
		return m != nil && !m.Live()
	})
	for n, unit := range units {
		request := f.Peers[unit].Request
		m, what := f.memberWithSameNameOrAddress(request), "name"
		if m.Name != request.Member {
			what = "address"
		}
		units[n] = fmt.Sprintf("%s (it has the %s of %s)", unit, what, m.Name)
	}
	return units
}

// joiners returns the units that want to join and for which which is true, by number.
func (f Facts) joiners(which func(lxdcluster.JoinRequest) bool) []string {
	var units []string
	for _, unit := range f.sortedPeers() {
		request := f.Peers[unit].Request
		if request.Key != "" && request.Cluster == "" && request.Member != "" && which(request) {
			units = append(units, unit)
		}
	}
	return units
}

// memberWithSameNameOrAddress returns the member that has the name or the address of a joining unit, as
// when its machine replaced one that died; nil if there is none. LXD then refuses the join
// (membershipCheckClusterStateForAccept in lxd/cluster/membership.go).
func (f Facts) memberWithSameNameOrAddress(w lxdcluster.JoinRequest) *Member {
	for n := range f.LXD.Members {
		if m := &f.LXD.Members[n]; m.Name == w.Member || m.Address == w.Address {
			return m
		}
	}
	return nil
}

// coordinator returns the unit that issues tokens: the lowest-numbered unit that is a live member by LXD's
// own list.
func (f Facts) coordinator() string {
	live := map[string]bool{}
	for _, m := range f.LXD.Members {
		live[m.Name] = m.Live()
	}
	best := ""
	if live[f.LXD.Member] {
		best = f.Unit
	}
	for _, unit := range f.sortedPeers() {
		request := f.Peers[unit].Request
		if request.Cluster == f.LXD.Identity && live[request.Member] && (best == "" || number(unit) < number(best)) {
			best = unit
		}
	}
	return best
}

// profiles plans the profiles that the charm writes.
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
		// Only what is missing is added. What an operator set stays.
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

// ownProfile returns the profile with what an instance needs in this cluster.
func (f Facts) ownProfile() Profile {
	// LXD moves an instance to another member only if its nic names a managed network of any type
	// (CanMigrate in lxd/device/nic_bridged.go). A bridge of the machine can only be the parent.
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

// publishIfChanged plans to publish the request unless the databag has it.
func (f Facts) publishIfChanged(request lxdcluster.JoinRequest) []charm.Step[Env] {
	if f.Mine.HasRequest && f.Mine.Request == request {
		return nil
	}
	return []charm.Step[Env]{publish{f.Relation, request}}
}

// needsBootstrapUnit reports whether the leader has to choose the unit that bootstraps: none is chosen, or
// it is gone and there is no cluster.
func (f Facts) needsBootstrapUnit() bool {
	if f.unitInCluster() != "" {
		return false
	}
	return f.BootstrapUnit.NeedsElection()
}

// knownBootstrapUnit returns JoinRequest.BootstrapUnit of a unit whose LXD is in no cluster.
func (f Facts) knownBootstrapUnit() string {
	if f.Rebootstrap {
		return f.BootstrapUnit.Unit
	}
	return ""
}

// unitsThatMayHaveJoined returns the units that requested a token and have not confirmed, since the
// bootstrap unit was replaced, that they are in no cluster.
func (f Facts) unitsThatMayHaveJoined() []string {
	var units []string
	for _, unit := range f.sortedPeers() {
		if f.Rebootstrap && f.Peers[unit].HasRequest && f.Peers[unit].Request.BootstrapUnit != f.Unit {
			units = append(units, unit)
		}
	}
	return units
}

// unitInCluster returns the lowest-numbered other unit whose LXD is in the cluster; "" if there is none.
func (f Facts) unitInCluster() string {
	for _, unit := range f.sortedPeers() {
		if f.Peers[unit].Request.Cluster != "" {
			return unit
		}
	}
	return ""
}

// otherCluster returns a unit that is in another cluster than this machine's LXD; "" if there is none.
func (f Facts) otherCluster() string {
	for _, unit := range f.sortedPeers() {
		if theirs := f.Peers[unit].Request.Cluster; theirs != "" && theirs != f.LXD.Identity && !f.BootstrapUnit.Is(f.Unit) {
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

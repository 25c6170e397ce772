package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/lxd"
	"github.com/dcib/dcib/internal/testkit/crash"
	draintest "github.com/dcib/dcib/internal/testkit/drain"
)

// lxdEnv is a few machines' LXD in memory, with the rules of LXD's own that matter here:
// a token works once and for one name, a cluster has one certificate, joining needs an
// address. What it does is held against the real LXD by the suites in tests/.
type lxdEnv struct {
	gate     *crashtest.Gate // where a hook may be killed
	clusters int
	answers  []string            // addresses
	tokens   map[string]*fakeLXD // live token → the member that issued it
	issued   []string            // every token ever issued
	now      time.Time
	client   map[*[]Member]*draintest.LXD // what is located in each cluster
	volumes  map[string][]string          // custom volumes by member
	joined   []string                     // networks that connect the members
	// unfinished are the rows of joins that broke off.
	unfinished []Unfinished
}

func newLXDEnv() *lxdEnv {
	return &lxdEnv{client: map[*[]Member]*draintest.LXD{}, volumes: map[string][]string{}, gate: &crashtest.Gate{}, tokens: map[string]*fakeLXD{}, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

// fakeLXD is one machine's LXD.
type fakeLXD struct {
	env     *lxdEnv
	local   ServerState
	members *[]Member // shared by the members of one cluster
	dead    bool
	stuck   bool
	remains []string
	pools   map[string]Pool          // as they were made here
	parents map[string]string        // that it joined with
	refuses map[LocalResource]string // to be deleted, and why
	// breakJoin makes that many joins break off after LXD has accepted the member.
	breakJoin int
	// failJoin makes that many joins fail after the token was spent.
	failJoin int
	// onLook is called at each look.
	onLook func()
	// effects counts changes, so that a test sees an idle hook do nothing.
	effects int
}

func (w *lxdEnv) machine(owned ...string) *fakeLXD {
	l := &fakeLXD{env: w, local: ServerState{Present: true, Groups: true, Version: "5.0.2", Profiles: map[string]Profile{"default": {Name: "default"}}, Networks: map[string]bool{}}}
	for _, o := range owned {
		kind, name, _ := strings.Cut(o, " ")
		l.local.Resources = append(l.local.Resources, LocalResource{Kind: kind, Name: name})
	}
	return l
}

// effect is called before a change, and what it returns after it: the hook may be killed at
// either.
func (l *fakeLXD) effect(name string) (done func()) {
	l.effects++
	return l.env.gate.Effect(name)
}

func (l *fakeLXD) Observe(context.Context) (ServerState, error) {
	if l.onLook != nil {
		l.onLook()
	}
	if l.stuck {
		l := l.local
		return ServerState{Present: true, Version: l.Version, Clustered: l.Clustered, Member: l.Member, Identity: l.Identity, Listens: l.Listens}, lxd.ErrDatabaseUnavailable
	}
	local := l.local
	if !local.Clustered && len(l.pools) > 0 {
		local.PoolDrivers = map[string]string{}
		for name, pool := range l.pools {
			local.PoolDrivers[name] = pool.Driver
		}
	}
	if l.members != nil {
		local.Members = append([]Member(nil), *l.members...)
		for name, managed := range local.Networks {
			if managed && !slices.Contains(l.env.joined, name) {
				local.IsolatedNetworks = append(local.IsolatedNetworks, name)
			}
		}
	}
	return local, nil
}

func (l *fakeLXD) Listen(_ context.Context, address string) error {
	defer l.effect("listen")()
	l.local.Listens = address
	return nil
}

func (l *fakeLXD) CreatePool(_ context.Context, pool Pool) error {
	defer l.effect("create pool " + pool.Name)()
	l.local.Pools = append(l.local.Pools, pool.Name)
	l.pools = map[string]Pool{pool.Name: pool}
	return nil
}

func (l *fakeLXD) CreateBridge(_ context.Context, name, _ string) error {
	defer l.effect("create bridge " + name)()
	l.local.Networks[name] = true
	return nil
}

func (l *fakeLXD) PutProfile(_ context.Context, p Profile) error {
	defer l.effect("put profile " + p.Name)()
	l.local.Profiles[p.Name] = p
	return nil
}

func (l *fakeLXD) Bootstrap(_ context.Context, member string) error {
	if l.local.Clustered {
		return errors.New("this server is already clustered")
	}
	if l.local.Listens == "" {
		return errors.New("no address")
	}
	defer l.effect("found")()
	l.env.clusters++
	l.local.Clustered, l.local.Member = true, member
	l.local.Identity = fmt.Sprintf("cert%d", l.env.clusters)
	l.members = &[]Member{{Name: member, Address: l.local.Listens, Status: "Online", FailureDomain: noDomain, Groups: []string{firstGroup}, Voter: true}}
	return nil
}

func (l *fakeLXD) Token(_ context.Context, member string) (string, time.Time, error) {
	if !l.local.Clustered {
		return "", time.Time{}, errors.New("this server is not clustered")
	}
	defer l.effect("token for " + member)()
	for token := range l.env.tokens {
		if strings.HasSuffix(token, " for "+member) {
			delete(l.env.tokens, token)
		}
	}
	token := fmt.Sprintf("secret%d for %s", len(l.env.issued), member)
	l.env.issued = append(l.env.issued, token)
	l.env.tokens[token] = l
	return token, l.env.now.Add(3 * time.Hour), nil
}

func (l *fakeLXD) Join(_ context.Context, token, address string, pool Pool, parents map[string]string) error {
	issuer := l.env.tokens[token]
	if issuer == nil || issuer.dead {
		return errors.New("no such token")
	}
	defer l.effect("join")()
	delete(l.env.tokens, token)
	if l.failJoin > 0 {
		l.failJoin--
		return errors.New("the network went away")
	}
	if len(l.local.Resources) > 0 {
		panic("joined over what the machine had")
	}
	for _, uplink := range issuer.local.Uplinks {
		if !slices.Contains(l.local.Interfaces, parents[uplink]) {
			return fmt.Errorf("Failed initializing storage pools and networks: network %s: parent %q", uplink, parents[uplink])
		}
	}
	_, name, _ := strings.Cut(token, " for ")
	for _, u := range l.env.unfinished {
		if u.Name == name || u.Address == address {
			return errors.New("Failed to insert new node into the database: UNIQUE constraint failed: nodes.name")
		}
	}
	if l.breakJoin > 0 {
		l.breakJoin--
		l.env.unfinished = append(l.env.unfinished, Unfinished{name, address})
		return errors.New("the machine went down")
	}
	for _, m := range *issuer.members {
		if m.Name == name || m.Address == address {
			return fmt.Errorf("The cluster already has a member with name %s or address %s", name, address)
		}
	}
	l.local.Clustered, l.local.Member, l.local.Listens = true, name, address
	l.local.Identity, l.local.Pools = issuer.local.Identity, issuer.local.Pools
	for network, managed := range issuer.local.Networks {
		if managed { // a bridge of a machine's own is nowhere else
			l.local.Networks[network] = true
		}
	}
	l.local.Profiles, l.local.Uplinks, l.parents = issuer.local.Profiles, issuer.local.Uplinks, parents
	if slices.Contains(l.local.Pools, pool.Name) {
		l.pools = map[string]Pool{pool.Name: pool}
	}
	l.members = issuer.members
	*l.members = append(*l.members, Member{Name: name, Address: address, Status: "Online", FailureDomain: noDomain, Groups: []string{firstGroup}})
	l.rebalance()
	return nil
}

func (l *fakeLXD) DeleteResource(_ context.Context, what LocalResource) error {
	if l.local.Clustered {
		panic("deleted " + what.String() + " from a cluster")
	}
	if why := l.refuses[what]; why != "" {
		return errors.New(why)
	}
	if !slices.Contains(l.local.Resources, what) {
		return nil
	}
	defer l.effect("lose " + what.String())()
	l.local.Resources = slices.DeleteFunc(l.local.Resources, func(b LocalResource) bool { return b == what })
	if what.Kind == kindPool {
		l.local.Pools = slices.DeleteFunc(l.local.Pools, func(name string) bool { return name == what.Name })
		delete(l.pools, what.Name)
	}
	return nil
}

func (l *fakeLXD) SetGroups(_ context.Context, member string, want []string) error {
	defer l.effect("set groups of " + member)()
	for n := range *l.members {
		if m := &(*l.members)[n]; m.Name == member {
			groups, record := regroup(m.Groups, m.OurGroups, want)
			m.Groups, m.OurGroups = groups, strings.Join(record, ",")
		}
	}
	return nil
}

func (l *fakeLXD) SetFailureDomain(_ context.Context, member, from, to string) error {
	defer l.effect("set failure domain of " + member)()
	for n := range *l.members {
		if m := &(*l.members)[n]; m.Name == member && m.FailureDomain == from {
			m.FailureDomain = to
		}
	}
	return nil
}

// located is what there is in this machine's cluster; its members are those of the cluster.
func (l *fakeLXD) located() *draintest.LXD {
	inside := l.env.client[l.members]
	if inside == nil {
		inside = draintest.New()
		l.env.client[l.members] = inside
	}
	inside.Member = nil
	for _, m := range *l.members {
		inside.Member = append(inside.Member, drain.Member{Name: m.Name, Status: drain.MemberStatus(m.Status), Architectures: []string{"x86_64"}})
	}
	return inside
}

func (l *fakeLXD) ClusterClient(context.Context) (ClusterClient, error) {
	if l.dead || !l.local.Clustered {
		return nil, errors.New("no cluster to look into")
	}
	inside := l.located()
	return &fakeClusterClient{draintest.Gated{LXD: inside, Gate: func(change string, do func() error) error {
		if change == "" {
			return do()
		}
		defer l.effect(change)()
		err := do()
		if verb, member, _ := strings.Cut(change, " "); verb == "evacuate" || verb == "restore" {
			l.setStatus(member, string(inside.Status(member)))
		}
		return err
	}}, l}, nil
}

// fakeClusterClient is draintest's cluster with a gate around each change.
type fakeClusterClient struct {
	draintest.Gated
	lxd *fakeLXD
}

func (g *fakeClusterClient) Volumes(_ context.Context, member string) ([]string, error) {
	return g.lxd.env.volumes[member], nil
}

func (l *fakeLXD) setStatus(member, status string) {
	for n := range *l.members {
		if (*l.members)[n].Name == member {
			(*l.members)[n].Status = status
		}
	}
}

// rebalance has LXD's own rule: of two members one votes, of more three do.
func (l *fakeLXD) rebalance() {
	members := *l.members
	voters := 0
	for n := range members {
		if members[n].Voter {
			voters++
		}
	}
	for n := range members {
		switch {
		case len(members) == 2 && voters == 2 && members[n].Voter:
			members[n].Voter = false
			voters--
		case len(members) > 2 && voters < 3 && !members[n].Voter:
			members[n].Voter = true
			voters++
		}
	}
}

// HandOver leaves the database blocked, as LXD 5.0.2 does, until LXD is started again.
func (l *fakeLXD) HandOver(ctx context.Context) error {
	l.grantVote()
	return l.Restart(ctx)
}

func (l *fakeLXD) Restart(context.Context) error {
	defer l.effect("restart")()
	l.stuck = false
	return nil
}

func (l *fakeLXD) Replicas(context.Context) ([]Replica, error) {
	var replicas []Replica
	for _, m := range *l.members {
		replicas = append(replicas, Replica{Address: m.Address, Votes: m.Voter})
	}
	return replicas, nil
}

func (l *fakeLXD) LeftoverData() ([]string, error) { return l.remains, nil }

func (l *fakeLXD) Reset(context.Context, time.Time) (string, error) {
	defer l.effect("reset")()
	fresh := l.env.machine()
	l.local, l.members, l.pools, l.stuck, l.remains = fresh.local, nil, nil, false, nil
	return "backup-dir", nil
}

func (l *fakeLXD) Answers(_ context.Context, address string) bool {
	return slices.Contains(l.env.answers, address)
}

func (l *fakeLXD) RecoverQuorum(context.Context) error {
	defer l.effect("recover")()
	l.stuck = false
	for n := range *l.members {
		m := &(*l.members)[n]
		m.Voter = m.Name == l.local.Member
	}
	return nil
}

func (l *fakeLXD) grantVote() {
	defer l.effect("hand over")()
	l.stuck = true
	for n := range *l.members {
		m := &(*l.members)[n]
		m.Voter = m.Name != l.local.Member
		if m.Voter && len(*l.members) > 2 {
			break
		}
	}
}

// DeleteMember has LXD's own refusals: see NodeIsEmpty and Leave in lxd 5.0.2.
func (l *fakeLXD) DeleteMember(_ context.Context, member string, force bool) error {
	inside := l.located()
	there := slices.ContainsFunc(inside.Instance, func(i *drain.Instance) bool { return i.Member == member })
	switch {
	case !slices.Contains(memberNames(*l.members), member):
		return errors.New("no such member")
	case force:
		inside.Instance = slices.DeleteFunc(inside.Instance, func(i *drain.Instance) bool { return i.Member == member })
	case there || slices.ContainsFunc(l.env.volumes[member], func(v string) bool { return strings.HasPrefix(v, kindVolume+" ") }):
		return errors.New("Node still has something")
	case len(*l.members) == 1:
		return errors.New("Member is the only member in the cluster")
	case !slices.ContainsFunc(*l.members, func(m Member) bool { return m.Name != member && m.Voter }):
		panic("the last voter has gone, and the database with it")
	}
	defer l.effect("delete member " + member)()
	*l.members = slices.DeleteFunc(*l.members, func(m Member) bool { return m.Name == member })
	delete(inside.Journal, member)
	l.rebalance()
	if member == l.local.Member {
		listens := l.local.Listens
		l.local, l.members = l.env.machine().local, nil
		l.local.Listens = listens
	}
	return nil
}

func (l *fakeLXD) Unfinished(context.Context) ([]Unfinished, error) {
	return slices.Clone(l.env.unfinished), nil
}

func (l *fakeLXD) DropUnfinished(_ context.Context, name string) error {
	defer l.effect("drop " + name)()
	l.env.unfinished = slices.DeleteFunc(l.env.unfinished, func(u Unfinished) bool { return u.Name == name })
	return nil
}

func (l *fakeLXD) Unlisten(_ context.Context, address string) error {
	defer l.effect("unlisten")()
	if l.local.Listens == address {
		l.local.Listens = ""
	}
	return nil
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/charm/crashtest"
)

// lxdWorld is a few machines' LXD in memory, with the rules of LXD's own that matter here:
// a token works once and for one name, a cluster has one certificate, joining needs an
// address. What it does is held against the real LXD by the suites in tests/.
type lxdWorld struct {
	gate     *crashtest.Gate // where a hook may be killed
	clusters int
	tokens   map[string]*fakeLXD // live token → the member that issued it
	issued   []string            // every token ever issued
	now      time.Time
}

func newLXDWorld() *lxdWorld {
	return &lxdWorld{gate: &crashtest.Gate{}, tokens: map[string]*fakeLXD{}, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

// fakeLXD is one machine's LXD.
type fakeLXD struct {
	world   *lxdWorld
	local   Local
	members *[]Member // shared by the members of one cluster
	dead    bool
	// failJoin makes that many joins fail after the token was spent.
	failJoin int
	// effects counts changes, so that a test sees an idle hook do nothing.
	effects int
}

func (w *lxdWorld) machine(owned ...string) *fakeLXD {
	l := &fakeLXD{world: w, local: Local{Present: true, Version: "5.0.2", Profiles: map[string]Profile{"default": {Name: "default"}}, Bridges: map[string]bool{}, Owned: map[string]string{}}}
	for _, o := range owned {
		l.local.Owned[o] = ""
	}
	return l
}

// effect is called before a change, and what it returns after it: the hook may be killed at
// either.
func (l *fakeLXD) effect(name string) (done func()) {
	l.effects++
	return l.world.gate.Effect(name)
}

func (l *fakeLXD) Look(context.Context) (Local, error) {
	local := l.local
	if l.members != nil {
		local.Members = append([]Member(nil), *l.members...)
	}
	return local, nil
}

func (l *fakeLXD) Listen(_ context.Context, address string) error {
	defer l.effect("listen")()
	l.local.Listens = address
	return nil
}

func (l *fakeLXD) CreatePool(_ context.Context, name string) error {
	defer l.effect("create pool " + name)()
	l.local.Pools = append(l.local.Pools, name)
	return nil
}

func (l *fakeLXD) CreateBridge(_ context.Context, name, _ string) error {
	defer l.effect("create bridge " + name)()
	l.local.Bridges[name] = true
	return nil
}

func (l *fakeLXD) PutProfile(_ context.Context, p Profile) error {
	defer l.effect("put profile " + p.Name)()
	l.local.Profiles[p.Name] = p
	return nil
}

func (l *fakeLXD) Found(_ context.Context, member string) error {
	if l.local.Clustered {
		return errors.New("this server is already clustered")
	}
	if l.local.Listens == "" {
		return errors.New("no address")
	}
	defer l.effect("found")()
	l.world.clusters++
	l.local.Clustered, l.local.Member = true, member
	l.local.Fingerprint = fmt.Sprintf("cert%d", l.world.clusters)
	l.members = &[]Member{{Name: member, Address: l.local.Listens, Status: "Online"}}
	return nil
}

func (l *fakeLXD) Token(_ context.Context, member string) (string, time.Time, error) {
	if !l.local.Clustered {
		return "", time.Time{}, errors.New("this server is not clustered")
	}
	defer l.effect("token for " + member)()
	for token := range l.world.tokens {
		if strings.HasSuffix(token, " for "+member) {
			delete(l.world.tokens, token)
		}
	}
	token := fmt.Sprintf("secret%d for %s", len(l.world.issued), member)
	l.world.issued = append(l.world.issued, token)
	l.world.tokens[token] = l
	return token, l.world.now.Add(3 * time.Hour), nil
}

func (l *fakeLXD) Join(_ context.Context, token, address string) error {
	issuer := l.world.tokens[token]
	if issuer == nil || issuer.dead {
		return errors.New("no such token")
	}
	defer l.effect("join")()
	delete(l.world.tokens, token)
	if l.failJoin > 0 {
		l.failJoin--
		return errors.New("the network went away")
	}
	if len(l.local.Owned) > 0 {
		panic("joined over what the machine had")
	}
	_, name, _ := strings.Cut(token, " for ")
	l.local.Clustered, l.local.Member, l.local.Listens = true, name, address
	l.local.Fingerprint, l.local.Pools, l.local.Bridges = issuer.local.Fingerprint, issuer.local.Pools, issuer.local.Bridges
	l.local.Profiles = issuer.local.Profiles
	l.members = issuer.members
	*l.members = append(*l.members, Member{Name: name, Address: address, Status: "Online"})
	return nil
}

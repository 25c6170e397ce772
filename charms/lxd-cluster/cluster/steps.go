package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/lxd"
	"github.com/dcib/dcib/internal/relation/lxdcluster"
	"github.com/dcib/dcib/internal/seal"
)

// clusterTimeout is how long LXD may take to bootstrap or join. Juju retries the hook after that.
const clusterTimeout = 5 * time.Minute

// tokenLifetime is how long a unit may use its token before another unit gets one. LXD's own tokens are
// valid for three hours by default.
const tokenLifetime = 10 * time.Minute

// A unit that failed to join a few times gets the next token only after a delay. Otherwise it and the
// coordinator would trigger each other's hooks without end.
const (
	maxFastTokens   = 3
	tokenRetryDelay = 4 * time.Minute
)

// setBootstrapUnit writes the unit that bootstraps into the application's databag.
type setBootstrapUnit struct {
	relation, unit string
	rebootstrap    bool // it replaces one that is gone
}

func (s setBootstrapUnit) Name() string { return "let " + s.unit + " bootstrap the cluster" }

func (s setBootstrapUnit) Apply(ctx context.Context, w Env) error {
	return lxdcluster.SetBootstrapUnit(ctx, w.Tools, s.relation, s.unit, s.rebootstrap)
}

// publish publishes this unit's request.
type publish struct {
	relation string
	request  lxdcluster.JoinRequest
}

func (s publish) Name() string {
	switch {
	case s.request.Cluster != "":
		return "publish that " + s.request.Member + " is in the cluster"
	case s.request.Key != "":
		return "request a join token for " + s.request.Member
	default:
		return "publish the state of " + s.request.Member
	}
}

func (s publish) Apply(ctx context.Context, w Env) error {
	values, err := s.request.Encode()
	if err != nil {
		return err
	}
	return w.Tools.RelationSet(ctx, s.relation, values)
}

// listen sets the address on which LXD listens for the cluster.
type listen struct{ address string }

func (s listen) Name() string { return "make LXD listen on " + s.address }

func (s listen) Apply(ctx context.Context, w Env) error { return w.LXD.Listen(ctx, s.address) }

// createPool creates the storage pool.
type createPool struct{ pool Pool }

func (s createPool) Name() string {
	return "create storage pool " + s.pool.Name + " (" + s.pool.Driver + ")"
}

func (s createPool) Apply(ctx context.Context, w Env) error { return w.LXD.CreatePool(ctx, s.pool) }

// createBridge creates the bridge for instances.
type createBridge struct{ name, address string }

func (s createBridge) Name() string { return "create bridge " + s.name }

func (s createBridge) Apply(ctx context.Context, w Env) error {
	return w.LXD.CreateBridge(ctx, s.name, s.address)
}

// putProfile writes a profile.
type putProfile struct{ profile Profile }

func (s putProfile) Name() string { return "write profile " + s.profile.Name }

func (s putProfile) Apply(ctx context.Context, w Env) error {
	return w.LXD.PutProfile(ctx, s.profile)
}

// bootstrapCluster makes this machine's LXD a cluster of one.
type bootstrapCluster struct{ member string }

func (s bootstrapCluster) Name() string { return "bootstrap the cluster with member " + s.member }

func (s bootstrapCluster) Apply(ctx context.Context, w Env) error {
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	return w.LXD.Bootstrap(ctx, s.member)
}

// createKey creates the key that join tokens are sealed to.
type createKey struct{}

func (s createKey) Name() string { return "create this unit's join key" }

func (s createKey) Apply(_ context.Context, w Env) error {
	_, err := seal.LoadOrCreate(filepath.Join(w.StateDir, keyFile))
	return err
}

// issueToken issues a join token that only one unit can read.
type issueToken struct {
	relation string
	request  lxdcluster.JoinRequest
}

func (s issueToken) Name() string { return "issue a join token to " + s.request.Member }

func (s issueToken) Apply(ctx context.Context, w Env) error {
	token, expires, err := w.LXD.Token(ctx, s.request.Member)
	if err != nil {
		return err
	}
	sealed, err := seal.Seal(s.request.Key, lxdcluster.Purpose(s.request.Member), []byte(token))
	if err != nil {
		return fmt.Errorf("%w (the key in the request of %s)", err, s.request.Member)
	}
	if soon := w.Now().Add(tokenLifetime); soon.Before(expires) {
		expires = soon
	}
	values, err := lxdcluster.SealedJoinToken{
		ID: rand.Text(), Member: s.request.Member, Address: s.request.Address, Key: s.request.Key,
		Token: sealed, LXD: s.request.LXD, Issued: w.Now().UTC(), Expires: expires.UTC(),
	}.Encode()
	if err != nil {
		return err
	}
	return w.Tools.RelationSet(ctx, s.relation, values)
}

// withdrawToken withdraws this unit's token.
type withdrawToken struct{ relation string }

func (s withdrawToken) Name() string { return "withdraw the join token" }

func (s withdrawToken) Apply(ctx context.Context, w Env) error {
	return w.Tools.RelationSet(ctx, s.relation, lxdcluster.NoJoinToken())
}

// join joins the cluster with a token.
type join struct {
	relation string
	request  lxdcluster.JoinRequest
	token    lxdcluster.SealedJoinToken
	pool     Pool
	parents  map[string]string
}

func (s join) Name() string { return "join the cluster as " + s.request.Member }

func (s join) Apply(ctx context.Context, w Env) error {
	key, err := seal.Load(filepath.Join(w.StateDir, keyFile))
	if err != nil {
		return err
	}
	token, err := key.Open(lxdcluster.Purpose(s.request.Member), s.token.Token)
	if err == nil {
		err = w.join(ctx, string(token), s.request.Address, s.pool, s.parents)
	}
	if err == nil {
		return nil
	}
	// A token works once. The unit publishes that it was used, and the coordinator issues another. The hook
	// must succeed for that, or Juju discards what it published.
	s.request.UsedToken = s.token.ID
	s.request.FailedTokens++
	values, encodeErr := s.request.Encode()
	if encodeErr != nil {
		return encodeErr
	}
	if setErr := w.Tools.RelationSet(ctx, s.relation, values); setErr != nil {
		return setErr
	}
	return charm.Waiting("cannot join yet, requested another token: %s", err)
}

// joinTimeoutout is how long LXD may take to join: seconds as a rule, more if the cluster has many images.
const joinTimeout = 2 * time.Minute

// join joins the cluster and does not leave LXD half joined: if the other member dies meanwhile, LXD
// remains a member without a database. An LXD that joins has nothing that a reset could lose.
func (w Env) join(ctx context.Context, token, address string, pool Pool, parents map[string]string) error {
	limited, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	joined := w.LXD.Join(limited, token, address, pool, parents)
	if joined == nil || limited.Err() == nil {
		return joined
	}
	if _, err := w.LXD.Observe(ctx); !errors.Is(err, lxd.ErrDatabaseUnavailable) {
		return joined
	}
	if remains, err := w.LXD.LeftoverData(); err != nil || len(remains) > 0 {
		return errors.Join(joined, err)
	}
	limited, cancel = context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	_, err := w.LXD.Reset(limited, w.Now())
	return errors.Join(joined, err)
}

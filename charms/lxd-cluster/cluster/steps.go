package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/host/atomicfile"
	"github.com/dcib/dcib/internal/lxd"
	"github.com/dcib/dcib/internal/relation/lxdcluster"
	"github.com/dcib/dcib/internal/seal"
)

// How long LXD may take to found or join before the hook gives up; Juju tries again.
const clusterTimeout = 5 * time.Minute

// tokenLifetime is how long a joiner has before another one may be served. LXD's own tokens
// live for three hours unless told otherwise.
const tokenLifetime = 10 * time.Minute

// A joiner that failed a few times is served again only after a while, or it and the
// issuer would wake each other without end; Juju's update-status comes around.
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

// publish tells the other units this one's request.
type publish struct {
	relation string
	request  lxdcluster.JoinRequest
}

func (s publish) Name() string {
	switch {
	case s.request.Cluster != "":
		return "tell the other units that " + s.request.Member + " is in the cluster"
	case s.request.Key != "":
		return "ask for a join token for " + s.request.Member
	default:
		return "tell the other units about " + s.request.Member
	}
}

func (s publish) Apply(ctx context.Context, w Env) error {
	values, err := s.request.Encode()
	if err != nil {
		return err
	}
	return w.Tools.RelationSet(ctx, s.relation, values)
}

// listen returns LXD an address for the cluster.
type listen struct{ address string }

func (s listen) Name() string { return "let LXD listen on " + s.address }

func (s listen) Apply(ctx context.Context, w Env) error { return w.LXD.Listen(ctx, s.address) }

// createPool makes the storage pool.
type createPool struct{ pool Pool }

func (s createPool) Name() string {
	return "create storage pool " + s.pool.Name + " (" + s.pool.Driver + ")"
}

func (s createPool) Apply(ctx context.Context, w Env) error { return w.LXD.CreatePool(ctx, s.pool) }

// createBridge makes the bridge that instances are on.
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

func (s bootstrapCluster) Name() string { return "found the cluster with member " + s.member }

func (s bootstrapCluster) Apply(ctx context.Context, w Env) error {
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	return w.LXD.Bootstrap(ctx, s.member)
}

// makeKey makes the key that join tokens are sealed to.
type makeKey struct{}

func (s makeKey) Name() string { return "make this unit's join key" }

func (s makeKey) Apply(_ context.Context, w Env) error {
	key, err := seal.NewKey()
	if err != nil {
		return err
	}
	raw, err := key.Bytes()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(w.StateDir, 0o700); err != nil {
		return fmt.Errorf("cannot keep this unit's join key: %w", err)
	}
	if err := atomicfile.Write(filepath.Join(w.StateDir, keyFile), raw, atomicfile.Options{}); err != nil {
		return fmt.Errorf("cannot keep this unit's join key: %w", err)
	}
	return nil
}

// issueToken issues a join token, sealed to the one unit that may use it.
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
		return fmt.Errorf("%w (the key that %s asked with)", err, s.request.Member)
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

// withdrawToken takes this unit's offer back.
type withdrawToken struct{ relation string }

func (s withdrawToken) Name() string { return "withdrawToken the join token" }

func (s withdrawToken) Apply(ctx context.Context, w Env) error {
	return w.Tools.RelationSet(ctx, s.relation, lxdcluster.NoJoinToken())
}

// join uses an offer.
type join struct {
	relation string
	request  lxdcluster.JoinRequest
	token    lxdcluster.SealedJoinToken
	pool     Pool
	parents  map[string]string
}

func (s join) Name() string { return "join the cluster as " + s.request.Member }

func (s join) Apply(ctx context.Context, w Env) error {
	key, err := loadKey(w.StateDir)
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
	// A token works once. Say that this one is spent, and the issuer sends another; the
	// hook must succeed for that, or Juju throws the word away.
	s.request.UsedToken = s.token.ID
	s.request.FailedTokens++
	values, encodeErr := s.request.Encode()
	if encodeErr != nil {
		return encodeErr
	}
	if setErr := w.Tools.RelationSet(ctx, s.relation, values); setErr != nil {
		return setErr
	}
	return charm.Waiting("cannot join yet, asked for another token: %s", err)
}

// joinTime is how long LXD may take to join: some seconds as a rule, more where the cluster
// has many images.
const joinTime = 2 * time.Minute

// join joins, and does not leave LXD half in: one whose partner died on it takes itself for a
// member without a database, for ever. What joins has nothing that a new start could lose.
func (w Env) join(ctx context.Context, token, address string, pool Pool, parents map[string]string) error {
	limited, cancel := context.WithTimeout(ctx, joinTime)
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

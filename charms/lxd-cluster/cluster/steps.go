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

// offerTime is how long a joiner has before another one may be served. LXD's own tokens
// live for three hours unless told otherwise.
const offerTime = 10 * time.Minute

// A joiner that failed a few times is served again only after a while, or it and the
// issuer would wake each other without end; Juju's update-status comes around.
const (
	quickOffers = 3
	slowOffer   = 4 * time.Minute
)

// nameFounder writes the founder into the application's databag.
type nameFounder struct {
	relation, unit string
	again          bool // another one was named before
}

func (s nameFounder) Name() string { return "name " + s.unit + " the founder" }

func (s nameFounder) Apply(ctx context.Context, w Env) error {
	return w.Tools.RelationSetApp(ctx, s.relation, lxdcluster.EncodeFounder(s.unit, s.again))
}

// publish tells the other units this one's wish.
type publish struct {
	relation string
	wish     lxdcluster.Wish
}

func (s publish) Name() string {
	switch {
	case s.wish.Cluster != "":
		return "tell the other units that " + s.wish.Member + " is in the cluster"
	case s.wish.Key != "":
		return "ask for a join token for " + s.wish.Member
	default:
		return "tell the other units about " + s.wish.Member
	}
}

func (s publish) Apply(ctx context.Context, w Env) error {
	values, err := s.wish.Encode()
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

// found makes this machine's LXD a cluster of one.
type found struct{ member string }

func (s found) Name() string { return "found the cluster with member " + s.member }

func (s found) Apply(ctx context.Context, w Env) error {
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	return w.LXD.Found(ctx, s.member)
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

// offer issues a join token, sealed to the one unit that may use it.
type offer struct {
	relation string
	wish     lxdcluster.Wish
}

func (s offer) Name() string { return "issue a join token to " + s.wish.Member }

func (s offer) Apply(ctx context.Context, w Env) error {
	token, expires, err := w.LXD.Token(ctx, s.wish.Member)
	if err != nil {
		return err
	}
	sealed, err := seal.Seal(s.wish.Key, lxdcluster.Purpose(s.wish.Member), []byte(token))
	if err != nil {
		return fmt.Errorf("%w (the key that %s asked with)", err, s.wish.Member)
	}
	if soon := w.Now().Add(offerTime); soon.Before(expires) {
		expires = soon
	}
	values, err := lxdcluster.Offer{
		ID: rand.Text(), Member: s.wish.Member, Address: s.wish.Address, Key: s.wish.Key,
		Token: sealed, LXD: s.wish.LXD, Issued: w.Now().UTC(), Expires: expires.UTC(),
	}.Encode()
	if err != nil {
		return err
	}
	return w.Tools.RelationSet(ctx, s.relation, values)
}

// withdraw takes this unit's offer back.
type withdraw struct{ relation string }

func (s withdraw) Name() string { return "withdraw the join token" }

func (s withdraw) Apply(ctx context.Context, w Env) error {
	return w.Tools.RelationSet(ctx, s.relation, lxdcluster.NoOffer())
}

// join uses an offer.
type join struct {
	relation string
	wish     lxdcluster.Wish
	offer    lxdcluster.Offer
	pool     Pool
	parents  map[string]string
}

func (s join) Name() string { return "join the cluster as " + s.wish.Member }

func (s join) Apply(ctx context.Context, w Env) error {
	key, err := loadKey(w.StateDir)
	if err != nil {
		return err
	}
	token, err := key.Open(lxdcluster.Purpose(s.wish.Member), s.offer.Token)
	if err == nil {
		err = w.join(ctx, string(token), s.wish.Address, s.pool, s.parents)
	}
	if err == nil {
		return nil
	}
	// A token works once. Say that this one is spent, and the issuer sends another; the
	// hook must succeed for that, or Juju throws the word away.
	s.wish.Spent = s.offer.ID
	s.wish.Failed++
	values, encodeErr := s.wish.Encode()
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
	if _, err := w.LXD.Look(ctx); !errors.Is(err, lxd.ErrStuck) {
		return joined
	}
	if remains, err := w.LXD.Remains(); err != nil || len(remains) > 0 {
		return errors.Join(joined, err)
	}
	limited, cancel = context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	_, err := w.LXD.Reset(limited, w.Now())
	return errors.Join(joined, err)
}

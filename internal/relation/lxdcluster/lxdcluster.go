// Package lxdcluster defines the databags of the peer relation `cluster` of lxd-cluster.
//
// The application's databag names the unit that bootstraps the cluster. Each unit's own databag has its
// JoinRequest and, on the unit that issues join tokens, the current SealedJoinToken.
package lxdcluster

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/dcib/dcib/internal/relation/coordinator"
)

// Endpoint is the peer relation's name.
const Endpoint = "cluster"

// Databag keys.
const (
	keyBootstrapUnit = "bootstrap-unit"
	keyReplaced      = "bootstrap-unit-replaced"
	keyJoinRequest   = "join-request"
	keyJoinToken     = "join-token"
	keyCeph          = "ceph"
)

// JoinRequest describes a unit's LXD. With a Key it also requests a join token.
type JoinRequest struct {
	Member  string `json:"member"`  // the name its LXD has, or will have, in the cluster
	Address string `json:"address"` // host:port its LXD listens on for the cluster
	LXD     string `json:"lxd"`     // the LXD version it runs
	Key     string `json:"key"`     // seal tokens to this public key
	// Cluster is the identity of the cluster that its LXD is in: the fingerprint of the cluster's first
	// certificate. Empty while it is in none.
	Cluster string `json:"cluster,omitempty"`
	// BootstrapUnit is the bootstrap unit that this unit knows, if it is not the first one. It states
	// that this unit has not joined a cluster that an earlier bootstrap unit may have made.
	BootstrapUnit string `json:"bootstrap-unit,omitempty"`
	// MissingBridge is the bridge for instances, while the machine has none of that name.
	MissingBridge string `json:"missing-bridge,omitempty"`
	// HostBridge is br0 if the machine has a bridge of that name that LXD does not manage, as MAAS
	// makes it, and "none" otherwise. Empty if the unit has not reported it.
	HostBridge string `json:"host-bridge,omitempty"`
	// Parents are the networks of the cluster for which a joining member has to name an interface of
	// its machine, separated by commas.
	Parents string `json:"parents,omitempty"`
	// UsedToken is the id of the last token with which it failed to join.
	UsedToken string `json:"used-token,omitempty"`
	// FailedTokens counts the tokens with which it failed to join.
	FailedTokens int `json:"failed-tokens,omitempty"`
}

// SealedJoinToken is a join token that only one unit can read. There is at most one at a time, so units
// join one after another.
type SealedJoinToken struct {
	ID      string    `json:"id"`
	Member  string    `json:"member"`  // who it is for; LXD checks the name
	Address string    `json:"address"` // the address in the join request
	Key     string    `json:"key"`     // the key it is sealed to
	Token   string    `json:"token"`   // sealed, see Purpose
	LXD     string    `json:"lxd"`     // the version that the cluster runs
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
}

// Purpose is what a token for member is sealed for.
func Purpose(member string) string { return "lxd-cluster join token for " + member }

// ValidFor reports whether the token is for this request and can still be used at time now.
func (t SealedJoinToken) ValidFor(r JoinRequest, now time.Time) bool {
	return t.ID != "" && t.Member == r.Member && t.Address == r.Address && t.Key == r.Key &&
		t.ID != r.UsedToken && now.Before(t.Expires)
}

// BootstrapUnit returns the name of the unit that bootstraps, from the application's databag; "" if there
// is none.
func BootstrapUnit(app map[string]string) string { return app[keyBootstrapUnit] }

// Rebootstrap reports whether the bootstrap unit replaces one that is gone, which may have bootstrapped
// a cluster that other units joined.
func Rebootstrap(app map[string]string) bool { return app[keyReplaced] != "" }

// SetBootstrapUnit writes the bootstrap unit into the application's databag.
func SetBootstrapUnit(ctx context.Context, w coordinator.Writer, relation, unit string, rebootstrap bool) error {
	also := map[string]string{}
	if rebootstrap {
		also[keyReplaced] = "true"
	}
	return coordinator.Elect(ctx, w, relation, keyBootstrapUnit, unit, also)
}

// ReadJoinRequest reads a unit's request; ok is false if it has not written one yet.
func ReadJoinRequest(bag map[string]string) (r JoinRequest, ok bool, err error) {
	ok, err = read(bag, keyJoinRequest, &r)
	return r, ok, err
}

// Encode returns the databag entry of the request.
func (r JoinRequest) Encode() (map[string]string, error) { return write(keyJoinRequest, r) }

// ReadJoinToken reads the token that a unit issued; ok is false if there is none.
func ReadJoinToken(bag map[string]string) (t SealedJoinToken, ok bool, err error) {
	ok, err = read(bag, keyJoinToken, &t)
	return t, ok, err
}

// Encode returns the databag entry of the token.
func (t SealedJoinToken) Encode() (map[string]string, error) { return write(keyJoinToken, t) }

// NoJoinToken returns the databag entry that withdraws a token.
func NoJoinToken() map[string]string { return map[string]string{keyJoinToken: ""} }

func read(bag map[string]string, key string, into any) (bool, error) {
	text := bag[key]
	if text == "" {
		return false, nil
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return false, fmt.Errorf("cannot read %q from the cluster relation: %w", key, err)
	}
	return true, nil
}

func write(key string, value any) (map[string]string, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("cannot write %q to the cluster relation: %w", key, err)
	}
	return map[string]string{key: string(text)}, nil
}

// ReadCeph reports whether a unit's machine has Ceph's configuration.
func ReadCeph(bag map[string]string) bool { return bag[keyCeph] != "" }

// EncodeCeph returns the databag entry for a machine that has it.
func EncodeCeph() map[string]string { return map[string]string{keyCeph: "configured"} }

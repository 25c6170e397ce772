// Package lxdcluster is what the units of lxd-cluster tell each other over their peer
// relation `cluster`.
//
// The application's databag names the founder. Each unit's own databag holds its Wish and,
// when it is the one that issues join tokens, an Offer.
package lxdcluster

import (
	"encoding/json"
	"fmt"
	"time"
)

// Endpoint is the peer relation's name.
const Endpoint = "cluster"

// Databag keys.
const (
	keyCoordinator = "coordinator"
	keyReplaced    = "coordinator-replaced"
	keyJoinRequest = "join-request"
	keyJoinToken   = "join-token"
	keyCeph        = "ceph"
)

// Wish is what a unit says of itself and asks for.
type Wish struct {
	Member  string `json:"member"`  // the name its LXD has, or will have, in the cluster
	Address string `json:"address"` // host:port its LXD listens on for the cluster
	LXD     string `json:"lxd"`     // the LXD version it runs
	Key     string `json:"key"`     // seal tokens to this public key
	// Cluster is the identity of the cluster that its LXD is in: the fingerprint of the
	// first certificate that it was known by. Empty as long as it is in none.
	Cluster string `json:"cluster,omitempty"`
	// Founder is the founder that it knows of, where that is not the first one: with it the
	// unit says that it never joined what an earlier founder may have founded.
	Founder string `json:"coordinator,omitempty"`
	// Lacks is the bridge that instances are to be on, as long as its machine has none of
	// that name.
	Lacks string `json:"missing-bridge,omitempty"`
	// HostBridge is br0 where its machine has a bridge of its own of that name, as MAAS makes
	// it, and "none" where it has not. Empty in what units of before wrote.
	HostBridge string `json:"host-bridge,omitempty"`
	// Parents are the networks of its cluster for which a member that joins has to name an
	// interface of its machine, with commas.
	Parents string `json:"parents,omitempty"`
	// Spent is the id of the last offer that it used without getting in.
	Spent string `json:"used-token,omitempty"`
	// Failed counts the offers that it used so without getting in.
	Failed int `json:"failed-tokens,omitempty"`
}

// Offer is a join token for one unit. There is never more than one, so joins come one
// after the other.
type Offer struct {
	ID      string    `json:"id"`
	Member  string    `json:"member"`  // who it is for; LXD checks the name
	Address string    `json:"address"` // the address that the wish named
	Key     string    `json:"key"`     // the key it is sealed to
	Token   string    `json:"token"`   // sealed, see Purpose
	LXD     string    `json:"lxd"`     // the version that the cluster runs
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
}

// Purpose is what a token for member is sealed for.
func Purpose(member string) string { return "lxd-cluster join token for " + member }

// Fits reports whether the offer is for this wish and can still be used at time now.
func (o Offer) Fits(w Wish, now time.Time) bool {
	return o.ID != "" && o.Member == w.Member && o.Address == w.Address && o.Key == w.Key &&
		o.ID != w.Spent && now.Before(o.Expires)
}

// Founder reads the founder's unit name from the application's databag; "" when none.
func Founder(app map[string]string) string { return app[keyCoordinator] }

// Again reports whether the founder took the place of one that is gone, which may have founded
// a cluster, and others joined it, before it went.
func Again(app map[string]string) bool { return app[keyReplaced] != "" }

// EncodeFounder returns the databag entries that name the founder.
func EncodeFounder(unit string, again bool) map[string]string {
	entries := map[string]string{keyCoordinator: unit}
	if again {
		entries[keyReplaced] = "true"
	}
	return entries
}

// ReadWish reads a unit's wish. ok is false when it has not written one yet.
func ReadWish(bag map[string]string) (w Wish, ok bool, err error) {
	ok, err = read(bag, keyJoinRequest, &w)
	return w, ok, err
}

// Encode returns the wish's databag entry.
func (w Wish) Encode() (map[string]string, error) { return write(keyJoinRequest, w) }

// ReadOffer reads a unit's offer. ok is false when it makes none.
func ReadOffer(bag map[string]string) (o Offer, ok bool, err error) {
	ok, err = read(bag, keyJoinToken, &o)
	return o, ok, err
}

// Encode returns the offer's databag entry.
func (o Offer) Encode() (map[string]string, error) { return write(keyJoinToken, o) }

// NoOffer returns the entry that takes an offer back.
func NoOffer() map[string]string { return map[string]string{keyJoinToken: ""} }

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

// EncodeCeph returns the databag entry that says so.
func EncodeCeph() map[string]string { return map[string]string{keyCeph: "configured"} }

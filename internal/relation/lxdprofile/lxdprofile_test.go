package lxdprofile_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/relation"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

func TestDatabagsThereAndBack(t *testing.T) {
	request := lxdprofile.ProfileRequest{Application: "web", Model: "shop", ModelUUID: "u-1", Profile: profile.Profile{
		Config:  map[string]string{"limits.memory": "512MiB"},
		Devices: map[string]map[string]string{"gpu": {"type": "gpu"}},
	}}
	gotRequest, err := lxdprofile.DecodeProfileRequest(request.Encode())
	require.NoError(t, err)
	assert.Equal(t, request, gotRequest)

	claim := lxdprofile.Claim{Unit: "sub/3", Principal: "web/3", ModelUUID: "u-1", Instance: "juju-1-3", Challenge: "c", Proof: "p"}
	for _, owner := range []string{"sub/3", "remote-0123456789abcdef/3"} {
		bag := claim.Encode()
		bag["ingress-address"] = "10.0.0.1"
		gotClaim, err := lxdprofile.DecodeClaim(owner, bag)
		require.NoError(t, err)
		assert.Equal(t, claim, gotClaim)
		assert.True(t, relation.Contains(bag, claim.Encode()))
	}

	answer := lxdprofile.ProfileStatus{Units: map[string]lxdprofile.State{
		"sub/3": {State: lxdprofile.Challenged, Instance: "juju-1-3", Key: lxdprofile.NonceKey("lxd-profile:5"), Challenge: "abcd", SeenBy: "lxd-cluster/0"},
	}, NotifyAddress: "10.0.0.1:17668"}
	gotAnswer, err := lxdprofile.DecodeProfileStatus(answer.Encode())
	require.NoError(t, err)
	assert.Equal(t, answer, gotAnswer)
	assert.False(t, relation.Contains(nil, answer.Encode()))
}

func TestWhatCannotBeRead(t *testing.T) {
	_, err := lxdprofile.DecodeProfileRequest(map[string]string{})
	assert.True(t, errors.Is(err, lxdprofile.ErrEmpty))
	_, err = lxdprofile.DecodeClaim("sub/0", map[string]string{"ingress-address": "10.0.0.1"})
	assert.True(t, errors.Is(err, lxdprofile.ErrEmpty))

	_, err = lxdprofile.DecodeProfileStatus(map[string]string{"version": "2"})
	assert.EqualError(t, err, `cannot read lxd-profile: the other side uses version "2", this charm 1: refresh the older charm`)
	_, err = lxdprofile.DecodeProfileRequest(map[string]string{"version": "1", "application": "a", "model": "m", "model-uuid": "u", "profile": "[]"})
	assert.ErrorContains(t, err, "profile is not as in version 1")
	_, err = lxdprofile.DecodeProfileRequest(map[string]string{"version": "1", "application": "a"})
	assert.ErrorContains(t, err, "model is missing")
	_, err = lxdprofile.DecodeProfileRequest(map[string]string{"version": "1", "profile": strings.Repeat(" ", 1<<20)})
	assert.ErrorContains(t, err, "profile\" is 1048576 bytes long")

	for _, owner := range []string{"sub/4", "other/3", "remote-0123/4", "sub", "remote-0123/x"} {
		_, err = lxdprofile.DecodeClaim(owner, lxdprofile.Claim{Unit: "sub/3", Principal: "web/3", ModelUUID: "u", Instance: "i"}.Encode())
		assert.ErrorContains(t, err, "cannot accept the claim of "+owner, owner)
	}
}

// Names, ids and hashes become parts of answers, logs, names and marks: they are short and have no
// lines.
func TestWordsAreShort(t *testing.T) {
	request := lxdprofile.ProfileRequest{Application: "web", Model: "shop", ModelUUID: "u-1", RolledBack: "r"}.Encode()
	claim := lxdprofile.Claim{Unit: "sub/3", Principal: "web/3", ModelUUID: "u-1", Instance: "juju-1-3", Challenge: "c", Proof: "p", Started: "s"}.Encode()
	read := map[string]func(bag map[string]string) error{
		"request": func(bag map[string]string) error { _, err := lxdprofile.DecodeProfileRequest(bag); return err },
		"claim":   func(bag map[string]string) error { _, err := lxdprofile.DecodeClaim("sub/3", bag); return err },
	}
	for kind, bag := range map[string]map[string]string{"request": request, "claim": claim} {
		require.NoError(t, read[kind](bag))
		for key := range bag {
			if key == "version" || key == "profile" {
				continue
			}
			for _, bad := range []string{strings.Repeat("x", 257), "a\nb", "a\x00", "\u202e", "\xff"} {
				other := maps.Clone(bag)
				other[key] = bad
				assert.ErrorContains(t, read[kind](other), "cannot read lxd-profile: "+key+" is ", "%s of a %s", key, kind)
			}
		}
	}
	request["restart"] = `{"id": "a\nb", "batch": 1}`
	assert.ErrorContains(t, read["request"](request), "the id of restart is")
}

// The name of a relation's Ceph cluster is the provider's, and no two relations have the same.
func TestCephClusters(t *testing.T) {
	seen := map[string]bool{}
	for _, model := range []string{"m1", "m2", "m1\nlxd-profile:1"} {
		for i := range 1000 {
			name := lxdprofile.CephCluster(model, fmt.Sprintf("lxd-profile:%d", i))
			assert.Regexp(t, `^dcib-[0-9a-f]{16}$`, name)
			assert.False(t, seen[name])
			seen[name] = true
		}
	}
}

// A proof holds for the claim, the key and the nonce it was made for, and for no other.
func TestProof(t *testing.T) {
	key := lxdprofile.NonceKey("lxd-profile:5")
	assert.Equal(t, "user.dcib.nonce.5", key)
	nonce, err := lxdprofile.NewNonce(rand.Reader)
	require.NoError(t, err)
	require.True(t, lxdprofile.IsNonce(nonce))
	assert.NotContains(t, nonce, lxdprofile.ChallengeOf(nonce))

	claim := lxdprofile.Claim{Unit: "sub/3", Principal: "web/3", ModelUUID: "u-1", Instance: "juju-1-3"}
	claim.Proof = claim.Prove(key, nonce)
	require.True(t, claim.Proven(key, nonce))
	assert.NotContains(t, claim.Proof, nonce)

	rapid.Check(t, func(t *rapid.T) {
		other := claim
		text := rapid.StringN(0, 12, -1)
		other.Unit = text.Draw(t, "unit")
		other.Principal = text.Draw(t, "principal")
		other.Instance = text.Draw(t, "instance")
		if other.Proven(key, nonce) {
			t.Fatalf("%+v is proven by the proof of %+v", other, claim)
		}
	})
	assert.False(t, claim.Proven(lxdprofile.NonceKey("lxd-profile:6"), nonce), "replayed in another relation")
	another, _ := lxdprofile.NewNonce(rand.Reader)
	assert.False(t, claim.Proven(key, another))
	guessed := claim
	guessed.Proof = claim.Prove(key, "")
	assert.False(t, guessed.Proven(key, ""), "no nonce proves nothing")
	claim.Proof = ""
	assert.False(t, claim.Proven(key, nonce))
}

func TestNonceKeys(t *testing.T) {
	assert.True(t, lxdprofile.IsNonceKey("user.dcib.nonce.0"))
	for _, key := range []string{"user.user-data", "user.dcib.nonce.", "user.dcib.nonce.05", "user.dcib.nonce.5/../x", "user.dcib.owner", ""} {
		assert.False(t, lxdprofile.IsNonceKey(key), key)
	}
}

package lxdprofile

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

const nonceKeyPrefix = "user.dcib.nonce."

// NonceKey returns the instance option with the broker's nonce for a relation, by the broker's id of it
// ("lxd-profile:5"). Each relation has its own, so that a proof is valid in one relation only.
func NonceKey(relation string) string {
	_, number, _ := strings.Cut(relation, ":")
	return nonceKeyPrefix + number
}

// IsNonceKey reports whether a requirer may be asked to read an instance option. There is no proof for any
// other option.
func IsNonceKey(key string) bool {
	n, err := strconv.ParseUint(strings.TrimPrefix(key, nonceKeyPrefix), 10, 63)
	return err == nil && key == nonceKeyPrefix+strconv.FormatUint(n, 10)
}

// nonceBytes is the entropy of a nonce.
const nonceBytes = 32

// NewNonce returns a nonce made from 32 random bytes.
func NewNonce(random interface{ Read([]byte) (int, error) }) (string, error) {
	b := make([]byte, nonceBytes)
	for filled := 0; filled < len(b); {
		n, err := random.Read(b[filled:])
		if err != nil {
			return "", fmt.Errorf("cannot create a nonce: %w", err)
		}
		filled += n
	}
	return hex.EncodeToString(b), nil
}

// IsNonce reports whether a value is a nonce of NewNonce.
func IsNonce(value string) bool {
	b, err := hex.DecodeString(value)
	return err == nil && len(b) == nonceBytes
}

// ChallengeOf identifies a nonce without revealing it.
func ChallengeOf(nonce string) string { return digest("lxd-profile challenge\n" + nonce) }

// Prove returns the proof that the sender of the claim has read the nonce at key. It covers all fields of
// the claim, so it proves no other claim.
func (c Claim) Prove(key, nonce string) string {
	mac := hmac.New(sha256.New, []byte(nonce))
	for _, part := range []string{"lxd-profile", Version, key, c.Unit, c.Principal, c.ModelUUID, c.Instance} {
		// The lengths separate the parts.
		fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(mac.Sum(nil))
}

// ModelOption is the instance option with the UUID of the instance's model, from Juju.
// https://github.com/juju/juju/blob/main/environs/tags/tags.go
const ModelOption = "user.juju-model-uuid"

// ProvenIn reports whether the claim is proven for a relation, by the provider's id, in an instance with
// these options of its own: it is of the claimed model, and the proof is valid for the nonce of the
// relation in the instance.
func (c Claim) ProvenIn(relation string, own map[string]string) bool {
	key := NonceKey(relation)
	return own[ModelOption] == c.ModelUUID && c.Proven(key, own[key])
}

// Proven reports whether the claim's proof is valid for the nonce at key.
func (c Claim) Proven(key, nonce string) bool {
	return IsNonce(nonce) && hmac.Equal([]byte(c.Proof), []byte(c.Prove(key, nonce)))
}

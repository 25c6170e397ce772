// Package seal encrypts a text so that only one receiver can read it: RFC 9180 hybrid public key
// encryption. Anyone who may see a unit can read its databags; what only one unit may know is sealed to
// that unit's key.
package seal

import (
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/base64"
	"errors"
	"fmt"
)

// The suite: X25519, HKDF-SHA256, ChaCha20-Poly1305 (RFC 9180, section 7). A token is valid for hours, so
// larger post-quantum keys have no use here.
func kem() hpke.KEM   { return hpke.DHKEM(ecdh.X25519()) }
func kdf() hpke.KDF   { return hpke.HKDFSHA256() }
func aead() hpke.AEAD { return hpke.ChaCha20Poly1305() }

// Key is a receiver's private key.
type Key struct{ private hpke.PrivateKey }

// NewKey creates a key.
func NewKey() (*Key, error) {
	private, err := kem().GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("cannot make a sealing key: %w", err)
	}
	return &Key{private}, nil
}

// ParseKey reads a key that Bytes returned.
func ParseKey(raw []byte) (*Key, error) {
	private, err := kem().NewPrivateKey(raw)
	if err != nil {
		return nil, fmt.Errorf("cannot read a sealing key: %w", err)
	}
	return &Key{private}, nil
}

// Bytes returns the private key, for a file that only root can read.
func (k *Key) Bytes() ([]byte, error) { return k.private.Bytes() }

// Public returns the text that others seal to; it is not secret.
func (k *Key) Public() string {
	return base64.StdEncoding.EncodeToString(k.private.PublicKey().Bytes())
}

// Open returns the text that was sealed to this key for the same purpose.
func (k *Key) Open(purpose, sealed string) ([]byte, error) {
	raw, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil {
		return nil, fmt.Errorf("cannot open a sealed text: %w", err)
	}
	text, err := hpke.Open(k.private, kdf(), aead(), []byte(purpose), raw)
	if err != nil {
		return nil, errors.New("cannot open a sealed text: it was sealed to another key or for another purpose")
	}
	return text, nil
}

// Seal encrypts text so that only the owner of the public key can open it, and only for the same purpose.
func Seal(public, purpose string, text []byte) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(public)
	if err != nil {
		return "", fmt.Errorf("cannot read a public key: %w", err)
	}
	key, err := kem().NewPublicKey(raw)
	if err != nil {
		return "", fmt.Errorf("cannot read a public key: %w", err)
	}
	sealed, err := hpke.Seal(key, kdf(), aead(), []byte(purpose), text)
	if err != nil {
		return "", fmt.Errorf("cannot seal: %w", err)
	}
	return base64.StdEncoding.EncodeToString(sealed), nil
}

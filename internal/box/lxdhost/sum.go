package lxdhost

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
)

// sum256 is LXD's fingerprint of an image of several files: the hash of all their bytes,
// metadata first.
func sum256(paths ...string) (string, error) {
	h := sha256.New()
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

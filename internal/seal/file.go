package seal

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/dcib/dcib/internal/host/atomicfile"
)

// Load returns the key in a file; nil if there is none. A damaged key counts as none: its owner creates
// another, and the others seal to that.
func Load(path string) (*Key, error) {
	raw, err := atomicfile.Read(path)
	if atomicfile.Unusable(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot load a sealing key: %w", err)
	}
	key, err := ParseKey(raw)
	if err != nil {
		return nil, nil
	}
	return key, nil
}

// LoadOrCreate is Load, and creates a key that only root can read if there is none.
func LoadOrCreate(path string) (*Key, error) {
	if key, err := Load(path); err != nil || key != nil {
		return key, err
	}
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	raw, err := key.Bytes()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("cannot store a sealing key: %w", err)
	}
	if err := atomicfile.Write(path, raw, atomicfile.Options{}); err != nil {
		return nil, fmt.Errorf("cannot store a sealing key: %w", err)
	}
	return key, nil
}

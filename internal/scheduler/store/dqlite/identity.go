//go:build cgo && libsqlite3

package dqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	library "github.com/canonical/go-dqlite"
	"github.com/canonical/go-dqlite/client"
	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/internal/host/atomicfile"
)

// identify returns the identity of the node in a folder and whether it is in the cluster; it
// makes one where there is none. One that was lost is found again in the list of nodes, or is that
// of the node that began the cluster; else the node's data is of no use to any other, and it
// joins as a new one.
func identify(dir, address string, founds bool) (who identity, in bool, err error) {
	who, ok, err := readIdentity(dir)
	if err != nil {
		return who, false, err
	}
	if !ok {
		who = identity{ID: listed(dir, address), Address: address}
		switch {
		case who.ID != 0:
		case founds:
			who.ID = library.BootstrapID
		default:
			if err := clear(dir); err != nil {
				return who, false, err
			}
			who.ID = library.GenerateID(address)
			if err := atomicfile.Write(filepath.Join(dir, joinFile), []byte("not taken in yet\n"), atomicfile.Options{}); err != nil {
				return who, false, err
			}
		}
		if err := who.write(dir); err != nil {
			return who, false, err
		}
	}
	if who.Address != address {
		return who, false, fmt.Errorf("it was %s before: a node's address cannot change", who.Address)
	}
	_, err = os.Stat(filepath.Join(dir, joinFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return who, false, err
	}
	return who, err != nil, nil
}

// listed returns the id that the node of that address has in the list of nodes that was last kept
// in a folder; 0 when it is not in it.
func listed(dir, address string) uint64 {
	var nodes []identity
	text, err := atomicfile.Read(filepath.Join(dir, nodesFile))
	if err != nil || yaml.Unmarshal(text, &nodes) != nil {
		return 0
	}
	for _, n := range nodes {
		if n.Address == address {
			return n.ID
		}
	}
	return 0
}

// clear removes all that is in a folder.
func clear(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// write keeps it, whole or not at all.
func (i identity) write(dir string) error {
	text, err := yaml.Marshal(i)
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, identityFile), text, atomicfile.Options{})
}

// info is the identity as the cluster is told it.
func (i identity) info(role client.NodeRole) client.NodeInfo {
	return client.NodeInfo{ID: i.ID, Address: i.Address, Role: role}
}

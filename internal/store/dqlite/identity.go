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
)

// What a node keeps in its folder beside the database's own files. The names and what is in
// them are those of go-dqlite's package app: its tools can be used on them.
const (
	identityFile = "info.yaml"    // who it is
	nodesFile    = "cluster.yaml" // the cluster's nodes when they were last seen
	joinFile     = "join"         // there until the cluster has taken it in
)

// identity is who a node is, for good.
type identity struct {
	ID      uint64 `yaml:"ID"`
	Address string `yaml:"Address"`
}

// identify gives the identity of the node in a folder and whether it is in the cluster; it
// makes one where there is none.
func identify(dir, address string, founds bool) (who identity, in bool, err error) {
	text, err := os.ReadFile(filepath.Join(dir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		who = identity{library.BootstrapID, address}
		if !founds {
			who.ID = library.GenerateID(address)
			if err := os.WriteFile(filepath.Join(dir, joinFile), nil, 0o600); err != nil {
				return who, false, err
			}
		}
		return who, founds, who.write(dir)
	}
	if err != nil {
		return who, false, err
	}
	if err := yaml.Unmarshal(text, &who); err != nil {
		return who, false, fmt.Errorf("cannot read %s: %w", identityFile, err)
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

// write keeps it, whole or not at all.
func (i identity) write(dir string) error {
	text, err := yaml.Marshal(i)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, identityFile)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// info is the identity as the cluster is told it.
func (i identity) info(role client.NodeRole) client.NodeInfo {
	return client.NodeInfo{ID: i.ID, Address: i.Address, Role: role}
}

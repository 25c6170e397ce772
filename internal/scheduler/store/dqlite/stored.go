package dqlite

import (
	"path/filepath"

	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/internal/host/atomicfile"
)

// What a node keeps in its folder beside the database's own files. The names and what is in
// them are those of go-dqlite's package app: its tools can be used on them.
const (
	identityFile = "info.yaml"    // who it is
	nodesFile    = "cluster.yaml" // the cluster's nodes when they were last seen
	joinFile     = "join"         // there until the cluster has taken it in
)

// bootstrapID is the id of the node that began the cluster: go-dqlite 1.11.5, node.go. It also
// takes 1 for one.
const bootstrapID = 0x2dc171858c3155be

// identity is who a node is, for good.
type identity struct {
	ID      uint64 `yaml:"ID"`
	Address string `yaml:"Address"`
}

// readIdentity returns the identity in a folder; ok is false when there is none, or it was lost.
func readIdentity(dir string) (who identity, ok bool, err error) {
	text, err := atomicfile.Read(filepath.Join(dir, identityFile))
	if atomicfile.Unusable(err) {
		return who, false, nil
	}
	if err != nil {
		return who, false, err
	}
	if yaml.Unmarshal(text, &who) != nil || who.ID == 0 || who.Address == "" {
		return identity{}, false, nil
	}
	return who, true, nil
}

// Stored returns the address of the node whose data is in a folder, and whether it began its
// cluster; ok is false when there is no node's data in it.
func Stored(dir string) (address string, founded, ok bool, err error) {
	who, ok, err := readIdentity(dir)
	return who.Address, who.ID == bootstrapID || who.ID == 1, ok, err
}

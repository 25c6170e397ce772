// Package daemon is the part of pet-scheduler that runs all the time: a node of the store,
// the unit's turn to act, and a socket on which the unit's actions talk to it. It needs
// Juju for nothing: what the hooks know it finds in a file.
// Package control is how a unit's hooks and actions talk to its daemon: the file that they
// configure it by, and its socket. It is apart from the daemon so that they need not carry
// what the daemon does.
package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/dcib/dcib/internal/relation/lxdhttps"
	"github.com/dcib/dcib/internal/store/dqlite"
)

// Names in the unit's state directory, beside the client certificate.
const (
	configFile = "daemon.json"
	socketFile = "daemon.sock"
)

// Config is what the hooks tell the daemon.
type Config struct {
	Unit        string             `json:"unit"`
	Address     string             `json:"address"` // host:port of this unit's node
	Founds      bool               `json:"founds"`  // this unit begins the store
	Join        []string           `json:"join"`    // the other units' nodes, all that there are
	Certificate dqlite.Certificate `json:"store"`
	LXD         lxdhttps.Offer     `json:"lxd"` // read anew for each connection

	// What operators set; it is read anew for each decision.
	Pets    string        `json:"pets"`             // YAML that was looked at, and is good
	LeadMin time.Duration `json:"lead-min"`         // 0 is the default
	LeadMax time.Duration `json:"lead-max"`         // 0 is the default
	Leave   bool          `json:"leave-on-failure"` // a drain that was given up stays as it is
}

// Socket gives the daemon's socket, for the unit's state directory.
func Socket(dir string) string { return filepath.Join(dir, socketFile) }

// ReadConfig reads the file in dir; ok is false when there is none.
func ReadConfig(dir string) (c Config, ok bool, err error) {
	text, err := os.ReadFile(filepath.Join(dir, configFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, false, nil
	}
	if err != nil {
		return Config{}, false, fmt.Errorf("cannot read the daemon's configuration: %w", err)
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return Config{}, false, fmt.Errorf("cannot read the daemon's configuration %s: %w", configFile, err)
	}
	return c, true, nil
}

// Write keeps the configuration in dir, whole or not at all, for its owner's eyes alone: it
// holds the store's key.
func (c Config) Write(dir string) error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot encode the daemon's configuration: %w", err)
	}
	path := filepath.Join(dir, configFile)
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot keep the daemon's configuration: %w", err)
	}
	if err := os.WriteFile(temp, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("cannot keep the daemon's configuration: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("cannot keep the daemon's configuration: %w", err)
	}
	return nil
}

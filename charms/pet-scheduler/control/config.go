// Package control is how a unit's hooks and actions talk to its daemon: the file that they
// configure it by, and its socket. It is apart from the daemon so that they need not carry
// what the daemon does.
package control

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"github.com/dcib/dcib/internal/host/atomicfile"
	"github.com/dcib/dcib/internal/relation/lxdhttps"
	"github.com/dcib/dcib/internal/scheduler/store/dqlite"
)

// Names in the unit's state directory, beside the client certificate.
const (
	configFile = "daemon.json"
	socketFile = "daemon.sock"
	alertsFile = "alerts.json"
)

// RunDir returns the folder that the daemon writes to, in the unit's state directory: its
// socket, its alerts and its sessions with LXD. All else there but the store is written by the
// unit's hooks, as root.
func RunDir(dir string) string { return filepath.Join(dir, "run") }

// StoreDir returns the folder of the daemon's node of the store, in the unit's state directory.
func StoreDir(dir string) string { return filepath.Join(dir, "store") }

// Config is what the hooks write for the daemon.
type Config struct {
	Unit        string             `json:"unit"`
	Address     string             `json:"address"` // host:port of this unit's node
	Founds      bool               `json:"founds"`  // this unit begins the store
	Join        []string           `json:"join"`    // the other units' nodes, all that there are
	Certificate dqlite.Certificate `json:"store"`
	// Trusted are certificates, PEM, that other units may show while the store's is rotated.
	Trusted []string       `json:"store-trusted,omitempty"`
	LXD     lxdhttps.Offer `json:"lxd"` // read again for each connection

	// What operators set; it is read again for each decision.
	Pets       string        `json:"pets"`                  // YAML that was looked at, and is good
	LeadMin    time.Duration `json:"min-lead-time"`         // 0 is the default
	LeadMax    time.Duration `json:"max-lead-time"`         // 0 is the default
	KeepFailed bool          `json:"keep-on-drain-failure"` // a drain that was given up stays as it is
}

// Socket returns the daemon's socket, for the unit's state directory.
func Socket(dir string) string { return filepath.Join(RunDir(dir), socketFile) }

// ReadConfig reads the file in dir; ok is false when there is none, or when its content was
// lost: the hooks then write it again.
func ReadConfig(dir string) (c Config, ok bool, err error) {
	text, err := atomicfile.Read(filepath.Join(dir, configFile))
	if atomicfile.Unusable(err) {
		return Config{}, false, nil
	}
	if err != nil {
		return Config{}, false, fmt.Errorf("cannot read the daemon's configuration: %w", err)
	}
	if json.Unmarshal(text, &c) != nil || c.Unit == "" {
		return Config{}, false, nil
	}
	return c, true, nil
}

// Write keeps the configuration in dir, whole or not at all. It holds the store's key: a file
// that is replaced passes on who may read it, a new one is its owner's alone.
func (c Config) Write(dir string) error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err == nil {
		err = atomicfile.Write(filepath.Join(dir, configFile), append(text, '\n'), atomicfile.Options{Keep: true})
	}
	if err != nil {
		return fmt.Errorf("cannot keep the daemon's configuration: %w", err)
	}
	return nil
}

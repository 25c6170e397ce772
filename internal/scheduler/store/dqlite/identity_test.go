//go:build cgo && libsqlite3

package dqlite

import (
	"os"
	"path/filepath"
	"testing"

	library "github.com/canonical/go-dqlite"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A power loss may leave an empty identity: the node is the one it was where that can be known,
// and else a new one with nothing of the old.
func TestALostIdentity(t *testing.T) {
	const address = "10.0.0.2:17666"
	for name, c := range map[string]struct {
		founds bool
		nodes  string
		id     uint64 // 0: another
		in     bool
	}{
		"listed":                 {false, "- Address: 10.0.0.1:17666\n  ID: 1\n  Role: 0\n- Address: 10.0.0.2:17666\n  ID: 77\n  Role: 0\n", 77, true},
		"bootstrap node":         {true, "", library.BootstrapID, true},
		"bootstrap node, listed": {true, "- Address: 10.0.0.2:17666\n  ID: 77\n  Role: 0\n", 77, true},
		"joiner":                 {false, "", 0, false},
		"joiner, told whom":      {false, "- Address: 10.0.0.1:17666\n  ID: 0\n  Role: 0\n", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{identityFile: "", nodesFile: c.nodes, "open-1": "data"} {
				require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
			}
			who, in, err := identify(dir, address, c.founds)
			require.NoError(t, err)
			assert.Equal(t, c.in, in)
			assert.Equal(t, address, who.Address)
			if c.id != 0 {
				assert.Equal(t, c.id, who.ID)
				assert.FileExists(t, filepath.Join(dir, "open-1"))
			} else {
				assert.NotZero(t, who.ID)
				assert.NoFileExists(t, filepath.Join(dir, "open-1"), "no other node can use it")
			}
			again, in, err := identify(dir, address, c.founds)
			require.NoError(t, err)
			assert.Equal(t, who, again)
			assert.Equal(t, c.in, in)
		})
	}
}

package cluster

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever became of a unit's join key, and whenever: the unit makes another and joins.
func TestUnitWhoseJoinKeyIsLostJoins(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"missing":   os.Remove,
		"empty":     func(path string) error { return os.Truncate(path, 0) },
		"truncated": func(path string) error { return os.Truncate(path, 7) },
		"a symlink": func(path string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Symlink("elsewhere", path)
		},
		"too long": func(path string) error { return os.WriteFile(path, make([]byte, 4096), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			for rounds := range 4 {
				m := newModel(t.TempDir)
				m.add(0)
				m.settle(2)
				joiner := m.add(1)
				path := filepath.Join(m.dirs[joiner], keyFile)
				require.NoError(t, m.hook(joiner))
				for range rounds {
					require.NoError(t, m.hook("lxd-cluster/0"))
					require.NoError(t, m.hook(joiner))
				}
				if _, err := os.Lstat(path); err == nil {
					require.NoError(t, damage(path))
				}
				require.NoError(t, m.hook(joiner), "a key that can be made again does not fail a hook")
				m.settle(6)
				require.True(t, m.lxds[joiner].local.Clustered, "after %d rounds: %s", rounds, m.juju.Units[joiner].Message)
				require.Equal(t, "active", m.juju.Units[joiner].Status)
				require.NoFileExists(t, filepath.Join(m.dirs[joiner], "elsewhere"), "a symlink is not followed")
			}
		})
	}
}

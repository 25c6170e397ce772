package howto_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// The README of each charm names each of its options, actions, endpoints and storages.
func TestReadmesNameWhatCharmsHave(t *testing.T) {
	sources, err := filepath.Glob("../../charms/*/charmcraft.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, sources)
	for _, file := range sources {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var has struct {
			Config   struct{ Options map[string]any }
			Actions  map[string]any
			Requires map[string]any
			Provides map[string]any
		}
		require.NoError(t, yaml.Unmarshal(text, &has))
		readme, err := os.ReadFile(filepath.Join(filepath.Dir(file), "README.md"))
		require.NoError(t, err)
		for kind, names := range map[string]map[string]any{"option": has.Config.Options, "action": has.Actions, "endpoint": has.Requires, "endpoint ": has.Provides} {
			for name := range names {
				assert.Regexp(t, "`"+name+"[` ]", string(readme), "%s %s", kind, name)
			}
		}
	}
}

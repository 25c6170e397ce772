package catalog

import (
	"regexp"
	"slices"
	"testing"

	"github.com/juju/charm/v12"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each charm is one that Juju can read, with its source, and agrees with itself.
func TestEveryCharmIsWhole(t *testing.T) {
	charms, err := All()
	require.NoError(t, err)
	require.True(t, slices.IsSortedFunc(charms, func(a, b Charm) int {
		if a.Name < b.Name {
			return -1
		}
		return 0
	}))
	source := regexp.MustCompile(`^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+:[^@ ]+@[0-9a-f]{7,}`)
	for _, c := range charms {
		t.Run(c.Name+" "+c.Channel, func(t *testing.T) {
			ch, err := c.Juju()
			require.NoError(t, err)
			require.NoError(t, charm.CheckMeta(ch))
			assert.Len(t, ch.Meta().Provides, len(c.Provides))
			assert.Len(t, ch.Meta().Requires, len(c.Requires))
			assert.Len(t, ch.Meta().Storage, len(c.Storage))
			assert.Len(t, ch.Config().Options, len(c.Options))
			assert.Len(t, ch.Manifest().Bases, len(c.Bases))
			assert.Equal(t, c.Subordinate, ch.Meta().Subordinate)
			assert.Contains(t, c.Tracks, Track(c.Channel))
			assert.NotEmpty(t, c.Bases)
			require.NotEmpty(t, c.Source)
			for _, s := range c.Source {
				assert.Regexp(t, source, s)
			}
			for _, e := range c.Required {
				_, provided := c.Provides[e]
				_, required := c.Requires[e]
				assert.True(t, provided || required, "required %s is an endpoint", e)
			}
			container := false
			for _, e := range c.Requires {
				container = container || e.Scope == "container"
			}
			assert.True(t, container || !c.Subordinate, "a subordinate has an endpoint to live on")
		})
	}
}

// Some facts, as upstream's documents have them.
func TestFacts(t *testing.T) {
	c, tracks, ok := Find("ceph-csi", "1.35/stable")
	require.True(t, ok)
	assert.Contains(t, tracks, "1.35")
	assert.Equal(t, Endpoint{Interface: "juju-info", Scope: "container"}, c.Requires["kubernetes"])
	assert.Equal(t, "boolean", c.Options["cephfs-enable"])

	osd, _, ok := Find("ceph-osd", "")
	require.True(t, ok)
	assert.Equal(t, "0-", osd.Storage["osd-devices"].Count)
}

func TestFindByTrack(t *testing.T) {
	for channel, want := range map[string]string{"": "16/stable", "16/edge": "16/stable", "14/stable": "14/stable", "14": "14/stable"} {
		c, tracks, ok := Find("postgresql", channel)
		assert.True(t, ok, channel)
		assert.Equal(t, want, c.Channel, channel)
		assert.ElementsMatch(t, []string{"14", "16"}, tracks)
	}
	c, tracks, ok := Find("postgresql", "9/stable")
	assert.False(t, ok)
	assert.Len(t, tracks, 2)
	assert.Equal(t, "postgresql", c.Name)
	_, _, ok = Find("postgresql", "edge")
	assert.False(t, ok, "which track that is, its publisher says")
	_, _, ok = Find("ubuntu", "edge")
	assert.True(t, ok, "it has no tracks")
	_, tracks, ok = Find("nothing", "")
	assert.False(t, ok)
	assert.Empty(t, tracks)
}

func TestNames(t *testing.T) {
	names, err := Names()
	require.NoError(t, err)
	assert.Contains(t, names, "kubernetes-worker")
	assert.Equal(t, slices.Compact(slices.Clone(names)), names)
}

func TestParseRefusesUnknownFields(t *testing.T) {
	_, err := parse([]byte("- charm: x\n  optoins: {}\n"))
	require.ErrorContains(t, err, "optoins")
}

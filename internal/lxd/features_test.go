package lxd

import (
	"testing"

	"github.com/canonical/lxd/shared/api"
	"github.com/canonical/lxd/shared/version"
	"github.com/stretchr/testify/require"
)

func TestFeaturesOf(t *testing.T) {
	server := func(version string, extensions ...string) *api.Server {
		s := &api.Server{}
		s.APIExtensions, s.Environment.ServerVersion = extensions, version
		return s
	}
	// Debian's 5.0.2, of its extensions those that count.
	debian := server("5.0.2", "maas_network", "clustering_groups", "metrics_authentication", "clustering_evacuation_mode")
	require.Equal(t, Features{ClusterGroups: true, MAAS: true, OpenMetrics: true, MovesRunning: true}, FeaturesOf(debian))
	// 6.6 is the one that this module requires.
	require.Equal(t, Features{
		ClusterGroups: true, TokenField: true, RestoreSkip: true, Buckets: true, MAAS: true, OpenMetrics: true, CopiesRunning: true, NICParents: true,
	}, FeaturesOf(server("6.6", version.APIExtensions...)))

	for v, want := range map[string]struct{ moves, asks bool }{
		"5.0.0": {true, false}, "5.0.1": {true, false}, "5.0.2": {true, false}, "5.0.3": {false, false},
		"4.0.9": {false, false}, "5.21.4": {false, false}, "6.8": {false, false}, "6.9": {false, true}, "6.10": {false, true}, "7.0": {false, true},
		"5.100": {false, false}, "6": {false, false}, "x.9": {false, false}, "": {false, false}, "next": {false, false},
	} {
		f := FeaturesOf(server(v))
		require.Equal(t, want.moves, f.MovesRunning, v)
		require.Equal(t, !want.moves, f.NICParents, v)
		require.Equal(t, want.asks, f.AsksVoters, v)
	}
	require.True(t, FeaturesOf(server("6.8", "bulk_operations")).HostDisks)
}

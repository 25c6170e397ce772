package deploy

import (
	"testing"

	"github.com/juju/charm/v12"
	"github.com/stretchr/testify/require"
)

// What the box deploys of the bundle for a data centre, which is more than one machine has
// use for: nothing from Charmhub, and the real suites count on these units and machines.
func TestWhatTheBoxDeploys(t *testing.T) {
	const root = "../../../"
	var sources []charm.BundleDataSource
	for _, file := range []string{"bundles/dcib.yaml", "overlays/box.yaml"} {
		src, err := charm.LocalBundleDataSource(root + file)
		require.NoError(t, err)
		for _, part := range src.Parts() {
			require.NoError(t, part.UnmarshallError)
		}
		sources = append(sources, src)
	}
	b, err := charm.ReadAndMergeBundleData(sources...)
	require.NoError(t, err)
	require.Len(t, b.Applications, 2)
	lxd, pets := b.Applications["lxd-cluster"], b.Applications["pet-scheduler"]
	require.Equal(t, 3, lxd.NumUnits)
	require.Equal(t, []string{"0", "1", "2"}, lxd.To)
	require.Empty(t, lxd.Offers, "Juju 4.1-beta2 deploys no bundle twice that has one")
	require.Equal(t, map[string]any{"bridge": "auto", "https-unrestricted": "pet-scheduler", "bridge-address": "10.248.0.1/24", "manage-default-profile": true}, lxd.Options)
	require.Equal(t, 1, pets.NumUnits)
	require.Equal(t, []string{"0"}, pets.To)
	require.Empty(t, pets.Options)
	// Juju returns it to them anyhow, and asked for nothing takes the next deployment for another.
	require.Equal(t, "arch=amd64", lxd.Constraints)
	require.Equal(t, "arch=amd64", pets.Constraints)
	require.Len(t, b.Machines, 3)
	require.Empty(t, b.Saas)
	require.Equal(t, [][]string{{"pet-scheduler:lxd", "lxd-cluster:https"}}, b.Relations)

	own, err := ReadBundle(root, "bundles/dcib.yaml", "overlays/box.yaml")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"lxd-cluster", "pet-scheduler"}, own.Applications())
	for app, path := range own.Charms {
		require.Contains(t, path, "dist/"+app+".charm")
	}
}

package bundles

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/tests/howto"
)

// page is what the suite runs as it stands there, but for these.
const page = "docs/how-to/deploy.md"

const waits = "the suite polls"

// again is how the metal is deployed when it is there.
const again = "juju deploy ./bundles/dcib.yaml --map-machines=existing --overlay ./overlays/box.yaml --overlay ./overlays/ceph.yaml --overlay ./tests/overlays/offline-ceph.yaml"

var changes = []howto.Change{
	{
		Of:   "juju deploy ./bundles/dcib.yaml --overlay ./overlays/offers.yaml",
		With: "juju deploy ./bundles/dcib.yaml --overlay ./overlays/box.yaml --overlay ./overlays/offers.yaml",
		Why:  "the metal is containers of one machine",
	},
	{
		Of:   "juju deploy ./bundles/dcib.yaml --map-machines=existing --overlay ./overlays/ceph.yaml --overlay ./overlays/ceph-offers.yaml",
		With: again + " --overlay ./overlays/ceph-offers.yaml",
		Why:  "there is no Charmhub",
	},
	{
		Of:   "juju deploy ./bundles/dcib.yaml --map-machines=existing --overlay ./overlays/ceph.yaml",
		With: again,
		Why:  "the same",
	},
	{
		Of:   "juju deploy ./bundles/kubernetes.yaml",
		With: "juju deploy ./bundles/kubernetes.yaml --overlay ./tests/overlays/offline.yaml",
		Why:  "there is no Charmhub",
	},
	{Of: "juju status --watch 5s", Why: waits},
	{Of: "juju switch kubernetes", Why: "there is no Kubernetes here: tests/daytwo has one"},
}

func TestPage(t *testing.T) {
	require.NoError(t, howto.Check("../../"+page, changes))
}

// Who follows the page gets machines with a disk and a network, which Juju takes from LXD's profile
// default. The overlay for one box, which the suite lays over it, has no part in that.
func TestThePageAloneProvidesMachinesWithADiskAndANetwork(t *testing.T) {
	options := func(file string) map[string]any {
		text, err := os.ReadFile("../../" + file)
		require.NoError(t, err)
		var bundle struct {
			Applications map[string]struct{ Options map[string]any }
		}
		require.NoError(t, yaml.Unmarshal(text, &bundle))
		return bundle.Applications["lxd-cluster"].Options
	}
	require.Equal(t, true, options("bundles/dcib.yaml")["manage-default-profile"])
	entries, err := os.ReadDir("../../overlays")
	require.NoError(t, err)
	for _, e := range entries {
		require.NotContains(t, options("overlays/"+e.Name()), "manage-default-profile", e.Name())
	}
}

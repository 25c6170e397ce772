package daytwo

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/tests/howto"
)

// page is the page that the suite runs, with these changes.
const page = "docs/how-to/day-two.md"

var changes = func() []howto.Change {
	const noOperator = "no operator answers"
	list := []howto.Change{
		{
			Of:   "juju destroy-model kubernetes --destroy-storage",
			With: "juju destroy-model kubernetes --destroy-storage --no-prompt",
			Why:  noOperator,
		},
		{
			Of:  "juju destroy-model burst --destroy-storage",
			Why: "there are no workers in a vendor's cloud here",
		},
		{
			Of:   "juju deploy ./bundles/kubernetes.yaml",
			With: "juju deploy ./bundles/kubernetes.yaml --overlay ./tests/overlays/offline.yaml",
			Why:  "there is no Charmhub",
		},
	}
	for _, command := range []string{
		"juju remove-unit ceph-osd/3", "juju remove-unit lxd-cluster/3",
		"juju destroy-model machines --destroy-storage",
	} {
		list = append(list, howto.Change{Of: command, With: command + " --no-prompt", Why: noOperator})
	}
	for track, apps := range map[string]string{
		"squid": "ceph-mon ceph-osd ceph-fs",
		"1.35":  "easyrsa etcd kubeapi-load-balancer kubernetes-control-plane kubernetes-worker calico containerd ceph-csi",
	} {
		for _, app := range strings.Fields(apps) {
			list = append(list, howto.Change{
				Of:   "juju refresh " + app + " --channel " + track + "/stable",
				With: "juju refresh " + app + " --path ./dist/standins/" + app + ".charm",
				Why:  "there is no Charmhub",
			})
		}
	}
	return list
}()

func TestPage(t *testing.T) {
	require.NoError(t, howto.Check("../../"+page, changes))
}

package cloud

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/box/deploy"
)

func TestFirst(t *testing.T) {
	units := map[string]deploy.Unit{
		"lxd-cluster/10": {Machine: "3"}, "lxd-cluster/9": {Machine: "7"}, "lxd-cluster/2": {Machine: "8"},
	}
	machines := map[string]deploy.Machine{"3": {InstanceID: "juju-x-3"}, "7": {InstanceID: "juju-x-7"}, "8": {}}
	got, err := first(deploy.Status{Machines: machines, Applications: map[string]deploy.Application{Application: {Units: units}}})
	require.NoError(t, err)
	require.Equal(t, "juju-x-7", got, "9 comes before 10, and 2 is not there yet")
	_, err = first(deploy.Status{})
	require.ErrorContains(t, err, "no unit of lxd-cluster has a machine")
}

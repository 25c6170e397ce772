package cloud

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/box/deploy"
)

func TestFirst(t *testing.T) {
	units := map[string]deploy.Unit{
		"lxd-cluster/10": {Address: "10.0.0.10"}, "lxd-cluster/9": {Address: "10.0.0.9"}, "lxd-cluster/2": {},
	}
	got, err := first(deploy.Status{Applications: map[string]deploy.Application{Application: {Units: units}}})
	require.NoError(t, err)
	require.Equal(t, "10.0.0.9", got, "9 comes before 10, and 2 has no address")
	_, err = first(deploy.Status{})
	require.ErrorContains(t, err, "no unit of lxd-cluster has an address")
}

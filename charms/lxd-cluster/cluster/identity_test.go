package cluster

import (
	"testing"

	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"
)

// A cluster whose certificate is replaced stays the one that its members told of.
func TestIdentity(t *testing.T) {
	info := &api.Server{}
	info.Environment.CertificateFingerprint = "first"
	require.Equal(t, "first", identity(info))
	info.Config = map[string]any{IdentityKey: "first"}
	info.Environment.CertificateFingerprint = "second"
	require.Equal(t, "first", identity(info))
}

package grafanadashboard

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEncode(t *testing.T) {
	bag := Encode("lxd-cluster", Dashboard{"lxd", []byte("xz")})
	var got struct {
		UUID      string
		Templates map[string]map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(bag["dashboards"]), &got))
	require.Len(t, got.UUID, 32)
	one := got.Templates["file:lxd"]
	require.Len(t, one["dashboard_alt_uid"], 16)
	delete(one, "dashboard_alt_uid")
	require.Equal(t, map[string]any{"charm": "lxd-cluster", "content": "eHo=", "juju_topology": map[string]any{}, "inject_dropdowns": false}, one)

	require.Equal(t, bag, Encode("lxd-cluster", Dashboard{"lxd", []byte("xz")}))
	require.NotEqual(t, bag, Encode("lxd-cluster", Dashboard{"lxd", []byte("other")}))
}

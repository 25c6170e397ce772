package prometheusscrape

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/hooktool"
)

func TestEncode(t *testing.T) {
	from := TopologyOf(hooktool.Event{Model: "m", ModelUUID: "u", Unit: "lxd-cluster/3"}, "lxd-cluster")
	bag := Encode([]Job{{
		Name: "lxd", Path: "/1.0/metrics", Scheme: "https", TLS: TLS{CA: "PEM", ServerName: "n1"},
		Targets: []Target{{Addresses: []string{"10.0.0.1:8443"}, Labels: map[string]string{"member": "n1"}}},
	}}, from)
	require.JSONEq(t, `[{"job_name":"lxd","metrics_path":"/1.0/metrics","scheme":"https",
		"tls_config":{"ca_file":"PEM","server_name":"n1"},
		"static_configs":[{"targets":["10.0.0.1:8443"],"labels":{"member":"n1"}}]}]`, bag["scrape_jobs"])
	require.JSONEq(t, `{"model":"m","model_uuid":"u","application":"lxd-cluster","unit":"","charm_name":"lxd-cluster"}`, bag["scrape_metadata"])
	require.Equal(t, map[string]string{"scrape_jobs": "", "scrape_metadata": ""}, Encode(nil, from))
}

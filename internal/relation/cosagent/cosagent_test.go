package cosagent

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/relation/grafanadashboard"
	"github.com/dcib/dcib/internal/relation/prometheusscrape"
)

func TestEncode(t *testing.T) {
	bag := Encode(nil)
	require.JSONEq(t, `{"metrics_alert_rules":{},"log_alert_rules":{},"dashboards":[],"metrics_scrape_jobs":[],"log_slots":[]}`, bag["config"])

	bag = Encode([]prometheusscrape.Job{{Name: "lxd", TLS: prometheusscrape.TLS{Unverified: true}}}, grafanadashboard.Dashboard{Name: "lxd", XZ: []byte("xz")})
	var got struct {
		Dashboards []string         `json:"dashboards"`
		Jobs       []map[string]any `json:"metrics_scrape_jobs"`
	}
	require.NoError(t, json.Unmarshal([]byte(bag["config"]), &got))
	require.Equal(t, map[string]any{"insecure_skip_verify": true}, got.Jobs[0]["tls_config"])
	require.Equal(t, []string{"eHo="}, got.Dashboards)
}

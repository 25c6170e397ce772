// Package grafanadashboard is the interface `grafana_dashboard`, as the charm library
// grafana_k8s.v0.grafana_dashboard (canonical/grafana-k8s-operator) reads it: a provider
// writes dashboards into its application's databag, compressed.
package grafanadashboard

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
)

// keyDashboards is the databag's only key.
const keyDashboards = "dashboards"

// Dashboard is one dashboard of a charm.
type Dashboard struct {
	Name string // unique in the charm
	// XZ is Grafana's model, JSON, as xz compresses it. Its panels name the data source
	// ${prometheusds}.
	XZ []byte
}

// Content returns a dashboard as this interface and cos_agent carry it.
func (d Dashboard) Content() string { return base64.StdEncoding.EncodeToString(d.XZ) }

// Encode returns the entries of the application's databag.
func Encode(charm string, dashboards ...Dashboard) map[string]string {
	type template struct {
		Charm    string            `json:"charm"`
		Content  string            `json:"content"`
		Topology map[string]string `json:"juju_topology"`
		// Selectors for Juju's names are left out: the dashboards bring their own.
		Inject bool   `json:"inject_dropdowns"`
		UID    string `json:"dashboard_alt_uid"`
	}
	templates := map[string]template{}
	sum := sha256.New()
	for _, d := range dashboards {
		_, _ = sum.Write(d.XZ)
		id := sha256.Sum256([]byte(charm + "-" + d.Name))
		templates["file:"+d.Name] = template{Charm: charm, Content: d.Content(), Topology: map[string]string{}, UID: hex.EncodeToString(id[:8])}
	}
	raw, err := json.Marshal(map[string]any{"templates": templates, "uuid": hex.EncodeToString(sum.Sum(nil)[:16])})
	if err != nil {
		panic(err) // structs of text always have a JSON
	}
	return map[string]string{keyDashboards: string(raw)}
}

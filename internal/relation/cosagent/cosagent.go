// Package cosagent is the interface `cos_agent`, as the charm library grafana_agent.v0.cos_agent
// (canonical/grafana-agent-operator) reads it: a unit publishes to the agent on its machine, which is its
// subordinate, what to scrape there. The agents of opentelemetry-collector read it likewise.
package cosagent

import (
	"encoding/json"

	"github.com/dcib/dcib/internal/relation/grafanadashboard"
	"github.com/dcib/dcib/internal/relation/prometheusscrape"
)

// keyConfig is the databag's only key.
const keyConfig = "config"

// Encode returns the entries of the unit's databag.
func Encode(jobs []prometheusscrape.Job, dashboards ...grafanadashboard.Dashboard) map[string]string {
	// The library refuses a databag that lacks one of these.
	config := struct {
		Alerts     map[string]any         `json:"metrics_alert_rules"`
		LogAlerts  map[string]any         `json:"log_alert_rules"`
		Dashboards []string               `json:"dashboards"`
		Jobs       []prometheusscrape.Job `json:"metrics_scrape_jobs"`
		LogSlots   []string               `json:"log_slots"`
	}{map[string]any{}, map[string]any{}, []string{}, append([]prometheusscrape.Job{}, jobs...), []string{}}
	for _, d := range dashboards {
		config.Dashboards = append(config.Dashboards, d.Content())
	}
	raw, err := json.Marshal(config)
	if err != nil {
		panic(err) // structs of text always have a JSON
	}
	return map[string]string{keyConfig: string(raw)}
}

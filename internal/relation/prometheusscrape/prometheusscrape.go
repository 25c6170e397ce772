// Package prometheusscrape is the interface `prometheus_scrape`, as the charm library
// prometheus_k8s.v0.prometheus_scrape (canonical/prometheus-k8s-operator) reads it: a provider writes what
// to scrape into its application's databag.
//
// The interface also has a client's key (the text of tls_config.key_file). This package does not use it,
// since databags are in clear.
package prometheusscrape

import (
	"encoding/json"

	"github.com/dcib/dcib/internal/hooktool"
)

// Databag keys.
const (
	keyJobs     = "scrape_jobs"
	keyMetadata = "scrape_metadata"
)

// Job is one of Prometheus' scrape_configs, as far as the interface takes it.
type Job struct {
	Name    string   `json:"job_name"`
	Path    string   `json:"metrics_path"`
	Scheme  string   `json:"scheme"`
	TLS     TLS      `json:"tls_config"`
	Targets []Target `json:"static_configs"`
}

// TLS is how the target is verified.
type TLS struct {
	// CA is the certificate to trust, PEM: the consumer writes it to a file.
	CA         string `json:"ca_file,omitempty"`
	ServerName string `json:"server_name,omitempty"`
	// Unverified disables verification.
	Unverified bool `json:"insecure_skip_verify,omitempty"`
}

// Target has addresses (host:port), and labels for their metrics.
type Target struct {
	Addresses []string          `json:"targets"`
	Labels    map[string]string `json:"labels,omitempty"`
}

// Topology is where in Juju metrics come from; consumers make labels of it.
type Topology struct {
	Model       string `json:"model"`
	ModelUUID   string `json:"model_uuid"`
	Application string `json:"application"`
	Unit        string `json:"unit"`
	Charm       string `json:"charm_name"`
}

// TopologyOf returns the topology of an event. It has no unit: the application's databag should not change
// with the leader.
func TopologyOf(event hooktool.Event, charm string) Topology {
	return Topology{Model: event.Model, ModelUUID: event.ModelUUID, Application: event.App(), Charm: charm}
}

// Encode returns the entries of the application's databag. Without jobs they are removed.
func Encode(jobs []Job, from Topology) map[string]string {
	if len(jobs) == 0 {
		return map[string]string{keyJobs: "", keyMetadata: ""}
	}
	return map[string]string{keyJobs: text(jobs), keyMetadata: text(from)}
}

func text(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // structs of text always have a JSON
	}
	return string(raw)
}

// Package metrics lets Prometheus read LXD's own metrics: over relation metrics-endpoint from outside, and
// over cos-agent by an agent on the same machine. It also publishes a Grafana dashboard.
//
// LXD requires a client certificate to read its metrics. Neither interface can carry a client's key
// except in clear, and an agent in a confined snap could not read it from a file. So the only way is
// core.metrics_authentication=false, with which anyone who reaches LXD may read them. The charm sets it
// only with option open-metrics, and unsets it with the option or the last relation. A note in LXD marks
// the charm's setting, so that an operator's own stays.
package metrics

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/lxd"
	"github.com/dcib/dcib/internal/relation/grafanadashboard"
	"github.com/dcib/dcib/internal/relation/lxdhttps"
	"github.com/dcib/dcib/internal/relation/prometheusscrape"
)

// Endpoints in charmcraft.yaml, and the option.
const (
	ScrapeEndpoint    = "metrics-endpoint"
	AgentEndpoint     = "cos-agent"
	DashboardEndpoint = "grafana-dashboard"
	OpenOption        = "open-metrics"
)

// Keys of LXD's own configuration. The second marks the first as the charm's.
const (
	authentication = "core.metrics_authentication"
	owner          = "user.dcib.metrics"
	opened         = "opened"
)

// The dashboard is compressed beforehand: otherwise each hook would have to compress it to compare it.
//
//go:generate xz --keep --force dashboard.json
//go:embed dashboard.json.xz
var dashboardXZ []byte

func dashboard() grafanadashboard.Dashboard {
	return grafanadashboard.Dashboard{Name: "lxd", XZ: dashboardXZ}
}

// LXD is what this package uses of LXD; the client library's InstanceServer implements it.
type LXD interface {
	GetServer() (*api.Server, string, error)
	GetClusterMembers() ([]api.ClusterMember, error)
}

// Env is what this package works on. LXD is nil if there is none.
type Env struct {
	Event hooktool.Event
	Tools hooktool.Tools
	LXD   LXD
	// Configure changes LXD's own configuration; what describes the change in an error.
	Configure func(ctx context.Context, what string, change func(config map[string]any)) error
}

// Facts are what a plan is made from. The zero value is a unit that has nothing to do here.
type Facts struct {
	App    string
	Leader bool
	// Scrapers, Agents and Dashboards are the relations, by their ids.
	Scrapers, Agents, Dashboards []string
	// Allowed is option open-metrics.
	Allowed bool
	// Able reports whether LXD can serve metrics without certificates, Open whether it does, Ours whether
	// the charm has set that.
	Able, Open, Ours bool
	Version          string // LXD's
	// Members are the scrape targets, Self the name of this unit's own member.
	Members []Member
	Self    string
	// TLS is how the members are recognized.
	TLS      prometheusscrape.TLS
	Topology prometheusscrape.Topology
	// Published is what each relation got so far, by relation id.
	Published map[string]map[string]string
}

// Member is a member of the cluster.
type Member struct{ Name, Address string }

// Observe reads the relations and LXD. Without a relation, and a setting to undo, it reads no more.
func Observe(ctx context.Context, w Env) (f Facts, err error) {
	if w.LXD == nil {
		return f, nil
	}
	for endpoint, into := range map[string]*[]string{ScrapeEndpoint: &f.Scrapers, AgentEndpoint: &f.Agents, DashboardEndpoint: &f.Dashboards} {
		if *into, err = w.Tools.RelationIDs(ctx, endpoint); err != nil {
			return Facts{}, err
		}
	}
	server, _, err := w.LXD.GetServer()
	if err != nil {
		return Facts{}, fmt.Errorf("cannot ask LXD about itself: %w", err)
	}
	f.Ours = server.Config[owner] == opened
	if len(f.Scrapers)+len(f.Agents)+len(f.Dashboards) == 0 && !f.Ours {
		return Facts{}, nil
	}
	f.App, f.Topology, f.Published = w.Event.App(), prometheusscrape.TopologyOf(w.Event, "lxd-cluster"), map[string]map[string]string{}
	f.Able = lxd.FeaturesOf(server).OpenMetrics
	f.Open = server.Config[authentication] == "false"
	f.Self, f.Version = server.Environment.ServerName, server.Environment.ServerVersion
	if f.Leader, err = w.Tools.IsLeader(ctx); err != nil {
		return Facts{}, err
	}
	options, err := w.Tools.Config(ctx)
	if err != nil {
		return Facts{}, err
	}
	f.Allowed, _ = options[OpenOption].(bool)
	if err := f.observeMembers(w, server); err != nil {
		return Facts{}, err
	}
	return f, f.observePublished(ctx, w)
}

func (f *Facts) observeMembers(w Env, server *api.Server) error {
	members, err := w.LXD.GetClusterMembers()
	if err != nil {
		return fmt.Errorf("cannot list the cluster's members: %w", err)
	}
	for _, m := range members {
		f.Members = append(f.Members, Member{m.ServerName, strings.TrimPrefix(m.URL, "https://")})
	}
	slices.SortFunc(f.Members, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	certificate, err := lxdhttps.ParseCertificate(server.Environment.Certificate)
	if err != nil {
		return fmt.Errorf("cannot read the cluster's certificate: %w", err)
	}
	// All members show the same certificate, which has none of their addresses.
	f.TLS.CA = server.Environment.Certificate
	switch {
	case len(certificate.DNSNames) > 0:
		f.TLS.ServerName = certificate.DNSNames[0]
	case len(certificate.IPAddresses) > 0:
		f.TLS.ServerName = certificate.IPAddresses[0].String()
	}
	return nil
}

func (f *Facts) observePublished(ctx context.Context, w Env) (err error) {
	for _, relation := range f.Agents {
		if f.Published[relation], err = w.Tools.RelationGet(ctx, relation, w.Event.Unit); err != nil {
			return err
		}
	}
	if !f.Leader {
		return nil // only the leader may read its own application's databag
	}
	for _, relation := range slices.Concat(f.Scrapers, f.Dashboards) {
		if f.Published[relation], err = w.Tools.RelationGet(ctx, relation, f.App); err != nil {
			return err
		}
	}
	return nil
}

package metrics

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/relation"
	"github.com/dcib/dcib/internal/relation/cosagent"
	"github.com/dcib/dcib/internal/relation/grafanadashboard"
	"github.com/dcib/dcib/internal/relation/prometheusscrape"
)

// Plan returns the steps that make LXD and the relations agree. It is pure. Its status has no level unless
// an operator has to do something.
func Plan(f Facts) charm.Plan[Env] {
	var steps []charm.Step[Env]
	wanted := f.hasReaders() && f.Allowed && f.Able
	open := wanted || f.Open && !f.Ours
	if f.Leader {
		switch {
		case wanted && !f.Open:
			steps = append(steps, openMetrics{})
		case !wanted && f.Ours:
			steps = append(steps, closeMetrics{})
		}
		steps = append(steps, f.publishScrapeTargets(open)...)
		steps = append(steps, f.publishDashboard()...)
	}
	steps = append(steps, f.publishAgentTargets(open)...)
	p := charm.Plan[Env]{Steps: steps}
	if problem := f.problem(open); problem != "" {
		p.Status = charm.Blockedf("%s", problem)
	}
	return p
}

// hasReaders reports whether a related application reads metrics.
func (f Facts) hasReaders() bool { return len(f.Scrapers)+len(f.Agents) > 0 }

func (f Facts) problem(open bool) string {
	if !f.hasReaders() || open {
		return ""
	}
	relations := strings.Join(slices.Concat(f.Scrapers, f.Agents), ", ")
	if !f.Able {
		return fmt.Sprintf("cannot serve LXD's metrics to relation %s: LXD %s always requires a client certificate: upgrade to 5.0 or later, or remove the relation", relations, f.Version)
	}
	return fmt.Sprintf("cannot serve LXD's metrics to relation %s: LXD requires a client certificate: juju config %s %s=true (anyone can then read them), or remove the relation", relations, f.App, OpenOption)
}

// publishScrapeTargets plans what Prometheus gets: all members, since each has the metrics of its own
// instances.
func (f Facts) publishScrapeTargets(open bool) []charm.Step[Env] {
	var targets []prometheusscrape.Target
	for _, m := range f.Members {
		targets = append(targets, m.target())
	}
	var jobs []prometheusscrape.Job
	if open {
		jobs = []prometheusscrape.Job{job(f.TLS, targets...)}
	}
	bag := prometheusscrape.Encode(jobs, f.Topology)
	var steps []charm.Step[Env]
	for _, id := range f.Scrapers {
		if !relation.Contains(f.Published[id], bag) {
			steps = append(steps, publish{relation: id, what: "what to scrape", bag: bag, app: true})
		}
	}
	return steps
}

// publishAgentTargets plans what the agent on this machine gets: the unit's own member. That traffic never
// leaves the machine, and the agent may not accept a certificate.
func (f Facts) publishAgentTargets(open bool) []charm.Step[Env] {
	at := slices.IndexFunc(f.Members, func(m Member) bool { return m.Name == f.Self })
	var jobs []prometheusscrape.Job
	if open && at >= 0 {
		jobs = []prometheusscrape.Job{job(prometheusscrape.TLS{Unverified: true}, f.Members[at].target())}
	}
	if len(f.Agents) == 0 {
		return nil
	}
	bag := cosagent.Encode(jobs, dashboard())
	var steps []charm.Step[Env]
	for _, id := range f.Agents {
		if !relation.Contains(f.Published[id], bag) {
			steps = append(steps, publish{relation: id, what: "what to scrape", bag: bag})
		}
	}
	return steps
}

func (f Facts) publishDashboard() []charm.Step[Env] {
	if len(f.Dashboards) == 0 {
		return nil
	}
	bag := grafanadashboard.Encode("lxd-cluster", dashboard())
	var steps []charm.Step[Env]
	for _, id := range f.Dashboards {
		if !relation.Contains(f.Published[id], bag) {
			steps = append(steps, publish{relation: id, what: "the dashboard", bag: bag, app: true})
		}
	}
	return steps
}

func (m Member) target() prometheusscrape.Target {
	return prometheusscrape.Target{Addresses: []string{m.Address}, Labels: map[string]string{"member": m.Name}}
}

func job(tls prometheusscrape.TLS, targets ...prometheusscrape.Target) prometheusscrape.Job {
	return prometheusscrape.Job{Name: "lxd", Path: "/1.0/metrics", Scheme: "https", TLS: tls, Targets: targets}
}

// openMetrics makes LXD serve metrics without a certificate.
type openMetrics struct{}

func (openMetrics) Name() string { return "make LXD serve metrics without a certificate" }

func (s openMetrics) Apply(ctx context.Context, w Env) error {
	return w.Configure(ctx, s.Name(), func(config map[string]any) {
		if config[authentication] != "false" {
			config[authentication], config[owner] = "false", opened
		}
	})
}

// closeMetrics undoes openMetrics.
type closeMetrics struct{}

func (closeMetrics) Name() string {
	return "make LXD require a certificate for metrics again"
}

func (s closeMetrics) Apply(ctx context.Context, w Env) error {
	return w.Configure(ctx, s.Name(), func(config map[string]any) {
		if config[owner] == opened {
			// LXD keeps a user.* key that is only missing.
			config[authentication], config[owner] = "", ""
		}
	})
}

// publish writes a databag of this unit, or of its application.
type publish struct {
	relation, what string
	bag            map[string]string
	app            bool
}

func (s publish) Name() string { return "publish " + s.what + " on relation " + s.relation }

func (s publish) Apply(ctx context.Context, w Env) error {
	if s.app {
		return w.Tools.RelationSetApp(ctx, s.relation, s.bag)
	}
	return w.Tools.RelationSet(ctx, s.relation, s.bag)
}

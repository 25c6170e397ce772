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

// Plan returns the steps that make LXD and the relations agree. It is pure. Its status has no level
// unless an operator has to do something.
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

// reads reports whether anybody is there to read metrics.
func (f Facts) hasReaders() bool { return len(f.Scrapers)+len(f.Agents) > 0 }

func (f Facts) problem(open bool) string {
	if !f.hasReaders() || open {
		return ""
	}
	relations := strings.Join(slices.Concat(f.Scrapers, f.Agents), ", ")
	if !f.Able {
		return fmt.Sprintf("cannot give LXD's metrics to relation %s: LXD %s always asks for a client's certificate: refresh LXD to 5.0 or later, or remove the relation", relations, f.Version)
	}
	return fmt.Sprintf("cannot give LXD's metrics to relation %s: LXD asks for a client's certificate, and the relation cannot carry its key safely: juju config %s %s=true lets anyone who reaches LXD read its metrics, or remove the relation", relations, f.App, OpenOption)
}

// publishScrapeTargets plans what Prometheus is told: every member, since each tells of its own
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

// publishAgentTargets plans what this unit tells the agent on its machine: its own member. That
// traffic never leaves the machine, and the agent may have no place for a certificate.
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

// openMetrics lets anybody read them.
type openMetrics struct{}

func (openMetrics) Name() string { return "let LXD's metrics be read without a certificate" }

func (s openMetrics) Apply(ctx context.Context, w Env) error {
	return w.Configure(ctx, s.Name(), func(config map[string]any) {
		if config[authentication] != "false" {
			config[authentication], config[owner] = "false", opened
		}
	})
}

// closeMetrics takes that back.
type closeMetrics struct{}

func (closeMetrics) Name() string {
	return "let LXD ask for a certificate again before it gives metrics"
}

func (s closeMetrics) Apply(ctx context.Context, w Env) error {
	return w.Configure(ctx, s.Name(), func(config map[string]any) {
		if config[owner] == opened {
			// LXD keeps a key user.* that is merely missing.
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

func (s publish) Name() string { return "tell relation " + s.relation + " " + s.what }

func (s publish) Apply(ctx context.Context, w Env) error {
	if s.app {
		return w.Tools.RelationSetApp(ctx, s.relation, s.bag)
	}
	return w.Tools.RelationSet(ctx, s.relation, s.bag)
}

package metrics

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/canonical/lxd/shared"
	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/testkit/crash"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

// fake is an LXD of two members, seen from one of them.
type fake struct {
	gate        *crashtest.Gate
	certificate string
	extensions  []string
	config      map[string]any
	self        string
	asked       int
}

func newFake(t *testing.T) *fake {
	certificate, _, err := shared.GenerateMemCert(false, shared.CertOptions{AddHosts: true})
	require.NoError(t, err)
	return &fake{certificate: string(certificate), extensions: []string{"metrics_authentication"}, config: map[string]any{"core.https_address": "x"}, self: "m1"}
}

func (f *fake) GetServer() (*api.Server, string, error) {
	server := &api.Server{}
	server.Config, server.APIExtensions = maps.Clone(f.config), f.extensions
	server.Environment.Certificate, server.Environment.ServerName, server.Environment.ServerVersion = f.certificate, f.self, "4.0"
	return server, "", nil
}

func (f *fake) GetClusterMembers() ([]api.ClusterMember, error) {
	f.asked++
	return []api.ClusterMember{{ServerName: "m2", URL: "https://10.0.0.2:8443"}, {ServerName: "m1", URL: "https://10.0.0.1:8443"}}, nil
}

func (f *fake) configure(_ context.Context, what string, change func(map[string]any)) error {
	defer f.gate.Effect(what)()
	put := maps.Clone(f.config)
	change(put)
	// As LXD does it: what is missing is unset, but for user.*; so is what is empty.
	maps.DeleteFunc(f.config, func(key string, _ any) bool { return !strings.HasPrefix(key, "user.") })
	maps.Copy(f.config, put)
	maps.DeleteFunc(f.config, func(_ string, value any) bool { return value == "" })
	return nil
}

func over(lxd *fake) charm.Charm[Facts, Env] {
	return charm.Charm[Facts, Env]{
		Env: func(event hooktool.Event, tools hooktool.Tools) Env {
			lxd.self = map[string]string{"lxd-cluster/0": "m1", "lxd-cluster/1": "m2"}[event.Unit]
			return Env{Event: event, Tools: tools, LXD: lxd, Configure: lxd.configure}
		},
		Observe: func(ctx context.Context, _ hooktool.Event, w Env) (Facts, error) { return Observe(ctx, w) },
		Plan: func(f Facts) charm.Plan[Env] {
			p := Plan(f)
			p.Status = charm.Merge(charm.Active(""), p.Status)
			return p
		},
	}
}

func model() *hooktooltest.Juju {
	juju := hooktooltest.New()
	juju.AddUnit("lxd-cluster/0", "10.0.0.1")
	juju.AddUnit("lxd-cluster/1", "10.0.0.2")
	juju.AddUnit("cos/0", "10.0.0.9")
	juju.Config["lxd-cluster"] = map[string]any{OpenOption: false}
	return juju
}

func hook(t *testing.T, juju *hooktooltest.Juju, unit string, lxd *fake) []string {
	t.Helper()
	before := len(juju.Units[unit].Log)
	event := hooktool.Event{Unit: unit, Hook: "config-changed", Model: "m", ModelUUID: "u"}
	require.NoError(t, crashtest.Try(nil, juju, over(lxd), event))
	return juju.Units[unit].Log[before:]
}

func TestWithoutARelationNothingIsAsked(t *testing.T) {
	juju, lxd := model(), newFake(t)
	require.Empty(t, hook(t, juju, "lxd-cluster/0", lxd))
	require.Zero(t, lxd.asked)
}

func TestPrometheus(t *testing.T) {
	juju, lxd := model(), newFake(t)
	r := juju.Relate("lxd-cluster:metrics-endpoint", "cos:metrics")

	// Not without the operator's word.
	require.Empty(t, hook(t, juju, "lxd-cluster/0", lxd))
	require.Equal(t, "blocked", juju.Units["lxd-cluster/0"].Status)
	require.Contains(t, juju.Units["lxd-cluster/0"].Message, "juju config lxd-cluster open-metrics=true")
	require.NotContains(t, lxd.config, authentication)

	juju.Config["lxd-cluster"][OpenOption] = true
	require.Empty(t, hook(t, juju, "lxd-cluster/1", lxd), "only the leader acts")
	require.Len(t, hook(t, juju, "lxd-cluster/0", lxd), 2)
	require.Equal(t, "active", juju.Units["lxd-cluster/0"].Status)
	require.Equal(t, map[string]any{"core.https_address": "x", authentication: "false", owner: opened}, lxd.config)
	var jobs []map[string]any
	require.NoError(t, json.Unmarshal([]byte(r.Databags["lxd-cluster"]["scrape_jobs"]), &jobs))
	require.Len(t, jobs, 1)
	require.Equal(t, "/1.0/metrics", jobs[0]["metrics_path"])
	require.Equal(t, []any{
		map[string]any{"targets": []any{"10.0.0.1:8443"}, "labels": map[string]any{"member": "m1"}},
		map[string]any{"targets": []any{"10.0.0.2:8443"}, "labels": map[string]any{"member": "m2"}},
	}, jobs[0]["static_configs"])
	tls := jobs[0]["tls_config"].(map[string]any)
	require.Equal(t, lxd.certificate, tls["ca_file"])
	require.NotEmpty(t, tls["server_name"])
	require.NotContains(t, r.Databags["lxd-cluster"]["scrape_jobs"], "PRIVATE KEY")
	require.Empty(t, hook(t, juju, "lxd-cluster/0", lxd), "nothing left to do")

	// The option is taken back, and given again, and the relation goes.
	juju.Config["lxd-cluster"][OpenOption] = false
	hook(t, juju, "lxd-cluster/0", lxd)
	require.Equal(t, map[string]any{"core.https_address": "x"}, lxd.config)
	require.Empty(t, r.Databags["lxd-cluster"])
	juju.Config["lxd-cluster"][OpenOption] = true
	hook(t, juju, "lxd-cluster/0", lxd)
	require.Equal(t, "false", lxd.config[authentication])
	juju.Unrelate(r)
	hook(t, juju, "lxd-cluster/0", lxd)
	require.Equal(t, map[string]any{"core.https_address": "x"}, lxd.config)
}

func TestWhatAnOperatorOpenedStaysOpen(t *testing.T) {
	juju, lxd := model(), newFake(t)
	r := juju.Relate("lxd-cluster:metrics-endpoint", "cos:metrics")
	lxd.config[authentication] = "false"
	hook(t, juju, "lxd-cluster/0", lxd)
	require.Equal(t, "active", juju.Units["lxd-cluster/0"].Status)
	require.NotEmpty(t, r.Databags["lxd-cluster"]["scrape_jobs"])
	juju.Unrelate(r)
	hook(t, juju, "lxd-cluster/0", lxd)
	require.Equal(t, map[string]any{"core.https_address": "x", authentication: "false"}, lxd.config)
}

func TestAnOldLXDIsNotTried(t *testing.T) {
	juju, lxd := model(), newFake(t)
	lxd.extensions = nil
	juju.Relate("lxd-cluster:metrics-endpoint", "cos:metrics")
	juju.Config["lxd-cluster"][OpenOption] = true
	require.Empty(t, hook(t, juju, "lxd-cluster/0", lxd))
	require.Contains(t, juju.Units["lxd-cluster/0"].Message, "LXD 4.0 always requires")
}

func TestAgents(t *testing.T) {
	juju, lxd := model(), newFake(t)
	r := juju.Relate("lxd-cluster:cos-agent", "cos:cos-agent")
	type config struct {
		Jobs []struct {
			Targets []struct{ Targets []string } `json:"static_configs"`
		} `json:"metrics_scrape_jobs"`
		Dashboards []string `json:"dashboards"`
	}
	read := func(unit string) (c config) {
		require.NoError(t, json.Unmarshal([]byte(r.Databags[unit]["config"]), &c))
		return c
	}
	hook(t, juju, "lxd-cluster/1", lxd)
	require.Empty(t, read("lxd-cluster/1").Jobs)
	require.Len(t, read("lxd-cluster/1").Dashboards, 1)

	juju.Config["lxd-cluster"][OpenOption] = true
	hook(t, juju, "lxd-cluster/1", lxd)
	require.NotContains(t, lxd.config, authentication, "the leader does that")
	hook(t, juju, "lxd-cluster/0", lxd)
	require.Equal(t, "false", lxd.config[authentication])
	for unit, address := range map[string]string{"lxd-cluster/0": "10.0.0.1:8443", "lxd-cluster/1": "10.0.0.2:8443"} {
		require.Equal(t, []string{address}, read(unit).Jobs[0].Targets[0].Targets)
		require.Empty(t, hook(t, juju, unit, lxd))
	}
}

func TestGrafana(t *testing.T) {
	juju, lxd := model(), newFake(t)
	r := juju.Relate("lxd-cluster:grafana-dashboard", "cos:dashboards")
	require.Empty(t, hook(t, juju, "lxd-cluster/1", lxd))
	require.Len(t, hook(t, juju, "lxd-cluster/0", lxd), 1)
	require.Contains(t, r.Databags["lxd-cluster"]["dashboards"], `"file:lxd"`)
	require.Equal(t, "active", juju.Units["lxd-cluster/0"].Status, "a dashboard alone needs nothing of LXD")
	require.Empty(t, hook(t, juju, "lxd-cluster/0", lxd))
}

// Grafana takes it, and each panel asks for something.
func TestTheDashboardIsOne(t *testing.T) {
	var d struct {
		Title, UID string
		Panels     []struct {
			ID      int
			Type    string
			Targets []struct{ Expr string }
		}
	}
	text, err := os.ReadFile("dashboard.json")
	require.NoError(t, err)
	packed, err := xz.NewReader(bytes.NewReader(dashboardXZ))
	require.NoError(t, err)
	unpacked, err := io.ReadAll(packed)
	require.NoError(t, err)
	require.Equal(t, string(text), string(unpacked), "run go generate")
	require.NoError(t, json.Unmarshal(text, &d))
	require.Len(t, d.UID, 40)
	var ids []int
	for _, p := range d.Panels {
		require.False(t, slices.Contains(ids, p.ID))
		ids = append(ids, p.ID)
		require.Equal(t, p.Type == "row", len(p.Targets) == 0, p.ID)
	}
}

// Every hook is killed at every point while relations and the option come and go.
func TestCrashes(t *testing.T) {
	certificate := newFake(t).certificate
	crashtest.Check(t, func(run *crashtest.Run) any {
		juju := model()
		lxd := &fake{gate: run.Gate, certificate: certificate, extensions: []string{"metrics_authentication"}, config: map[string]any{"core.https_address": net.JoinHostPort("", "1")}}
		scrape := juju.Relate("lxd-cluster:metrics-endpoint", "cos:metrics")
		agent := juju.Relate("lxd-cluster:cos-agent", "cos:cos-agent")
		grafana := juju.Relate("lxd-cluster:grafana-dashboard", "cos:dashboards")
		var ends []any
		hooks := func() {
			for range 2 {
				for _, unit := range []string{"lxd-cluster/0", "lxd-cluster/1"} {
					_ = crashtest.Hook(run, juju, over(lxd), hooktool.Event{Unit: unit, Hook: "update-status"})
				}
			}
			ends = append(ends, maps.Clone(lxd.config), maps.Clone(scrape.Databags["lxd-cluster"]), maps.Clone(agent.Databags["lxd-cluster/1"]), maps.Clone(grafana.Databags["lxd-cluster"]))
		}
		hooks()
		juju.Config["lxd-cluster"][OpenOption] = true
		hooks()
		juju.Leaders["lxd-cluster"] = "lxd-cluster/1"
		juju.Unrelate(scrape)
		hooks()
		juju.Unrelate(agent)
		hooks()
		return ends
	}, crashtest.Late, crashtest.Lost)
}

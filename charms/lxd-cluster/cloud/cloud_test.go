package cloud

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"slices"
	"testing"
	"time"

	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/relation/lxdhttps"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

// store is an LXD with two members and a trust store.
type store struct {
	entries []api.Certificate
	refuse  error
}

func (s *store) GetServer() (*api.Server, string, error) {
	server := &api.Server{}
	server.Environment.ServerName = "m2"
	server.Environment.Certificate = "-----BEGIN CERTIFICATE-----\ncluster's\n-----END CERTIFICATE-----\n"
	return server, "", nil
}

func (s *store) GetClusterMembers() ([]api.ClusterMember, error) {
	return []api.ClusterMember{{ServerName: "m2", URL: "https://10.0.0.2:8443"}, {ServerName: "m1", URL: "https://10.0.0.1:8443"}}, nil
}

func (s *store) GetCertificates() ([]api.Certificate, error) { return slices.Clone(s.entries), nil }

func (s *store) CreateCertificate(post api.CertificatesPost) error {
	if s.refuse != nil {
		return s.refuse
	}
	der, err := base64.StdEncoding.DecodeString(post.Certificate)
	if err != nil {
		return err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	s.entries = append(s.entries, api.Certificate{Name: post.Name, Type: post.Type, Fingerprint: lxdhttps.Fingerprint(certificate), Restricted: post.Restricted, Projects: post.Projects})
	return nil
}

func (s *store) DeleteCertificate(fingerprint string) error {
	s.entries = slices.DeleteFunc(s.entries, func(e api.Certificate) bool { return e.Fingerprint == fingerprint })
	return nil
}

// run runs the action get-cloud on a unit, commits what it wrote, and returns its results.
func run(t *testing.T, juju *hooktooltest.Juju, unit string, lxd LXD, noAgent bool, params map[string]any) *hooktooltest.Tools {
	t.Helper()
	c := charm.Charm[struct{}, Env]{
		Env: func(event hooktool.Event, tools hooktool.Tools) Env {
			return Env{App: event.App(), Tools: tools, LXD: lxd, Now: time.Now}
		},
		Observe: func(context.Context, hooktool.Event, Env) (struct{}, error) { return struct{}{}, nil },
		Actions: map[string]charm.Action[struct{}, Env]{"get-cloud": func(ctx context.Context, _ struct{}, w Env, call charm.Call) (map[string]string, error) {
			return Get(ctx, w, call)
		}},
	}
	tools, commit := juju.Hook(unit)
	tools.Params, tools.NoAgent = params, noAgent
	require.NoError(t, c.Run(t.Context(), hooktool.Event{Action: "get-cloud", Unit: unit}, tools))
	commit()
	require.Empty(t, tools.Progress)
	require.Empty(t, juju.Units[unit].Log)
	return tools
}

func model() *hooktooltest.Juju {
	juju := hooktooltest.New()
	juju.AddUnit("lxd-cluster/0", "10.0.0.1")
	juju.AddUnit("lxd-cluster/1", "10.0.0.2")
	return juju
}

const leader, other = "lxd-cluster/0", "lxd-cluster/1"

func TestGet(t *testing.T) {
	juju, lxd := model(), &store{}
	got := run(t, juju, leader, lxd, false, map[string]any{"cloud": "metal", "projects": "juju, b"})
	require.Empty(t, got.Failure)
	results := got.Results
	require.Equal(t, "juju-metal", results["name"])
	require.Equal(t, "https://10.0.0.2:8443", results["endpoint"], "the unit's own member")
	require.Equal(t, "https://10.0.0.1:8443,https://10.0.0.2:8443", results["endpoints"])
	require.Equal(t, `clouds:
    metal:
        type: lxd
        auth-types: [certificate]
        endpoint: https://10.0.0.2:8443
        regions:
            default:
                endpoint: https://10.0.0.2:8443
`, results["cloud"])
	require.Equal(t, "juju show-secret --reveal "+results["secret"], results["show"])
	for key, value := range results {
		require.NotContains(t, value, "PRIVATE KEY", key)
	}

	var file struct {
		Credentials map[string]map[string]map[string]string
	}
	require.NoError(t, yaml.Unmarshal([]byte(juju.Secrets[results["secret"]]["credential"]), &file))
	credential := file.Credentials["metal"]["metal"]
	require.Equal(t, "certificate", credential["auth-type"])
	require.Contains(t, credential["server-cert"], "cluster's")
	pair, err := tls.X509KeyPair([]byte(credential["client-cert"]), []byte(credential["client-key"]))
	require.NoError(t, err)
	require.Equal(t, []api.Certificate{{Name: "juju-metal", Type: "client", Fingerprint: lxdhttps.Fingerprint(pair.Leaf), Restricted: true, Projects: []string{"juju", "b"}}}, lxd.entries)

	// A controller that uses it is not locked out by accident.
	require.Contains(t, run(t, juju, leader, lxd, false, map[string]any{"cloud": "metal"}).Failure, "replace=true")
	require.Len(t, lxd.entries, 1)
	first := lxd.entries[0].Fingerprint
	require.Empty(t, run(t, juju, leader, lxd, false, map[string]any{"cloud": "metal", "replace": true}).Failure)
	require.Len(t, lxd.entries, 1)
	require.NotEqual(t, first, lxd.entries[0].Fingerprint)
	require.False(t, lxd.entries[0].Restricted)

	// Without parameters it is the application's.
	results = run(t, juju, leader, lxd, false, nil).Results
	require.Equal(t, "juju-lxd-cluster", results["name"])
	require.Contains(t, results["cloud"], "\n    lxd-cluster:\n")
}

// With reveal the credential is in the results, on any unit, and in no secret; without it
// only the leader can keep it. Where it cannot be delivered the client is not trusted.
func TestReveal(t *testing.T) {
	juju, lxd := model(), &store{}
	require.Contains(t, run(t, juju, other, lxd, false, nil).Failure, "only the leader may")
	require.Empty(t, lxd.entries)

	got := run(t, juju, other, lxd, true, map[string]any{"reveal": true})
	require.Contains(t, got.Failure, "the agent's socket does not answer")
	require.Empty(t, got.Results)
	require.Empty(t, lxd.entries, "a client whose key was not delivered is not trusted")

	got = run(t, juju, other, lxd, false, map[string]any{"reveal": true})
	require.Empty(t, got.Failure)
	require.Contains(t, got.Results["credential"], "PRIVATE KEY")
	require.Empty(t, got.Results["secret"])
	require.Empty(t, juju.Secrets)
	require.Len(t, lxd.entries, 1)
}

func TestRefusals(t *testing.T) {
	juju, lxd := model(), &store{entries: []api.Certificate{{Name: "m1", Type: "server", Fingerprint: "ff"}}}
	for want, params := range map[string]map[string]any{
		"juju's rule":             {"cloud": "a b"},
		"belongs to the relation": {"name": "dcib-relation-x"},
		"of a server certificate": {"name": "m1", "replace": true},
	} {
		require.Contains(t, run(t, juju, leader, lxd, false, params).Failure, want)
	}
	require.Contains(t, run(t, juju, leader, nil, false, nil).Failure, "no LXD yet")
	require.Len(t, lxd.entries, 1)

	// A replacement that LXD refuses leaves the old one its trust.
	lxd.entries = append(lxd.entries, api.Certificate{Name: "juju-a", Type: "client", Fingerprint: "aa"})
	lxd.refuse = api.StatusErrorf(404, "Project not found")
	got := run(t, juju, leader, lxd, false, map[string]any{"cloud": "a", "replace": true, "projects": "x"})
	require.Contains(t, got.Failure, "Project not found")
	require.Len(t, lxd.entries, 2)
	require.Empty(t, juju.Secrets)
}

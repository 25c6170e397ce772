package cloud

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/hooktool/hooktooltest"
	"github.com/dcib/dcib/internal/relation/lxdhttps"
)

// store is a LXD with two members and a trust store.
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

func call(params map[string]any) charm.Call { return charm.Call{Params: params} }

func TestGet(t *testing.T) {
	lxd := &store{}
	world := World{App: "lxd-cluster", LXD: lxd}
	results, err := Get(t.Context(), world, call(map[string]any{"cloud": "metal", "projects": "juju, b"}))
	require.NoError(t, err)
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

	var file struct {
		Credentials map[string]map[string]map[string]string
	}
	require.NoError(t, yaml.Unmarshal([]byte(results["credential"]), &file))
	credential := file.Credentials["metal"]["metal"]
	require.Equal(t, "certificate", credential["auth-type"])
	require.Contains(t, credential["server-cert"], "cluster's")
	pair, err := tls.X509KeyPair([]byte(credential["client-cert"]), []byte(credential["client-key"]))
	require.NoError(t, err)
	require.Equal(t, []api.Certificate{{Name: "juju-metal", Type: "client", Fingerprint: lxdhttps.Fingerprint(pair.Leaf), Restricted: true, Projects: []string{"juju", "b"}}}, lxd.entries)

	// Whoever uses it is not shut out by chance.
	_, err = Get(t.Context(), world, call(map[string]any{"cloud": "metal"}))
	require.ErrorContains(t, err, "replace=true")
	require.Len(t, lxd.entries, 1)
	first := lxd.entries[0].Fingerprint
	_, err = Get(t.Context(), world, call(map[string]any{"cloud": "metal", "replace": true}))
	require.NoError(t, err)
	require.Len(t, lxd.entries, 1)
	require.NotEqual(t, first, lxd.entries[0].Fingerprint)
	require.False(t, lxd.entries[0].Restricted)

	// Without parameters it is the application's.
	results, err = Get(t.Context(), world, call(nil))
	require.NoError(t, err)
	require.Equal(t, "juju-lxd-cluster", results["name"])
	require.Contains(t, results["cloud"], "\n    lxd-cluster:\n")
}

func TestRefusals(t *testing.T) {
	lxd := &store{entries: []api.Certificate{{Name: "m1", Type: "server", Fingerprint: "ff"}}}
	for want, params := range map[string]map[string]any{
		"juju's rule":             {"cloud": "a b"},
		"belongs to the relation": {"name": "dcib-relation-x"},
		"of a server certificate": {"name": "m1", "replace": true},
	} {
		_, err := Get(t.Context(), World{App: "a", LXD: lxd}, call(params))
		require.ErrorContains(t, err, want)
	}
	_, err := Get(t.Context(), World{App: "a"}, call(nil))
	require.ErrorContains(t, err, "no LXD yet")
	require.Len(t, lxd.entries, 1)

	// A replacement that LXD refuses leaves the old one its trust.
	lxd.entries = append(lxd.entries, api.Certificate{Name: "juju-a", Type: "client", Fingerprint: "aa"})
	lxd.refuse = api.StatusErrorf(404, "Project not found")
	_, err = Get(t.Context(), World{App: "a", LXD: lxd}, call(map[string]any{"replace": true, "projects": "x"}))
	require.ErrorContains(t, err, "Project not found")
	require.Len(t, lxd.entries, 2)
}

// Nobody reads the key anywhere but in the action's result.
func TestTheKeyIsInTheResultOnly(t *testing.T) {
	juju := hooktooltest.New()
	unit := juju.AddUnit("lxd-cluster/0", "10.0.0.1")
	c := charm.Charm[struct{}, World]{
		World: func(event hooktool.Event, _ hooktool.Tools) World {
			return World{App: event.App(), LXD: &store{}}
		},
		Observe: func(context.Context, hooktool.Event, World) (struct{}, error) { return struct{}{}, nil },
		Actions: map[string]charm.Action[struct{}, World]{"get-cloud": func(ctx context.Context, _ struct{}, w World, call charm.Call) (map[string]string, error) {
			return Get(ctx, w, call)
		}},
	}
	tools, _ := juju.Hook("lxd-cluster/0")
	require.NoError(t, c.Run(t.Context(), hooktool.Event{Action: "get-cloud", Unit: "lxd-cluster/0"}, tools))
	require.Empty(t, tools.Failure)
	for key, value := range tools.Results {
		require.Equal(t, key == "credential", strings.Contains(value, "PRIVATE KEY"), key)
	}
	require.Empty(t, tools.Progress)
	require.Empty(t, unit.Log)
	require.False(t, tools.Wrote())
}

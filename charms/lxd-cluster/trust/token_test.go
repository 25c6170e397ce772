package trust

import (
	"context"
	"testing"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared"
	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

// given is the operation that stands for a token.
type given struct {
	lxdclient.Operation
	metadata map[string]any
	store    *store
}

func (g given) Get() api.Operation { return api.Operation{Metadata: g.metadata} }

func (g given) Cancel() error {
	g.store.tokens = g.store.tokens[:len(g.store.tokens)-1]
	return nil
}

func (s *store) Configure(_ context.Context, _ string, change func(map[string]any)) error {
	if s.config == nil {
		s.config = map[string]any{}
	}
	change(s.config)
	return nil
}

func (s *store) CreateCertificateToken(post api.CertificatesPost) (lxdclient.Operation, error) {
	s.tokens = append(s.tokens, post)
	metadata := map[string]any{
		"request": map[string]any{"name": post.Name}, "secret": "very secret", "fingerprint": "abc",
		"addresses": []any{"10.0.0.1:8443"},
	}
	if s.config["core.remote_token_expiry"] != nil {
		metadata["expiresAt"] = "2026-01-02T04:04:05+01:00"
	}
	return given{metadata: metadata, store: s}, nil
}

// runToken runs the action get-client-token on a unit, and commits what it wrote.
func runToken(t *testing.T, juju *hooktooltest.Juju, unit string, lxd *store, noAgent bool, params map[string]any) *hooktooltest.Tools {
	t.Helper()
	c := over(lxd)
	c.Actions = map[string]charm.Action[Facts, Env]{"get-client-token": func(ctx context.Context, _ Facts, w Env, call charm.Call) (map[string]string, error) {
		return ClientToken(ctx, w, call)
	}}
	tools, commit := juju.Hook(unit)
	tools.Params, tools.NoAgent = params, noAgent
	require.NoError(t, c.Run(t.Context(), hooktool.Event{Action: "get-client-token", Unit: unit}, tools))
	commit()
	require.Empty(t, tools.Progress)
	require.Empty(t, juju.Units[unit].Log)
	return tools
}

func tokenModel() *hooktooltest.Juju {
	juju := hooktooltest.New()
	juju.AddUnit("lxd-cluster/0", "10.0.0.1")
	juju.AddUnit("lxd-cluster/1", "10.0.0.2")
	return juju
}

func TestClientToken(t *testing.T) {
	juju, lxd := tokenModel(), &store{clustered: true, entries: []api.Certificate{{Name: "operator", Type: "client", Fingerprint: "ff"}}}
	got := runToken(t, juju, "lxd-cluster/0", lxd, false, map[string]any{"name": "me", "projects": "b, a"})
	require.Empty(t, got.Failure)
	require.Equal(t, "b,a", got.Results["projects"])
	require.Equal(t, "2026-01-02T03:04:05Z", got.Results["expires"])
	require.Equal(t, "juju show-secret --reveal "+got.Results["secret"], got.Results["show"])
	for _, value := range got.Results {
		require.NotContains(t, value, "very secret")
		_, err := shared.CertificateTokenDecode(value)
		require.Error(t, err, "no result is a token")
	}
	token, err := shared.CertificateTokenDecode(juju.Secrets[got.Results["secret"]]["token"])
	require.NoError(t, err)
	require.Equal(t, "very secret", token.Secret)
	require.Equal(t, []api.CertificatesPost{{Name: "me", Type: "client", Token: true, Restricted: true, Projects: []string{"b", "a"}}}, lxd.tokens)
	require.Equal(t, "1d", lxd.config["core.remote_token_expiry"], "no token is good for ever")

	// An operator's setting stays; with reveal the token is in the results, on any unit.
	lxd.config["core.remote_token_expiry"] = "2H"
	got = runToken(t, juju, "lxd-cluster/1", lxd, false, map[string]any{"name": "me", "reveal": true})
	require.Empty(t, got.Failure)
	_, err = shared.CertificateTokenDecode(got.Results["token"])
	require.NoError(t, err)
	require.Empty(t, got.Results["secret"])
	require.Len(t, juju.Secrets, 1)
	require.Equal(t, "2H", lxd.config["core.remote_token_expiry"])
	require.False(t, lxd.tokens[1].Restricted)
}

func TestClientTokenRefused(t *testing.T) {
	juju, lxd := tokenModel(), &store{clustered: true, entries: []api.Certificate{{Name: "operator", Type: "client", Fingerprint: "ff"}}}
	for want, name := range map[string]string{
		"name is empty": " ", "belong to the relations": "dcib-relation-1", "remove-trusted-client": "operator",
	} {
		require.Contains(t, runToken(t, juju, "lxd-cluster/0", lxd, false, map[string]any{"name": name}).Failure, want)
	}
	require.Contains(t, runToken(t, juju, "lxd-cluster/1", lxd, false, map[string]any{"name": "me"}).Failure, "only the leader may")
	require.Empty(t, lxd.tokens)
	got := runToken(t, juju, "lxd-cluster/0", lxd, true, map[string]any{"name": "me", "reveal": true})
	require.Contains(t, got.Failure, "the agent's socket does not answer")
	require.Empty(t, got.Results)
	require.Empty(t, lxd.tokens, "one that was not delivered is revoked")
	require.Empty(t, juju.Secrets)
	_, err := ClientToken(t.Context(), Env{}, charm.Call{Params: map[string]any{"name": "me"}})
	require.ErrorContains(t, err, "cannot reach LXD")
}

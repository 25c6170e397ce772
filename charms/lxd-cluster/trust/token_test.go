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
	"github.com/dcib/dcib/internal/hooktool/hooktooltest"
)

// given is the operation that stands for a token.
type given struct {
	lxdclient.Operation
	metadata map[string]any
}

func (g given) Get() api.Operation { return api.Operation{Metadata: g.metadata} }

func (s *store) CreateCertificateToken(post api.CertificatesPost) (lxdclient.Operation, error) {
	s.tokens = append(s.tokens, post)
	metadata := map[string]any{
		"request": map[string]any{"name": post.Name}, "secret": "very secret", "fingerprint": "abc",
		"addresses": []any{"10.0.0.1:8443"},
	}
	if post.Restricted {
		metadata["expiresAt"] = "2026-01-02T04:04:05+01:00" // as with core.remote_token_expiry
	}
	return given{metadata: metadata}, nil
}

func TestClientToken(t *testing.T) {
	lxd := &store{clustered: true, entries: []api.Certificate{{Name: "operator", Type: "client", Fingerprint: "ff"}}}
	call := func(params map[string]any) charm.Call { return charm.Call{Params: params} }

	results, err := ClientToken(t.Context(), World{LXD: lxd}, call(map[string]any{"name": "me", "projects": "b, a"}))
	require.NoError(t, err)
	token, err := shared.CertificateTokenDecode(results["token"])
	require.NoError(t, err)
	require.Equal(t, "very secret", token.Secret)
	require.Equal(t, "2026-01-02T03:04:05Z", results["expires"])
	require.Equal(t, "b,a", results["projects"])
	require.Equal(t, []api.CertificatesPost{{Name: "me", Type: "client", Token: true, Restricted: true, Projects: []string{"b", "a"}}}, lxd.tokens)

	results, err = ClientToken(t.Context(), World{LXD: lxd}, call(map[string]any{"name": "me"}))
	require.NoError(t, err)
	require.Contains(t, results["expires"], "lxc config trust revoke-token me")
	require.False(t, lxd.tokens[1].Restricted)

	for want, name := range map[string]string{
		"name is empty": " ", "belong to the relations": "dcib-relation-1", "remove-trusted-client": "operator",
	} {
		_, err := ClientToken(t.Context(), World{LXD: lxd}, call(map[string]any{"name": name}))
		require.ErrorContains(t, err, want)
	}
	_, err = ClientToken(t.Context(), World{}, call(map[string]any{"name": "me"}))
	require.ErrorContains(t, err, "cannot reach LXD")
	require.Len(t, lxd.tokens, 2)
}

// Nobody reads it anywhere but in the action's result.
func TestAClientTokenIsInTheResultOnly(t *testing.T) {
	juju := hooktooltest.New()
	unit := juju.AddUnit("lxd-cluster/0", "10.0.0.1")
	c := over(&store{clustered: true})
	c.Actions = map[string]charm.Action[Facts, World]{"get-client-token": func(ctx context.Context, _ Facts, w World, call charm.Call) (map[string]string, error) {
		return ClientToken(ctx, w, call)
	}}
	tools, _ := juju.Hook("lxd-cluster/0")
	tools.Params = map[string]any{"name": "me"}
	require.NoError(t, c.Run(t.Context(), hooktool.Event{Action: "get-client-token", Unit: "lxd-cluster/0"}, tools))
	require.NotEmpty(t, tools.Results["token"])
	require.Empty(t, tools.Failure)
	require.Empty(t, tools.Progress)
	require.Empty(t, unit.Log)
	require.False(t, tools.Wrote())
}

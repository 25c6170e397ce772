package trust

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/relation/lxdhttps"
)

// TokenExpiry is the value of core.remote_token_expiry for an LXD that has none: how long an unused token
// is valid. LXD has no default before 6, and no time for a single token.
const TokenExpiry = "1d"

// ClientToken is the action get-client-token. It issues a token with which a client adds itself to the
// trust store once, under parameter `name` and restricted to `projects` (separated by commas) if set. The
// token is in a Juju secret, in field `token`; in the results only with `reveal`. It expires by LXD's
// core.remote_token_expiry, which is set to TokenExpiry if it is not set.
func ClientToken(ctx context.Context, env Env, call charm.Call) (map[string]string, error) {
	if env.LXD == nil {
		return nil, errNoLXD
	}
	name := call.String("name")
	switch {
	case name == "":
		return nil, errors.New("cannot get client token: parameter name is empty: say who it is for")
	case Reserved(name):
		return nil, fmt.Errorf("cannot get client token: names that begin with %q belong to the relations of this charm: take another", mark)
	}
	result := SecretResult{Tools: env.Tools, Reveal: call.Bool("reveal"), Label: "client-token-" + name, Now: env.Now()}
	if err := result.Possible(ctx); err != nil {
		return nil, fmt.Errorf("cannot get client token: %w", err)
	}
	entries, err := env.LXD.GetCertificates()
	if err != nil {
		return nil, fmt.Errorf("cannot list LXD's trusted clients: %w", err)
	}
	if slices.ContainsFunc(entries, func(e api.Certificate) bool { return e.Name == name }) {
		return nil, fmt.Errorf("cannot get client token: a client named %s is trusted already: remove it (remove-trusted-client) or choose another name", name)
	}
	err = env.Configure(ctx, "let client tokens expire after "+TokenExpiry, func(config map[string]any) {
		if set, _ := config[keyTokenExpiry].(string); set == "" {
			config[keyTokenExpiry] = TokenExpiry
		}
	})
	if err != nil {
		return nil, fmt.Errorf("cannot get client token: %w", err)
	}
	post := api.CertificatesPost{Name: name, Type: api.CertificateTypeClient, Token: true}
	post.Projects = lxdhttps.SplitList(call.String("projects"))
	post.Restricted = len(post.Projects) > 0
	op, err := env.LXD.CreateCertificateToken(post)
	if err != nil {
		return nil, fmt.Errorf("cannot get client token for %s from LXD: %w", name, err)
	}
	described := op.Get()
	token, err := described.ToCertificateAddToken()
	if err != nil {
		return nil, fmt.Errorf("cannot read the client token that LXD issued for %s: %w", name, err)
	}
	results, err := result.Deliver(ctx, map[string]string{"token": token.String()})
	if err != nil {
		// A token that was not delivered is revoked.
		return nil, errors.Join(fmt.Errorf("cannot get client token: %w", err), op.Cancel())
	}
	results["name"] = name
	results["use"] = "lxc remote add REMOTE TOKEN"
	results["expires"] = "when it is used, or revoked: lxc config trust revoke-token " + name
	if !token.ExpiresAt.IsZero() {
		results["expires"] = token.ExpiresAt.UTC().Format(time.RFC3339)
	}
	if post.Restricted {
		results["projects"] = strings.Join(post.Projects, ",")
	}
	return results, nil
}

// keyTokenExpiry is LXD's server option for how long a client's token is valid: a number with a unit of S,
// M, H, d, w, m or y.
const keyTokenExpiry = "core.remote_token_expiry"

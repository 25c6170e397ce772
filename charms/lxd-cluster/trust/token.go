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

// TokenExpiry is the core.remote_token_expiry that an LXD gets that has none: how long a
// token that was not used is good. LXD itself has no default before 6, and sets no time for
// one token.
const TokenExpiry = "1d"

// ClientToken is the action get-client-token: it issues a token with which a client adds
// itself to the trust store once, under parameter `name` and restricted to `projects` (comma
// list) when that is set. The token is in a Juju secret, in field `token`; in the results
// only with `reveal`. It expires as LXD's core.remote_token_expiry says, which is set to
// TokenExpiry where an operator has set none.
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
		return nil, fmt.Errorf("cannot get client token: a certificate is trusted under the name %s already: remove it first (remove-trusted-client) or take another", name)
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

// keyTokenExpiry is LXD's server option for how long a client's token is good, as a number
// with a unit of S, M, H, d, w, m or y.
const keyTokenExpiry = "core.remote_token_expiry"

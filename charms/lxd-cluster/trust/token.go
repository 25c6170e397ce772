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

// ClientToken is the action get-client-token: it gives a token with which a client gets
// itself into the trust store once, under parameter `name` and restricted to `projects`
// (comma list) when given. It stands in the results only.
func ClientToken(_ context.Context, world World, call charm.Call) (map[string]string, error) {
	if world.LXD == nil {
		return nil, errNoLXD
	}
	name := call.String("name")
	switch {
	case name == "":
		return nil, errors.New("cannot get client token: parameter name is empty: say who it is for")
	case Reserved(name):
		return nil, fmt.Errorf("cannot get client token: names that begin with %q belong to the relations of this charm: take another", mark)
	}
	entries, err := world.LXD.GetCertificates()
	if err != nil {
		return nil, fmt.Errorf("cannot list LXD's trusted clients: %w", err)
	}
	if slices.ContainsFunc(entries, func(e api.Certificate) bool { return e.Name == name }) {
		return nil, fmt.Errorf("cannot get client token: a certificate is trusted under the name %s already: remove it first (remove-trusted-client) or take another", name)
	}
	post := api.CertificatesPost{Name: name, Type: api.CertificateTypeClient, Token: true}
	post.Projects = lxdhttps.SplitList(call.String("projects"))
	post.Restricted = len(post.Projects) > 0
	op, err := world.LXD.CreateCertificateToken(post)
	if err != nil {
		return nil, fmt.Errorf("cannot get client token for %s from LXD: %w", name, err)
	}
	described := op.Get()
	token, err := described.ToCertificateAddToken()
	if err != nil {
		return nil, fmt.Errorf("cannot read the client token that LXD gave for %s: %w", name, err)
	}
	results := map[string]string{
		"name": name, "token": token.String(), "use": "lxc remote add REMOTE TOKEN",
		"expires": "when it is used, or taken back: lxc config trust revoke-token " + name,
	}
	if !token.ExpiresAt.IsZero() {
		results["expires"] = token.ExpiresAt.UTC().Format(time.RFC3339)
	}
	if post.Restricted {
		results["projects"] = strings.Join(post.Projects, ",")
	}
	return results, nil
}

package trust

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/relation/lxdhttps"
)

// AddClient is the action add-trusted-client. It trusts the certificate in parameter `certificate` (PEM)
// under `name`, restricted to `projects` (separated by commas) if given. The trust store is the cluster's,
// so any unit may run it. The results have the fingerprint.
func AddClient(_ context.Context, env Env, call charm.Call) (map[string]string, error) {
	if env.LXD == nil {
		return nil, errNoLXD
	}
	name := call.String("name")
	switch {
	case name == "":
		return nil, errors.New("cannot add trusted client: parameter name is empty: say who it is")
	case Reserved(name):
		return nil, fmt.Errorf("cannot add trusted client: names that begin with %q belong to the relations of this charm: take another", mark)
	}
	certificate, err := parse(call.String("certificate"))
	if err != nil {
		return nil, fmt.Errorf("cannot add trusted client %s: parameter certificate: %w", name, err)
	}
	fingerprint := lxdhttps.Fingerprint(certificate)
	entries, err := env.LXD.GetCertificates()
	if err != nil {
		return nil, fmt.Errorf("cannot list LXD's trusted clients: %w", err)
	}
	projects := lxdhttps.SplitList(call.String("projects"))
	for _, entry := range entries {
		switch {
		case entry.Fingerprint == fingerprint && (entry.Name != name || entry.Restricted != (len(projects) > 0) || entry.Restricted && !sameSet(entry.Projects, projects)):
			return nil, fmt.Errorf("cannot add trusted client %s: this certificate is trusted already, as %q%s: remove that first", name, entry.Name, restriction(entry))
		case entry.Fingerprint != fingerprint && entry.Name == name:
			return nil, fmt.Errorf("cannot add trusted client %s: another certificate is trusted under that name (%s): remove it first or take another name", name, short(entry.Fingerprint))
		}
	}
	if err := add(env.LXD, name, base64.StdEncoding.EncodeToString(certificate.Raw), fingerprint, projects); err != nil {
		return nil, fmt.Errorf("cannot add trusted client %s: %w", name, err)
	}
	results := map[string]string{"name": name, "fingerprint": fingerprint}
	if len(projects) > 0 {
		results["projects"] = strings.Join(projects, ",")
	}
	return results, nil
}

// RemoveClient is the action remove-trusted-client. It removes the one entry with parameter `name`, or
// whose fingerprint begins with parameter `fingerprint` (12 digits or more). Clients of a relation are
// refused: they are removed with the relation.
func RemoveClient(_ context.Context, env Env, call charm.Call) (map[string]string, error) {
	if env.LXD == nil {
		return nil, errNoLXD
	}
	name, fingerprint := call.String("name"), strings.ToLower(call.String("fingerprint"))
	if (name == "") == (fingerprint == "") {
		return nil, errors.New("cannot remove trusted client: set either parameter name or parameter fingerprint")
	}
	what := name
	if name == "" {
		what = fingerprint
		if len(fingerprint) < 12 {
			return nil, fmt.Errorf("cannot remove trusted client %s: wanted 12 digits of its fingerprint or more", what)
		}
	}
	entries, err := env.LXD.GetCertificates()
	if err != nil {
		return nil, fmt.Errorf("cannot list LXD's trusted clients: %w", err)
	}
	var found []api.Certificate
	var names []string
	for _, entry := range entries {
		if entry.Type != api.CertificateTypeClient {
			continue // the members' own certificates hold the cluster together
		}
		names = append(names, entry.Name)
		if name != "" && entry.Name == name || fingerprint != "" && strings.HasPrefix(entry.Fingerprint, fingerprint) {
			found = append(found, entry)
		}
	}
	switch {
	case len(found) == 0:
		return nil, fmt.Errorf("cannot remove trusted client %s: LXD trusts none like it, but: %s", what, strings.Join(names, ", "))
	case len(found) > 1:
		return nil, fmt.Errorf("cannot remove trusted client %s: LXD trusts %d like it: set the fingerprint of one", what, len(found))
	case Reserved(found[0].Name):
		return nil, fmt.Errorf("cannot remove trusted client %s: it came over a relation: remove the relation (juju remove-relation)", what)
	}
	if err := env.LXD.DeleteCertificate(found[0].Fingerprint); err != nil {
		return nil, fmt.Errorf("cannot remove trusted client %s: %w", what, err)
	}
	return map[string]string{"name": found[0].Name, "fingerprint": found[0].Fingerprint}, nil
}

var errNoLXD = errors.New("cannot reach LXD: this unit's machine has none yet: see the unit's status")

func restriction(entry api.Certificate) string {
	if !entry.Restricted {
		return ", for all projects"
	}
	return ", for projects " + strings.Join(entry.Projects, ", ")
}

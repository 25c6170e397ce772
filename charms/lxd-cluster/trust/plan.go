package trust

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/relation"
	"github.com/dcib/dcib/internal/relation/lxdhttps"
)

// Plan plans the steps that make the trust store agree with the relations. It is pure. The status is
// blocked if a client cannot have what it requests, and active with a message if a client has all of LXD;
// it has no level if there is nothing to report.
func Plan(facts Facts) charm.Plan[Env] {
	if !facts.Acts {
		return charm.Plan[Env]{}
	}
	var distrust, trust, publish []charm.Step[Env]
	clients, problems := facts.granted()
	wanted := map[string]Client{}
	for _, client := range clients {
		wanted[client.Fingerprint] = client
	}
	present := map[string]bool{}
	for _, entry := range facts.Entries {
		present[entry.Fingerprint] = true
		if !Reserved(entry.Name) {
			continue // an operator's, even if a client shows the same certificate
		}
		client, ok := wanted[entry.Fingerprint]
		switch {
		case !ok:
			distrust = append(distrust, RemoveCertificate{Entry: entry.Name, Fingerprint: entry.Fingerprint})
		case facts.Refused[client.Fingerprint] != "":
		case !matches(entry, client):
			trust = append(trust, UpdateCertificate{Client: client})
		}
	}
	for _, client := range clients {
		if !present[client.Fingerprint] && facts.Refused[client.Fingerprint] == "" {
			trust = append(trust, AddCertificate{Client: client})
		}
	}
	// No client gets an address before LXD reports one.
	if len(facts.Offer.Addresses) > 0 {
		for _, id := range slices.Sorted(maps.Keys(facts.Published)) {
			if !relation.Contains(facts.Published[id], facts.Offer.Encode()) {
				publish = append(publish, Publish{Relation: id, Offer: facts.Offer})
			}
		}
	}
	p := charm.Plan[Env]{Steps: slices.Concat(distrust, trust, publish)}
	problems = slices.Concat(facts.Unusable, problems)
	var unrestricted []string
	for _, client := range clients {
		switch refused := facts.Refused[client.Fingerprint]; {
		case refused != "":
			problems = append(problems, refused)
		case !client.restricted():
			unrestricted = append(unrestricted, client.Owner)
		}
	}
	switch {
	case len(problems) > 0:
		p.Status = charm.Blockedf("%s", strings.Join(problems, "; "))
	case len(unrestricted) > 0:
		p.Status = charm.Active("unrestricted clients: %s", strings.Join(unrestricted, ", "))
	}
	return p
}

// granted returns the clients that may have what they request, one for each certificate, and why others may
// not. A certificate is public, so several clients may show the same one. It gets what all of these
// together may have: no client takes anything from another, and only the holder of the private key can use
// what it adds.
func (f Facts) granted() (clients []Client, problems []string) {
	names := map[string]string{} // of the charm's entries, by fingerprint
	for _, entry := range f.Entries {
		if Reserved(entry.Name) {
			names[entry.Fingerprint] = entry.Name
		}
	}
	at := map[string]int{} // index in clients by fingerprint
	for _, c := range f.Clients {
		if problem := f.forbidden(c); problem != "" {
			problems = append(problems, problem)
			continue
		}
		i, ok := at[c.Fingerprint]
		if !ok {
			at[c.Fingerprint] = len(clients)
			clients = append(clients, c)
			continue
		}
		union := clients[i]
		if names[c.Fingerprint] == c.Entry() {
			union.Relation, union.App, union.Owner = c.Relation, c.App, c.Owner // the entry keeps its name
		}
		if union.restricted() && c.restricted() {
			union.Projects = lxdhttps.SplitList(strings.Join(append(slices.Clone(union.Projects), c.Projects...), ","))
		} else {
			union.Projects = nil
		}
		clients[i] = union
	}
	return clients, problems
}

// forbidden returns why a client may not have what it requests; "" if it may.
func (f Facts) forbidden(c Client) string {
	who := fmt.Sprintf("%s (relation %s)", c.Owner, c.Relation)
	if slices.Contains(f.Unrestricted, c.App) || slices.Contains(f.Unrestricted, c.Relation) {
		return ""
	}
	allow := fmt.Sprintf("to let it control all hosts, add %s to option %s", c.App, Option)
	if !c.restricted() {
		return fmt.Sprintf("%s requests all of LXD: %s, or have it name restricted projects", who, allow)
	}
	for _, project := range c.Projects {
		switch restricted, exists := f.Projects[project]; {
		case !exists:
			return fmt.Sprintf("%s requests project %q, which does not exist: create it, or change the client's request", who, project)
		case !restricted:
			return fmt.Sprintf("%s requests project %s, which is not restricted: lxc project set %s restricted=true; %s", who, project, project, allow)
		}
	}
	return ""
}

func matches(entry api.Certificate, client Client) bool {
	return entry.Name == client.Entry() && entry.Restricted == client.restricted() &&
		(!entry.Restricted || sameSet(entry.Projects, client.Projects))
}

func (c Client) restricted() bool { return len(c.Projects) > 0 }

// AddCertificate adds a client to the trust store.
type AddCertificate struct{ Client Client }

// Name implements charm.Step.
func (s AddCertificate) Name() string {
	return "trust certificate " + short(s.Client.Fingerprint) + " of " + s.Client.who()
}

// Apply implements charm.Step.
func (s AddCertificate) Apply(ctx context.Context, env Env) error {
	return env.refused(ctx, s, s.Client, add(env.LXD, s.Client.Entry(), s.Client.Certificate, s.Client.Fingerprint, s.Client.Projects))
}

// UpdateCertificate sets the name and the projects of a trusted client.
type UpdateCertificate struct{ Client Client }

// Name implements charm.Step.
func (s UpdateCertificate) Name() string {
	return "adjust what certificate " + short(s.Client.Fingerprint) + " of " + s.Client.who() + " may do"
}

// Apply implements charm.Step.
func (s UpdateCertificate) Apply(ctx context.Context, env Env) error {
	return env.refused(ctx, s, s.Client, env.LXD.UpdateCertificate(s.Client.Fingerprint, api.CertificatePut{
		Name:       s.Client.Entry(),
		Type:       api.CertificateTypeClient,
		Restricted: s.Client.restricted(),
		Projects:   s.Client.Projects,
	}, ""))
}

// refused records what LXD refuses: the status then reports it and the hook continues, since no client may
// stop the charm's other work.
func (w Env) refused(ctx context.Context, step charm.Step[Env], client Client, err error) error {
	if !api.StatusErrorCheck(err, http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusConflict) {
		return err
	}
	message := fmt.Sprintf("cannot %s: %s: change the client's request, or remove its relation", step.Name(), err)
	if w.Refused != nil {
		w.Refused[client.Fingerprint] = message
	}
	return w.Tools.Log(ctx, "WARNING", message)
}

// RemoveCertificate removes a client from the trust store.
type RemoveCertificate struct{ Entry, Fingerprint string }

// Name implements charm.Step.
func (s RemoveCertificate) Name() string {
	return "stop trusting certificate " + short(s.Fingerprint) + " (" + s.Entry + ")"
}

// Apply implements charm.Step.
func (s RemoveCertificate) Apply(_ context.Context, env Env) error {
	err := env.LXD.DeleteCertificate(s.Fingerprint)
	if api.StatusErrorCheck(err, http.StatusNotFound) {
		return nil
	}
	return err
}

// Publish publishes to the clients of one relation where the cluster is.
type Publish struct {
	Relation string
	Offer    lxdhttps.Offer
}

// Name implements charm.Step.
func (s Publish) Name() string {
	return "publish on relation " + s.Relation + " that LXD is at " + strings.Join(s.Offer.Addresses, ", ")
}

// Apply implements charm.Step.
func (s Publish) Apply(ctx context.Context, env Env) error {
	return env.Tools.RelationSetApp(ctx, s.Relation, s.Offer.Encode())
}

// add puts a certificate (base64 of DER) into the trust store unless it is there.
func add(lxd LXD, name, certificate, fingerprint string, projects []string) error {
	is := func(e api.Certificate) bool { return e.Fingerprint == fingerprint }
	entries, err := lxd.GetCertificates()
	if err != nil {
		return fmt.Errorf("cannot list LXD's trusted clients: %w", err)
	}
	if slices.ContainsFunc(entries, is) {
		return nil
	}
	err = lxd.CreateCertificate(api.CertificatesPost{
		Name:        name,
		Type:        api.CertificateTypeClient,
		Restricted:  len(projects) > 0,
		Projects:    projects,
		Certificate: certificate,
	})
	if !api.StatusErrorCheck(err, http.StatusConflict) {
		return err
	}
	if entries, again := lxd.GetCertificates(); again == nil && slices.ContainsFunc(entries, is) {
		return nil // another unit added it meanwhile
	}
	// LXD 6 has fine-grained identities, which are not in the list of certificates.
	return api.StatusErrorf(http.StatusConflict, "LXD has this certificate as a fine-grained identity: lxc auth identity delete tls/%s, or have the client use another certificate (%s)", fingerprint, err)
}

func (c Client) who() string {
	if len(c.Projects) == 0 {
		return c.Owner + ", unrestricted"
	}
	return c.Owner + " for " + strings.Join(c.Projects, ", ")
}

// short returns a fingerprint as LXD shows it in its lists.
func short(fingerprint string) string { return fingerprint[:min(12, len(fingerprint))] }

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

package trust

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/relation/lxdhttps"
)

// Plan gives the steps that make the trust store and the relations agree. It is pure.
func Plan(facts Facts) []charm.Step[World] {
	if !facts.Acts {
		return nil
	}
	var distrust, trust, publish []charm.Step[World]
	wanted := map[string]Client{} // by fingerprint; the first that asked names the entry
	for _, client := range facts.Clients {
		if _, ok := wanted[client.Fingerprint]; !ok {
			wanted[client.Fingerprint] = client
		}
	}
	present := map[string]bool{}
	for _, entry := range facts.Entries {
		present[entry.Fingerprint] = true
		if !Reserved(entry.Name) {
			continue // an operator's own, also when a client shows the same certificate
		}
		client, ok := wanted[entry.Fingerprint]
		switch {
		case !ok:
			distrust = append(distrust, Distrust{Entry: entry.Name, Fingerprint: entry.Fingerprint})
		case !matches(entry, client):
			trust = append(trust, Adjust{Client: client})
		}
	}
	for _, client := range facts.Clients {
		if !present[client.Fingerprint] && wanted[client.Fingerprint].Entry() == client.Entry() {
			trust = append(trust, Trust{Client: client})
		}
	}
	// Nobody is told of an address before LXD says where it is.
	if len(facts.Offer.Addresses) > 0 {
		for _, relation := range sortedKeys(facts.Published) {
			if !published(facts.Published[relation], facts.Offer) {
				publish = append(publish, Publish{Relation: relation, Offer: facts.Offer})
			}
		}
	}
	return slices.Concat(distrust, trust, publish)
}

func matches(entry api.Certificate, client Client) bool {
	return entry.Name == client.Entry() && entry.Restricted == client.restricted() &&
		(!entry.Restricted || sameSet(entry.Projects, client.Projects))
}

func (c Client) restricted() bool { return len(c.Projects) > 0 }

func published(bag map[string]string, offer lxdhttps.Offer) bool {
	for key, value := range offer.Encode() {
		if bag[key] != value {
			return false
		}
	}
	return true
}

// Trust lets a client in.
type Trust struct{ Client Client }

// Name implements charm.Step.
func (s Trust) Name() string {
	return "trust certificate " + short(s.Client.Fingerprint) + " of " + s.Client.who()
}

// Apply implements charm.Step.
func (s Trust) Apply(_ context.Context, world World) error {
	return refused(s, add(world.LXD, s.Client.Entry(), s.Client.Certificate, s.Client.Fingerprint, s.Client.Projects))
}

// Adjust gives a trusted client the name and the projects that it should have.
type Adjust struct{ Client Client }

// Name implements charm.Step.
func (s Adjust) Name() string {
	return "adjust what certificate " + short(s.Client.Fingerprint) + " of " + s.Client.who() + " may do"
}

// Apply implements charm.Step.
func (s Adjust) Apply(_ context.Context, world World) error {
	return refused(s, world.LXD.UpdateCertificate(s.Client.Fingerprint, api.CertificatePut{
		Name:       s.Client.Entry(),
		Type:       api.CertificateTypeClient,
		Restricted: s.Client.restricted(),
		Projects:   s.Client.Projects,
	}, ""))
}

// refused makes what LXD will not do, however often it is asked, the unit's status: a
// project that does not exist, for one.
func refused(step charm.Step[World], err error) error {
	if api.StatusErrorCheck(err, http.StatusBadRequest, http.StatusNotFound) {
		return charm.Blocked("cannot %s: %s: change what the client asks for, or remove its relation", step.Name(), err)
	}
	return err
}

// Distrust shuts a client out again.
type Distrust struct{ Entry, Fingerprint string }

// Name implements charm.Step.
func (s Distrust) Name() string {
	return "stop trusting certificate " + short(s.Fingerprint) + " (" + s.Entry + ")"
}

// Apply implements charm.Step.
func (s Distrust) Apply(_ context.Context, world World) error {
	err := world.LXD.DeleteCertificate(s.Fingerprint)
	if api.StatusErrorCheck(err, http.StatusNotFound) {
		return nil
	}
	return err
}

// Publish tells the clients of one relation where the cluster is.
type Publish struct {
	Relation string
	Offer    lxdhttps.Offer
}

// Name implements charm.Step.
func (s Publish) Name() string {
	return "tell relation " + s.Relation + " that LXD is at " + strings.Join(s.Offer.Addresses, ", ")
}

// Apply implements charm.Step.
func (s Publish) Apply(ctx context.Context, world World) error {
	return world.Tools.RelationSetApp(ctx, s.Relation, s.Offer.Encode())
}

// add puts a certificate (base64 of DER) into the trust store unless it is there.
func add(lxd LXD, name, certificate, fingerprint string, projects []string) error {
	entries, err := lxd.GetCertificates()
	if err != nil {
		return fmt.Errorf("cannot list LXD's trusted clients: %w", err)
	}
	if slices.ContainsFunc(entries, func(e api.Certificate) bool { return e.Fingerprint == fingerprint }) {
		return nil
	}
	return lxd.CreateCertificate(api.CertificatesPost{
		Name:        name,
		Type:        api.CertificateTypeClient,
		Restricted:  len(projects) > 0,
		Projects:    projects,
		Certificate: certificate,
	})
}

func (c Client) who() string {
	if len(c.Projects) == 0 {
		return c.Owner
	}
	return c.Owner + " for " + strings.Join(c.Projects, ", ")
}

// short is how LXD shows a fingerprint in its lists.
func short(fingerprint string) string { return fingerprint[:min(12, len(fingerprint))] }

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

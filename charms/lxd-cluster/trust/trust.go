// Package trust adds the certificates of clients of the relation `https` (interface lxd-https) to LXD's
// trust store, removes those whose unit is gone, and publishes to each client where the cluster is.
//
// The trust store belongs to the whole cluster, so one unit is enough: the Juju leader, if its LXD is a
// member. The charm knows its entries by their names; no other entry is changed or removed.
//
// The operator decides what a client may have: option https-unrestricted names the applications or
// relations, as Juju reports them, that may have all of LXD. Any other client has to name LXD projects, and
// LXD has to restrict each of them (restricted=true): a client that can create an instance in another
// project can mount the host's root folder in it.
package trust

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared"
	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/relation/lxdhttps"
)

// Endpoint is the relation's name in charmcraft.yaml.
const Endpoint = "https"

// mark begins the name of each trust store entry of a relation.
const mark = "dcib-relation-"

// Reserved reports whether a name in the trust store is reserved for clients of relations.
func Reserved(name string) bool { return strings.HasPrefix(name, mark) }

// LXD is what this package uses of LXD; the client library's InstanceServer implements it.
type LXD interface {
	GetServer() (*api.Server, string, error)
	GetClusterMembers() ([]api.ClusterMember, error)
	GetCertificates() ([]api.Certificate, error)
	GetProjects() ([]api.Project, error)
	CreateCertificate(certificate api.CertificatesPost) error
	UpdateCertificate(fingerprint string, certificate api.CertificatePut, etag string) error
	DeleteCertificate(fingerprint string) error
	CreateCertificateToken(certificate api.CertificatesPost) (lxdclient.Operation, error)
}

// Env is what this package works on. LXD is nil if there is none.
type Env struct {
	App   string // this application's name
	Tools hooktool.Tools
	LXD   LXD
	// Configure changes the options of LXD's server; what describes the change in an error.
	Configure func(ctx context.Context, what string, change func(config map[string]any)) error
	Now       func() time.Time
	// Refused is what LXD refused in this hook: the reason by the certificate's fingerprint.
	Refused map[string]string
}

// Facts are what a plan is made from. The zero value is a unit that has nothing to do here.
type Facts struct {
	// Acts reports whether this unit leads and its LXD is a cluster member.
	Acts bool
	// Clients are the requests of the relations.
	Clients []Client
	// Entries are LXD's trust store.
	Entries []api.Certificate
	// Offer is what clients get.
	Offer lxdhttps.Offer
	// Published is what each relation got so far, by relation id.
	Published map[string]map[string]string
	// Unusable has the client and the reason for each request that cannot be read.
	Unusable []string
	// Unrestricted are the applications and relations that may have all of LXD.
	Unrestricted []string
	// Projects are LXD's projects by name, with whether LXD restricts them.
	Projects map[string]bool
	// Refused is Env's.
	Refused map[string]string
}

// Client is one request.
type Client struct {
	Relation    string // "https:3"
	App         string // the application on the other side, as Juju reports it
	Owner       string // the unit, or the application, of the request
	Fingerprint string
	Certificate string // base64 of its DER form, as LXD wants it
	Projects    []string
}

// Entry is the name that the client's certificate has in the trust store.
func (c Client) Entry() string {
	// Neither part of a unit's name has a dot, so no two clients share an entry.
	id := c.Relation[strings.LastIndexByte(c.Relation, ':')+1:]
	return mark + id + "-" + strings.ReplaceAll(c.Owner, "/", ".")
}

// Observe reads the relations and the trust store. It reads nothing on a unit that does not act.
func Observe(ctx context.Context, env Env) (Facts, error) {
	if env.LXD == nil {
		return Facts{}, nil
	}
	leader, err := env.Tools.IsLeader(ctx)
	if err != nil || !leader {
		return Facts{}, err
	}
	server, _, err := env.LXD.GetServer()
	if err != nil {
		return Facts{}, fmt.Errorf("cannot ask LXD about itself: %w", err)
	}
	if !server.Environment.ServerClustered {
		return Facts{}, nil
	}
	facts := Facts{Acts: true, Published: map[string]map[string]string{}}
	if facts.Entries, err = env.LXD.GetCertificates(); err != nil {
		return Facts{}, fmt.Errorf("cannot list LXD's trusted clients: %w", err)
	}
	relations, err := env.Tools.RelationIDs(ctx, Endpoint)
	if err != nil {
		return Facts{}, err
	}
	for _, relation := range relations {
		if err := facts.read(ctx, env, relation); err != nil {
			return Facts{}, err
		}
	}
	if len(relations) == 0 {
		return facts, nil
	}
	if err := facts.observePolicy(ctx, env); err != nil {
		return Facts{}, err
	}
	members, err := env.LXD.GetClusterMembers()
	if err != nil {
		return Facts{}, fmt.Errorf("cannot list the cluster's members: %w", err)
	}
	facts.Offer = lxdhttps.Offer{
		Certificate: server.Environment.Certificate,
		Fingerprint: server.Environment.CertificateFingerprint,
	}
	for _, member := range members {
		facts.Offer.Addresses = append(facts.Offer.Addresses, strings.TrimPrefix(member.URL, "https://"))
	}
	sort.Strings(facts.Offer.Addresses)
	return facts, nil
}

// Option is the option that names the applications and relations that may have all of LXD.
const Option = "https-unrestricted"

// observePolicy observes what decides what a client may have.
func (f *Facts) observePolicy(ctx context.Context, env Env) error {
	f.Refused = maps.Clone(env.Refused)
	options, err := env.Tools.Config(ctx)
	if err != nil {
		return err
	}
	listed, _ := options[Option].(string)
	f.Unrestricted = lxdhttps.SplitList(listed)
	projects, err := env.LXD.GetProjects()
	if err != nil {
		return fmt.Errorf("cannot list LXD's projects: %w", err)
	}
	f.Projects = map[string]bool{}
	for _, p := range projects {
		f.Projects[p.Name] = shared.IsTrue(p.Config["restricted"])
	}
	return nil
}

// read adds the requests of one relation's databags. The databag of a unit that has just left may be gone
// while Juju still lists the unit.
func (f *Facts) read(ctx context.Context, env Env, relation string) error {
	tools := env.Tools
	owners, err := tools.RelationUnits(ctx, relation)
	if err != nil {
		return ignoreNotFound(err)
	}
	app, err := tools.RelationApp(ctx, relation)
	if err != nil {
		return ignoreNotFound(err)
	}
	if app != "" {
		// A clustered client sends one request for all its units.
		owners = append(slices.Clone(owners), app)
	}
	for _, owner := range owners {
		bag, err := tools.RelationGet(ctx, relation, owner)
		if errors.Is(err, hooktool.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		request, ok, err := lxdhttps.DecodeRequest(bag)
		if err != nil {
			f.Unusable = append(f.Unusable, fmt.Sprintf("%s (relation %s): %s", owner, relation, err))
			continue
		}
		if !ok {
			continue
		}
		client, err := newClient(relation, app, owner, request)
		if err != nil {
			f.Unusable = append(f.Unusable, fmt.Sprintf("%s (relation %s): %s", owner, relation, err))
			continue
		}
		f.Clients = append(f.Clients, client)
	}
	// Only the leader may read its own application's databag.
	published, err := tools.RelationGet(ctx, relation, env.App)
	if err == nil {
		f.Published[relation] = published
	}
	return ignoreNotFound(err)
}

// ignoreNotFound ignores that a relation is gone since Juju listed it.
func ignoreNotFound(err error) error {
	if errors.Is(err, hooktool.ErrNotFound) {
		return nil
	}
	return err
}

func newClient(relation, app, owner string, request lxdhttps.Request) (Client, error) {
	certificate, err := parse(request.Certificate)
	if err != nil {
		return Client{}, err
	}
	return Client{
		Relation:    relation,
		App:         app,
		Owner:       owner,
		Fingerprint: lxdhttps.Fingerprint(certificate),
		Certificate: base64.StdEncoding.EncodeToString(certificate.Raw),
		Projects:    request.Projects,
	}, nil
}

// parse reads a client's certificate. LXD accepts none that has expired.
func parse(text string) (*x509.Certificate, error) {
	certificate, err := lxdhttps.ParseCertificate(text)
	if err == nil && time.Now().After(certificate.NotAfter) {
		err = fmt.Errorf("cannot trust certificate: it expired on %s", certificate.NotAfter.Format(time.DateOnly))
	}
	return certificate, err
}

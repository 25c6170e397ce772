// Package cloud makes the cluster a Juju cloud. It writes the two files for `juju add-cloud` and `juju
// add-credential`.
//
// It creates the client certificate in them. The key is in a Juju secret, or in the action's results with
// reveal=true. The charm does not read that secret again: a second run creates another certificate, and
// would lock out a controller that uses the old one; that needs replace=true.
package cloud

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/canonical/lxd/shared"
	"github.com/canonical/lxd/shared/api"
	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/charms/lxd-cluster/trust"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/relation/lxdhttps"
)

// LXD is what this package uses of LXD; the client library's InstanceServer implements it.
type LXD interface {
	GetServer() (*api.Server, string, error)
	GetClusterMembers() ([]api.ClusterMember, error)
	GetCertificates() ([]api.Certificate, error)
	CreateCertificate(certificate api.CertificatesPost) error
	DeleteCertificate(fingerprint string) error
}

// Env is what this package works on. LXD is nil if there is none.
type Env struct {
	App   string // this application's name, the default name of the cloud
	Tools hooktool.Tools
	LXD   LXD
	Now   func() time.Time
}

// cloudName is a valid name of a cloud in Juju (IsValidCloud in its module names).
var cloudName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*$`)

// Get is the action get-cloud. Parameters: `cloud`, the cloud's name; `name`, the client's name in LXD's
// trust store (default juju-<cloud>); `projects`, separated by commas, to which LXD restricts the client;
// `replace`, whether a trusted client of that name is replaced; `reveal`, whether the credential is in the
// results.
//
// The result `cloud`, and `credential` in the secret (see trust.SecretResult), are YAML for juju. The
// second has the key.
func Get(ctx context.Context, env Env, call charm.Call) (map[string]string, error) {
	if env.LXD == nil {
		return nil, errors.New("cannot get cloud: this unit's machine has no LXD yet: see the unit's status")
	}
	name := call.String("cloud")
	if name == "" {
		name = env.App
	}
	if !cloudName.MatchString(name) {
		return nil, fmt.Errorf("cannot get cloud: parameter cloud is %q: wanted letters, digits and . _ - (juju's rule)", name)
	}
	client := call.String("name")
	if client == "" {
		client = "juju-" + name
	}
	if trust.Reserved(client) {
		return nil, fmt.Errorf("cannot get cloud: the name %s belongs to the relations of this charm: take another", client)
	}
	result := trust.SecretResult{Tools: env.Tools, Reveal: call.Bool("reveal"), Label: "credential-" + name, Now: env.Now()}
	if err := result.Possible(ctx); err != nil {
		return nil, fmt.Errorf("cannot get cloud: %w", err)
	}
	server, _, err := env.LXD.GetServer()
	if err != nil {
		return nil, fmt.Errorf("cannot ask LXD about itself: %w", err)
	}
	endpoint, members, err := endpoints(env.LXD, server.Environment.ServerName)
	if err != nil {
		return nil, err
	}
	old, err := clients(env.LXD, client)
	if err != nil {
		return nil, err
	}
	if len(old) > 0 && !call.Bool("replace") {
		return nil, fmt.Errorf("cannot get cloud: LXD trusts a client named %s already: choose another name, or set replace=true and run juju update-credential where the old one is used", client)
	}
	projects := lxdhttps.SplitList(call.String("projects"))
	certificate, key, fingerprint, err := trusted(env.LXD, client, projects)
	if err != nil {
		return nil, fmt.Errorf("cannot have LXD trust the new client %s: %w", client, err)
	}
	results, err := result.Deliver(ctx, map[string]string{"credential": credentialYAML(name, certificate, key, server.Environment.Certificate)})
	if err != nil {
		// A client whose key was not delivered is not trusted.
		return nil, errors.Join(fmt.Errorf("cannot get cloud: %w", err), env.LXD.DeleteCertificate(fingerprint))
	}
	maps.Copy(results, map[string]string{
		"name":      client,
		"endpoint":  endpoint,
		"endpoints": strings.Join(members, ","),
		"cloud":     cloudYAML(name, endpoint),
		"use":       fmt.Sprintf("juju add-cloud %s -f CLOUD.yaml; juju add-credential %s -f CREDENTIAL.yaml", name, name),
	})
	if len(projects) > 0 {
		results["projects"] = strings.Join(projects, ",")
	}
	for _, fingerprint := range old {
		if err := env.LXD.DeleteCertificate(fingerprint); err != nil && !api.StatusErrorCheck(err, http.StatusNotFound) {
			return results, fmt.Errorf("cannot remove the old client %s: %w: remove it (remove-trusted-client fingerprint=%s)", client, err, fingerprint[:12])
		}
	}
	return results, nil
}

// endpoints returns the URL of this unit's own member, which is alive, and of all members.
func endpoints(lxd LXD, self string) (own string, all []string, err error) {
	members, err := lxd.GetClusterMembers()
	if err != nil {
		return "", nil, fmt.Errorf("cannot list the cluster's members: %w", err)
	}
	for _, m := range members {
		all = append(all, m.URL)
		if m.ServerName == self {
			own = m.URL
		}
	}
	if own == "" {
		return "", nil, fmt.Errorf("cannot get cloud: LXD does not list its own member %s: look at lxc cluster list", self)
	}
	slices.Sort(all)
	return own, all, nil
}

// clients returns the fingerprints of LXD's trusted clients of that name.
func clients(lxd LXD, name string) ([]string, error) {
	entries, err := lxd.GetCertificates()
	if err != nil {
		return nil, fmt.Errorf("cannot list LXD's trusted clients: %w", err)
	}
	var there []string
	for _, e := range entries {
		if e.Name != name {
			continue
		}
		if e.Type != api.CertificateTypeClient {
			return nil, fmt.Errorf("cannot get cloud: %s is the name of a %s certificate in LXD's trust store: take another", name, e.Type)
		}
		there = append(there, e.Fingerprint)
	}
	return there, nil
}

// trusted creates a client's certificate and key (PEM) and adds it to LXD's trust store.
func trusted(lxd LXD, name string, projects []string) (certificate, key, fingerprint string, err error) {
	cert, private, err := shared.GenerateMemCert(true, shared.CertOptions{CommonName: name})
	if err != nil {
		return "", "", "", err
	}
	parsed, err := lxdhttps.ParseCertificate(string(cert))
	if err != nil {
		return "", "", "", err
	}
	return string(cert), string(private), lxdhttps.Fingerprint(parsed), lxd.CreateCertificate(api.CertificatesPost{
		Name:        name,
		Type:        api.CertificateTypeClient,
		Restricted:  len(projects) > 0,
		Projects:    projects,
		Certificate: base64.StdEncoding.EncodeToString(parsed.Raw),
	})
}

// region is the region that Juju uses for an LXD cloud.
const region = "default"

func cloudYAML(name, endpoint string) string {
	type place struct {
		Endpoint string `yaml:"endpoint"`
	}
	type cloud struct {
		Type      string           `yaml:"type"`
		AuthTypes []string         `yaml:"auth-types,flow"`
		Endpoint  string           `yaml:"endpoint"`
		Regions   map[string]place `yaml:"regions"`
	}
	return write(map[string]map[string]cloud{"clouds": {name: {
		Type: "lxd", AuthTypes: []string{"certificate"}, Endpoint: endpoint,
		Regions: map[string]place{region: {endpoint}},
	}}})
}

// credentialYAML names the credential as the cloud.
func credentialYAML(name, certificate, key, server string) string {
	type credential struct {
		AuthType   string `yaml:"auth-type"`
		ClientCert string `yaml:"client-cert"`
		ClientKey  string `yaml:"client-key"`
		ServerCert string `yaml:"server-cert"`
	}
	return write(map[string]map[string]map[string]credential{"credentials": {name: {name: {
		"certificate", certificate, key, server,
	}}}})
}

func write(document any) string {
	text, err := yaml.Marshal(document)
	if err != nil {
		panic(err) // structs of text always have a YAML
	}
	return string(text)
}

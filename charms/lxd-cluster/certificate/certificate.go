// Package certificate has LXD's certificate issued by the related authority (interface tls-certificates).
//
// All members show one certificate, so one unit requests it: the coordinator, which the leader writes into
// LXD's own configuration (see package coordinator). The private key never leaves that unit's machine
// except into LXD, which passes it to its members.
//
// A new certificate has another fingerprint. So that members still recognize the cluster, its identity is
// first stored in LXD (see cluster.IdentityKey).
package certificate

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/host/atomicfile"
	"github.com/dcib/dcib/internal/relation/coordinator"
	"github.com/dcib/dcib/internal/relation/lxdhttps"
	"github.com/dcib/dcib/internal/relation/tlscertificates"
)

// Endpoint is the relation's name in charmcraft.yaml.
const Endpoint = "certificates"

// coordinatorKey is the key in LXD's own configuration with the coordinator.
const coordinatorKey = "user.dcib.certificate"

// keyFile is the private key's file in the state directory.
const keyFile = "certificate.key"

// keyBits is the length of the key: RSA, which every authority signs.
const keyBits = 2048

// LXD is what this package uses of LXD; the client library's InstanceServer implements it.
type LXD interface {
	GetServer() (*api.Server, string, error)
	GetClusterMembers() ([]api.ClusterMember, error)
	UpdateClusterCertificate(certs api.ClusterCertificatePut, etag string) error
}

// Env is what this package works on. LXD is nil if there is none.
type Env struct {
	Unit     string
	Tools    hooktool.Tools
	LXD      LXD
	StateDir string // where the key is kept, readable by root only
	Now      func() time.Time
	NewKey   func() (*rsa.PrivateKey, error) // NewKey outside tests
	// Configure changes LXD's own configuration; what describes the change in an error.
	Configure func(ctx context.Context, what string, change func(config map[string]any)) error
}

// Facts are what a plan is made from. The zero value is a unit that has nothing to do here.
type Facts struct {
	Unit     string
	Leader   bool
	Relation string // its id; empty without one
	// Coordinator is the unit that requests the certificate, as LXD's own configuration names it.
	Coordinator coordinator.Choice
	// Offline are the members that could not get a new certificate.
	Offline []string
	// Current is the fingerprint of the certificate that LXD shows, Identity that of the cluster.
	Current, Identity string

	// The other fields are for the coordinator alone.

	CSR    string // made from its key and the members; empty while there is no key
	Asked  bool   // the databag has just this request
	Issued *Issued
	// IssuedErr is the reason why the answer cannot be used.
	IssuedErr string
}

// Issued is a certificate that the authority issued for the CSR.
type Issued struct {
	Fingerprint string
	Chain       string // PEM, the certificate first
	// Revoked reports whether the authority revoked it, Due whether 90 % of its time is over.
	Revoked, Due bool
}

// Observe reads the relation, and LXD and the key if needed. identity is that of the cluster.
func Observe(ctx context.Context, w Env, identity string) (f Facts, err error) {
	if w.LXD == nil {
		return f, nil
	}
	relations, err := w.Tools.RelationIDs(ctx, Endpoint)
	if err != nil {
		return f, err
	}
	server, _, err := w.LXD.GetServer()
	if err != nil {
		return f, fmt.Errorf("cannot read LXD's state: %w", err)
	}
	chosen, _ := server.Config[coordinatorKey].(string)
	if len(relations) == 0 && chosen == "" {
		return f, nil
	}
	f = Facts{Unit: w.Unit, Coordinator: coordinator.Choice{Unit: chosen}, Identity: identity, Current: server.Environment.CertificateFingerprint}
	if f.Leader, err = w.Tools.IsLeader(ctx); err != nil || len(relations) == 0 {
		return f, err
	}
	f.Relation = relations[0]
	if f.Leader && chosen != "" && chosen != w.Unit {
		kept, err := w.Tools.Units(ctx)
		if err != nil {
			return f, err
		}
		f.Coordinator = coordinator.New(chosen, kept)
	}
	bag, err := w.Tools.RelationGet(ctx, f.Relation, w.Unit)
	if err != nil {
		return f, err
	}
	if !f.Coordinator.Is(w.Unit) {
		f.Asked = !tlscertificates.Asked(bag, "")
		return f, nil
	}
	return f, f.observeRequest(ctx, w, bag)
}

// observeRequest observes the coordinator's request and the answer.
func (f *Facts) observeRequest(ctx context.Context, w Env, bag map[string]string) error {
	members, err := w.LXD.GetClusterMembers()
	if err != nil {
		return fmt.Errorf("cannot list the cluster's members: %w", err)
	}
	for _, m := range members {
		if m.Status == "Offline" {
			f.Offline = append(f.Offline, m.ServerName)
		}
	}
	key, err := loadKey(w.StateDir)
	if err != nil || key == nil {
		return err
	}
	if f.CSR, err = newRequest(key, members); err != nil {
		return err
	}
	if f.Asked = tlscertificates.Asked(bag, f.CSR); !f.Asked {
		return nil
	}
	app, err := w.Tools.RelationApp(ctx, f.Relation)
	if errors.Is(err, hooktool.ErrNotFound) || err == nil && app == "" {
		return nil // it has just left
	}
	if err != nil {
		return err
	}
	answer, err := w.Tools.RelationGet(ctx, f.Relation, app)
	if errors.Is(err, hooktool.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	issued, ok, err := tlscertificates.Decode(answer, f.CSR)
	if err == nil && ok {
		f.Issued, err = check(issued, key, f.Current, w.Now())
	}
	if err != nil {
		f.IssuedErr = err.Error()
	}
	return nil
}

// Juju and others accept a server certificate only with this use. crypto/x509 has no field for it in
// requests. https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.12
var (
	extendedKeyUsage = asn1.ObjectIdentifier{2, 5, 29, 37}
	serverAuth       = []byte{0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01}
)

// newRequest returns a signing request for all members. The same key and members result in the same text
// (PKCS #1 v1.5 signatures are deterministic).
func newRequest(key *rsa.PrivateKey, members []api.ClusterMember) (string, error) {
	template := x509.CertificateRequest{
		Subject:         pkix.Name{CommonName: "lxd-cluster"},
		ExtraExtensions: []pkix.Extension{{Id: extendedKeyUsage, Value: serverAuth}},
	}
	for _, m := range members {
		template.DNSNames = append(template.DNSNames, m.ServerName)
		host, _, err := net.SplitHostPort(strings.TrimPrefix(m.URL, "https://"))
		if err != nil {
			return "", fmt.Errorf("cannot read the address of member %s: %w", m.ServerName, err)
		}
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if !slices.Contains(template.DNSNames, host) {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	slices.Sort(template.DNSNames)
	slices.SortFunc(template.IPAddresses, func(a, b net.IP) int { return strings.Compare(a.String(), b.String()) })
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		return "", fmt.Errorf("cannot make a certificate signing request: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), nil
}

// check checks what the authority issued; current is the fingerprint that LXD shows.
func check(issued tlscertificates.Issued, key *rsa.PrivateKey, current string, now time.Time) (*Issued, error) {
	leaf, err := lxdhttps.ParseCertificate(issued.Certificate)
	if err != nil {
		return nil, err
	}
	if public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(key.Public()) {
		return nil, errors.New("cannot use the certificate: it is for another key than the one that it was asked for")
	}
	if now.After(leaf.NotAfter) && !issued.Revoked && lxdhttps.Fingerprint(leaf) != current {
		return nil, fmt.Errorf("cannot use the certificate: it expired on %s", leaf.NotAfter.Format(time.DateTime))
	}
	if uses := leaf.ExtKeyUsage; len(uses) > 0 && !slices.Contains(uses, x509.ExtKeyUsageServerAuth) && !slices.Contains(uses, x509.ExtKeyUsageAny) {
		return nil, errors.New("cannot use the certificate: it is not for a server")
	}
	all := []*x509.Certificate{leaf}
	for _, text := range issued.Chain {
		next, err := lxdhttps.ParseCertificate(text)
		if err != nil {
			return nil, fmt.Errorf("cannot use the certificate's chain: %w", err)
		}
		if !slices.ContainsFunc(all, next.Equal) {
			all = append(all, next)
		}
	}
	var chain strings.Builder
	for _, c := range all {
		_ = pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	due := leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 10)
	return &Issued{Fingerprint: lxdhttps.Fingerprint(leaf), Chain: chain.String(), Revoked: issued.Revoked, Due: now.After(due)}, nil
}

// NewKey creates a private key.
func NewKey() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, keyBits) }

// loadKey reads the coordinator's key; nil if there is none. A key that is damaged counts as none: the unit
// creates another and requests another certificate.
func loadKey(dir string) (*rsa.PrivateKey, error) {
	raw, err := atomicfile.Read(filepath.Join(dir, keyFile))
	if atomicfile.Unusable(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot load the key of LXD's certificate: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, nil
	}
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		return nil, nil
	}
	return key, nil
}

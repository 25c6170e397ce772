package certificate

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/charms/lxd-cluster/cluster"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/host/atomicfile"
	"github.com/dcib/dcib/internal/relation/tlscertificates"
)

// Plan returns the steps that bring the authority's certificate into LXD. It is pure. Its status has no
// level unless an operator has to do something.
//
// Without the relation LXD keeps its certificate: with another one its clients would have to trust it
// again.
func Plan(f Facts) charm.Plan[Env] {
	do := func(steps ...charm.Step[Env]) charm.Plan[Env] { return charm.Plan[Env]{Steps: steps} }
	blocked := func(format string, args ...any) charm.Plan[Env] {
		return charm.Plan[Env]{Status: charm.Blockedf(format, args...)}
	}
	switch {
	case f.Relation == "":
		if f.Leader && f.Coordinator.Unit != "" {
			return do(setCoordinator{""})
		}
		return do()
	case f.Leader && f.Coordinator.NeedsElection():
		return do(setCoordinator{f.Unit})
	case !f.Coordinator.Is(f.Unit):
		if f.Asked {
			return do(ask{f.Relation, ""})
		}
		return do()
	case f.CSR == "":
		return do(createKey{})
	case !f.Asked:
		return do(ask{f.Relation, f.CSR})
	case f.IssuedErr != "":
		return blocked("cannot use the certificate of relation %s: %s: look at the authority, or remove the relation", f.Relation, f.IssuedErr)
	case f.Issued == nil:
		return do() // not answered yet; LXD keeps its certificate
	case f.Issued.Revoked, f.Issued.Due && f.Issued.Fingerprint == f.Current:
		// Another key is another request, which no authority counts as answered.
		return do(createKey{})
	case f.Issued.Fingerprint == f.Current:
		return do()
	case len(f.Offline) > 0:
		return blocked("cannot install LXD's new certificate: all members must be online; offline: %s", strings.Join(f.Offline, ", "))
	}
	return do(replace{f.Issued.Chain, f.Identity})
}

// setCoordinator writes the coordinator; "" for none.
type setCoordinator struct{ unit string }

func (s setCoordinator) Name() string {
	if s.unit == "" {
		return "let no unit request LXD's certificate"
	}
	return "let " + s.unit + " request LXD's certificate"
}

func (s setCoordinator) Apply(ctx context.Context, w Env) error {
	// An empty value unsets the key; LXD keeps a user.* key that is only missing.
	return w.Configure(ctx, s.Name(), func(config map[string]any) { config[coordinatorKey] = s.unit })
}

// createKey creates the coordinator's private key, or another one.
type createKey struct{}

func (createKey) Name() string { return "create a key for LXD's certificate" }

func (createKey) Apply(_ context.Context, w Env) error {
	key, err := w.NewKey()
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := os.MkdirAll(w.StateDir, 0o700); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(w.StateDir, keyFile), text, atomicfile.Options{})
}

// ask publishes a signing request, or withdraws it if csr is empty.
type ask struct{ relation, csr string }

func (s ask) Name() string {
	if s.csr == "" {
		return "withdraw the certificate request on relation " + s.relation
	}
	return "request LXD's certificate on relation " + s.relation
}

func (s ask) Apply(ctx context.Context, w Env) error {
	return w.Tools.RelationSet(ctx, s.relation, tlscertificates.Encode(s.csr))
}

// replace installs the certificate in LXD.
type replace struct{ chain, identity string }

func (replace) Name() string { return "install the certificate that the authority issued" }

func (s replace) Apply(ctx context.Context, w Env) error {
	err := w.Configure(ctx, "keep the cluster's identity", func(config map[string]any) {
		if kept, _ := config[cluster.IdentityKey].(string); kept == "" {
			config[cluster.IdentityKey] = s.identity
		}
	})
	if err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(w.StateDir, keyFile))
	if err != nil {
		return fmt.Errorf("cannot read the key of LXD's certificate: %w", err)
	}
	err = w.LXD.UpdateClusterCertificate(api.ClusterCertificatePut{ClusterCertificate: s.chain, ClusterCertificateKey: string(key)}, "")
	if api.StatusErrorCheck(err, http.StatusBadRequest) {
		return charm.Blocked("cannot %s: LXD refuses: %s: look at the certificate authority, or remove the relation", s.Name(), err)
	}
	return err
}

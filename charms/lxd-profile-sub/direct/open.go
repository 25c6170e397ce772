package direct

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared"
	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/lxd"
	"github.com/dcib/dcib/internal/lxd/profiles"
)

// ErrUntrusted is wrapped by Open's error if the LXD does not trust the certificate.
var ErrUntrusted = errors.New("it does not trust the client certificate")

// Credential is the content of the secret, all PEM.
type Credential struct{ ClientCert, ClientKey, ServerCert string }

// ParseCredential reads a secret with the names of Juju's own LXD credentials. The error names the invalid
// part and shows none.
func ParseCredential(content map[string]string) (Credential, error) {
	c := Credential{content["client-cert"], content["client-key"], content["server-cert"]}
	for _, part := range []struct{ name, text string }{{"client-cert", c.ClientCert}, {"client-key", c.ClientKey}, {"server-cert", c.ServerCert}} {
		if part.text == "" {
			return Credential{}, fmt.Errorf("it has no %s: wanted client-cert, client-key and server-cert, each PEM", part.name)
		}
		if block, _ := pem.Decode([]byte(part.text)); block == nil {
			return Credential{}, fmt.Errorf("its %s is not PEM", part.name)
		}
	}
	if _, err := tls.X509KeyPair([]byte(c.ClientCert), []byte(c.ClientKey)); err != nil {
		return Credential{}, errors.New("its client-key does not belong to its client-cert")
	}
	if block, _ := pem.Decode([]byte(c.ServerCert)); block.Type != "CERTIFICATE" {
		return Credential{}, errors.New("its server-cert is not a certificate")
	}
	return c, nil
}

// Open connects to the LXD, which has to have the server certificate, and reports whether the client
// certificate is restricted to projects. If that cannot be determined it returns an error, since an
// operator has to be warned of a certificate without restrictions.
func Open(ctx context.Context, o Options, c Credential) (profiles.Server, bool, error) {
	fail := func(err error) (profiles.Server, bool, error) {
		return nil, false, fmt.Errorf("cannot reach the LXD at %s (option endpoint): %w", o.Endpoint, err)
	}
	server, err := lxdclient.ConnectLXDWithContext(ctx, o.Endpoint, &lxdclient.ConnectionArgs{
		TLSClientCert: c.ClientCert, TLSClientKey: c.ClientKey, TLSServerCert: c.ServerCert, UserAgent: "dcib", SkipGetServer: true,
		// As the only authority: without one LXD's client also trusts the system's.
		TLSCA:            c.ServerCert,
		TransportWrapper: func(t *http.Transport) lxdclient.HTTPTransporter { return (&lxd.Limits{}).Around(keepAlive(t)) },
	})
	if err != nil {
		return fail(err)
	}
	state, _, err := server.GetServer()
	switch {
	case err != nil:
		return fail(err)
	case state.Auth != "trusted":
		return fail(fmt.Errorf("%w: lxc config trust add it, with --restricted --projects %s", ErrUntrusted, o.Project))
	}
	block, _ := pem.Decode([]byte(c.ClientCert))
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fail(err)
	}
	restricted := false
	known, _, err := server.GetCertificate(shared.CertFingerprint(certificate))
	switch {
	case err == nil:
		restricted = known.Restricted
	case api.StatusErrorCheck(err, http.StatusForbidden):
		restricted = true // LXD shows certificates only to clients without restrictions
	case api.StatusErrorCheck(err, http.StatusNotFound):
		// It is trusted without an entry of its own, for example by core.trust_ca_certificates: it is not
		// restricted.
	default:
		return fail(fmt.Errorf("cannot read whether the client certificate is restricted: %w", err))
	}
	return server.UseProject(o.Project), restricted, nil
}

// transport returns LXD's own transport to it.
type transport struct {
	http.RoundTripper
	own *http.Transport
}

// Transport implements lxdclient.HTTPTransporter.
func (t transport) Transport() *http.Transport { return t.own }

// keepAlive makes a hook's requests share one connection: LXD's client opens one for each, and TLS is most
// of a hook's cost.
func keepAlive(t *http.Transport) lxdclient.HTTPTransporter {
	t.DisableKeepAlives = false
	return transport{t, t}
}

package lxdhost

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/canonical/lxd/shared"
	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/box/place"
	"github.com/dcib/dcib/internal/host/atomicfile"
)

// client is the name by which LXD knows the box's own client certificate.
const client = "dcib-box"

// Credential is what a client needs to use the API of an LXD over the network. All are PEM.
type Credential struct {
	Endpoint    string // https://host:port
	Server      string // LXD's certificate
	Certificate string // the client's
	Key         string
}

// Certificate returns the box's own client certificate and key (PEM); they are made when they
// are not there.
func Certificate(p place.Place) (certificate, key string, err error) {
	certPath, keyPath := filepath.Join(p.Dir(), "client.crt"), filepath.Join(p.Dir(), "client.key")
	// The key is written first, so a certificate that is there has its key.
	cert, err := os.ReadFile(certPath)
	if errors.Is(err, fs.ErrNotExist) {
		cert, secret, err := shared.GenerateMemCert(true, shared.CertOptions{CommonName: client})
		if err != nil {
			return "", "", fmt.Errorf("cannot make the box's client certificate: %w", err)
		}
		if err := atomicfile.Write(keyPath, secret, atomicfile.Options{Mode: 0o600}); err != nil {
			return "", "", err
		}
		return string(cert), string(secret), atomicfile.Write(certPath, cert, atomicfile.Options{Mode: 0o644})
	}
	if err != nil {
		return "", "", fmt.Errorf("cannot read the box's client certificate: %w", err)
	}
	secret, err := os.ReadFile(keyPath)
	if err != nil {
		return "", "", fmt.Errorf("cannot read the box's client key: %w", err)
	}
	return string(cert), string(secret), nil
}

// Trust makes LXD trust the box's client certificate, and returns what Juju needs to use LXD
// over the network. Over the unix socket Juju would open LXD's API to every network of the
// machine, where a second box could not listen either.
func (h Host) Trust(ctx context.Context) (Credential, error) {
	certificate, key, err := Certificate(h.Place)
	if err != nil {
		return Credential{}, err
	}
	c, err := Connect(ctx, h.Place)
	if err != nil {
		return Credential{}, err
	}
	server, _, err := c.GetServer()
	if err != nil {
		return Credential{}, fmt.Errorf("cannot ask LXD for its certificate: %w", err)
	}
	block, _ := pem.Decode([]byte(certificate))
	if block == nil {
		return Credential{}, fmt.Errorf("cannot read the box's client certificate in %s: it is not PEM", h.Place.Dir())
	}
	fingerprint, err := shared.CertFingerprintStr(certificate)
	if err != nil {
		return Credential{}, fmt.Errorf("cannot read the box's client certificate: %w", err)
	}
	if _, _, err := c.GetCertificate(fingerprint); missing(err) {
		post := api.CertificatesPost{}
		post.Name, post.Type, post.Certificate = client, api.CertificateTypeClient, base64.StdEncoding.EncodeToString(block.Bytes)
		if h.Place.Snap != nil { // no more than its own project in an LXD that is not its own
			post.Name, post.Restricted, post.Projects = h.Place.Bridge(), true, []string{h.Place.Project()}
		}
		err = c.CreateCertificate(post)
		if err != nil {
			return Credential{}, fmt.Errorf("cannot make LXD trust the box's client certificate: %w", err)
		}
	} else if err != nil {
		return Credential{}, fmt.Errorf("cannot ask LXD for its trusted clients: %w", err)
	}
	return Credential{
		Endpoint:    "https://" + h.endpoint(server),
		Server:      server.Environment.Certificate,
		Certificate: certificate,
		Key:         key,
	}, nil
}

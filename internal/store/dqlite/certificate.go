package dqlite

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Certificate is a cluster's certificate and its key, both PEM. The key is a secret.
type Certificate struct{ Certificate, Key string }

// serverName stands in every cluster's certificate: nodes are told apart by who has the
// key, not by their addresses.
const serverName = "dcib-store"

// lifetime of a cluster's certificate. It is trusted for being the very one that all have.
const lifetime = 20 * 365 * 24 * time.Hour

// NewCertificate makes the certificate of a new cluster.
func NewCertificate() (Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Certificate{}, fmt.Errorf("cannot make the store's key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return Certificate{}, fmt.Errorf("cannot make the store's certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: serverName, Organization: []string{"dcib"}},
		DNSNames:              []string{serverName},
		NotBefore:             time.Unix(0, 0),
		NotAfter:              time.Now().Add(lifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return Certificate{}, fmt.Errorf("cannot make the store's certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Certificate{}, fmt.Errorf("cannot encode the store's key: %w", err)
	}
	return Certificate{
		Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		Key:         string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})),
	}, nil
}

// configs gives the two ends of a connection between nodes: each shows the cluster's
// certificate and wants to see it.
func (c Certificate) configs() (listen, dial *tls.Config, err error) {
	pair, err := tls.X509KeyPair([]byte(c.Certificate), []byte(c.Key))
	if err != nil {
		return nil, nil, fmt.Errorf("cannot use the store's certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(c.Certificate)) {
		return nil, nil, errors.New("cannot use the store's certificate: it is not PEM")
	}
	// Whatever the machine's clock shows: one whose battery is empty shows 1970 or 2000, and its
	// node would be out until it has heard from a time server. Both ends have the very certificate.
	valid := func() time.Time { return pair.Leaf.NotAfter.Add(-time.Hour) }
	listen = &tls.Config{
		Time:         valid,
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair},
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}
	dial = &tls.Config{
		Time:         valid,
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair},
		RootCAs:      pool,
		ServerName:   serverName,
	}
	return listen, dial, nil
}

// Check says why a certificate cannot be used; nil when it can.
func (c Certificate) Check() error {
	_, _, err := c.configs()
	return err
}

package dqlite

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
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

// Fingerprint returns a short name of a certificate, PEM: the first 16 hex digits of its SHA-256;
// empty when it is none.
func Fingerprint(certificate string) string {
	block, _ := pem.Decode([]byte(certificate))
	if block == nil {
		return ""
	}
	sum := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(sum[:8])
}

// configs returns the two ends of a connection between nodes: each shows the cluster's
// certificate and wants to see it, or one of those that are trusted beside it.
func (c Certificate) configs(trusted ...string) (listen, dial *tls.Config, err error) {
	pair, err := tls.X509KeyPair([]byte(c.Certificate), []byte(c.Key))
	if err != nil {
		return nil, nil, fmt.Errorf("cannot use the store's certificate: %w", err)
	}
	pool := x509.NewCertPool()
	end := pair.Leaf.NotAfter
	for _, text := range append([]string{c.Certificate}, trusted...) {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return nil, nil, errors.New("cannot use the store's certificate: it is not PEM")
		}
		one, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot use the store's certificate: %w", err)
		}
		pool.AddCert(one)
		if one.NotAfter.Before(end) {
			end = one.NotAfter
		}
	}
	// Whatever the machine's clock shows: one whose battery is empty shows 1970 or 2000, and its
	// node would be out until it has heard from a time server. Both ends have the very certificate.
	valid := func() time.Time { return end.Add(-time.Hour) }
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

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/dcib/dcib/internal/relation/tlscertificates"
)

// authority is the folder of a certificate authority.
type authority string

// serve answers each client's certificate signing requests as self-signed-certificates does:
// with real certificates of an authority of its own, in the application's databag
// (canonical/tls-certificates-interface, v1 to v4). One that was answered keeps its answer.
func (dir authority) serve(endpoint string, run tool) error {
	if leads, err := run("is-leader", "--format", "json"); err != nil || leads != "true" {
		return err
	}
	clients, err := units(run, endpoint)
	if err != nil {
		return err
	}
	self := os.Getenv("JUJU_UNIT_NAME")
	for id, names := range clients {
		mine, err := bag(run, id, self, "--app")
		if err != nil {
			return err
		}
		issued := []tlscertificates.Issued{}
		for _, unit := range names {
			said, err := bag(run, id, unit)
			if err != nil {
				return err
			}
			var asked []struct {
				CSR string `json:"certificate_signing_request"`
			}
			if said["certificate_signing_requests"] == "" {
				continue
			}
			if err := json.Unmarshal([]byte(said["certificate_signing_requests"]), &asked); err != nil {
				return fmt.Errorf("cannot read what %s asks for: %w", unit, err)
			}
			for _, one := range asked {
				answer, ok, err := tlscertificates.Decode(mine, one.CSR)
				if err == nil && !ok {
					answer, err = dir.sign(one.CSR)
				}
				if err != nil {
					return fmt.Errorf("cannot answer %s: %w", unit, err)
				}
				issued = append(issued, answer)
			}
		}
		text, err := json.Marshal(issued)
		if err != nil {
			return fmt.Errorf("cannot answer %s: %w", id, err)
		}
		if string(text) == mine["certificates"] {
			continue
		}
		if _, err := run("relation-set", "-r", id, "--app", "certificates="+string(text)); err != nil {
			return err
		}
	}
	return nil
}

const year = 365 * 24 * time.Hour

// sign returns a server's certificate for a request.
func (dir authority) sign(csr string) (tlscertificates.Issued, error) {
	block, _ := pem.Decode([]byte(csr))
	if block == nil {
		return tlscertificates.Issued{}, errors.New("it is no request in PEM")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = request.CheckSignature()
	}
	if err != nil {
		return tlscertificates.Issued{}, err
	}
	ca, key, err := dir.open()
	if err != nil {
		return tlscertificates.Issued{}, err
	}
	number, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return tlscertificates.Issued{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: number, Subject: request.Subject,
		DNSNames: request.DNSNames, IPAddresses: request.IPAddresses,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(year),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, ca, request.PublicKey, key)
	if err != nil {
		return tlscertificates.Issued{}, err
	}
	certificate, root := encode(der), encode(ca.Raw)
	return tlscertificates.Issued{CSR: csr, Certificate: certificate, CA: root, Chain: []string{certificate, root}}, nil
}

func encode(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// open reads the authority, and makes it first where there is none.
func (dir authority) open() (*x509.Certificate, *ecdsa.PrivateKey, error) {
	path := filepath.Join(string(dir), "authority.pem")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if text, err = create(); err == nil {
			if err = os.MkdirAll(string(dir), 0o700); err == nil {
				err = os.WriteFile(path, text, 0o600)
			}
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cannot open the authority: %w", err)
	}
	first, rest := pem.Decode(text)
	second, _ := pem.Decode(rest)
	if first == nil || second == nil {
		return nil, nil, fmt.Errorf("cannot read the authority in %s", path)
	}
	ca, err := x509.ParseCertificate(first.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the authority in %s: %w", path, err)
	}
	key, err := x509.ParseECPrivateKey(second.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the authority in %s: %w", path, err)
	}
	return ca, key, nil
}

func create() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stand-in"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10 * year), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return append([]byte(encode(der)), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})...), nil
}

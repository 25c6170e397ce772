package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/relation/tlscertificates"
)

// What it issues is what our own client's side understands, and holds for whom it is about;
// asked again, it says the same.
func TestCertificates(t *testing.T) {
	t.Setenv("JUJU_UNIT_NAME", "ca/0")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"lxd.example"}}, key)
	require.NoError(t, err)
	csr := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	asked, err := json.Marshal(tlscertificates.Encode(csr))
	require.NoError(t, err)

	ca := authority(t.TempDir())
	answers := map[string]string{
		"is-leader --format json":                                      "true",
		"relation-ids certificates":                                    "certificates:3",
		"relation-list -r certificates:3":                              "lxd-cluster/1\nlxd-cluster/0",
		"relation-get -r certificates:3 --format json - ca/0 --app":    "{}",
		"relation-get -r certificates:3 --format json - lxd-cluster/0": string(asked),
		"relation-get -r certificates:3 --format json - lxd-cluster/1": "{}",
	}
	var set [][]string
	require.NoError(t, ca.serve("certificates", fake(answers, &set)))
	require.Len(t, set, 1)
	_, text, _ := strings.Cut(set[0][4], "=")
	mine := map[string]string{"certificates": text}
	issued, ok, err := tlscertificates.Decode(mine, csr)
	require.NoError(t, err)
	require.True(t, ok)
	root, leaf := x509.NewCertPool(), parse(t, issued.Certificate)
	require.True(t, root.AppendCertsFromPEM([]byte(issued.CA)))
	_, err = leaf.Verify(x509.VerifyOptions{Roots: root, DNSName: "lxd.example"})
	require.NoError(t, err)
	require.True(t, key.PublicKey.Equal(leaf.PublicKey))

	again, err := json.Marshal(mine)
	require.NoError(t, err)
	answers["relation-get -r certificates:3 --format json - ca/0 --app"] = string(again)
	set = nil
	require.NoError(t, ca.serve("certificates", fake(answers, &set)))
	require.Empty(t, set)

	answers["is-leader --format json"] = "false"
	require.NoError(t, ca.serve("certificates", fake(answers, &set)))
	require.Empty(t, set)
	_, err = ca.sign("no request")
	require.ErrorContains(t, err, "no request in PEM")
}

func parse(t *testing.T, text string) *x509.Certificate {
	block, _ := pem.Decode([]byte(text))
	require.NotNil(t, block)
	c, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return c
}

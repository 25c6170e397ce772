//go:build box

package maas

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/maas"
	"github.com/dcib/dcib/tests/testbed"
)

// testTLS has MAAS serve its API with a certificate of option tls-secret, and without one again.
// Meanwhile the charm uses the API, and racks go on.
func testTLS(t *testing.T) {
	certificate, key := selfSigned(t)
	dir := t.TempDir()
	put := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, text, 0o600))
		return path
	}
	id := strings.TrimSpace(box.Juju(t, "add-secret", "-m", metal, "tls", "certificate#file="+put("certificate", certificate), "key#file="+put("key", key)))
	box.Juju(t, "grant-secret", "-m", metal, "tls", region)
	box.Juju(t, "config", "-m", metal, region, "tls-secret="+id)
	leader := leaderOf(t, metal)
	box.WaitUnit(t, metal, leader, func(s testbed.State) bool {
		return s.Current == "active" && strings.Contains(s.Message, " at https://")
	})

	apiKey, _ := box.Action(t, metal, leader, "get-api-key", "reveal=true")["api-key"].(string)
	at := addressOf(t, box.Status(t, metal).Instance(t, leader))
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	get := func(path string) *http.Response {
		answer, err := client.Get("http://" + at + ":5240/MAAS/" + path)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		return answer
	}
	require.Equal(t, http.StatusMovedPermanently, get("api/2.0/version/").StatusCode)
	require.Equal(t, "https://"+at+":5443/MAAS/api/2.0/version/", get("api/2.0/version/").Header.Get("Location"))
	require.Equal(t, http.StatusOK, get("rpc/").StatusCode, "racks and machines need no TLS")
	secure, err := maas.New("https://"+at+":5443/MAAS", apiKey)
	require.NoError(t, err)
	require.NoError(t, secure.Pin(certificate))
	racks, err := secure.Racks(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, racks)
	require.Contains(t, box.Action(t, metal, leader, "list-controllers")["racks"], " running")
	units := len(box.Status(t, metal).Applications[rack].Units)
	box.WaitActive(t, metal, rack, units)
	box.WaitActive(t, metal, region, len(box.Status(t, metal).Applications[region].Units))

	box.Juju(t, "config", "-m", metal, region, "--reset", "tls-secret")
	box.WaitUnit(t, metal, leader, func(s testbed.State) bool { return s.Current == "active" && strings.Contains(s.Message, " at http://") })
	require.Equal(t, http.StatusOK, get("api/2.0/version/").StatusCode)
	requireSame(t)
}

// selfSigned makes a certificate for MAAS's name, and its key.
func selfSigned(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "maas.example"}, DNSNames: []string{"maas.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	text, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text})
}

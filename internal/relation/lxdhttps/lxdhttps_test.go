package lxdhttps

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func newCertificate(t *testing.T) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestRequestRoundTrip(t *testing.T) {
	want := Request{Certificate: newCertificate(t), Projects: []string{"a", "b"}}
	bag := want.Encode()
	require.Equal(t, "1.0", bag["version"])
	require.Equal(t, "a,b", bag["projects"])
	got, ok, err := DecodeRequest(bag)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, want, got)
}

func TestOfferRoundTrip(t *testing.T) {
	certificate := newCertificate(t)
	parsed, err := ParseCertificate(certificate)
	require.NoError(t, err)
	want := Offer{Certificate: certificate, Fingerprint: Fingerprint(parsed), Addresses: []string{"10.0.0.1:8443", "10.0.0.2:8443"}}
	bag := want.Encode()
	require.Equal(t, "10.0.0.1:8443,10.0.0.2:8443", bag["addresses"])
	got, ok, err := DecodeOffer(bag)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, want, got)
}

func TestNothingSaidYet(t *testing.T) {
	_, ok, err := DecodeRequest(map[string]string{"ingress-address": "10.0.0.1"})
	require.NoError(t, err)
	require.False(t, ok)
	_, ok, err = DecodeOffer(nil)
	require.NoError(t, err)
	require.False(t, ok)
}

func TestUnusable(t *testing.T) {
	certificate := newCertificate(t)
	for name, test := range map[string]struct {
		bag  map[string]string
		want string
	}{
		"other version":  {map[string]string{"version": "2.0", "certificate": certificate}, `version "2.0"`},
		"no version":     {map[string]string{"certificate": certificate}, `version ""`},
		"no certificate": {map[string]string{"version": "1.0"}, "it is empty"},
		"no PEM":         {map[string]string{"version": "1.0", "certificate": "hello"}, "wanted a PEM block"},
		"not base64":     {map[string]string{"version": "1.0", "certificate": strings.Replace(certificate, "\nM", "\n!", 1)}, "cannot read certificate"},
		"no project":     {map[string]string{"version": "1.0", "certificate": certificate, "projects": "a,b\nc"}, "not names of LXD projects"},
		"huge":           {map[string]string{"version": "1.0", "certificate": strings.Repeat("x", 70<<10)}, "wanted at most 65536"},
		"two":            {map[string]string{"version": "1.0", "certificate": certificate + certificate}, "nothing after it"},
	} {
		t.Run(name, func(t *testing.T) {
			_, ok, err := DecodeRequest(test.bag)
			require.ErrorContains(t, err, test.want)
			require.False(t, ok)
		})
	}
	_, _, err := DecodeOffer(map[string]string{"version": "1.0", "certificate": certificate, "addresses": "a:1", "certificate_fingerprint": "00"})
	require.ErrorContains(t, err, "certificate_fingerprint says 00")
	_, _, err = DecodeOffer(map[string]string{"version": "1.0", "certificate": certificate, "addresses": " , "})
	require.ErrorContains(t, err, "names no addresses")
	for _, address := range []string{"a", "a:1/x", "user@a:1", "a:1\nb", "[::1]", "a:123456", "https://a:1"} {
		_, _, err = DecodeOffer(map[string]string{"version": "1.0", "certificate": certificate, "addresses": "10.0.0.1:8443," + address})
		require.ErrorContains(t, err, "is not host:port", address)
	}
}

func TestCertificateWithBlanksForLineEnds(t *testing.T) {
	certificate := newCertificate(t)
	want, err := ParseCertificate(certificate)
	require.NoError(t, err)
	got, err := ParseCertificate(strings.ReplaceAll(certificate, "\n", " "))
	require.NoError(t, err)
	require.Equal(t, want.Raw, got.Raw)
}

// Whatever a client or a provider writes is read or refused, and what is read is what may be
// part of a command, a URL or a status.
func FuzzDecode(f *testing.F) {
	f.Add("1.0", "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----", "a,b", "10.0.0.1:8443")
	f.Add("", "", "", "")
	f.Fuzz(func(t *testing.T, version, certificate, projects, addresses string) {
		bag := map[string]string{"version": version, "certificate": certificate, "projects": projects, "addresses": addresses}
		r, ok, err := DecodeRequest(bag)
		require.False(t, ok && err != nil)
		if ok {
			require.NotContains(t, strings.Join(r.Projects, ","), "\n")
		}
		o, ok, err := DecodeOffer(bag)
		require.False(t, ok && err != nil)
		if ok {
			require.NotEmpty(t, o.Addresses)
		}
	})
}

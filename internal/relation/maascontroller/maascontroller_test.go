package maascontroller

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// These are the keys that upstream's library reads and writes.
func TestTheKeysAreUpstreams(t *testing.T) {
	require.Equal(t, map[string]string{
		"api_url": "http://10.0.0.1:5240/MAAS", "regions": `["a","b"]`, "maas_secret_id": "secret:x",
	}, Offer{URL: "http://10.0.0.1:5240/MAAS", Regions: []string{"b", "a"}, SecretID: "secret:x"}.Encode())
	require.Equal(t, `[]`, Offer{}.Encode()["regions"])
	require.Equal(t, map[string]string{
		"unit": "maas-rack/0", "url": "rack0.maas", "dcib-system-id": "abc123", "dcib-version": "1",
	}, Rack{Unit: "maas-rack/0", FQDN: "rack0.maas", SystemID: "abc123", Version: "1"}.Encode())
	require.Equal(t, "enroll-maas-3.secret", SecretLabel("maas:3"))
}

func TestDecodeOffer(t *testing.T) {
	o := Offer{URL: "https://maas.example/MAAS", Regions: []string{"a"}, SecretID: "secret:x"}
	got, ok, err := DecodeOffer(o.Encode())
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, o, got)
	for _, unfinished := range []map[string]string{nil, {"api_url": "http://a"}, {"maas_secret_id": "secret:x"}} {
		_, ok, err = DecodeOffer(unfinished)
		require.NoError(t, err)
		require.False(t, ok)
	}
	for url, why := range map[string]string{
		"maas.example": "wanted a URL", "ftp://a/": "wanted a URL", "http://u:p@a/MAAS": "without user",
		"http://a/MAAS?x=1": "without user", "http://": "wanted a URL", "http://a/M S": "wanted a URL", "http://[": "no URL",
	} {
		_, _, err = DecodeOffer(map[string]string{"api_url": url, "maas_secret_id": "secret:x"})
		require.ErrorContains(t, err, why, url)
	}
	_, _, err = DecodeOffer(map[string]string{"api_url": "http://a", "maas_secret_id": "s", "regions": "a,b"})
	require.ErrorContains(t, err, "cannot read regions")
}

func TestDecodeRack(t *testing.T) {
	r := Rack{Unit: "maas-rack/0", FQDN: "rack0.maas", SystemID: "abc123", Version: "1:3.7.3"}
	got, ok, err := DecodeRack(r.Encode())
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, r, got)
	got, ok, err = DecodeRack(map[string]string{"unit": "maas-agent/0", "url": "a.maas"})
	require.NoError(t, err)
	require.True(t, ok, "upstream's agent says no more")
	require.Empty(t, got.SystemID)
	_, ok, err = DecodeRack(nil)
	require.NoError(t, err)
	require.False(t, ok)
	_, _, err = DecodeRack(map[string]string{"unit": "u/0", "url": "a", "dcib-system-id": "../users/admin"})
	require.ErrorContains(t, err, "wanted letters and digits")
}

func FuzzDecode(f *testing.F) {
	f.Add("http://a:5240/MAAS", `["a"]`, "secret:x", "maas-rack/0", "a", "abc")
	f.Fuzz(func(t *testing.T, url, regions, secret, unit, fqdn, id string) {
		o, ok, err := DecodeOffer(map[string]string{"api_url": url, "regions": regions, "maas_secret_id": secret})
		require.False(t, ok && err != nil)
		if ok {
			require.NoError(t, CheckURL(o.URL))
			_, ok, err = DecodeOffer(o.Encode())
			require.True(t, ok && err == nil)
		}
		r, ok, err := DecodeRack(map[string]string{"unit": unit, "url": fqdn, "dcib-system-id": id})
		require.False(t, ok && err != nil)
		if ok {
			again, _, err := DecodeRack(r.Encode())
			require.NoError(t, err)
			require.Equal(t, r, again)
		}
	})
}

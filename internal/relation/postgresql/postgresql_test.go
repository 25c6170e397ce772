package postgresql

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEncode(t *testing.T) {
	bag := Encode("maas_region_db")
	require.Equal(t, map[string]string{"database": "maas_region_db", "requested-secrets": `["username","password"]`}, bag)
	require.True(t, Asked(bag, "maas_region_db"))
	require.False(t, Asked(bag, "other"))
	require.False(t, Asked(nil, "maas_region_db"))
}

func TestDecode(t *testing.T) {
	bag := map[string]string{"endpoints": "10.0.0.5:5432,10.0.0.6:5432", "secret-user": "secret:u", "database": "maas_region_db"}
	s, ok, err := Decode(bag, "asked")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, Server{Host: "10.0.0.5", Port: 5432, Database: "maas_region_db", SecretID: "secret:u"}, s)
	username, password, err := s.User(map[string]string{"username": "u", "password": "p"})
	require.NoError(t, err)
	require.Equal(t, "u p", username+" "+password)
	_, _, err = s.User(map[string]string{"username": "u"})
	require.ErrorContains(t, err, "lacks field")

	s, ok, err = Decode(map[string]string{"endpoints": "[fd00::5]:5433", "username": "u", "password": "p"}, "asked")
	require.NoError(t, err)
	require.True(t, ok, "an older server")
	require.Equal(t, "fd00::5", s.Host)
	require.Equal(t, "asked", s.Database)
	username, password, err = s.User(nil)
	require.NoError(t, err)
	require.Equal(t, "u p", username+" "+password)

	for _, unfinished := range []map[string]string{nil, {"endpoints": "a:1"}, {"secret-user": "s"}, {"endpoints": "a:1", "username": "u"}} {
		_, ok, err = Decode(unfinished, "asked")
		require.NoError(t, err)
		require.False(t, ok)
	}
	for _, bad := range []string{"10.0.0.5", "a:b", ":5432", "a:0", "a:65536", ","} {
		_, _, err = Decode(map[string]string{"endpoints": bad, "username": "u", "password": "hunter2"}, "asked")
		require.ErrorContains(t, err, "wanted host:port", bad)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("10.0.0.5:5432", "secret:u", "u", "p")
	f.Fuzz(func(t *testing.T, endpoints, secret, username, password string) {
		s, ok, err := Decode(map[string]string{"endpoints": endpoints, "secret-user": secret, "username": username, "password": password}, "d")
		require.False(t, ok && err != nil)
		if ok {
			require.True(t, s.Host != "" && s.Port > 0 && s.Port <= 65535)
		}
	})
}

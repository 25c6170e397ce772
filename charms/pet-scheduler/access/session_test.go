package access

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/relation/lxdhttps"
)

// The second connection resumes the first one's session, for the one who is the same and asks the
// same; whatever else is found in the file is a handshake like the first.
func TestSessions(t *testing.T) {
	offer, _ := lxd(t)
	dir := filepath.Join(t.TempDir(), "unit")
	require.NoError(t, Create(dir, "pet-scheduler/0"))
	file := filepath.Join(dir, sessionFile)
	// resumes connects and asks, and reports whether that resumed a session.
	resumes := func(offer lxdhttps.Offer) bool {
		t.Helper()
		id, ok, err := Load(dir)
		require.NoError(t, err)
		require.True(t, ok)
		certificate, err := lxdhttps.ParseCertificate(offer.Certificate)
		require.NoError(t, err)
		config := tlsConfig(certificate, id)
		server, err := Connect(t.Context(), offer, id, nil)
		require.NoError(t, err)
		got, _, err := server.GetServer()
		require.NoError(t, err)
		require.Equal(t, "pet-scheduler/0", got.Auth, "LXD sees who it is all the same")
		conn, err := dial(t.Context(), offer.Addresses[0], config)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		return config.ClientSessionCache.(*sessions).resumed.Load()
	}
	require.NoFileExists(t, file)
	require.True(t, resumes(offer), "the first has left a session")
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	first, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, resumes(offer))
	again, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, first, again, "a session that serves stays")

	old := time.Now().Add(-stale)
	require.NoError(t, os.Chtimes(file, old, old))
	require.True(t, resumes(offer))
	again, err = os.ReadFile(file)
	require.NoError(t, err)
	require.NotEqual(t, first, again)

	for name, text := range map[string]string{"nothing": "", "no JSON": "{", "no session": `{"Ends": "x", "Ticket": "eA==", "State": "eA=="}`} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		require.True(t, resumes(offer), "%s: it was replaced", name)
	}

	// Another LXD, which cannot know the session, and must show its own certificate.
	other, _ := lxd(t)
	require.True(t, resumes(other))
	require.True(t, resumes(offer))

	require.NoError(t, os.Remove(filepath.Join(dir, certificateFile)))
	require.NoError(t, Create(dir, "pet-scheduler/0"))
	id, _, err := Load(dir)
	require.NoError(t, err)
	certificate, err := lxdhttps.ParseCertificate(offer.Certificate)
	require.NoError(t, err)
	config := tlsConfig(certificate, id)
	conn, err := dial(t.Context(), offer.Addresses[0], config)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.False(t, config.ClientSessionCache.(*sessions).resumed.Load(), "a renewed identity shows itself")
}

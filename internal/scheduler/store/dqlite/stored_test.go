package dqlite

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStored(t *testing.T) {
	for name, c := range map[string]struct {
		text        string
		ok, founded bool
		address     string
	}{
		"empty":   {"", false, false, ""},
		"garbage": {"\x00\x00\x00", false, false, ""},
		"half":    {"ID: 7\n", false, false, ""},
		"joined":  {"ID: 7\nAddress: 10.0.0.2:17666\n", true, false, "10.0.0.2:17666"},
		"founded": {"ID: 3297041220608546238\nAddress: 10.0.0.1:17666\n", true, true, "10.0.0.1:17666"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, _, ok, err := Stored(dir)
			require.NoError(t, err)
			require.False(t, ok)
			require.NoError(t, os.WriteFile(filepath.Join(dir, identityFile), []byte(c.text), 0o600))
			address, founded, ok, err := Stored(dir)
			require.NoError(t, err)
			assert.Equal(t, c.ok, ok)
			assert.Equal(t, c.founded, founded)
			assert.Equal(t, c.address, address)
		})
	}
}

// Machines whose clocks are wrong by decades are in the store all the same. The clock of a bubble
// shows the year 2000.
func TestCertificateWhateverTheClock(t *testing.T) {
	now, err := NewCertificate()
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		lost, err := NewCertificate()
		require.NoError(t, err)
		for name, c := range map[string]struct {
			certificate Certificate
			wait        time.Duration
		}{"made now, used in 2000": {now, 0}, "made in 2000, used in 2040": {lost, 40 * 365 * 24 * time.Hour}} {
			time.Sleep(c.wait)
			listen, dial, err := c.certificate.configs()
			require.NoError(t, err)
			a, b := net.Pipe()
			done := make(chan error, 1)
			go func() { done <- tls.Server(a, listen).HandshakeContext(t.Context()) }()
			assert.NoError(t, tls.Client(b, dial).HandshakeContext(t.Context()), name)
			assert.NoError(t, <-done, name)
			_, _ = a.Close(), b.Close()
		}
	})
}

//go:build cgo && libsqlite3

package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/scheduler/store/dqlite"
)

// The store's certificate is changed under running daemons; who has the old one is out afterwards.
func TestRotation(t *testing.T) {
	u := newUnits(t, 3)
	old := u.configs[0].Certificate
	next, err := dqlite.NewCertificate()
	require.NoError(t, err)
	// out reports whether a node refuses one who shows the certificate.
	out := func(n int, c dqlite.Certificate) bool {
		pair, err := tls.X509KeyPair([]byte(c.Certificate), []byte(c.Key))
		require.NoError(t, err)
		conn, err := tls.Dial("tcp", u.configs[n].Address, &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true})
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Second)))
		_, err = conn.Read(make([]byte, 1))
		require.Error(t, err)
		return !errors.Is(err, os.ErrDeadlineExceeded)
	}
	step := func(n int, shown dqlite.Certificate, trusted ...string) {
		c := &u.configs[n]
		c.Certificate, c.Trusted = shown, trusted
		require.NoError(t, c.Write(u.dirs[n]))
		want := []string{dqlite.Fingerprint(shown.Certificate)}
		for _, text := range trusted {
			want = append(want, dqlite.Fingerprint(text))
		}
		require.Eventually(t, func() bool {
			s, err := u.client(n).Status(context.Background())
			return err == nil && len(s.Certificates) == len(want) && s.Certificates[0] == want[0]
		}, within, 50*time.Millisecond)
		for m := range 3 {
			require.Eventually(t, func() bool {
				s, err := u.client(m).Status(context.Background())
				return err == nil && s.Open && s.Acting != ""
			}, within, 50*time.Millisecond, "unit %d, after a step of %d", m, n)
		}
	}
	for n := range 3 {
		step(n, old, next.Certificate)
	}
	for n := range 3 {
		step(n, next, old.Certificate)
	}
	require.False(t, out(0, old))
	for n := range 3 {
		step(n, next)
	}
	for n := range 3 {
		require.True(t, out(n, old))
		require.False(t, out(n, next))
	}
	// All of it works: a unit that begins again too.
	u.stop(1)
	u.start(1)
	u.configure(func(c *control.Config) { c.Pets = "pets:\n- {name: big, member: m1}\n" })
	for n := range 3 {
		u.pet(n, "big", state("shared"))
	}
}

package access

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/relation/lxdhttps"
)

func identity(t *testing.T) Identity {
	// Not t.TempDir: a connection that a test has done with may keep its session a moment later, and the
	// folder, emptied, is then not empty.
	temporary, err := os.MkdirTemp("", "identity")
	require.NoError(t, err)
	t.Cleanup(func() {
		require.Eventually(t, func() bool { return os.RemoveAll(temporary) == nil }, 10*time.Second, time.Millisecond)
	})
	dir := filepath.Join(temporary, "unit")
	require.NoError(t, Create(dir, "pet-scheduler/0"))
	id, ok, err := Load(dir)
	require.NoError(t, err)
	require.True(t, ok)
	return id
}

func TestIdentity(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "unit")
	_, ok, err := Load(dir)
	require.NoError(t, err)
	require.False(t, ok)

	require.NoError(t, Create(dir, "pet-scheduler/0"))
	id, ok, err := Load(dir)
	require.NoError(t, err)
	require.True(t, ok)
	certificate, err := lxdhttps.ParseCertificate(id.Certificate)
	require.NoError(t, err)
	require.Equal(t, "pet-scheduler/0", certificate.Subject.CommonName)
	require.Greater(t, time.Until(certificate.NotAfter), 9*365*24*time.Hour)
	info, err := os.Stat(filepath.Join(dir, "client.key"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	require.NoError(t, Create(dir, "pet-scheduler/0"), "once more")
	again, _, err := Load(dir)
	require.NoError(t, err)
	require.Equal(t, id.Certificate, again.Certificate)

	// Emptied by a power loss: another is made, and what may read it stays.
	for _, name := range []string{"client.key", "client.crt"} {
		require.NoError(t, os.Chmod(filepath.Join(dir, name), 0o640))
		require.NoError(t, os.Truncate(filepath.Join(dir, name), 0))
		_, ok, err = Load(dir)
		require.NoError(t, err)
		require.False(t, ok, name)
		require.NoError(t, Create(dir, "pet-scheduler/0"))
		_, ok, err = Load(dir)
		require.NoError(t, err)
		require.True(t, ok, name)
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
	}

	// Killed between the key and the certificate.
	other := filepath.Join(t.TempDir(), "other")
	require.NoError(t, Create(other, "x"))
	text, err := os.ReadFile(filepath.Join(other, "client.key"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "client.key"), text, 0o600))
	_, ok, err = Load(dir)
	require.NoError(t, err)
	require.False(t, ok)
	require.NoError(t, Create(dir, "pet-scheduler/0"))
	_, ok, err = Load(dir)
	require.NoError(t, err)
	require.True(t, ok)
}

// answered counts the requests that any lxd was sent.
var answered atomic.Int32

// lxd serves an API that answers like LXD's root, and shows who asked.
func lxd(t *testing.T) (lxdhttps.Offer, *atomic.Int32) {
	offer, connections := members(t, "one")
	return offer, connections[0]
}

// members serves the same for each member of a cluster, in the order of their names, and counts
// the connections of each.
func members(t *testing.T, names ...string) (lxdhttps.Offer, []*atomic.Int32) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"some-other-name"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	offer := lxdhttps.Offer{Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
	var counts []*atomic.Int32
	urls := map[string]string{}
	for _, name := range names {
		connections := new(atomic.Int32)
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answered.Add(1)
			var answer any = api.Server{
				ServerUntrusted: api.ServerUntrusted{Auth: r.TLS.PeerCertificates[0].Subject.CommonName, APIExtensions: []string{"clustering"}},
				Environment:     api.ServerEnvironment{ServerName: name},
			}
			if member, ok := strings.CutPrefix(r.URL.Path, "/1.0/cluster/members/"); ok {
				answer = api.ClusterMember{ServerName: member, URL: urls[member]}
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"type": "sync", "status_code": 200, "metadata": answer})
		}))
		server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, ClientAuth: tls.RequireAnyClientCert}
		server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				connections.Add(1)
			}
		}
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		t.Cleanup(server.Close)
		counts, urls[name] = append(counts, connections), server.URL
		offer.Addresses = append(offer.Addresses, server.Listener.Addr().String())
	}
	return offer, counts
}

// The member on which the work is is asked itself; where it cannot be reached, or no one has
// heard of it, another does.
func TestReach(t *testing.T) {
	offer, connections := members(t, "one", "two")
	id := identity(t)
	near, err := ConnectPerMember(t.Context(), offer, id, nil)
	require.NoError(t, err)
	for range 2 {
		for member, want := range map[string]string{"one": "one", "two": "two", "three": "one", "": "one"} {
			got, _, err := near(member).GetServer()
			require.NoError(t, err)
			require.Equal(t, want, got.Environment.ServerName, "asked for %s", member)
		}
	}
	for n, c := range connections {
		require.EqualValues(t, 1, c.Load(), "connections to %d", n)
	}
	offer.Addresses = []string{"127.0.0.1:1"}
	_, err = ConnectPerMember(t.Context(), offer, id, nil)
	require.ErrorContains(t, err, "cannot reach LXD: 127.0.0.1:1: ")
}

func TestConnect(t *testing.T) {
	offer, connections := lxd(t)
	// A member that refuses, and one that listens and says nothing.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = silent.Close() }()
	offer.Addresses = append([]string{"127.0.0.1:1", silent.Addr().String()}, offer.Addresses...)
	start := time.Now()
	server, err := Connect(t.Context(), offer, identity(t), nil)
	require.NoError(t, err)
	for range 3 {
		got, _, err := server.GetServer()
		require.NoError(t, err)
		require.Equal(t, "pet-scheduler/0", got.Auth)
	}
	require.Less(t, time.Since(start), 2*dialTimeout)
	require.EqualValues(t, 1, connections.Load(), "one handshake for all")
}

func TestConnectTrustsThePinnedCertificateOnly(t *testing.T) {
	offer, _ := lxd(t)
	other, _ := lxd(t)
	offer.Addresses = other.Addresses
	_, err := Connect(t.Context(), offer, identity(t), nil)
	require.ErrorContains(t, err, "cannot reach LXD: "+other.Addresses[0]+": it does not show the certificate that the relation names")
}

func TestConnectIsBounded(t *testing.T) {
	offer, _ := lxd(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Connect(ctx, offer, identity(t), nil)
	require.ErrorContains(t, err, "canceled")
}

// Who may not act any more sends nothing, neither on a connection that is there nor on a
// new one.
func TestConnectIsFenced(t *testing.T) {
	offer, _ := lxd(t)
	over := errors.New("the term is over")
	var lost atomic.Bool
	var asked atomic.Int32
	server, err := Connect(t.Context(), offer, identity(t), func() error {
		asked.Add(1)
		if lost.Load() {
			return over
		}
		return nil
	})
	require.NoError(t, err)
	_, _, err = server.GetServer()
	require.NoError(t, err)
	require.NotZero(t, asked.Load())
	lost.Store(true)
	before := answered.Load()
	for range 3 {
		_, _, err = server.GetServer()
		require.ErrorContains(t, err, over.Error())
	}
	require.Equal(t, before, answered.Load())
}

// Package access is how pet-scheduler reaches LXD: the client certificate that each unit
// makes for itself, and a connection that pins the server's.
package access

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	lxdclient "github.com/canonical/lxd/client"

	"github.com/dcib/dcib/internal/host/atomicfile"
	"github.com/dcib/dcib/internal/relation/lxdhttps"
)

// Names of the files in a unit's state directory.
const (
	keyFile         = "client.key"
	certificateFile = "client.crt"
)

// Lifetimes of a client certificate. LXD trusts it by its fingerprint and not by its dates,
// but other tools do look at them.
const (
	lifetime = 10 * 365 * 24 * time.Hour
	renew    = 30 * 24 * time.Hour // before its end
)

// Identity is a unit's client certificate with its key. The key never leaves the unit.
type Identity struct {
	Certificate string // PEM
	pair        tls.Certificate
	sessions    string // where sessions with LXD are kept
}

// KeepSessions returns the identity with its TLS sessions with LXD kept in another folder than
// that of its files: a daemon that may not write there has one of its own.
func (id Identity) KeepSessions(dir string) Identity {
	id.sessions = dir
	return id
}

// Load reads the identity in dir. ok is false when there is none that can be used for
// another month, and Create should make one.
func Load(dir string) (id Identity, ok bool, err error) {
	certificate, err := atomicfile.Read(filepath.Join(dir, certificateFile))
	if atomicfile.Unusable(err) {
		return Identity{}, false, nil
	}
	if err != nil {
		return Identity{}, false, fmt.Errorf("cannot read the client certificate: %w", err)
	}
	key, err := atomicfile.Read(filepath.Join(dir, keyFile))
	if atomicfile.Unusable(err) {
		return Identity{}, false, nil
	}
	if err != nil {
		return Identity{}, false, fmt.Errorf("cannot read the client key: %w", err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil || time.Until(pair.Leaf.NotAfter) < renew {
		// Half of an older pair, left by a unit that was killed: make another.
		return Identity{}, false, nil
	}
	return Identity{Certificate: string(certificate), pair: pair, sessions: dir}, true, nil
}

// Create makes an identity for a unit in dir, unless a good one is there.
func Create(dir, unit string) error {
	if _, ok, err := Load(dir); ok || err != nil {
		return err
	}
	return Make(dir, unit)
}

// Make makes an identity for a unit in dir, in the place of one that is there.
func Make(dir, unit string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the unit's state directory: %w", err)
	}
	// As strong as LXD's P-384 for this use, and several times faster in each hook.
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("cannot make a client key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return fmt.Errorf("cannot make a client certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: unit, Organization: []string{"dcib"}},
		NotBefore:    time.Unix(0, 0), // also where a machine has lost its clock
		NotAfter:     time.Now().Add(lifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return fmt.Errorf("cannot make a client certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("cannot encode the client key: %w", err)
	}
	for _, file := range []struct {
		name, kind string
		der        []byte
		mode       fs.FileMode
	}{{keyFile, "PRIVATE KEY", keyDER, 0o600}, {certificateFile, "CERTIFICATE", der, 0o644}} {
		text := pem.EncodeToMemory(&pem.Block{Type: file.kind, Bytes: file.der})
		// One that is replaced passes on that the daemon may read it.
		if err := atomicfile.Write(filepath.Join(dir, file.name), text, atomicfile.Options{Mode: file.mode, Keep: true}); err != nil {
			return fmt.Errorf("cannot keep the client certificate: %w", err)
		}
	}
	return nil
}

// How long a member may take to be reached and to answer before the next one is tried.
const (
	dialTimeout   = 3 * time.Second // handshake included
	answerTimeout = 60 * time.Second
)

// Connect reaches the first of the offer's addresses that answers and shows the offer's
// certificate. The error says of each why it did not do. The context is for the life of
// the connection, which is closed when it ends. Before anything is sent, checkLease is called unless
// it is nil, and its error is why that failed.
func Connect(ctx context.Context, offer lxdhttps.Offer, id Identity, checkLease func() error) (lxdclient.InstanceServer, error) {
	server, err := lxdhttps.ParseCertificate(offer.Certificate)
	if err != nil {
		return nil, err
	}
	config := tlsConfig(server, id)
	var problems []string
	for _, address := range offer.Addresses {
		first, err := dial(ctx, address, config)
		if err != nil {
			problems = append(problems, address+": "+err.Error())
			continue
		}
		return lxdclient.ConnectLXDWithContext(ctx, "https://"+address, &lxdclient.ConnectionArgs{
			UserAgent: "dcib-pet-scheduler",
			// The pin is ours, below; without this the library reads all of the system's
			// authorities first, for a quarter of the hook's time.
			TLSCA:         offer.Certificate,
			SkipGetServer: true,
			TransportWrapper: func(t *http.Transport) lxdclient.HTTPTransporter {
				context.AfterFunc(ctx, t.CloseIdleConnections)
				return transport{tune(t, config, first, checkLease)}
			},
		})
	}
	return nil, fmt.Errorf("cannot reach LXD: %s", strings.Join(problems, "; "))
}

// MemberClient returns a connection to the member of that name. It returns at once where there is one;
// where that member cannot be reached, and for "", it is one to any member, which passes on what
// is for another.
type MemberClient func(member string) lxdclient.InstanceServer

// ConnectPerMember is Connect to each member itself. A member passes on what is for another one over a
// connection that it makes for each request, so it is worth asking the one on which the work is:
// lxd 5.0.2, lxd/cluster/connect.go. LXD has been asked what it can do.
func ConnectPerMember(ctx context.Context, offer lxdhttps.Offer, id Identity, checkLease func() error) (MemberClient, error) {
	some, name, err := prepared(ctx, offer, id, checkLease)
	if err != nil {
		return nil, err
	}
	direct := func(member string) lxdclient.InstanceServer {
		if member == "" || member == name {
			return some
		}
		there, _, err := some.GetClusterMember(member)
		if err != nil {
			return some
		}
		only := offer
		only.Addresses = []string{strings.TrimPrefix(there.URL, "https://")}
		if server, _, err := prepared(ctx, only, id, checkLease); err == nil {
			return server
		}
		return some
	}
	var mu sync.Mutex
	members := map[string]func() lxdclient.InstanceServer{}
	return func(member string) lxdclient.InstanceServer {
		mu.Lock()
		once := members[member]
		if once == nil {
			once = sync.OnceValue(func() lxdclient.InstanceServer { return direct(member) })
			members[member] = once
		}
		mu.Unlock() // who waits for a member that does not answer holds up no one else
		return once()
	}, nil
}

// prepared is Connect and Prepare.
func prepared(ctx context.Context, offer lxdhttps.Offer, id Identity, checkLease func() error) (lxdclient.InstanceServer, string, error) {
	server, err := Connect(ctx, offer, id, checkLease)
	if err != nil {
		return nil, "", err
	}
	name, err := Prepare(server)
	return server, name, err
}

// Prepare has the client library ask LXD what it can do, by which it goes, and returns the member's
// name. For a hook, which needs none of that, it would be half of its time.
func Prepare(server lxdclient.InstanceServer) (member string, err error) {
	self, _, err := server.GetServer()
	if err != nil {
		return "", fmt.Errorf("cannot ask LXD what it can do: %w", err)
	}
	return self.Environment.ServerName, nil
}

// tlsConfig pins the server's very certificate: every member of a cluster shows the same
// one, whatever its address, and no authority signed it.
func tlsConfig(server *x509.Certificate, id Identity) *tls.Config {
	known := newSessions(id.sessions, server.Raw, id.pair.Leaf.Raw)
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		Certificates:       []tls.Certificate{id.pair},
		ClientSessionCache: known,
		InsecureSkipVerify: true, // in favour of VerifyConnection, which is stricter
		VerifyConnection: func(state tls.ConnectionState) error {
			known.resumed.Store(state.DidResume)
			if len(state.PeerCertificates) == 0 || !bytes.Equal(state.PeerCertificates[0].Raw, server.Raw) {
				return errors.New("it does not show the certificate that the relation names")
			}
			return nil
		},
	}
}

// dial connects to a server with the right certificate.
func dial(ctx context.Context, address string, config *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	dialer := tls.Dialer{NetDialer: &net.Dialer{KeepAlive: 3 * time.Second}, Config: config}
	return dialer.DialContext(ctx, "tcp", address)
}

// tune makes the library's transport ours: first, the connection that is there already, is
// used for all requests instead of a handshake each; the pin; no waiting for the dead.
func tune(t *http.Transport, config *tls.Config, first net.Conn, checkLease func() error) *http.Transport {
	var once sync.Once
	t.DialTLSContext = func(ctx context.Context, _, address string) (conn net.Conn, err error) {
		once.Do(func() { conn = first })
		if conn == nil {
			conn, err = dial(ctx, address, config)
		}
		if err == nil && checkLease != nil {
			conn = fenced{conn, checkLease}
		}
		return conn, err
	}
	// Websockets dial for themselves, with these two.
	t.TLSClientConfig = config
	t.DialContext = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 3 * time.Second}).DialContext
	t.DisableKeepAlives = false
	t.MaxIdleConnsPerHost = 16 // each move slot has a request in progress, and more when a move ends
	t.Proxy = nil
	t.ResponseHeaderTimeout = answerTimeout
	return t
}

// fenced is a connection whose owner's right to use it ends. It is asked for here and not
// before a request is made: a process that was frozen in between would send it afterwards.
type fenced struct {
	net.Conn
	checkLease func() error
}

// Write implements net.Conn.
func (f fenced) Write(b []byte) (int, error) {
	if err := f.checkLease(); err != nil {
		return 0, err
	}
	return f.Conn.Write(b)
}

// transport is how the library wants to be given one.
type transport struct{ inner *http.Transport }

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t.inner.RoundTrip(r) }

// Transport implements lxdclient.HTTPTransporter.
func (t transport) Transport() *http.Transport { return t.inner }

package region

import (
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
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/testkit/machine"
)

// issued is a certificate with its key and the authority that signed it, as PEM.
type issued struct{ certificate, key, cacert string }

// issue makes a certificate for MAAS's name that is valid until then.
func issue(t require.TestingT, until time.Time) issued {
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	keys := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		return key
	}
	authority, key := keys(), keys()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Unix(1700000000, 0), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "maas.example"}, DNSNames: []string{"maas.example"},
		NotBefore: ca.NotBefore, NotAfter: until,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, authority.Public(), authority)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), authority)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return issued{encode("CERTIFICATE", der), encode("PRIVATE KEY", keyDER), encode("CERTIFICATE", caDER)}
}

// redirects answers as nginx does in front of a region that has TLS
// (regiond.nginx.conf.template in MAAS's source): it redirects all but what racks and machines use.
func (s *site) redirects(m *machinetest.Machine, address string, w http.ResponseWriter, req *http.Request) bool {
	server := s.secure[address]
	if server == nil || strings.HasPrefix(req.URL.Path, "/MAAS/rpc/") || strings.HasPrefix(req.URL.Path, "/MAAS/api/2.0/machines") {
		return false
	}
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(s.t, err)
	http.Redirect(w, req, "https://maas.example:"+port+req.URL.RequestURI(), http.StatusMovedPermanently)
	return true
}

// configureNginx is what regiond does when it starts, and when config-tls notifies it of a change. The
// files stay when TLS is disabled.
func (s *site) configureNginx(m *machinetest.Machine, address string, d *db) {
	if old := s.secure[address]; old != nil && (d.tls == nil || !s.torn) {
		old.Close()
		delete(s.secure, address)
	}
	if d.tls == nil {
		return
	}
	m.Put(certificateFile, d.tls.certificate+d.tls.cacert)
	if s.secure[address] != nil {
		return
	}
	pair, err := tls.X509KeyPair([]byte(d.tls.certificate+d.tls.cacert), []byte(d.tls.key))
	require.NoError(s.t, err)
	for unit, other := range s.machines {
		if other == m {
			server := httptest.NewUnstartedServer(s.handlers[unit])
			server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
			server.StartTLS()
			s.secure[address] = server
			s.servers = append(s.servers, server)
		}
	}
}

// configTLS is maas config-tls (src/maasserver/management/commands/config_tls.py).
func (s *site) configTLS(m *machinetest.Machine, d *db, args []string) error {
	var paths []string
	yes, cas := false, ""
	for n := 1; n < len(args); n++ {
		switch args[n] {
		case "--yes":
			yes = true
		case "--cacert":
			n++
			cas = args[n]
		default:
			require.False(s.t, strings.HasPrefix(args[n], "-"), args[n])
			paths = append(paths, args[n])
		}
	}
	read := func(path string) string {
		info, err := os.Stat(path)
		require.NoError(s.t, err)
		require.Equal(s.t, fs.FileMode(0o600), info.Mode(), path)
		text, err := os.ReadFile(path)
		require.NoError(s.t, err)
		return string(text)
	}
	var enabled *issued
	switch args[0] {
	case "enable":
		require.True(s.t, yes, "it asks")
		require.Len(s.t, paths, 2)
		enabled = &issued{key: read(paths[0]), certificate: read(paths[1])}
		if cas != "" {
			enabled.cacert = read(cas)
		}
		if _, err := tls.X509KeyPair([]byte(enabled.certificate), []byte(enabled.key)); err != nil {
			return errors.New("cannot run maas: CertificateError: Private and public keys don't match")
		}
		// MAAS takes the first certificate of that file alone.
		block, _ := pem.Decode([]byte(enabled.certificate))
		enabled.certificate = string(pem.EncodeToMemory(block))
	case "disable":
		require.Empty(s.t, paths)
	default:
		return fmt.Errorf("cannot run maas: invalid choice: %q", args[0])
	}
	defer m.Gate.Effect("config-tls " + args[0])()
	d.tls = enabled
	for unit, other := range s.machines {
		if u := s.juju.Units[unit]; u != nil && other.Running["maas-regiond"] {
			if mine, err := s.mine(other, u.Address); err == nil && mine == d {
				s.configureNginx(other, u.Address, d)
			}
		}
	}
	return nil
}

// commands counts the command lines that a machine ran and that contain that text.
func commands(m *machinetest.Machine, part string) int {
	n := 0
	for _, line := range m.Ran {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

// With TLS MAAS answers its old port with 301, and its certificate is for a name of its own.
func TestARegionWithTLS(t *testing.T) {
	s := ready(t, 1)
	m, d := s.machines[unit0], s.dbs["10.0.0.1"]
	operators := issue(t, time.Unix(1900000000, 0))
	d.tls = &operators
	s.configureNginx(m, "10.0.0.1", d)
	s.juju.Config["maas-region"]["ntp-servers"] = "ntp.example"
	s.settle()
	require.Equal(t, "active", s.juju.Units[unit0].Status, s.juju.Units[unit0].Message)
	require.Equal(t, "ntp.example", s.maas.Config["ntp_servers"])
	require.Empty(t, s.act(t, unit0, "list-machines", nil).Failure)
	require.Contains(t, s.act(t, unit0, "get-api-endpoint", nil).Results["api-url"], "https://10.0.0.1:")
	require.Zero(t, commands(m, "config-tls"), "an operator's TLS is left as it is")

	// regiond lives, so nothing is started; another certificate is not trusted.
	starts := commands(m, "enable --now")
	m.Put(certificateFile, issue(t, time.Unix(1900000000, 0)).certificate)
	waited := false
	s.waits = func() { waited = true }
	s.hook(unit0)
	require.Equal(t, "waiting", s.juju.Units[unit0].Status)
	require.Contains(t, s.juju.Units[unit0].Message, "another certificate than MAAS wrote on this machine")
	require.Equal(t, starts, commands(m, "enable --now"))
	require.False(t, waited, "no hook waits for it")
	// nginx redirects too while regiond is dead: that is no life.
	m.Running["maas-regiond"] = false
	s.hook(unit0)
	require.True(t, m.Running["maas-regiond"])
}

func TestOptionTLSSecret(t *testing.T) {
	s := ready(t, 2)
	config, d := s.juju.Config["maas-region"], s.dbs["10.0.0.1"]
	m, unit := s.machines[unit0], s.juju.Units[unit0]
	one := issue(t, time.Unix(1900000000, 0))
	set := func(i issued) {
		s.juju.Secrets["secret:tls"] = map[string]string{"certificate": i.certificate, "key": i.key, "cacert": i.cacert}
	}
	config["tls-secret"] = "secret:tls"
	s.settle()
	require.Equal(t, "blocked", unit.Status)
	require.Contains(t, unit.Message, "juju grant-secret secret:tls maas-region")
	require.Equal(t, "active", s.juju.Units[unit1].Status, "the other region needs nothing of it")

	set(one)
	s.settle()
	for _, u := range s.units() {
		require.Equal(t, "active", s.juju.Units[u].Status, s.juju.Units[u].Message)
		require.Contains(t, s.juju.Units[u].Message, "https://10.0.0.1:")
	}
	require.Equal(t, one, *d.tls)
	require.Equal(t, 1, commands(m, "config-tls"), "enabled once")
	require.Zero(t, commands(s.machines[unit1], "config-tls"))
	left, err := filepath.Glob(filepath.Join(m.Root, "var/lib/dcib/unit/.tls-*"))
	require.NoError(t, err)
	require.Empty(t, left, "the key is removed")
	s.clear(t)
	for _, line := range append(m.Ran, unit.Log...) {
		require.NotContains(t, line, "PRIVATE KEY")
	}

	// A chain in the field certificate: MAAS reads the first certificate of that file alone.
	two := issue(t, time.Unix(1900000000, 0))
	set(issued{two.certificate + two.cacert, two.key, ""})
	s.settle()
	require.Equal(t, two, *d.tls)
	require.Equal(t, 2, commands(m, "config-tls"), "a renewed certificate is taken")

	// What another client changed is put back.
	d.tls = nil
	s.configureNginx(m, "10.0.0.1", d)
	s.settle()
	require.Equal(t, two, *d.tls)

	for why, bad := range map[string]issued{
		"do not belong together":     {two.certificate, one.key, ""},
		"field certificate":          {"nothing", one.key, ""},
		"field cacert":               {one.certificate, one.key, "nothing"},
		"expired on 2020-09-13":      issue(t, time.Unix(1600000000, 0)),
		"field certificate is empty": {"", one.key, ""},
		"field key is empty":         {one.certificate, "", ""},
	} {
		set(bad)
		s.settle()
		require.Equal(t, "blocked", unit.Status, why)
		require.Contains(t, unit.Message, why)
		require.Equal(t, two, *d.tls, "nothing was changed")
	}

	// Disabled where the charm enabled it, and left where an operator has changed it since.
	set(two)
	config["tls-secret"] = ""
	s.settle()
	require.Nil(t, d.tls)
	require.Equal(t, "active", unit.Status)
	require.Contains(t, unit.Message, "http://10.0.0.1:5240/MAAS")
	config["tls-secret"] = "secret:tls"
	s.settle()
	require.Equal(t, two, *d.tls)
	config["tls-secret"] = ""
	d.tls = &one
	s.configureNginx(m, "10.0.0.1", d)
	s.settle()
	require.Equal(t, one, *d.tls)
	s.clear(t)
}

// A certificate that MAAS took and does not serve is said, and no hook waits minutes for it.
func TestACertificateThatIsNotServed(t *testing.T) {
	s := ready(t, 1)
	one, two := issue(t, time.Unix(1900000000, 0)), issue(t, time.Unix(1900000000, 0))
	s.juju.Secrets["secret:tls"] = map[string]string{"certificate": one.certificate, "key": one.key}
	s.juju.Config["maas-region"]["tls-secret"] = "secret:tls"
	s.settle()
	require.Equal(t, "active", s.juju.Units[unit0].Status, s.juju.Units[unit0].Message)
	s.torn = true
	s.juju.Secrets["secret:tls"] = map[string]string{"certificate": two.certificate, "key": two.key}
	s.hook(unit0)
	require.Equal(t, "waiting", s.juju.Units[unit0].Status)
	require.Contains(t, s.juju.Units[unit0].Message, "does not serve the certificate of option tls-secret yet")
	s.torn = false
	s.configureNginx(s.machines[unit0], "10.0.0.1", s.dbs["10.0.0.1"])
	s.settle()
	require.Equal(t, "active", s.juju.Units[unit0].Status, s.juju.Units[unit0].Message)
}

// A hook holds the lock of its machine, so it waits long only for what it has started.
func TestAHookDoesNotWaitLongForARegionThatDoesNotAnswer(t *testing.T) {
	s := ready(t, 1)
	s.dead = true
	s.limits = nil
	s.hook(unit0)
	require.Equal(t, "waiting", s.juju.Units[unit0].Status)
	require.NotEmpty(t, s.limits)
	for _, limit := range s.limits {
		require.Positive(t, limit)
		require.LessOrEqual(t, limit, idleTime)
	}
	s.machines[unit0].Running["maas-regiond"] = false
	s.limits = nil
	s.hook(unit0)
	require.Contains(t, s.limits, time.Duration(0), "what was started has its time")
}

package certificate

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"maps"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/charms/lxd-cluster/cluster"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/relation/lxdhttps"
	"github.com/dcib/dcib/internal/relation/tlscertificates"
	"github.com/dcib/dcib/internal/testkit/crash"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

// fake is an LXD of two members or more.
type fake struct {
	gate    *crashtest.Gate
	dir     string
	now     time.Time
	config  map[string]any
	members []api.ClusterMember
	current string // fingerprint
	shown   []*x509.Certificate
	refuse  error
	keys    int // made
}

// Keys take long to make: the first few are shared.
var (
	keysMutex sync.Mutex
	keys      []*rsa.PrivateKey
)

func (f *fake) newKey() (*rsa.PrivateKey, error) {
	keysMutex.Lock()
	defer keysMutex.Unlock()
	if f.keys == len(keys) {
		key, err := NewKey()
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	f.keys++
	return keys[f.keys-1], nil
}

func newFake(dir string, gate *crashtest.Gate) *fake {
	return &fake{
		gate: gate, dir: dir, now: time.Now(), config: map[string]any{}, current: "first",
		members: []api.ClusterMember{
			{ServerName: "m2", URL: "https://10.0.0.2:8443", Status: "Online"},
			{ServerName: "m1", URL: "https://10.0.0.1:8443", Status: "Evacuated"},
		},
	}
}

func (f *fake) identity() string {
	if kept, ok := f.config[cluster.IdentityKey].(string); ok {
		return kept
	}
	return f.current
}

func (f *fake) GetServer() (*api.Server, string, error) {
	server := &api.Server{}
	server.Config = maps.Clone(f.config)
	server.Environment.CertificateFingerprint = f.current
	return server, "", nil
}

func (f *fake) GetClusterMembers() ([]api.ClusterMember, error) { return f.members, nil }

func (f *fake) UpdateClusterCertificate(put api.ClusterCertificatePut, _ string) error {
	if f.refuse != nil {
		return f.refuse
	}
	pair, err := tls.X509KeyPair([]byte(put.ClusterCertificate), []byte(put.ClusterCertificateKey))
	if err != nil {
		return api.StatusErrorf(http.StatusBadRequest, "%s", err)
	}
	defer f.gate.Effect("replace the certificate")()
	f.current, f.shown = lxdhttps.Fingerprint(pair.Leaf), nil
	for _, der := range pair.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		f.shown = append(f.shown, c)
	}
	return nil
}

func (f *fake) configure(_ context.Context, what string, change func(map[string]any)) error {
	defer f.gate.Effect(what)()
	put := maps.Clone(f.config)
	change(put)
	// As LXD does it: a key user.* that is missing stays; one that is empty goes.
	maps.Copy(f.config, put)
	maps.DeleteFunc(f.config, func(_ string, value any) bool { return value == "" })
	return nil
}

func over(lxd *fake) charm.Charm[Facts, Env] {
	return charm.Charm[Facts, Env]{
		Env: func(event hooktool.Event, tools hooktool.Tools) Env {
			return Env{Unit: event.Unit, Tools: tools, LXD: lxd, StateDir: filepath.Join(lxd.dir, strings.ReplaceAll(event.Unit, "/", "-")),
				Now: func() time.Time { return lxd.now }, NewKey: lxd.newKey, Configure: lxd.configure}
		},
		Observe: func(ctx context.Context, _ hooktool.Event, w Env) (Facts, error) {
			return Observe(ctx, w, lxd.identity())
		},
		Plan: func(f Facts) charm.Plan[Env] {
			p := Plan(f)
			p.Status = charm.Merge(charm.Active(""), p.Status)
			return p
		},
	}
}

// authority is a CA's charm.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	life time.Duration
	uses []x509.ExtKeyUsage // instead of what is asked for
}

func newAuthority(t require.TestingT) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10000 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{key: key, cert: cert, life: 1000 * time.Hour}
}

// answer issues what the units ask for, as the providers' library does: requests that are
// gone lose their certificates.
func (a *authority) answer(t require.TestingT, r *hooktooltest.Relation, now time.Time) {
	var had, all []tlscertificates.Issued
	if text := r.Databags["ca"]["certificates"]; text != "" {
		require.NoError(t, json.Unmarshal([]byte(text), &had))
	}
	for _, unit := range []string{"lxd-cluster/0", "lxd-cluster/1"} {
		var requests []map[string]any
		if text := r.Databags[unit]["certificate_signing_requests"]; text != "" {
			require.NoError(t, json.Unmarshal([]byte(text), &requests))
		}
		for _, request := range requests {
			csr := request["certificate_signing_request"].(string)
			one, there, err := tlscertificates.Decode(map[string]string{"certificates": r.Databags["ca"]["certificates"]}, csr)
			require.NoError(t, err)
			if !there {
				one = a.issue(t, csr, now)
			}
			all = append(all, one)
		}
	}
	text, err := json.Marshal(all)
	require.NoError(t, err)
	r.Databags["ca"] = map[string]string{"certificates": string(text)}
}

func (a *authority) issue(t require.TestingT, csr string, now time.Time) tlscertificates.Issued {
	block, _ := pem.Decode([]byte(csr))
	request, err := x509.ParseCertificateRequest(block.Bytes)
	require.NoError(t, err)
	require.NoError(t, request.CheckSignature())
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: request.Subject, DNSNames: request.DNSNames, IPAddresses: request.IPAddresses, NotBefore: now, NotAfter: now.Add(a.life)}
	for _, extension := range request.Extensions {
		if len(a.uses) == 0 && extension.Id.Equal(extendedKeyUsage) {
			template.ExtraExtensions = append(template.ExtraExtensions, extension)
		}
	}
	template.ExtKeyUsage = a.uses
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, request.PublicKey, a.key)
	require.NoError(t, err)
	leaf := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
	return tlscertificates.Issued{CSR: csr, Certificate: leaf, CA: ca, Chain: []string{leaf, ca}}
}

func model() (*hooktooltest.Juju, *hooktooltest.Relation) {
	juju := hooktooltest.New()
	juju.AddUnit("lxd-cluster/0", "10.0.0.1")
	juju.AddUnit("lxd-cluster/1", "10.0.0.2")
	juju.AddUnit("ca/0", "10.0.0.9")
	return juju, juju.Relate("lxd-cluster:certificates", "ca:certificates")
}

func hook(t *testing.T, juju *hooktooltest.Juju, unit string, lxd *fake) []string {
	t.Helper()
	before := len(juju.Units[unit].Log)
	require.NoError(t, crashtest.Try(nil, juju, over(lxd), hooktool.Event{Unit: unit, Hook: "config-changed"}))
	return juju.Units[unit].Log[before:]
}

func TestOneUnitGetsTheClustersCertificate(t *testing.T) {
	juju, r := model()
	lxd, ca := newFake(t.TempDir(), nil), newAuthority(t)
	require.Empty(t, hook(t, juju, "lxd-cluster/1", lxd), "no unit requests one before the leader has chosen it")
	hook(t, juju, "lxd-cluster/0", lxd)
	require.Equal(t, "lxd-cluster/0", lxd.config[coordinatorKey])
	require.NotContains(t, r.Databags["lxd-cluster/0"]["certificate_signing_requests"], "PRIVATE")
	info, err := os.Stat(filepath.Join(lxd.dir, "lxd-cluster-0", keyFile))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.Empty(t, hook(t, juju, "lxd-cluster/0", lxd), "nothing to do before the authority answers")

	ca.answer(t, r, lxd.now)
	juju.Leaders["lxd-cluster"] = "lxd-cluster/1"
	require.Empty(t, hook(t, juju, "lxd-cluster/1", lxd), "another leader changes nothing")
	hook(t, juju, "lxd-cluster/0", lxd)
	require.Len(t, lxd.shown, 2)
	require.Equal(t, []string{"m1", "m2"}, lxd.shown[0].DNSNames)
	require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, lxd.shown[0].ExtKeyUsage, "Juju takes no other")
	require.Equal(t, "10.0.0.1", lxd.shown[0].IPAddresses[0].String())
	require.True(t, lxd.shown[1].Equal(ca.cert))
	require.Equal(t, "first", lxd.identity(), "it is the same cluster still")
	require.Empty(t, hook(t, juju, "lxd-cluster/0", lxd), "nothing left to do")

	// A member joins.
	lxd.members = append(lxd.members, api.ClusterMember{ServerName: "m3", URL: "https://[fd00::3]:8443", Status: "Online"})
	hook(t, juju, "lxd-cluster/0", lxd)
	ca.answer(t, r, lxd.now)
	hook(t, juju, "lxd-cluster/0", lxd)
	require.Equal(t, []string{"m1", "m2", "m3"}, lxd.shown[0].DNSNames)

	// Most of its time is over.
	old := lxd.current
	lxd.now = lxd.now.Add(950 * time.Hour)
	require.Len(t, hook(t, juju, "lxd-cluster/0", lxd), 2, "another key, another request")
	require.Equal(t, old, lxd.current, "LXD keeps it until then")
	ca.answer(t, r, lxd.now)
	hook(t, juju, "lxd-cluster/0", lxd)
	require.NotEqual(t, old, lxd.current)
	require.Empty(t, hook(t, juju, "lxd-cluster/0", lxd))

	// The coordinator leaves.
	juju.RemoveUnit("lxd-cluster/0")
	hook(t, juju, "lxd-cluster/1", lxd)
	require.Equal(t, "lxd-cluster/1", lxd.config[coordinatorKey])
	old = lxd.current
	ca.answer(t, r, lxd.now)
	hook(t, juju, "lxd-cluster/1", lxd)
	require.NotEqual(t, old, lxd.current)

	// The relation goes: what LXD has stays.
	juju.Unrelate(r)
	old = lxd.current
	hook(t, juju, "lxd-cluster/1", lxd)
	require.Equal(t, map[string]any{cluster.IdentityKey: "first"}, lxd.config)
	require.Equal(t, old, lxd.current)
	require.Empty(t, hook(t, juju, "lxd-cluster/1", lxd))
}

func TestWhatCannotBeUsed(t *testing.T) {
	asked := func() (*hooktooltest.Juju, *hooktooltest.Relation, *fake) {
		juju, r := model()
		lxd := newFake(t.TempDir(), nil)
		hook(t, juju, "lxd-cluster/0", lxd)
		return juju, r, lxd
	}
	ca := newAuthority(t)
	for want, wrong := range map[string]func(r *hooktooltest.Relation, lxd *fake){
		"cannot read key certificates": func(r *hooktooltest.Relation, _ *fake) { r.Databags["ca"] = map[string]string{"certificates": "{"} },
		"expired on":                   func(r *hooktooltest.Relation, lxd *fake) { ca.answer(t, r, lxd.now.Add(-2000*time.Hour)) },
		"wanted a PEM block": func(r *hooktooltest.Relation, lxd *fake) {
			ca.answer(t, r, lxd.now)
			r.Databags["ca"]["certificates"] = strings.ReplaceAll(r.Databags["ca"]["certificates"], "-----BEGIN CERTIFICATE-----", "")
		},
		"for another key": func(r *hooktooltest.Relation, lxd *fake) {
			ca.answer(t, r, lxd.now)
			var all []tlscertificates.Issued
			require.NoError(t, json.Unmarshal([]byte(r.Databags["ca"]["certificates"]), &all))
			all[0].Certificate = all[0].CA
			text, err := json.Marshal(all)
			require.NoError(t, err)
			r.Databags["ca"]["certificates"] = string(text)
		},
		"not for a server": func(r *hooktooltest.Relation, lxd *fake) {
			other := *ca
			other.uses = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
			other.answer(t, r, lxd.now)
		},
		"all members must be online; offline: m2": func(r *hooktooltest.Relation, lxd *fake) {
			ca.answer(t, r, lxd.now)
			lxd.members[0].Status = "Offline"
		},
		"LXD refuses: no such": func(r *hooktooltest.Relation, lxd *fake) {
			ca.answer(t, r, lxd.now)
			lxd.refuse = api.StatusErrorf(http.StatusBadRequest, "no such")
		},
	} {
		juju, r, lxd := asked()
		wrong(r, lxd)
		hook(t, juju, "lxd-cluster/0", lxd)
		require.Equal(t, "blocked", juju.Units["lxd-cluster/0"].Status, want)
		require.Contains(t, juju.Units["lxd-cluster/0"].Message, want)
		require.Equal(t, "first", lxd.current)
	}
}

func TestARevokedOneIsRequestedAgain(t *testing.T) {
	juju, r := model()
	lxd, ca := newFake(t.TempDir(), nil), newAuthority(t)
	hook(t, juju, "lxd-cluster/0", lxd)
	ca.answer(t, r, lxd.now)
	hook(t, juju, "lxd-cluster/0", lxd)
	old := lxd.current
	r.Databags["ca"]["certificates"] = strings.ReplaceAll(r.Databags["ca"]["certificates"], `"revoked":false`, `"revoked":true`)
	hook(t, juju, "lxd-cluster/0", lxd)
	ca.answer(t, r, lxd.now)
	hook(t, juju, "lxd-cluster/0", lxd)
	require.NotEqual(t, old, lxd.current)
	require.Empty(t, hook(t, juju, "lxd-cluster/0", lxd))
}

func TestWithoutARelationNothingIsDone(t *testing.T) {
	juju, r := model()
	juju.Unrelate(r)
	lxd := newFake(t.TempDir(), nil)
	require.Empty(t, hook(t, juju, "lxd-cluster/0", lxd))
	entries, err := os.ReadDir(lxd.dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// Every hook is killed at every point while a certificate is issued and the coordinator leaves.
func TestCrashes(t *testing.T) {
	ca := newAuthority(t)
	crashtest.Check(t, func(run *crashtest.Run) any {
		juju, r := model()
		lxd := newFake(t.TempDir(), run.Gate)
		run.Always = func() { require.Equal(run, "first", lxd.identity()) }
		hooks := func(units ...string) {
			for range 3 {
				for _, unit := range units {
					_ = crashtest.Hook(run, juju, over(lxd), hooktool.Event{Unit: unit, Hook: "update-status"})
				}
				ca.answer(run, r, lxd.now)
			}
		}
		hooks("lxd-cluster/0", "lxd-cluster/1")
		require.Len(run, lxd.shown, 2)
		first := lxd.current
		juju.RemoveUnit("lxd-cluster/0")
		juju.Leaders["lxd-cluster"] = "lxd-cluster/1"
		hooks("lxd-cluster/1", "lxd-cluster/1")
		require.NotEqual(run, first, lxd.current)
		juju.Unrelate(r)
		hooks("lxd-cluster/1")
		return []any{maps.Clone(lxd.config), lxd.shown[0].DNSNames}
	}, crashtest.Late, crashtest.Lost)
}

// A key that a crash emptied or damaged is no reason for a hook to fail: another one, and
// another certificate.
func TestLostKeyIsMadeAgain(t *testing.T) {
	juju, r := model()
	lxd, ca := newFake(t.TempDir(), nil), newAuthority(t)
	hook(t, juju, "lxd-cluster/0", lxd)
	path := filepath.Join(lxd.dir, "lxd-cluster-0", keyFile)
	for name, damage := range map[string]func() error{
		"missing":   func() error { return os.Remove(path) },
		"empty":     func() error { return os.Truncate(path, 0) },
		"truncated": func() error { return os.Truncate(path, 100) },
		"not a key": func() error {
			return os.WriteFile(path, []byte("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"), 0o600)
		},
	} {
		ca.answer(t, r, lxd.now)
		hook(t, juju, "lxd-cluster/0", lxd)
		before, asked := lxd.current, r.Databags["lxd-cluster/0"]["certificate_signing_requests"]
		require.NoError(t, damage(), name)
		hook(t, juju, "lxd-cluster/0", lxd)
		require.NotEqual(t, asked, r.Databags["lxd-cluster/0"]["certificate_signing_requests"], name)
		require.Equal(t, before, lxd.current, "LXD keeps the one that it has until then")
		ca.answer(t, r, lxd.now)
		hook(t, juju, "lxd-cluster/0", lxd)
		require.NotEqual(t, before, lxd.current, name)
	}
}

package trust

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/charm/crashtest"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/hooktool/hooktooltest"
	"github.com/dcib/dcib/internal/relation/lxdhttps"
)

// store is a LXD with a trust store and two members.
type store struct {
	gate      *crashtest.Gate // where a hook may be killed
	clustered bool
	projects  []string // those there are; nil for any
	tokens    []api.CertificatesPost
	entries   []api.Certificate
	config    map[string]any // of its server
}

func (s *store) GetServer() (*api.Server, string, error) {
	server := &api.Server{}
	server.Environment.ServerClustered = s.clustered
	server.Environment.Certificate = "cluster's PEM"
	server.Environment.CertificateFingerprint = "abc"
	return server, "", nil
}

func (s *store) GetClusterMembers() ([]api.ClusterMember, error) {
	return []api.ClusterMember{{ServerName: "m2", URL: "https://10.0.0.2:8443"}, {ServerName: "m1", URL: "https://10.0.0.1:8443"}}, nil
}

func (s *store) GetCertificates() ([]api.Certificate, error) { return slices.Clone(s.entries), nil }

func (s *store) CreateCertificate(post api.CertificatesPost) error {
	for _, project := range post.Projects {
		if s.projects != nil && !slices.Contains(s.projects, project) {
			return api.StatusErrorf(http.StatusNotFound, "Project not found")
		}
	}
	der, err := base64.StdEncoding.DecodeString(post.Certificate)
	if err != nil {
		return err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	fingerprint := lxdhttps.Fingerprint(certificate)
	if s.find(fingerprint) >= 0 {
		return api.StatusErrorf(http.StatusConflict, "Certificate already in trust store")
	}
	defer s.gate.Effect("trust " + post.Name)()
	s.entries = append(s.entries, api.Certificate{Name: post.Name, Type: post.Type, Fingerprint: fingerprint, Restricted: post.Restricted, Projects: post.Projects})
	return nil
}

func (s *store) UpdateCertificate(fingerprint string, put api.CertificatePut, _ string) error {
	i := s.find(fingerprint)
	if i < 0 {
		return api.StatusErrorf(http.StatusNotFound, "Certificate not found")
	}
	defer s.gate.Effect("adjust " + put.Name)()
	e := &s.entries[i]
	e.Name, e.Restricted, e.Projects = put.Name, put.Restricted, put.Projects
	return nil
}

func (s *store) DeleteCertificate(fingerprint string) error {
	i := s.find(fingerprint)
	if i < 0 {
		return api.StatusErrorf(http.StatusNotFound, "Certificate not found")
	}
	defer s.gate.Effect("distrust " + s.entries[i].Name)()
	s.entries = slices.Delete(s.entries, i, i+1)
	return nil
}

func (s *store) find(fingerprint string) int {
	return slices.IndexFunc(s.entries, func(e api.Certificate) bool { return e.Fingerprint == fingerprint })
}

func (s *store) names() []string {
	names := []string{}
	for _, e := range s.entries {
		names = append(names, e.Name)
	}
	slices.Sort(names)
	return names
}

func newCertificate(t *testing.T) string { return newCertificateUntil(t, time.Now().Add(time.Hour)) }

func newCertificateUntil(t *testing.T, end time.Time) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// model is a related lxd-cluster and pet-scheduler.
func model() (*hooktooltest.Juju, *hooktooltest.Relation) {
	juju := hooktooltest.New()
	juju.AddUnit("lxd-cluster/0", "10.0.0.1")
	juju.AddUnit("lxd-cluster/1", "10.0.0.2")
	juju.AddUnit("pet-scheduler/0", "10.0.0.9")
	r := juju.Relate("lxd-cluster:https", "pet-scheduler:lxd")
	return juju, r
}

func over(lxd LXD) charm.Charm[Facts, World] {
	return charm.Charm[Facts, World]{
		World: func(event hooktool.Event, tools hooktool.Tools) World {
			w := World{App: event.App(), Tools: tools, LXD: lxd, Now: time.Now}
			if s, ok := lxd.(*store); ok {
				w.Configure = s.Configure
			}
			return w
		},
		Observe: func(ctx context.Context, _ hooktool.Event, w World) (Facts, error) { return Observe(ctx, w) },
		Plan: func(f Facts) charm.Plan[World] {
			return charm.Plan[World]{Steps: Plan(f), Status: charm.Active("")}
		},
	}
}

func hook(t *testing.T, juju *hooktooltest.Juju, unit string, lxd LXD) []string {
	t.Helper()
	before := len(juju.Units[unit].Log)
	require.NoError(t, crashtest.Try(nil, juju, over(lxd), hooktool.Event{Unit: unit, Hook: "config-changed"}))
	return juju.Units[unit].Log[before:]
}

func TestTrustsWhoAsksAndTellsWhereLXDIs(t *testing.T) {
	juju, r := model()
	lxd := &store{clustered: true, entries: []api.Certificate{{Name: "operator", Type: "client", Fingerprint: "ff"}}}
	r.Databags["pet-scheduler/0"] = lxdhttps.Request{Certificate: newCertificate(t), Projects: []string{"a", "b"}}.Encode()

	require.Empty(t, hook(t, juju, "lxd-cluster/1", lxd), "only the leader acts")
	hook(t, juju, "lxd-cluster/0", lxd)
	require.Equal(t, []string{"dcib-relation-0-pet-scheduler.0", "operator"}, lxd.names())
	require.True(t, lxd.entries[1].Restricted)
	require.Equal(t, []string{"a", "b"}, lxd.entries[1].Projects)
	require.Equal(t, map[string]string{
		"version": "1.0", "certificate": "cluster's PEM", "certificate_fingerprint": "abc",
		"addresses": "10.0.0.1:8443,10.0.0.2:8443",
	}, r.Databags["lxd-cluster"])

	require.Empty(t, hook(t, juju, "lxd-cluster/0", lxd), "nothing left to do")
}

func TestFollowsTheRelation(t *testing.T) {
	juju, r := model()
	lxd := &store{clustered: true, entries: []api.Certificate{{Name: "operator", Type: "client", Fingerprint: "ff"}}}
	first := newCertificate(t)
	r.Databags["pet-scheduler/0"] = lxdhttps.Request{Certificate: first}.Encode()
	hook(t, juju, "lxd-cluster/0", lxd)
	require.False(t, lxd.entries[1].Restricted)
	old := lxd.entries[1].Fingerprint

	// The projects change.
	r.Databags["pet-scheduler/0"] = lxdhttps.Request{Certificate: first, Projects: []string{"a"}}.Encode()
	hook(t, juju, "lxd-cluster/0", lxd)
	require.Equal(t, []string{"a"}, lxd.entries[1].Projects)
	require.True(t, lxd.entries[1].Restricted)

	// The certificate changes.
	r.Databags["pet-scheduler/0"] = lxdhttps.Request{Certificate: newCertificate(t)}.Encode()
	hook(t, juju, "lxd-cluster/0", lxd)
	require.Equal(t, []string{"dcib-relation-0-pet-scheduler.0", "operator"}, lxd.names())
	require.Equal(t, -1, lxd.find(old))

	// The unit goes, then the relation.
	juju.RemoveUnit("pet-scheduler/0")
	hook(t, juju, "lxd-cluster/0", lxd)
	require.Equal(t, []string{"operator"}, lxd.names())
	juju.Unrelate(r)
	require.Empty(t, hook(t, juju, "lxd-cluster/0", lxd))
	require.Equal(t, []string{"operator"}, lxd.names())
}

func TestLeavesAnOperatorsEntryForTheSameCertificate(t *testing.T) {
	juju, r := model()
	lxd := &store{clustered: true}
	r.Databags["pet-scheduler/0"] = lxdhttps.Request{Certificate: newCertificate(t)}.Encode()
	hook(t, juju, "lxd-cluster/0", lxd)
	lxd.entries[0].Name = "by hand"
	require.Empty(t, hook(t, juju, "lxd-cluster/0", lxd))
	juju.Unrelate(r)
	hook(t, juju, "lxd-cluster/0", lxd)
	require.Equal(t, []string{"by hand"}, lxd.names())
}

func TestARequestThatCannotBeReadHurtsNobodyElse(t *testing.T) {
	juju, r := model()
	juju.AddUnit("pet-scheduler/1", "10.0.0.8")
	lxd := &store{clustered: true}
	r.Databags["pet-scheduler/0"] = map[string]string{"version": "1.0", "certificate": "no PEM"}
	r.Databags["pet-scheduler/1"] = lxdhttps.Request{Certificate: newCertificate(t)}.Encode()
	hook(t, juju, "lxd-cluster/0", lxd)
	require.Equal(t, []string{"dcib-relation-0-pet-scheduler.1"}, lxd.names())
	tools, _ := juju.Hook("lxd-cluster/0")
	facts, err := Observe(t.Context(), World{App: "lxd-cluster", Tools: tools, LXD: lxd})
	require.NoError(t, err)
	require.Len(t, facts.Unusable, 1)
	require.Contains(t, facts.Unusable[0], "pet-scheduler/0 (relation https:0): cannot read certificate")
}

func TestWhatLXDWillNotDoIsTheStatus(t *testing.T) {
	juju, r := model()
	lxd := &store{clustered: true, projects: []string{"default"}}
	r.Databags["pet-scheduler/0"] = lxdhttps.Request{Certificate: newCertificate(t), Projects: []string{"nowhere"}}.Encode()
	hook(t, juju, "lxd-cluster/0", lxd)
	unit := juju.Units["lxd-cluster/0"]
	require.Equal(t, "blocked", unit.Status)
	require.Contains(t, unit.Message, "of pet-scheduler/0 for nowhere: Project not found: change what the client asks for")
}

func TestWaitsForTheCluster(t *testing.T) {
	juju, r := model()
	r.Databags["pet-scheduler/0"] = lxdhttps.Request{Certificate: newCertificate(t)}.Encode()
	lxd := &store{}
	require.Empty(t, hook(t, juju, "lxd-cluster/0", lxd))
	require.Empty(t, lxd.entries)
	require.Empty(t, hook(t, juju, "lxd-cluster/0", nil))
	require.Empty(t, r.Databags["lxd-cluster"])
}

func TestActions(t *testing.T) {
	lxd := &store{clustered: true, entries: []api.Certificate{
		{Name: "dcib-relation-0-pet-scheduler.0", Type: "client", Fingerprint: "aaaaaaaaaaaaaaaa"},
		{Name: "m1", Type: "server", Fingerprint: "bbbbbbbbbbbbbbbb"},
	}}
	world := World{LXD: lxd}
	call := func(params map[string]any) charm.Call { return charm.Call{Params: params} }
	certificate := newCertificate(t)

	results, err := AddClient(t.Context(), world, call(map[string]any{"name": "me", "certificate": certificate, "projects": "a, b"}))
	require.NoError(t, err)
	require.Equal(t, "a,b", results["projects"])
	require.Equal(t, []string{"a", "b"}, lxd.entries[2].Projects)
	_, err = AddClient(t.Context(), world, call(map[string]any{"name": "me", "certificate": certificate, "projects": "b,a"}))
	require.NoError(t, err, "asked again")
	require.Len(t, lxd.entries, 3)

	for want, params := range map[string]map[string]any{
		"name is empty":                    {"certificate": certificate},
		"parameter certificate":            {"name": "x", "certificate": "no PEM"},
		"it expired on":                    {"name": "x", "certificate": newCertificateUntil(t, time.Now().Add(-time.Hour))},
		"belong to the relations":          {"name": "dcib-relation-x", "certificate": certificate},
		`trusted already, as "me"`:         {"name": "x", "certificate": certificate},
		"another certificate is trusted":   {"name": "me", "certificate": newCertificate(t)},
		`as "me", for projects a, b: remo`: {"name": "me", "certificate": certificate},
	} {
		_, err := AddClient(t.Context(), world, call(params))
		require.ErrorContains(t, err, want)
	}
	for want, params := range map[string]map[string]any{
		"give either":                         {},
		"12 digits":                           {"fingerprint": "aaaa"},
		"but: dcib-relation-0-pet-schedu":     {"name": "nobody"},
		"trusts none like it":                 {"name": "m1"},
		"cannot remove trusted client aaaaaa": {"fingerprint": "AAAAAAAAAAAA"},
	} {
		_, err := RemoveClient(t.Context(), world, call(params))
		require.ErrorContains(t, err, want)
	}
	require.Len(t, lxd.entries, 3)
	_, err = RemoveClient(t.Context(), world, call(map[string]any{"name": "me"}))
	require.NoError(t, err)
	require.Len(t, lxd.entries, 2)
	_, err = AddClient(t.Context(), World{}, call(nil))
	require.ErrorContains(t, err, "cannot reach LXD")
}

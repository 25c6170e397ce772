package trust

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/relation/lxdhttps"
	"github.com/dcib/dcib/internal/testkit/crash"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

// store is an LXD with a trust store and two members.
type store struct {
	gate      *crashtest.Gate // where a hook may be killed
	clustered bool
	projects  []string // those that it restricts, besides default, which it does not
	identity  string   // the fingerprint of a fine-grained identity, which no list of certificates has
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

func (s *store) restricted() []string {
	if s.projects == nil {
		return []string{"a", "b"}
	}
	return s.projects
}

func (s *store) GetProjects() ([]api.Project, error) {
	all := []api.Project{{Name: "default", Config: map[string]string{}}}
	for _, name := range s.restricted() {
		all = append(all, api.Project{Name: name, Config: map[string]string{"restricted": "true"}})
	}
	return all, nil
}

func (s *store) CreateCertificate(post api.CertificatesPost) error {
	for _, project := range post.Projects {
		if project != "default" && !slices.Contains(s.restricted(), project) {
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
	if s.find(fingerprint) >= 0 || s.identity == fingerprint {
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
	juju.Config["lxd-cluster"] = map[string]any{Option: "pet-scheduler"}
	r := juju.Relate("lxd-cluster:https", "pet-scheduler:lxd")
	return juju, r
}

func over(lxd LXD) charm.Charm[Facts, Env] {
	return charm.Charm[Facts, Env]{
		Env: func(event hooktool.Event, tools hooktool.Tools) Env {
			w := Env{App: event.App(), Tools: tools, LXD: lxd, Now: time.Now, Refused: map[string]string{}}
			if s, ok := lxd.(*store); ok {
				w.Configure = s.Configure
			}
			return w
		},
		Observe: func(ctx context.Context, _ hooktool.Event, w Env) (Facts, error) { return Observe(ctx, w) },
		Plan: func(f Facts) charm.Plan[Env] {
			p := Plan(f)
			if p.Status.Level == "" {
				p.Status = charm.Active("")
			}
			return p
		},
	}
}

func hook(t *testing.T, juju *hooktooltest.Juju, unit string, lxd LXD) []string {
	t.Helper()
	before := len(juju.Units[unit].Log)
	require.NoError(t, crashtest.Try(nil, juju, over(lxd), hooktool.Event{Unit: unit, Hook: "config-changed"}))
	return juju.Units[unit].Log[before:]
}

func TestTrustsRequestersAndPublishesWhereLXDIs(t *testing.T) {
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

func TestARequestThatCannotBeReadHurtsNoOther(t *testing.T) {
	juju, r := model()
	juju.AddUnit("pet-scheduler/1", "10.0.0.8")
	lxd := &store{clustered: true}
	r.Databags["pet-scheduler/0"] = map[string]string{"version": "1.0", "certificate": "no PEM"}
	r.Databags["pet-scheduler/1"] = lxdhttps.Request{Certificate: newCertificate(t)}.Encode()
	hook(t, juju, "lxd-cluster/0", lxd)
	require.Equal(t, []string{"dcib-relation-0-pet-scheduler.1"}, lxd.names())
	tools, _ := juju.Hook("lxd-cluster/0")
	facts, err := Observe(t.Context(), Env{App: "lxd-cluster", Tools: tools, LXD: lxd})
	require.NoError(t, err)
	require.Len(t, facts.Unusable, 1)
	require.Contains(t, facts.Unusable[0], "pet-scheduler/0 (relation https:0): cannot read certificate")
}

// What LXD refuses is the status, and neither fails the hook nor keeps others from what they
// may have.
func TestWhatLXDRefusesHurtsNoOther(t *testing.T) {
	juju, r := model()
	juju.AddUnit("pet-scheduler/1", "10.0.0.8")
	lxd := &store{clustered: true}
	refused, other := newCertificate(t), newCertificate(t)
	parsed, err := lxdhttps.ParseCertificate(refused)
	require.NoError(t, err)
	lxd.identity = lxdhttps.Fingerprint(parsed)
	r.Databags["pet-scheduler/0"] = lxdhttps.Request{Certificate: refused}.Encode()
	r.Databags["pet-scheduler/1"] = lxdhttps.Request{Certificate: other}.Encode()
	for range 2 { // not the second hook either
		hook(t, juju, "lxd-cluster/0", lxd)
		require.Equal(t, "blocked", juju.Units["lxd-cluster/0"].Status)
		require.Contains(t, juju.Units["lxd-cluster/0"].Message, "of pet-scheduler/0, unrestricted: LXD has this certificate as a fine-grained identity: lxc auth identity delete tls/"+lxd.identity)
		require.Equal(t, []string{"dcib-relation-0-pet-scheduler.1"}, lxd.names())
		require.NotEmpty(t, r.Databags["lxd-cluster"]["addresses"])
	}
	_, err = AddClient(t.Context(), Env{LXD: lxd}, charm.Call{Params: map[string]any{"name": "me", "certificate": refused}})
	require.ErrorContains(t, err, "lxc auth identity delete tls/")

	lxd.identity = ""
	hook(t, juju, "lxd-cluster/0", lxd)
	require.Equal(t, "active: unrestricted clients: pet-scheduler/0, pet-scheduler/1", juju.Units["lxd-cluster/0"].Status+": "+juju.Units["lxd-cluster/0"].Message)
	require.Len(t, lxd.entries, 2)
}

// What a client may have is the operator's to say.
func TestTheOperatorSaysWhoMayHaveWhat(t *testing.T) {
	const unit = "lxd-cluster/0"
	for name, c := range map[string]struct {
		option   string
		projects []string
		trusted  bool
		status   string
	}{
		"all, by the application's name":   {"x, pet-scheduler", nil, true, "active: unrestricted clients: pet-scheduler/0"},
		"all, by the relation":             {"https:0", nil, true, "active: unrestricted clients: pet-scheduler/0"},
		"all, and it is not listed":        {"", nil, false, "blocked: pet-scheduler/0 (relation https:0) requests all of LXD: to let it control all hosts, add pet-scheduler to option https-unrestricted, or have it name restricted projects"},
		"by a part of its name":            {"pet,pet-scheduler/0,https:00", nil, false, "requests all of LXD"},
		"restricted projects":              {"", []string{"a", "b"}, true, "active: "},
		"a project that is not restricted": {"", []string{"a", "default"}, false, "blocked: pet-scheduler/0 (relation https:0) requests project default, which is not restricted: lxc project set default restricted=true; to let it"},
		"that project, and it is listed":   {"pet-scheduler", []string{"default"}, true, "active: "},
		"a project that is not there":      {"", []string{"nowhere"}, false, `requests project "nowhere", which does not exist: create it`},
		"text that is no project":          {"pet-scheduler", []string{"a\nb"}, false, "are not names of LXD projects"},
	} {
		t.Run(name, func(t *testing.T) {
			juju, r := model()
			lxd := &store{clustered: true}
			juju.Config["lxd-cluster"] = map[string]any{Option: c.option}
			r.Databags["pet-scheduler/0"] = lxdhttps.Request{Certificate: newCertificate(t), Projects: c.projects}.Encode()
			hook(t, juju, unit, lxd)
			require.Equal(t, c.trusted, len(lxd.entries) == 1)
			require.Contains(t, juju.Units[unit].Status+": "+juju.Units[unit].Message, c.status)
			if c.trusted {
				require.Equal(t, len(c.projects) > 0, lxd.entries[0].Restricted)
				// Taken off the list it is out again.
				juju.Config["lxd-cluster"] = map[string]any{}
				hook(t, juju, unit, lxd)
				require.Equal(t, name == "restricted projects", len(lxd.entries) == 1)
			}
		})
	}
}

// A certificate is public: who shows another client's takes nothing from it, comes it first
// or last.
func TestAnothersCertificateTakesNothingFromIt(t *testing.T) {
	for name, first := range map[string]bool{"the other relation is earlier": true, "and later": false} {
		t.Run(name, func(t *testing.T) {
			juju := hooktooltest.New()
			juju.Config["lxd-cluster"] = map[string]any{Option: "pet-scheduler"}
			juju.AddUnit("lxd-cluster/0", "10.0.0.1")
			juju.AddUnit("pet-scheduler/0", "10.0.0.9")
			juju.AddUnit("evil/0", "10.0.0.66")
			certificate := newCertificate(t)
			apps := []string{"pet-scheduler", "evil"}
			if first {
				slices.Reverse(apps)
			}
			for _, app := range apps {
				r := juju.Relate("lxd-cluster:https", app+":lxd")
				request := lxdhttps.Request{Certificate: certificate}
				if app == "evil" {
					request.Projects = []string{"a"}
				}
				r.Databags[app+"/0"] = request.Encode()
			}
			lxd := &store{clustered: true}
			hook(t, juju, "lxd-cluster/0", lxd)
			require.Len(t, lxd.entries, 1)
			require.False(t, lxd.entries[0].Restricted)
			require.Empty(t, hook(t, juju, "lxd-cluster/0", lxd), "it settles")

			// What it asks for alone is not allowed, and does not change that.
			for _, r := range juju.Relations {
				if bag := r.Databags["evil/0"]; bag != nil {
					r.Databags["evil/0"] = lxdhttps.Request{Certificate: certificate, Projects: []string{"nowhere"}}.Encode()
				}
			}
			hook(t, juju, "lxd-cluster/0", lxd)
			require.Len(t, lxd.entries, 1)
			require.False(t, lxd.entries[0].Restricted)
			require.Equal(t, "blocked", juju.Units["lxd-cluster/0"].Status)
		})
	}
}

// gone has the databag of a unit that has just left not found, as Juju has it, while the unit
// is still listed.
type gone struct {
	hooktool.Tools
	unit string
}

func (g gone) RelationGet(ctx context.Context, relation, owner string) (map[string]string, error) {
	if owner == g.unit {
		return nil, fmt.Errorf("cannot run relation-get: %w", hooktool.ErrNotFound)
	}
	return g.Tools.RelationGet(ctx, relation, owner)
}

func TestAUnitThatHasJustLeft(t *testing.T) {
	juju, r := model()
	juju.AddUnit("pet-scheduler/1", "10.0.0.8")
	lxd := &store{clustered: true}
	r.Databags["pet-scheduler/1"] = lxdhttps.Request{Certificate: newCertificate(t)}.Encode()
	tools, _ := juju.Hook("lxd-cluster/0")
	facts, err := Observe(t.Context(), Env{App: "lxd-cluster", Tools: gone{tools, "pet-scheduler/0"}, LXD: lxd})
	require.NoError(t, err)
	require.Len(t, facts.Clients, 1)
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
	env := Env{LXD: lxd}
	call := func(params map[string]any) charm.Call { return charm.Call{Params: params} }
	certificate := newCertificate(t)

	results, err := AddClient(t.Context(), env, call(map[string]any{"name": "me", "certificate": certificate, "projects": "a, b"}))
	require.NoError(t, err)
	require.Equal(t, "a,b", results["projects"])
	require.Equal(t, []string{"a", "b"}, lxd.entries[2].Projects)
	_, err = AddClient(t.Context(), env, call(map[string]any{"name": "me", "certificate": certificate, "projects": "b,a"}))
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
		_, err := AddClient(t.Context(), env, call(params))
		require.ErrorContains(t, err, want)
	}
	for want, params := range map[string]map[string]any{
		"set either":                          {},
		"12 digits":                           {"fingerprint": "aaaa"},
		"but: dcib-relation-0-pet-schedu":     {"name": "unknown"},
		"trusts none like it":                 {"name": "m1"},
		"cannot remove trusted client aaaaaa": {"fingerprint": "AAAAAAAAAAAA"},
	} {
		_, err := RemoveClient(t.Context(), env, call(params))
		require.ErrorContains(t, err, want)
	}
	require.Len(t, lxd.entries, 3)
	_, err = RemoveClient(t.Context(), env, call(map[string]any{"name": "me"}))
	require.NoError(t, err)
	require.Len(t, lxd.entries, 2)
	_, err = AddClient(t.Context(), Env{}, call(nil))
	require.ErrorContains(t, err, "cannot reach LXD")
}

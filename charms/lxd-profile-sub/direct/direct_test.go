package direct_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/canonical/lxd/shared"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/charms/lxd-profile-sub/direct"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/lxd/profiles"
	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/testkit/crash"
	"github.com/dcib/dcib/internal/testkit/hooktool"
	"github.com/dcib/dcib/internal/testkit/profiles"
)

const model = "00000000-0000-4000-8000-000000000002"

// site is a model with one application in it on two instances of one LXD.
type site struct {
	t          tester
	juju       *hooktooltest.Juju
	lxd        *profilestest.LXD
	options    direct.Options
	wanted     profile.Profile
	wrong      error
	openErr    error
	restricted bool
	leaving    map[string]bool
	started    map[string]string // what an instance's first process says of its start
	pause      func()            // what happens while an action waits
	rebooted   bool
}

type tester interface {
	require.TestingT
	Helper()
}

func newSite(t tester) *site {
	s := &site{t: t, juju: hooktooltest.New(), lxd: profilestest.New(), restricted: true, leaving: map[string]bool{}, started: map[string]string{}}
	for _, n := range []string{"0", "1"} {
		s.juju.AddUnit("sub/"+n, "")
		s.lxd.Add("juju-"+n, model, "web/"+n)
	}
	cert, key, err := shared.GenerateMemCert(true, shared.CertOptions{CommonName: "test"})
	require.NoError(t, err)
	s.juju.Secrets = map[string]map[string]string{"secret:c": {"client-cert": string(cert), "client-key": string(key), "server-cert": string(cert)}}
	s.options = direct.Options{Endpoint: "https://10.0.0.1:8443", Credential: "secret:c", Project: "default"}
	s.wanted = profile.Profile{Config: map[string]string{"limits.memory": "1GiB"}}
	return s
}

func (s *site) charm() charm.Charm[direct.Facts, *direct.Env] {
	return charm.Charm[direct.Facts, *direct.Env]{
		Env: func(_ hooktool.Event, tools hooktool.Tools) *direct.Env {
			return &direct.Env{
				Env: profiles.Env{Tools: tools, Now: s.lxd.Clock},
				Open: func(context.Context, direct.Options, direct.Credential) (profiles.Server, bool, error) {
					return s.lxd, s.restricted, s.openErr
				},
				Pause:  func(context.Context, time.Duration) error { s.pause(); return nil },
				Reboot: func(context.Context) error { s.rebooted = true; return nil },
			}
		},
		Observe: func(ctx context.Context, event hooktool.Event, w *direct.Env) (direct.Facts, error) {
			_, n, _ := strings.Cut(event.Unit, "/")
			self := direct.Self{Unit: event.Unit, Principal: "web/" + n, Model: "shop", ModelUUID: model, Instance: "juju-" + n, Started: s.started[event.Unit], Leader: s.juju.Leaders["sub"] == event.Unit, Leaving: s.leaving[event.Unit]}
			return direct.Observe(ctx, self, s.options, w)
		},
		Plan: func(f direct.Facts) charm.Plan[*direct.Env] { return direct.Plan(f, s.wanted, s.wrong) },
		Actions: map[string]charm.Action[direct.Facts, *direct.Env]{
			"apply-restart": direct.ApplyRestart,
			"rollback": func(ctx context.Context, f direct.Facts, w *direct.Env, _ charm.Call) (map[string]string, error) {
				return direct.Rollback(ctx, f, w, s.wanted)
			},
			"diff": func(_ context.Context, f direct.Facts, _ *direct.Env, _ charm.Call) (map[string]string, error) {
				return direct.Diff(f, s.wanted), nil
			},
		},
	}
}

func event(unit string) hooktool.Event {
	return hooktool.Event{Hook: "update-status", Unit: unit, Model: "shop", ModelUUID: model}
}

func (s *site) hook(unit string) string {
	s.t.Helper()
	require.NoError(s.t, crashtest.Try(nil, s.juju, s.charm(), event(unit)))
	u := s.juju.Units[unit]
	return u.Status + ": " + u.Message
}

func TestDirect(t *testing.T) {
	s := newSite(t)
	assert.Equal(t, "waiting: waiting for the leader to write profile dcib-shop-web", s.hook("sub/1"))
	assert.Empty(t, s.lxd.Writes)
	assert.Equal(t, "active: in force: limits.memory=1GiB", s.hook("sub/0"))
	assert.Equal(t, "active: in force: limits.memory=1GiB", s.hook("sub/1"))
	for _, i := range s.lxd.Instances {
		assert.Equal(t, []string{"default", "juju-shop-abc", "dcib-shop-web"}, i.Profiles)
	}
	assert.Equal(t, []string{"create profile dcib-shop-web", "update instance juju-0", "update instance juju-1"}, s.lxd.Writes)

	s.lxd.Writes = nil
	s.wanted = profile.Profile{Config: map[string]string{"limits.memory": "2GiB", "security.nesting": "true"}}
	s.hook("sub/0")
	assert.Equal(t, []string{"update profile dcib-shop-web"}, s.lxd.Writes)
	assert.Equal(t, "active: in force: limits.memory=2GiB; restart needed for security.nesting: juju run sub/leader apply-restart", s.hook("sub/1"))

	s.lxd.Instances["juju-1"].Profiles = []string{"default"} // another program rewrote it
	s.hook("sub/1")
	assert.Contains(t, s.juju.Units["sub/1"].Log, "INFO put profile dcib-shop-web last on instance juju-1 again: another program has changed its list")

	s.wrong = errors.New("cannot use option profile: no")
	s.lxd.Writes = nil
	assert.Equal(t, "blocked: cannot use option profile: no", s.hook("sub/0"))
	assert.Empty(t, s.lxd.Writes)
	s.wrong = nil

	s.restricted = false
	assert.Contains(t, s.hook("sub/1"), "warning: the certificate is not restricted to a project")

	// They leave; the last takes the profile with it.
	s.leaving["sub/1"] = true
	s.hook("sub/1")
	assert.Equal(t, []string{"default"}, s.lxd.Instances["juju-1"].Profiles)
	assert.Contains(t, s.lxd.Profiles, "dcib-shop-web")
	s.leaving["sub/0"] = true
	s.hook("sub/0")
	assert.Equal(t, []string{"default", "juju-shop-abc"}, s.lxd.Instances["juju-0"].Profiles)
	assert.NotContains(t, s.lxd.Profiles, "dcib-shop-web")
	for _, i := range s.lxd.Instances {
		for key := range i.Config {
			assert.False(t, strings.HasPrefix(key, "user.dcib."), key)
		}
	}
}

// What the operator has to fix is reported, and changes nothing.
func TestWhatIsMissing(t *testing.T) {
	good := newSite(t).juju.Secrets["secret:c"]
	with := func(key, value string) func(*site) {
		return func(s *site) {
			s.juju.Secrets["secret:c"] = maps.Clone(good)
			s.juju.Secrets["secret:c"][key] = value
		}
	}
	other, _, err := shared.GenerateMemCert(true, shared.CertOptions{CommonName: "other"})
	require.NoError(t, err)
	for says, edit := range map[string]func(*site){
		`blocked: option endpoint is "10.0.0.1:8443", wanted the address`:             func(s *site) { s.options.Endpoint = "10.0.0.1:8443" },
		"blocked: missing option credential":                                          func(s *site) { s.options.Credential = "" },
		"blocked: cannot read the secret of option credential: cannot run secret-get": func(s *site) { s.options.Credential = "secret:other" },
		"its client-key is not PEM":                                                   with("client-key", "x"),
		"it has no server-cert: wanted":                                               with("server-cert", ""),
		"its client-key does not belong to its client-cert":                           with("client-cert", string(other)),
		"its server-cert is not a certificate":                                        with("server-cert", good["client-key"]),
		"blocked: cannot: it does not trust":                                          func(s *site) { s.openErr = fmt.Errorf("cannot: %w", direct.ErrUntrusted) },
		"waiting: connection refused (retried automatically)":                         func(s *site) { s.openErr = errors.New("connection refused") },
		"blocked: cannot find instance juju-0 of this model in project default":       func(s *site) { s.lxd.Instances["juju-0"].Config["user.juju-model-uuid"] = "another" },
		"blocked: config.limits.cpu.nodes is not an option of this LXD":               func(s *site) { s.wanted.Config["limits.cpu.nodes"] = "0" },
	} {
		s := newSite(t)
		edit(s)
		got := s.hook("sub/0")
		if head, tail, _ := strings.Cut(says, "config.limits"); tail != "" {
			assert.Contains(t, got, head+"the LXD at https://10.0.0.1:8443: config.limits"+tail)
		} else {
			assert.Contains(t, got, says)
		}
		assert.Empty(t, s.lxd.Writes)
		assert.NotContains(t, got+fmt.Sprint(s.juju.Units["sub/0"].Log), "PRIVATE")
	}
}

func TestLXDRefuses(t *testing.T) {
	s := newSite(t)
	s.lxd.Refuse = func(what string) error {
		if strings.HasPrefix(what, "create profile") {
			return errors.New("Privileged containers are forbidden in project default")
		}
		return nil
	}
	assert.Equal(t, "blocked: the LXD at https://10.0.0.1:8443 refused to write profile dcib-shop-web: Privileged containers are forbidden in project default", s.hook("sub/0"))
	s.lxd.Refuse = nil
	assert.Contains(t, s.hook("sub/0"), "active: ")
}

// Every hook is killed at every point on the way there and back.
func TestCrashes(t *testing.T) {
	crashtest.Check(t, func(run *crashtest.Run) any {
		s := newSite(run)
		s.lxd.Gate = run.Gate
		rounds := func(n int) {
			for range n {
				for _, unit := range []string{"sub/0", "sub/1"} {
					_ = crashtest.Hook(run, s.juju, s.charm(), event(unit))
				}
			}
		}
		rounds(3)
		s.wanted = profile.Profile{Config: map[string]string{"limits.cpu": "2"}}
		rounds(3)
		require.Equal(run, "2", s.lxd.Profiles["dcib-shop-web"].Config["limits.cpu"])
		s.juju.Units["sub/0"].Dying, s.leaving["sub/1"] = true, true
		rounds(4)
		return []any{slices.Sorted(maps.Keys(s.lxd.Profiles)), s.lxd.Instances["juju-0"].Profiles, s.lxd.Instances["juju-1"].Profiles}
	}, crashtest.Late, crashtest.Lost)
}

// The real door, against a server that answers as LXD does.
func TestOpen(t *testing.T) {
	auth, restricted, refuses := "trusted", true, 0
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var metadata any
		switch {
		case r.URL.Path == "/1.0":
			metadata = map[string]any{"auth": auth, "api_extensions": []string{"projects", "numa_cpu_placement"}}
		case strings.HasPrefix(r.URL.Path, "/1.0/certificates/") && refuses != 0:
			w.WriteHeader(refuses)
			_ = json.NewEncoder(w).Encode(map[string]any{"type": "error", "error_code": refuses, "error": "not now"})
			return
		case strings.HasPrefix(r.URL.Path, "/1.0/certificates/"):
			metadata = map[string]any{"restricted": restricted}
		case r.URL.Path == "/1.0/profiles" && r.URL.Query().Get("project") == "shop":
			metadata = []any{map[string]any{"name": "default"}}
		default:
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "sync", "status_code": 200, "metadata": metadata})
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.StartTLS()
	defer server.Close()
	content := newSite(t).juju.Secrets["secret:c"]
	content["server-cert"] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	credential, err := direct.ParseCredential(content)
	require.NoError(t, err)
	o := direct.Options{Endpoint: server.URL, Project: "shop"}

	lxd, is, err := direct.Open(t.Context(), o, credential)
	require.NoError(t, err)
	assert.True(t, is)
	assert.True(t, lxd.HasExtension("numa_cpu_placement"))
	listed, err := lxd.GetProfiles()
	require.NoError(t, err)
	assert.Len(t, listed, 1)
	assert.EqualValues(t, 1, connections.Load(), "connections: TLS is most of what a hook costs")

	restricted = false
	_, is, err = direct.Open(t.Context(), o, credential)
	require.NoError(t, err)
	assert.False(t, is)

	// Only LXD's refusal shows that it is restricted; a bad answer does not hide that it is not.
	for code, want := range map[int]bool{http.StatusForbidden: true, http.StatusNotFound: false} {
		refuses = code
		_, is, err = direct.Open(t.Context(), o, credential)
		require.NoError(t, err)
		assert.Equal(t, want, is, code)
	}
	for _, code := range []int{http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusBadRequest} {
		refuses = code
		_, _, err = direct.Open(t.Context(), o, credential)
		require.ErrorContains(t, err, "cannot read whether the client certificate is restricted: not now")
	}
	refuses = 0

	auth = "untrusted"
	_, _, err = direct.Open(t.Context(), o, credential)
	require.ErrorIs(t, err, direct.ErrUntrusted)

	credential.ServerCert = content["client-cert"]
	_, _, err = direct.Open(t.Context(), o, credential)
	require.ErrorContains(t, err, "cannot reach the LXD at "+server.URL)
}

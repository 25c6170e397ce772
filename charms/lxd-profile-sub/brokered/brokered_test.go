package brokered_test

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/charms/lxd-profile-sub/brokered"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
	"github.com/dcib/dcib/internal/testkit/crash"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

const modelUUID = "deadbeef-0bad-400d-8000-4b1d0d06f00d"

// model is a model with one application beside which the charm runs on two units; the
// test plays the broker.
type model struct {
	t        tester
	juju     *hooktooltest.Juju
	relation *hooktooltest.Relation
	lxd      map[string]*fakeLXD
	called   []string // where the broker was told that there is something to look at
}

// fakeLXD is devlxd as one instance sees it.
type fakeLXD struct {
	instance string
	started  string
	options  map[string]string
	asked    []string
	broken   error
}

func (l *fakeLXD) Instance(context.Context) (string, error) { return l.instance, l.broken }

func (l *fakeLXD) Started(context.Context) (string, error) { return l.started, nil }

func (l *fakeLXD) Option(_ context.Context, key string) (string, error) {
	l.asked = append(l.asked, key)
	return l.options[key], l.broken
}

// tester is what is needed of *testing.T.
type tester interface {
	require.TestingT
	Helper()
}

func newModel(t tester) *model {
	m := &model{t: t, juju: hooktooltest.New(), lxd: map[string]*fakeLXD{}}
	for _, n := range []string{"0", "1"} {
		m.juju.AddUnit("sub/"+n, "10.0.0."+n)
		m.lxd["sub/"+n] = &fakeLXD{instance: "juju-" + n, options: map[string]string{}}
	}
	m.juju.AddUnit("lxd-cluster/0", "10.0.1.1")
	m.relation = m.juju.Relate("sub:lxd-profile", "lxd-cluster:lxd-profile")
	m.config("config: {limits.memory: 512MiB}")
	return m
}

func (m *model) config(text string) {
	m.options(map[string]any{"profile": text})
}

// options sets options; the others have their defaults.
func (m *model) options(options map[string]any) {
	m.juju.Config["sub"] = map[string]any{"preset": "", "profile": "", "cephfs-filesystem": "cephfs", "cephfs-path": "/", "cephfs-mount": "/mnt/cephfs"}
	maps.Copy(m.juju.Config["sub"], options)
}

func (m *model) charm() charm.Charm[brokered.Facts, brokered.Env] {
	return charm.Charm[brokered.Facts, brokered.Env]{
		Env: func(event hooktool.Event, tools hooktool.Tools) brokered.Env {
			return brokered.Env{Tools: tools, LXD: m.lxd[event.Unit], Notify: func(_ context.Context, address string) error {
				m.called = append(m.called, address)
				return errors.New("no listener")
			}}
		},
		Observe: brokered.Observe,
		Plan:    brokered.Plan,
		Actions: map[string]charm.Action[brokered.Facts, brokered.Env]{
			"show-profile": brokered.ShowProfile, "diff": brokered.Diff, "apply-restart": brokered.ApplyRestart, "rollback": brokered.Rollback,
		},
	}
}

// event is a hook that says nothing of what happened, as every hook must work.
func (m *model) event(unit string) hooktool.Event {
	_, number, _ := strings.Cut(unit, "/")
	return hooktool.Event{Hook: "update-status", Unit: unit, Principal: "web/" + number, Model: "shop", ModelUUID: modelUUID}
}

// hook runs a hook that must end well.
func (m *model) hook(unit string) *hooktooltest.Unit {
	m.t.Helper()
	require.NoError(m.t, crashtest.Try(nil, m.juju, m.charm(), m.event(unit)))
	return m.juju.Units[unit]
}

func (m *model) answer(unit string, state lxdprofile.State) {
	bag := m.relation.Databags["lxd-cluster"]
	answer, _ := lxdprofile.DecodeProfileStatus(bag)
	if answer.Units == nil {
		answer.Units = map[string]lxdprofile.State{}
	}
	answer.Units[unit] = state
	m.relation.Databags["lxd-cluster"] = answer.Encode()
}

func (m *model) claim(unit string) lxdprofile.Claim {
	m.t.Helper()
	c, err := lxdprofile.DecodeClaim(unit, m.relation.Databags[unit])
	require.NoError(m.t, err)
	return c
}

func (m *model) status(unit string) string {
	u := m.juju.Units[unit]
	return u.Status + ": " + u.Message
}

func TestFromTheRequestToInForce(t *testing.T) {
	m := newModel(t)
	m.hook("sub/1")
	assert.Empty(t, m.relation.Databags["sub"], "only the leader asks")
	m.hook("sub/0")
	request, err := lxdprofile.DecodeProfileRequest(m.relation.Databags["sub"])
	require.NoError(t, err)
	assert.Equal(t, lxdprofile.ProfileRequest{Application: "web", Model: "shop", ModelUUID: modelUUID,
		Profile: profile.Profile{Config: map[string]string{"limits.memory": "512MiB"}}}, request)
	assert.Equal(t, lxdprofile.Claim{Unit: "sub/1", Principal: "web/1", ModelUUID: modelUUID, Instance: "juju-1"}, m.claim("sub/1"))
	assert.Equal(t, "waiting: waiting for lxd-cluster to apply the profile", m.status("sub/1"))

	// The broker asks for a proof; the unit reads the nonce that only it can read.
	key := lxdprofile.NonceKey("lxd-profile:7")
	nonce, _ := lxdprofile.NewNonce(rand.Reader)
	m.lxd["sub/1"].options[key] = nonce
	challenged := lxdprofile.State{State: lxdprofile.Challenged, Instance: "juju-1", Key: key, Challenge: lxdprofile.ChallengeOf(nonce)}
	m.answer("sub/1", challenged)
	m.hook("sub/1")
	assert.True(t, m.claim("sub/1").Proven(key, nonce))
	assert.NotContains(t, m.relation.Databags["sub/1"]["proof"], nonce)
	assert.Equal(t, "waiting: waiting for lxd-cluster to check that juju-1 is this unit's container", m.status("sub/1"))

	// It is applied. LXD is not asked for the nonce again, and nothing is written.
	m.lxd["sub/1"].asked = nil
	challenged.State, challenged.Revision = lxdprofile.Applied, lxdprofile.Revision(request.Profile)
	m.answer("sub/1", challenged)
	before := m.claim("sub/1")
	m.hook("sub/1")
	assert.Equal(t, "active: in force: limits.memory=512MiB", m.status("sub/1"))
	assert.Empty(t, m.lxd["sub/1"].asked)
	assert.Equal(t, before, m.claim("sub/1"))

	// A changed option is not in force before the broker says so.
	m.config("config: {limits.memory: 1GiB, security.nesting: true}")
	m.hook("sub/0")
	m.hook("sub/1")
	assert.Equal(t, "waiting: waiting for lxd-cluster to apply the profile", m.status("sub/1"))
	request, _ = lxdprofile.DecodeProfileRequest(m.relation.Databags["sub"])
	challenged.Revision, challenged.Restart = lxdprofile.Revision(request.Profile), []string{"config.security.nesting"}
	m.answer("sub/1", challenged)
	m.hook("sub/1")
	assert.Equal(t, "active: in force: limits.memory=1GiB; restart needed for security.nesting: juju run sub/leader apply-restart", m.status("sub/1"))

	// The broker lost the nonce and made another.
	other, _ := lxdprofile.NewNonce(rand.Reader)
	m.lxd["sub/1"].options[key] = other
	challenged.State, challenged.Challenge = lxdprofile.Challenged, lxdprofile.ChallengeOf(other)
	m.answer("sub/1", challenged)
	m.hook("sub/1")
	assert.True(t, m.claim("sub/1").Proven(key, other))
}

// The broker is notified at its address, each time that the request changes, and only by the unit that
// changed it; a missing listener does not matter.
func TestTheBrokerIsCalled(t *testing.T) {
	m := newModel(t)
	both := func() {
		m.hook("sub/0")
		m.hook("sub/1")
	}
	both()
	require.Empty(t, m.called, "it has not said where")
	m.relation.Databags["lxd-cluster"] = lxdprofile.ProfileStatus{Units: map[string]lxdprofile.State{}, NotifyAddress: "10.0.1.1:17668"}.Encode()
	both()
	require.Empty(t, m.called, "nothing else is asked for")
	m.config("config: {limits.memory: 768MiB}")
	both()
	both()
	require.Equal(t, []string{"10.0.1.1:17668"}, m.called)
	require.Contains(t, m.relation.Databags["sub"]["profile"], "768MiB")
}

func TestNotifyUDP(t *testing.T) {
	broker, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer broker.Close()
	require.NoError(t, brokered.NotifyUDP(t.Context(), broker.LocalAddr().String()+" WORD"))
	require.NoError(t, broker.SetReadDeadline(time.Now().Add(time.Minute)))
	said := make([]byte, 100)
	n, _, err := broker.ReadFrom(said)
	require.NoError(t, err)
	require.Equal(t, "WORD", string(said[:n]))
	require.ErrorContains(t, brokered.NotifyUDP(t.Context(), "10.0.0.1:17668 "+strings.Repeat("x", 65)), "wanted at most 64")
	for _, address := range []string{"", "broker.example:17668", "10.0.0.1", "10.0.0.1:x", "169.254.169.254:80:80"} {
		require.ErrorContains(t, brokered.NotifyUDP(t.Context(), address), "cannot notify the broker at", address)
	}
}

// A mistake blocks the unit by name and changes nothing that was asked for.
func TestABadProfileChangesNothing(t *testing.T) {
	m := newModel(t)
	m.hook("sub/0")
	before := m.relation.Databags["sub"]["profile"]
	for _, text := range []string{"config: {limits.memory: lots}", "config: [", "nodes: {}", strings.Repeat("x", 1<<20), "config: {user.juju-model-uuid: x}"} {
		m.config(text)
		m.hook("sub/0")
		assert.True(t, strings.HasPrefix(m.status("sub/0"), "blocked: cannot use option profile: "), m.status("sub/0"))
		assert.Less(t, len(m.status("sub/0")), 500)
		assert.Equal(t, before, m.relation.Databags["sub"]["profile"])
	}
	m.config("config: {limits.memory: lots}")
	m.hook("sub/0")
	assert.Equal(t, `blocked: cannot use option profile: config.limits.memory is "lots", wanted a size such as 512MiB, or a share of the host such as 50%`, m.status("sub/0"))

	m.config("")
	m.hook("sub/0")
	assert.NotEqual(t, before, m.relation.Databags["sub"]["profile"], "no profile is a request, too")
	m.answer("sub/0", lxdprofile.State{State: lxdprofile.Applied, Revision: lxdprofile.Revision(profile.Profile{})})
	m.hook("sub/0")
	assert.Equal(t, "active: options profile and preset are empty: nothing to apply", m.status("sub/0"))
}

// action runs an action of a unit and commits what it wrote when it did not fail.
func (m *model) action(unit, name string, params map[string]any) (map[string]string, string) {
	m.t.Helper()
	tools, commit := m.juju.Hook(unit)
	tools.Params = params
	event := m.event(unit)
	event.Hook, event.Action = "", name
	require.NoError(m.t, m.charm().Run(context.Background(), event, tools))
	commit()
	return tools.Results, tools.Failure
}

// Presets lie below the profile, in the order of their list.
func TestPresets(t *testing.T) {
	m := newModel(t)
	m.options(map[string]any{"preset": "docker, nested-kvm", "profile": "config: {security.nesting: false}\ndevices: {tun: {type: none}}"})
	m.hook("sub/0")
	request, err := lxdprofile.DecodeProfileRequest(m.relation.Databags["sub"])
	require.NoError(t, err)
	assert.Equal(t, "false", request.Profile.Config["security.nesting"])
	assert.Equal(t, "true", request.Profile.Config["security.syscalls.intercept.mknod"])
	assert.Equal(t, map[string]string{"type": "none"}, request.Profile.Devices["tun"])
	assert.Equal(t, "/dev/kvm", request.Profile.Devices["kvm"]["path"])

	results, failure := m.action("sub/1", "show-profile", nil)
	assert.Empty(t, failure)
	assert.Equal(t, `config:
    # preset docker
    linux.kernel_modules: overlay,br_netfilter,nf_nat,xt_conntrack,vxlan,ip_vs
    # option profile
    security.nesting: "false"
    # preset docker
    security.syscalls.intercept.mknod: "true"
    # preset docker
    security.syscalls.intercept.setxattr: "true"
devices:
    # preset nested-kvm
    kvm:
        path: /dev/kvm
        source: /dev/kvm
        type: unix-char
    # option profile
    tun:
        type: none
`, results["profile"])

	before := m.relation.Databags["sub"]["profile"]
	for says, options := range map[string]map[string]any{
		`cannot use option preset: it has "dokcer", wanted some of cephfs, docker`:                {"preset": "dokcer"},
		`cannot use preset cephfs: option cephfs-host-path is "/srv/../etc", wanted a whole path`: {"preset": "cephfs", "cephfs-host-path": "/srv/../etc"},
		`cannot use preset cephfs: option cephfs-user is "", wanted a name`:                       {"preset": "cephfs"},
		`cannot use option cephfs-monitors with option endpoint`:                                  {"preset": "cephfs", "cephfs-user": "web", "cephfs-monitors": "10.9.0.1", "endpoint": "https://10.0.8.1:8443"},
		`cannot use option profile: config.limits.cpu is "x"`:                                     {"preset": "docker", "profile": "config: {limits.cpu: x}"},
	} {
		m.options(options)
		m.hook("sub/0")
		assert.Contains(t, m.status("sub/0"), "blocked: "+says)
		assert.Equal(t, before, m.relation.Databags["sub"]["profile"])
		_, failure := m.action("sub/0", "show-profile", nil)
		assert.Contains(t, failure, says)
	}

	m.options(map[string]any{"preset": "cephfs", "cephfs-host-path": "/srv/share"})
	m.hook("sub/0")
	request, _ = lxdprofile.DecodeProfileRequest(m.relation.Databags["sub"])
	assert.Equal(t, map[string]string{"type": "disk", "source": "/srv/share", "path": "/mnt/cephfs"}, request.Profile.Devices["cephfs"])
}

func TestStatusReportsTheBrokersStatus(t *testing.T) {
	m := newModel(t)
	empty := lxdprofile.Revision(profile.Profile{})
	mine := lxdprofile.Revision(profile.Profile{Config: map[string]string{"limits.memory": "512MiB"}})
	for _, c := range []struct {
		state lxdprofile.State
		want  string
	}{
		{lxdprofile.State{State: lxdprofile.Refused, Message: "config.raw.lxc: profile-policy does not allow it"}, "blocked: lxd-cluster refused: config.raw.lxc: profile-policy does not allow it"},
		{lxdprofile.State{State: lxdprofile.UnknownInstance, Message: "cannot find instance juju-1"}, "blocked: lxd-cluster cannot find instance juju-1"},
		{lxdprofile.State{State: lxdprofile.Waiting, Message: "instance juju-1 is on node2, which is offline"}, "waiting: lxd-cluster: instance juju-1 is on node2, which is offline"},
		{lxdprofile.State{State: "from a later minor"}, "waiting: waiting for lxd-cluster to apply the profile"},
		{lxdprofile.State{State: lxdprofile.Applied, Revision: empty, Instance: "juju-1"}, "waiting: waiting for lxd-cluster to apply the profile"},
		{lxdprofile.State{State: lxdprofile.Applied, Revision: mine, Instance: "juju-1", Ignored: []string{"config.limits.memory"}}, "active: ignored by a virtual machine: limits.memory"},
		{lxdprofile.State{State: lxdprofile.Applied, Revision: mine, Instance: "juju-1", Differs: map[string]string{"config.limits.memory": `"1GiB"`}}, "active: in force: limits.memory=512MiB; overridden on instance juju-1 itself: limits.memory"},
	} {
		m.answer("sub/1", c.state)
		m.hook("sub/1")
		assert.Equal(t, c.want, m.status("sub/1"))
	}
	m.relation.Databags["lxd-cluster"] = map[string]string{"version": "2"}
	m.hook("sub/1")
	assert.Contains(t, m.status("sub/1"), `blocked: cannot read lxd-profile: the other side uses version "2"`)

	m.juju.Unrelate(m.relation)
	m.hook("sub/1")
	assert.Equal(t, "blocked: missing relation lxd-profile: integrate with lxd-cluster or its offer, or set option endpoint", m.status("sub/1"))
}

// A broker gets a proof under a nonce's key only, and only about the unit's own instance.
func TestNoProofOfAnythingElse(t *testing.T) {
	m := newModel(t)
	lxd := m.lxd["sub/1"]
	nonce, _ := lxdprofile.NewNonce(rand.Reader)
	lxd.options["user.user-data"] = nonce
	lxd.options["user.dcib.nonce.1"] = "short"
	for _, state := range []lxdprofile.State{
		{State: lxdprofile.Challenged, Instance: "juju-1", Key: "user.user-data", Challenge: lxdprofile.ChallengeOf(nonce)},
		{State: lxdprofile.Challenged, Instance: "juju-0", Key: "user.dcib.nonce.1", Challenge: "x"},
		{State: lxdprofile.Challenged, Instance: "juju-1", Key: "user.dcib.nonce.1", Challenge: lxdprofile.ChallengeOf("short")},
	} {
		m.answer("sub/1", state)
		m.hook("sub/1")
		assert.Empty(t, m.claim("sub/1").Proof)
	}
	assert.NotContains(t, lxd.asked, "user.user-data")
}

// A container that was copied or renamed keeps no proof of what it was.
func TestAnotherInstanceAnotherClaim(t *testing.T) {
	m := newModel(t)
	nonce, _ := lxdprofile.NewNonce(rand.Reader)
	m.lxd["sub/1"].options["user.dcib.nonce.1"] = nonce
	m.answer("sub/1", lxdprofile.State{State: lxdprofile.Challenged, Instance: "juju-1", Key: "user.dcib.nonce.1", Challenge: lxdprofile.ChallengeOf(nonce)})
	m.hook("sub/1")
	require.NotEmpty(t, m.claim("sub/1").Proof)
	m.lxd["sub/1"].instance = "juju-9"
	m.hook("sub/1")
	assert.Equal(t, lxdprofile.Claim{Unit: "sub/1", Principal: "web/1", ModelUUID: modelUUID, Instance: "juju-9"}, m.claim("sub/1"))
}

// What another hand wrote into the unit's databag is taken back, and said.
func TestAClaimThatIsNotTrue(t *testing.T) {
	m := newModel(t)
	m.hook("sub/1")
	own := m.claim("sub/1")
	forged := own
	forged.Instance, forged.Principal = "juju-0", "db/0"
	m.relation.Databags["sub/1"] = forged.Encode()
	m.answer("sub/1", lxdprofile.State{State: lxdprofile.Refused, Instance: "juju-0", Message: "instance juju-0 is not where Juju put it"})
	m.hook("sub/1")
	assert.Equal(t, own, m.claim("sub/1"))
	assert.Contains(t, m.juju.Units["sub/1"].Log, `WARNING this unit's claim said principal "db/0" where it is "web/1", instance "juju-0" where it is "juju-1": taken back; lxd-cluster has refused it: instance juju-0 is not where Juju put it`)
}

func TestOutsideLXD(t *testing.T) {
	m := newModel(t)
	m.lxd["sub/0"].instance = ""
	m.hook("sub/0")
	assert.Equal(t, "active: not in an LXD container: nothing to do", m.status("sub/0"))
	assert.NotEmpty(t, m.relation.Databags["sub"], "its other units may be in LXD")
	assert.Empty(t, m.relation.Databags["sub/0"])

	m.lxd["sub/1"].broken = assert.AnError
	m.hook("sub/1")
	assert.Contains(t, m.status("sub/1"), "waiting: ")
}

// The real devlxd door, against a socket that answers as LXD does.
func TestDevLXD(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sock")
	d := brokered.DevLXD{Socket: path, Proc: "/proc"}
	name, err := d.Instance(t.Context())
	require.NoError(t, err)
	assert.Empty(t, name, "no socket is no LXD")

	listener, err := net.Listen("unix", path)
	require.NoError(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/1.0/meta-data":
			_, _ = w.Write([]byte("#cloud-config\ninstance-id: 1-2-3\nlocal-hostname: juju-1\n"))
		case "/1.0/config/user.dcib.nonce.5":
			_, _ = w.Write([]byte("abc"))
		case "/1.0/config/user.x":
			http.Error(w, "Access denied for non-root user", http.StatusUnauthorized)
		default:
			http.NotFound(w, r)
		}
	})}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()

	name, err = d.Instance(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "juju-1", name)
	value, err := d.Option(t.Context(), "user.dcib.nonce.5")
	require.NoError(t, err)
	assert.Equal(t, "abc", value)
	value, err = d.Option(t.Context(), "user.dcib.nonce.6")
	require.NoError(t, err)
	assert.Empty(t, value)
	_, err = d.Option(t.Context(), "user.x")
	assert.ErrorContains(t, err, "it answered 401 Unauthorized: Access denied for non-root user")

	started, err := d.Started(t.Context())
	require.NoError(t, err)
	assert.Regexp(t, `^[0-9a-f-]{36} [0-9]+$`, started)
	again, err := d.Started(t.Context())
	require.NoError(t, err)
	assert.Equal(t, started, again)
	d.Proc = dir
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "1"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "sys/kernel/random"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sys/kernel/random/boot_id"), []byte("b\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "1/stat"), []byte("1 (a) b) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9"), 0o644))
	started, err = d.Started(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "b 4711", started)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "1/stat"), []byte("1 (a"), 0o644))
	_, err = d.Started(t.Context())
	assert.ErrorContains(t, err, "cannot read when this instance was started")
}

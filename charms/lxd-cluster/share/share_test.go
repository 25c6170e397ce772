package share_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/charms/lxd-cluster/share"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
	"github.com/dcib/dcib/internal/seal"
	"github.com/dcib/dcib/internal/testkit/crash"
	"github.com/dcib/dcib/internal/testkit/hooktool"
	"github.com/dcib/dcib/internal/testkit/profiles"
)

const key = "QVFEU0VDUkVUU0VDUkVUU0VDUkVU"

const (
	here  = "00000000-0000-4000-8000-000000000001" // the provider's model
	shop  = "00000000-0000-4000-8000-000000000002"
	rogue = "00000000-0000-4000-8000-000000000003"
)

// host is two units of lxd-cluster, each with a host of its own and one LXD for both, and one
// application that asks.
type host struct {
	t    tester
	juju *hooktooltest.Juju
	lxd  *profilestest.LXD
	dirs map[string]string
	*asker

	broken error // what LXD answers instead
}

// tester is what is needed of *testing.T.
type tester interface {
	require.TestingT
	assert.TestingT
	Helper()
}

// asker is one application that asks, over a relation of its own.
type asker struct {
	h        *host
	relation *hooktooltest.Relation
	app      string
	cluster  string // the name that it seals for
	request  lxdprofile.ProfileRequest
	claim    lxdprofile.Claim
}

func newHost(t *testing.T) *host { return hostIn(t, t.TempDir()) }

func hostIn(t tester, dir string) *host {
	h := &host{t: t, juju: hooktooltest.New(), lxd: profilestest.New(), dirs: map[string]string{}}
	for _, unit := range []string{"lxd-cluster/0", "lxd-cluster/1"} {
		h.juju.AddUnit(unit, "")
		h.dirs[unit] = filepath.Join(dir, strings.ReplaceAll(unit, "/", "-"))
		require.NoError(t, os.MkdirAll(h.dirs[unit], 0o755))
	}
	h.policy("devices: [disk]\nhost-paths: [\"cephfs:cephfs/*\"]")
	h.asker = h.relate("remote-00000000000000000000000000000002", "web", shop)
	h.asker.prove()
	return h
}

// relate relates an application with one unit, which has claimed its instance but not proven it.
func (h *host) relate(app, principal, model string) *asker {
	a := &asker{h: h, app: app}
	a.relation = h.juju.Relate("lxd-cluster:lxd-profile", app+":lxd-profile")
	a.cluster = lxdprofile.CephCluster(here, a.id())
	h.juju.AddUnit(app+"/0", "")
	a.request = lxdprofile.ProfileRequest{Application: principal, Model: "shop", ModelUUID: model}
	a.claim = lxdprofile.Claim{Unit: app + "/0", Principal: principal + "/0", ModelUUID: model, Instance: "juju-" + principal + "-0"}
	if h.lxd.Instances[a.claim.Instance] == nil {
		h.lxd.Add(a.claim.Instance, model, a.claim.Principal)
	}
	a.relation.Databags[app+"/0"] = a.claim.Encode()
	a.ask(lxdprofile.Ceph{})
	return a
}

// GetInstances implements share.Instances.
func (h *host) GetInstances(kind api.InstanceType) ([]api.Instance, error) {
	if h.broken != nil {
		return nil, h.broken
	}
	return h.lxd.GetInstances(kind)
}

func (h *host) policy(text string) {
	h.juju.Config["lxd-cluster"] = map[string]any{"profile-policy": text}
}

func (a *asker) id() string { return fmt.Sprintf("lxd-profile:%d", a.relation.ID) }

// prove does what the broker and an honest unit do: a nonce in the instance, and a proof.
func (a *asker) prove() {
	key := lxdprofile.NonceKey(a.id())
	nonce, err := lxdprofile.NewNonce(rand.Reader)
	require.NoError(a.h.t, err)
	a.h.lxd.Instances[a.claim.Instance].Config[key] = nonce
	a.claim.Challenge, a.claim.Proof = lxdprofile.ChallengeOf(nonce), a.claim.Prove(key, nonce)
	a.relation.Databags[a.app+"/0"] = a.claim.Encode()
}

func (a *asker) ask(c lxdprofile.Ceph) {
	bag := a.request.Encode()
	bag["ceph"] = c.Encode()["ceph"]
	a.relation.Databags[a.app] = bag
}

// member is what a unit of lxd-cluster has told the application.
func (a *asker) member(unit string) lxdprofile.Member {
	m, err := lxdprofile.DecodeMember(a.relation.Databags[unit])
	if err != nil {
		return lxdprofile.Member{}
	}
	return m
}

func (h *host) hook(unit string) lxdprofile.Member {
	h.t.Helper()
	require.NoError(h.t, crashtest.Try(nil, h.juju, h.charm(), h.event(unit)))
	return h.member(unit)
}

func (h *host) event(unit string) hooktool.Event {
	return hooktool.Event{Hook: "update-status", Unit: unit, ModelUUID: here}
}

func (h *host) charm() charm.Charm[share.Facts, share.Env] {
	return charm.Charm[share.Facts, share.Env]{
		Env: func(event hooktool.Event, tools hooktool.Tools) share.Env {
			return share.Env{Tools: tools, LXD: h, Folder: filepath.Join(h.dirs[event.Unit], "ceph"), StateDir: filepath.Join(h.dirs[event.Unit], "state")}
		},
		Observe: func(ctx context.Context, event hooktool.Event, w share.Env) (share.Facts, error) {
			return share.Observe(ctx, event, w)
		},
		Plan: func(f share.Facts) charm.Plan[share.Env] {
			p := share.Plan(f)
			p.Status = charm.Active("")
			return p
		},
	}
}

// sealTo seals an access to some units, by their numbers.
func (a *asker) sealTo(access lxdprofile.CephAccess, keys map[string]string) {
	text, err := json.Marshal(access)
	require.NoError(a.h.t, err)
	c := lxdprofile.Ceph{Digest: "x\n[global]\nlog_file = /etc/cron.d/x", Source: "cephfs:cephfs/web", Sealed: map[string]string{}}
	for n, public := range keys {
		c.Sealed[n], err = seal.Seal(public, lxdprofile.CephPurpose(a.cluster), text)
		require.NoError(a.h.t, err)
	}
	a.ask(c)
}

func (h *host) files(unit string) map[string]string {
	files := map[string]string{}
	found, _ := filepath.Glob(filepath.Join(h.dirs[unit], "ceph", "*"))
	for _, file := range found {
		text, err := os.ReadFile(file)
		require.NoError(h.t, err)
		info, err := os.Stat(file)
		require.NoError(h.t, err)
		assert.Equal(h.t, os.FileMode(0o600), info.Mode().Perm(), file)
		files[filepath.Base(file)] = string(text)
	}
	return files
}

var access = lxdprofile.CephAccess{Monitors: []string{"10.0.0.1", "[fd00::1]:6789"}, User: "web", Key: key}

func TestEachHostGetsItsOwn(t *testing.T) {
	h := newHost(t)
	require.NoError(t, os.MkdirAll(filepath.Join(h.dirs["lxd-cluster/0"], "ceph"), 0o755))
	theirs := filepath.Join(h.dirs["lxd-cluster/0"], "ceph", "dcib-theirs.conf")
	require.NoError(t, os.WriteFile(theirs, []byte("[global]\n"), 0o600))
	keys := map[string]string{}
	for n, unit := range map[string]string{"0": "lxd-cluster/0", "1": "lxd-cluster/1"} {
		m := h.hook(unit)
		require.NotEmpty(t, m.SealKey)
		assert.Empty(t, m.Ceph)
		assert.Equal(t, m, h.hook(unit), "the key stays")
		keys[n] = m.SealKey
	}
	h.sealTo(access, keys)
	for _, unit := range []string{"lxd-cluster/0", "lxd-cluster/1"} {
		assert.Equal(t, access.Digest(), h.hook(unit).Ceph)
		files := h.files(unit)
		assert.Equal(t, "[client.web]\n\tkey = "+key+"\n", files[h.cluster+".client.web.keyring"])
		assert.Equal(t, "# Written by lxd-cluster for a relation lxd-profile: "+access.Digest()+"\n[global]\nmon_host = 10.0.0.1,[fd00::1]:6789\n", files[h.cluster+".conf"],
			"nothing in it is the requirer's own word")
	}
	for owner, bag := range h.relation.Databags {
		for _, value := range bag {
			assert.NotContains(t, value, key, owner)
		}
	}
	for _, unit := range h.juju.Units {
		assert.NotContains(t, strings.Join(unit.Log, "\n"), key)
	}

	// Another user: nothing of the one before is left. Only to unit 1, so unit 0 stays.
	other := access
	other.User = "db"
	h.sealTo(other, map[string]string{"1": keys["1"]})
	assert.Equal(t, other.Digest(), h.hook("lxd-cluster/1").Ceph)
	assert.NotContains(t, h.files("lxd-cluster/1"), h.cluster+".client.web.keyring")
	assert.Equal(t, access.Digest(), h.hook("lxd-cluster/0").Ceph)

	// The share, or the relation, goes: so does the key. What is not ours stays.
	h.ask(lxdprofile.Ceph{})
	delete(h.relation.Databags[h.app], "ceph")
	h.hook("lxd-cluster/1")
	assert.Empty(t, h.files("lxd-cluster/1"))
	h.juju.Unrelate(h.relation)
	h.hook("lxd-cluster/0")
	assert.Equal(t, map[string]string{"dcib-theirs.conf": "[global]\n"}, h.files("lxd-cluster/0"))
}

// A power loss soon after a write can leave an empty file. What the unit can make again
// counts as none, and no hook fails.
func TestLostFilesAreMadeAgain(t *testing.T) {
	const unit = "lxd-cluster/0"
	h := newHost(t)
	h.prove()
	sealKey := h.hook(unit).SealKey
	h.sealTo(access, map[string]string{"0": sealKey})
	require.Equal(t, access.Digest(), h.hook(unit).Ceph)
	written := h.files(unit)
	conf := filepath.Join(h.dirs[unit], "ceph", h.cluster+".conf")
	require.NoError(t, os.Truncate(conf, 0))
	assert.Equal(t, access.Digest(), h.hook(unit).Ceph)
	assert.Equal(t, written, h.files(unit))

	keyFile := filepath.Join(h.dirs[unit], "state", "share-key")
	for _, size := range []int64{0, 7, 4096} {
		require.NoError(t, os.Truncate(keyFile, size))
		m := h.hook(unit)
		require.NotEmpty(t, m.SealKey)
		require.NotEqual(t, sealKey, m.SealKey)
		assert.Equal(t, written, h.files(unit), "what is there stays until the requirer seals again")
		sealKey = m.SealKey
		h.sealTo(access, map[string]string{"0": sealKey})
		m = h.hook(unit)
		assert.Equal(t, access.Digest(), m.Ceph)
		assert.Empty(t, m.Problem)
	}

	// An empty one whose relation is gone is removed.
	require.NoError(t, os.Truncate(conf, 0))
	h.juju.Unrelate(h.relation)
	h.hook(unit)
	assert.Empty(t, h.files(unit))
}

// What would become another line of a file, or another file, is not written.
func TestBadAccess(t *testing.T) {
	for name, bad := range map[string]lxdprofile.CephAccess{
		"no monitor":     {User: "web", Key: key},
		"a line":         {Monitors: []string{"10.0.0.1\nkeyring=/etc/shadow"}, User: "web", Key: key},
		"a user's path":  {Monitors: []string{"10.0.0.1"}, User: "../x", Key: key},
		"no user":        {Monitors: []string{"10.0.0.1"}, Key: key},
		"no key":         {Monitors: []string{"10.0.0.1"}, User: "web"},
		"a key's line":   {Monitors: []string{"10.0.0.1"}, User: "web", Key: "x\n[client.admin]"},
		"a key and more": {Monitors: []string{"10.0.0.1"}, User: "web", Key: key + "\n"},
		"a key in lines": {Monitors: []string{"10.0.0.1"}, User: "web", Key: key[:8] + "\r\n" + key[8:]},
		"a loose key":    {Monitors: []string{"10.0.0.1"}, User: "web", Key: "QR=="}, // bits behind its end
		"a long key":     {Monitors: []string{"10.0.0.1"}, User: "web", Key: strings.Repeat("QQQQ", 1000)},
		"a long user":    {Monitors: []string{"10.0.0.1"}, User: strings.Repeat("x", 300), Key: key},
		"a long monitor": {Monitors: []string{strings.Repeat("x", 300)}, User: "web", Key: key},
		"many monitors":  {Monitors: slices.Repeat([]string{"10.0.0.1"}, 33), User: "web", Key: key},
		"for another":    {},
		"sealed to them": {},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			public := h.hook("lxd-cluster/0").SealKey
			switch name {
			case "for another":
				h.cluster = "dcib-another"
				bad = access
			case "sealed to them":
				public = h.hook("lxd-cluster/1").SealKey
				bad = access
			}
			h.sealTo(bad, map[string]string{"0": public})
			m := h.hook("lxd-cluster/0")
			assert.Empty(t, m.Ceph)
			assert.Contains(t, m.Problem, "cannot ")
			assert.NotContains(t, m.Problem, "shadow")
			assert.Empty(t, h.files("lxd-cluster/0"))
		})
	}
}

func TestNoRequests(t *testing.T) {
	h := newHost(t)
	delete(h.relation.Databags[h.app], "ceph")
	assert.Empty(t, h.hook("lxd-cluster/0").SealKey)
	assert.NoDirExists(t, filepath.Join(h.dirs["lxd-cluster/0"], "state"))
}

// Whatever an application says of itself, its access goes under the name of its relation alone,
// and nowhere before one of its units has proven its instance.
func TestForgedNames(t *testing.T) {
	for name, forge := range map[string]func(h *host, evil *asker){
		"nothing is proven":     func(*host, *asker) {},
		"a forged application":  func(_ *host, evil *asker) { evil.request.Application = "web" },
		"a forged model":        func(_ *host, evil *asker) { evil.request.ModelUUID = shop },
		"both":                  func(_ *host, evil *asker) { evil.request.Application, evil.request.ModelUUID = "web", shop },
		"another's claim":       func(h *host, evil *asker) { evil.claim = h.claim },
		"another's instance":    func(_ *host, evil *asker) { evil.claim.Instance = "juju-web-0" },
		"a model it is not of":  func(_ *host, evil *asker) { evil.claim.ModelUUID = shop },
		"the other's own proof": func(h *host, evil *asker) { evil.claim.Proof = h.claim.Proof },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			evil := h.relate("remote-0123456789abcdef", "evil", rogue)
			keys := map[string]string{"0": h.hook("lxd-cluster/0").SealKey}
			h.sealTo(access, keys)
			h.hook("lxd-cluster/0")
			before := h.files("lxd-cluster/0")
			require.Len(t, before, 2)

			forge(h, evil)
			evil.relation.Databags[evil.app+"/0"] = evil.claim.Encode()
			theirs := lxdprofile.CephAccess{Monitors: []string{"203.0.113.1"}, User: "web", Key: key}
			for _, cluster := range []string{h.cluster, evil.cluster} {
				evil.cluster = cluster
				evil.sealTo(theirs, keys)
				h.hook("lxd-cluster/0")
				assert.Equal(t, before, h.files("lxd-cluster/0"))
				assert.Empty(t, evil.member("lxd-cluster/0").Ceph)
			}
		})
	}
}

// Two relations are beside each other, whatever each says of itself, and the end of one takes
// nothing from the other.
func TestBothAtOnce(t *testing.T) {
	h := newHost(t)
	evil := h.relate("remote-0123456789abcdef", "evil", rogue)
	evil.prove()
	evil.request = h.request // it claims to be the other
	keys := map[string]string{"0": h.hook("lxd-cluster/0").SealKey}
	theirs := lxdprofile.CephAccess{Monitors: []string{"203.0.113.1"}, User: "web", Key: key}
	h.sealTo(access, keys)
	evil.sealTo(theirs, keys)
	for range 3 {
		h.hook("lxd-cluster/0")
		files := h.files("lxd-cluster/0")
		assert.Len(t, files, 4)
		assert.Contains(t, files[h.cluster+".conf"], "mon_host = 10.0.0.1,")
		assert.Contains(t, files[evil.cluster+".conf"], "mon_host = 203.0.113.1\n")
	}
	assert.NotEqual(t, h.cluster, evil.cluster)
	h.juju.Unrelate(evil.relation)
	h.hook("lxd-cluster/0")
	assert.Len(t, h.files("lxd-cluster/0"), 2)
	assert.Contains(t, h.files("lxd-cluster/0")[h.cluster+".conf"], "mon_host = 10.0.0.1,")
}

// Of two relations of one name the later is refused. Names are hashes, so the facts are made up.
func TestTheLaterOfOneNameIsRefused(t *testing.T) {
	h := newHost(t)
	h.hook("lxd-cluster/0")
	relation := share.Relation{ID: "lxd-profile:0", Cluster: "dcib-0123456789abcdef", Access: &access, Model: shop}
	other := relation
	other.ID = "lxd-profile:1"
	var names []string
	for _, step := range share.Plan(share.Facts{SealKey: "k", Relations: []share.Relation{relation, other}, Has: map[string]string{relation.Cluster: access.Digest()}}).Steps {
		names = append(names, step.Name())
		if strings.Contains(step.Name(), "lxd-profile:1") {
			assert.Contains(t, fmt.Sprintf("%v", step), "another relation has the name dcib-0123456789abcdef")
		}
	}
	assert.Equal(t, []string{"publish what this host has of a share (lxd-profile:0)", "publish what this host has of a share (lxd-profile:1)"}, names)
}

// What the host has stays while nothing can be proven: an instance that moves goes by another
// name for that time, and one on an offline member has no options.
func TestWhatIsThereStaysWithoutAProof(t *testing.T) {
	h := newHost(t)
	h.sealTo(access, map[string]string{"0": h.hook("lxd-cluster/0").SealKey})
	h.hook("lxd-cluster/0")
	before := h.files("lxd-cluster/0")
	require.Len(t, before, 2)
	delete(h.lxd.Instances, h.claim.Instance)
	h.hook("lxd-cluster/0")
	assert.Equal(t, before, h.files("lxd-cluster/0"))
	delete(h.relation.Databags, h.app+"/0")
	h.juju.RemoveUnit(h.app + "/0")
	h.hook("lxd-cluster/0")
	assert.Equal(t, before, h.files("lxd-cluster/0"))
}

// An LXD that does not answer fails no hook: nothing is written, and what is there stays.
func TestLXDDoesNotAnswer(t *testing.T) {
	h := newHost(t)
	h.sealTo(access, map[string]string{"0": h.hook("lxd-cluster/0").SealKey})
	h.broken = errors.New("context deadline exceeded")
	assert.Empty(t, h.hook("lxd-cluster/0").Ceph)
	assert.Empty(t, h.files("lxd-cluster/0"))
	h.broken = nil
	assert.Equal(t, access.Digest(), h.hook("lxd-cluster/0").Ceph)
	h.broken = errors.New("context deadline exceeded")
	assert.Equal(t, access.Digest(), h.hook("lxd-cluster/0").Ceph)
	assert.Len(t, h.files("lxd-cluster/0"), 2)
}

// Hooks are killed at every point while an honest application and a forger come and go.
func TestCrashes(t *testing.T) {
	crashtest.Check(t, func(run *crashtest.Run) any {
		h := hostIn(run, t.TempDir())
		hooks := func(n int) {
			for range n {
				for _, unit := range []string{"lxd-cluster/0", "lxd-cluster/1"} {
					_ = crashtest.Hook(run, h.juju, h.charm(), h.event(unit))
				}
			}
		}
		keys := func() map[string]string {
			keys := map[string]string{}
			for n, unit := range map[string]string{"0": "lxd-cluster/0", "1": "lxd-cluster/1"} {
				if public := h.member(unit).SealKey; public != "" {
					keys[n] = public
				}
			}
			return keys
		}
		evil := h.relate("remote-0123456789abcdef", "evil", rogue)
		evil.request = h.request
		theirs := lxdprofile.CephAccess{Monitors: []string{"203.0.113.1"}, User: "web", Key: key}
		// And one that has proven its instance, and claims to be the first.
		other := h.relate("remote-0123456789abcde0", "other", rogue)
		other.prove()
		other.request = h.request
		others := lxdprofile.CephAccess{Monitors: []string{"203.0.113.2"}, User: "web", Key: key}
		run.Always = func() {
			for _, unit := range []string{"lxd-cluster/0", "lxd-cluster/1"} {
				for name, text := range h.files(unit) {
					require.NotContains(run, text, "203.0.113.1", "%s on %s", name, unit)
					if strings.HasPrefix(name, h.cluster) {
						require.NotContains(run, text, "203.0.113.2", "%s on %s", name, unit)
					}
				}
			}
		}
		hooks(2)
		h.sealTo(access, keys())
		evil.cluster = h.cluster
		evil.sealTo(theirs, keys())
		other.sealTo(others, keys())
		hooks(2)
		h.juju.Unrelate(evil.relation)
		hooks(2)
		h.juju.Unrelate(other.relation)
		hooks(2)
		require.Len(run, h.files("lxd-cluster/0"), 2)
		return map[string]any{"0": h.files("lxd-cluster/0"), "1": h.files("lxd-cluster/1")}
	}, crashtest.Late, crashtest.Lost)
}

// Nothing is kept on a host that the policy for the relation would not let it use; what was
// allowed before goes.
func TestThePolicyDecides(t *testing.T) {
	h := newHost(t)
	keys := map[string]string{"0": h.hook("lxd-cluster/0").SealKey}
	h.sealTo(access, keys)
	const refused = `devices.cephfs: profile-policy (default) does not allow it: its devices (line 1) would need "disk"; ` +
		`devices.cephfs: profile-policy (default) does not allow it: it would need host-paths "cephfs:cephfs/web"`
	const others = "default: {devices: []}\nrequesters: [{relation: 99, devices: [disk], host-paths: [\"cephfs:cephfs/web\"]}]"
	for range 2 {
		h.policy(others)
		assert.Equal(t, refused, h.hook("lxd-cluster/0").Problem)
		assert.Empty(t, h.member("lxd-cluster/0").Ceph)
		assert.Empty(t, h.files("lxd-cluster/0"))

		h.policy("requesters: [{model: " + shop + ", devices: [disk], host-paths: [\"cephfs:cephfs/web\"]}]")
		assert.Equal(t, lxdprofile.Member{SealKey: keys["0"], Ceph: access.Digest()}, h.hook("lxd-cluster/0"))
		assert.Len(t, h.files("lxd-cluster/0"), 2)
	}
	h.policy("no: policy")
	h.hook("lxd-cluster/0")
	assert.Len(t, h.files("lxd-cluster/0"), 2, "what is in force stays while the option is wrong")
	h.policy("")
	h.hook("lxd-cluster/0")
	assert.Empty(t, h.files("lxd-cluster/0"), "the charm's default allows no device")
}

// Over the trusted endpoint it is the same.
func TestTheTrustedEndpoint(t *testing.T) {
	h := newHost(t)
	h.juju.Unrelate(h.relation)
	h.policy("requesters: [{endpoint: lxd-profile-trusted, devices: [disk], host-paths: [\"cephfs:cephfs/web\"]}]")
	h.relation = h.juju.Relate("lxd-cluster:lxd-profile-trusted", h.app+":lxd-profile")
	h.cluster = lxdprofile.CephCluster(here, fmt.Sprintf("lxd-profile-trusted:%d", h.relation.ID))
	h.relation.Databags[h.app+"/0"] = h.claim.Encode()
	h.prove()
	h.ask(lxdprofile.Ceph{})
	h.sealTo(access, map[string]string{"0": h.hook("lxd-cluster/0").SealKey})
	assert.Equal(t, access.Digest(), h.hook("lxd-cluster/0").Ceph)
}

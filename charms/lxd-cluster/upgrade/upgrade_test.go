package upgrade

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/charms/lxd-cluster/cluster"
	"github.com/dcib/dcib/charms/lxd-cluster/install"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/relation/lxdcluster"
)

// machine is one with an LXD from a snap or a package, in a cluster of three.
type machine struct {
	t       *testing.T
	dir     string
	source  string
	version string
	offered string
	tracks  string
	status  string // of its member
	others  string
	ran     []string
	down    int  // looks until LXD is back after an upgrade
	blocked bool // it never is
	fail    map[string]error

	runs     []string // on its member
	underway func()   // what LXD is doing with the member ends so
}

func newMachine(t *testing.T, source string) *machine {
	m := &machine{t: t, dir: t.TempDir(), source: source, tracks: "5.21/stable/…", status: "Online", others: "Online", down: 2, fail: map[string]error{}}
	m.version, m.offered = "5.21.3-c5ae129", "5.21.3-d0ffee1"
	if source == install.Apt {
		m.version, m.offered = "5.0.2-5", "5.0.2-5+deb12u1"
	}
	return m
}

func (m *machine) Run(_ context.Context, name string, args ...string) (string, error) {
	command := name + " " + strings.Join(args, " ")
	if strings.HasPrefix(command, "apt-get") {
		command = "apt-get " + strings.Join(args[len(options):], " ")
		require.Equal(m.t, options, args[:len(options)])
	}
	if err := m.fail[command]; err != nil {
		return "", err
	}
	switch command {
	case "snap list lxd":
		return fmt.Sprintf("Name  Version  Rev  Tracking  Publisher  Notes\nlxd   %s  123  %s  canonical✓  in-cohort\n", m.version, m.tracks), nil
	case "snap refresh --list":
		if m.version == m.offered {
			return "All snaps up to date.\n", nil
		}
		return "Name  Version  Rev  Size  Publisher  Notes\nlxd   x  124  99MB  canonical✓  -\n", nil
	case "apt-get update":
		return "", nil
	case "apt-cache policy lxd":
		return fmt.Sprintf("lxd:\n  Installed: %s\n  Candidate: %s\n  Version table:\n", m.version, m.offered), nil
	case "apt-get install --only-upgrade lxd", "snap refresh lxd --cohort=+", "snap refresh lxd --cohort=+ --channel=6/stable":
		m.ran = append(m.ran, command)
		m.version = m.offered
		return "", nil
	}
	m.t.Fatalf("unexpected: %s", command)
	return "", nil
}

func (m *machine) members() []cluster.Member {
	return []cluster.Member{{Name: "m1", Status: m.status}, {Name: "m2", Status: m.others}, {Name: "m3", Status: "Online"}}
}

func (m *machine) observe(context.Context) (cluster.ServerState, error) {
	if len(m.ran) > 0 && (m.blocked || m.down > 0) {
		m.down--
		return cluster.ServerState{}, errors.New("LXD does not answer")
	}
	return cluster.ServerState{Members: m.members()}, nil
}

func (m *machine) run(params map[string]any) (map[string]string, error) {
	change := func(verb, to string) func(context.Context, charm.Call) (map[string]string, error) {
		return func(_ context.Context, call charm.Call) (map[string]string, error) {
			require.Equal(m.t, "m1", call.String("member"))
			if err := m.fail[verb]; err != nil {
				return nil, err
			}
			m.ran = append(m.ran, verb)
			m.status = to
			return nil, nil
		}
	}
	c := cluster.Facts{Unit: "lxd-cluster/0", Peers: map[string]cluster.PeerData{
		"lxd-cluster/1": {Request: lxdcluster.JoinRequest{Cluster: "id", LXD: upstream(m.version)}},
		"lxd-cluster/2": {Request: lxdcluster.JoinRequest{LXD: "not in it yet"}},
	}}
	c.LXD.Member, c.LXD.Members, c.LXD.Identity, c.LXD.Version = "m1", m.members(), "id", upstream(m.version)
	if v, ok := params["theirs"].(string); ok {
		c.Peers["lxd-cluster/1"] = cluster.PeerData{Request: lxdcluster.JoinRequest{Cluster: "id", LXD: v}}
	}
	settled := func(context.Context, string) (drain.MemberStatus, []string, error) {
		if m.underway != nil {
			m.underway()
			m.ran = append(m.ran, "settle")
		}
		return drain.MemberStatus(m.status), m.runs, m.fail["settle"]
	}
	w := Env{Commands: m, StateDir: m.dir, Settled: settled, Observe: m.observe, Evacuate: change("evacuate", "Evacuated"), Restore: change("restore", "Online"), ReadyTimeout: 50 * time.Millisecond, PollInterval: time.Millisecond}
	return Upgrade(m.t.Context(), FactsOf(c, install.Facts{Source: m.source}), w, charm.Call{Params: params, Progress: func(string, ...any) {}})
}

func TestUpgrade(t *testing.T) {
	for source, want := range map[string]string{
		install.Apt:  "apt-get install --only-upgrade lxd",
		install.Snap: "snap refresh lxd --cohort=+",
	} {
		m := newMachine(t, source)
		old := m.version
		results, err := m.run(map[string]any{"evacuate": true})
		require.NoError(t, err)
		require.Equal(t, []string{"evacuate", want, "restore"}, m.ran)
		require.Equal(t, "upgraded", results["state"])
		require.Equal(t, "true", results["restored"])
		require.Contains(t, results["old-version"], old)
		require.Contains(t, results["new-version"], m.offered)
		require.NoFileExists(t, filepath.Join(m.dir, noteFile))

		m.ran = nil
		results, err = m.run(map[string]any{"evacuate": true})
		require.NoError(t, err)
		require.Equal(t, "nothing to upgrade", results["state"])
		require.Empty(t, m.ran, "no instance moves for nothing")
	}
	m := newMachine(t, install.Snap)
	m.offered = m.version
	_, err := m.run(map[string]any{"channel": "6/stable"})
	require.NoError(t, err)
	require.Equal(t, []string{"snap refresh lxd --cohort=+ --channel=6/stable"}, m.ran)
	m.ran = nil
	_, err = m.run(map[string]any{"channel": "5.21/stable"})
	require.NoError(t, err)
	require.Empty(t, m.ran, "it follows that already")
}

func TestRefusals(t *testing.T) {
	for want, do := range map[string]func(m *machine, params map[string]any){
		"member m2 is offline":                         func(m *machine, _ map[string]any) { m.others = "Offline" },
		"member m2 is evacuated":                       func(m *machine, _ map[string]any) { m.others = "Evacuated" },
		"lxd-cluster/1 has LXD 9, this machine 5.21.3": func(_ *machine, params map[string]any) { params["theirs"] = "9" },
		`parameter channel is "6"`:                     func(_ *machine, params map[string]any) { params["channel"] = "6" },
		"neither a snap nor":                           func(m *machine, _ map[string]any) { m.source = "" },
		"this machine's LXD is from apt": func(m *machine, params map[string]any) {
			m.source, params["channel"] = install.Apt, "6/stable"
		},
		"no such snap":      func(m *machine, _ map[string]any) { m.fail["snap list lxd"] = errors.New("no such snap") },
		"the store is away": func(m *machine, _ map[string]any) { m.fail["snap refresh --list"] = errors.New("the store is away") },
	} {
		m, params := newMachine(t, install.Snap), map[string]any{"evacuate": true}
		do(m, params)
		_, err := m.run(params)
		require.ErrorContains(t, err, want)
		require.Empty(t, m.ran)
	}
	m := newMachine(t, install.Snap)
	m.others = "Offline"
	_, err := m.run(map[string]any{"continue": true, "theirs": "9"})
	require.NoError(t, err)
	require.Len(t, m.ran, 1)
}

func TestWhatFailsCanBeRunAgain(t *testing.T) {
	m := newMachine(t, install.Apt)
	m.fail["apt-get install --only-upgrade lxd"] = errors.New("the disk is full")
	results, err := m.run(map[string]any{"evacuate": true})
	require.ErrorContains(t, err, "the disk is full")
	require.Equal(t, "not upgraded", results["state"])
	require.Equal(t, []string{"evacuate"}, m.ran)
	clear(m.fail)
	results, err = m.run(map[string]any{})
	require.NoError(t, err)
	require.Equal(t, []string{"evacuate", "apt-get install --only-upgrade lxd", "restore"}, m.ran)
	require.Equal(t, "upgraded", results["state"])

	// What an operator has evacuated stays so.
	m = newMachine(t, install.Apt)
	m.status = "Evacuated"
	_, err = m.run(map[string]any{"evacuate": true})
	require.NoError(t, err)
	require.Equal(t, []string{"apt-get install --only-upgrade lxd"}, m.ran)
	require.Equal(t, "Evacuated", m.status)

	// An evacuation that fails ends it.
	m = newMachine(t, install.Apt)
	m.fail["evacuate"] = errors.New("cannot evacuate m1: no other member")
	_, err = m.run(map[string]any{"evacuate": true})
	require.ErrorContains(t, err, "no other member")
	require.Empty(t, m.ran)
}

func TestLXDIsNotUpgradedInTheMiddleOfAnEvacuation(t *testing.T) {
	for _, evacuate := range []bool{true, false} {
		m := newMachine(t, install.Snap)
		m.status, m.runs = "Evacuated", []string{"a1"}
		m.underway = func() { m.runs = nil }
		_, err := m.run(map[string]any{"evacuate": evacuate})
		require.NoError(t, err)
		require.Equal(t, []string{"settle", "snap refresh lxd --cohort=+"}, m.ran)
	}

	// An earlier run began it, was killed, and LXD has given it up since.
	m := newMachine(t, install.Snap)
	m.status, m.underway = "Evacuated", func() { m.status = "Online" }
	_, err := m.run(map[string]any{"evacuate": true})
	require.NoError(t, err)
	require.Equal(t, []string{"settle", "evacuate", "snap refresh lxd --cohort=+", "restore"}, m.ran)

	m = newMachine(t, install.Snap)
	m.status, m.runs = "Evacuated", []string{"a1", "lab/b1"}
	_, err = m.run(map[string]any{"evacuate": true})
	require.ErrorContains(t, err, "m1 is evacuated, but these still run there: a1, lab/b1")
	m.fail["settle"] = errors.New("cannot see the end of it")
	_, err = m.run(map[string]any{})
	require.ErrorContains(t, err, "cannot see the end")
	require.Empty(t, m.ran)
}

func TestAMemberThatDoesNotComeBack(t *testing.T) {
	m := newMachine(t, install.Apt)
	m.blocked = true
	_, err := m.run(map[string]any{"evacuate": true})
	require.ErrorContains(t, err, "cannot see that m1 is back: LXD does not answer")
	_, err = os.Stat(filepath.Join(m.dir, noteFile))
	require.NoError(t, err, "it is restored by the next run")

	// An LXD of another version may wait for the others.
	m = newMachine(t, install.Apt)
	m.blocked, m.offered = true, "5.0.3-1"
	results, err := m.run(map[string]any{"evacuate": true})
	require.NoError(t, err)
	require.Equal(t, "waiting for the others", results["state"])
	require.Contains(t, results["next"], "LXD 5.0.3 may wait")
	m.blocked = false
	results, err = m.run(map[string]any{})
	require.NoError(t, err)
	require.Equal(t, "true", results["restored"])
	require.Equal(t, "Online", m.status)
}

func TestUpstream(t *testing.T) {
	for version, want := range map[string]string{
		"5.0.2-5": "5.0.2", "5.0.2-5+deb12u1": "5.0.2", "5.0.2+git20231211.1364ae4-9": "5.0.2", "5.21.3-c5ae129 (33110)": "5.21.3", "6.5": "6.5", "": "",
	} {
		require.Equal(t, want, upstream(version))
	}
}

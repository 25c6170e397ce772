package deploy

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const statusJSON = `{
 "model": {"name": "metal", "cloud": "localhost"},
 "machines": {"0": {"juju-status": {"current": "started"}, "instance-id": "juju-1-0"}},
 "applications": {
  "lxd-cluster": {"charm": "local:lxd-cluster-0", "application-status": {"current": "active"}, "units": {
    "lxd-cluster/0": {"workload-status": {"current": "active"}, "juju-status": {"current": "idle"}, "machine": "0",
      "subordinates": {"sub/0": {"workload-status": {"current": "blocked", "message": "no relation"}, "juju-status": {"current": "idle"}}}},
    "lxd-cluster/1": {"workload-status": {"current": "active"}, "juju-status": {"current": "executing", "message": "running start hook"}}}},
  "sub": {"charm": "local:sub-0", "application-status": {"current": "blocked"}, "subordinate-to": ["lxd-cluster"]},
  "empty": {"charm": "local:e-0", "application-status": {"current": "waiting"}}
 }}`

func TestWaiting(t *testing.T) {
	s, err := ParseStatus([]byte(statusJSON))
	require.NoError(t, err)
	require.Len(t, s.Units(), 3)
	require.Equal(t, []string{
		"absent is missing",
		"empty has no unit",
		"lxd-cluster/1 agent executing (running start hook)",
		"sub/0 blocked (no relation)",
	}, s.Waiting([]string{"sub", "lxd-cluster", "empty", "absent"}))

	require.Equal(t, []string{"a/0 unknown"}, Status{Applications: map[string]Application{"a": {Units: map[string]Unit{"a/0": {}}}}}.Waiting(nil))
	ok := Unit{Workload: State{Current: "active"}, Agent: State{Current: "idle"}}
	require.Empty(t, Status{Applications: map[string]Application{"a": {Units: map[string]Unit{"a/0": ok}}}}.Waiting([]string{"a"}))

	// After a refresh a unit is idle for a moment before it takes the new charm up.
	ok.OldCharm = "local:a-0"
	require.Equal(t, []string{"a/0 is to take up the new charm"}, Status{Applications: map[string]Application{"a": {Units: map[string]Unit{"a/0": ok}}}}.Waiting([]string{"a"}))
	_, err = ParseStatus([]byte("nonsense"))
	require.Error(t, err)
}

func TestReadBundle(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	write("bundles/b.yaml", "applications:\n  a:\n    charm: ../dist/a.charm\n  gone:\n    charm: ./g.charm\n  hub:\n    charm: postgresql\n")
	write("overlays/o.yaml", "applications:\n  a:\n    options: {x: 1}\n  gone:\n")
	b, err := ReadBundle(dir, "bundles/b.yaml", "overlays/o.yaml")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": filepath.Join(dir, "dist/a.charm"), "hub": ""}, b.Charms)
	require.Equal(t, []string{filepath.Join(dir, "dist/a.charm")}, b.Missing())
	_, err = b.hashes()
	require.ErrorContains(t, err, "run make charms")

	write("dist/a.charm", "one")
	require.Empty(t, b.Missing())
	one, err := b.hashes()
	require.NoError(t, err)
	write("dist/a.charm", "two")
	two, err := b.hashes()
	require.NoError(t, err)
	require.NotEqual(t, one, two)

	write("overlays/o.yaml", "applications:\n  a:\n    options: {x: 2}\n")
	changed, err := ReadBundle(dir, "bundles/b.yaml", "overlays/o.yaml")
	require.NoError(t, err)
	require.NotEqual(t, b.Text, changed.Text)
	_, err = ReadBundle(dir, "bundles/none.yaml")
	require.Error(t, err)
}

func TestDecide(t *testing.T) {
	bundle := Bundle{Charms: map[string]string{"a": "a.charm", "b": "b.charm"}, Text: "t"}
	sums := map[string]string{"a": "1", "b": "2"}
	both := Status{Applications: map[string]Application{"a": {}, "b": {}}}
	for name, c := range map[string]struct {
		status Status
		was    deployed
		want   plan
		saw    string
	}{
		"fresh":          {Status{}, deployed{}, plan{deploy: true}, "a is missing"},
		"one is missing": {Status{Applications: map[string]Application{"a": {}}}, deployed{"t", sums}, plan{deploy: true}, "b is missing"},
		"cut off":        {both, deployed{}, plan{deploy: true}, "the bundle has changed"},
		"new bundle":     {both, deployed{"old", sums}, plan{deploy: true}, "the bundle has changed"},
		"new charm":      {both, deployed{"t", map[string]string{"a": "1", "b": "1"}}, plan{refresh: []string{"b"}}, "new charms for b"},
		"as it is":       {both, deployed{"t", sums}, plan{}, "2 applications"},
	} {
		t.Run(name, func(t *testing.T) {
			got, saw := decide(bundle, sums, c.status, c.was)
			require.Equal(t, c.want, got)
			require.Equal(t, c.saw, saw)
		})
	}
}

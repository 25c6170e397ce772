package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/relation/cephclient"
)

// juju answers the hook tools from a table, and keeps what was set.
func fake(answers map[string]string, set *[][]string) tool {
	return func(args ...string) (string, error) {
		if slices.Contains([]string{"status-set", "relation-set", "action-set", "action-fail"}, args[0]) {
			*set = append(*set, args)
			return "", nil
		}
		answer, ok := answers[strings.Join(args, " ")]
		if !ok {
			return "", errors.New("unexpected " + strings.Join(args, " "))
		}
		return answer, nil
	}
}

func TestStatus(t *testing.T) {
	f := Facts{Required: []string{"etcd", "certificates"}}
	var set [][]string
	require.NoError(t, dispatch(f, fake(map[string]string{"relation-ids etcd": "etcd:1", "relation-ids certificates": ""}, &set)))
	require.Equal(t, [][]string{{"status-set", "blocked", "missing relation certificates"}}, set)
	set = nil
	require.NoError(t, dispatch(f, fake(map[string]string{"relation-ids etcd": "etcd:1", "relation-ids certificates": "certificates:2"}, &set)))
	require.Equal(t, [][]string{{"status-set", "active", "stand-in"}}, set)
	require.Error(t, dispatch(f, fake(nil, &set)))
}

func TestAct(t *testing.T) {
	dir := t.TempDir()
	var set [][]string
	require.NoError(t, act("get-kubeconfig", dir, fake(nil, &set)))
	require.NoError(t, act("upgrade", dir, fake(nil, &set)))
	require.Equal(t, "action-fail", set[0][0])
	require.Contains(t, set[0][1], "no Kubernetes behind a stand-in")
	require.Equal(t, []string{"action-fail", "a stand-in does nothing for upgrade"}, set[1])
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kubeconfig"), []byte("kind: Config\n"), 0o600))
	set = nil
	require.NoError(t, act("get-kubeconfig", dir, fake(nil, &set)))
	require.Equal(t, [][]string{{"action-set", "kubeconfig=kind: Config\n"}}, set)
}

// What it says to a client of Ceph's is what our own client's side understands.
func TestCeph(t *testing.T) {
	r := cephclient.Request{App: "lxd-cluster", Unit: "lxd-cluster/0", Pool: "p", Replicas: 3}
	sent := r.Encode()
	bag := `{"broker_req": ` + quoted(sent["broker_req"]) + `, "unit-name": "lxd-cluster/0"}`
	var set [][]string
	require.NoError(t, dispatch(Facts{Provides: map[string]string{"client": "ceph-client", "mds": "ceph-mds"}}, fake(map[string]string{
		"relation-ids client":                                   "client:4",
		"relation-list -r client:4":                             "remote-abc/0\nremote-abc/1",
		"network-get client --ingress-address":                  "10.0.0.7",
		"relation-get -r client:4 --format json - remote-abc/0": bag,
		"relation-get -r client:4 --format json - remote-abc/1": "{}",
	}, &set)))
	require.Len(t, set, 2)
	answer := map[string]string{}
	for _, a := range set[0][3:] {
		k, v, _ := strings.Cut(a, "=")
		answer[k] = v
	}
	m, ok, err := cephclient.ReadMonitor(answer)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "10.0.0.7", m.Address)
	a, ok, err := cephclient.ReadAnswer(answer, "lxd-cluster/0")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, cephclient.Answer{ID: r.ID()}, a)
}

func quoted(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }

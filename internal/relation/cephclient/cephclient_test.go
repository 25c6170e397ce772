package cephclient_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/relation/cephclient"
)

var request = cephclient.Request{App: "lxd-cluster", Unit: "lxd-cluster/3", Pool: "lxd", Replicas: 3}

// The shape that ceph-mon's broker reads.
func TestARequestIsOneThatTheBrokerReads(t *testing.T) {
	bag := request.Encode()
	require.Equal(t, "lxd-cluster", bag["application-name"])
	require.Equal(t, "lxd-cluster/3", bag["unit-name"])
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(bag["broker_req"]), &got))
	require.Equal(t, map[string]any{
		"api-version": 1.0,
		"request-id":  request.ID(),
		"ops":         []any{map[string]any{"op": "create-pool", "name": "lxd", "pool-type": "replicated", "replicas": 3.0, "app-name": "rbd"}},
	}, got)

	same := request
	same.Unit = "lxd-cluster/4"
	require.Equal(t, request.ID(), same.ID(), "all units ask for the same")
	other := request
	other.Replicas = 2
	require.NotEqual(t, request.ID(), other.ID())
}

func TestAnswers(t *testing.T) {
	for text, want := range map[string]cephclient.Answer{
		`{"exit-code": 0, "request-id": "a3ad24dd"}`:                     {ID: "a3ad24dd"},
		`{"exit-code": 1, "request-id": "x", "stderr": " no such op\n"}`: {ID: "x", Refused: "no such op"},
		`{"exit-code": 22}`: {Refused: "exit code 22, without a reason"},
	} {
		got, ok, err := cephclient.ReadAnswer(map[string]string{"broker-rsp-lxd-cluster-3": text}, "lxd-cluster/3")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, want, got)
	}
	_, ok, err := cephclient.ReadAnswer(map[string]string{"broker-rsp-lxd-cluster-33": "{}"}, "lxd-cluster/3")
	require.NoError(t, err)
	require.False(t, ok, "another unit's")
	_, _, err = cephclient.ReadAnswer(map[string]string{"broker-rsp-lxd-cluster-3": "AOK"}, "lxd-cluster/3")
	require.ErrorContains(t, err, "cannot read what Ceph's broker answered")
}

const key = "AQBUfpVeNl7CHxAA8/f6WTcYFxW2dJ5VyvWmJg=="

func TestAMonitorSaysAllOrNothing(t *testing.T) {
	m, ok, err := cephclient.ReadMonitor(map[string]string{"ceph-public-address": "192.0.2.1", "key": key, "auth": "cephx"})
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, cephclient.Monitor{Address: "192.0.2.1", Key: key}, m)
	m, _, err = cephclient.ReadMonitor(map[string]string{"ceph-public-address": "2001:db8::1", "key": key})
	require.NoError(t, err)
	require.Equal(t, "[2001:db8::1]", m.Address)
	_, ok, err = cephclient.ReadMonitor(map[string]string{"ceph-public-address": "192.0.2.1"})
	require.NoError(t, err)
	require.False(t, ok)
}

// What would be another line of Ceph's configuration, or another host in it, is refused.
func TestAMonitorThatSaysMore(t *testing.T) {
	for name, bag := range map[string]map[string]string{
		"another option": {"ceph-public-address": "192.0.2.1\nadmin_socket = /x", "key": key},
		"other monitors": {"ceph-public-address": "192.0.2.1,192.0.2.66", "key": key},
		"another user":   {"ceph-public-address": "192.0.2.1", "key": key + "\n[client.admin]\n\tkey = " + key},
		"no key":         {"ceph-public-address": "192.0.2.1", "key": "k"},
	} {
		t.Run(name, func(t *testing.T) {
			m, ok, err := cephclient.ReadMonitor(bag)
			require.Error(t, err)
			require.NotContains(t, err.Error(), key, "the key is secret")
			require.False(t, ok)
			require.Empty(t, m)
		})
	}
}

func FuzzReadAnswer(f *testing.F) {
	f.Add(`{"exit-code": 0, "request-id": "a"}`)
	f.Fuzz(func(t *testing.T, text string) {
		a, ok, err := cephclient.ReadAnswer(map[string]string{"broker-rsp-a-0": text}, "a/0")
		require.False(t, ok && err != nil)
		_ = a
	})
}

// Package cephclient is the client's side of the interface `ceph-client`, as the ceph-mon charm implements
// it (canonical/ceph-charms, ceph-mon/src/ceph_client.py and charms_ceph/broker.py).
//
// Each unit of a client writes the same request into its databag: a list of operations for Ceph's broker.
// Each ceph-mon unit answers with its address and the key of the cephx user client.<application>; the
// leader also with the result of the request, under a key for each client unit.
//
// The key is in clear in the databag, since the interface has no other way.
package cephclient

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/dcib/dcib/internal/cephconf"
)

// Databag keys.
const (
	keyRequest     = "broker_req"
	keyApplication = "application-name"
	keyUnit        = "unit-name"
	keyAnswer      = "broker-rsp-" // and the unit's name with a dash
	keyMonitor     = "ceph-public-address"
	keyKey         = "key"
)

// Request requests a replicated OSD pool for RBD images. An existing pool is kept.
type Request struct {
	App      string // the key is for client.<App>
	Unit     string // who asks: "lxd-cluster/0"
	Pool     string
	Replicas int
}

// operation is an operation of the broker, with the parameters of create-pool.
type operation struct {
	Op       string `json:"op"`
	Name     string `json:"name"`
	Type     string `json:"pool-type"`
	Replicas int    `json:"replicas"`
	Use      string `json:"app-name"`
}

func (r Request) operations() []operation {
	return []operation{{"create-pool", r.Pool, "replicated", r.Replicas, "rbd"}}
}

// ID identifies the request: the broker ignores one that it has answered.
func (r Request) ID() string {
	text, err := json.Marshal(r.operations())
	if err != nil {
		panic(err) // texts and numbers
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// Encode returns the databag entries of a request.
func (r Request) Encode() map[string]string {
	text, err := json.Marshal(struct {
		Version    int         `json:"api-version"`
		Operations []operation `json:"ops"`
		ID         string      `json:"request-id"`
	}{1, r.operations(), r.ID()})
	if err != nil {
		panic(err) // texts and numbers
	}
	return map[string]string{
		keyRequest:     string(text),
		keyApplication: r.App,
		// Across models the other side does not know a unit's own name.
		keyUnit: r.Unit,
	}
}

// Monitor is what a ceph-mon unit has published.
type Monitor struct {
	Address string // as in mon_host of ceph.conf
	Key     string // of client.<App>; secret
}

// ReadMonitor reads a ceph-mon unit's databag. ok is false while it is not complete. The error names a
// value that cannot be part of Ceph's configuration.
func ReadMonitor(bag map[string]string) (m Monitor, ok bool, err error) {
	m = Monitor{cephconf.Bracketed(bag[keyMonitor]), bag[keyKey]}
	switch {
	case m.Address == "" || m.Key == "":
		return Monitor{}, false, nil
	case !cephconf.Monitor(m.Address):
		return Monitor{}, false, fmt.Errorf("cannot use a monitor's address (%s): it is not one host, with or without a port", keyMonitor)
	case !cephconf.Key(m.Key):
		return Monitor{}, false, fmt.Errorf("cannot use a monitor's key (%s): it is not a cephx key in base64", keyKey)
	}
	return m, true, nil
}

// maxReason is the longest reason of a refusal, in bytes.
const maxReason = 300

// Answer is the result of a request.
type Answer struct {
	ID      string // the request's
	Refused string // the reason; empty if the request succeeded
}

// ReadAnswer reads the answer to one unit's request from a ceph-mon unit's databag. ok is false if there is
// none.
func ReadAnswer(bag map[string]string, unit string) (a Answer, ok bool, err error) {
	text := bag[keyAnswer+strings.ReplaceAll(unit, "/", "-")]
	if text == "" {
		return a, false, nil
	}
	var answer struct {
		ID     string `json:"request-id"`
		Code   int    `json:"exit-code"`
		Stderr string `json:"stderr"`
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return a, false, fmt.Errorf("cannot read what Ceph's broker answered to %s: %w", unit, err)
	}
	a.ID = answer.ID
	if answer.Code != 0 {
		// It is shown in the unit's status, in one line.
		a.Refused = strings.Join(strings.Fields(answer.Stderr), " ")
		a.Refused = a.Refused[:min(len(a.Refused), maxReason)]
		if a.Refused == "" {
			a.Refused = fmt.Sprintf("exit code %d, without a reason", answer.Code)
		}
	}
	return a, true, nil
}

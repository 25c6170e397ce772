package main

import (
	"encoding/json"
	"fmt"
	"strings"
)

// key is shaped as a key of cephx, and opens nothing.
const key = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="

// serveCeph answers each client's unit as ceph-mon does: with an address, a key, and that the
// broker did what was asked (canonical/ceph-charms, ceph-mon/src/ceph_client.py).
func serveCeph(endpoint string, run tool) error {
	clients, err := units(run, endpoint)
	if err != nil {
		return err
	}
	for id, names := range clients {
		address, err := run("network-get", endpoint, "--ingress-address")
		if err != nil {
			return err
		}
		answer := []string{"relation-set", "-r", id, "auth=cephx", "key=" + key, "ceph-public-address=" + strings.Fields(address)[0]}
		for _, unit := range names {
			said, err := bag(run, id, unit)
			if err != nil {
				return err
			}
			var asked struct {
				ID string `json:"request-id"`
			}
			if said["broker_req"] == "" {
				continue
			}
			if err := json.Unmarshal([]byte(said["broker_req"]), &asked); err != nil {
				return fmt.Errorf("cannot read what %s asks for: %w", unit, err)
			}
			// Across models the other side has another name here than it calls itself.
			name := said["unit-name"]
			if name == "" {
				name = unit
			}
			done, err := json.Marshal(map[string]any{"exit-code": 0, "request-id": asked.ID})
			if err != nil {
				return err
			}
			answer = append(answer, "broker-rsp-"+strings.ReplaceAll(name, "/", "-")+"="+string(done))
		}
		if _, err := run(answer...); err != nil {
			return err
		}
	}
	return nil
}

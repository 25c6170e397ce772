// Command standin is the dispatch of a stand-in for somebody else's charm: it has that
// charm's endpoints, options and storage, installs nothing, is active when what the real one
// cannot do without is related, and speaks the least of some interfaces.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// Facts come with the charm, in the file standin.json.
type Facts struct {
	Required []string          `json:"required"` // endpoints
	Provides map[string]string `json:"provides"` // endpoint to interface
}

// tool runs one of Juju's hook tools and gives what it prints.
type tool func(args ...string) (string, error)

func main() {
	data, err := os.ReadFile("standin.json") // a hook begins in the charm's folder
	if err != nil {
		log.Fatalf("cannot read what this stands in for: %v", err)
	}
	var f Facts
	if err := json.Unmarshal(data, &f); err != nil {
		log.Fatalf("cannot read what this stands in for: %v", err)
	}
	if err := dispatch(f, juju); err != nil {
		log.Fatal(err)
	}
}

func juju(args ...string) (string, error) {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("cannot run %s: %w: %s", args[0], err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// dispatch does the same whichever hook it is.
func dispatch(f Facts, run tool) error {
	var missing []string
	for _, ep := range f.Required {
		ids, err := run("relation-ids", ep)
		if err != nil {
			return err
		}
		if ids == "" {
			missing = append(missing, ep)
		}
	}
	for ep, kind := range f.Provides {
		if kind == "ceph-client" {
			if err := serveCeph(ep, run); err != nil {
				return err
			}
		}
	}
	if len(missing) > 0 {
		_, err := run("status-set", "blocked", "missing relation "+strings.Join(missing, ", "))
		return err
	}
	_, err := run("status-set", "active", "stand-in")
	return err
}

// key is shaped as a key of cephx, and opens nothing.
const key = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="

// serveCeph answers each client's unit as ceph-mon does: with an address, a key, and that the
// broker did what was asked (canonical/ceph-charms, ceph-mon/src/ceph_client.py).
func serveCeph(endpoint string, run tool) error {
	ids, err := run("relation-ids", endpoint)
	if err != nil {
		return err
	}
	for _, id := range strings.Fields(ids) {
		units, err := run("relation-list", "-r", id)
		if err != nil {
			return err
		}
		address, err := run("network-get", endpoint, "--ingress-address")
		if err != nil {
			return err
		}
		answer := []string{"relation-set", "-r", id, "auth=cephx", "key=" + key, "ceph-public-address=" + strings.Fields(address)[0]}
		for _, unit := range slices.Sorted(slices.Values(strings.Fields(units))) {
			text, err := run("relation-get", "-r", id, "--format", "json", "-", unit)
			if err != nil {
				return err
			}
			var bag map[string]string
			if err := json.Unmarshal([]byte(text), &bag); err != nil {
				return fmt.Errorf("cannot read what %s says: %w", unit, err)
			}
			var asked struct {
				ID string `json:"request-id"`
			}
			if bag["broker_req"] == "" {
				continue
			}
			if err := json.Unmarshal([]byte(bag["broker_req"]), &asked); err != nil {
				return fmt.Errorf("cannot read what %s asks for: %w", unit, err)
			}
			// Across models the other side has another name here than it calls itself.
			name := bag["unit-name"]
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

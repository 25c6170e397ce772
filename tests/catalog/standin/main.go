// Command standin is the dispatch of a stand-in for another charm: it has that
// charm's endpoints, options and storage, installs nothing, is active when what the real one
// cannot do without is related, and speaks the least of some interfaces.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Facts come with the charm, in the file standin.json.
type Facts struct {
	Required []string          `json:"required"` // endpoints
	Provides map[string]string `json:"provides"` // endpoint to interface
}

// tool runs one of Juju's hook tools and returns what it prints.
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
	if name := os.Getenv("JUJU_ACTION_NAME"); name != "" {
		err = act(name, kept, juju)
	} else {
		err = dispatch(f, juju)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// kept is the folder of what a stand-in keeps on its machine.
const kept = "/var/lib/standin"

// act runs an action. A Kubernetes is not behind any of them: a kubeconfig is what an operator has
// put there, in the folder of what is kept.
func act(name, kept string, run tool) error {
	if name != "get-kubeconfig" {
		_, err := run("action-fail", "a stand-in does nothing for "+name)
		return err
	}
	config, err := os.ReadFile(filepath.Join(kept, "kubeconfig"))
	if err != nil {
		_, err = run("action-fail", "there is no Kubernetes behind a stand-in: "+err.Error())
		return err
	}
	_, err = run("action-set", "kubeconfig="+string(config))
	return err
}

func juju(args ...string) (string, error) {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("cannot run %s: %w: %s", args[0], err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// served are the interfaces that our charms need something of, each with what answers on an
// endpoint of it.
var served = map[string]func(endpoint string, run tool) error{
	"ceph-client":      serveCeph,
	"tls-certificates": authority(kept).serve,
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
		serve, ok := served[kind]
		if !ok {
			continue
		}
		if err := serve(ep, run); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		_, err := run("status-set", "blocked", "missing relation "+strings.Join(missing, ", "))
		return err
	}
	_, err := run("status-set", "active", "stand-in")
	return err
}

// bag reads the databag of a unit, or of an application, on the other side of a relation.
func bag(run tool, id, whose string, args ...string) (map[string]string, error) {
	text, err := run(append([]string{"relation-get", "-r", id, "--format", "json", "-", whose}, args...)...)
	if err != nil {
		return nil, err
	}
	var read map[string]string
	if err := json.Unmarshal([]byte(text), &read); err != nil {
		return nil, fmt.Errorf("cannot read what %s says: %w", whose, err)
	}
	return read, nil
}

// units lists the units on the other side of each relation of an endpoint.
func units(run tool, endpoint string) (map[string][]string, error) {
	ids, err := run("relation-ids", endpoint)
	if err != nil {
		return nil, err
	}
	all := map[string][]string{}
	for _, id := range strings.Fields(ids) {
		list, err := run("relation-list", "-r", id)
		if err != nil {
			return nil, err
		}
		all[id] = strings.Fields(list)
		slices.Sort(all[id])
	}
	return all, nil
}

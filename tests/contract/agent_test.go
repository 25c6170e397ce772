//go:build contract

package contract

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// version is a version of Juju.
type version struct {
	name string // as it calls itself
	tag  string // of the agent's sources
	pin  string // the go.mod that says which module it is
}

var versions = []version{
	{"3.6.11", "juju36", "agent/go.mod"},
	{"4.1-beta2", "juju4", "../testbed/juju/go.mod"}, // that of the box
}

const root = "../.."

var builds sync.Map // path of an agent, by version's name; a func

// build returns the path of the version's agent. Go's cache has it after the first time.
func (v version) build(t *testing.T) string {
	t.Helper()
	once, _ := builds.LoadOrStore(v.name, sync.OnceValues(func() (string, error) {
		dir, err := filepath.Abs(filepath.Join(root, "bin", "contract"))
		if err != nil {
			return "", err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
		mod := filepath.Join(dir, v.tag+".mod")
		if err := pin(v.pin, mod); err != nil {
			return "", err
		}
		path := filepath.Join(dir, v.tag)
		build := exec.Command("go", "build", "-modfile", mod, "-tags", v.tag, "-o", path, ".")
		build.Dir = "agent"
		build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly")
		start := time.Now()
		if out, err := build.CombinedOutput(); err != nil {
			return "", fmt.Errorf("cannot build the agent of Juju %s: %w\n%s", v.name, err, out)
		}
		fmt.Printf("agent of Juju %s built in %s\n", v.name, time.Since(start).Round(100*time.Millisecond))
		return path, nil
	}))
	path, err := once.(func() (string, error))()
	require.NoError(t, err)
	return path
}

// pin copies a go.mod and its go.sum to a file that go build takes in the place of the agent's.
// It returns the module the agent's path: Go lets only what is below github.com/juju/juju/ import
// Juju's internal packages.
func pin(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	lines := strings.Split(string(text), "\n")
	i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "module ") })
	if i < 0 {
		return fmt.Errorf("cannot find the module line of %s", from)
	}
	lines[i] = "module github.com/juju/juju/dcib"
	sum, err := os.ReadFile(strings.TrimSuffix(from, ".mod") + ".sum")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(to, []byte(strings.Join(lines, "\n")), 0o644),
		os.WriteFile(strings.TrimSuffix(to, ".mod")+".sum", sum, 0o644),
	)
}

// source returns the folder of the version's source.
func (v version) source(t *testing.T) string {
	t.Helper()
	v.build(t) // writes the go.mod
	mod, err := filepath.Abs(filepath.Join(root, "bin", "contract", v.tag+".mod"))
	require.NoError(t, err)
	list := exec.Command("go", "list", "-modfile", mod, "-m", "-f", "{{.Dir}}", "github.com/juju/juju")
	list.Dir = "agent"
	list.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly")
	out, err := list.Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

// read runs the agent to its end, and decodes what it prints.
func (v version) read(t *testing.T, into any, args ...string) error {
	t.Helper()
	cmd := exec.Command(v.build(t), args...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("Juju %s: %s", v.name, strings.TrimSpace(said.String()))
	}
	return json.Unmarshal(out, into)
}

// agent is a running agent.
type agent struct {
	version
	client *rpc.Client
	socket string
}

// serve starts the version's agent, for as long as the test runs.
func (v version) serve(t *testing.T) *agent {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "agent.socket")
	cmd := exec.Command(v.build(t), "serve", socket)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		require.NoError(t, cmd.Wait())
	})
	ready, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", ready)
	client, err := rpc.Dial("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	a := &agent{v, client, socket}
	require.Equal(t, v.name, a.tools(t)[0], "the module is of another version: say so here")
	return a
}

// tools returns the version and the names of its hook tools.
func (a *agent) tools(t *testing.T) (names []string) {
	t.Helper()
	require.NoError(t, a.client.Call("Control.Tools", struct{}{}, &names))
	return names
}

// The types of the agent's world.go and main.go. The agent refuses a field that it does not know.
type (
	world struct {
		Unit      string                 `json:",omitempty"`
		Leader    bool                   `json:",omitempty"`
		Config    map[string]any         `json:",omitempty"`
		Network   map[string][]iface     `json:",omitempty"`
		Goal      map[string]string      `json:",omitempty"`
		Status    status                 `json:",omitzero"`
		Secrets   map[string]*secret     `json:",omitempty"`
		Storage   map[string]*attachment `json:",omitempty"`
		Ports     []string               `json:",omitempty"`
		Action    bool                   `json:",omitempty"`
		Params    map[string]any         `json:",omitempty"`
		InHookOf  string                 `json:",omitempty"`
		Relations []*relation            `json:",omitempty"`
	}
	iface struct {
		Name      string
		Addresses []string
	}
	status struct{ Status, Message string }
	secret struct {
		Owner, Label string
		Content      map[string]string
		Granted      []string
	}
	attachment struct{ Kind, Location string }
	relation   struct {
		ID            int
		Endpoint, App string
		Peer          bool
		Units         []string
		Databags      map[string]map[string]string
		Removed       bool
	}
	call struct {
		Tool           string
		Args           []string
		Stdin          string
		Code           int
		Stdout, Stderr string
	}
	effect struct {
		What, Of, Text string
		Bag            map[string]string
	}
	record struct {
		Calls   []call
		Effects []effect
	}
)

// begin begins a hook in the world; the environment of the test is that of the hook then.
func (a *agent) begin(t *testing.T, w world) {
	t.Helper()
	if w.Unit == "" {
		w.Unit = "app/0"
	}
	text, err := json.Marshal(w)
	require.NoError(t, err)
	require.NoError(t, a.client.Call("Control.Begin", text, &struct{}{}))
	t.Setenv("JUJU_AGENT_SOCKET_NETWORK", "unix")
	t.Setenv("JUJU_AGENT_SOCKET_ADDRESS", a.socket)
	t.Setenv("JUJU_CONTEXT_ID", "app/0-config-changed-1")
	t.Setenv("JUJU_AGENT_TOKEN", "1-2-3")
	t.Setenv("PATH", "/nonexistent") // what the agent does not answer is not run by accident
}

// record returns what happened since begin.
func (a *agent) record(t *testing.T) (r record) {
	t.Helper()
	var text []byte
	require.NoError(t, a.client.Call("Control.Record", struct{}{}, &text))
	require.NoError(t, json.Unmarshal(text, &r))
	return r
}

// Command agent is the part of Juju's unit agent that answers hook tools, with the code of the
// version that it is built with, and a world that a test describes in the place of a controller.
//
//	agent serve SOCKET               answer hook tools, and who asks for Control.*, until stdin ends
//	agent charm FILE.charm …         read charms as this version does, and print them as JSON
//	agent bundle FILE [OVERLAY …]    read a bundle and what is laid over it
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"os"
	"slices"
	"sync"

	"github.com/juju/juju/internal/worker/uniter/runner/jujuc"
	"github.com/juju/juju/juju/sockets"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "serve":
		return serve(args[1])
	case len(args) >= 2 && args[0] == "charm":
		return print(args[1:], readCharm)
	case len(args) >= 2 && args[0] == "bundle":
		bundle, err := readBundle(args[1], args[2:])
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(bundle)
	}
	return fmt.Errorf("cannot run: wanted serve SOCKET, charm FILE … or bundle FILE …, got %q", args)
}

func print[T any](paths []string, read func(string) (T, error)) error {
	var all []T
	for _, path := range paths {
		one, err := read(path)
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", path, err)
		}
		all = append(all, one)
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}

// Call is a hook tool that was run.
type Call struct {
	Tool           string
	Args           []string
	Stdin          string
	Code           int
	Stdout, Stderr string
}

// Control is what a test asks of the agent; arguments and answers are JSON, since the test is in
// another module.
type Control struct {
	mu    sync.Mutex
	hook  *hook
	calls []Call
}

// Begin begins a hook in a world.
func (c *Control) Begin(world []byte, _ *struct{}) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hook, c.calls = &hook{}, nil
	d := json.NewDecoder(bytes.NewReader(world))
	d.DisallowUnknownFields()
	return d.Decode(&c.hook.World)
}

// Record is what happened in a hook so far.
type Record struct {
	Calls   []Call
	Effects []Effect
}

// Record returns what happened since Begin.
func (c *Control) Record(_ struct{}, record *[]byte) (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*record, err = json.Marshal(Record{c.calls, c.hook.effects})
	return err
}

// Tools returns the names of the hook tools that this version has, and the version.
func (c *Control) Tools(_ struct{}, names *[]string) error {
	*names = append([]string{version}, jujuc.CommandNames()...)
	return nil
}

// Jujuc stands before the server of the same name, and records what goes through.
type Jujuc struct {
	control *Control
	server  *rpc.Client
}

// Main passes a request on.
func (j *Jujuc) Main(req jujuc.Request, response *execResponse) error {
	err := j.server.Call("Jujuc.Main", req, response)
	j.control.mu.Lock()
	defer j.control.mu.Unlock()
	call := Call{req.CommandName, slices.Clone(req.Args), string(req.Stdin), response.Code, string(response.Stdout), string(response.Stderr)}
	if err != nil {
		call.Code, call.Stderr = -1, err.Error()
	}
	j.control.calls = append(j.control.calls, call)
	return err
}

// contextID is the hook's, as the environment of a hook has it; token is what Juju 3.6 asks for.
const contextID, token = "app/0-config-changed-1", "1-2-3"

func serve(path string) error {
	control := &Control{hook: &hook{}}
	inner := sockets.Socket{Network: "unix", Address: path + ".juju"}
	server, err := newServer(func(id, name string) (command, error) {
		// As runner.startJujucServer does.
		if id != contextID {
			return nil, fmt.Errorf("wrong context ID; got %q", id)
		}
		control.mu.Lock()
		defer control.mu.Unlock()
		return jujuc.NewCommand(newContext(control.hook), name)
	}, inner)
	if err != nil {
		return err
	}
	go func() { _ = server.Run() }()
	client, err := sockets.Dial(inner)
	if err != nil {
		return err
	}
	outer := rpc.NewServer()
	if err := outer.Register(control); err != nil {
		return err
	}
	if err := outer.Register(&Jujuc{control, client}); err != nil {
		return err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	go outer.Accept(listener)
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

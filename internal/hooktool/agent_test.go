package hooktool

import (
	"context"
	"errors"
	"net"
	"net/rpc"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Request and Response are what the agent takes and returns; net/rpc wants exported types.
type (
	Request  agentRequest
	Response agentResponse
)

// Jujuc stands for Juju's agent: the name of type and method are what its socket serves.
type Jujuc struct{ got []Request }

func (j *Jujuc) Main(req Request, resp *Response) error {
	j.got = append(j.got, req)
	switch req.CommandName {
	case "is-leader":
		resp.Stdout = []byte("true\n")
	case "relation-get":
		resp.Code, resp.Stderr = 2, []byte("ERROR relation not found\n")
	case "config-get":
		return errors.New(`bad request: unknown command "config-get"`)
	}
	return nil
}

func serveAgent(t *testing.T) *Jujuc {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "agent.socket")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	j := &Jujuc{}
	server := rpc.NewServer()
	require.NoError(t, server.Register(j))
	go server.Accept(listener)
	t.Setenv("JUJU_AGENT_SOCKET_NETWORK", "unix")
	t.Setenv("JUJU_AGENT_SOCKET_ADDRESS", socket)
	t.Setenv("JUJU_CONTEXT_ID", "app/0-run-1")
	t.Setenv("JUJU_AGENT_TOKEN", "t")
	return j
}

func TestToolsRunInTheAgent(t *testing.T) {
	j := serveAgent(t)
	x, _ := newTest(t, Event{}) // no tool is on the PATH
	ctx := context.Background()

	leader, err := x.IsLeader(ctx)
	require.NoError(t, err)
	require.True(t, leader)

	require.NoError(t, x.RelationSet(ctx, "cluster:0", map[string]string{"k": "v"}))
	last := j.got[len(j.got)-1]
	require.Equal(t, []string{"-r", "cluster:0", "--file", "-"}, last.Args)
	require.Equal(t, `{"k":"v"}`, string(last.Stdin))
	require.True(t, last.StdinSet)
	require.Equal(t, "app/0-run-1 t", last.ContextId+" "+last.Token)
	require.True(t, filepath.IsAbs(last.Dir), "the agent wants a whole path")

	_, err = x.RelationGet(ctx, "cluster:9", "app/0")
	require.ErrorIs(t, err, ErrNotFound, "a tool that failed is not run again")
}

func TestWhatTheAgentRefusesIsLeftToTheTool(t *testing.T) {
	serveAgent(t)
	x, dir := newTest(t, Event{})
	tool(t, dir, "config-get", `echo '{"a":1}'`)
	config, err := x.Config(context.Background())
	require.NoError(t, err)
	require.Equal(t, map[string]any{"a": 1.0}, config)
}

func TestWithoutASocketToolsRun(t *testing.T) {
	t.Setenv("JUJU_AGENT_SOCKET_NETWORK", "unix")
	t.Setenv("JUJU_AGENT_SOCKET_ADDRESS", filepath.Join(t.TempDir(), "gone"))
	t.Setenv("JUJU_CONTEXT_ID", "c")
	x, dir := newTest(t, Event{})
	tool(t, dir, "is-leader", `echo false`)
	leader, err := x.IsLeader(context.Background())
	require.NoError(t, err)
	require.False(t, leader)
}

// A secret result goes to the agent over its socket, and never into a program's arguments.
func TestASecretResultIsNoArgument(t *testing.T) {
	j := serveAgent(t)
	x, dir := newTest(t, Event{})
	tool(t, dir, "action-set", `echo "$@" >>$OUT/args`)
	require.NoError(t, x.ActionSetSecret(t.Context(), map[string]string{"key": "hush"}))
	require.Equal(t, []string{"--", "key=hush"}, j.got[len(j.got)-1].Args)

	t.Setenv("JUJU_AGENT_SOCKET_ADDRESS", filepath.Join(t.TempDir(), "gone"))
	x = NewExec(Event{})
	err := x.ActionSetSecret(t.Context(), map[string]string{"key": "hush"})
	require.ErrorContains(t, err, "cannot run action-set: the agent's socket does not answer")
	require.NotContains(t, err.Error(), "hush")
	require.NoFileExists(t, filepath.Join(dir, "args"))
	require.NoError(t, x.ActionSet(t.Context(), map[string]string{"name": "me"}), "other results go on")
	require.FileExists(t, filepath.Join(dir, "args"))
}

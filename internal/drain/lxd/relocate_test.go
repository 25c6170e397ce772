package drainlxd

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/lxd"
)

// mover is an LXD that stops, moves and starts its instance in one operation.
type mover struct {
	fakeInstance
	version   string
	breaks    string // the move is over before "copy", or before "start"
	cloudInit bool   // it has been set up by cloud-init
	cut       bool   // LXD moves it, but does not know the operation any more

	location   string
	began      time.Time // the move
	made, used time.Time
}

func (m *mover) UseTarget(string) lxdclient.InstanceServer { return m }

func (m *mover) GetInstanceFile(_, path string) (io.ReadCloser, *lxdclient.InstanceFileResponse, error) {
	if m.cloudInit && path == "/var/lib/cloud" {
		return nil, &lxdclient.InstanceFileResponse{Type: "directory"}, nil
	}
	return nil, nil, api.StatusErrorf(http.StatusNotFound, "Not Found")
}

func (m *mover) GetServer() (*api.Server, string, error) {
	return &api.Server{Environment: api.ServerEnvironment{ServerVersion: m.version}}, "", nil
}

func (m *mover) GetOperations() ([]api.Operation, error) {
	if m.step() {
		return nil, nil
	}
	return []api.Operation{{Description: moveOperation, StatusCode: api.Running, Resources: map[string][]string{"instances": {"/1.0/instances/c1"}}}}, nil
}

func (m *mover) GetInstance(name string) (*api.Instance, string, error) {
	i, _, err := m.fakeInstance.GetInstance(name)
	i.Location, i.CreatedAt, i.LastUsedAt = m.location, m.made, m.used
	if !m.used.IsZero() {
		i.StatusCode = api.Running
	}
	return i, "", err
}

// step continues the move, and reports whether it has ended.
func (m *mover) step() bool {
	const copies, starts = 4 * time.Second, 2 * time.Second
	over := func(err string) bool {
		m.op = api.Operation{ID: "op1", StatusCode: api.Success}
		if err != "" {
			m.op.StatusCode, m.op.Err = api.Failure, err
		}
		return true
	}
	now := time.Since(m.began)
	switch {
	case m.began.IsZero():
		return true
	case m.running() && (now >= defaultShutdownSeconds*time.Second || m.fails > 0):
		return over("Failed stopping instance")
	case m.running():
		return false
	case m.breaks == "copy":
		return over("no capacity")
	case now < m.takes+copies:
		return false
	case m.location == "m1":
		m.location, m.made = "m2", m.began.Add(m.takes)
	}
	if m.breaks == "start" {
		return over("Failed starting instance")
	}
	m.used = m.made.Add(copies)
	return now >= m.takes+copies+starts && over("")
}

func (m *mover) RawQuery(method, path string, data any, etag string) (*api.Response, string, error) {
	switch {
	case method == http.MethodPost:
		m.began, m.told = time.Now(), time.Now()
		m.op = api.Operation{ID: "op1", StatusCode: api.Running}
	case m.cut && m.put.Action == "":
		return nil, "", api.StatusErrorf(http.StatusNotFound, "Operation not found")
	case method == http.MethodPut, !strings.Contains(path, "/operations/") || m.put.Action != "":
		return m.fakeInstance.RawQuery(method, path, data, etag)
	default:
		for begin := time.Now(); !m.step() && time.Since(begin) < ask; {
			time.Sleep(100 * time.Millisecond)
		}
	}
	text, err := json.Marshal(m.op)
	return &api.Response{Metadata: text}, "", err
}

// An instance is moved in one operation where LXD shuts it down. Whatever fails, the instance is not
// killed before its shutdown timeout, and the error says what is left to do.
func TestRelocate(t *testing.T) {
	const second = time.Second
	for name, c := range map[string]struct {
		mover
		err     string
		running bool // in the end
		at      string
		forced  bool
		took    time.Duration // at most
	}{
		"it obeys":                {mover: mover{fakeInstance: fakeInstance{takes: 5 * second}}, running: true, at: "m2", took: 12 * second},
		"it has longer":           {mover: mover{fakeInstance: fakeInstance{config: map[string]string{"boot.host_shutdown_timeout": "60"}}}, err: drain.ErrNotRelocatable.Error(), running: true, at: "m1"},
		"it has as long":          {mover: mover{fakeInstance: fakeInstance{config: map[string]string{"boot.host_shutdown_timeout": "30"}}}, running: true, at: "m2", took: 7 * second},
		"LXD would kill it":       {mover: mover{version: "5.0.3"}, err: drain.ErrNotRelocatable.Error(), running: true, at: "m1"},
		"it has cloud-init":       {mover: mover{cloudInit: true}, err: drain.ErrNotRelocatable.Error(), running: true, at: "m1"},
		"LXD is not known":        {mover: mover{version: "6.1"}, err: drain.ErrNotRelocatable.Error(), running: true, at: "m1"},
		"it does not obey":        {mover: mover{fakeInstance: fakeInstance{takes: -1}}, err: "Failed stopping instance", at: "m1", forced: true, took: 32 * second},
		"LXD gives up at once":    {mover: mover{fakeInstance: fakeInstance{takes: 5 * second, fails: 2}}, err: "Failed stopping instance", at: "m1", took: 7 * second},
		"it cannot be copied":     {mover: mover{fakeInstance: fakeInstance{takes: 2 * second}, breaks: "copy"}, err: "no capacity", at: "m1", took: 4 * second},
		"it does not start there": {mover: mover{fakeInstance: fakeInstance{takes: 2 * second}, breaks: "start"}, err: "Failed starting instance", at: "m2", took: 8 * second},
		"LXD goes on, unheard of": {mover: mover{fakeInstance: fakeInstance{takes: 20 * second}, cut: true}, err: lxd.ErrOperationLost.Error(), running: true, at: "m2", took: 28 * second},
		"unheard of, and no copy": {mover: mover{fakeInstance: fakeInstance{takes: 20 * second}, cut: true, breaks: "copy"}, err: lxd.ErrOperationLost.Error(), at: "m1", took: 23 * second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &c.mover
				m.location = "m1"
				if m.version == "" {
					m.version = "5.0.2"
				}
				begin := time.Now()
				moved, err := Cluster{Server: m}.Relocate(t.Context(), drain.Ref{Name: "c1"}, "m2")
				if c.err == "" {
					require.NoError(t, err)
					require.InDelta(t, 6, moved.Seconds(), 0.2, "copy and start")
				} else {
					require.ErrorContains(t, err, c.err)
				}
				there, _, _ := m.GetInstance("c1")
				require.Equal(t, c.running, isRunning(*there))
				require.Equal(t, c.at, there.Location)
				require.Equal(t, c.forced, m.forced)
				require.LessOrEqual(t, time.Since(begin), c.took)
			})
		})
	}
}

// When the context ends, LXD continues the move, and the next run waits for it.
func TestRelocateEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		m := &mover{fakeInstance: fakeInstance{takes: 20 * time.Second}, version: "5.0.2", location: "m1"}
		_, err := Cluster{Server: m}.Relocate(ctx, drain.Ref{Name: "c1"}, "m2")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.False(t, m.forced)
		time.Sleep(ask) // until the last question is answered
	})
}

package drainlxd

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/drain"
)

// ask is how long LXD delays the answer that an operation has not ended yet: less than it is asked to.
const ask = time.Second

// instance is an LXD with one instance, which takes some time to shut down.
type fakeInstance struct {
	lxdclient.InstanceServer
	takes  time.Duration // to end, from when it is first told to; negative is for ever
	fails  int           // so often LXD gives up at once, and the instance shuts down all the same
	lost   int           // so often nothing gets through
	config map[string]string

	told   time.Time
	put    api.InstanceStatePut // the last that was asked for
	op     api.Operation
	forced bool
}

func (g *fakeInstance) running() bool {
	return !g.forced && (g.told.IsZero() || g.takes < 0 || time.Since(g.told) < g.takes)
}

func (g *fakeInstance) GetInstance(name string) (*api.Instance, string, error) {
	i := &api.Instance{Name: name, StatusCode: api.Stopped, ExpandedConfig: g.config}
	if g.running() {
		i.StatusCode = api.Running
	}
	return i, "", nil
}

func (g *fakeInstance) RawQuery(method, _ string, data any, _ string) (*api.Response, string, error) {
	if method == http.MethodPut {
		if g.lost > 0 {
			g.lost--
			return nil, "", errors.New("connection reset by peer")
		}
		g.put = data.(api.InstanceStatePut)
		g.op = api.Operation{ID: "op1", StatusCode: api.Running}
		if g.told.IsZero() {
			g.told = time.Now()
		}
	}
	over := func(code api.StatusCode, err string) { g.op.StatusCode, g.op.Err = code, err }
	switch begin := time.Now(); {
	case g.put.Force:
		g.forced = true
		over(api.Success, "")
	case g.fails > 0:
		if method == http.MethodGet {
			g.fails--
			over(api.Failure, "shutting down the container failed")
		}
	default:
		for method == http.MethodGet && g.running() && time.Since(begin) < ask && time.Since(g.told) < time.Duration(g.put.Timeout)*time.Second {
			time.Sleep(100 * time.Millisecond)
		}
		switch {
		case !g.running():
			over(api.Success, "")
		case time.Since(g.told) >= time.Duration(g.put.Timeout)*time.Second:
			over(api.Failure, "shutting down the container failed")
		}
	}
	text, err := json.Marshal(g.op)
	return &api.Response{Metadata: text}, "", err
}

// An instance that shuts down is not killed before its timeout, also where LXD reports that it did not:
// sometimes LXD gives up although the instance is shutting down.
func TestStop(t *testing.T) {
	for name, c := range map[string]struct {
		fakeInstance
		took   time.Duration // at most
		forced bool
	}{
		"it obeys":                        {fakeInstance{takes: 2 * time.Second}, 2200 * time.Millisecond, false},
		"LXD gives up at once":            {fakeInstance{takes: 5 * time.Second, fails: 3}, 5500 * time.Millisecond, false},
		"LXD gives up and it ends":        {fakeInstance{takes: 0, fails: 1}, time.Second, false},
		"LXD gives up for ever":           {fakeInstance{takes: 20 * time.Second, fails: 1000}, 21 * time.Second, false},
		"nothing gets through at first":   {fakeInstance{takes: 2 * time.Second, lost: 2}, 4200 * time.Millisecond, false},
		"it has longer":                   {fakeInstance{takes: 50 * time.Second, config: map[string]string{"boot.host_shutdown_timeout": "60"}}, 51 * time.Second, false},
		"it does not obey":                {fakeInstance{takes: -1}, 31 * time.Second, true},
		"it does not, and LXD gives up":   {fakeInstance{takes: -1, fails: 1000}, 31 * time.Second, true},
		"it has for ever":                 {fakeInstance{takes: -1, config: map[string]string{"boot.host_shutdown_timeout": "9223372036854775807"}}, 3601 * time.Second, true},
		"it has less and does not obey":   {fakeInstance{takes: -1, config: map[string]string{"boot.host_shutdown_timeout": "3"}}, 4 * time.Second, true},
		"it has no time and does not end": {fakeInstance{takes: -1, config: map[string]string{"boot.host_shutdown_timeout": "0"}}, time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, begin := &c.fakeInstance, time.Now()
				require.NoError(t, Cluster{Server: g}.Stop(t.Context(), drain.Ref{Name: "c1"}))
				require.False(t, g.running())
				require.Equal(t, c.forced, g.forced)
				require.LessOrEqual(t, time.Since(begin), c.took)
			})
		})
	}
}

// When the context ends, stopping the instance by force is left to the next run.
func TestStopEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		g := &fakeInstance{takes: -1, fails: 1000}
		require.ErrorIs(t, Cluster{Server: g}.Stop(ctx, drain.Ref{Name: "c1"}), context.DeadlineExceeded)
		require.False(t, g.forced)
	})
}

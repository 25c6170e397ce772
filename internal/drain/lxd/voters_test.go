package drainlxd

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"
)

// busy is an LXD that evacuates member b for a while.
type busy struct {
	lxdclient.InstanceServer
	version string
	until   time.Time
}

func (b busy) GetServer() (*api.Server, string, error) {
	return &api.Server{Environment: api.ServerEnvironment{ServerVersion: b.version}}, "", nil
}

func (b busy) GetOperations() ([]api.Operation, error) {
	status := api.Running
	if !time.Now().Before(b.until) {
		status = api.Success
	}
	return []api.Operation{{Description: "Evacuating cluster member", Location: "b", StatusCode: status}}, nil
}

// An LXD that evacuates one member at a time is asked for the next when the last has ended.
func TestEvacuationWaitsForOtherEvacuations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		lxd := busy{version: "6.9", until: begin.Add(time.Minute)}
		var said []string
		progress := func(line string) { said = append(said, line) }
		require.NoError(t, Cluster{Server: lxd}.waitForOtherEvacuations(t.Context(), "a", progress))
		require.Equal(t, time.Minute, time.Since(begin))
		require.Equal(t, []string{"waiting for the evacuation of b"}, said)

		lxd.until = time.Now().Add(time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute+pollInterval/2)
		defer cancel()
		require.ErrorContains(t, Cluster{Server: lxd}.waitForOtherEvacuations(ctx, "a", progress), "cannot evacuate a: LXD still evacuates b")
		require.NoError(t, Cluster{Server: lxd}.waitForOtherEvacuations(t.Context(), "b", progress), "its own is what Settle waits for")
		lxd.version = "6.8"
		require.NoError(t, Cluster{Server: lxd}.waitForOtherEvacuations(t.Context(), "a", progress))
	})
}

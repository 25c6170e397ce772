package main

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

// An LXD that takes connections and never answers must not keep the lock of its machine.
func TestAnLXDThatNeverAnswersEndsTheHook(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("LXD_DIR", dir)
	listener, err := net.Listen("unix", filepath.Join(dir, "unix.socket"))
	require.NoError(t, err)
	defer listener.Close()
	c := newCharm()
	c.Deadlines = charm.Deadlines{Observe: 100 * time.Millisecond}
	for hook, fails := range map[string]string{
		"update-status": "",
		"stop":          "cannot observe this machine within 100ms", // or Juju would take the machine
	} {
		t.Run(hook, func(t *testing.T) {
			juju := hooktooltest.New()
			unit := juju.AddUnit("lxd-cluster/0", "10.0.0.1")
			tools, _ := juju.Hook("lxd-cluster/0")
			start := time.Now()
			err := c.Run(t.Context(), hooktool.Event{Hook: hook, Unit: "lxd-cluster/0"}, tools)
			require.Less(t, time.Since(start), 5*time.Second)
			require.Contains(t, unit.Message, "cannot observe this machine within 100ms: cannot read the state of this machine's LXD: ")
			require.Contains(t, unit.Message, "LXD has not answered GET /1.0")
			if fails == "" {
				require.NoError(t, err)
				require.Equal(t, "waiting", unit.Status)
			} else {
				require.ErrorContains(t, err, fails)
			}
		})
	}
}

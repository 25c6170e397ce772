package command

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestComplaints(t *testing.T) {
	require.Equal(t, "a; b", complaint("reading\nE: a\nE: b\n"))
	require.Equal(t, "error: no network", complaint("x\nerror: no network\n\n"))
	require.Empty(t, complaint(""))
	require.Equal(t, "psql: error: connection to server failed: No such file or directory", complaint("psql: error: connection to server failed: No such file or directory\n\tIs the server running locally?\n"))
	require.Equal(t, "dpkg: error processing package maas-common (--configure): post-installation script returned 1; Sub-process dpkg returned an error code (1)",
		complaint("dpkg: error processing package maas-common (--configure):\n post-installation script returned 1\nErrors were encountered while processing:\n maas-common\nE: Sub-process dpkg returned an error code (1)\n"))
}

func TestSystem(t *testing.T) {
	_, err := System{}.Run(t.Context(), "sh", "-c", "echo $DEBIAN_FRONTEND >&2; exit 3")
	require.EqualError(t, err, "cannot run sh: noninteractive")
	_, err = System{}.Run(t.Context(), "false")
	require.EqualError(t, err, "cannot run false: exit status 1")
	out, err := System{}.Run(t.Context(), "sh", "-c", "echo half; exit 1")
	require.Error(t, err)
	require.Equal(t, "half\n", out)
	out, err = System{}.Feed(t.Context(), []byte("in"), "cat")
	require.NoError(t, err)
	require.Equal(t, "in", out)
	out, err = System{}.Run(t.Context(), "sh", "-c", "cat; (: </dev/tty) 2>/dev/null || echo no terminal")
	require.NoError(t, err)
	require.Equal(t, "no terminal\n", out)
}

// A program that hangs, deaf to SIGTERM and with a child that keeps its output open, ends in
// time, and so does the child.
func TestHangingProgramEnds(t *testing.T) {
	const script = `trap "" TERM; sleep 1000 & echo $! $$; wait; sleep 1000`
	alive := func(out string) bool {
		for _, pid := range strings.Fields(out) {
			// A zombie has no command line any more.
			if text, err := os.ReadFile("/proc/" + pid + "/cmdline"); err == nil && len(text) > 0 {
				return true
			}
		}
		return false
	}
	for name, c := range map[string]struct {
		limits map[string]time.Duration
		cancel bool
		why    string
	}{
		"its own limit": {map[string]time.Duration{"sh": 100 * time.Millisecond, "": time.Hour}, false, "cannot run sh: sh has not ended within 100ms"},
		"all others'":   {map[string]time.Duration{"": 100 * time.Millisecond}, false, "cannot run sh: sh has not ended within 100ms"},
		"the context's": {nil, true, "cannot run sh: no more time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			if c.cancel {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeoutCause(ctx, 100*time.Millisecond, errors.New("no more time"))
				defer cancel()
			}
			start := time.Now()
			out, err := System{Limits: c.limits}.Run(ctx, "sh", "-c", script)
			require.EqualError(t, err, c.why)
			require.Less(t, time.Since(start), killDelay+2*time.Second)
			var slow interface{ Timeout() bool }
			require.Equal(t, !c.cancel, errors.As(err, &slow) && slow.Timeout())
			require.Len(t, strings.Fields(out), 2)
			require.Eventually(t, func() bool { return !alive(out) }, 5*time.Second, 10*time.Millisecond)
		})
	}
	require.Equal(t, DefaultLimit, System{}.limit("sh"))
}

// A program that leaves a child in the background, which has its output, is not waited for.
func TestBackgroundChildIsNotWaitedFor(t *testing.T) {
	start := time.Now()
	out, err := System{}.Run(t.Context(), "sh", "-c", "sleep 30 & echo $!")
	require.NoError(t, err)
	require.Less(t, time.Since(start), killDelay+2*time.Second)
	pid, err := strconv.Atoi(strings.TrimSpace(out))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL), "it lives")
}

func TestAProgramHasItsOwnVariables(t *testing.T) {
	run := System{Environment: map[string][]string{"env": {"https_proxy=http://proxy.example:3128"}}}
	out, err := run.Run(t.Context(), "env")
	require.NoError(t, err)
	require.Contains(t, out, "https_proxy=http://proxy.example:3128\n")
	out, err = run.Run(t.Context(), "sh", "-c", "env")
	require.NoError(t, err)
	require.NotContains(t, out, "proxy.example")
}

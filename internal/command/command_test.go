package command

import (
	"testing"

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

package hooktool_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

func TestSetPortsWithTheTools(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	for name, script := range map[string]string{
		"opened-ports": `[ "$*" = --format=json ] && echo '["80/tcp","8080-8088/udp"]'`,
		"open-port":    `echo "open $*" >>` + dir + `/calls; [ "$2" != 53/udp ] || { echo "ERROR cannot open 53/udp" >&2; exit 1; }`,
		"close-port":   `echo "close $*" >>` + dir + `/calls`,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	}
	x := hooktool.NewExec(hooktool.Event{})
	open, err := x.OpenedPorts(context.Background())
	require.NoError(t, err)
	require.Equal(t, []string{"80/tcp", "8080-8088/udp"}, open)
	require.NoError(t, hooktool.SetPorts(context.Background(), x, []string{"8080-8088/udp", "80/tcp"}))
	require.NoFileExists(t, filepath.Join(dir, "calls"), "what is open is only read")

	err = hooktool.SetPorts(context.Background(), x, []string{"53/udp", "80/tcp", "443/tcp"})
	require.ErrorContains(t, err, "cannot run open-port: ERROR cannot open 53/udp")
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	require.NoError(t, err)
	require.Equal(t, "close -- 8080-8088/udp\nopen -- 53/udp\nopen -- 443/tcp\n", string(calls))
}

func TestPortsInAModel(t *testing.T) {
	juju := hooktooltest.New()
	unit := juju.AddUnit("a/0", "10.0.0.1")
	other := juju.AddUnit("b/0", "10.0.0.1")
	unit.Machine, other.Machine, other.Ports = "1", "1", []string{"53/udp"}
	tools, commit := juju.Hook("a/0")
	err := hooktool.SetPorts(context.Background(), tools, []string{"53/udp", "53/tcp", "80-90/tcp"})
	require.ErrorContains(t, err, `cannot open 53/udp (unit "a/0"): port range conflicts with 53/udp (unit "b/0")`)
	require.Empty(t, unit.Ports, "before the hook succeeded")
	commit()
	require.Equal(t, []string{"53/tcp", "80-90/tcp"}, unit.Ports)

	tools, commit = juju.Hook("a/0")
	require.NoError(t, hooktool.SetPorts(context.Background(), tools, []string{"53/tcp"}))
	commit()
	require.Equal(t, []string{"53/tcp"}, unit.Ports)
	require.Error(t, hooktool.SetPorts(context.Background(), tools, []string{"80"}), "the protocol is missing")
}

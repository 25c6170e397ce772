package lxd

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// systemd counts LXD as started only once its instances have been, with the delays that they ask for.
func TestARestartWaitsForTheNewProcessAlone(t *testing.T) {
	dir := t.TempDir()
	// The first `show` has the old process, the next ones nothing yet, then the new one.
	script := `#!/bin/sh
echo "$@" >> ` + dir + `/ran
case "$1" in
show)
	n=$(cat ` + dir + `/n 2>/dev/null || echo 0)
	echo $((n + 1)) > ` + dir + `/n
	case "$n" in 0) echo 100 ;; 1) echo 100 ;; 2) echo 0 ;; *) echo ${NEW_PID} ;; esac ;;
restart) case "$2" in --no-block) ;; *) sleep 1000 ;; esac ;;
esac
`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "systemctl"), []byte(script), 0o700))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))

	t.Setenv("NEW_PID", "200")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, restartPackage(ctx))
	ran, err := os.ReadFile(filepath.Join(dir, "ran"))
	require.NoError(t, err)
	require.Contains(t, string(ran), "restart --no-block lxd.service")

	t.Setenv("NEW_PID", "100")
	require.NoError(t, os.Remove(filepath.Join(dir, "n")))
	ctx, cancel = context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	require.ErrorContains(t, restartPackage(ctx), "cannot see that systemd has replaced it")
}

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pipeful is more than a pipe holds, so the one who has written that much knows that it was read.
const pipeful = 1 << 17

// A signal ends a verb that reads its input, whatever verb that is.
func TestSignalsEndVerbs(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	for name, args := range map[string][]string{
		"pets":    {"pets", "-"},
		"lint":    {"lint", "-"},
		"profile": {"profile", "-"},
		"check":   {"maas", "check", "-"},
		"apply":   {"maas", "apply", "-"},
		"key":     {"maas", "machines", "--api-key-file", "-"},
		"deploy":  {"maas", "deploy", "--user-data", "-", "x"},
	} {
		for _, sent := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			t.Run(name+" "+sent.String(), func(t *testing.T) {
				t.Parallel()
				cmd := exec.CommandContext(t.Context(), self)
				cmd.Args = append([]string{"dcib"}, args...)
				in, err := cmd.StdinPipe()
				require.NoError(t, err)
				defer in.Close()
				require.NoError(t, cmd.Start())
				_, err = in.Write(bytes.Repeat([]byte("#"), pipeful))
				require.NoError(t, err)
				require.Equal(t, 128+int(sent), endOf(t, cmd, sent))
			})
		}
	}
}

// A signal ends lint while it works on its files.
func TestSignalsEndLint(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	bundle := filepath.Join(t.TempDir(), "bundle.yaml")
	require.NoError(t, syscall.Mkfifo(bundle, 0o600))
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Args = []string{"dcib", "lint", bundle}
	require.NoError(t, cmd.Start())
	file, err := os.OpenFile(bundle, os.O_WRONLY, 0) // returns when lint has opened it
	require.NoError(t, err)
	defer file.Close()
	require.Equal(t, 128+int(syscall.SIGTERM), endOf(t, cmd, syscall.SIGTERM))
}

// endOf sends a signal and returns the exit status; -1 where the process lives on.
func endOf(t *testing.T, cmd *exec.Cmd, sent syscall.Signal) int {
	t.Helper()
	require.NoError(t, cmd.Process.Signal(sent))
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		var exit *exec.ExitError
		require.True(t, errors.As(err, &exit), "%v", err)
		return exit.ExitCode()
	case <-time.After(20 * time.Second):
		require.NoError(t, cmd.Process.Kill())
		<-ended
		return -1
	}
}

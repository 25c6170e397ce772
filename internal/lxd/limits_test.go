package lxd_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/lxd"
)

// serve is an LXD at whose socket handle answers.
func serve(t *testing.T, handle http.HandlerFunc) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("LXD_DIR", dir)
	listener, err := net.Listen("unix", filepath.Join(dir, "unix.socket"))
	require.NoError(t, err)
	server := &http.Server{Handler: handle, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
}

func TestAnLXDThatDoesNotAnswerIsNotWaitedFor(t *testing.T) {
	serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/1.0/events" { // the client does without
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if r.URL.Path == "/1.0/networks" { // an answer that does not end
			_, _ = fmt.Fprint(w, `{"type":"sync","metadata":[`)
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	})
	up := errors.New("the hook's time is up")
	limits := &lxd.Limits{}
	server, err := lxd.OpenWithin(t.Context(), limits)
	require.NoError(t, err)
	for name, ask := range map[string]func() error{
		"GET /1.0":               func() error { _, _, err := server.GetServer(); return err },
		"GET /1.0/instances":     func() error { _, err := server.GetInstances(""); return err },
		"GET /1.0/networks":      func() error { _, err := server.GetNetworks(); return err },
		"PUT /1.0/profiles/dcib": func() error { _, err := server.UpdateProfile("dcib", api.ProfilePut{}, ""); return err },
		"POST /1.0/storage-pools": func() error {
			return server.UseProject("lab").UseTarget("m1").CreateStoragePool(api.StoragePoolsPost{Name: "p"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			limits.Set(ctx)
			time.AfterFunc(50*time.Millisecond, func() { cancel(up) })
			ended := make(chan error, 1)
			go func() { ended <- ask() }()
			select {
			case err := <-ended:
				require.ErrorIs(t, err, up)
				require.ErrorContains(t, err, "LXD has not answered "+name+": the hook's time is up")
			case <-time.After(10 * time.Second):
				require.Fail(t, "it waits on")
			}
		})
	}
}

func TestAContextThatWasExchangedBoundsNothing(t *testing.T) {
	serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"type":"sync","status_code":200,"metadata":{"auth":"trusted"}}`)
	})
	limits := &lxd.Limits{}
	server, err := lxd.OpenWithin(t.Context(), limits)
	require.NoError(t, err)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	limits.Set(over)
	_, _, err = server.GetServer()
	require.ErrorIs(t, err, context.Canceled)
	limits.Set(t.Context())
	info, _, err := server.GetServer()
	require.NoError(t, err)
	require.Equal(t, "trusted", info.Auth)
}

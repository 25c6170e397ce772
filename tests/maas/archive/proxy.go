package archive

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Proxy is what the machines' apt fetches Debian's packages through, so that they come over
// the network once, and not for each machine. What has one content for ever is kept in a
// folder; all else is asked for each time.
type Proxy struct {
	Address string
	dir     string
}

// ServeProxy has one listen on an address of this machine until the test ends.
func ServeProxy(t *testing.T, address, dir string) *Proxy {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	require.NoError(t, err)
	p := &Proxy{Address: "http://" + listener.Addr().String(), dir: dir}
	server := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return p
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodGet || !req.URL.IsAbs() {
		http.Error(w, "this is a proxy for apt", http.StatusMethodNotAllowed)
		return
	}
	keeps := strings.HasSuffix(req.URL.Path, ".deb") || strings.Contains(req.URL.Path, "/by-hash/")
	path := filepath.Join(p.dir, url.PathEscape(req.URL.String()))
	if keeps {
		if file, err := os.Open(path); err == nil {
			defer file.Close()
			http.ServeContent(w, req, "", time.Time{}, file)
			return
		}
	}
	out := req.Clone(req.Context())
	out.RequestURI = ""
	out.Header.Del("Range")
	answer, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.StatusCode)
	if !keeps || answer.StatusCode != http.StatusOK {
		_, _ = io.Copy(w, answer.Body)
		return
	}
	temporary, err := os.CreateTemp(p.dir, ".part-*")
	if err != nil {
		return
	}
	defer os.Remove(temporary.Name())
	n, err := io.Copy(io.MultiWriter(w, temporary), answer.Body)
	if closed := temporary.Close(); err == nil && closed == nil && n == answer.ContentLength {
		_ = os.Rename(temporary.Name(), path)
	}
}

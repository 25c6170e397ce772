package lxd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	lxdclient "github.com/canonical/lxd/client"
)

// How long LXD gets to answer one request. A read of its database takes it milliseconds; what
// it does before it answers, like a pool or a profile of many instances, takes longer.
const (
	readTime  = 2 * time.Minute
	writeTime = 10 * time.Minute
)

// ErrNoAnswer is wrapped by errors about a request that LXD has not answered in time.
var ErrNoAnswer = errors.New("no answer")

// Limits end the requests of an LXD client that last too long: most methods of LXD's client take
// no context, and the client's own limit is an hour. A request ends with its own context, with
// the one that was last set, or when LXD has had its time to answer. Waiting for an operation and
// transfers of images and backups have no limit but the contexts'. The zero value sets no context.
type Limits struct {
	mu  sync.Mutex
	ctx context.Context //nolint:containedctx // the client's methods take none
}

// Set sets the context that bounds the requests from now on.
func (l *Limits) Set(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ctx = ctx
}

func (l *Limits) get() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ctx
}

// Wrap is for ConnectionArgs.TransportWrapper.
func (l *Limits) Wrap(t *http.Transport) lxdclient.HTTPTransporter { return limited{t, t, l} }

// Around is Wrap around what wraps the transport already.
func (l *Limits) Around(t lxdclient.HTTPTransporter) lxdclient.HTTPTransporter {
	return limited{t, t.Transport(), l}
}

type limited struct {
	http.RoundTripper
	own    *http.Transport
	limits *Limits
}

// Transport implements lxdclient.HTTPTransporter.
func (t limited) Transport() *http.Transport { return t.own }

// RoundTrip implements http.RoundTripper.
func (t limited) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	free := func() { cancel(nil) }
	if limit := timeFor(req); limit > 0 {
		timer := time.AfterFunc(limit, func() {
			cancel(fmt.Errorf("LXD has not answered %s %s within %s: %w", req.Method, req.URL.Path, limit, ErrNoAnswer))
		})
		last := free
		free = func() { timer.Stop(); last() }
	}
	if bound := t.limits.get(); bound != nil {
		stop := context.AfterFunc(bound, func() {
			cancel(fmt.Errorf("LXD has not answered %s %s: %w", req.Method, req.URL.Path, context.Cause(bound)))
		})
		last := free
		free = func() { stop(); last() }
	}
	resp, err := t.RoundTripper.RoundTrip(req.WithContext(ctx))
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		free()
		return nil, err
	}
	resp.Body = body{resp.Body, ctx, free}
	return resp, nil
}

// timeFor is how long a request may take; 0 is no limit.
func timeFor(req *http.Request) time.Duration {
	path := req.URL.Path
	for _, long := range []string{"/wait", "/export", "/events"} {
		if strings.HasSuffix(path, long) {
			return 0
		}
	}
	switch {
	case strings.HasPrefix(req.Header.Get("Content-Type"), "application/octet-stream"), strings.HasPrefix(req.Header.Get("Content-Type"), "multipart/"), req.ContentLength < 0:
		return 0 // an image or a backup on its way
	case req.Method == http.MethodGet || req.Method == http.MethodHead:
		return readTime
	}
	return writeTime
}

// body is an answer, whose time ends when it has been read.
type body struct {
	io.ReadCloser
	ctx  context.Context
	free func()
}

// Read implements io.Reader. Its error says what ended the request.
func (b body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(b.ctx); cause != nil {
			err = cause
		}
	}
	return n, err
}

// Close implements io.Closer.
func (b body) Close() error {
	defer b.free()
	return b.ReadCloser.Close()
}

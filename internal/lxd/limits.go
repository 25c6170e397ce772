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

// How long LXD may take for one request. It reads its database within milliseconds; changes, like that of a
// profile of many instances, take longer.
const (
	readTime  = 2 * time.Minute
	writeTime = 10 * time.Minute
)

// ErrNoAnswer is wrapped by errors about a request that LXD has not answered in time.
var ErrNoAnswer = errors.New("no answer")

// Limits end the requests of an LXD client that take too long: most methods of LXD's client take no
// context, and the client's own limit is an hour. A request ends with its own context, with the one that
// was last set, or after readTime or writeTime. Waiting for an operation, and transfers of images and
// backups, only end with the contexts. The zero value has no context.
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

// Wrap is a ConnectionArgs.TransportWrapper.
func (l *Limits) Wrap(t *http.Transport) lxdclient.HTTPTransporter { return limited{t, t, l} }

// Around wraps a transport that is wrapped already.
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

// timeFor returns how long a request may take; 0 is no limit.
func timeFor(req *http.Request) time.Duration {
	path := req.URL.Path
	for _, long := range []string{"/wait", "/export", "/events"} {
		if strings.HasSuffix(path, long) {
			return 0
		}
	}
	switch {
	case strings.HasPrefix(req.Header.Get("Content-Type"), "application/octet-stream"), strings.HasPrefix(req.Header.Get("Content-Type"), "multipart/"), req.ContentLength < 0:
		return 0 // a transfer of an image or a backup
	case req.Method == http.MethodGet || req.Method == http.MethodHead:
		return readTime
	}
	return writeTime
}

// body is a response body; closing it ends the request's context.
type body struct {
	io.ReadCloser
	ctx  context.Context
	free func()
}

// Read implements io.Reader. Its error is the reason why the request ended.
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

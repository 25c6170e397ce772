package maas

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/canonical/gomaasclient/client"
)

// with asks MAAS by gomaasclient, which has its own sockets, and waits, out of reach of a
// context: here each question has a transport of its own, which ends with the context, and
// which hides Retry-After, on which that library sleeps up to 40 seconds. Each request that
// ask makes has the client's limit, however many there are.
func (c *Client) with(ctx context.Context, what string, ask func(api *client.Client) error) error {
	return c.within(ctx, c.limit, what, ask)
}

// within is with, with a limit of its own for each request.
func (c *Client) within(ctx context.Context, limit time.Duration, what string, ask func(api *client.Client) error) error {
	b := &bound{ctx: ctx, limit: limit, under: c.http.Transport}
	api, err := client.GetClientWithTransport(strings.TrimSuffix(c.root, "api/2.0/"), strings.Join(c.key, ":"), "2.0", b)
	if err != nil {
		return fmt.Errorf("cannot %s: the MAAS API key is not one", what) // its words have the key
	}
	err = ask(api)
	switch {
	case err == nil:
		return nil
	case b.refused != nil:
		return fmt.Errorf("cannot %s: %w", what, &Error{b.refused.Status, c.complaint([]byte(b.refused.Said)), b.refused.Location})
	case ctx.Err() != nil:
		return fmt.Errorf("cannot %s: %w", what, context.Cause(ctx))
	case b.late != nil:
		return fmt.Errorf("cannot %s: %w", what, b.late)
	}
	return fmt.Errorf("cannot %s: %w", what, err)
}

// bound is a transport for the questions of one context.
type bound struct {
	ctx     context.Context
	limit   time.Duration // of one request
	under   http.RoundTripper
	refused *Error // what MAAS refused with last
	late    error  // that it did not answer within limit
}

// RoundTrip implements http.RoundTripper.
func (b *bound) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(b.ctx, b.limit)
	defer cancel()
	defer func() {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && b.ctx.Err() == nil {
			b.late = fmt.Errorf("MAAS does not answer within %s", b.limit)
		}
	}()
	answer, err := b.under.RoundTrip(request.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err == nil && len(text) > maxAnswer {
		err = fmt.Errorf("the answer is longer than %d MiB", maxAnswer>>20)
	}
	if err != nil {
		return nil, err
	}
	b.refused = nil
	if answer.StatusCode >= 300 {
		b.refused = &Error{answer.StatusCode, string(text), answer.Header.Get("Location")}
	}
	answer.Header.Del("Retry-After")
	answer.Body = io.NopCloser(bytes.NewReader(text))
	return answer, nil
}

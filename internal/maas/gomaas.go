package maas

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/canonical/gomaasclient/client"
)

// with asks MAAS by gomaasclient, which has its own sockets, and waits, out of reach of a
// context: here each question has a transport of its own, which ends with the context, and
// which hides Retry-After, on which that library sleeps up to 40 seconds.
func (c *Client) with(ctx context.Context, what string, ask func(api *client.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	b := &bound{ctx: ctx, under: c.http.Transport}
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
	}
	return fmt.Errorf("cannot %s: %w", what, err)
}

// bound is a transport for the questions of one context.
type bound struct {
	ctx     context.Context
	under   http.RoundTripper
	refused *Error // what MAAS refused with last
}

// RoundTrip implements http.RoundTripper.
func (b *bound) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := b.under.RoundTrip(request.WithContext(b.ctx))
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

package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"github.com/dcib/dcib/internal/store"
)

// Status is how the daemon is.
type Status struct {
	Unit   string      `json:"unit"`
	Open   bool        `json:"open"`             // whether it has the store
	Acting string      `json:"acting,omitempty"` // the unit that acts
	Runs   []store.Run `json:"runs,omitempty"`   // under way, without their steps
}

// Request asks for a run.
type Request struct {
	ID      string     `json:"id,omitempty"` // chosen by whoever asks; asking twice is asking once
	Pet     string     `json:"pet"`
	Kind    store.Kind `json:"kind"`
	Force   bool       `json:"force,omitempty"`
	Seconds float64    `json:"seconds,omitempty"` // how long it may take; 0 is any time
	Why     string     `json:"why,omitempty"`
}

// Problem is what is said in place of an answer.
type Problem struct {
	Error string `json:"error"`
}

// Client talks to the daemon of a unit.
type Client struct{ http *http.Client }

// NewClient gives a client of the daemon whose unit has the state directory dir. It does
// not look whether there is one.
func NewClient(dir string) Client {
	return Client{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", Socket(dir))
		},
		MaxIdleConns: 1,
	}}}
}

// Status asks how the daemon is.
func (c Client) Status(ctx context.Context) (s Status, err error) {
	err = c.ask(ctx, http.MethodGet, "/1/status", nil, &s)
	return s, err
}

// Order asks for a run and gives its id.
func (c Client) Order(ctx context.Context, q Request) (id string, err error) {
	var order store.Order
	err = c.ask(ctx, http.MethodPost, "/1/runs", q, &order)
	return order.ID, err
}

// Run gives a run. One that was not begun yet has no state.
func (c Client) Run(ctx context.Context, id string) (run store.Run, err error) {
	err = c.ask(ctx, http.MethodGet, "/1/runs/"+url.PathEscape(id), nil, &run)
	return run, err
}

// Leave has the daemon take its node out of the store, for good.
func (c Client) Leave(ctx context.Context) error {
	var nothing struct{}
	return c.ask(ctx, http.MethodPost, "/1/leave", nil, &nothing)
}

// History gives a pet's ended runs, the latest first; an empty pet is all pets, and no
// limit a hundred.
func (c Client) History(ctx context.Context, pet string, limit int) (runs []store.Run, err error) {
	query := url.Values{"pet": {pet}}
	if limit > 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	err = c.ask(ctx, http.MethodGet, "/1/history?"+query.Encode(), nil, &runs)
	return runs, err
}

func (c Client) ask(ctx context.Context, method, path string, body, into any) error {
	var text bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&text).Encode(body); err != nil {
			return fmt.Errorf("cannot ask the daemon: %w", err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://daemon"+path, &text)
	if err != nil {
		return fmt.Errorf("cannot ask the daemon: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("cannot reach the daemon: is pet-scheduler.service up? %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		var p Problem
		if err := json.NewDecoder(response.Body).Decode(&p); err != nil || p.Error == "" {
			return fmt.Errorf("cannot understand the daemon: it answers %s", response.Status)
		}
		return errors.New(p.Error)
	}
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		return fmt.Errorf("cannot understand the daemon: %w", err)
	}
	return nil
}

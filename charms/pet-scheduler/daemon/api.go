package daemon

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"time"

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

// problem is what is said in place of an answer.
type problem struct {
	Error string `json:"error"`
}

const history = 100 // runs, unless asked otherwise

func (d *Daemon) handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(*http.Request, *store.Store) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			s := d.store.Load()
			if s == nil {
				say(w, http.StatusServiceUnavailable, problem{"cannot answer: the store is not open yet: a majority of the units has to be there"})
				return
			}
			answer, err := f(r, s)
			var bad badRequest
			switch {
			case errors.As(err, &bad):
				say(w, http.StatusBadRequest, problem{err.Error()})
			case errors.Is(err, store.ErrNotFound):
				say(w, http.StatusNotFound, problem{err.Error()})
			case err != nil:
				say(w, http.StatusInternalServerError, problem{err.Error()})
			default:
				say(w, http.StatusOK, answer)
			}
		})
	}
	mux.HandleFunc("GET /1/status", func(w http.ResponseWriter, r *http.Request) {
		status := Status{Unit: d.unit}
		if s := d.store.Load(); s != nil {
			lease, err := s.Lease(r.Context())
			if err == nil {
				status.Open, status.Acting = true, lease.Holder
				status.Runs, _ = s.OpenRuns(r.Context())
			}
		}
		say(w, http.StatusOK, status)
	})
	handle("POST /1/runs", func(r *http.Request, s *store.Store) (any, error) {
		var q Request
		if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&q); err != nil {
			return nil, badRequest{fmt.Errorf("cannot read the request: %w", err)}
		}
		switch {
		case q.Pet == "":
			return nil, badRequest{errors.New("cannot order a run: pet is missing: name a member of the LXD cluster")}
		case q.Kind != store.Drain && q.Kind != store.Undrain:
			return nil, badRequest{fmt.Errorf("cannot order a run: kind is %q: expected drain or undrain", q.Kind)}
		case q.Seconds < 0:
			return nil, badRequest{fmt.Errorf("cannot order a run: seconds is %v: expected 0 or more", q.Seconds)}
		}
		order := store.Order{ID: q.ID, Pet: q.Pet, Kind: q.Kind, Force: q.Force, Why: q.Why}
		if order.ID == "" {
			order.ID = rand.Text()
		}
		if q.Seconds > 0 {
			order.Due = time.Now().Add(time.Duration(q.Seconds * float64(time.Second)))
		}
		return order, s.AddOrder(r.Context(), order)
	})
	handle("GET /1/runs/{id}", func(r *http.Request, s *store.Store) (any, error) {
		id := r.PathValue("id")
		run, ok, err := s.Run(r.Context(), id)
		if err == nil && !ok {
			// Not begun yet: a run without a state.
			var order store.Order
			if order, ok, err = s.Order(r.Context(), id); err == nil && !ok {
				err = fmt.Errorf("cannot find run %s: %w", id, store.ErrNotFound)
			}
			run = store.Run{ID: order.ID, Pet: order.Pet, Kind: order.Kind, Why: order.Why, Due: order.Due}
		}
		return run, err
	})
	handle("POST /1/leave", func(r *http.Request, s *store.Store) (any, error) {
		return struct{}{}, d.leave(r.Context(), s)
	})
	handle("GET /1/history", func(r *http.Request, s *store.Store) (any, error) {
		limit := history
		if text := r.URL.Query().Get("limit"); text != "" {
			var err error
			if limit, err = strconv.Atoi(text); err != nil || limit < 1 {
				return nil, badRequest{fmt.Errorf("cannot give the history: limit is %q: expected a number from 1", text)}
			}
		}
		runs, err := s.History(r.Context(), r.URL.Query().Get("pet"), limit)
		return runs, err
	})
	return mux
}

type badRequest struct{ error }

func say(w http.ResponseWriter, code int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(answer)
}

// Client talks to the daemon of a unit.
type Client struct{ http *http.Client }

// NewClient gives a client of the daemon whose unit has the state directory dir. It does
// not look whether there is one.
func NewClient(dir string) Client {
	return Client{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, socketFile))
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
		var p problem
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

package daemon

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/scheduler/store"
)

const history = 100 // runs, unless asked otherwise

func (d *Daemon) handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(*http.Request, *store.Store) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			s := d.store.Load()
			if s == nil {
				writeJSON(w, http.StatusServiceUnavailable, control.Problem{Error: "cannot answer: the store is not open yet: a majority of the units has to be there"})
				return
			}
			answer, err := f(r, s)
			var bad badRequest
			switch {
			case errors.As(err, &bad):
				writeJSON(w, http.StatusBadRequest, control.Problem{Error: err.Error()})
			case errors.Is(err, store.ErrNotFound):
				writeJSON(w, http.StatusNotFound, control.Problem{Error: err.Error()})
			case err != nil:
				writeJSON(w, http.StatusInternalServerError, control.Problem{Error: err.Error()})
			default:
				writeJSON(w, http.StatusOK, answer)
			}
		})
	}
	mux.HandleFunc("GET /1/status", func(w http.ResponseWriter, r *http.Request) {
		status := control.Status{Unit: d.unit}
		if shown := d.shown.Load(); shown != nil {
			status.Certificates = append(status.Certificates, *shown...)
		}
		if s := d.store.Load(); s != nil {
			lease, err := s.Lease(r.Context())
			if err == nil {
				status.Open, status.Acting = true, lease.Holder
				status.Runs, _ = s.OpenRuns(r.Context())
			}
		}
		writeJSON(w, http.StatusOK, status)
	})
	handle("POST /1/runs", func(r *http.Request, s *store.Store) (any, error) {
		var q control.Request
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
		stay, err := d.resolvePetAndHold(r.Context(), s, &q)
		if err != nil {
			return nil, err
		}
		order := store.Order{ID: q.ID, Pet: q.Pet, Kind: q.Kind, Force: q.Force, Why: q.Why}
		if order.ID == "" {
			order.ID = rand.Text()
		}
		if q.Seconds > 0 {
			order.Due = time.Now().Add(time.Duration(q.Seconds * float64(time.Second)))
		}
		if err := s.AddOrder(r.Context(), order); err != nil {
			return nil, err
		}
		// Then: else the hold would be acted on before the order.
		return order, d.changed(stay())
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
				return nil, badRequest{fmt.Errorf("cannot list the history: limit is %q: expected a number from 1", text)}
			}
		}
		runs, err := s.History(r.Context(), r.URL.Query().Get("pet"), limit)
		return runs, err
	})
	d.handlePets(handle)
	return mux
}

type badRequest struct{ error }

func writeJSON(w http.ResponseWriter, code int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(answer)
}

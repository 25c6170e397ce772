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
	"time"

	"github.com/dcib/dcib/internal/scheduler/store"
)

// Status is how the daemon is.
type Status struct {
	Unit   string      `json:"unit"`
	Open   bool        `json:"open"`             // whether it has the store
	Acting string      `json:"acting,omitempty"` // the unit that acts
	Runs   []store.Run `json:"runs,omitempty"`   // under way, without their steps
	// Certificates are those of the store that the daemon goes by, by fingerprint: the one it
	// shows, then those it trusts beside it.
	Certificates []string `json:"certificates,omitempty"`
}

// Request asks for a run.
type Request struct {
	ID      string     `json:"id,omitempty"` // chosen by the one who asks; asking twice is asking once
	Pet     string     `json:"pet"`
	Kind    store.Kind `json:"kind"`
	Force   bool       `json:"force,omitempty"`
	Seconds float64    `json:"seconds,omitempty"` // how long it may take; 0 is any time
	Why     string     `json:"why,omitempty"`
	// Stay has a pet stay so until its calendar would change it next, or until the contrary
	// is asked for.
	Stay bool `json:"stay,omitempty"`
}

// Duration is a length of time that JSON has as text: "15m0s".
type Duration time.Duration

// String returns it as Go writes it.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = Duration(parsed)
	return err
}

// Pet is how a pet is, and what is due for it.
type Pet struct {
	Name   string `json:"name"`
	Member string `json:"member"`
	Zone   string `json:"zone"`
	State  string `json:"state"` // as in package schedule
	Why    string `json:"why"`
	Alert  string `json:"alert,omitempty"`
	// AlertKind is what the alert is about, as in package schedule.
	AlertKind string    `json:"alert-kind,omitempty"`
	Begin     time.Time `json:"begin,omitzero"`    // of the drain for the window
	EmptyBy   time.Time `json:"empty-by,omitzero"` // by when it has to be empty
	Start     time.Time `json:"start,omitzero"`    // of the window that is open or comes next
	End       time.Time `json:"end,omitzero"`
	Lead      Duration  `json:"lead"`
	LeadWhy   string    `json:"lead-why"`
	Hold      *Hold     `json:"hold,omitempty"`
	Windows   []Window  `json:"added-windows,omitempty"`
}

// Hold is an operator's override of the calendar.
type Hold struct {
	Pet   string    `json:"pet"`
	State string    `json:"state"`          // reserved, shared or paused
	Until time.Time `json:"until,omitzero"` // zero is until it is released
	Why   string    `json:"why,omitempty"`
	By    string    `json:"by,omitempty"`
}

// Window is a window that is, or is to be, added to a pet.
type Window struct {
	ID     string `json:"id,omitempty"`
	Pet    string `json:"pet"`
	Window string `json:"window"` // as it stands in a set of pets
	By     string `json:"by,omitempty"`
}

// Stretch is one reserved window of a pet that is to come.
type Stretch struct {
	Pet     string    `json:"pet"`
	Begin   time.Time `json:"begin"` // of the drain
	EmptyBy time.Time `json:"empty-by"`
	Start   time.Time `json:"start"`
	End     time.Time `json:"end"`
	Windows []string  `json:"windows"`
	Lead    Duration  `json:"lead"`
	LeadWhy string    `json:"lead-why"`
}

// Skip is a stretch that is left out.
type Skip struct {
	Pet   string    `json:"pet"`
	Start time.Time `json:"start,omitzero"`
	End   time.Time `json:"end,omitzero"`
	By    string    `json:"by,omitempty"`
}

// errUnknown states that the daemon has nothing of that name.
var errUnknown = errors.New("not known")

// unknown is an errUnknown in the daemon's own words.
type unknown string

func (u unknown) Error() string        { return string(u) }
func (u unknown) Is(target error) bool { return target == errUnknown }

// Problem is what is said in place of an answer.
type Problem struct {
	Error string `json:"error"`
}

// Client talks to the daemon of a unit.
type Client struct{ http *http.Client }

// NewClient returns a client of the daemon whose unit has the state directory dir. It does
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

// Order asks for a run and returns its id.
func (c Client) Order(ctx context.Context, q Request) (id string, err error) {
	var order store.Order
	err = c.ask(ctx, http.MethodPost, "/1/runs", q, &order)
	return order.ID, err
}

// Run returns a run. One that was not begun yet has no state.
func (c Client) Run(ctx context.Context, id string) (run store.Run, err error) {
	err = c.ask(ctx, http.MethodGet, "/1/runs/"+url.PathEscape(id), nil, &run)
	return run, err
}

// Leave has the daemon take its node out of the store, for good.
func (c Client) Leave(ctx context.Context) error {
	var nothing struct{}
	return c.ask(ctx, http.MethodPost, "/1/leave", nil, &nothing)
}

// History returns a pet's ended runs, the latest first; an empty pet is all pets, and no
// limit a hundred.
func (c Client) History(ctx context.Context, pet string, limit int) (runs []store.Run, err error) {
	query := url.Values{"pet": {pet}}
	if limit > 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	err = c.ask(ctx, http.MethodGet, "/1/history?"+query.Encode(), nil, &runs)
	return runs, err
}

// Configured reports whether a name is a pet's, or its member's, and returns both.
func (c Client) Configured(ctx context.Context, name string) (pet, member string, ok bool, err error) {
	var p Pet
	err = c.ask(ctx, http.MethodGet, "/1/pets/"+url.PathEscape(name), nil, &p)
	if errors.Is(err, errUnknown) {
		return "", "", false, nil
	}
	return p.Name, p.Member, err == nil, err
}

// Pets returns the pets with their state.
func (c Client) Pets(ctx context.Context) (pets []Pet, err error) {
	err = c.ask(ctx, http.MethodGet, "/1/pets", nil, &pets)
	return pets, err
}

// Plan returns the pets' reserved windows in the next days; an empty pet is all pets.
func (c Client) Plan(ctx context.Context, pet string, days int) (plan []Stretch, err error) {
	query := url.Values{"pet": {pet}, "days": {strconv.Itoa(days)}}
	err = c.ask(ctx, http.MethodGet, "/1/plan?"+query.Encode(), nil, &plan)
	return plan, err
}

// AddWindow adds a window, or the windows of a calendar, to a pet and returns it with its id.
func (c Client) AddWindow(ctx context.Context, w Window) (added Window, err error) {
	err = c.ask(ctx, http.MethodPost, "/1/windows", w, &added)
	return added, err
}

// RemoveWindow removes a window that was added.
func (c Client) RemoveWindow(ctx context.Context, id string) error {
	var w Window
	return c.ask(ctx, http.MethodDelete, "/1/windows/"+url.PathEscape(id), nil, &w)
}

// SkipNext leaves a pet's next reserved window out, and returns what that is.
func (c Client) SkipNext(ctx context.Context, k Skip) (skipped Skip, err error) {
	err = c.ask(ctx, http.MethodPost, "/1/skips", k, &skipped)
	return skipped, err
}

// Hold holds a pet, in place of an earlier hold.
func (c Client) Hold(ctx context.Context, h Hold) error {
	return c.ask(ctx, http.MethodPost, "/1/holds", h, &h)
}

// Release ends a pet's hold.
func (c Client) Release(ctx context.Context, pet string) error {
	var h Hold
	return c.ask(ctx, http.MethodDelete, "/1/holds/"+url.PathEscape(pet), nil, &h)
}

// answerTime is how long the daemon may take for a call, which is longer than its store may: who
// calls holds the machine's lock.
const answerTime = 45 * time.Second

func (c Client) ask(ctx context.Context, method, path string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
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
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("cannot get an answer of the daemon within %s: is a majority of the units up? %w", answerTime, err)
	}
	if err != nil {
		return fmt.Errorf("cannot reach the daemon: is pet-scheduler.service up? %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		var p Problem
		if err := json.NewDecoder(response.Body).Decode(&p); err != nil || p.Error == "" {
			return fmt.Errorf("cannot understand the daemon: it answers %s", response.Status)
		}
		if response.StatusCode == http.StatusNotFound {
			return unknown(p.Error)
		}
		return errors.New(p.Error)
	}
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		return fmt.Errorf("cannot understand the daemon: %w", err)
	}
	return nil
}

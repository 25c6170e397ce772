package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind is what a run does to its pet.
type Kind string

// The kinds.
const (
	Drain   Kind = "drain"
	Undrain Kind = "undrain"
)

// RunState is how far a run has come.
type RunState string

// The states of a run. A pet has at most one that is running.
const (
	Running   RunState = "running"
	Done      RunState = "done"   // what it was for was seen to be true
	Failed    RunState = "failed" // given up, and left as it is
	Cancelled RunState = "undone" // given up, and taken back
)

// Run is one drain or undrain of one pet, whichever units worked on it.
type Run struct {
	ID      string    `json:"id"` // chosen by the one who begins it; beginning it twice is beginning it once
	Pet     string    `json:"pet"`
	Kind    Kind      `json:"kind"`
	State   RunState  `json:"state,omitempty"`
	Why     string    `json:"why,omitempty"` // who or what asked for it
	Due     time.Time `json:"due,omitzero"`  // when it is given up; zero is never
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`  // zero while it is running
	Moved   int       `json:"moved,omitempty"` // how many steps were done, once it has ended
	Note    string    `json:"note,omitempty"`  // what came of it
	Term    int64     `json:"term,omitempty"`  // under which it was last written
	// Member is the LXD member of the pet; empty when it has the pet's name.
	Member string `json:"member,omitempty"`
	// Calendar reports whether the scheduler began it automatically, and Window, of a drain, for the
	// window that starts then; zero when it was for a hold.
	Calendar  bool      `json:"calendar,omitempty"`
	Window    time.Time `json:"window,omitzero"`
	Instances int       `json:"instances,omitempty"` // that were on the pet when it began
	Steps     []Step    `json:"steps,omitempty"`
}

// Where returns the LXD member that the run is about.
func (r Run) Where() string { return cmp.Or(r.Member, r.Pet) }

// StepState is how far a step has come.
type StepState string

// The states of a step.
const (
	StepPlanned StepState = "planned"
	StepStarted StepState = "started"
	StepDone    StepState = "done"
	StepFailed  StepState = "failed"
	StepUndone  StepState = "undone"
)

// before returns the states that a step may come from. One that has started may be started
// again, by the unit that finds it so.
var before = map[StepState][]StepState{
	StepStarted: {StepPlanned, StepStarted, StepFailed},
	StepDone:    {StepStarted, StepDone},
	StepFailed:  {StepStarted, StepFailed},
	StepUndone:  {StepStarted, StepDone, StepFailed, StepUndone},
}

// Step is what happens to one instance in a run.
type Step struct {
	Seq      int    `json:"seq"` // from 0, in the order of the plan
	Project  string `json:"project"`
	Instance string `json:"instance"`
	What     string `json:"what"` // what is to happen, for an operator
	From     string `json:"from"` // a member
	To       string `json:"to"`   // a member; empty where it is not known before

	State StepState `json:"state,omitempty"`
	Note  string    `json:"note,omitempty"` // what came of it
	At    time.Time `json:"at,omitzero"`    // when it came into that state
	Term  int64     `json:"term,omitempty"` // under which it was last written
}

// Begin writes a run and its planned steps, all or nothing. It fails with ErrConflict when
// another run of the pet is under way.
func (a *Leader) Begin(ctx context.Context, r Run) error {
	steps := r.Steps
	if steps == nil {
		steps = []Step{}
	}
	plan, err := json.Marshal(steps)
	if err != nil {
		return wrap(err, "write the plan for %s", r.Pet)
	}
	err = a.exec(ctx, `INSERT INTO runs (id, pet, kind, state, why, due, started, plan, term, member, calendar, window, instances)
		VALUES (?, ?, ?, 'running', ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO NOTHING`, r.ID, r.Pet, string(r.Kind), r.Why, millis(r.Due), millis(a.now()), string(plan), a.term,
		r.Member, r.Calendar, millis(r.Window), r.Instances)
	if err == nil || strings.Contains(err.Error(), "UNIQUE constraint failed") {
		err = a.came(ctx, string(Running), `SELECT state, term FROM runs WHERE id = ?`, r.ID)
	}
	if errors.Is(err, ErrNotFound) {
		err = ErrConflict
	}
	return wrap(err, "begin a run for %s", r.Pet)
}

// SetStep brings a step into a state. It fails with ErrConflict when the step is in a state
// that does not lead there.
func (a *Leader) SetStep(ctx context.Context, run string, seq int, state StepState, note string) error {
	froms := make([]string, len(before[state]))
	for i, from := range before[state] {
		froms[i] = "'" + string(from) + "'"
	}
	err := a.exec(ctx, `UPDATE steps SET state = ?, note = ?, at = ?, term = ? WHERE run = ? AND seq = ? AND state IN (`+strings.Join(froms, ", ")+`)`,
		string(state), note, millis(a.now()), a.term, run, seq)
	if err != nil {
		return wrap(err, "write step %d of run %s", seq, run)
	}
	return wrap(a.came(ctx, string(state), `SELECT state, term FROM steps WHERE run = ? AND seq = ?`, run, seq), "write step %d of run %s", seq, run)
}

// End ends a run; note says what came of it. Ending it twice the same way is ending it once.
func (a *Leader) End(ctx context.Context, run string, state RunState, note string) error {
	if state == Running {
		return fmt.Errorf("cannot end run %s: %q is no end", run, state)
	}
	err := a.exec(ctx, `UPDATE runs SET state = ?, note = ?, ended = ?, term = ?, plan = '',
		moved = (SELECT count(*) FROM steps WHERE run = id AND steps.state = 'done') WHERE id = ? AND state = 'running'`,
		string(state), note, millis(a.now()), a.term, run)
	if err != nil {
		return wrap(err, "end run %s", run)
	}
	return wrap(a.came(ctx, string(state), `SELECT state, term FROM runs WHERE id = ?`, run), "end run %s", run)
}

// came looks whether a row is as this actor wrote it.
func (a *Leader) came(ctx context.Context, wanted, query string, args ...any) error {
	there := false
	var state string
	var term int64
	err := a.query(ctx, func(rows *sql.Rows) error {
		there = true
		return rows.Scan(&state, &term)
	}, query, args...)
	switch {
	case err != nil:
		return err
	case !there:
		return ErrNotFound
	case term > a.term:
		return ErrFenced
	case state != wanted || term != a.term:
		return fmt.Errorf("it is %s: %w", state, ErrConflict)
	}
	return nil
}

const runColumns = `id, pet, kind, state, why, due, started, ended, moved, note, term, member, calendar, window, instances`

func scanRun(rows *sql.Rows, r *Run) error {
	var due, started, ended, window int64
	err := rows.Scan(&r.ID, &r.Pet, &r.Kind, &r.State, &r.Why, &due, &started, &ended, &r.Moved, &r.Note, &r.Term,
		&r.Member, &r.Calendar, &window, &r.Instances)
	r.Window = moment(window)
	r.Due, r.Started, r.Ended = moment(due), moment(started), moment(ended)
	return err
}

// OpenRun returns the run of a pet that is under way, with its steps; ok is false when there is
// none.
func (s *Store) OpenRun(ctx context.Context, pet string) (r Run, ok bool, err error) {
	return s.run(ctx, `SELECT `+runColumns+` FROM runs WHERE pet = ? AND state = 'running'`, pet)
}

// Run returns a run with its steps; ok is false when there is none.
func (s *Store) Run(ctx context.Context, id string) (r Run, ok bool, err error) {
	return s.run(ctx, `SELECT `+runColumns+` FROM runs WHERE id = ?`, id)
}

func (s *Store) run(ctx context.Context, query string, arg string) (Run, bool, error) {
	runs, err := all(ctx, s, scanRun, query, arg)
	if err != nil || len(runs) == 0 {
		return Run{}, false, wrap(err, "read the run of %s", arg)
	}
	r := runs[0]
	r.Steps, err = all(ctx, s, func(rows *sql.Rows, t *Step) error {
		var at int64
		err := rows.Scan(&t.Seq, &t.Project, &t.Instance, &t.What, &t.From, &t.To, &t.State, &t.Note, &at, &t.Term)
		t.At = moment(at)
		return err
	}, `SELECT seq, project, instance, what, source, target, state, note, at, term FROM steps WHERE run = ? ORDER BY seq`, r.ID)
	return r, true, wrap(err, "read the steps of run %s", r.ID)
}

// OpenRuns lists the runs that are under way, without their steps.
func (s *Store) OpenRuns(ctx context.Context) ([]Run, error) {
	runs, err := all(ctx, s, scanRun, `SELECT `+runColumns+` FROM runs WHERE state = 'running' ORDER BY started, id`)
	return runs, wrap(err, "list the runs under way")
}

// History lists a pet's ended runs without their steps, the latest first, at most limit; an
// empty pet is all pets.
func (s *Store) History(ctx context.Context, pet string, limit int) ([]Run, error) {
	args := []any{limit}
	if pet != "" {
		args = []any{pet, limit}
	}
	runs, err := all(ctx, s, scanRun, historyQuery(pet), args...)
	return runs, wrap(err, "read the history")
}

// historyQuery is of a pet, and a limit; of a limit alone for all pets.
func historyQuery(pet string) string {
	whose := ""
	if pet != "" {
		whose = "AND pet = ? "
	}
	return `SELECT ` + runColumns + ` FROM runs WHERE state <> 'running' ` + whose + `ORDER BY ended DESC, id LIMIT ?`
}

// takenQuery goes from pet to pet along the index: it is asked every few seconds.
const takenQuery = `WITH RECURSIVE names (name) AS (
		SELECT min(pet) FROM runs
		UNION ALL SELECT (SELECT min(pet) FROM runs WHERE pet > name) FROM names WHERE name IS NOT NULL)
	SELECT ` + runColumns + ` FROM names JOIN runs ON id = (
		SELECT id FROM runs WHERE pet = name AND state <> 'running' ORDER BY ended DESC LIMIT 1)
	WHERE kind = 'drain' AND calendar ORDER BY pet`

// Taken lists, for each pet whose last ended run was a drain by the calendar, that run without
// its steps: what the calendar has taken and not given back.
func (s *Store) Taken(ctx context.Context) ([]Run, error) {
	runs, err := all(ctx, s, scanRun, takenQuery)
	return runs, wrap(err, "list what the calendar has taken")
}

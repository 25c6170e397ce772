//go:build cgo && libsqlite3

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var ctx = context.Background()

func steps(names ...string) []Step {
	list := make([]Step, len(names))
	for n, name := range names {
		list[n] = Step{Project: "default", Instance: name, What: "move", From: "big", To: "small"}
	}
	return list
}

func TestJournal(t *testing.T) {
	s := newCluster(t, 1).open(0, Options{})
	a := grab(t, s)
	due := time.Date(2026, 11, 20, 21, 0, 0, 0, time.UTC)
	run := Run{ID: "r1", Pet: "big", Kind: Drain, Why: "window", Due: due, Steps: steps("c1", "it's \"c2\"")}
	require.NoError(t, a.Begin(ctx, run))
	require.NoError(t, a.Begin(ctx, run), "a statement may be run twice")
	require.ErrorIs(t, a.Begin(ctx, Run{ID: "r2", Pet: "big", Kind: Undrain}), ErrConflict)
	require.NoError(t, a.Begin(ctx, Run{ID: "r3", Pet: "other", Kind: Drain}))

	r, ok, err := s.OpenRun(ctx, "big")
	require.NoError(t, err)
	require.True(t, ok)
	assert.Equal(t, due, r.Due)
	assert.Equal(t, Running, r.State)
	require.Len(t, r.Steps, 2)
	assert.Equal(t, "it's \"c2\"", r.Steps[1].Instance)
	assert.Equal(t, StepPlanned, r.Steps[1].State)
	assert.Equal(t, "small", r.Steps[1].To)

	require.ErrorIs(t, a.SetStep(ctx, "r1", 0, StepDone, ""), ErrConflict, "it was not started")
	require.ErrorIs(t, a.SetStep(ctx, "r1", 7, StepStarted, ""), ErrNotFound)
	require.NoError(t, a.SetStep(ctx, "r1", 0, StepStarted, ""))
	require.NoError(t, a.SetStep(ctx, "r1", 0, StepStarted, ""))
	require.NoError(t, a.SetStep(ctx, "r1", 0, StepDone, "seen running"))
	require.ErrorIs(t, a.SetStep(ctx, "r1", 0, StepStarted, ""), ErrConflict, "what is done is not begun again")
	require.NoError(t, a.SetStep(ctx, "r1", 1, StepStarted, ""))
	require.NoError(t, a.SetStep(ctx, "r1", 1, StepFailed, "no capacity"))
	require.Error(t, a.End(ctx, "r1", Running, ""))
	require.NoError(t, a.End(ctx, "r1", Failed, "no capacity for c2"))
	require.NoError(t, a.End(ctx, "r1", Failed, "no capacity for c2"))
	require.ErrorIs(t, a.End(ctx, "r1", Done, ""), ErrConflict)
	require.ErrorIs(t, a.End(ctx, "nothing", Done, ""), ErrNotFound)

	_, ok, err = s.OpenRun(ctx, "big")
	require.NoError(t, err)
	assert.False(t, ok)
	open, err := s.OpenRuns(ctx)
	require.NoError(t, err)
	require.Len(t, open, 1)
	assert.Equal(t, "r3", open[0].ID)
	past, err := s.History(ctx, "big", 10)
	require.NoError(t, err)
	require.Len(t, past, 1)
	assert.Equal(t, 1, past[0].Moved)
	assert.Equal(t, "no capacity for c2", past[0].Note)
	assert.False(t, past[0].Ended.IsZero())
	everyone, err := s.History(ctx, "", 10)
	require.NoError(t, err)
	assert.Len(t, everyone, 1)

	require.NoError(t, a.Prune(ctx, time.Now().Add(Keep+time.Hour)))
	r, _, err = s.Run(ctx, "r1")
	require.NoError(t, err)
	assert.Empty(t, r.Steps)
	assert.Equal(t, 1, r.Moved)
}

func TestIntents(t *testing.T) {
	s := newCluster(t, 1).open(0, Options{})
	start := time.Date(2026, 11, 20, 21, 0, 0, 0, time.UTC)
	for range 2 { // a statement may be run twice
		require.NoError(t, s.SetPets(ctx, "pets: [big]"))
		require.NoError(t, s.AddWindow(ctx, Window{ID: "w", Pet: "big", Spec: "Fri 21:00–Sat 05:00", By: "ana"}))
		require.NoError(t, s.AddSkip(ctx, Skip{Pet: "big", Start: start, By: "ana"}))
		require.NoError(t, s.SetHold(ctx, Hold{Pet: "big", Why: "repair", By: "ana"}))
	}
	require.NoError(t, s.SetHold(ctx, Hold{Pet: "big", Until: start, Why: "longer", By: "bo"}))
	i, err := s.Intents(ctx)
	require.NoError(t, err)
	assert.Equal(t, "pets: [big]", i.Pets)
	assert.EqualValues(t, 1, i.Revision)
	require.Len(t, i.Windows, 1)
	assert.Equal(t, "Fri 21:00–Sat 05:00", i.Windows[0].Spec)
	require.Len(t, i.Skips, 1)
	assert.Equal(t, start, i.Skips[0].Start)
	require.Len(t, i.Holds, 1)
	assert.Equal(t, start, i.Holds[0].Until)
	assert.Equal(t, "longer", i.Holds[0].Why)

	require.NoError(t, s.SetPets(ctx, "pets: []"))
	require.NoError(t, s.RemoveWindow(ctx, "w"))
	require.NoError(t, s.RemoveSkip(ctx, "big", start))
	require.NoError(t, s.Release(ctx, "big"))
	i, err = s.Intents(ctx)
	require.NoError(t, err)
	assert.Equal(t, Intents{Pets: "pets: []", Revision: 2}, i)
}

func TestOrders(t *testing.T) {
	s := newCluster(t, 1).open(0, Options{})
	due := time.Date(2026, 11, 20, 21, 0, 0, 0, time.UTC)
	for range 2 { // a statement may be run twice
		require.NoError(t, s.AddOrder(ctx, Order{ID: "o1", Pet: "big", Kind: Drain, Force: true, Due: due, Why: "ana"}))
	}
	require.NoError(t, s.AddOrder(ctx, Order{ID: "o2", Pet: "big", Kind: Undrain}))
	waiting, err := s.Waiting(ctx)
	require.NoError(t, err)
	require.Len(t, waiting, 2)
	a := grab(t, s)
	require.NoError(t, a.Begin(ctx, Run{ID: "o1", Pet: "big", Kind: Drain}))
	waiting, err = s.Waiting(ctx)
	require.NoError(t, err)
	require.Len(t, waiting, 1)
	assert.Equal(t, "o2", waiting[0].ID)
	o, ok, err := s.Order(ctx, "o1")
	require.NoError(t, err)
	require.True(t, ok)
	assert.True(t, o.Force)
	assert.Equal(t, due, o.Due)
	require.NoError(t, a.End(ctx, "o1", Done, ""))
	require.NoError(t, s.exec(ctx, `UPDATE orders SET at = ? WHERE id <> 'o1'`, millis(time.Now().Add(2*time.Hour))))
	require.NoError(t, a.Prune(ctx, time.Now().Add(Keep+time.Hour)))
	_, ok, err = s.Order(ctx, "o1")
	require.NoError(t, err)
	assert.False(t, ok)
	waiting, err = s.Waiting(ctx)
	require.NoError(t, err)
	require.Len(t, waiting, 1, "a pruned order does not come back")
}

// What is over does not grow for ever, whatever fails however often; what still counts stays.
func TestPrune(t *testing.T) {
	s := newCluster(t, 1).open(0, Options{})
	a := grab(t, s)
	now := time.Date(2026, 11, 20, 21, 0, 0, 0, time.UTC)
	insert := func(pet, kind, state string, n int, from time.Time, step time.Duration, calendar bool) {
		require.NoError(t, s.exec(ctx, `WITH RECURSIVE k (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < ?)
			INSERT INTO runs (id, pet, kind, state, why, due, started, ended, plan, term, calendar)
			SELECT ? || i, ?, ?, ?, '', 0, ? + i * ?, ? + i * ?, '[{"project":"default","instance":"c","what":"","from":"","to":""}]', ?, ? FROM k`,
			n, pet+kind+state, pet, kind, state, millis(from), step.Milliseconds(), millis(from), step.Milliseconds(), a.term, calendar))
	}
	count := func(table string) (n int) {
		require.NoError(t, s.query(ctx, func(rows *sql.Rows) error { return rows.Scan(&n) }, `SELECT count(*) FROM `+table))
		return n
	}
	// Completed drains, then an undrain that fails for a month, every five minutes.
	insert("big", "drain", "done", 150, now.AddDate(-1, 0, 0), 24*time.Hour, true)
	insert("big", "undrain", "failed", 8000, now.AddDate(0, -1, 0), 5*time.Minute, true)
	insert("gone", "drain", "done", 5, now.AddDate(-3, 0, 0), time.Hour, false)
	insert("taken", "drain", "done", 5, now.AddDate(-3, 0, 0), time.Hour, true)
	insert("stuck", "drain", "running", 1, now.AddDate(-3, 0, 0), time.Hour, true)
	require.NoError(t, s.SetPets(ctx, "pets: [big]"))
	for _, skip := range []Skip{{Pet: "big", Start: now.AddDate(0, -3, 0), Until: now.AddDate(0, -3, 1)}, {Pet: "big", Start: now.AddDate(0, 0, -40)}, {Pet: "big", Start: now.AddDate(0, -4, 0), Until: now.AddDate(0, 1, 0)}} {
		require.NoError(t, s.AddSkip(ctx, skip))
	}
	for pet, until := range map[string]time.Time{"over": now.AddDate(0, -2, 0), "lately": now.AddDate(0, 0, -2), "on": {}} {
		require.NoError(t, s.SetHold(ctx, Hold{Pet: pet, Until: until}))
	}
	require.NoError(t, s.AddOrder(ctx, Order{ID: "bigdraindone1", Pet: "big", Kind: Drain}))
	require.NoError(t, s.AddOrder(ctx, Order{ID: "never", Pet: "big", Kind: Drain}))
	s.now = func() time.Time { return now.Add(-time.Hour) }
	require.NoError(t, s.AddOrder(ctx, Order{ID: "waits", Pet: "big", Kind: Drain}))
	require.NoError(t, s.exec(ctx, `UPDATE orders SET at = ? WHERE id = 'never'`, millis(now.AddDate(0, -2, 0))))

	for range 2 {
		require.NoError(t, a.Prune(ctx, now))
		runs, err := s.History(ctx, "big", 100000)
		require.NoError(t, err)
		drains := 0
		for _, r := range runs {
			if r.Kind == Drain {
				drains++
			}
		}
		assert.Len(t, runs, KeepRuns+KeepDrains)
		assert.Equal(t, KeepDrains, drains, "what the lead is learned from stays")
		runs, err = s.History(ctx, "gone", 100)
		require.NoError(t, err)
		assert.Empty(t, runs)
		taken, err := s.Taken(ctx)
		require.NoError(t, err)
		require.Len(t, taken, 1, "it is still to be given back")
		open, err := s.OpenRuns(ctx)
		require.NoError(t, err)
		assert.Len(t, open, 1)
		intents, err := s.Intents(ctx)
		require.NoError(t, err)
		assert.Len(t, intents.Skips, 2)
		assert.Len(t, intents.Holds, 2)
		waiting, err := s.Waiting(ctx)
		require.NoError(t, err)
		require.Len(t, waiting, 1, "the order of a run that was forgotten does not come back")
		assert.Equal(t, "waits", waiting[0].ID)
		assert.LessOrEqual(t, count("steps"), KeepRuns+KeepDrains+2)
	}
}

// Alerts are the acting unit's: others read them, and an earlier one does not write any more.
func TestAlerts(t *testing.T) {
	s := newCluster(t, 1).open(0, Options{})
	a := grab(t, s)
	list, err := s.Alerts(ctx)
	require.NoError(t, err)
	require.Empty(t, list)
	late := []Alert{{Pet: "big", Kind: "late", Text: "it's late", Since: time.Date(2026, 11, 20, 21, 0, 0, 0, time.UTC)}}
	for range 2 { // a statement may be run twice
		require.NoError(t, a.SetAlerts(ctx, late))
	}
	list, err = s.as("unit1").Alerts(ctx)
	require.NoError(t, err)
	require.Equal(t, late, list)
	next := grab(t, s.as("unit1"))
	require.ErrorIs(t, a.SetAlerts(ctx, nil), ErrFenced)
	require.NoError(t, next.SetAlerts(ctx, nil))
	list, err = s.Alerts(ctx)
	require.NoError(t, err)
	require.Empty(t, list)
}

// Whatever units do, and in whatever order their writes reach the database: what is
// written was written by the one who held the lease then.
func TestFencing(t *testing.T) {
	base := newCluster(t, 1).open(0, Options{})
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		const run = "r"
		pet := fmt.Sprint("pet", round)
		id := fmt.Sprint(run, round)
		holder := grab(t, base.as("unit0"))
		require.NoError(t, holder.Begin(ctx, Run{ID: id, Pet: pet, Kind: Drain, Steps: steps("a", "b", "c")}))
		actors := []*Leader{holder} // all that there ever were
		written := map[int]int64{}  // step → term
		model := map[int]StepState{0: StepPlanned, 1: StepPlanned, 2: StepPlanned}
		ended := false
		t.Repeat(map[string]func(*rapid.T){
			"take over": func(t *rapid.T) {
				holder = grab(t, base.as(fmt.Sprint("unit", len(actors))))
				actors = append(actors, holder)
			},
			"give up": func(t *rapid.T) {
				a := rapid.SampledFrom(actors).Draw(t, "who")
				require.NoError(t, a.release(ctx))
				if a == holder {
					holder = nil
				}
			},
			"renew": func(t *rapid.T) {
				a := rapid.SampledFrom(actors).Draw(t, "who")
				if err := a.renew(ctx); a == holder {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, ErrFenced)
				}
			},
			"step": func(t *rapid.T) {
				a := rapid.SampledFrom(actors).Draw(t, "who")
				seq := rapid.IntRange(0, 2).Draw(t, "step")
				to := rapid.SampledFrom([]StepState{StepStarted, StepDone, StepFailed, StepUndone}).Draw(t, "to")
				allowed := false
				for _, from := range before[to] {
					allowed = allowed || model[seq] == from
				}
				err := a.SetStep(ctx, id, seq, to, "")
				if a == holder && allowed {
					require.NoError(t, err)
					model[seq], written[seq] = to, a.term
				} else {
					// One whose term is over may find the row as it wrote it once.
					if !(err == nil && model[seq] == to && written[seq] == a.term) {
						require.True(t, errors.Is(err, ErrFenced) || errors.Is(err, ErrConflict), "%v", err)
					}
				}
			},
			"begin": func(t *rapid.T) {
				a := rapid.SampledFrom(actors).Draw(t, "who")
				if err := a.Begin(ctx, Run{ID: id + "x", Pet: pet, Kind: Undrain}); a == holder {
					require.ErrorIs(t, err, ErrConflict)
				} else {
					require.ErrorIs(t, err, ErrFenced)
				}
			},
			"": func(t *rapid.T) {
				r, ok, err := base.Run(ctx, id)
				require.NoError(t, err)
				require.True(t, ok && !ended)
				l, err := base.Lease(ctx)
				require.NoError(t, err)
				for n, step := range r.Steps {
					require.Equal(t, model[n], step.State)
					if term, touched := written[n]; touched {
						require.Equal(t, term, step.Term)
					}
					require.LessOrEqual(t, step.Term, l.Term)
				}
				if holder != nil {
					require.Equal(t, holder.term, l.Term)
				}
			},
		})
		// Every pet has one run: free capacity for the next round.
		last := grab(t, base)
		require.NoError(t, last.End(ctx, id, Done, ""))
	})
}

func TestCertificate(t *testing.T) {
	c := newCluster(t, 1)
	good := c.certificate
	orphan := newCluster(t, 0)
	c.certificate = orphan.certificate
	c.nodes = append(c.nodes, &member{address: freeAddress(t)})
	node, db := openNode(t, c.config(1))
	defer node.Close()
	defer db.Close()
	short, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	require.Error(t, node.Ready(short), "the one who has not the cluster's key stays out")
	c.certificate = good
	assert.Equal(t, map[string]int{"voter": 1}, c.roles(0))
}

// Of each pet whose last ended run was a drain by its calendar that run is given, by index
// however many runs there were.
func TestTaken(t *testing.T) {
	s := newCluster(t, 1).open(0, Options{})
	a := grab(t, s)
	begin := func(pet, id string, kind Kind, calendar bool) {
		require.NoError(t, a.Begin(ctx, Run{ID: id, Pet: pet, Kind: kind, Calendar: calendar}))
	}
	end := func(id string, state RunState) {
		require.NoError(t, a.End(ctx, id, state, ""))
		time.Sleep(2 * time.Millisecond) // the store reports milliseconds
	}
	for _, pet := range []string{"kept", "again", "back", "asked"} {
		begin(pet, pet+"1", Drain, pet != "asked")
		end(pet+"1", Done)
	}
	begin("back", "back2", Undrain, true)
	end("back2", Done)
	begin("again", "again2", Undrain, true)
	end("again2", Done)
	begin("again", "again3", Drain, true)
	end("again3", Failed)
	begin("kept", "kept2", Undrain, true)
	begin("first", "first1", Drain, true)

	taken, err := s.Taken(ctx)
	require.NoError(t, err)
	ids := make([]string, len(taken))
	for i, r := range taken {
		ids[i] = r.ID
	}
	require.Equal(t, []string{"again3", "kept1"}, ids)

	for _, query := range []struct {
		sql  string
		args []any
	}{{takenQuery, nil}, {historyQuery("big"), []any{"big", 10}}} {
		plan, err := all(ctx, s, func(rows *sql.Rows, line *string) error {
			var id, parent, unused int
			return rows.Scan(&id, &parent, &unused, line)
		}, "EXPLAIN QUERY PLAN "+query.sql, query.args...)
		require.NoError(t, err)
		require.NotEmpty(t, plan)
		for _, line := range plan {
			assert.NotContains(t, line, "SCAN runs", "%s", query.sql)
		}
	}
}

package store

import (
	"context"
	"fmt"
	"time"
)

// How much of what is over the store keeps: the database is held in memory, and copied whole
// into each snapshot.
const (
	// Keep is for how long the steps of an ended run are kept, a skip or a hold that is over, an
	// order of which no run has come, and a unit that was not heard of.
	Keep = 30 * 24 * time.Hour
	// KeepRuns is how many ended runs of a pet are kept, the latest ones.
	KeepRuns = 200
	// KeepDrains is how many completed drains of a pet are kept, also when KeepRuns later runs
	// came since: the lead is learned from them.
	KeepDrains = 100
	// KeepPet is for how long the runs are kept of a pet, or of a member that is none, that has
	// had no run since.
	KeepPet = 400 * 24 * time.Hour
)

// longest is how long a window may be: a skip that is over may still be about one that is open.
const longest = 31 * 24 * time.Hour

// Prune forgets what is over and is not to be kept any longer at that moment. With a run go its
// steps and its order, see the trigger runs_delete.
func (a *Leader) Prune(ctx context.Context, now time.Time) error {
	then := millis(now.Add(-Keep))
	for _, s := range []struct {
		statement string
		args      []any
	}{
		{`DELETE FROM steps WHERE run IN (SELECT id FROM runs WHERE state <> 'running' AND ended < ?)`, []any{then}},
		{`DELETE FROM orders WHERE id IN (SELECT id FROM runs WHERE state <> 'running' AND ended < ?)`, []any{then}},
		{`DELETE FROM orders WHERE at < ? AND id NOT IN (SELECT id FROM runs)`, []any{then}},
		{fmt.Sprintf(`DELETE FROM runs WHERE id IN (SELECT id FROM (
			SELECT id, kind = 'drain' AND state = 'done' AS drained,
				row_number() OVER (PARTITION BY pet ORDER BY ended DESC, id) AS n,
				row_number() OVER (PARTITION BY pet, kind = 'drain' AND state = 'done' ORDER BY ended DESC, id) AS m
			FROM runs WHERE state <> 'running')
			WHERE n > %d AND NOT (drained AND m <= %d))`, KeepRuns, KeepDrains), nil},
		// Of the row with the greatest end, see https://www.sqlite.org/lang_select.html#bareagg:
		// a pet that the calendar has drained is still to be given back.
		{`DELETE FROM runs WHERE pet IN (SELECT pet FROM (
			SELECT pet, max(ended) AS last, kind, calendar, sum(state = 'running') AS open FROM runs GROUP BY pet)
			WHERE last < ? AND open = 0 AND NOT (kind = 'drain' AND calendar))`, []any{millis(now.Add(-KeepPet))}},
		{`DELETE FROM skips WHERE max(start, until) < ?`, []any{millis(now.Add(-Keep - longest))}},
		{`DELETE FROM holds WHERE until <> 0 AND until < ?`, []any{then}},
		{`DELETE FROM units WHERE seen < CAST(strftime('%s', 'now') AS INTEGER) - ?`, []any{int64(Keep / time.Second)}},
	} {
		if err := a.exec(ctx, s.statement, s.args...); err != nil {
			return wrap(err, "forget what is over")
		}
	}
	return nil
}

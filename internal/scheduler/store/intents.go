package store

import (
	"context"
	"database/sql"
	"time"
)

// Intents is what operators want of the pets: the accepted set, and what actions added to
// it. Whichever unit is asked may write it; it is the acting unit that heeds it.
type Intents struct {
	Pets     string // the last set of pets that was accepted, YAML
	Revision int64  // grows when the set changes
	Windows  []Window
	Skips    []Skip
	Holds    []Hold
}

// Window is a window that an action added to a pet.
type Window struct {
	ID   string // chosen by the one who adds it
	Pet  string
	Spec string // as it stands in a set of pets
	By   string
	At   time.Time
}

// Skip leaves windows of a pet out: those that start from Start on and before Until.
type Skip struct {
	Pet   string
	Start time.Time
	Until time.Time // zero is the window at Start alone
	By    string
	At    time.Time
}

// Hold keeps the scheduler's hands off a pet.
type Hold struct {
	Pet   string
	State string    // what is held: "reserved", "shared" or "paused"
	Until time.Time // zero is until it is released
	Why   string
	By    string
	At    time.Time
}

// Intents reads them all.
func (s *Store) Intents(ctx context.Context) (i Intents, err error) {
	err = s.query(ctx, func(rows *sql.Rows) error { return rows.Scan(&i.Pets, &i.Revision) }, `SELECT text, revision FROM pets`)
	if err != nil {
		return Intents{}, wrap(err, "read the set of pets")
	}
	i.Windows, err = all(ctx, s, func(rows *sql.Rows, w *Window) error {
		var at int64
		err := rows.Scan(&w.ID, &w.Pet, &w.Spec, &w.By, &at)
		w.At = moment(at)
		return err
	}, `SELECT id, pet, spec, by, at FROM windows ORDER BY pet, at, id`)
	if err != nil {
		return Intents{}, wrap(err, "read the added windows")
	}
	i.Skips, err = all(ctx, s, func(rows *sql.Rows, k *Skip) error {
		var start, until, at int64
		err := rows.Scan(&k.Pet, &start, &until, &k.By, &at)
		k.Start, k.Until, k.At = moment(start), moment(until), moment(at)
		return err
	}, `SELECT pet, start, until, by, at FROM skips ORDER BY pet, start`)
	if err != nil {
		return Intents{}, wrap(err, "read the skipped windows")
	}
	i.Holds, err = all(ctx, s, func(rows *sql.Rows, h *Hold) error {
		var until, at int64
		err := rows.Scan(&h.Pet, &h.State, &until, &h.Why, &h.By, &at)
		h.Until, h.At = moment(until), moment(at)
		return err
	}, `SELECT pet, want, until, why, by, at FROM holds ORDER BY pet`)
	return i, wrap(err, "read the holds")
}

// SetPets replaces the accepted set. A set that is there already keeps its revision.
func (s *Store) SetPets(ctx context.Context, text string) error {
	return wrap(s.exec(ctx, `UPDATE pets SET text = ?, revision = revision + 1, by = ?, at = ? WHERE text <> ?`,
		text, s.unit, millis(s.now()), text), "keep the set of pets")
}

// AddWindow adds a window to a pet. Adding the same one twice is adding it once.
func (s *Store) AddWindow(ctx context.Context, w Window) error {
	return wrap(s.exec(ctx, `INSERT INTO windows (id, pet, spec, by, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
		w.ID, w.Pet, w.Spec, w.By, millis(s.now())), "add a window to %s", w.Pet)
}

// RemoveWindow removes a window that AddWindow added; one that is not there is removed.
func (s *Store) RemoveWindow(ctx context.Context, id string) error {
	return wrap(s.exec(ctx, `DELETE FROM windows WHERE id = ?`, id), "remove window %s", id)
}

// AddSkip leaves the window of a pet that starts then out.
func (s *Store) AddSkip(ctx context.Context, k Skip) error {
	return wrap(s.exec(ctx, `INSERT INTO skips (pet, start, until, by, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		k.Pet, millis(k.Start), millis(k.Until), k.By, millis(s.now())), "skip a window of %s", k.Pet)
}

// RemoveSkip takes a skip back.
func (s *Store) RemoveSkip(ctx context.Context, pet string, start time.Time) error {
	return wrap(s.exec(ctx, `DELETE FROM skips WHERE pet = ? AND start = ?`, pet, millis(start)), "take back a skip of %s", pet)
}

// SetHold holds a pet, in place of an earlier hold.
func (s *Store) SetHold(ctx context.Context, h Hold) error {
	return wrap(s.exec(ctx, `INSERT INTO holds (pet, want, until, why, by, at) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (pet) DO UPDATE SET want = excluded.want, until = excluded.until, why = excluded.why, by = excluded.by, at = excluded.at`,
		h.Pet, h.State, millis(h.Until), h.Why, h.By, millis(s.now())), "hold %s", h.Pet)
}

// Release ends the hold of a pet.
func (s *Store) Release(ctx context.Context, pet string) error {
	return wrap(s.exec(ctx, `DELETE FROM holds WHERE pet = ?`, pet), "release %s", pet)
}

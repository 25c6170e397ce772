package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/host/lograte"
)

// base is there before any migration, and stays as it is: it reports which schema the store
// has and which one each unit knows.
var base = []string{
	`CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, at INTEGER NOT NULL)`,
	`CREATE TABLE IF NOT EXISTS units (unit TEXT PRIMARY KEY, version INTEGER NOT NULL, seen INTEGER NOT NULL)`,
}

// migrations bring the schema from one version to the next; the version is how many were
// applied. The list only grows: what has shipped stays as it is.
var migrations = []string{
	// 1
	`
CREATE TABLE lease (
	one     INTEGER PRIMARY KEY CHECK (one = 1),
	holder  TEXT NOT NULL,    -- a unit; empty when no one acts
	session TEXT NOT NULL,    -- of the holder, one for each term
	term    INTEGER NOT NULL, -- grows whenever the lease is taken or given up
	beat    INTEGER NOT NULL  -- grows as long as the holder lives
);
INSERT INTO lease VALUES (1, '', '', 0, 0);

CREATE TABLE pets (
	one      INTEGER PRIMARY KEY CHECK (one = 1),
	text     TEXT NOT NULL,    -- the last set that was accepted, YAML
	revision INTEGER NOT NULL, -- grows when the text changes
	by       TEXT NOT NULL,
	at       INTEGER NOT NULL
);
INSERT INTO pets VALUES (1, '', 0, '', 0);

CREATE TABLE windows (
	id   TEXT PRIMARY KEY,
	pet  TEXT NOT NULL,
	spec TEXT NOT NULL,
	by   TEXT NOT NULL,
	at   INTEGER NOT NULL
);
CREATE TABLE skips (
	pet   TEXT NOT NULL,
	start INTEGER NOT NULL, -- of the window that is left out
	by    TEXT NOT NULL,
	at    INTEGER NOT NULL,
	PRIMARY KEY (pet, start)
);
CREATE TABLE holds (
	pet   TEXT PRIMARY KEY,
	until INTEGER NOT NULL, -- 0 is until it is released
	why   TEXT NOT NULL,
	by    TEXT NOT NULL,
	at    INTEGER NOT NULL
);

CREATE TABLE runs (
	id      TEXT PRIMARY KEY,
	pet     TEXT NOT NULL,
	kind    TEXT NOT NULL CHECK (kind IN ('drain', 'undrain')),
	state   TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed', 'undone')),
	why     TEXT NOT NULL,
	due     INTEGER NOT NULL,
	started INTEGER NOT NULL,
	ended   INTEGER NOT NULL DEFAULT 0,
	moved   INTEGER NOT NULL DEFAULT 0,
	note    TEXT NOT NULL DEFAULT '',
	plan    TEXT NOT NULL,    -- the steps as they were planned, JSON; empty once it has ended
	term    INTEGER NOT NULL  -- under which the row was last written
);
CREATE UNIQUE INDEX runs_open ON runs (pet) WHERE state = 'running';
CREATE INDEX runs_ended ON runs (ended);
CREATE TABLE steps (
	run      TEXT NOT NULL,
	seq      INTEGER NOT NULL,
	project  TEXT NOT NULL,
	instance TEXT NOT NULL,
	what     TEXT NOT NULL,
	source   TEXT NOT NULL,
	target   TEXT NOT NULL,
	state    TEXT NOT NULL CHECK (state IN ('planned', 'started', 'done', 'failed', 'undone')),
	note     TEXT NOT NULL,
	at       INTEGER NOT NULL,
	term     INTEGER NOT NULL,
	PRIMARY KEY (run, seq)
) WITHOUT ROWID;

CREATE TRIGGER runs_insert BEFORE INSERT ON runs WHEN NEW.term IS NOT (SELECT term FROM lease)
BEGIN SELECT RAISE(ABORT, '` + fenced + `'); END;
CREATE TRIGGER runs_update BEFORE UPDATE ON runs WHEN NEW.term IS NOT (SELECT term FROM lease)
BEGIN SELECT RAISE(ABORT, '` + fenced + `'); END;
CREATE TRIGGER steps_insert BEFORE INSERT ON steps WHEN NEW.term IS NOT (SELECT term FROM lease)
BEGIN SELECT RAISE(ABORT, '` + fenced + `'); END;
CREATE TRIGGER steps_update BEFORE UPDATE ON steps WHEN NEW.term IS NOT (SELECT term FROM lease)
BEGIN SELECT RAISE(ABORT, '` + fenced + `'); END;
CREATE TRIGGER runs_plan AFTER INSERT ON runs
BEGIN
	INSERT INTO steps
	SELECT NEW.id, key, json_extract(value, '$.project'), json_extract(value, '$.instance'), json_extract(value, '$.what'),
		json_extract(value, '$.from'), json_extract(value, '$.to'), 'planned', '', NEW.started, NEW.term
	FROM json_each(NEW.plan);
END;
`,
	// 2
	`
CREATE TABLE orders (
	id    TEXT PRIMARY KEY, -- also of the run that comes of it
	pet   TEXT NOT NULL,
	kind  TEXT NOT NULL CHECK (kind IN ('drain', 'undrain')),
	force INTEGER NOT NULL,
	due   INTEGER NOT NULL,
	why   TEXT NOT NULL,
	at    INTEGER NOT NULL
);
`,
	// 3
	`
ALTER TABLE runs ADD COLUMN member TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN calendar INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN window INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN instances INTEGER NOT NULL DEFAULT 0;
ALTER TABLE holds ADD COLUMN want TEXT NOT NULL DEFAULT 'paused';
ALTER TABLE skips ADD COLUMN until INTEGER NOT NULL DEFAULT 0;
`,
	// 4
	`CREATE INDEX runs_pet ON runs (pet, ended);`,
	// 5
	`
CREATE TABLE alerts (
	one  INTEGER PRIMARY KEY CHECK (one = 1),
	list TEXT NOT NULL,   -- those that are on, JSON
	term INTEGER NOT NULL -- under which the row was last written
);
INSERT INTO alerts VALUES (1, '[]', 0);
CREATE TRIGGER alerts_update BEFORE UPDATE ON alerts WHEN NEW.term IS NOT (SELECT term FROM lease)
BEGIN SELECT RAISE(ABORT, '` + fenced + `'); END;
CREATE TRIGGER runs_delete AFTER DELETE ON runs
BEGIN
	DELETE FROM steps WHERE run = OLD.id;
	DELETE FROM orders WHERE id = OLD.id; -- else it would count as one that no run has come of yet
END;
`,
}

// present is how long a unit that was not heard of still counts when the schema is to
// change.
const present = 30 * time.Second

// Open brings the schema to the version that this unit knows and returns the store.
//
// A unit that is ahead waits, as long as the context lets it, until every unit that was
// heard of lately knows the new schema too: the old ones work on meanwhile. A unit that is
// behind gets ErrSchemaTooNew.
func Open(ctx context.Context, db *sql.DB, o Options) (*Store, error) {
	s := &Store{db: db, unit: o.Unit, migrations: migrations, log: o.Log, notes: lograte.New(o.Log), now: time.Now}
	if o.migrations != nil {
		s.migrations = o.migrations
	}
	for _, statement := range base {
		if err := s.exec(ctx, statement); err != nil {
			return nil, wrap(err, "open the store")
		}
	}
	waits := ""
	for {
		version, err := s.version(ctx)
		if err == nil {
			err = s.heartbeat(ctx, version)
		}
		if err != nil {
			return nil, err
		}
		if version == len(s.migrations) {
			return s, nil
		}
		behind, err := s.behind(ctx)
		if err != nil {
			return nil, err
		}
		if len(behind) == 0 {
			if err := s.migrate(ctx, version+1); err != nil {
				return nil, err
			}
			continue
		}
		if who := strings.Join(behind, ", "); who != waits {
			waits = who
			s.say("waiting for %s to be refreshed: the store's schema is to go from %d to %d", who, version, len(s.migrations))
		}
		if err := sleep(ctx, time.Second/2); err != nil {
			return nil, fmt.Errorf("cannot open the store: %s must be refreshed first: %w", waits, err)
		}
	}
}

// Heartbeat reports the others, until the context ends, that this unit is there and which
// schema it knows. It returns early, with ErrSchemaTooNew, when the schema has gone beyond.
func (s *Store) Heartbeat(ctx context.Context) error {
	for {
		version, err := s.version(ctx)
		if err == nil {
			err = s.heartbeat(ctx, version)
		}
		// Without a majority no one changes the schema either.
		if version > len(s.migrations) {
			return err
		}
		if sleep(ctx, present/6) != nil {
			return nil
		}
	}
}

// Forget takes a unit that is gone for good out of those that a schema waits for.
func (s *Store) Forget(ctx context.Context, unit string) error {
	return wrap(s.exec(ctx, `DELETE FROM units WHERE unit = ?`, unit), "forget %s", unit)
}

// version returns the store's schema, without an error also when it is beyond this unit's.
func (s *Store) version(ctx context.Context) (version int, err error) {
	err = s.query(ctx, func(rows *sql.Rows) error { return rows.Scan(&version) }, `SELECT coalesce(max(version), 0) FROM migrations`)
	return version, wrap(err, "read the store's schema")
}

// attend states that this unit is there. The time is the database's: units need not agree.
func (s *Store) heartbeat(ctx context.Context, version int) error {
	if version > len(s.migrations) {
		return fmt.Errorf("cannot use the store: its schema is %d and this unit knows %d: %w", version, len(s.migrations), ErrSchemaTooNew)
	}
	return wrap(s.exec(ctx, `INSERT INTO units VALUES (?, ?, CAST(strftime('%s', 'now') AS INTEGER))
		ON CONFLICT (unit) DO UPDATE SET version = excluded.version, seen = excluded.seen`,
		s.unit, len(s.migrations)), "say that this unit is there")
}

// behind lists the units that are there and do not know this unit's schema.
func (s *Store) behind(ctx context.Context) ([]string, error) {
	units, err := all(ctx, s, func(rows *sql.Rows, unit *string) error { return rows.Scan(unit) },
		`SELECT unit FROM units WHERE version < ? AND seen > CAST(strftime('%s', 'now') AS INTEGER) - ? ORDER BY unit`,
		len(s.migrations), int64(present/time.Second))
	return units, wrap(err, "see which units are there")
}

// migrate brings the schema to a version, unless another unit did it meanwhile.
func (s *Store) migrate(ctx context.Context, version int) error {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return wrap(err, "change the store's schema")
	}
	defer conn.Close()
	// One message, for the reasons above. The one who comes second fails at the version's row.
	script := fmt.Sprintf("BEGIN IMMEDIATE; INSERT INTO migrations VALUES (%d, %d); %s\n; COMMIT;",
		version, millis(s.now()), strings.TrimRight(strings.TrimSpace(s.migrations[version-1]), ";"))
	if _, err = conn.ExecContext(ctx, script); err == nil {
		s.say("the store's schema is %d", version)
		return nil
	}
	// The connection may be inside a transaction: it is not to be used again.
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	if there, readErr := s.version(ctx); readErr == nil && there >= version {
		return nil
	}
	if busy(err) {
		return sleep(ctx, 50*time.Millisecond)
	}
	return wrap(err, "bring the store's schema to %d", version)
}

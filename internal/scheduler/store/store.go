// Package store keeps what the units of a scheduler have to agree on: the pets and what
// operators said about them, who acts, and what is being done to which pet.
//
// It speaks SQL to a database that package dqlite opens, and is made for what such a
// database can do to its clients:
//
//   - Every change is one statement, with triggers where it takes several rows. A client
//     that is frozen between two statements of a transaction would keep all others out.
//   - A statement may be run twice: a connection that breaks does not show whether the last
//     one was applied, and database/sql tries again. So each change is named by its caller
//     and finds its work already done.
//   - Reads may be a moment old. What must not be decided on an old read is decided by the
//     statement that writes.
//
// Exactly one unit acts at a time, see Lead. What it writes into the journal carries the
// number of its term, and the database itself refuses the number of a term that is over.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/host/lograte"
)

// Errors that callers distinguish. They are returned wrapped.
var (
	// ErrSchemaTooNew states that another unit has brought the schema further than this one knows.
	ErrSchemaTooNew = errors.New("this unit is behind: refresh it")
	// ErrFenced states that the term under which something was written is over: another unit
	// acts, or none.
	ErrFenced = errors.New("this unit's term is over")
	// ErrConflict states that what should be changed is not in the state that allows it.
	ErrConflict = errors.New("another client changed it first")
	// ErrNotFound states that there is nothing of that name.
	ErrNotFound = errors.New("not found")
)

// answer is how long the database may take for one statement, elections included.
const answer = 8 * time.Second

// Store is an open store. It is made by Open and safe for several goroutines.
type Store struct {
	db         *sql.DB
	unit       string
	migrations []string
	log        func(format string, args ...any)
	notes      *lograte.Limiter // writes to log
	now        func() time.Time
}

// Options say who opens a store.
type Options struct {
	// Unit is the unit's name, "pet-scheduler/0". No two processes have the same.
	Unit string
	// Log is told what a unit waits for; nil drops it.
	Log func(format string, args ...any)

	migrations []string // tests have other ones
}

// exec runs one statement that changes something.
func (s *Store) exec(ctx context.Context, query string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	return again(ctx, func() error {
		_, err := s.db.ExecContext(ctx, query, args...)
		return err
	})
}

// query runs one statement that reads, and passes each row to scan.
func (s *Store) query(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	return again(ctx, func() error {
		rows, err := s.db.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := scan(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// all reads rows into a list.
func all[T any](ctx context.Context, s *Store, scan func(*sql.Rows, *T) error, query string, args ...any) ([]T, error) {
	var list []T
	err := s.query(ctx, func(rows *sql.Rows) error {
		var item T
		if err := scan(rows, &item); err != nil {
			return err
		}
		list = append(list, item)
		return nil
	}, query, args...)
	return list, err
}

// again runs f until the database is not busy with another client's statement.
func again(ctx context.Context, f func() error) error {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		err := f()
		if err == nil || !busy(err) {
			return named(err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(rand.N(pause) + pause/2):
		}
	}
}

// busy reports SQLITE_BUSY, by its words: the driver's error type would tie this package to
// cgo.
func busy(err error) bool {
	return strings.Contains(err.Error(), "database is locked") || strings.Contains(err.Error(), "checkpoint in progress")
}

// fenced is what the triggers raise.
const fenced = "term is over"

func named(err error) error {
	if err != nil && strings.Contains(err.Error(), fenced) {
		return ErrFenced
	}
	return err
}

// millis and moment keep times as milliseconds since 1970; 0 is no time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func (s *Store) say(format string, args ...any) {
	if s.log != nil {
		s.log(format, args...)
	}
}

// sleep waits, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot "+format+": %w", append(args, err)...)
}

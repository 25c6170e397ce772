package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// The lease's times. They are measured by each unit's own monotonic clock, from what it saw
// itself, so that clocks need not agree.
const (
	// renewInterval is how often the holder shows that it lives.
	renewInterval = time.Second
	// renewDeadline is after how long without having shown it a holder stops acting: longer than
	// the database needs for choosing another leader.
	renewDeadline = 3 * time.Second
	// take is after how long without having seen it another takes over; longer than
	// renewDeadline, so that the holder has stopped by then.
	take = 4 * time.Second
	// look is how often the others look.
	look = 300 * time.Millisecond
)

// Lease is who acts.
type Lease struct {
	Holder string // a unit's name; empty when no one acts
	Term   int64  // grows with each change of holder
	beat   int64
	sess   string
}

// Lease reports who acts, as far as is known here.
func (s *Store) Lease(ctx context.Context) (l Lease, err error) {
	err = s.query(ctx, func(rows *sql.Rows) error { return rows.Scan(&l.Holder, &l.sess, &l.Term, &l.beat) },
		`SELECT holder, session, term, beat FROM lease`)
	return l, wrap(err, "see who acts")
}

// Leader is the right to act, for one term. Its journal writes fail with ErrFenced once the
// term is over.
type Leader struct {
	*Store
	term    int64
	session string
	shown   atomic.Pointer[time.Time] // when the last renewal that succeeded was begun
}

// Term is the term's number: no two actors ever have the same.
func (a *Leader) Term() int64 { return a.term }

// Check reports whether this unit may still act; it is asked before each effect on the world
// outside of the store, which no fence protects. It does not ask the database.
func (a *Leader) Check() error {
	if time.Since(*a.shown.Load()) >= renewDeadline {
		return fmt.Errorf("cannot act: the store has not been reached for %s: %w", renewDeadline, ErrFenced)
	}
	return nil
}

// Lead waits until this unit may act and calls act, whose context ends when the term does;
// when act returns, the lease is given up. That goes on until the context ends, or act
// fails with something else than the end of its term; that error is returned.
func (s *Store) Lead(ctx context.Context, act func(context.Context, *Leader) error) error {
	var seen Lease
	var since time.Time
	for ctx.Err() == nil {
		l, err := s.Lease(ctx)
		s.notes.Error("lease", err)
		if err != nil {
			_ = sleep(ctx, look)
			continue
		}
		if l != seen {
			seen, since = l, time.Now()
		}
		// A holder of this unit's own name is this unit before it was killed.
		if l.Holder != "" && l.Holder != s.unit && time.Since(since) < take {
			_ = sleep(ctx, look)
			continue
		}
		actor, err := s.acquire(ctx, l)
		if err != nil || actor == nil {
			_ = sleep(ctx, look)
			continue
		}
		s.say("acting, term %d", actor.term)
		if err := s.serve(ctx, actor, act); err != nil {
			return err
		}
	}
	return nil
}

// acquire takes the lease if it still is as it was seen; nil when an operator was faster.
func (s *Store) acquire(ctx context.Context, seen Lease) (*Leader, error) {
	actor := &Leader{Store: s, term: seen.Term + 1, session: rand.Text()}
	begun := time.Now()
	actor.shown.Store(&begun)
	err := s.exec(ctx, `UPDATE lease SET holder = ?, session = ?, term = term + 1, beat = beat + 1 WHERE term = ? AND beat = ?`,
		s.unit, actor.session, seen.Term, seen.beat)
	if err != nil {
		return nil, wrap(err, "take the lease")
	}
	// Read back, for the statement may have been run twice.
	l, err := s.Lease(ctx)
	if err != nil || l.sess != actor.session {
		return nil, err
	}
	return actor, nil
}

// renew shows that the holder lives.
func (a *Leader) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, renewDeadline/2)
	defer cancel()
	begun := time.Now()
	if err := a.exec(ctx, `UPDATE lease SET beat = beat + 1 WHERE term = ? AND session = ?`, a.term, a.session); err != nil {
		return wrap(err, "renew the lease")
	}
	l, err := a.Lease(ctx)
	if err != nil {
		return err
	}
	if l.Term > a.term {
		return fmt.Errorf("cannot renew the lease: %s acts in term %d: %w", l.Holder, l.Term, ErrFenced)
	}
	a.shown.Store(&begun)
	return nil
}

// release gives up the lease; the term is over at once, also for writes under way.
func (a *Leader) release(ctx context.Context) error {
	return wrap(a.exec(ctx, `UPDATE lease SET holder = '', session = '', term = term + 1, beat = beat + 1 WHERE term = ? AND session = ?`,
		a.term, a.session), "release the lease")
}

// serve lets act run for as long as the lease is held.
func (s *Store) serve(ctx context.Context, actor *Leader, act func(context.Context, *Leader) error) error {
	term, end := context.WithCancelCause(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		for term.Err() == nil {
			if sleep(term, renewInterval) != nil {
				return
			}
			actor.keep(term, end)
		}
	}()
	err := act(term, actor)
	over := errors.Is(context.Cause(term), ErrFenced) || errors.Is(err, ErrFenced)
	end(nil)
	<-kept
	// Also when the context has ended: it is why the unit stops, in order.
	free, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewDeadline)
	defer cancel()
	if !over {
		if err := actor.release(free); err != nil {
			s.say("%s", err)
		} else {
			s.say("term %d is given up", actor.term)
		}
	} else {
		s.say("term %d is over", actor.term)
	}
	if over || ctx.Err() != nil {
		return nil
	}
	return err
}

// keep renews once, and ends the term when that has not worked for too long.
func (a *Leader) keep(term context.Context, end context.CancelCauseFunc) {
	// Whether or not the database answers, the term ends in time.
	last := *a.shown.Load()
	watchdog := time.AfterFunc(time.Until(last.Add(renewDeadline)), func() { end(ErrFenced) })
	defer watchdog.Stop()
	for term.Err() == nil {
		err := a.renew(term)
		if err == nil {
			return
		}
		if errors.Is(err, ErrFenced) {
			end(ErrFenced)
			return
		}
		_ = sleep(term, look)
	}
}

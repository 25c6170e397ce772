// Package lograte keeps a program that tries again and again from writing the same line into
// its log each time: a condition is logged when it begins or changes, and then less and less
// often for as long as it lasts.
package lograte

import (
	"sync"
	"time"
)

// How often a condition that lasts is logged.
const (
	// changes is the shortest time between two lines about one condition: a text that has a
	// port or a counter in it differs each time.
	changes = 5 * time.Second
	// first is after how long an unchanged condition is logged again. Each further time takes
	// twice as long as the one before, at most slowest.
	first   = time.Minute
	slowest = time.Hour
)

// Limiter logs conditions. Make it with New. It is safe for several goroutines.
type Limiter struct {
	log   func(format string, args ...any)
	mu    sync.Mutex
	known map[string]*condition
}

type condition struct {
	text  string    // of the last line
	at    time.Time // of the last line
	pause time.Duration
}

// New returns a Limiter that writes its lines to log; nil drops them.
func New(log func(format string, args ...any)) *Limiter {
	if log == nil {
		log = func(string, ...any) {}
	}
	return &Limiter{log: log, known: map[string]*condition{}}
}

// Note says how the condition of that name is now; an empty text states that it is over, after
// which the next one is logged at once. Note reports whether it wrote a line.
func (l *Limiter) Note(name, text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.known[name]
	now := time.Now()
	switch {
	case text == "":
		delete(l.known, name)
		return false
	case c == nil:
		l.known[name] = &condition{text: text, at: now, pause: first}
	case now.Sub(c.at) < changes || c.text == text && now.Sub(c.at) < c.pause:
		return false
	case c.text == text:
		c.at, c.pause = now, min(2*c.pause, slowest)
	default:
		c.text, c.at = text, now
	}
	l.log("%s", text)
	return true
}

// Error is Note of an error; nil states that the condition is over.
func (l *Limiter) Error(name string, err error) bool {
	if err == nil {
		return l.Note(name, "")
	}
	return l.Note(name, err.Error())
}

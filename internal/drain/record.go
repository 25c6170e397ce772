package drain

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Phase is how far a drain, or its undrain, has come.
type Phase string

// The phases. A record exists from before the first change to the member until after the last one.
const (
	Draining  Phase = "draining"  // instances are on their way out
	Drained   Phase = "drained"   // the member was observed empty
	Returning Phase = "returning" // instances are on their way back
)

// Record is what a drain did to one member: enough to resume it, and to undo it, for a process that
// knows nothing else.
type Record struct {
	Phase Phase     `json:"phase"`
	By    string    `json:"by"`    // who drains: a unit's name
	Since time.Time `json:"since"` // when it began
	Runs  int       `json:"run"`   // how many runs worked on it, this one included
	// Cordoned reports that LXD's scheduler places no instance on the member, because of this drain,
	// until it is evacuated; PreviousScheduler is its scheduler.instance before.
	Cordoned          bool   `json:"closed,omitempty"`
	PreviousScheduler string `json:"scheduler,omitempty"`
	// Evacuating reports that it is not a drain but the beginning of an evacuation, see
	// Drainer.MoveBeforeEvacuation.
	Evacuating bool `json:"evacuating,omitempty"`
	// Entries are the instances that were on the member.
	Entries []Entry `json:"instances"`
	// ForeignOrigins are instances that were elsewhere when the drain began although their Origin is
	// the member: another client moved them, and an undrain does not bring them back.
	ForeignOrigins []Ref `json:"orphans,omitempty"`
}

// Entry is what a drain did to one instance.
type Entry struct {
	Ref
	ID string `json:"id,omitempty"`
	// Ran reports whether it ran when the drain began.
	Ran bool `json:"ran,omitempty"`
	// Stays reports that it is stopped where it is instead of moved.
	Stays bool `json:"stays,omitempty"`
	// KeptRunning reports that it stays and is not stopped either, so that the member does not become
	// empty while the others leave: see Drainer.Partial.
	KeptRunning bool `json:"kept,omitempty"`
	// MayStayStopped reports that it may be stopped because of the drain although LXD does not mean it
	// to run: no other member has the capacity that its limits require, or it was stopped without an
	// evacuation. That is no failure of the drain, and the undrain starts it.
	MayStayStopped bool `json:"loose,omitempty"`
	// Group is its cluster group before, which LXD removes when it moves.
	Group string `json:"group,omitempty"`
	// CloudInitID and Frozen are those of the instance before it is moved, in either direction.
	CloudInitID string `json:"cloud-init,omitempty"`
	Frozen      bool   `json:"frozen,omitempty"`
	// Stopping reports that the drain or undrain stops it, or has stopped it, to refresh its copy: an
	// instance that does not run although this is not so was stopped by an operator.
	Stopping bool `json:"stopping,omitempty"`
	// Down is how long it was down for its move, in seconds; 0 is not known.
	Down float64 `json:"down,omitempty"`
	// Verified reports that it was observed where the drain put it, with all that it had: what differs
	// later was changed by an operator.
	Verified bool `json:"seen,omitempty"`
	// To is where the drain put it; empty until it was observed there.
	To string `json:"to,omitempty"`
	// Returning reports that an undrain has begun to bring it back; StartAfter, that it has to run
	// afterwards. They are written before it is stopped for the move.
	Returning  bool `json:"back,omitempty"`
	StartAfter bool `json:"start,omitempty"`
	// FailedReturns counts the undrains that could not move it back, each with all attempts, since it
	// was last moved. It is not stopped for another before RetryAfter. LastError is what LXD returned.
	FailedReturns int       `json:"failed,omitempty"`
	RetryAfter    time.Time `json:"again,omitzero"`
	LastError     string    `json:"why,omitempty"`

	postponed string // why this undrain leaves it where it is, until a later one
}

// How long an instance whose move back failed is left where it runs: each attempt stops it.
const (
	firstRetryDelay = 5 * time.Minute
	maxRetryDelay   = 6 * time.Hour
)

// noteFailure notes that the instance could not be moved back.
func (e *Entry) noteFailure(now time.Time, err error) {
	e.FailedReturns++
	delay := maxRetryDelay
	if e.FailedReturns < 8 {
		delay = min(maxRetryDelay, firstRetryDelay<<(e.FailedReturns-1))
	}
	e.RetryAfter, e.LastError = now.Add(delay), shorten(err.Error())
}

// maxErrorBytes is how much of an error of LXD's is kept in a record.
const maxErrorBytes = 300

// shorten returns a text in one line, of at most maxErrorBytes.
func shorten(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxErrorBytes {
		text = strings.ToValidUTF8(text[:maxErrorBytes], "") + "…"
	}
	return text
}

// matches reports whether i is the entry's instance and not a later one of the same name.
func (e Entry) matches(i Instance) bool {
	return e.Ref == i.Ref && (e.ID == "" || i.ID == "" || e.ID == i.ID)
}

// entry finds the entry of an instance; nil when it has none.
func (r *Record) entry(i Instance) *Entry {
	for n := range r.Entries {
		if r.Entries[n].matches(i) {
			return &r.Entries[n]
		}
	}
	return nil
}

// clone copies a record deeply.
func (r *Record) clone() *Record {
	c := *r
	c.Entries = slices.Clone(r.Entries)
	c.ForeignOrigins = slices.Clone(r.ForeignOrigins)
	return &c
}

// Encode returns the record as text. Equal records have equal texts.
func (r Record) Encode() string {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings, bools and a time cannot fail
	}
	return string(text)
}

// Decode reads what Encode returns.
func Decode(text string) (Record, error) {
	var r Record
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return Record{}, fmt.Errorf("cannot read drain record: %w", err)
	}
	switch r.Phase {
	case Draining, Drained, Returning:
		return r, nil
	}
	return Record{}, fmt.Errorf("cannot read drain record: its phase is %q: a newer version may have written it", r.Phase)
}

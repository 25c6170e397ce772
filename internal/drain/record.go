package drain

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Phase is how far a drain, or its undrain, has come.
type Phase string

// The phases. A record is there from before the first change to the member until after
// the last one.
const (
	Draining  Phase = "draining"  // instances are on their way out
	Drained   Phase = "drained"   // the member was seen empty
	Returning Phase = "returning" // instances are on their way back
)

// Record is what a drain did to one member: enough to carry on with it, and to undo it,
// for a process that knows nothing else.
type Record struct {
	Phase Phase     `json:"phase"`
	By    string    `json:"by"`    // who drains: a unit's name
	Since time.Time `json:"since"` // when it began
	Runs  int       `json:"run"`   // how many actions worked on it, this one included
	// Closed tells that LXD places nothing new on the member, because of this drain, until
	// it is evacuated; Was is its scheduler.instance before.
	Cordoned          bool   `json:"closed,omitempty"`
	PreviousScheduler string `json:"scheduler,omitempty"`
	// Evacuating tells that it is not a drain but the beginning of an evacuation, see
	// Drainer.MoveHeld.
	Evacuating bool `json:"evacuating,omitempty"`
	// Entries are the instances that were on the member.
	Entries []Entry `json:"instances"`
	// Strangers are instances that were elsewhere when the drain began although their
	// Origin names the member: not ours to bring back.
	ForeignOrigins []Ref `json:"strangers,omitempty"`
}

// Entry is what a drain did to one instance.
type Entry struct {
	Ref
	ID string `json:"id,omitempty"`
	// Ran tells whether it ran when the drain began.
	Ran bool `json:"ran,omitempty"`
	// Stays tells that it is stopped where it is instead of moved.
	Stays bool `json:"stays,omitempty"`
	// Kept tells that it stays and is not stopped either, so that the member cannot be emptied
	// while the others leave: see Drainer.Others.
	KeptRunning bool `json:"kept,omitempty"`
	// Loose tells that it may stand still because of the drain where LXD does not mean it to run:
	// no other member has what its limits ask for, or it was stopped without an evacuation. That
	// does not count as a failure of the drain, and the undrain starts it.
	MayStayStopped bool `json:"loose,omitempty"`
	// Group is its cluster group before, which LXD forgets when it moves.
	Group string `json:"group,omitempty"`
	// CloudInit and Frozen are those of the instance before it is moved, either way.
	CloudInitID string `json:"cloud-init,omitempty"`
	Frozen      bool   `json:"frozen,omitempty"`
	// Seen reports that it was seen where the drain put it, with all that it had: what differs later
	// was changed by an operator.
	Verified bool `json:"seen,omitempty"`
	// To is where the drain put it; empty until it was seen there.
	To string `json:"to,omitempty"`
	// Back tells that an undrain has begun to bring it back; Start, that it has to run
	// afterwards. They are written before it is stopped for the way.
	Returning  bool `json:"back,omitempty"`
	StartAfter bool `json:"start,omitempty"`
	// Failed is how many undrains could not move it back, each with all attempts, since it was last
	// moved; Again is before when it is not stopped for another, Why what LXD said.
	FailedReturns int       `json:"failed,omitempty"`
	RetryAfter    time.Time `json:"again,omitzero"`
	LastError     string    `json:"why,omitempty"`

	postponed string // why this undrain leaves it where it is, until a later one
}

// How long an instance whose move back failed is left alone, where it runs: each try stops it.
const (
	firstRetry = 5 * time.Minute
	lastRetry  = 6 * time.Hour
)

// failed writes down that it could not be moved back.
func (e *Entry) noteFailure(now time.Time, why error) {
	e.FailedReturns++
	wait := lastRetry
	if e.FailedReturns < 8 {
		wait = min(lastRetry, firstRetry<<(e.FailedReturns-1))
	}
	e.RetryAfter, e.LastError = now.Add(wait), shorten(why.Error())
}

// longest is how much of LXD's words is kept in a record.
const maxErrorBytes = 300

// shorten returns a text in one line, of at most so many bytes.
func shorten(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxErrorBytes {
		text = strings.ToValidUTF8(text[:maxErrorBytes], "") + "…"
	}
	return text
}

// is tells whether i is the entry's instance and not a later one of the same name.
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

// Kept lists the instances on a member that keep it from being emptied, as far as its drain was
// told to move the others all the same.
func (v View) KeptRunning(member string) []Ref {
	record := v.Records[member]
	var kept []Ref
	for _, i := range v.instancesOn(member) {
		if e := record.entry(i); e != nil && e.KeptRunning && record.Phase == Draining {
			kept = append(kept, i.Ref)
		}
	}
	return kept
}

// clone copies a record deeply.
func (r *Record) clone() *Record {
	c := *r
	c.Entries = append([]Entry(nil), r.Entries...)
	c.ForeignOrigins = append([]Ref(nil), r.ForeignOrigins...)
	return &c
}

// again is the record of an undrain that did not come to its end, for a drain that follows: what is
// still away is where a drain has put it, and what ran has to run again after the next undrain.
func (r Record) resumeDrain(view View, member string) Record {
	next := *r.clone()
	next.Phase, next.Entries = Draining, nil
	for _, e := range r.Entries {
		i, there := view.find(e)
		if !there {
			continue
		}
		if e.Returning {
			e.Ran = e.StartAfter
		}
		e.To = ""
		if i.Member != member {
			e.To = i.Member
		}
		e.Returning, e.StartAfter, e.Verified, e.FailedReturns, e.RetryAfter, e.LastError = false, false, false, 0, time.Time{}, ""
		next.Entries = append(next.Entries, e)
	}
	return next
}

// reopen ends what Closed says.
func (r *Record) uncordon() { r.Cordoned, r.PreviousScheduler = false, "" }

// Placement gives the scheduler.instance of a member whose record changes from before to
// after, where it is now: manual from when the drain begins; afterwards what it was before,
// unless an operator has set another meanwhile. Written together with the record it
// cannot be lost, whenever the writer dies. It fails with ErrConflict when now is not what
// the drain was planned with.
func SchedulerFor(now string, before, after *Record) (string, error) {
	closed, close := before != nil && before.Cordoned, after != nil && after.Cordoned
	switch {
	case close && !closed && now != after.PreviousScheduler:
		return "", fmt.Errorf("scheduler.instance has become %q: %w", now, ErrConflict)
	case close && !closed:
		return schedulerManual, nil
	case closed && !close && now == schedulerManual:
		return before.PreviousScheduler, nil
	}
	return now, nil
}

// Encode gives the record as text. Equal records give equal texts.
func (r Record) Encode() string {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings, bools and a time cannot fail
	}
	return string(text)
}

// Decode reads what Encode gave.
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
